//! The shutdown of the broker: one value that all its connections read.

use std::sync::OnceLock;
use std::time::Instant;

/// Whether the broker stops, and when its last connection must have ended.
#[derive(Default)]
pub(crate) struct ShutdownDeadline(OnceLock<Instant>);

impl ShutdownDeadline {
    /// Begins the shutdown. If it is called again, the first deadline holds.
    pub(crate) fn begin(&self, deadline: Instant) {
        let _ = self.0.set(deadline);
    }

    /// When the last connection must have ended; none while the broker runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
