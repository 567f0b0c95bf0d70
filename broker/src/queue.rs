//! What waits for one client: bounded, in order, and each message in it accounted for.
//!
//! Messages that would push it over its limit are dropped and reported in their place. Answers are
//! never dropped. The queue knows no frame: the wire gives it bytes and a [`Wording`] for the two
//! things it says itself.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::ops::{AddAssign, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::memory::{Charge, Memory};
use crate::run::{Kept, Run};

/// A run shorter than this is copied to the end of the queue, a longer one shared.
pub(crate) const COPY_BELOW_BYTES: usize = 1024;

/// Small runs are collected in pieces of this size.
const COLLECTED_BYTES: usize = 16 * 1024;

/// How many stretches one send is given at most.
pub(crate) const SLICES: usize = 16;

/// Makes messages of a wire from lines, as many as there are lines.
pub(crate) type Encode = fn(lines: &[u8]) -> Vec<u8>;

/// How a wire words messages and what an outbox itself has to say, and where its messages end.
pub(crate) struct Wording {
    /// For messages on their way through the engine, which are lines of the line protocol; none if
    /// these are what the wire sends.
    pub(crate) encode: Option<Encode>,
    /// That many messages were dropped here.
    pub(crate) gap: fn(count: u64) -> Vec<u8>,
    /// So many publishes have been answered; so many copies were made of the newly answered.
    pub(crate) receipt: fn(answered: u64, copies: u64) -> Vec<u8>,
    /// How long the first message is, or what is left of it.
    pub(crate) first: fn(messages: &[u8]) -> usize,
    /// How much of this whole messages are that fit into `room` bytes.
    pub(crate) fitting: fn(messages: &[u8], room: usize) -> usize,
    /// How many messages end in this.
    pub(crate) count: fn(messages: &[u8]) -> u64,
    /// The broker stops.
    pub(crate) goodbye: &'static [u8],
}

/// What an outbox has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages handed to the sink, to their last byte.
    pub(crate) written: u64,
    /// Messages dropped because the queue was full.
    pub(crate) dropped: u64,
    /// Messages that were still waiting when the outbox was closed.
    pub(crate) discarded: u64,
    /// Bytes of all kinds handed to the sink.
    pub(crate) bytes: u64,
}

/// What an outbox has been handed, and where it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Messages it was handed.
    pub(crate) taken: u64,
    /// Messages that stand in the queue; of the first, a part may have left.
    pub(crate) waiting: u64,
    pub(crate) tally: Tally,
}

/// Whole messages for another member of a group.
pub(crate) struct Orphan {
    /// The filter of the group.
    pub(crate) filter: Arc<str>,
    /// Their lines.
    pub(crate) bytes: Bytes,
}

/// What waits for one client, in order.
#[derive(Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that have been sent.
    sent: usize,
    /// Bytes of messages and notices that wait.
    pub(crate) message_bytes: usize,
    /// Bytes of answers that wait.
    pub(crate) answer_bytes: usize,
    /// The queue was full and is not yet half empty: nothing is taken in.
    dropping: bool,
    /// Dropped and not yet reported.
    gap: u64,
    /// Of a closed outbox.
    pub(crate) orphans: Vec<Orphan>,
    /// Messages that the outbox was handed, but for the orphans.
    pub(crate) taken: u64,
    pub(crate) tally: Tally,
}

/// What a queue may take, and how it words what it says.
pub(crate) struct Terms {
    /// How many bytes of messages may wait.
    pub(crate) limit: usize,
    pub(crate) memory: Arc<Memory>,
    pub(crate) wording: &'static Wording,
}

impl Terms {
    /// How many bytes of messages may wait now.
    fn room(&self) -> usize {
        self.limit.min(self.memory.free())
    }

    /// Bytes that only one outbox has.
    pub(crate) fn own(&self, bytes: Vec<u8>) -> Data {
        let charge = self.memory.charge(bytes.capacity());
        Data::Owned(bytes, charge)
    }
}

struct Chunk {
    data: Data,
    kind: Kind,
    /// If they are for one member of a group, the filter of that group.
    share: Option<Arc<str>>,
    /// The line of the only message here, if it is for one member of a group and `data` holds
    /// something else.
    line: Option<Bytes>,
}

pub(crate) enum Data {
    Shared(Kept),
    /// With what its capacity takes of the memory.
    Owned(
        Vec<u8>,
        #[expect(dead_code, reason = "it gives back when it is dropped")] Charge,
    ),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many messages end in this chunk.
    Messages(u64),
    Answer,
    /// The newest receipt, which a newer one may replace until it has begun to leave.
    Receipt {
        copies: u64,
    },
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.dropped += other.dropped;
        self.discarded += other.discarded;
        self.bytes += other.bytes;
    }
}

