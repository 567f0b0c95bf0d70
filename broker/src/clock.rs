//! What time it is, to a few milliseconds and for a few nanoseconds: fit to be read once a batch.
//!
//! Moments are for figures that people look at. What has to end in time goes by `Instant`.

use rustix::time::{ClockId, clock_gettime};

/// A moment, in milliseconds since the machine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        // Neither is ever negative on this clock.
        let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1000 + nanoseconds / 1_000_000)
    }

    /// How many milliseconds `earlier` is before this; none if it is not.
    pub(crate) fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same in seconds.
    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        self.ms_since(earlier) as f64 / 1000.0
    }

    /// So many milliseconds after this.
    pub(crate) fn later(self, ms: u64) -> Self {
        Self(self.0 + ms)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_moment_is_later() {
        let before = Moment::now();
        thread::sleep(Duration::from_millis(50));
        let after = Moment::now();
        assert!(after.ms_since(before) >= 40, "{before:?} {after:?}");
        assert_eq!(before.ms_since(after), 0);
        assert!(after.seconds_since(before) >= 0.04);
    }
}
