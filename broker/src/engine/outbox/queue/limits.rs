//! How much may wait for a client, and in whose words the queue says what it says itself.

use std::sync::Arc;

use crate::engine::memory::budget::Memory;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::stats::tally::Reason;

/// What a queue may take, and how it words what it says.
pub(crate) struct QueueLimits {
    /// How many bytes of messages may wait.
    pub(crate) limit: usize,
    pub(crate) memory: Arc<Memory>,
    pub(crate) encoder: &'static Encoder,
}

impl QueueLimits {
    /// How many bytes of messages may wait now.
    pub(super) fn room(&self) -> usize {
        self.limit.min(self.memory.free())
    }

    /// Why there is no more room.
    pub(super) fn reason(&self) -> Reason {
        if self.memory.free() < self.limit {
            Reason::Memory
        } else {
            Reason::Full
        }
    }

    /// How many messages end in this.
    pub(super) fn count(&self, messages: &[u8]) -> u64 {
        match messages {
            [] => 0,
            _ => (self.encoder.count)(messages),
        }
    }
}
