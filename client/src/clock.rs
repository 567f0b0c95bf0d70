//! When a time will be over, however long it is.

use std::time::{Duration, Instant};

/// What stands for ever: nobody waits for a century.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `time` after now.
pub(crate) fn after(time: Duration) -> Instant {
    after_then(Instant::now(), time)
}

/// `time` after `then`.
pub(crate) fn after_then(then: Instant, time: Duration) -> Instant {
    then + time.min(CENTURY)
}
