//! Timers of the protocol state.

use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::connection::TimerKind;

/// A client has two timers: for its next PINGREQ, and for the answer to the last one.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<(TimerKind, Instant)>);

impl Timers {
    pub(super) fn set(&mut self, kind: TimerKind, time: Duration, now: Instant) {
        self.cancel(kind);
        self.0.push((kind, now + time));
    }

    pub(super) fn cancel(&mut self, kind: TimerKind) {
        self.0.retain(|(each, _)| *each != kind);
    }

    /// When the next timer fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Removes and returns a timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<TimerKind> {
        let due = self.0.iter().position(|(_, at)| *at <= now)?;
        Some(self.0.swap_remove(due).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_when_its_time_has_come() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        timers.set(TimerKind::PingreqSend, Duration::from_secs(9), now);
        timers.set(TimerKind::PingreqSend, Duration::from_secs(1), now);
        timers.set(TimerKind::PingrespRecv, Duration::from_secs(2), now);
        assert_eq!((timers.next(), timers.take_due(now)), (Some(later), None));
        assert_eq!(timers.take_due(later), Some(TimerKind::PingreqSend));
        assert_eq!(timers.take_due(later), None);
        timers.cancel(TimerKind::PingrespRecv);
        assert_eq!(timers.next(), None);
    }
}
