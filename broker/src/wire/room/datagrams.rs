//! The members of a room in datagrams: which datagram does what. No I/O.
//!
//! A member is its address. The caller carries out what [`DatagramRoom::handle`] and
//! [`DatagramRoom::expire`] return.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::allowance::RateWindow;
use super::text::{self, BYE};

/// Maximum bytes of a datagram to a member.
pub(crate) const DATAGRAM_BYTES: usize = 1024;

/// Maximum members that are not proven. Each costs a little with every message, also a forged one.
const MOST_UNPROVEN: usize = 100;

/// Members that are not proven and whose presence is published. A burst of forged addresses fills no list.
const UNPROVEN_ANNOUNCED: usize = 16;

/// How often an address that is no member is answered, and how many answers a second all are given.
const ANSWER_EVERY: Duration = Duration::from_secs(10);
const ANSWERS_A_SECOND: u32 = 100;

/// What a datagram does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'d> {
    /// Its sender becomes a member. If so, its presence is published.
    Join {
        nick: &'d str,
        announced: bool,
    },
    /// Its sender is a member. If `announces`, its presence is published only now, because it was not
    /// proven before.
    Heard {
        announces: bool,
    },
    Say(&'d [u8]),
    Leave,
    /// Its sender is no member, and is told this.
    Answer(Vec<u8>),
    /// This member, which is not proven, makes room for its sender.
    Forget(SocketAddr),
}

/// The members of a room in datagrams.
pub(crate) struct DatagramRoom {
    most_members: usize,
    idle_time: Duration,
    members: HashMap<SocketAddr, KnownMember, RandomState>,
    /// Members that have sent one datagram, in the order in which they came.
    unproven: BTreeMap<u64, SocketAddr>,
    joined: u64,
    answers: RateWindow,
    /// When those were answered that are no members.
    answered: HashMap<SocketAddr, Instant, RandomState>,
}

struct KnownMember {
    /// Its number among those that came.
    number: u64,
    is_proven: bool,
    is_announced: bool,
    heard: Instant,
}

impl DatagramRoom {
    pub(crate) fn new(most_members: usize, idle_time: Duration, now: Instant) -> Self {
        Self {
            most_members,
            idle_time,
            members: HashMap::default(),
            unproven: BTreeMap::new(),
            joined: 0,
            answers: RateWindow::new(ANSWERS_A_SECOND, now),
            answered: HashMap::default(),
        }
    }

    /// Replaces the limits. Members that are there stay.
    pub(crate) fn set_limits(&mut self, most_members: usize, idle_time: Duration) {
        (self.most_members, self.idle_time) = (most_members, idle_time);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What this datagram does, in order.
    pub(crate) fn handle<'d>(
        &mut self,
        datagram: &'d [u8],
        from: SocketAddr,
        now: Instant,
    ) -> Vec<Action<'d>> {
        let text = without_line_end(datagram);
        match self.members.get_mut(&from) {
            None => self.handle_new(text, from, now),
            Some(member) => {
                member.heard = now;
                if !member.is_proven {
                    member.is_proven = true;
                    self.unproven.remove(&member.number);
                }
                let announces = !mem::replace(&mut member.is_announced, true);
                let mut actions = vec![Action::Heard { announces }];
                if text == BYE {
                    self.members.remove(&from);
                    actions.push(Action::Leave);
                } else if !text.is_empty() {
                    actions.push(Action::Say(text));
                }
                actions
            }
        }
    }

    /// A datagram of an address that is no member.
    fn handle_new<'d>(
        &mut self,
        text: &'d [u8],
        from: SocketAddr,
        now: Instant,
    ) -> Vec<Action<'d>> {
        // A member that left does not come back, nor is it told anything, because it says so twice.
        if text == BYE {
            return Vec::new();
        }
        let nick = match text::nick(text) {
            Ok(nick) => nick,
            Err(why) => return self.answer(why.notice(), from, now),
        };
        let mut actions = Vec::new();
        let is_full = self.members.len() >= self.most_members;
        if is_full || self.unproven.len() >= MOST_UNPROVEN {
            let Some((_, first)) = self.unproven.pop_first() else {
                return self.answer("the room is full; come again later", from, now);
            };
            self.members.remove(&first);
            actions.push(Action::Forget(first));
        }
        let announced = self.unproven.len() < UNPROVEN_ANNOUNCED;
        self.joined += 1;
        self.unproven.insert(self.joined, from);
        self.members.insert(
            from,
            KnownMember {
                number: self.joined,
                is_proven: false,
                is_announced: announced,
                heard: now,
            },
        );
        actions.push(Action::Join { nick, announced });
        actions
    }

    /// An answer, if the limits allow it.
    fn answer<'d>(&mut self, notice: &str, to: SocketAddr, now: Instant) -> Vec<Action<'d>> {
        let is_recent = |&at: &Instant| now.saturating_duration_since(at) < ANSWER_EVERY;
        if self.answered.get(&to).is_some_and(is_recent) || !self.answers.take(1, now) {
            return Vec::new();
        }
        // As many as are answered in that time are kept.
        if self.answered.len() as u64 >= u64::from(ANSWERS_A_SECOND) * ANSWER_EVERY.as_secs() {
            self.answered.retain(|_, at| is_recent(at));
        }
        self.answered.insert(to, now);
        vec![Action::Answer(text::notice(notice))]
    }

    /// Forgets the members that have been silent for too long, and returns them. To be called about every
    /// second.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<SocketAddr> {
        let idle_time = self.idle_time;
        let is_idle =
            |member: &KnownMember| now.saturating_duration_since(member.heard) >= idle_time;
        let idle: Vec<SocketAddr> = self
            .members
            .iter()
            .filter_map(|(address, member)| is_idle(member).then_some(*address))
            .collect();
        for address in &idle {
            self.forget(*address);
        }
        idle
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, address: SocketAddr) {
        if let Some(member) = self.members.remove(&address) {
            self.unproven.remove(&member.number);
        }
    }
}

