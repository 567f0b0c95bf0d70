//! The queue of one client: bounded, in order, with an account of every message.
//!
//! Without room, messages are dropped by the client's overflow policies, and reported in their place.
//! Answers are never dropped. The queue knows no format: an [`Encoder`] writes its notices.

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
use protocol::{Filter, OverflowPolicy};

use crate::clock::Moment;
use crate::clock::latency::Latency;
use crate::engine::outbox::delivery::outgoing::{Outgoing, Span};
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::queue::chunk::Chunk;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::queue::policies::{OverflowPolicies, TooManyPolicies};
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::run::{PublishOptions, Redelivery, Run};
use crate::engine::stats::tally::Tally;

pub(crate) use chunk::{COPY_BELOW_BYTES, Data, Kind};
pub(crate) use limits::QueueLimits;

/// Maximum slices given to one send.
pub(crate) const SLICES: usize = 16;

/// What an outbox was given, and where it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Messages given to it.
    pub(crate) taken: u64,
    /// Messages in the queue; the first may be partly sent.
    pub(crate) waiting: u64,
    /// Bytes of them that have not been sent.
    pub(crate) waiting_bytes: usize,
    /// Bytes of messages that are kept until they are acknowledged.
    pub(crate) kept_bytes: usize,
    /// When a message was last dropped.
    pub(crate) dropped_at: Option<Moment>,
    pub(crate) tally: Tally,
}

/// The queue of one client, in order.
#[derive(Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Number of chunks removed from the front, so that a chunk keeps its number.
    left: u64,
    /// Bytes of the first chunk that have been sent.
    sent: usize,
    /// Bytes after these that the sink has made ready. The chunks with them are neither changed nor dropped.
    ahead: usize,
    /// Bytes of queued messages, without the notices among them.
    pub(crate) message_bytes: usize,
    /// Bytes of queued answers.
    pub(crate) answer_bytes: usize,
    /// Messages with the policy `DropNewest` are refused until the queue is half empty.
    refuses_newest: bool,
    /// All messages are refused until then, because none of the queued ones may be dropped for them.
    refuses_all: bool,
    /// Messages dropped behind all chunks, and not yet reported.
    gap: u64,
    /// Messages dropped in front of everything now in the queue, to be reported with the next message.
    untold: u64,
    policies: Option<Box<OverflowPolicies>>,
    /// What is queued now is never dropped, whatever the limits are.
    pub(crate) pins: bool,
    /// More than half of the limit is queued, and the client wants publishers to wait.
    wants_backpressure: bool,
    /// Publishers have waited in vain: they do not wait again until the client takes something.
    is_stuck: bool,
    /// Publishers have waited as long as they may: until the queue has been empty, `Block` is `DropOldest`.
    is_outrun: bool,
    /// Where and when messages were dropped, if any were.
    drop_log: Option<Box<DropLog>>,
    /// Set when the outbox is closed.
    redeliveries: Vec<Redelivery>,
    /// The number of messages in them.
    redelivered: u64,
    /// Messages given to the outbox, without redeliveries that were taken out.
    pub(crate) taken: u64,
    pub(crate) tally: Tally,
}

