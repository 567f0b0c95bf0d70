//! Decides whether the peer is still alive. It reads no clock; the time is an argument.

use std::time::{Duration, Instant};

use crate::clock;

/// After `silence` the broker is sent a PING; without an answer it counts as gone.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    silence: Duration,
    answer_timeout: Duration,
    heard: Instant,
    asked: Option<Instant>,
}

/// What to do about a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing until this time.
    Wait(Instant),
    /// Send a PING.
    Ask,
    /// The peer is gone after a silence of this length.
    Gone(Duration),
}

impl Liveness {
    pub(crate) fn new(silence: Duration, answer_timeout: Duration, now: Instant) -> Self {
        Self {
            silence,
            answer_timeout,
            heard: now,
            asked: None,
        }
    }

    /// Records that bytes have arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// Returns [`Verdict::Ask`] once for each silence.
    pub(crate) fn check(&mut self, now: Instant) -> Verdict {
        let until = match self.asked {
            None => clock::after_then(self.heard, self.silence),
            Some(asked) => clock::after_then(asked, self.answer_timeout),
        };
        if now < until {
            return Verdict::Wait(until);
        }
        if self.asked.is_some() {
            return Verdict::Gone(now - self.heard);
        }
        self.asked = Some(now);
        Verdict::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_broker_is_asked_once_and_then_gone() {
        let start = Instant::now();
        let mut liveness = Liveness::new(30 * SECOND, 10 * SECOND, start);
        let ask = start + 30 * SECOND;
        assert_eq!(liveness.check(start), Verdict::Wait(ask));
        assert_eq!(liveness.check(ask), Verdict::Ask);
        assert_eq!(liveness.check(ask), Verdict::Wait(ask + 10 * SECOND));
        let end = liveness.check(ask + 10 * SECOND);
        assert_eq!(end, Verdict::Gone(40 * SECOND));
    }

    #[test]
    fn any_word_is_a_sign_of_life() {
        let start = Instant::now();
        let mut liveness = Liveness::new(30 * SECOND, 10 * SECOND, start);
        let ask = start + 30 * SECOND;
        assert_eq!(liveness.check(ask), Verdict::Ask);
        liveness.heard(ask);
        assert_eq!(liveness.check(ask), Verdict::Wait(ask + 30 * SECOND));
    }
}
