//! The limits of a queue, and the encoder of its own notices.

use std::sync::Arc;

use crate::engine::memory::budget::Memory;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::stats::tally::Reason;

/// The limits of a queue, and its encoder.
pub(crate) struct QueueLimits {
    /// Maximum bytes of queued messages.
    pub(crate) limit: usize,
    pub(crate) memory: Arc<Memory>,
    pub(crate) encoder: &'static Encoder,
}

impl QueueLimits {
    /// Maximum bytes of queued messages at this moment, given the free memory.
    pub(in crate::engine::outbox) fn room(&self) -> usize {
        self.limit.min(self.memory.free())
    }

    /// Which of the limits applies.
    pub(super) fn reason(&self) -> Reason {
        if self.memory.free() < self.limit {
            Reason::Memory
        } else {
            Reason::Full
        }
    }

    /// The number of messages that end in these bytes.
    pub(super) fn count(&self, messages: &[u8]) -> u64 {
        match messages {
            [] => 0,
            _ => (self.encoder.count)(messages),
        }
    }
}
