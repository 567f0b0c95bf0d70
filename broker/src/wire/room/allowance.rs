//! How much is sent to addresses that may be forged. No I/O.
//!
//! The sender of a datagram may name any address as its own, and what is sent to that address hits a
//! stranger. An address is *proven* by its second datagram: one forged datagram makes a member, and no more
//! than a few kibibytes are sent for it.

use std::mem;
use std::time::{Duration, Instant};

/// Maximum datagrams and bytes for an address that is not proven.
pub(super) const UNPROVEN_DATAGRAMS: u32 = 64;
pub(super) const UNPROVEN_BYTES: usize = 8 * 1024;

/// Maximum bytes in a second for one address, and for all together that are not proven.
pub(super) const BYTES_A_SECOND: u32 = 64 * 1024;

/// Maximum bytes for an address since its last datagram.
pub(super) const BYTES_SINCE_HEARD: usize = 1024 * 1024;

/// The parts of a second in which bytes are counted.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(100);

/// A limit for any span of one second.
pub(crate) struct RateWindow {
    most: u32,
    began: Instant,
    /// What was taken in each of the last parts; one more than a second has, because a span may begin
    /// within a part.
    taken: [u32; SLOTS + 1],
    /// The number of the newest part.
    newest: u64,
}

impl RateWindow {
    pub(crate) fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            began: now,
            taken: [0; SLOTS + 1],
            newest: 0,
        }
    }

    /// For bytes that are sent.
    pub(crate) fn for_bytes(now: Instant) -> Self {
        Self::new(BYTES_A_SECOND, now)
    }

    /// Takes this much, if the limit allows it now.
    pub(crate) fn take(&mut self, amount: u32, now: Instant) -> bool {
        self.turn(now);
        let taken: u32 = self.taken.iter().sum();
        let fits = taken.saturating_add(amount) <= self.most;
        if fits {
            *self.newest() += amount;
        }
        fits
    }

    /// Gives back what was taken last.
    fn give_back(&mut self, amount: u32) {
        let newest = self.newest();
        *newest = newest.saturating_sub(amount);
    }

    /// Forgets parts that are over.
    fn turn(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began).as_millis();
        let number = (elapsed / SLOT.as_millis()) as u64;
        let turned = number
            .saturating_sub(self.newest)
            .min(self.taken.len() as u64);
        for _ in 0..turned {
            self.newest += 1;
            *self.newest() = 0;
        }
        self.newest = self.newest.max(number);
    }

    fn newest(&mut self) -> &mut u32 {
        let parts = self.taken.len() as u64;
        &mut self.taken[(self.newest % parts) as usize]
    }
}

/// Whether a datagram may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    /// Within a second, but not now.
    Later,
    /// Not before the address has sent a datagram.
    WhenHeard,
    /// The same; before that, one line asks for the datagram.
    AskFirst,
}

/// What may be sent to the address of one member.
pub(crate) struct Allowance {
    is_proven: bool,
    datagrams: u32,
    /// Since the last datagram of a proven address; in all for others.
    bytes: usize,
    window: RateWindow,
    has_asked: bool,
    /// The last verdict was that nothing is sent until the address is heard.
    is_held: bool,
}

impl Allowance {
    /// The allowance of an address that has sent one datagram.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            is_proven: false,
            datagrams: 0,
            bytes: 0,
            window: RateWindow::for_bytes(now),
            has_asked: false,
            is_held: false,
        }
    }

    /// Whether the address has sent a second datagram.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Whether nothing is sent until the address has sent a datagram.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// The address has sent another datagram. Returns whether it was held.
    pub(crate) fn note_heard(&mut self) -> bool {
        self.is_proven = true;
        self.bytes = 0;
        self.has_asked = false;
        mem::take(&mut self.is_held)
    }

    /// Asks for a datagram of `len` bytes, and takes them if the verdict is yes. `unproven` is the limit for
    /// all addresses together that are not proven.
    pub(crate) fn take(&mut self, len: usize, unproven: &mut RateWindow, now: Instant) -> Verdict {
        let verdict = self.decide(len, unproven, now);
        self.is_held = matches!(verdict, Verdict::WhenHeard | Verdict::AskFirst);
        verdict
    }

    fn decide(&mut self, len: usize, unproven: &mut RateWindow, now: Instant) -> Verdict {
        let bytes = len as u32;
        if !self.is_proven {
            let is_spent =
                self.datagrams >= UNPROVEN_DATAGRAMS || self.bytes + len > UNPROVEN_BYTES;
            if is_spent {
                return Verdict::WhenHeard;
            }
            if !unproven.take(bytes, now) {
                return Verdict::Later;
            }
        } else if self.bytes + len + ASKING.len() > BYTES_SINCE_HEARD {
            if self.has_asked {
                return Verdict::WhenHeard;
            }
            if !self.window.take(ASKING.len() as u32, now) {
                return Verdict::Later;
            }
            self.bytes += ASKING.len();
            self.has_asked = true;
            return Verdict::AskFirst;
        } else if !self.window.take(bytes, now) {
            return Verdict::Later;
        }
        self.datagrams += 1;
        self.bytes += len;
        Verdict::Yes
    }

    /// Gives back what was taken for a datagram that did not leave.
    pub(crate) fn give_back(&mut self, len: usize, unproven: &mut RateWindow) {
        self.bytes -= len;
        if self.is_proven {
            self.window.give_back(len as u32);
        } else {
            self.datagrams -= 1;
            unproven.give_back(len as u32);
        }
    }
}

