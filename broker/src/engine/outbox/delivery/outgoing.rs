//! What a session's delivery state has made for its client, on its way to the socket or the queue.

use std::ops::Range;

use crate::engine::outbox::encoder::{Encode, Encoder};
use crate::engine::outbox::run::Redelivery;

/// Bytes for one client, in order, and what each part of them is.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// Where each ends.
    spans: Vec<(usize, Span)>,
    /// Applied to each part, if the wire wraps what it sends.
    wrap: Option<Encode>,
}

/// What some of the bytes are.
pub(crate) enum Span {
    /// Messages that the delivery state keeps until they are acknowledged, or no messages.
    Kept,
    /// This many messages, done with when they have left.
    Messages(u64),
    /// One message that later ones depend on: it is not dropped.
    Pinned,
    /// One message for one member of a group; another gets it if this one does not.
    OneOf(Redelivery),
}

impl Span {
    /// How many messages are done with when it has left.
    pub(crate) fn messages(&self) -> u64 {
        match self {
            Self::Kept => 0,
            Self::Messages(count) => *count,
            Self::Pinned | Self::OneOf(_) => 1,
        }
    }
}

impl Outgoing {
    /// For a client of this wire.
    pub(crate) fn of(encoder: &Encoder) -> Self {
        Self {
            wrap: encoder.answer,
            ..Self::default()
        }
    }

    /// Where the next bytes go, to be followed by [`Outgoing::end`].
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What the bytes since the last end are.
    pub(crate) fn end(&mut self, span: Span) {
        if let Some(wrap) = self.wrap {
            let start = self.spans.last().map_or(0, |(end, _)| *end);
            let wrapped = wrap(&self.bytes[start..]);
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(&wrapped);
        }
        let len = self.bytes.len();
        match (self.spans.last_mut(), &span) {
            (Some((end, Span::Kept)), Span::Kept) => *end = len,
            (Some((end, Span::Messages(count))), Span::Messages(more)) => {
                (*end, *count) = (len, *count + more);
            }
            _ => self.spans.push((len, span)),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = (Range<usize>, &Span)> {
        let starts = std::iter::once(0).chain(self.spans.iter().map(|(end, _)| *end));
        starts
            .zip(&self.spans)
            .map(|(start, (end, span))| (start..*end, span))
    }

    /// How many messages are done with when all has left.
    pub(crate) fn messages(&self) -> u64 {
        self.spans.iter().map(|(_, span)| span.messages()).sum()
    }
}