impl Queue {
    /// Queues a run from byte `from` on, as much of it as there is room for. A message that has
    /// begun to leave is finished, and an empty queue has room for any one message that the memory
    /// has room for: the limit is never less than the longest.
    pub(crate) fn take(&mut self, run: &Run<'_>, from: usize, terms: &Terms) {
        if from == 0 && self.dropping {
            return self.drop_messages(run.messages());
        }
        let rest = &run.bytes()[from..];
        let room = terms.room().saturating_sub(self.message_bytes);
        let fitting = if rest.len() <= room {
            rest.len()
        } else {
            let first = (terms.wording.first)(rest);
            let whole = (terms.wording.fitting)(rest, room);
            if from > 0 || (self.message_bytes == 0 && first <= terms.memory.free()) {
                whole.max(first)
            } else {
                whole
            }
        };
        let dropped = match &rest[fitting..] {
            [] => 0,
            left => (terms.wording.count)(left),
        };
        if fitting > 0 {
            let mut messages = run.messages() - dropped;
            let mut start = from;
            if run.share().is_some() && from > 0 {
                // What has left as a whole is done with; of a message that has begun to leave all is
                // kept, because it may have to go to another member.
                start = (terms.wording.fitting)(run.bytes(), from);
                if start > 0 {
                    let left = (terms.wording.count)(&run.bytes()[..start]);
                    self.tally.written += left;
                    messages -= left;
                }
            }
            self.take_part(run, start..from + fitting, messages, terms);
            if start < from {
                self.sent = from - start;
                self.message_bytes -= self.sent;
            }
        }
        if dropped > 0 {
            self.dropping = true;
            self.drop_messages(dropped);
        }
    }

    fn drop_messages(&mut self, messages: u64) {
        self.gap += messages;
        self.tally.dropped += messages;
    }

    /// Queues a part of a run, in which so many messages end.
    fn take_part(&mut self, run: &Run<'_>, part: Range<usize>, messages: u64, terms: &Terms) {
        let bytes = &run.bytes()[part.clone()];
        if bytes.len() >= COPY_BELOW_BYTES {
            // All of the run is kept only for nearly all of it.
            let kept = if bytes.len() * 4 >= run.bytes().len() * 3 {
                run.keep(part, &terms.memory)
            } else {
                Kept::copy(bytes, &terms.memory)
            };
            return self.push_part(Data::Shared(kept), messages, run);
        }
        if let Some(Chunk {
            data: Data::Owned(collected, _),
            kind: Kind::Messages(before),
            share,
            line: None,
        }) = self.chunks.back_mut()
            && share.as_ref() == run.share()
            && run.line().is_none()
            && collected.capacity() - collected.len() >= bytes.len()
        {
            collected.extend_from_slice(bytes);
            *before += messages;
            self.message_bytes += bytes.len();
        } else {
            let capacity = COLLECTED_BYTES.min(terms.room()).max(bytes.len());
            let mut collected = Vec::with_capacity(capacity);
            collected.extend_from_slice(bytes);
            self.push_part(terms.own(collected), messages, run);
        }
    }

    fn push_part(&mut self, data: Data, messages: u64, run: &Run<'_>) {
        self.message_bytes += data.as_slice().len();
        self.chunks.push_back(Chunk {
            data,
            kind: Kind::Messages(messages),
            share: run.share().cloned(),
            line: run.line().cloned(),
        });
    }

    /// Queues what is no message.
    pub(crate) fn push(&mut self, data: Data, kind: Kind) {
        *self.bytes_of(kind) += data.as_slice().len();
        self.chunks.push_back(Chunk {
            data,
            kind,
            share: None,
            line: None,
        });
    }

