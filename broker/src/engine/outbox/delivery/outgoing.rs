//! The output of a delivery state, on its way to the socket or the queue.

use std::ops::Range;

use crate::engine::outbox::encoder::{Encode, Encoder};
use crate::engine::outbox::run::Redelivery;

/// Bytes for one client, in order, with the kind of each part.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// The end of each part, and its kind.
    spans: Vec<(usize, Span)>,
    /// Applied to each part, if the protocol wraps its packets.
    wrap: Option<Encode>,
}

/// The kind of a part of the bytes.
pub(crate) enum Span {
    /// Messages that the delivery state keeps until they are acknowledged, or packets without messages.
    Kept,
    /// This many messages, which are done once they are sent.
    Messages(u64),
    /// One message that later ones depend on, so it must not be dropped.
    Pinned,
    /// One message for one member of a group; another receives it if this member does not.
    OneOf(Redelivery),
}

impl Span {
    /// The number of messages that are done once it is sent.
    pub(crate) fn messages(&self) -> u64 {
        match self {
            Self::Kept => 0,
            Self::Messages(count) => *count,
            Self::Pinned | Self::OneOf(_) => 1,
        }
    }
}

impl Outgoing {
    /// Empty output for a client with this encoder.
    pub(crate) fn of(encoder: &Encoder) -> Self {
        Self {
            wrap: encoder.answer,
            ..Self::default()
        }
    }

    /// The buffer to append the next part to; must be followed by [`Outgoing::end`].
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a part: sets the kind of the bytes since the last end.
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

    /// The number of messages that are done once all is sent.
    pub(crate) fn messages(&self) -> u64 {
        self.spans.iter().map(|(_, span)| span.messages()).sum()
    }
}
