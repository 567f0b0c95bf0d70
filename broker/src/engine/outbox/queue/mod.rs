//! What waits for one client: bounded, in order, and each message in it accounted for.
//!
//! When there is no room, messages are dropped as the client has chosen, and reported in their
//! place. Answers are never dropped. The queue knows no frame: the wire gives it bytes and a
//! [`Encoder`] for what it says itself.

pub(crate) mod drop_log;
mod overflow;
pub(crate) mod policies;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use protocol::{Filter, Slow};

use crate::clock::Moment;
use crate::engine::memory::budget::{Charge, Memory};
use crate::engine::outbox::delivery::outgoing::{Outgoing, Span};
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::queue::policies::{OverflowPolicies, TooManyPolicies};
use crate::engine::outbox::run::{Kept, PublishOptions, Redelivery, Run};
use crate::engine::stats::latency::Latency;
use crate::engine::stats::tally::{Reason, Tally};

/// A run shorter than this is copied to the end of the queue, a longer one shared.
pub(crate) const COPY_BELOW_BYTES: usize = 1024;

/// Small runs are collected in pieces of this size.
const COLLECTED_BYTES: usize = 16 * 1024;

/// How many stretches one send is given at most.
pub(crate) const SLICES: usize = 16;

/// What an outbox has been handed, and where it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Messages it was handed.
    pub(crate) taken: u64,
    /// Messages that stand in the queue; of the first, a part may have left.
    pub(crate) waiting: u64,
    /// Bytes of them that have not left.
    pub(crate) waiting_bytes: usize,
    /// When something was dropped last.
    pub(crate) dropped_at: Option<Moment>,
    pub(crate) tally: Tally,
}

/// What waits for one client, in order.
#[derive(Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Chunks that have left, so that a chunk keeps its number while those before it leave.
    left: u64,
    /// Bytes of the first chunk that have been sent.
    sent: usize,
    /// Bytes of messages that wait, without the notices among them.
    pub(crate) message_bytes: usize,
    /// Bytes of answers that wait.
    pub(crate) answer_bytes: usize,
    /// Until the queue is half empty, messages are refused for which that was chosen.
    refuses_newest: bool,
    /// So are all, because nothing that waits may be dropped for them.
    refuses_all: bool,
    /// Dropped behind all that waits, and not yet reported.
    gap: u64,
    /// Dropped where the client has come to by now, and for an adapter to tell.
    untold: u64,
    policies: Option<Box<OverflowPolicies>>,
    /// More than half of what may wait does, and publishers shall wait for it.
    wants_backpressure: bool,
    /// Publishers have waited in vain: they do so no more until the client takes something.
    is_stuck: bool,
    /// Where and when something was dropped, if anything was.
    drop_log: Option<Box<DropLog>>,
    /// Of a closed outbox.
    redeliveries: Vec<Redelivery>,
    /// How many messages they are.
    redelivered: u64,
    /// Messages that the outbox was handed, but for orphans that have been taken out.
    pub(crate) taken: u64,
    pub(crate) tally: Tally,
}

/// What a queue may take, and how it words what it says.
pub(crate) struct Terms {
    /// How many bytes of messages may wait.
    pub(crate) limit: usize,
    pub(crate) memory: Arc<Memory>,
    pub(crate) encoder: &'static Encoder,
}

impl Terms {
    /// How many bytes of messages may wait now.
    fn room(&self) -> usize {
        self.limit.min(self.memory.free())
    }

    /// Why there is no more room.
    fn reason(&self) -> Reason {
        if self.memory.free() < self.limit {
            Reason::Memory
        } else {
            Reason::Full
        }
    }

