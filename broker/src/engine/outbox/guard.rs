//! An outbox under its lock: delivers messages, sends answers, and changes the state.

use std::io::{self, IoSlice};
use std::mem;
use std::num::NonZeroU64;

use protocol::{Filter, OverflowPolicy};

use crate::clock::Moment;
use crate::clock::latency::Latency;
use crate::engine::outbox::delivery::DeliveryState;
use crate::engine::outbox::delivery::in_flight::{Ack, AckEffect};
use crate::engine::outbox::delivery::writer::PacketWriter;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::encoder::Parting;
use crate::engine::outbox::queue::policies::TooManyPolicies;
use crate::engine::outbox::queue::{Data, Kind, SLICES};
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::run::Run;
use crate::sync::MutexGuard;

use super::{Connected, FLUSH_BYTES, Inside, Outbox, OutboxState, Sink, finish, send, send_runs};

/// An outbox under its lock.
pub(crate) struct OutboxGuard<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) inside: MutexGuard<'a, Inside>,
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// A part of them, or all, waits.
    Queued,
    /// There is no connection.
    Lost,
}

impl Outbox {
    /// Takes the lock, so that several things can be sent without anything in between.
    pub(crate) fn lock(&self) -> OutboxGuard<'_> {
        OutboxGuard {
            outbox: self,
            inside: self.inside.lock(),
        }
    }

    /// Attaches a connection that began with another outbox, with its encoder and writer.
    pub(crate) fn attach(
        &self,
        connected: Connected,
        encoder: &'static Encoder,
        writer: Box<dyn PacketWriter>,
    ) -> OutboxGuard<'_> {
        let mut guard = self.lock();
        let inside = &mut *guard.inside;
        inside.terms.encoder = encoder;
        inside.connection = Some(connected.connection);
        inside.state = OutboxState::Idle(connected.sink);
        inside.hurried |= connected.hurried;
        if let Some(delivery) = &mut inside.delivery {
            delivery.attach(writer);
        }
        guard.note_state();
        guard
    }

    /// Gives the outbox a delivery state, which decides on each message for this client alone. Only
    /// before the client has been sent a message; `encoder` writes everything from now on.
    pub(crate) fn begin_session(
        &self,
        encoder: &'static Encoder,
        delivery: DeliveryState,
    ) -> OutboxGuard<'_> {
        let mut guard = self.lock();
        guard.inside.terms.encoder = encoder;
        guard.inside.delivery = Some(Box::new(delivery));
        guard
    }
}

