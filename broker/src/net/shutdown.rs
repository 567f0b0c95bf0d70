//! Whether the broker stops: one value that all its connections look at.

use std::sync::OnceLock;
use std::time::Instant;

/// Whether the broker stops, and until when goodbyes may take.
#[derive(Default)]
pub(crate) struct ShutdownDeadline(OnceLock<Instant>);

impl ShutdownDeadline {
    pub(crate) fn begin(&self, deadline: Instant) {
        let _ = self.0.set(deadline);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