impl Queue {
    /// Queues a run from byte `from` on, or drops what exceeds the limits. A partly sent message is
    /// finished, and an empty queue accepts any single message that fits into the free memory: the
    /// limit is never less than the longest message.
    pub(crate) fn push(&mut self, run: &Run<'_>, from: usize, limits: &QueueLimits) {
        if self.pins {
            return self.push_pinned(run, from, limits);
        }
        if self.ahead > 0 && self.is_short_of_ahead() {
            return self.push_ahead(run, from, limits);
        }
        let rest = run.bytes().len() - from;
        let has_room = self.message_bytes + rest <= limits.room();
        if has_room && self.policies.is_none() && !self.refuses_newest && !self.refuses_all {
            let at = match from {
                0 => 0,
                _ => (limits.encoder.fitting)(run.bytes(), from),
            };
            // Counting the sent messages costs too much here. They count as waiting until the whole
            // chunk is sent, unless the first waiting message could not be found then.
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

    /// Sets the number of bytes, after those that have been sent, that must leave as they are.
    #[inline]
    pub(crate) fn set_ahead(&mut self, bytes: usize) {
        self.ahead = bytes;
    }

    /// The number of chunks that have begun to leave, or that the sink has made ready.
    #[inline]
    fn begun(&self) -> usize {
        match self.ahead {
            0 => usize::from(self.sent > 0),
            _ => self.begun_ahead(),
        }
    }

    // Out of line: inlined, its locals would lie on the stack of every publisher.
    #[inline(never)]
    fn begun_ahead(&self) -> usize {
        let mut left = self.sent + self.ahead;
        let reached = self.chunks.iter().take_while(|chunk| {
            let is_reached = left > 0;
            left = left.saturating_sub(chunk.data.as_slice().len());
            is_reached
        });
        reached.count()
    }

    /// The first `sent` bytes have been sent already.
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
        self.push_part_as(OverflowPolicy::default(), run, part, messages, limits);
    }

    /// Queues a part of a run, in which `messages` messages end.
    fn push_part_as(
        &mut self,
        slow: OverflowPolicy,
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

    /// Appends messages to the last chunk. Returns false if they need a chunk of their own.
    fn append(
        &mut self,
        bytes: &[u8],
        messages: u64,
        slow: OverflowPolicy,
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

    /// Queues the output of a delivery state, of which `sent` bytes have been sent. If that exceeds the
    /// limits, the oldest messages that may be dropped are.
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
            self.evict(
                self.message_bytes - room / 2,
                OverflowPolicy::default(),
                limits,
            );
        }
    }

    fn push_span(&mut self, bytes: &[u8], span: &Span, limits: &QueueLimits) {
        let (slow, options) = (OverflowPolicy::default(), PublishOptions::LINE);
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
            Span::Pinned => chunk.slow = OverflowPolicy::DropNewest,
            Span::OneOf(redelivery) => {
                chunk.share = Some(redelivery.filter.clone());
                chunk.line = Some(redelivery.bytes.clone());
                chunk.options = redelivery.options;
            }
        }
        self.push_messages(chunk);
    }

    /// Drops the output of a delivery state that cannot be sent.
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

    /// Takes the number of dropped messages that the next message has to report.
    pub(crate) fn take_untold(&mut self) -> u64 {
        mem::take(&mut self.untold)
    }

    pub(crate) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// Queues bytes that are not a message.
    pub(crate) fn push_answer(&mut self, data: Data, kind: Kind) {
        self.note_bytes(kind, data.as_slice().len() as isize);
        self.chunks.push_back(Chunk::plain(data, kind));
    }

    /// Changes the number of queued bytes by `change`.
    fn note_bytes(&mut self, kind: Kind, change: isize) {
        let bytes = match kind {
            Kind::Messages(_) | Kind::Kept => &mut self.message_bytes,
            Kind::Gap(_) => return,
            Kind::Answer | Kind::Receipt(_) => &mut self.answer_bytes,
        };
        *bytes = bytes.saturating_add_signed(change);
    }

    /// The slices to send next: how many, and their bytes.
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

