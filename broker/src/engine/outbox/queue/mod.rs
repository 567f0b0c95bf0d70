//! What waits for one client: bounded, in order, and each message in it accounted for.
//!
//! When there is no room, messages are dropped as the client has chosen, and reported in their
//! place. Answers are never dropped. The queue knows no frame: the wire gives it bytes and a
//! [`Encoder`] for what it says itself.

mod chunk;
pub(crate) mod drop_log;
mod limits;
mod overflow;
pub(crate) mod policies;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use protocol::{Filter, Slow};

use crate::clock::Moment;
use crate::engine::outbox::delivery::outgoing::{Outgoing, Span};
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::queue::chunk::Chunk;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::queue::policies::{OverflowPolicies, TooManyPolicies};
use crate::engine::outbox::run::{PublishOptions, Redelivery, Run};
use crate::engine::stats::latency::Latency;
use crate::engine::stats::tally::Tally;

pub(crate) use chunk::{COPY_BELOW_BYTES, Data, Kind};
pub(crate) use limits::QueueLimits;

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
    /// Dropped where the client has come to by now, and to be told with the next message.
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
    /// Messages that the outbox was handed, without redeliveries that have been taken out.
    pub(crate) taken: u64,
    pub(crate) tally: Tally,
}

impl Queue {
    /// Queues a run from byte `from` on, or drops what there is no room for. A message that has begun
    /// to leave is finished, and an empty queue has room for any one message that the memory has
    /// room for: the limit is never less than the longest.
    pub(crate) fn push(&mut self, run: &Run<'_>, from: usize, limits: &QueueLimits) {
        let rest = run.bytes().len() - from;
        let has_room = self.message_bytes + rest <= limits.room();
        if has_room && self.policies.is_none() && !self.refuses_newest && !self.refuses_all {
            let at = match from {
                0 => 0,
                _ => (limits.encoder.fitting)(run.bytes(), from),
            };
            // To count what has left costs too much here. It counts as waiting until all has left,
            // unless the first message that waits could not be told from it then.
            let left = match at {
                1.. if at == from || run.share().is_some() => {
                    (limits.encoder.count)(&run.bytes()[..at])
                }
                _ => 0,
            };
            self.tally.written += left;
            let messages = run.messages() - left;
            self.push_part(run, at..run.bytes().len(), messages, limits);
            self.skip(from - at);
        } else {
            self.push_as_chosen(run, from, limits);
        }
    }

    /// The first `sent` bytes have left already.
    fn skip(&mut self, sent: usize) {
        if sent > 0 {
            debug_assert_eq!(self.chunks.len(), 1, "more than one has begun to leave");
            self.sent = sent;
            self.message_bytes -= sent;
        }
    }

    fn push_part(
        &mut self,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) {
        self.push_part_as(Slow::default(), run, part, messages, limits);
    }

    /// Queues a part of a run, in which `messages` messages end.
    fn push_part_as(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) {
        let bytes = &run.bytes()[part.clone()];
        let is_short = bytes.len() < COPY_BELOW_BYTES;
        if is_short
            && run.line().is_none()
            && self.append(bytes, messages, slow, run.share(), run.options())
        {
            return;
        }
        let data = match is_short {
            true => Data::collected(bytes, limits),
            false => Data::of_run(run, part, limits),
        };
        self.push_messages(Chunk::of_run(data, messages, slow, run));
    }

    /// Adds messages to the last chunk. Returns false if they need one of their own.
    fn append(
        &mut self,
        bytes: &[u8],
        messages: u64,
        slow: Slow,
        share: Option<&Arc<str>>,
        options: PublishOptions,
    ) -> bool {
        let last = self.chunks.back_mut();
        let appended = last.is_some_and(|last| last.append(bytes, messages, slow, share, options));
        if appended {
            self.message_bytes += bytes.len();
        }
        appended
    }

    fn push_messages(&mut self, chunk: Chunk) {
        self.message_bytes += chunk.data.as_slice().len();
        self.chunks.push_back(chunk);
    }