    fn bytes_of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Messages(_) => &mut self.message_bytes,
            Kind::Answer | Kind::Receipt { .. } => &mut self.answer_bytes,
        }
    }

    /// What to send next: how many slices, and how many bytes they hold.
    pub(crate) fn front_slices<'a>(
        &'a self,
        slices: &mut [IoSlice<'a>; SLICES],
        budget: usize,
    ) -> (usize, usize) {
        let (mut count, mut offered) = (0, 0);
        for (at, (chunk, slice)) in self.chunks.iter().zip(slices).enumerate() {
            let bytes = chunk.data.as_slice();
            let bytes = if at == 0 { &bytes[self.sent..] } else { bytes };
            let bytes = &bytes[..bytes.len().min(budget - offered)];
            if bytes.is_empty() {
                break;
            }
            *slice = IoSlice::new(bytes);
            count += 1;
            offered += bytes.len();
        }
        (count, offered)
    }

    /// Forgets `sent` bytes at the front.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        self.tally.bytes += sent as u64;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.data.as_slice().len() - self.sent;
            let kind = chunk.kind;
            let gone = left.min(sent);
            *self.bytes_of(kind) -= gone;
            sent -= gone;
            if gone < left {
                self.sent += gone;
                return;
            }
            self.sent = 0;
            self.chunks.pop_front();
            if let Kind::Messages(messages) = kind {
                self.tally.written += messages;
            }
        }
    }

    /// Gives up what waits.
    pub(crate) fn clear(&mut self, wording: &Wording) {
        let mut sent = mem::take(&mut self.sent);
        for chunk in mem::take(&mut self.chunks) {
            let begun = mem::take(&mut sent);
            let Kind::Messages(messages) = chunk.kind else {
                continue;
            };
            let bytes = chunk.data.as_slice();
            // Messages of the first chunk that have left as a whole.
            let gone = match begun {
                0 => 0,
                _ => (wording.fitting)(bytes, begun),
            };
            let left = match gone {
                0 => messages,
                _ => (wording.count)(&bytes[gone..]),
            };
            self.tally.written += messages - left;
            let rest = || match &chunk.line {
                Some(line) => line.clone(),
                None => Bytes::copy_from_slice(&bytes[gone..]),
            };
            self.give_up(chunk.share.as_ref(), left, rest);
        }
        (self.message_bytes, self.answer_bytes) = (0, 0);
    }

    /// All of a run that this client does not get.
    pub(crate) fn give_up_run(&mut self, run: &Run<'_>) {
        let line = || match run.line() {
            Some(line) => line.clone(),
            None => Bytes::copy_from_slice(run.bytes()),
        };
        self.give_up(run.share(), run.messages(), line);
    }

    /// Messages that this client does not get: they are lost, unless another member of the group
    /// can get them.
    fn give_up(&mut self, share: Option<&Arc<str>>, messages: u64, bytes: impl FnOnce() -> Bytes) {
        match share {
            Some(filter) if messages > 0 => {
                self.taken -= messages;
                self.orphans.push(Orphan {
                    filter: filter.clone(),
                    bytes: bytes(),
                });
            }
            _ => self.tally.discarded += messages,
        }
    }

    /// What it was handed, and where that is.
    pub(crate) fn stock(&self) -> Stock {
        let waiting = self.chunks.iter().map(|chunk| match chunk.kind {
            Kind::Messages(messages) => messages,
            Kind::Answer | Kind::Receipt { .. } => 0,
        });
        Stock {
            taken: self.taken,
            waiting: waiting.sum(),
            tally: self.tally,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All has left: an idle outbox holds nothing.
    pub(crate) fn rest(&mut self) {
        debug_assert_eq!(self.gap, 0, "idle with a gap to tell");
        self.chunks = VecDeque::new();
    }

    #[cfg(test)]
    pub(crate) fn first_bytes(&self) -> &[u8] {
        self.chunks[0].data.as_slice()
    }

    /// Below half the limit messages are taken in again, after the notice of those that were not.
    pub(crate) fn end_dropping(&mut self, terms: &Terms) {
        if self.dropping && self.message_bytes <= terms.room() / 2 {
            self.dropping = false;
            self.report_gap(terms);
        }
    }

    pub(crate) fn report_gap(&mut self, terms: &Terms) {
        if self.gap > 0 {
            let notice = (terms.wording.gap)(mem::take(&mut self.gap));
            self.push(terms.own(notice), Kind::Messages(0));
        }
    }

    /// Puts a receipt into the place of the one that waits behind everything else. Returns false if
    /// none does, or a part of it has left.
    pub(crate) fn replace_receipt(&mut self, answered: u64, copies: u64, terms: &Terms) -> bool {
        let begun = self.chunks.len() == 1 && self.sent > 0;
        let Some(Chunk { data, kind, .. }) = self.chunks.back_mut() else {
            return false;
        };
        let Kind::Receipt { copies: before } = *kind else {
            return false;
        };
        if begun {
            return false;
        }
        let copies = before + copies;
        let bytes = (terms.wording.receipt)(answered, copies);
        let grown = bytes.len() as isize - data.as_slice().len() as isize;
        *kind = Kind::Receipt { copies };
        *data = terms.own(bytes);
        self.answer_bytes = self.answer_bytes.saturating_add_signed(grown);
        true
    }
}

impl Data {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(kept) => &kept.bytes,
            Self::Owned(bytes, _) => bytes,
        }
    }
}