    /// Removes `sent` bytes at the front, which have been sent.
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
                Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt(_) => {}
            }
        }
    }

    /// Drops the whole queue.
    pub(crate) fn clear(&mut self, encoder: &Encoder) {
        let mut sent = mem::take(&mut self.sent);
        self.ahead = 0;
        for chunk in mem::take(&mut self.chunks) {
            let begun = mem::take(&mut sent);
            let bytes = chunk.data.as_slice();
            let messages = match chunk.kind {
                Kind::Messages(messages) => messages,
                Kind::Gap(count) if bytes.is_empty() => {
                    self.untold += count;
                    continue;
                }
                Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt(_) => continue,
            };
            // Messages of the first chunk that were sent as a whole.
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
        self.is_outrun = false;
        self.untold += mem::take(&mut self.gap);
    }

    /// Drops a whole run.
    pub(crate) fn give_up_run(&mut self, run: &Run<'_>) {
        let line = || match run.line() {
            Some(line) => line.clone(),
            None => Bytes::copy_from_slice(run.bytes()),
        };
        self.give_up(run.share(), run.messages(), run.options(), line);
    }

    /// Drops messages: they are lost, unless another member of the group can receive them.
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

    /// Adds redeliveries of the delivery state, one message each.
    pub(crate) fn add_redeliveries(&mut self, mut redeliveries: Vec<Redelivery>) {
        self.redelivered += redeliveries.len() as u64;
        self.redeliveries.append(&mut redeliveries);
    }

    /// Takes out the redeliveries; they no longer count as given to this outbox.
    pub(crate) fn take_redeliveries(&mut self) -> Vec<Redelivery> {
        self.taken -= mem::take(&mut self.redelivered);
        mem::take(&mut self.redeliveries)
    }

    /// What the queue was given, and where it is now.
    pub(crate) fn stock(&self) -> Stock {
        let waiting = self.chunks.iter().map(|chunk| match chunk.kind {
            Kind::Messages(messages) => messages,
            Kind::Kept | Kind::Gap(_) | Kind::Answer | Kind::Receipt(_) => 0,
        });
        Stock {
            taken: self.taken,
            // Redeliveries wait for other members.
            waiting: waiting.sum::<u64>() + self.redelivered,
            waiting_bytes: self.message_bytes,
            kept_bytes: 0,
            dropped_at: self.drop_log.as_ref().map(|drop_log| drop_log.last),
            tally: self.tally,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The minimum number of recent drops on a topic, and the time of the last.
    pub(crate) fn dropped_on(&self, topic: &str) -> Option<(u64, Moment)> {
        self.drop_log.as_ref()?.on(topic)
    }

    /// The queue is empty: releases its memory.
    pub(crate) fn rest(&mut self) {
        debug_assert_eq!(self.gap, 0, "idle with a gap to tell");
        self.is_outrun = false;
        self.chunks = VecDeque::new();
        self.number_latest();
    }

    /// Sets the overflow policy for messages of a filter, or removes it.
    pub(crate) fn choose(
        &mut self,
        filter: Filter<'_>,
        slow: Option<OverflowPolicy>,
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

    /// Sets the overflow policy for all messages, if the client has only one filter.
    pub(crate) fn choose_for_all(&mut self, slow: OverflowPolicy) {
        self.policies.get_or_insert_default().choose_for_all(slow);
    }

    /// Whether publishers should wait, because of messages that came since the last call.
    pub(crate) fn take_backpressure(&mut self) -> bool {
        mem::take(&mut self.wants_backpressure) && !self.is_stuck
    }

    /// Whether waiting publishers may continue.
    pub(crate) fn is_half_empty(&self, limits: &QueueLimits) -> bool {
        self.is_stuck || self.is_outrun || self.message_bytes <= limits.room() / 2
    }

    /// Until the queue has been empty, messages with the policy `Block` have `DropOldest`, also those that
    /// are queued.
    pub(crate) fn stop_blocking(&mut self) {
        self.is_outrun = !self.chunks.is_empty();
        self.wants_backpressure = false;
        for chunk in &mut self.chunks {
            if chunk.slow == OverflowPolicy::Block {
                chunk.slow = OverflowPolicy::DropOldest;
            }
        }
    }

    /// Publishers have waited, and the client has taken nothing.
    pub(crate) fn give_up_waiting(&mut self) {
        self.is_stuck = true;
    }

    /// The topics of queued messages of which only the newest is kept, unless partly sent.
    #[cfg(test)]
    pub(crate) fn latest_topics(&self) -> Vec<Arc<[u8]>> {
        let waiting = self.chunks.iter().skip(self.begun());
        waiting.filter_map(|chunk| chunk.latest.clone()).collect()
    }

    #[cfg(test)]
    pub(crate) fn first_bytes(&self) -> &[u8] {
        self.chunks[0].data.as_slice()
    }

    /// Below half of the limit, messages are accepted again, after the notice of the dropped ones.
    pub(crate) fn end_dropping(&mut self, limits: &QueueLimits) {
        if (self.refuses_newest || self.refuses_all) && self.message_bytes <= limits.room() / 2 {
            (self.refuses_newest, self.refuses_all) = (false, false);
            self.report_gap(limits);
        }
    }

    /// Queues the notice of messages dropped behind all chunks.
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

    /// The last chunk, unless a part of it has been sent and it cannot be changed any more.
    fn waiting_back(&mut self) -> Option<&mut Chunk> {
        match self.chunks.len() > self.begun() {
            true => self.chunks.back_mut(),
            false => None,
        }
    }

    /// Replaces the receipt at the end of the queue. Returns false if there is none, or a part of it
    /// has been sent.
    pub(crate) fn replace_receipt(&mut self, receipt: Receipt, limits: &QueueLimits) -> bool {
        let Some(Chunk { data, kind, .. }) = self.waiting_back() else {
            return false;
        };
        let Kind::Receipt(before) = *kind else {
            return false;
        };
        let both = before.and(receipt);
        let bytes = (limits.encoder.receipt)(&both);
        let grown = bytes.len() as isize - data.as_slice().len() as isize;
        *kind = Kind::Receipt(both);
        *data = Data::own(bytes, limits);
        self.answer_bytes = self.answer_bytes.saturating_add_signed(grown);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::memory::budget::Memory;

    /// Messages have the form `<topic><text>;` with a topic of one letter.
    const ENCODER: Encoder = Encoder {
        wire: "test",
        encode: None,
        answer: None,
        gap: |count| format!("<{count}>").into_bytes(),
        receipt: |_| Vec::new(),
        first: |messages| {
            let end = messages.iter().position(|&byte| byte == b';');
            end.map_or(messages.len(), |at| at + 1)
        },
        fitting: |messages, room| {
            let end = messages[..room].iter().rposition(|&byte| byte == b';');
            end.map_or(0, |at| at + 1)
        },
        count: |messages| messages.iter().filter(|&&byte| byte == b';').count() as u64,
        topic: |message| &message[..1],
        goodbye: b"",
        kicked: b"",
        auth_ended: b"",
        withdrawn: None,
        auth_ends_soon: b"",
        moves_when_told: false,
        taken_over: b"",
    };

    pub(super) struct Client {
        pub(super) queue: Queue,
        pub(super) limits: QueueLimits,
    }

    impl Client {
        pub(super) fn new(limit: usize) -> Self {
            Self::in_memory(limit, &Arc::new(Memory::new(usize::MAX)))
        }

        pub(super) fn in_memory(limit: usize, memory: &Arc<Memory>) -> Self {
            Self {
                queue: Queue::default(),
                limits: QueueLimits {
                    limit,
                    memory: memory.clone(),
                    encoder: &ENCODER,
                },
            }
        }

        pub(super) fn choosing(limit: usize, choices: &[(&str, OverflowPolicy)]) -> Self {
            let mut client = Self::new(limit);
            for &(filter, slow) in choices {
                let filter = Filter::parse(filter).expect("a filter");
                let chosen = client.queue.choose(filter, Some(slow));
                assert_eq!(chosen, Ok(()));
            }
            client
        }

        /// Queues these messages as one run.
        pub(super) fn push(&mut self, text: &str) {
            let count = (ENCODER.count)(text.as_bytes());
            self.queue
                .push(&Run::borrowed(text.as_bytes(), count), 0, &self.limits);
        }

        /// Queues a run whose first bytes have been sent.
        pub(super) fn push_rest(&mut self, run: &Run<'_>, from: usize) {
            self.queue.push(run, from, &self.limits);
        }

        /// Lets the client take this much, and returns it.
        pub(super) fn take(&mut self, most: usize) -> String {
            let mut taken = Vec::new();
            loop {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let room = most - taken.len();
                let (count, offered) = self.queue.front_slices(&mut slices, room);
                for slice in &slices[..count] {
                    taken.extend_from_slice(slice);
                }
                self.queue.advance(offered, &Latency::default());
                self.queue.end_dropping(&self.limits);
                if self.queue.is_empty() || taken.len() == most {
                    return String::from_utf8(taken).expect("tests send text");
                }
            }
        }

        pub(super) fn take_all(&mut self) -> String {
            self.queue.report_gap(&self.limits);
            self.take(usize::MAX)
        }

        #[track_caller]
        pub(super) fn check_dropped(&self, expected: &str) {
            assert_eq!(self.queue.tally.dropped.to_string(), expected);
        }
    }

    /// The next message tells how many are missing before it.
    const ENCODER_WITHOUT_NOTICES: Encoder = Encoder {
        gap: |_| Vec::new(),
        ..ENCODER
    };

    /// What a delivery state writes: these parts, in this order.
    fn outgoing(parts: Vec<(&str, Span)>) -> Outgoing {
        let mut outgoing = Outgoing::of(&ENCODER);
        for (text, span) in parts {
            outgoing.begin().extend_from_slice(text.as_bytes());
            outgoing.end(span);
        }
        outgoing
    }

    fn group() -> Arc<str> {
        "$share/g/a".into()
    }

    /// The message of a group, which another member would receive as the line `line`.
    fn one_of(line: &'static str) -> Span {
        Span::OneOf(Redelivery {
            filter: group(),
            bytes: Bytes::from_static(line.as_bytes()),
            options: PublishOptions::LINE,
        })
    }

    #[track_caller]
    fn check_redeliveries(queue: &mut Queue, expected: &[&str]) {
        let found = queue.take_redeliveries();
        let lines: Vec<_> = found.iter().map(|found| &found.bytes[..]).collect();
        let expected: Vec<_> = expected.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(lines, expected);
        assert!(found.iter().all(|found| found.filter == group()));
    }

    #[test]
    fn short_messages_leave_in_one_slice() {
        let mut client = Client::new(100);
        client.push("a1;");
        client.push("a2;");
        client.queue.push_outgoing(
            &outgoing(vec![("a3;", Span::Messages(1))]),
            0,
            &client.limits,
        );
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(client.queue.front_slices(&mut slices, usize::MAX), (1, 9));
        assert_eq!(client.queue.message_bytes, 9);
    }

    #[test]
    fn what_a_delivery_state_wrote_leaves_in_order_and_counts_by_its_kind() {
        let mut client = Client::new(100);
        let parts = vec![
            ("a1;a2;", Span::Messages(2)),
            ("a3;", Span::Kept),
            ("a4;", Span::Pinned),
            ("a5;", one_of("line 5")),
        ];
        // The first part has left, and a byte of the second.
        client
            .queue
            .push_outgoing(&outgoing(parts), 7, &client.limits);
        assert_eq!(client.queue.tally.written, 2);
        assert_eq!(client.queue.message_bytes, 8);
        assert_eq!(client.queue.stock().waiting, 2);
        assert_eq!(client.take_all(), "3;a4;a5;");
        assert_eq!(client.queue.tally.written, 4);
        assert_eq!(client.queue.message_bytes, 0);
    }

    #[test]
    fn what_a_delivery_state_wrote_may_fill_the_queue_to_the_last_byte() {
        let mut client = Client::new(12);
        client.push("a1;a2;");
        let fits = outgoing(vec![("a3;a4;", Span::Messages(2))]);
        client.queue.push_outgoing(&fits, 0, &client.limits);
        client.check_dropped("0 dropped");
        let exceeds = outgoing(vec![("a5;", Span::Messages(1))]);
        client.queue.push_outgoing(&exceeds, 0, &client.limits);
        client.check_dropped("3 dropped (3 full)");
        assert_eq!(client.take_all(), "<3>a4;a5;");
    }

    #[test]
    fn what_a_delivery_state_could_not_send_is_discarded_or_goes_to_another_member() {
        let mut queue = Queue {
            taken: 4,
            ..Queue::default()
        };
        queue.give_up_outgoing(&outgoing(vec![
            ("a1;a2;", Span::Messages(2)),
            ("a3;", Span::Kept),
            ("a4;", Span::Pinned),
            ("a5;", one_of("line 5")),
        ]));
        assert_eq!(queue.tally.discarded, 3);
        assert_eq!(queue.stock().waiting, 1);
        check_redeliveries(&mut queue, &["line 5"]);
        assert_eq!((queue.taken, queue.stock().waiting), (3, 0));
    }

    #[test]
    fn redeliveries_of_a_delivery_state_do_not_count_as_taken() {
        let mut queue = Queue {
            taken: 3,
            ..Queue::default()
        };
        let Span::OneOf(redelivery) = one_of("line 1") else {
            panic!("not of a group");
        };
        queue.add_redeliveries(vec![redelivery]);
        check_redeliveries(&mut queue, &["line 1"]);
        assert_eq!(queue.taken, 2);
    }

    #[test]
    fn a_run_that_is_dropped_whole_is_discarded_or_goes_to_another_member() {
        let mut queue = Queue {
            taken: 5,
            ..Queue::default()
        };
        queue.give_up_run(&Run::borrowed(b"a1;a2;", 2));
        assert_eq!(queue.tally.discarded, 2);
        check_redeliveries(&mut queue, &[]);
        queue.give_up_run(&Run::borrowed(b"a3;", 1).for_one_of(&group()));
        assert_eq!(queue.tally.discarded, 2);
        // A part in which no message ends is nothing that another member could receive.
        queue.give_up_run(&Run::borrowed(b"a4", 0).for_one_of(&group()));
        check_redeliveries(&mut queue, &["a3;"]);
        assert_eq!(queue.taken, 4);
    }

    #[test]
    fn a_notice_that_has_left_is_told_and_one_without_bytes_is_not() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        assert_eq!(client.take_all(), "<3>a4;a5;");
        assert!(!client.queue.has_untold());

        client.limits.encoder = &ENCODER_WITHOUT_NOTICES;
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        assert!(!client.queue.has_untold());
        assert_eq!(client.take_all(), "a4;a5;");
        assert!(client.queue.has_untold());
        assert_eq!(client.queue.take_untold(), 3);
        assert!(!client.queue.has_untold());
    }

    #[test]
    fn a_queue_that_is_dropped_whole_tells_only_what_no_notice_could_tell() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        // Its reader is gone, and with it the place where the messages are missing.
        client.queue.clear(&ENCODER);
        assert_eq!(client.queue.take_untold(), 0);
        assert_eq!(client.queue.tally.discarded, 2);

        client.limits.encoder = &ENCODER_WITHOUT_NOTICES;
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        client.queue.clear(&ENCODER_WITHOUT_NOTICES);
        assert_eq!(client.queue.take_untold(), 3);
        assert_eq!(client.queue.message_bytes, 0);
    }

    #[test]
    fn of_a_queue_that_is_dropped_whole_only_messages_that_left_are_written() {
        let mut client = Client::new(100);
        client.push("a1;a2;a3;");
        assert_eq!(client.take(4), "a1;a");
        client.queue.clear(&ENCODER);
        let tally = &client.queue.tally;
        assert_eq!((tally.written, tally.discarded), (1, 2));

        // One message left before these were queued, and counts with them.
        let mut client = Client::new(100);
        client.push_rest(&Run::borrowed(b"a1;a2;a3;", 3), 4);
        client.queue.clear(&ENCODER);
        let tally = &client.queue.tally;
        assert_eq!((tally.written, tally.discarded), (0, 3));
    }

    #[test]
    fn a_policy_for_all_messages_holds_for_each_topic() {
        let mut client = Client::new(12);
        client.queue.choose_for_all(OverflowPolicy::DropNewest);
        client.push("a1;b1;c1;d1;");
        client.push("e1;");
        assert_eq!(client.take_all(), "a1;b1;c1;d1;<1>");
    }

    #[test]
    fn a_queue_that_rests_keeps_no_memory() {
        let mut client = Client::new(100);
        client.push("a1;");
        client.take_all();
        client.queue.rest();
        assert_eq!(client.queue.chunks.capacity(), 0);
    }
}