    /// How many messages end in this.
    fn count(&self, messages: &[u8]) -> u64 {
        match messages {
            [] => 0,
            _ => (self.encoder.count)(messages),
        }
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
    /// What may happen to messages.
    slow: Slow,
    /// If they are for one member of a group, the filter of that group.
    share: Option<Arc<str>>,
    options: PublishOptions,
    /// The line of the only message here, if it is for one member of a group and `data` holds
    /// something else.
    line: Option<Bytes>,
    /// The topic of the only message here, if only the newest of that topic is kept.
    latest: Option<Arc<[u8]>>,
    /// Since when the first of it waits.
    since: Moment,
}

pub(crate) enum Data {
    Shared(Kept),
    /// With what its capacity takes of the memory.
    Owned(Vec<u8>, Charge),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many messages end in this chunk.
    Messages(u64),
    /// Of messages that an adapter keeps account of.
    Kept,
    /// The notice that so many messages are missing here; it has no bytes if none is.
    Gap(u64),
    Answer,
    /// The newest receipt, which a newer one may replace until it has begun to leave.
    Receipt {
        copies: u64,
    },
}

impl Queue {
    /// Queues a run from byte `from` on, or drops what there is no room for. A message that has begun
    /// to leave is finished, and an empty queue has room for any one message that the memory has
    /// room for: the limit is never less than the longest.
    pub(crate) fn take(&mut self, run: &Run<'_>, from: usize, terms: &Terms) {
        let rest = run.bytes().len() - from;
        let has_room = self.message_bytes + rest <= terms.room();
        if has_room && self.policies.is_none() && !self.refuses_newest && !self.refuses_all {
            let at = match from {
                0 => 0,
                _ => (terms.encoder.fitting)(run.bytes(), from),
            };
            // To count what has left costs too much here. It counts as waiting until all has left,
            // unless the first message that waits could not be told from it then.
            let left = match at {
                1.. if at == from || run.share().is_some() => {
                    (terms.encoder.count)(&run.bytes()[..at])
                }
                _ => 0,
            };
            self.tally.written += left;
            let messages = run.messages() - left;
            self.take_part(run, at..run.bytes().len(), messages, terms);
            self.skip(from - at);
        } else {
            self.take_as_chosen(run, from, terms);
        }
    }

    /// So much at the front has left already.
    fn skip(&mut self, sent: usize) {
        if sent > 0 {
            debug_assert_eq!(self.chunks.len(), 1, "more than one has begun to leave");
            self.sent = sent;
            self.message_bytes -= sent;
        }
    }

    fn take_part(&mut self, run: &Run<'_>, part: Range<usize>, messages: u64, terms: &Terms) {
        self.take_part_as(Slow::default(), run, part, messages, terms);
    }

    /// Queues a part of a run, in which so many messages end.
    fn take_part_as(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        terms: &Terms,
    ) {
        let bytes = &run.bytes()[part.clone()];
        if bytes.len() < COPY_BELOW_BYTES
            && let Some(Chunk {
                data: Data::Owned(collected, _),
                kind: Kind::Messages(before),
                slow: chosen,
                share,
                options,
                line: None,
                latest: None,
                since: _,
            }) = self.chunks.back_mut()
            && *chosen == slow
            && share.as_ref() == run.share()
            && (share.is_none() || *options == run.options())
            && run.line().is_none()
            && collected.capacity() - collected.len() >= bytes.len()
        {
            collected.extend_from_slice(bytes);
            *before += messages;
            self.message_bytes += bytes.len();
        } else {
            let data = match bytes.len() {
                COPY_BELOW_BYTES.. => Data::new(run, part, terms),
                _ => {
                    let capacity = COLLECTED_BYTES.min(terms.room()).max(bytes.len());
                    let mut collected = Vec::with_capacity(capacity);
                    collected.extend_from_slice(bytes);
                    terms.own(collected)
                }
            };
            self.push_part(data, messages, slow, run);
        }
    }

    fn push_part(&mut self, data: Data, messages: u64, slow: Slow, run: &Run<'_>) {
        self.message_bytes += data.as_slice().len();
        self.chunks.push_back(Chunk {
            data,
            kind: Kind::Messages(messages),
            slow,
            share: run.share().cloned(),
            options: run.options(),
            line: run.line().cloned(),
            latest: None,
            since: Moment::now(),
        });
    }

    /// Queues what an adapter has made, of which `sent` bytes have left. If that is more than there is
    /// room for, the oldest that may go are dropped.
    pub(crate) fn take_outgoing(&mut self, outgoing: &Outgoing, sent: usize, terms: &Terms) {
        for (range, span) in outgoing.spans() {
            if range.end <= sent {
                self.tally.written += span.messages();
                continue;
            }
            let begun = sent.saturating_sub(range.start);
            self.take_span(&outgoing.bytes()[range], span, terms);
            self.skip(begun);
        }
        let room = terms.room();
        if self.message_bytes > room {
            self.evict(self.message_bytes - room / 2, Slow::default(), terms);
        }
    }