/// A program may send a line end with its text or not.
fn without_line_end(datagram: &[u8]) -> &[u8] {
    let text = datagram.strip_suffix(b"\n").unwrap_or(datagram);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    fn address(number: u32) -> SocketAddr {
        (Ipv4Addr::from(0x0a00_0000 + number), 7).into()
    }

    fn told(notice: &str) -> Action<'static> {
        Action::Answer(text::notice(notice))
    }

    const HEARD: Action<'_> = Action::Heard { announces: false };

    #[test]
    fn a_member_is_its_address_and_says_its_nick_first() {
        let now = Instant::now();
        let mut room = DatagramRoom::new(10, IDLE, now);
        let (ann, bob) = (address(1), address(2));
        let first = "send your nick first";
        assert_eq!(room.handle(b"hi everyone", ann, now), [told(first)]);
        let join = Action::Join {
            nick: "ann",
            announced: true,
        };
        assert_eq!(room.handle(b"ann\n", ann, now), [join]);
        assert_eq!(
            room.handle(b"hi everyone\r\n", ann, now),
            [HEARD, Action::Say(b"hi everyone")]
        );
        // Bytes of any kind are a text, and an empty datagram is none.
        assert_eq!(
            room.handle(b"\xff\0", ann, now),
            [HEARD, Action::Say(b"\xff\0")]
        );
        assert_eq!(room.handle(b"", ann, now), [HEARD]);
        assert_eq!(
            room.handle(b"bye!", ann, now),
            [HEARD, Action::Say(b"bye!")]
        );
        assert_eq!(room.handle(b"bye", ann, now), [HEARD, Action::Leave]);
        assert!(room.is_empty());
        assert_eq!(room.handle(b"bye", ann, now), []);
        assert_eq!(room.handle(b"a/b", bob, now).len(), 1);
        assert!(room.is_empty());
    }

    #[test]
    fn addresses_that_are_no_members_are_answered_seldom() {
        let start = Instant::now();
        let mut room = DatagramRoom::new(10, IDLE, start);
        let answers = |room: &mut DatagramRoom, number, now| {
            room.handle(b"no nick", address(number), now).len()
        };
        assert_eq!(answers(&mut room, 0, start), 1);
        assert_eq!(
            answers(&mut room, 0, start + Duration::from_millis(9999)),
            0
        );
        assert_eq!(answers(&mut room, 0, start + ANSWER_EVERY), 1);
        let mut now = start + Duration::from_secs(20);
        let mut number = 1;
        for _ in 0..15 {
            let mut answered = 0;
            for _ in 0..110 {
                number += 1;
                answered += answers(&mut room, number, now);
            }
            assert_eq!(answered, 100);
            now += Duration::from_millis(1100);
        }
        assert!(room.answered.len() <= 1100, "{}", room.answered.len());
        assert!(room.members.is_empty());
    }

    #[test]
    fn those_that_sent_one_datagram_make_room_and_the_others_stay() {
        let now = Instant::now();
        let mut room = DatagramRoom::new(2, IDLE, now);
        let [ann, bob, carl, dora] = [1, 2, 3, 4].map(address);
        room.handle(b"ann", ann, now);
        room.handle(b"bob", bob, now);
        assert_eq!(room.handle(b"hi", bob, now), [HEARD, Action::Say(b"hi")]);
        let join = |nick| Action::Join {
            nick,
            announced: true,
        };
        assert_eq!(
            room.handle(b"carl", carl, now),
            [Action::Forget(ann), join("carl")]
        );
        room.handle(b"", carl, now);
        let full = "the room is full; come again later";
        assert_eq!(room.handle(b"dora", dora, now), [told(full)]);
        room.handle(b"bye", carl, now);
        assert_eq!(room.handle(b"dora", dora, now), [join("dora")]);
    }

    #[test]
    fn a_burst_of_nicks_makes_few_members() {
        let now = Instant::now();
        let mut room = DatagramRoom::new(1000, IDLE, now);
        room.handle(b"ann", address(0), now);
        room.handle(b"", address(0), now);
        for number in 1..500 {
            room.handle(b"x", address(number), now);
            assert!(room.members.len() <= 1 + MOST_UNPROVEN);
        }
        assert!(room.members.contains_key(&address(0)));
        assert!(room.members.contains_key(&address(499)));
    }

    #[test]
    fn a_burst_of_nicks_is_not_announced() {
        let now = Instant::now();
        let mut room = DatagramRoom::new(100, IDLE, now);
        for number in 0..100 {
            let joined = room.handle(b"x", address(number), now);
            let announced = (number as usize) < UNPROVEN_ANNOUNCED;
            assert_eq!(
                joined,
                [Action::Join {
                    nick: "x",
                    announced
                }]
            );
        }
        let announces = Action::Heard { announces: true };
        assert_eq!(room.handle(b"", address(99), now), [announces]);
        assert_eq!(room.handle(b"", address(99), now), [HEARD]);
    }

    #[test]
    fn silence_ends_a_membership() {
        let start = Instant::now();
        let mut room = DatagramRoom::new(10, IDLE, start);
        room.handle(b"ann", address(1), start);
        room.handle(b"bob", address(2), start);
        let later = start + IDLE;
        room.handle(b"", address(1), later - Duration::from_secs(1));
        assert_eq!(room.expire(later - Duration::from_millis(1)), []);
        assert_eq!(room.expire(later), [address(2)]);
        assert_eq!(room.members.len(), 1);
        assert!(room.unproven.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_comes_the_table_is_bounded_and_right(
            datagrams in prop::collection::vec(
                (0..8u32, prop::sample::select(vec!["ann", "bye", "", "two words", "a/b", "\n", "x"]), 0..400u64),
                0..200,
            ),
        ) {
            let mut now = Instant::now();
            let mut room = DatagramRoom::new(4, Duration::from_secs(5), now);
            let mut members = std::collections::HashSet::new();
            for (number, text, pause_ms) in datagrams {
                now += Duration::from_millis(pause_ms);
                let from = address(number);
                for action in room.handle(text.as_bytes(), from, now) {
                    match action {
                        Action::Join { .. } => prop_assert!(members.insert(from)),
                        Action::Leave => prop_assert!(members.remove(&from)),
                        Action::Forget(other) => prop_assert!(members.remove(&other)),
                        Action::Say(_) | Action::Heard { .. } => prop_assert!(members.contains(&from)),
                        Action::Answer(_) => prop_assert!(!members.contains(&from)),
                    }
                }
                for idle in room.expire(now) {
                    prop_assert!(members.remove(&idle));
                }
                prop_assert!(members.len() <= 4);
                prop_assert_eq!(room.members.len(), members.len());
                let unproven = room.members.values().filter(|member| !member.is_proven).count();
                prop_assert_eq!(room.unproven.len(), unproven);
            }
        }
    }
}
