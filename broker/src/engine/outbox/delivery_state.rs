//! What some wires do to each message for one client alone: number it, keep it until it is
//! acknowledged, leave it out.
//!
//! An [`Outbox`](crate::engine::outbox::Outbox) with an adapter hands it every message under its own lock, as
//! the line it is, and sends what the adapter makes of it. The adapter sends nothing itself and
//! waits for nothing.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::engine::memory::budget::Memory;
use crate::engine::outbox::encoder::{Encode, Encoder};
use crate::engine::outbox::run::{Redelivery, Run};

/// A wire's account of one client's messages.
pub(crate) trait Adapter: Any + Send {
    /// Whether the words that all clients of the wire share do for every message now.
    fn is_plain(&self) -> bool;

    /// Whether the client may come back: then a connection that ends leaves it as it is.
    fn outlives(&self) -> bool;

    /// Takes one message in. What is to be sent now goes to `outgoing`.
    fn take(&mut self, message: &Message<'_>, outgoing: &mut Outgoing) -> Fate;

    /// So many messages were dropped before the next.
    fn note_gap(&mut self, count: u64);

    /// Adds of what it keeps as much as may be sent now, and not much more than `room` bytes.
    fn pump(&mut self, now: Instant, room: usize, outgoing: &mut Outgoing) -> Pumped;

    /// How many messages it keeps.
    fn kept(&self) -> u64;

    /// Whether something of it waits for its turn, because the client has too much to acknowledge.
    fn holds_back(&self) -> bool;

    /// The connection has ended: nothing is sent until there is another.
    fn pause(&mut self);

    /// It ends: what it keeps is lost, except for what another member of a group may get. Returns
    /// how much is lost.
    fn give_up(&mut self, redeliveries: &mut Vec<Redelivery>) -> u64;
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stands in what goes out.
    Sent,
    /// The adapter has it.
    Kept,
    /// This client does not get it: it was not meant to, or cannot take it.
    Unwanted,
    /// The adapter keeps as much as it may.
    Dropped,
}

/// What became of kept messages while others were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pumped {
    /// They had waited too long, or the client cannot take them.
    pub(crate) discarded: u64,
}

/// A message that an adapter is handed.
pub(crate) struct Message<'a> {
    pub(crate) run: &'a Run<'a>,
    /// Which one of the run it is, from zero on.
    pub(crate) number: usize,
    /// Where its line stands in the run, with its line end.
    pub(crate) range: Range<usize>,
    pub(crate) now: Instant,
    pub(crate) memory: &'a Arc<Memory>,
}

impl Message<'_> {
    pub(crate) fn line(&self) -> &[u8] {
        &self.run.bytes()[self.range.clone()]
    }
}

/// What an adapter has made for the client, in order.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// Where each ends.
    spans: Vec<(usize, Span)>,
    /// What becomes of each, if it does not leave as it is.
    word: Option<Encode>,
}

/// What some of the bytes are.
pub(crate) enum Span {
    /// Messages that the adapter keeps account of, or no messages.
    Kept,
    /// So many messages, done with when they have left.
    Messages(u64),
    /// The same for one message that others depend on: it is not dropped.
    Pinned,
    /// One message for one member of a group, which may have to go to another.
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
            word: encoder.answer,
            ..Self::default()
        }
    }

    /// Where the next bytes go, to be followed by [`Outgoing::end`].
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What the bytes since the last end are.
    pub(crate) fn end(&mut self, span: Span) {
        if let Some(word) = self.word {
            let start = self.spans.last().map_or(0, |(end, _)| *end);
            let encoded = word(&self.bytes[start..]);
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(&encoded);
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
