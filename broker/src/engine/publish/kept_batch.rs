//! The messages of a batch that are on topics which keep them.

use protocol::AckLevel;

use crate::engine::history::{History, KeptLines};
use crate::storage::NotKept;

/// Room is taken in steps of this size.
const STEP_BYTES: u64 = 256 * 1024;

/// What a frame takes besides its lines, at most; a batch has one for each 64 KiB of them.
pub(super) const FRAME_BYTES: u64 = 64;

/// The messages of a batch that are to be kept.
#[derive(Default)]
pub(super) struct KeptBatch {
    pub(super) lines: Vec<KeptLines>,
    /// How many of the messages have no copy.
    pub(super) without_copies: u64,
    /// The room that they take, and what was taken for them.
    pub(super) bytes: u64,
    pub(super) admitted: u64,
    /// A record that is kept with them.
    pub(super) record: Option<Vec<u8>>,
    /// The message that is added next was kept before.
    pub(super) is_ahead: bool,
    /// The last message of the batch is one of them.
    pub(super) is_last: bool,
}

/// Messages that were kept, since the publisher began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptCount {
    pub(crate) messages: u64,
    /// Those of them of which the publisher has made no copy: the log alone has wanted them, or followers.
    pub(crate) without_copies: u64,
}

/// What came of messages that were to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptOutcome {
    pub(crate) messages: u64,
    /// The lowest of their levels.
    pub(crate) lowest: Option<AckLevel>,
    /// The sequence number of the last.
    pub(crate) last: u64,
    /// That of the last one that has to be durable before its receipt leaves; zero if none has.
    pub(crate) until: u64,
    /// Why others could not be kept, although there was room, and how many.
    pub(crate) failure: Option<NotKept>,
    pub(crate) failed: u64,
}

impl KeptBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes room for a message.
    pub(super) fn admit(&mut self, history: &History, bytes: usize) -> Result<(), NotKept> {
        let bytes = bytes as u64 + FRAME_BYTES;
        if self.bytes + bytes > self.admitted {
            let step = bytes.max(STEP_BYTES);
            history.admit(step)?;
            self.admitted += step;
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl KeptOutcome {
    pub(super) fn add(&mut self, messages: u64, level: AckLevel, last: u64) {
        self.messages += messages;
        self.lowest = Some(self.lowest.map_or(level, |lowest| lowest.min(level)));
        self.last = last;
        if level == AckLevel::Disk {
            self.until = last;
        }
    }
}