    /// Queues what a delivery state has made, of which `sent` bytes have left. If that is more than there is
    /// room for, the oldest that may go are dropped.
    pub(crate) fn push_outgoing(&mut self, outgoing: &Outgoing, sent: usize, limits: &QueueLimits) {
        for (range, span) in outgoing.spans() {
            if range.end <= sent {
                self.tally.written += span.messages();
                continue;
            }
            let begun = sent.saturating_sub(range.start);
            self.push_span(&outgoing.bytes()[range], span, limits);
            self.skip(begun);
        }
        let room = limits.room();
        if self.message_bytes > room {
            self.evict(self.message_bytes - room / 2, Slow::default(), limits);
        }
    }

    fn push_span(&mut self, bytes: &[u8], span: &Span, limits: &QueueLimits) {
        let (slow, options) = (Slow::default(), PublishOptions::LINE);
        if let &Span::Messages(more) = span
            && self.append(bytes, more, slow, None, options)
        {
            return;
        }
        let data = match span {
            Span::Messages(_) => Data::collected(bytes, limits),
            Span::Kept | Span::Pinned | Span::OneOf(_) => Data::own(bytes.to_vec(), limits),
        };
        let mut chunk = Chunk::plain(data, Kind::Messages(span.messages()));
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
        self.push_messages(chunk);
    }

    /// Gives up what a delivery state has made and cannot be sent.
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

    /// How many dropped messages the next message has to tell of.
    pub(crate) fn take_untold(&mut self) -> u64 {
        mem::take(&mut self.untold)
    }

    pub(crate) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// Queues what is no message.
    pub(crate) fn push_answer(&mut self, data: Data, kind: Kind) {
        self.note_bytes(kind, data.as_slice().len() as isize);
        self.chunks.push_back(Chunk::plain(data, kind));
    }

    /// `change` bytes more or less wait.
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

    /// What a delivery state has given up for others: a message each.
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
            // Redeliveries wait to be handed to others.
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
    pub(crate) fn is_half_empty(&self, limits: &QueueLimits) -> bool {
        self.is_stuck || self.message_bytes <= limits.room() / 2
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
    pub(crate) fn end_dropping(&mut self, limits: &QueueLimits) {
        if (self.refuses_newest || self.refuses_all) && self.message_bytes <= limits.room() / 2 {
            (self.refuses_newest, self.refuses_all) = (false, false);
            self.report_gap(limits);
        }
    }

    /// Puts in the notice of what was dropped behind all that waits.
    pub(crate) fn report_gap(&mut self, limits: &QueueLimits) {
        let gap = mem::take(&mut self.gap);
        self.add_gap(gap, limits);
    }

    fn add_gap(&mut self, count: u64, limits: &QueueLimits) {
        if count == 0 {
            return;
        }
        let last = self.waiting_back();
        if !last.is_some_and(|last| last.add_to_gap(count, limits)) {
            self.chunks.push_back(Chunk::gap(count, limits));
        }
    }

    /// The last chunk, unless it has begun to leave: then it says what it says.
    fn waiting_back(&mut self) -> Option<&mut Chunk> {
        let begun = usize::from(self.sent > 0);
        match self.chunks.len() > begun {
            true => self.chunks.back_mut(),
            false => None,
        }
    }

    /// Puts a receipt into the place of the one that waits behind everything else. Returns false if
    /// none does, or a part of it has left.
    pub(crate) fn replace_receipt(
        &mut self,
        answered: u64,
        copies: u64,
        limits: &QueueLimits,
    ) -> bool {
        let Some(Chunk { data, kind, .. }) = self.waiting_back() else {
            return false;
        };
        let Kind::Receipt { copies: before } = *kind else {
            return false;
        };
        let copies = before + copies;
        let bytes = (limits.encoder.receipt)(answered, copies);
        let grown = bytes.len() as isize - data.as_slice().len() as isize;
        *kind = Kind::Receipt { copies };
        *data = Data::own(bytes, limits);
        self.answer_bytes = self.answer_bytes.saturating_add_signed(grown);
        true
    }
}