    fn take_span(&mut self, bytes: &[u8], span: &Span, terms: &Terms) {
        self.message_bytes += bytes.len();
        if let &Span::Messages(more) = span
            && let Some(Chunk {
                data: Data::Owned(collected, _),
                kind: Kind::Messages(count),
                slow: Slow::DropOldest,
                share: None,
                latest: None,
                ..
            }) = self.chunks.back_mut()
            && collected.capacity() - collected.len() >= bytes.len()
        {
            collected.extend_from_slice(bytes);
            *count += more;
            return;
        }
        let mut data = Vec::with_capacity(match span {
            Span::Messages(_) => COLLECTED_BYTES.min(terms.room()).max(bytes.len()),
            Span::Kept | Span::Pinned | Span::OneOf(_) => bytes.len(),
        });
        data.extend_from_slice(bytes);
        let mut chunk = Chunk::plain(terms.own(data), Kind::Messages(span.messages()));
        match span {
            Span::Kept => chunk.kind = Kind::Kept,
            Span::Messages(_) => {}
            Span::Pinned => chunk.slow = Slow::DropNewest,
            Span::OneOf(redelivery) => {
                chunk.share = Some(redelivery.filter.clone());
                chunk.line = Some(redelivery.bytes.clone());
                chunk.options = redelivery.options;
            }
        }
        self.chunks.push_back(chunk);
    }

    /// Gives up what an adapter has made and cannot be sent.
    pub(crate) fn give_up_outgoing(&mut self, outgoing: &Outgoing) {
        for (_, span) in outgoing.spans() {
            match span {
                Span::Kept => {}
                Span::OneOf(redelivery) => {
                    let line = || redelivery.bytes.clone();
                    self.give_up(Some(&redelivery.filter), 1, redelivery.options, line);
                }
                Span::Messages(_) | Span::Pinned => self.tally.discarded += span.messages(),
            }
        }
    }

    /// How many dropped messages an adapter has to tell of now.
    pub(crate) fn take_untold(&mut self) -> u64 {
        mem::take(&mut self.untold)
    }

    pub(crate) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// Queues what is no message.
    pub(crate) fn push(&mut self, data: Data, kind: Kind) {
        self.note_bytes(kind, data.as_slice().len() as isize);
        self.chunks.push_back(Chunk::plain(data, kind));
    }

    /// So many bytes more or less wait.
    fn note_bytes(&mut self, kind: Kind, change: isize) {
        let bytes = match kind {
            Kind::Messages(_) | Kind::Kept => &mut self.message_bytes,
            Kind::Gap(_) => return,
            Kind::Answer | Kind::Receipt { .. } => &mut self.answer_bytes,
        };
        *bytes = bytes.saturating_add_signed(change);
    }

    /// What to send next: how many slices, and how many bytes they hold.
    pub(crate) fn front_slices<'a>(
        &'a self,
        slices: &mut [IoSlice<'a>; SLICES],
        budget: usize,
    ) -> (usize, usize) {
        let (mut count, mut offered) = (0, 0);
        for (at, chunk) in self.chunks.iter().enumerate() {
            let bytes = chunk.data.as_slice();
            let bytes = if at == 0 { &bytes[self.sent..] } else { bytes };
            let bytes = &bytes[..bytes.len().min(budget - offered)];
            if count == SLICES || offered == budget {
                break;
            }
            if !bytes.is_empty() {
                slices[count] = IoSlice::new(bytes);
                count += 1;
                offered += bytes.len();
            }
        }
        (count, offered)
    }

    /// Forgets `sent` bytes at the front, which have left now.
    pub(crate) fn advance(&mut self, mut sent: usize, latency: &Latency) {
        let now = Moment::now();
        self.tally.bytes += sent as u64;
        self.is_stuck &= sent == 0;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.data.as_slice().len() - self.sent;
            let kind = chunk.kind;
            let gone = left.min(sent);
            self.note_bytes(kind, -(gone as isize));
            sent -= gone;
            if gone < left {
                self.sent += gone;
                return;
            }
            self.sent = 0;
            let number = self.left;
            self.left = number.wrapping_add(1);
            let Some(chunk) = self.chunks.pop_front() else {
                return;
            };
            if let Some(topic) = chunk.latest
                && let Some(policies) = &mut self.policies
                && policies.latest.get(&topic) == Some(&number)
            {
                policies.latest.remove(&topic);
            }
            match kind {
                Kind::Messages(messages) => {
                    self.tally.written += messages;
                    latency.note(now.since(chunk.since), messages);
                }
                Kind::Gap(count) if left == 0 => self.untold += count,
                Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt { .. } => {}
            }
        }
    }

