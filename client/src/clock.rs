//! Deadlines that do not overflow.

use std::time::{Duration, Instant};

/// Longer durations are cut to this one, which no caller can tell from for ever.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `time` after now.
pub(crate) fn after(time: Duration) -> Instant {
    after_then(Instant::now(), time)
}

/// `time` after `then`.
pub(crate) fn after_then(then: Instant, time: Duration) -> Instant {
    then + time.min(CENTURY)
}
