//! Timestamps for figures that people read, and how often they are told the same.
//!
//! The clock is read once a batch, and at rare events. That takes no system call and about twenty
//! nanoseconds. (A coarse clock would take five, but the tools that run the tests do not support it.)
//! Timeouts and deadlines use `Instant` itself.

pub(crate) mod latency;
pub(crate) mod log_limit;

use std::time::{Duration, Instant};

/// A timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Instant);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0)
    }

    /// The milliseconds from `earlier` to `self`; zero if `earlier` is later.
    pub(crate) fn ms_since(self, earlier: Self) -> u64 {
        let time = self.since(earlier);
        time.as_secs() * 1000 + u64::from(time.subsec_millis())
    }

    /// The same in seconds, to a thousandth.
    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        self.ms_since(earlier) as f64 / 1000.0
    }

    /// The moment `ms` milliseconds earlier, or the earliest that the system knows.
    pub(crate) fn earlier(self, ms: u64) -> Self {
        let earlier = self.0.checked_sub(Duration::from_millis(ms));
        Self(earlier.unwrap_or(self.0))
    }

    /// The moment `ms` milliseconds later.
    pub(crate) fn later(self, ms: u64) -> Self {
        Self(self.0 + Duration::from_millis(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_moment_is_later() {
        let before = Moment::now();
        let after = before.later(1500);
        assert_eq!(after.ms_since(before), 1500);
        assert_eq!(before.ms_since(after), 0);
        assert_eq!(after.earlier(1500), before);
        assert!((after.seconds_since(before) - 1.5).abs() < 1e-9);
        assert!(Moment::now() >= before);
    }
}