    /// Gives up what waits.
    pub(crate) fn clear(&mut self, encoder: &Encoder) {
        let mut sent = mem::take(&mut self.sent);
        for chunk in mem::take(&mut self.chunks) {
            let begun = mem::take(&mut sent);
            let bytes = chunk.data.as_slice();
            let messages = match chunk.kind {
                Kind::Messages(messages) => messages,
                Kind::Gap(count) if bytes.is_empty() => {
                    self.untold += count;
                    continue;
                }
                Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt { .. } => continue,
            };
            // Messages of the first chunk that have left as a whole.
            let gone = match begun {
                0 => 0,
                _ => (encoder.fitting)(bytes, begun),
            };
            let left = match gone {
                0 => messages,
                _ => (encoder.count)(&bytes[gone..]),
            };
            self.tally.written += messages - left;
            let rest = || match &chunk.line {
                Some(line) => line.clone(),
                None => Bytes::copy_from_slice(&bytes[gone..]),
            };
            self.give_up(chunk.share.as_ref(), left, chunk.options, rest);
        }
        (self.message_bytes, self.answer_bytes) = (0, 0);
        (self.refuses_newest, self.refuses_all) = (false, false);
        self.untold += mem::take(&mut self.gap);
    }

    /// All of a run that this client does not get.
    pub(crate) fn give_up_run(&mut self, run: &Run<'_>) {
        let line = || match run.line() {
            Some(line) => line.clone(),
            None => Bytes::copy_from_slice(run.bytes()),
        };
        self.give_up(run.share(), run.messages(), run.options(), line);
    }

    /// Messages that this client does not get: they are lost, unless another member of the group
    /// can get them.
    fn give_up(
        &mut self,
        share: Option<&Arc<str>>,
        messages: u64,
        options: PublishOptions,
        bytes: impl FnOnce() -> Bytes,
    ) {
        match share {
            Some(filter) if messages > 0 => {
                self.redelivered += messages;
                self.redeliveries.push(Redelivery {
                    filter: filter.clone(),
                    bytes: bytes(),
                    options,
                });
            }
            _ => self.tally.discarded += messages,
        }
    }

    /// What an adapter has given up for others: a message each.
    pub(crate) fn add_redeliveries(&mut self, mut redeliveries: Vec<Redelivery>) {
        self.redelivered += redeliveries.len() as u64;
        self.redeliveries.append(&mut redeliveries);
    }

    /// Takes out what others may get: it is as if it had never been handed over here.
    pub(crate) fn take_redeliveries(&mut self) -> Vec<Redelivery> {
        self.taken -= mem::take(&mut self.redelivered);
        mem::take(&mut self.redeliveries)
    }

