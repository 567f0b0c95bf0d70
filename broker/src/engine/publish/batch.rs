//! The messages of a batch: where each is stored, and which subscribers it goes to.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::routing::subscribers::Group;

use super::kept_batch::KeptBatch;

/// The messages of one batch.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) segments: Vec<Segment>,
    /// Messages that cannot leave as they are in the read buffer.
    pub(super) beside: Vec<u8>,
    /// The router's unsubscribe epoch when the batch began; a delivery compares it, see `delivery`.
    pub(super) unsubscribe_epoch: u64,
    /// Number of copies made of each message like the last one.
    pub(super) copies: u64,
    /// Those that are to be kept.
    pub(super) kept: KeptBatch,
}

/// Consecutive messages on one topic to the same subscribers.
pub(super) struct Segment {
    pub(super) to: To,
    pub(super) place: Place,
    pub(super) bytes: Range<usize>,
    pub(super) messages: u64,
    pub(super) options: PublishOptions,
    /// The range of its topic, in the same place.
    pub(super) topic: Range<usize>,
}

/// Consecutive segments that are adjacent in one place and go to the same audience, so that they are delivered as one.
pub(super) struct Stretch {
    pub(super) segments: Range<usize>,
    pub(super) messages: u64,
}

#[derive(Clone)]
pub(super) enum To {
    Audience(u32),
    /// One member of a group, as a slot.
    Member(u32, Arc<Group>),
}

/// The buffer that a message is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Buffer,
    Beside,
}

impl Batch {
    pub(super) fn buffer<'a>(&'a self, place: Place, buffer: &'a [u8]) -> &'a [u8] {
        match place {
            Place::Buffer => buffer,
            Place::Beside => &self.beside,
        }
    }

    pub(super) fn run_of<'a>(&'a self, segment: &Segment, buffer: &'a [u8]) -> Run<'a> {
        let bytes = &self.buffer(segment.place, buffer)[segment.bytes.clone()];
        let run = Run::borrowed(bytes, segment.messages);
        match &segment.to {
            To::Audience(_) => run,
            To::Member(_, group) => run.for_one_of(group.filter()),
        }
    }

    /// The bytes of a stretch.
    pub(super) fn bytes<'a>(&'a self, stretch: &Stretch, buffer: &'a [u8]) -> &'a [u8] {
        let segments = &self.segments[stretch.segments.clone()];
        let (first, last) = (&segments[0], &segments[segments.len() - 1]);
        &self.buffer(first.place, buffer)[first.bytes.start..last.bytes.end]
    }
}

impl Segment {
    fn continues(&self, next: &Self) -> bool {
        let same = matches!((&self.to, &next.to), (To::Audience(a), To::Audience(b)) if a == b);
        same && self.place == next.place
            && self.bytes.end == next.bytes.start
            && self.options == next.options
    }
}

/// The segments as stretches.
pub(super) fn merged(segments: &[Segment]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        match stretches.last_mut() {
            Some(last) if segments[last.segments.end - 1].continues(segment) => {
                last.segments.end += 1;
                last.messages += segment.messages;
            }
            _ => stretches.push(Stretch {
                segments: number..number + 1,
                messages: segment.messages,
            }),
        }
    }
    stretches
}