/// The line that asks for a datagram.
pub(crate) const ASKING: &[u8] =
    b"* you were sent much and said nothing; say something to hear more\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_that_sent_one_datagram_is_sent_little() {
        let now = Instant::now();
        let mut unproven = RateWindow::for_bytes(now);
        let mut few = Allowance::new(now);
        for _ in 0..UNPROVEN_DATAGRAMS {
            assert_eq!(few.take(10, &mut unproven, now), Verdict::Yes);
        }
        assert_eq!(few.take(10, &mut unproven, now), Verdict::WhenHeard);
        let mut long = Allowance::new(now);
        for _ in 0..8 {
            assert_eq!(long.take(1024, &mut unproven, now), Verdict::Yes);
        }
        assert_eq!(long.take(1, &mut unproven, now), Verdict::WhenHeard);
        // Its second datagram proves it.
        long.note_heard();
        assert_eq!(long.take(1024, &mut unproven, now), Verdict::Yes);
        // All others together have a limit too.
        let mut sent = 0;
        while Allowance::new(now).take(1024, &mut unproven, now) == Verdict::Yes {
            sent += 1024;
        }
        assert_eq!(sent, BYTES_A_SECOND as usize - 9 * 1024);
        let mut last = Allowance::new(now);
        assert_eq!(last.take(1024, &mut unproven, now), Verdict::Later);
        let later = now + Duration::from_millis(1100);
        assert_eq!(last.take(1024, &mut unproven, later), Verdict::Yes);
    }

    #[test]
    fn a_member_is_sent_so_much_a_second_and_since_it_was_heard_and_then_asked_once() {
        let mut now = Instant::now();
        let mut unproven = RateWindow::for_bytes(now);
        let mut member = Allowance::new(now);
        member.note_heard();
        for _ in 0..2 {
            let (mut sent, mut asked) = (0, 0);
            let mut all = 0;
            loop {
                match member.take(1000, &mut unproven, now) {
                    Verdict::Yes => sent += 1000,
                    Verdict::Later => {
                        assert!(sent > 60_000 && sent <= 65_536, "{sent}");
                        all += sent;
                        sent = 0;
                        now += Duration::from_millis(1100);
                    }
                    Verdict::AskFirst => asked += 1,
                    Verdict::WhenHeard => break,
                }
            }
            all += sent + asked * ASKING.len();
            assert_eq!(asked, 1);
            assert!(
                (BYTES_SINCE_HEARD - 2000..=BYTES_SINCE_HEARD).contains(&all),
                "{all}"
            );
            member.note_heard();
            now += Duration::from_millis(1100);
        }
    }

    #[test]
    fn what_did_not_leave_is_given_back() {
        let now = Instant::now();
        let mut unproven = RateWindow::new(10, now);
        let mut member = Allowance::new(now);
        for _ in 0..100 {
            assert_eq!(member.take(10, &mut unproven, now), Verdict::Yes);
            member.give_back(10, &mut unproven);
        }
        member.note_heard();
        for _ in 0..100 {
            assert_eq!(member.take(1000, &mut unproven, now), Verdict::Yes);
            member.give_back(1000, &mut unproven);
        }
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_limit(
            steps in prop::collection::vec((0..400u64, 1..70u32), 1..200),
        ) {
            let start = Instant::now();
            let mut window = RateWindow::new(100, start);
            let (mut now, mut taken) = (start, Vec::new());
            for (pause, amount) in steps {
                now += Duration::from_millis(pause);
                if window.take(amount, now) {
                    taken.push((now, amount));
                }
            }
            for &(from, _) in &taken {
                let span = from..from + Duration::from_secs(1);
                let sum: u32 = taken.iter().filter(|(at, _)| span.contains(at)).map(|(_, it)| it).sum();
                prop_assert!(sum <= 100, "{sum}");
            }
        }
    }
}