impl OutboxGuard<'_> {
    /// Accepts messages, or drops them if the queue is full; in both cases they count as taken. Returns
    /// false if the outbox is closed, or the final answer was sent and there is no delivery state.
    pub(crate) fn deliver(&mut self, runs: &[&Run<'_>]) -> bool {
        if matches!(self.inside.state, OutboxState::Closed)
            || (self.inside.ending && self.inside.delivery.is_none())
        {
            return false;
        }
        self.inside.queue.taken += runs.iter().map(|run| run.messages()).sum::<u64>();
        if self.inside.is_holding() && !runs.iter().any(|run| run.is_for_filter()) {
            self.keep_for_later(runs);
            return true;
        }
        if self.inside.delivery.is_some() && !self.is_simple() {
            self.deliver_special(runs);
            return true;
        }
        self.take_encoded(runs);
        true
    }

    /// The same for messages that were read from the log for a follower: none of them is ever dropped, because the
    /// follower is given no more of them while its queue has no room.
    pub(super) fn deliver_pinned(&mut self, runs: &[&Run<'_>]) -> bool {
        if matches!(self.inside.state, OutboxState::Closed) || self.inside.ending {
            return false;
        }
        self.inside.queue.taken += runs.iter().map(|run| run.messages()).sum::<u64>();
        if self.inside.delivery.is_some() {
            // It keeps them until they are acknowledged.
            self.deliver_special(runs);
            return true;
        }
        self.inside.queue.pins = true;
        self.take_encoded(runs);
        self.inside.queue.pins = false;
        true
    }

    /// Accepts messages, in the format of the client's protocol.
    #[inline]
    fn take_encoded(&mut self, runs: &[&Run<'_>]) {
        let encoder = self.inside.terms.encoder;
        match encoder.encode {
            None => self.take(runs),
            Some(encode) => {
                let encoded: Vec<_> = runs
                    .iter()
                    .map(|run| run.encoded(encoder, encode))
                    .collect();
                let encoded: Vec<&Run<'_>> = encoded.iter().flat_map(|runs| runs.iter()).collect();
                match self.inside.quota {
                    None => self.take(&encoded),
                    Some(left) => self.take_at_most(left.get(), &encoded),
                }
            }
        }
    }

    /// Whether the final answer has been sent or queued.
    pub(crate) fn is_ending(&self) -> bool {
        self.inside.ending
    }

    /// Another connection takes the session over: sends the goodbye for that as the final answer, and
    /// ends the reading side, so that the reading thread finds its end.
    pub(crate) fn take_over(&mut self) {
        self.farewell(self.inside.terms.encoder.taken_over);
        self.end_reading();
    }

    fn end_reading(&self) {
        if let OutboxState::Idle(sink) | OutboxState::Blocked(sink) = &self.inside.state {
            sink.end_reading();
        }
    }

    /// Handles the acknowledgement of a message that the delivery state keeps.
    pub(crate) fn acknowledge(&mut self, id: u16, ack: Ack) -> AckEffect {
        let Some(delivery) = &mut self.inside.delivery else {
            return AckEffect::Unknown;
        };
        let effect = delivery.acknowledge(id, ack);
        if matches!(effect, AckEffect::Done | AckEffect::Release) {
            self.inside.queue.tally.written += 1;
        }
        effect
    }

    /// The delivery state, if the outbox has one.
    pub(crate) fn delivery(&mut self) -> Option<&mut DeliveryState> {
        self.inside.delivery.as_deref_mut()
    }

    /// Sets the number of messages after which the conversation ends. Only for protocols with an
    /// `encode`.
    pub(crate) fn set_quota(&mut self, messages: u64) {
        self.inside.quota = NonZeroU64::new(messages);
    }

    /// Accepts up to `left` messages, then says that these were all.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    fn take_at_most(&mut self, mut left: u64, runs: &[&Run<'_>]) {
        let first = self.inside.terms.encoder.first;
        for run in runs {
            let messages = run.messages().min(left);
            left -= messages;
            if messages == 0 || matches!(self.inside.state, OutboxState::Closed) {
                self.inside.queue.give_up_run(run);
            } else if messages == run.messages() {
                self.take(&[run]);
            } else {
                let bytes = run.bytes();
                let end = (0..messages).fold(0, |at, _| at + first(&bytes[at..]));
                self.inside.queue.tally.discarded += run.messages() - messages;
                self.take(&[&Run::borrowed(&bytes[..end], messages)]);
            }
        }
        self.inside.quota = NonZeroU64::new(left);
        if left == 0 {
            self.part(Parting::Stopping);
            self.end_reading();
        }
    }

    /// Accepts messages in the format of this client's protocol.
    fn take(&mut self, runs: &[&Run<'_>]) {
        self.inside.state = match self.take_state() {
            OutboxState::Idle(sink) => self.send_now(sink, runs),
            OutboxState::Blocked(sink) => {
                for run in runs {
                    self.inside.enqueue(run, 0);
                }
                OutboxState::Blocked(sink)
            }
            gone @ (OutboxState::Detached | OutboxState::Closed) => gone,
        };
        self.note_state();
    }

    /// Whether the queue is empty, so that what was delivered last has been sent.
    pub(crate) fn has_room(&self) -> bool {
        let delivery = self.inside.delivery.as_deref();
        matches!(self.inside.state, OutboxState::Idle(_))
            && !self.inside.is_holding()
            && !delivery.is_some_and(DeliveryState::holds_back)
    }

    /// Whether the client wants publishers to wait for it now, because of what was delivered last.
    pub(crate) fn take_backpressure(&mut self) -> bool {
        self.inside.queue.take_backpressure()
    }

    /// Sets the overflow policy for messages of a filter; none restores the default.
    pub(crate) fn choose(
        &mut self,
        filter: Filter<'_>,
        slow: Option<OverflowPolicy>,
    ) -> Result<(), TooManyPolicies> {
        self.inside.queue.choose(filter, slow)
    }

    /// Sets the overflow policy for all messages; their topics need not be known then.
    pub(crate) fn choose_for_all(&mut self, slow: OverflowPolicy) {
        self.inside.queue.choose_for_all(slow);
    }

    /// Sends an answer. It is never dropped, and messages dropped before it are reported first.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        match self.inside.terms.encoder.answer {
            None => self.signal(bytes),
            Some(answer) => self.signal(&answer(bytes)),
        }
    }

    /// Sends bytes unchanged, whatever the encoder does with answers.
    pub(crate) fn signal(&mut self, bytes: &[u8]) {
        let inside = &mut *self.inside;
        inside.queue.report_gap(&inside.terms);
        self.say(bytes, Kind::Answer);
    }

    /// Sends the final answer: no message follows it.
    pub(crate) fn farewell(&mut self, bytes: &[u8]) {
        if !mem::replace(&mut self.inside.ending, true) {
            self.forget_waiting();
            if let Some(delivery) = &mut self.inside.delivery {
                delivery.detach();
            }
            self.answer(bytes);
        }
    }

    /// Sends the final answer of the client's encoder for this case.
    pub(crate) fn part(&mut self, why: Parting) {
        let last = self.inside.terms.encoder.parting(why);
        self.farewell(last);
    }

    /// Tells the client that its identity ends soon, if its protocol has words for that.
    pub(crate) fn say_auth_ends_soon(&mut self) {
        let notice = self.inside.terms.encoder.auth_ends_soon;
        if !notice.is_empty() {
            self.answer(notice);
        }
    }

    /// Tells the client by this line that a subscription has been taken from it. Returns false if its protocol has
    /// no words for that.
    pub(crate) fn say_withdrawn(&mut self, line: &[u8]) -> bool {
        let Some(encode) = self.inside.terms.encoder.withdrawn else {
            return false;
        };
        self.answer(&encode(line));
        true
    }

    /// Sends a receipt. It replaces one at the end of the queue, so that receipts do not accumulate for
    /// a publisher that does not read them.
    pub(crate) fn receipt(&mut self, receipt: Receipt) {
        let Inside { queue, terms, .. } = &mut *self.inside;
        if !queue.replace_receipt(receipt, terms) {
            let bytes = (terms.encoder.receipt)(&receipt);
            self.say(&bytes, Kind::Receipt(receipt));
        }
    }

    /// Takes the state and leaves `Closed`, so that a panic before the next state is set closes the
    /// outbox.
    pub(super) fn take_state(&mut self) -> OutboxState {
        mem::replace(&mut self.inside.state, OutboxState::Closed)
    }

    pub(super) fn note_state(&self) {
        self.outbox.note_state(&self.inside.state);
    }

    /// Sends from where the bytes are; queues the rest.
    fn send_now(&mut self, sink: Box<dyn Sink>, runs: &[&Run<'_>]) -> OutboxState {
        let mut groups = runs.chunks(SLICES);
        while let Some(group) = groups.next() {
            let mut sent = match send_runs(&*sink, group) {
                Ok(sent) => sent,
                Err(failure) => {
                    for run in group.iter().chain(groups.flatten()) {
                        self.inside.queue.give_up_run(run);
                    }
                    return self.fail(failure);
                }
            };
            self.inside.queue.tally.bytes += sent as u64;
            let mut left = false;
            for run in group {
                let from = sent.min(run.bytes().len());
                sent -= from;
                if from < run.bytes().len() {
                    if !left {
                        self.inside.queue.set_ahead(sink.ahead());
                    }
                    left = true;
                    self.inside.enqueue(run, from);
                } else {
                    self.inside.queue.tally.written += run.messages();
                }
            }
            if left {
                for run in groups.flatten() {
                    self.inside.enqueue(run, 0);
                }
                return self.block(sink);
            }
        }
        OutboxState::Idle(sink)
    }

    /// Sends or queues bytes that are not a message.
    pub(super) fn say(&mut self, bytes: &[u8], kind: Kind) {
        if bytes.is_empty() {
            return;
        }
        let sent = self.send_or_queue(bytes, |inside, sent| {
            // A partly sent receipt cannot be replaced any more, so it counts as an ordinary answer.
            let kind = if sent > 0 { Kind::Answer } else { kind };
            let rest = Data::own(bytes[sent..].to_vec(), &inside.terms);
            inside.queue.push_answer(rest, kind);
        });
        if sent != Sent::Lost {
            self.inside.queue.tally.answer_bytes += bytes.len() as u64;
        }
    }

    /// Sends bytes if nothing waits before them. If not all of them left, `queue` is told how many did, and
    /// queues the rest. Returns what became of them.
    pub(super) fn send_or_queue(
        &mut self,
        bytes: &[u8],
        queue: impl FnOnce(&mut Inside, usize),
    ) -> Sent {
        let (state, sent) = match self.take_state() {
            OutboxState::Idle(sink) => match send(|| sink.send(&[IoSlice::new(bytes)])) {
                Ok(sent) => {
                    self.inside.queue.tally.bytes += sent as u64;
                    if sent == bytes.len() {
                        (OutboxState::Idle(sink), Sent::All)
                    } else {
                        self.inside.queue.set_ahead(sink.ahead());
                        queue(&mut self.inside, sent);
                        (self.block(sink), Sent::Queued)
                    }
                }
                Err(failure) => (self.fail(failure), Sent::Lost),
            },
            OutboxState::Blocked(sink) => {
                queue(&mut self.inside, 0);
                (OutboxState::Blocked(sink), Sent::Queued)
            }
            gone @ (OutboxState::Detached | OutboxState::Closed) => (gone, Sent::Lost),
        };
        self.inside.state = state;
        self.note_state();
        sent
    }

    pub(super) fn flush_into(&mut self, sink: Box<dyn Sink>, latency: &Latency) -> OutboxState {
        // Only a gap may be left to report.
        self.inside.end_dropping();
        let mut budget = FLUSH_BYTES;
        loop {
            if self.inside.queue.is_empty() && !self.refill() {
                break;
            }
            if budget == 0 {
                return self.arm(sink);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (count, offered) = self.inside.queue.front_slices(&mut slices, budget);
            match send(|| sink.send(&slices[..count])) {
                Ok(sent) => {
                    self.inside.queue.advance(sent, latency);
                    self.inside.queue.set_ahead(sink.ahead());
                    self.inside.end_dropping();
                    if sent < offered {
                        return self.arm(sink);
                    }
                    // What was ready before may be more than is offered now.
                    budget = budget.saturating_sub(sent);
                }
                Err(failure) => return self.fail(failure),
            }
        }
        self.inside.queue.rest();
        match finish(&*sink) {
            Ok(true) => OutboxState::Idle(sink),
            Ok(false) => self.arm(sink),
            Err(failure) => self.fail(failure),
        }
    }

    /// Sends what the sink has of its own, unless the flusher is going to.
    #[inline(never)]
    pub(crate) fn finish_sink(&mut self) {
        self.inside.state = match self.take_state() {
            OutboxState::Idle(sink) => match finish(&*sink) {
                Ok(true) => OutboxState::Idle(sink),
                Ok(false) => self.block(sink),
                Err(failure) => self.fail(failure),
            },
            other => other,
        };
        self.note_state();
    }

    /// Sends through another sink of the same connection from now on. Only while nothing has been sent.
    #[inline(never)]
    pub(crate) fn replace_sink(&mut self, sink: Box<dyn Sink>) {
        if let OutboxState::Idle(_) = self.inside.state {
            self.inside.state = OutboxState::Idle(sink);
        }
    }

    /// The queue is no longer empty: arms the sink.
    pub(super) fn block(&mut self, sink: Box<dyn Sink>) -> OutboxState {
        self.inside.blocked_at = Some(Moment::now());
        self.arm(sink)
    }

    pub(super) fn arm(&mut self, sink: Box<dyn Sink>) -> OutboxState {
        match sink.arm() {
            Ok(()) => OutboxState::Blocked(sink),
            Err(failure) => self.fail(failure),
        }
    }

    /// Closes after a failed send. The client's own thread learns of it from its socket.
    pub(super) fn fail(&mut self, failure: io::Error) -> OutboxState {
        self.inside.failure = Some(failure);
        self.inside.detach();
        mem::replace(&mut self.inside.state, OutboxState::Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::outbox::tests::{LOUD, TestSink, outbox};

    /// An outbox whose conversation ends after three messages.
    fn limited(room: usize) -> (Arc<Outbox>, TestSink) {
        let (outbox, sink) = outbox(1, 100, room);
        outbox.set_encoder(&LOUD);
        outbox.lock().set_quota(3);
        (outbox, sink)
    }

    #[test]
    fn a_conversation_with_a_quota_ends_with_the_last_message_of_it() {
        let (outbox, sink) = limited(100);
        let [two, three] = [(&b"a\nb\n"[..], 2), (b"c\nd\ne\n", 3)]
            .map(|(lines, count)| Run::borrowed(lines, count));
        assert!(outbox.lock().deliver(&[&two]));
        assert!(!sink.0.lock().has_ended_reading);
        // One that fits in part, and one that does not fit.
        assert!(outbox.lock().deliver(&[&three, &two]));
        assert_eq!(sink.taken(), "A;B;C;<bye>");
        assert!(sink.0.lock().has_ended_reading);
        assert!(!outbox.lock().deliver(&[&two]));
        let tally = outbox.close().tally;
        assert_eq!((tally.written, tally.discarded), (3, 4));
    }

    #[test]
    fn what_is_left_of_a_quota_when_the_connection_breaks_is_discarded() {
        let (outbox, sink) = limited(100);
        sink.0.lock().broken = true;
        let runs = [b"a\n", b"b\n"].map(|line| Run::borrowed(line, 1));
        assert!(outbox.lock().deliver(&[&runs[0], &runs[1]]));
        assert_eq!(outbox.close().tally.discarded, 2);
    }

    #[test]
    fn an_outbox_has_room_while_nothing_waits() {
        let (outbox, _) = outbox(1, 100, 1);
        let run = Run::borrowed(b"a", 1);
        outbox.lock().deliver(&[&run]);
        assert!(outbox.lock().has_room());
        outbox.lock().deliver(&[&run]);
        assert!(!outbox.lock().has_room());
    }

    #[test]
    fn a_policy_chosen_for_all_messages_needs_no_topics() {
        let (outbox, sink) = outbox(1, 2, 0);
        outbox.lock().choose_for_all(OverflowPolicy::DropNewest);
        for text in [b"a;", b"b;"] {
            outbox.lock().deliver(&[&Run::borrowed(text, 1)]);
        }
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "a;<gap 1>");
    }
}
