//! What the security log is told: events on their way to the thread that writes them, for which no client waits.
//!
//! The line is bounded; what does not fit is counted. Of events that a client can repeat as often as it likes, the first
//! few of a kind are written, and then how many there were in a minute. Nothing here knows a file.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use jiff::Timestamp;
use serde::Serialize;

use crate::auth::address::AddressBlock;
use crate::auth::identity::UsersChange;
use crate::engine::event_client::{EventClient, OrderGiver};
use crate::engine::orders::{Change, Kicked};
use crate::engine::stats::metrics::Counter;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};

/// Maximum events that wait to be written.
const MOST_WAITING: usize = 8192;

/// Time for which events of one kind are counted together, after the first ones.
const WINDOW: Duration = Duration::from_secs(60);

/// Maximum kinds that are told apart; the others of a family are one kind.
const MOST_KINDS: usize = 1024;

/// The same for logins that succeed: each client of a fleet is a kind of its own.
const MOST_LOGINS: usize = 16 * 1024;

/// Something that an operator wants to know later. No secret and no payload is in it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum SecurityEvent {
    /// A client has shown who it is.
    AuthOk {
        #[serde(flatten)]
        client: EventClient,
    },
    /// A client is not believed who it is.
    AuthFailed {
        #[serde(flatten)]
        client: EventClient,
        reason: String,
    },
    /// A connection is ended, because its user, its token or its key is gone or over.
    AuthEnded {
        #[serde(flatten)]
        client: EventClient,
    },
    /// A client may not do something.
    Denied {
        #[serde(flatten)]
        client: EventClient,
        right: &'static str,
        /// A topic, a filter or a name.
        object: String,
        /// The rule that denies; none if no rule allows it.
        rule: Option<String>,
    },
    /// A connection takes over a session that another one has.
    SessionTakenOver {
        #[serde(flatten)]
        client: EventClient,
        client_id: String,
        from_connection: Option<u64>,
        from_address: Option<String>,
    },
    Reload {
        #[serde(flatten)]
        giver: OrderGiver,
        applied: bool,
        changes: Vec<Change>,
        errors: Vec<String>,
    },
    Kick {
        #[serde(flatten)]
        giver: OrderGiver,
        kicked: Vec<Kicked>,
    },
    SessionEnded {
        #[serde(flatten)]
        giver: OrderGiver,
        client_id: String,
    },
    Drain {
        #[serde(flatten)]
        giver: OrderGiver,
        seconds: u64,
    },
    Restart {
        #[serde(flatten)]
        giver: OrderGiver,
        pid: u32,
    },
    /// Other users or tokens are in force. There may be more changes than are listed.
    UsersChanged {
        changes: Vec<UsersChange>,
        total: usize,
    },
    /// Other keys of JWTs are in force.
    KeysChanged { from: String, to: String },
    /// Other files of TLS are in force.
    CertificatesChanged { file: String, ends: String },
    /// Changed files of TLS cannot be taken.
    CertificatesRefused { errors: Vec<String> },
    /// Events for which there was no room.
    Lost { number: u64 },
}

/// An event as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct EventLine {
    time: String,
    #[serde(flatten)]
    event: SecurityEvent,
    /// How many events this one stands for, of those that can be many.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// The time in which they were, if it is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

