//! A piece of a queue: bytes and what they are.
//!
//! Short messages of the same kind share a chunk. The queue decides on the order of chunks, and which
//! are dropped.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use protocol::OverflowPolicy;

use super::limits::QueueLimits;
use crate::clock::Moment;
use crate::engine::memory::budget::Charge;
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::run::{Kept, PublishOptions, Run};

/// A run shorter than this is copied to the end of the queue, a longer one shared.
pub(crate) const COPY_BELOW_BYTES: usize = 1024;

/// Capacity of a chunk that collects short runs.
const COLLECTED_BYTES: usize = 16 * 1024;

pub(super) struct Chunk {
    pub(super) data: Data,
    pub(super) kind: Kind,
    /// The overflow policy of its messages.
    pub(super) slow: OverflowPolicy,
    /// The filter of the group, if its messages are for one member of a group.
    pub(super) share: Option<Arc<str>>,
    pub(super) options: PublishOptions,
    /// The line of its only message, if that is for one member of a group and `data` has another
    /// format.
    pub(super) line: Option<Bytes>,
    /// The topic of its only message, if only the newest message of that topic is kept.
    pub(super) latest: Option<Arc<[u8]>>,
    /// When its first message was queued.
    pub(super) since: Moment,
}

pub(crate) enum Data {
    Shared(Kept),
    /// With the memory charged for its capacity.
    Owned(Vec<u8>, Charge),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The number of messages that end in this chunk.
    Messages(u64),
    /// Messages that the delivery state accounts for.
    Kept,
    /// The notice that this many messages are missing here; without bytes if the number is zero.
    Gap(u64),
    Answer,
    /// The newest receipt, which a newer one may replace until a part of it has been sent.
    Receipt(Receipt),
}

impl Chunk {
    pub(super) fn plain(data: Data, kind: Kind) -> Self {
        Self {
            data,
            kind,
            slow: OverflowPolicy::default(),
            share: None,
            options: PublishOptions::LINE,
            line: None,
            latest: None,
            since: Moment::now(),
        }
    }

    /// A chunk of messages of a run.
    pub(super) fn of_run(data: Data, messages: u64, slow: OverflowPolicy, run: &Run<'_>) -> Self {
        Self {
            slow,
            share: run.share().cloned(),
            options: run.options(),
            line: run.line().cloned(),
            ..Self::plain(data, Kind::Messages(messages))
        }
    }

    /// A notice that `count` messages are missing.
    pub(super) fn gap(count: u64, limits: &QueueLimits) -> Self {
        let notice = match count {
            0 => Vec::new(),
            _ => (limits.encoder.gap)(count),
        };
        // Notices are short, and they come and go with drops: they are not charged to the memory
        // budget.
        let charge = limits.memory.charge(0);
        Self::plain(Data::Owned(notice, charge), Kind::Gap(count))
    }

    /// Appends messages. Returns false if they are of another kind, or the chunk is full.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        messages: u64,
        slow: OverflowPolicy,
        share: Option<&Arc<str>>,
        options: PublishOptions,
    ) -> bool {
        let Self {
            data: Data::Owned(collected, _),
            kind: Kind::Messages(before),
            line: None,
            latest: None,
            ..
        } = self
        else {
            return false;
        };
        // A redelivered message keeps the options of its chunk, so in a group these must be equal;
        // otherwise they do not matter.
        let is_alike = self.slow == slow
            && self.share.as_ref() == share
            && (share.is_none() || self.options == options);
        if !is_alike || collected.capacity() - collected.len() < bytes.len() {
            return false;
        }
        collected.extend_from_slice(bytes);
        *before += messages;
        true
    }

    pub(super) fn is_gap(&self) -> bool {
        matches!(self.kind, Kind::Gap(_))
    }

    /// Adds to a notice. Returns false if the chunk is not one.
    pub(super) fn add_to_gap(&mut self, count: u64, limits: &QueueLimits) -> bool {
        let Kind::Gap(before) = self.kind else {
            return false;
        };
        *self = Self::gap(before + count, limits);
        true
    }
}

impl Data {
    /// Bytes that only this outbox has.
    pub(crate) fn own(bytes: Vec<u8>, limits: &QueueLimits) -> Self {
        let charge = limits.memory.charge(bytes.capacity());
        Self::Owned(bytes, charge)
    }

    /// The same, with capacity for more.
    pub(super) fn collected(bytes: &[u8], limits: &QueueLimits) -> Self {
        let capacity = COLLECTED_BYTES.min(limits.room()).max(bytes.len());
        let mut collected = Vec::with_capacity(capacity);
        collected.extend_from_slice(bytes);
        Self::own(collected, limits)
    }

    /// A part of a run, shared if it is long.
    pub(super) fn of_run(run: &Run<'_>, part: Range<usize>, limits: &QueueLimits) -> Self {
        let bytes = &run.bytes()[part.clone()];
        if bytes.len() < COPY_BELOW_BYTES {
            Self::own(bytes.to_vec(), limits)
        } else if bytes.len() * 4 >= run.bytes().len() * 3 {
            // The whole run is kept only for nearly all of it.
            Self::Shared(run.keep(part, &limits.memory))
        } else {
            Self::Shared(Kept::copy(bytes, &limits.memory))
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(kept) => &kept.bytes,
            Self::Owned(bytes, _) => bytes,
        }
    }

    pub(super) fn forget_front(&mut self, count: usize) {
        match self {
            Self::Shared(kept) => kept.bytes.advance(count),
            Self::Owned(bytes, _) => {
                bytes.drain(..count);
            }
        }
    }

    /// Removes the first `count` bytes.
    pub(super) fn split_front(&mut self, count: usize) -> Self {
        match self {
            Self::Shared(kept) => {
                let mut front = kept.clone();
                front.bytes = kept.bytes.split_to(count);
                Self::Shared(front)
            }
            Self::Owned(bytes, charge) => {
                let front = bytes[..count].to_vec();
                bytes.drain(..count);
                let charge = charge.memory().charge(front.capacity());
                Self::Owned(front, charge)
            }
        }
    }
}