    /// What it was handed, and where that is.
    pub(crate) fn stock(&self) -> Stock {
        let waiting = self.chunks.iter().map(|chunk| match chunk.kind {
            Kind::Messages(messages) => messages,
            Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt { .. } => 0,
        });
        Stock {
            taken: self.taken,
            // Orphans wait to be handed to others.
            waiting: waiting.sum::<u64>() + self.redelivered,
            waiting_bytes: self.message_bytes,
            dropped_at: self.drop_log.as_ref().map(|drop_log| drop_log.last),
            tally: self.tally,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// At least how many messages on a topic were dropped lately, and when the last.
    pub(crate) fn dropped_on(&self, topic: &str) -> Option<(u64, Moment)> {
        self.drop_log.as_ref()?.on(topic)
    }

    /// All has left: an idle outbox holds nothing.
    pub(crate) fn rest(&mut self) {
        debug_assert_eq!(self.gap, 0, "idle with a gap to tell");
        self.chunks = VecDeque::new();
        self.number_latest();
    }

    /// Chooses what shall happen to messages of a filter while the client is slow, or takes the
    /// choice back.
    pub(crate) fn choose(
        &mut self,
        filter: Filter<'_>,
        slow: Option<Slow>,
    ) -> Result<(), TooManyPolicies> {
        match slow {
            Some(slow) => {
                let policies = self.policies.get_or_insert_default();
                policies.choose(filter, slow)?;
            }
            None => {
                if let Some(policies) = &mut self.policies {
                    policies.forget(filter);
                    if policies.is_empty() {
                        self.policies = None;
                    }
                }
            }
        }
        Ok(())
    }

    /// The same for all messages, if the client has but one filter.
    pub(crate) fn choose_for_all(&mut self, slow: Slow) {
        self.policies.get_or_insert_default().choose_for_all(slow);
    }

    /// Whether publishers shall wait, for messages that came since the last call.
    pub(crate) fn take_backpressure(&mut self) -> bool {
        mem::take(&mut self.wants_backpressure) && !self.is_stuck
    }

    /// Whether publishers that wait may go on.
    pub(crate) fn is_half_empty(&self, terms: &Terms) -> bool {
        self.is_stuck || self.message_bytes <= terms.room() / 2
    }

    /// Publishers have waited, and the client has taken nothing.
    pub(crate) fn give_up_waiting(&mut self) {
        self.is_stuck = true;
    }

    /// The topics of which only the newest message is kept, for each that waits and has not begun.
    #[cfg(test)]
    pub(crate) fn latest_topics(&self) -> Vec<Arc<[u8]>> {
        let begun = usize::from(self.sent > 0);
        let waiting = self.chunks.iter().skip(begun);
        waiting.filter_map(|chunk| chunk.latest.clone()).collect()
    }

    #[cfg(test)]
    pub(crate) fn first_bytes(&self) -> &[u8] {
        self.chunks[0].data.as_slice()
    }

    /// Below half the limit messages are taken in again, after the notice of those that were not.
    pub(crate) fn end_dropping(&mut self, terms: &Terms) {
        if (self.refuses_newest || self.refuses_all) && self.message_bytes <= terms.room() / 2 {
            (self.refuses_newest, self.refuses_all) = (false, false);
            self.report_gap(terms);
        }
    }

    /// Puts in the notice of what was dropped behind all that waits.
    pub(crate) fn report_gap(&mut self, terms: &Terms) {
        let gap = mem::take(&mut self.gap);
        self.add_gap(gap, terms);
    }

    fn add_gap(&mut self, count: u64, terms: &Terms) {
        if count == 0 {
            return;
        }
        let begun = self.chunks.len() == 1 && self.sent > 0;
        let before = match self.chunks.back() {
            Some(&Chunk {
                kind: Kind::Gap(before),
                ..
            }) if !begun => {
                self.chunks.pop_back();
                before
            }
            _ => 0,
        };
        self.chunks.push_back(gap_chunk(before + count, terms));
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
        let bytes = (terms.encoder.receipt)(answered, copies);
        let grown = bytes.len() as isize - data.as_slice().len() as isize;
        *kind = Kind::Receipt { copies };
        *data = terms.own(bytes);
        self.answer_bytes = self.answer_bytes.saturating_add_signed(grown);
        true
    }
}

fn gap_chunk(count: u64, terms: &Terms) -> Chunk {
    let notice = match count {
        0 => Vec::new(),
        _ => (terms.encoder.gap)(count),
    };
    // It is short, and it comes and goes with what is dropped: that is nothing to wait for.
    let charge = terms.memory.charge(0);
    Chunk::plain(Data::Owned(notice, charge), Kind::Gap(count))
}

impl Chunk {
    fn plain(data: Data, kind: Kind) -> Self {
        Self {
            data,
            kind,
            slow: Slow::default(),
            share: None,
            options: PublishOptions::LINE,
            line: None,
            latest: None,
            since: Moment::now(),
        }
    }
}

impl Data {
    /// A part of a run, shared if it is long.
    fn new(run: &Run<'_>, part: Range<usize>, terms: &Terms) -> Self {
        let bytes = &run.bytes()[part.clone()];
        if bytes.len() < COPY_BELOW_BYTES {
            terms.own(bytes.to_vec())
        } else if bytes.len() * 4 >= run.bytes().len() * 3 {
            // All of the run is kept only for nearly all of it.
            Self::Shared(run.keep(part, &terms.memory))
        } else {
            Self::Shared(Kept::copy(bytes, &terms.memory))
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(kept) => &kept.bytes,
            Self::Owned(bytes, _) => bytes,
        }
    }

    fn forget_front(&mut self, count: usize) {
        match self {
            Self::Shared(kept) => kept.bytes.advance(count),
            Self::Owned(bytes, _) => {
                bytes.drain(..count);
            }
        }
    }

    /// Takes so much off the front.
    fn split_front(&mut self, count: usize) -> Self {
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