/// Events of one kind are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventKind {
    /// What is shown, and from where.
    Failed(&'static str, AddressBlock),
    /// Name, wire, and from where.
    Ok(String, &'static str, AddressBlock),
    /// As the log counts them: name, right, and the rule that denies.
    Denied(String, &'static str, String),
    /// Name, and from where.
    TakenOver(String, AddressBlock),
    /// All for which there is no room.
    Other(EventFamily),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventFamily {
    Failed,
    Ok,
    Denied,
    TakenOver,
}

impl EventKind {
    fn family(&self) -> EventFamily {
        match self {
            Self::Failed(..) => EventFamily::Failed,
            Self::Ok(..) => EventFamily::Ok,
            Self::Denied(..) => EventFamily::Denied,
            Self::TakenOver(..) => EventFamily::TakenOver,
            Self::Other(family) => *family,
        }
    }
}

impl EventFamily {
    /// How many of a kind are written one by one.
    fn singly(self) -> u32 {
        match self {
            Self::Failed | Self::Ok | Self::TakenOver => 5,
            Self::Denied => 1,
        }
    }

    fn most_kinds(self) -> usize {
        match self {
            Self::Ok => MOST_LOGINS,
            Self::Failed | Self::Denied | Self::TakenOver => MOST_KINDS,
        }
    }
}

/// Where events wait.
#[derive(Default)]
pub(crate) struct SecurityEvents {
    /// Without a security log no event is made.
    is_on: AtomicBool,
    waiting: Mutex<WaitingEvents>,
    /// Signalled when there is something to do for the thread that writes.
    changed: Condvar,
    /// Events that have been written.
    pub(crate) written: Counter,
    /// Events for which there was no room.
    pub(crate) lost: Counter,
}

#[derive(Default)]
struct WaitingEvents {
    lines: Vec<EventLine>,
    /// Those for which there was no room since the last time that there was some.
    lost: u64,
    repeats: Repeats,
    is_to_reopen: bool,
    is_closing: bool,
}

/// What the thread that writes is to do.
#[derive(Debug, Default)]
pub(crate) struct SecurityWork {
    pub(crate) lines: Vec<EventLine>,
    /// Opens its file anew, or takes another; before it writes these lines.
    pub(crate) is_to_reopen: bool,
    /// These lines are the last.
    pub(crate) is_closing: bool,
}

impl SecurityEvents {
    /// Whether there is a security log.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// From now on there is one, or there is none.
    pub(crate) fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Notes an event.
    pub(crate) fn note(&self, event: impl FnOnce() -> SecurityEvent) {
        if self.is_on() {
            let line = EventLine::of(event(), None);
            let lost = self.waiting.lock().push(line);
            self.lost.add(lost);
            self.changed.notify_all();
        }
    }

    /// Notes an event that its client can repeat.
    pub(crate) fn note_repeated(
        &self,
        kind: EventKind,
        now: Instant,
        event: impl FnOnce() -> SecurityEvent,
    ) {
        if !self.is_on() {
            return;
        }
        let event = event();
        let mut waiting = self.waiting.lock();
        // One that is only counted wakes no thread: the end of its minute is known since the first of its kind.
        if let Some(event) = waiting.repeats.count(kind, now, event) {
            let lost = waiting.push(EventLine::of(event, Some(1)));
            drop(waiting);
            self.lost.add(lost);
            self.changed.notify_all();
        }
    }

    /// Has the file of the log opened anew.
    pub(crate) fn reopen(&self) {
        self.waiting.lock().is_to_reopen = true;
        self.changed.notify_all();
    }

    /// The thread that writes ends after what is noted until now.
    pub(crate) fn close(&self) {
        self.waiting.lock().is_closing = true;
        self.changed.notify_all();
    }

    /// What is to do next, at the latest at this moment. Without `takes_lines` they stay for later.
    pub(crate) fn next(&self, takes_lines: bool, deadline: Option<Instant>) -> SecurityWork {
        let mut waiting = self.waiting.lock();
        loop {
            let now = Instant::now();
            let is_closing = waiting.is_closing;
            let mut lost = 0;
            for line in waiting.repeats.due(now, is_closing) {
                lost += waiting.push(line);
            }
            self.lost.add(lost);
            let takes_lines = takes_lines || is_closing;
            let has_lines = takes_lines && waiting.has_lines();
            let is_late = deadline.is_some_and(|deadline| deadline <= now);
            if has_lines || waiting.is_to_reopen || is_closing || is_late {
                return SecurityWork {
                    lines: match takes_lines {
                        true => waiting.take_lines(),
                        false => Vec::new(),
                    },
                    is_to_reopen: mem::take(&mut waiting.is_to_reopen),
                    is_closing,
                };
            }
            match deadline.into_iter().chain(waiting.repeats.next_due()).min() {
                Some(moment) => {
                    self.changed.wait_until(&mut waiting, moment);
                }
                None => self.changed.wait(&mut waiting),
            }
        }
    }
}

impl WaitingEvents {
    /// Returns the number of events that are lost because there is no room.
    fn push(&mut self, line: EventLine) -> u64 {
        if self.lines.len() < MOST_WAITING {
            self.lines.push(line);
            return 0;
        }
        let number = line.count.unwrap_or(1);
        self.lost += number;
        number
    }

    fn has_lines(&self) -> bool {
        !self.lines.is_empty() || self.lost > 0
    }

    fn take_lines(&mut self) -> Vec<EventLine> {
        let mut lines = mem::take(&mut self.lines);
        if let number @ 1.. = mem::take(&mut self.lost) {
            lines.push(EventLine::of(SecurityEvent::Lost { number }, None));
        }
        lines
    }
}

impl EventLine {
    fn of(event: SecurityEvent, count: Option<u64>) -> Self {
        Self {
            time: format!("{:.3}", Timestamp::now()),
            event,
            count,
            seconds: None,
        }
    }
}

/// How often events of each kind came lately.
#[derive(Default)]
struct Repeats {
    kinds: HashMap<EventKind, RepeatedEvent, RandomState>,
    /// When to look at which, in order.
    due: VecDeque<(Instant, EventKind)>,
    /// The number of kinds of each family.
    numbers: HashMap<EventFamily, usize, RandomState>,
}

struct RepeatedEvent {
    since: Instant,
    singly: u32,
    /// The last of those that are counted, and their number.
    more: Option<(SecurityEvent, u64)>,
}

impl Repeats {
    /// Counts an event; returns it if it is to be written as one.
    fn count(
        &mut self,
        kind: EventKind,
        now: Instant,
        event: SecurityEvent,
    ) -> Option<SecurityEvent> {
        let family = kind.family();
        let number = self.numbers.entry(family).or_default();
        let kind = match self.kinds.contains_key(&kind) {
            false if *number >= family.most_kinds() => EventKind::Other(family),
            _ => kind,
        };
        let known = self.kinds.entry(kind.clone()).or_insert_with(|| {
            *number += 1;
            self.due.push_back((now + WINDOW, kind));
            RepeatedEvent {
                since: now,
                singly: 0,
                more: None,
            }
        });
        if known.singly < family.singly() {
            known.singly += 1;
            return Some(event);
        }
        let before = known.more.take().map_or(0, |(_, number)| number);
        known.more = Some((event, before + 1));
        None
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(moment, _)| *moment)
    }

    /// The counts of the kinds whose minute is over, or of all. A kind of which no more came is forgotten.
    fn due(&mut self, now: Instant, all: bool) -> Vec<EventLine> {
        let mut lines = Vec::new();
        while let Some((_, kind)) = self.due.pop_front_if(|(moment, _)| all || *moment <= now) {
            let Some(known) = self.kinds.get_mut(&kind) else {
                continue;
            };
            let Some((event, count)) = known.more.take() else {
                self.kinds.remove(&kind);
                if let Some(number) = self.numbers.get_mut(&kind.family()) {
                    *number -= 1;
                }
                continue;
            };
            let seconds = now.duration_since(known.since).as_secs().max(1);
            known.since = now;
            lines.push(EventLine {
                seconds: Some(seconds),
                ..EventLine::of(event, Some(count))
            });
            // At the end nothing comes any more.
            if !all {
                self.due.push_back((now + WINDOW, kind));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn failed() -> SecurityEvent {
        SecurityEvent::AuthFailed {
            client: EventClient::default(),
            reason: "wrong".to_owned(),
        }
    }

    fn from(number: u32) -> EventKind {
        let address = AddressBlock::of(Ipv4Addr::from(number).into());
        EventKind::Failed("password", address)
    }

    fn events() -> SecurityEvents {
        let events = SecurityEvents::default();
        events.switch(true);
        events
    }

    #[test]
    fn of_many_events_of_a_kind_the_first_are_written_and_the_others_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut written_at = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let lines = repeats.due(now, false).into_iter();
            let counts = lines.map(|line| (line.count.unwrap_or(0), line.seconds.unwrap_or(0)));
            let counts: Vec<_> = counts.collect();
            let singly = (0..100).filter(|_| repeats.count(from(1), now, failed()).is_some());
            (singly.count(), counts)
        };
        assert_eq!(written_at(0), (5, vec![]));
        assert_eq!(written_at(59), (0, vec![]));
        assert_eq!(written_at(60), (0, vec![(195, 60)]));
        assert_eq!(written_at(120), (0, vec![(100, 60)]));
        assert_eq!(written_at(180), (0, vec![(100, 60)]));
        // After a minute without one, the first are written again.
        let later = start + Duration::from_secs(300);
        assert_eq!(repeats.due(later, false).len(), 1);
        assert!(repeats.due(later + WINDOW, false).is_empty());
        assert!(repeats.kinds.is_empty() && repeats.due.is_empty());
        assert!(repeats.count(from(1), later, failed()).is_some());
    }

    #[test]
    fn kinds_in_large_numbers_are_one_and_are_forgotten() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let written = (0..10_000).filter(|n| repeats.count(from(*n), now, failed()).is_some());
        assert_eq!(written.count(), MOST_KINDS + 5);
        assert_eq!(repeats.kinds.len(), MOST_KINDS + 1);
        let counts = repeats.due(now + WINDOW, false);
        let counted: Vec<_> = counts.into_iter().filter_map(|line| line.count).collect();
        assert_eq!(counted, [10_000 - MOST_KINDS as u64 - 5]);
        repeats.due(now + 2 * WINDOW, false);
        assert!(repeats.kinds.is_empty() && repeats.numbers[&EventFamily::Failed] == 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_when_there_is_room() {
        let events = events();
        for number in 0..MOST_WAITING as u32 + 7 {
            events.note(|| SecurityEvent::Restart {
                giver: OrderGiver::PROCESS,
                pid: number,
            });
        }
        assert_eq!(events.lost.get(), 7);
        let nothing = events.next(false, Some(Instant::now()));
        assert!(nothing.lines.is_empty());
        let work = events.next(true, None);
        assert_eq!(work.lines.len(), MOST_WAITING + 1);
        let last = &work.lines[MOST_WAITING].event;
        assert!(
            matches!(last, SecurityEvent::Lost { number: 7 }),
            "{last:?}"
        );
    }

    #[test]
    fn at_the_end_all_is_told_and_without_a_log_nothing_is_noted() {
        let events = events();
        for _ in 0..8 {
            events.note_repeated(from(1), Instant::now(), failed);
        }
        events.close();
        let work = events.next(false, None);
        assert!(work.is_closing);
        let counts: Vec<_> = work.lines.iter().filter_map(|line| line.count).collect();
        assert_eq!(counts, [1, 1, 1, 1, 1, 3]);
        events.switch(false);
        events.note(|| unreachable!("there is no log"));
        events.note_repeated(from(1), Instant::now(), || unreachable!("there is no log"));
    }
}
