//! Whether the broker stops: one value that all its connections look at.

use std::sync::OnceLock;
use std::time::Instant;

/// Whether the broker stops, and when its last connection must have ended.
#[derive(Default)]
pub(crate) struct ShutdownDeadline(OnceLock<Instant>);

impl ShutdownDeadline {
    /// Begins the stop. The first deadline holds if it is called again.
    pub(crate) fn begin(&self, deadline: Instant) {
        let _ = self.0.set(deadline);
    }

    /// When the last connection must have ended; none as long as the broker does not stop.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
