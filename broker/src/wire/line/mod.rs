//! The line protocol: requests in, engine calls and answers out.
//!
//! A batch is what one read returned. Its messages are delivered at its end, and only then are its
//! answers sent, so that a receipt or a PONG never precedes what it confirms.
//!
//! Rare functions are out of line: inlined, their locals would take another page of the stack of every
//! idle connection (measured).

mod datagram;
mod receipts;
mod refusals;
mod settings;
mod subscribing;
mod words;

use std::mem;
use std::ops::{ControlFlow, Range};

use memchr::{memchr, memchr_iter, memrchr};
use protocol::{
    ACK, Attributes, Code, DecodeError, Escaped, Framer, Reply, Request, Step, Subject, Topic,
};

use crate::admin::unanswered::Unanswered;
use crate::engine::client::{Answers, BROKERS_ATTRIBUTES, Client, Denied, Message, PublishError};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::run::MESSAGE;
use crate::wire::end::End;
use crate::wire::source::{Arrival, FIRST_BYTES, Source, take_limits};

use receipts::Receipts;
use refusals::{denial, encoded, not_kept, refusal};

pub(crate) use datagram::handle_datagram;
pub(crate) use refusals::{busy, not_secured};

const PUBLISH: &[u8] = b"PUBLISH ";

/// If more bytes of answers than this have accumulated, the batch is ended early.
const ANSWER_BYTES: usize = 32 * 1024;

/// The encoder of this protocol.
pub(crate) const ENCODER: Encoder = Encoder {
    wire: "line",
    encode: None,
    answer: None,
    gap: |count| encoded(&Reply::Gap { count }),
    receipt: |receipt| encoded(&pub_ack(receipt)),
    first: |lines| memchr(b'\n', lines).map_or(lines.len(), |at| at + 1),
    fitting: |lines, room| memrchr(b'\n', &lines[..room]).map_or(0, |at| at + 1),
    count: |lines| memchr_iter(b'\n', lines).count() as u64,
    topic: words::topic_of,
    goodbye: b"BYE\n",
    kicked: b"ERROR denied line the operator has ended this connection\nBYE\n",
    auth_ended: b"ERROR auth line your user or your token has ended; connect again and say AUTH with a new one\nBYE\n",
    withdrawn: Some(<[u8]>::to_vec),
    auth_ends_soon: b"ERROR auth line your token ends in less than a minute; say AUTH with a new one\n",
    moves_when_told: false,
    taken_over: b"",
};

/// Whether the answer to a request stands behind the receipt of the messages before it, and is ready at once.
fn is_answered_in_turn(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Ping { .. }
            | Request::Will { .. }
            | Request::Name { .. }
            | Request::Quiet
            | Request::Help { .. }
    )
}

fn pub_ack(receipt: &Receipt) -> Reply<'static> {
    Reply::PubAck {
        answered: receipt.answered,
        copies: receipt.copies,
        reached: receipt.reached,
    }
}

/// One client's conversation.
pub(crate) struct LineConversation<'a, 'b> {
    client: &'a mut Client<'b>,
    line_bytes: usize,
    /// Until the first line has come; lines are limited to [`FIRST_BYTES`] until a verb has.
    is_new: bool,
    /// Bytes of this batch that publish nothing. What is left are the others, so that the fast path counts
    /// nothing.
    other_bytes: usize,
    framer: Framer,
    /// Answers to be sent after the batch is delivered.
    answers: Vec<u8>,
    receipts: Receipts,
    silence: Silence,
}

/// Whether the client has answered a PING.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    No,
    Pinged,
    Stale,
}

impl<'a, 'b> LineConversation<'a, 'b> {
    pub(crate) fn new(client: &'a mut Client<'b>) -> Self {
        // Those of a client without a name count once it begins with something else than saying who it is.
        let line_bytes = client.limits().line_bytes.min(FIRST_BYTES);
        Self {
            client,
            line_bytes,
            is_new: true,
            other_bytes: 0,
            framer: Framer::new(line_bytes),
            answers: Vec::new(),
            receipts: Receipts::default(),
            silence: Silence::No,
        }
    }

    /// Serves the client until it says goodbye, leaves or vanishes. Nothing else that it sends ends
    /// this loop. `buffer` contains bytes that were read already.
    pub(crate) fn read_loop(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        loop {
            take_limits(self.client, source);
            if !self.is_new {
                self.take_line_bytes();
            } else {
                self.begin(buffer.unread());
            }
            let unread = buffer.unread().len();
            if let ControlFlow::Break(end) = self.handle(buffer) {
                return end;
            }
            if self.is_new && buffer.unread().len() < unread {
                source.note_first_request();
                self.is_new = self.line_bytes < self.client.line_bytes();
            }
            let before = buffer.unread().len();
            match source.fill(buffer, self.line_bytes) {
                Arrival::Bytes => {
                    self.silence = Silence::No;
                    self.client.note_heard(buffer.unread().len() - before);
                }
                Arrival::NoMemory => self.give_up_line(buffer),
                Arrival::Pause => self.pause(),
                Arrival::Silence => self.ask(),
                Arrival::End if !self.client.has_subscriptions() => return End::Left,
                Arrival::End => {
                    self.pause();
                    buffer.shrink();
                    return self.only_deliver(source);
                }
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// Takes longer lines once a verb has come: a client that says no word of the protocol may not take
    /// much memory.
    #[inline(never)]
    fn begin(&mut self, unread: &[u8]) {
        let is_unnamed = words::any_verb(unread) && !words::begin_with_auth(unread);
        if self.line_bytes <= FIRST_BYTES && is_unnamed {
            self.take_line_bytes();
        }
    }

    /// Takes lines as long as the client may send them now.
    fn take_line_bytes(&mut self) {
        let line_bytes = self.client.line_bytes();
        if self.line_bytes != line_bytes {
            self.line_bytes = line_bytes;
            self.framer.set_max_line(line_bytes);
        }
    }

    /// The client has ended its side and still has subscriptions, as in `echo SUBSCRIBE news | ncat
    /// ...`: it continues to receive. A PING finds out whether it is gone altogether.
    #[inline(never)]
    fn only_deliver(&mut self, source: &mut impl Source) -> End {
        loop {
            self.client.answer(b"PING\n");
            take_limits(self.client, source);
            match source.wait_for_end() {
                Arrival::Bytes | Arrival::NoMemory | Arrival::Pause | Arrival::Silence => {}
                Arrival::End => return End::Left,
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// Handles all complete lines.
    fn handle(&mut self, buffer: &mut ReadBuffer) -> ControlFlow<End> {
        self.client.begin();
        let before = buffer.start();
        let handled = self.handle_lines(buffer);
        let other_bytes = mem::take(&mut self.other_bytes);
        self.client
            .note_publish_bytes(buffer.start() - before - other_bytes);
        handled?;
        let receipt = self.last_receipt();
        let answers = Answers {
            receipt,
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_batch(Some(buffer), answers);
        ControlFlow::Continue(())
    }

    fn handle_lines(&mut self, buffer: &mut ReadBuffer) -> ControlFlow<End> {
        loop {
            match self.framer.next(buffer.unread()) {
                Step::Line(len) => {
                    let start = buffer.start();
                    buffer.consume(len + 1);
                    if !self.publish_known(buffer, start, len) {
                        self.answer_and_count(buffer, start, len)?;
                    }
                }
                Step::TooLong(len) => {
                    let refused = self.framer.refusal(&buffer.unread()[..len]);
                    buffer.consume(len);
                    self.other_bytes += len;
                    self.client.note_too_long();
                    self.refuse(buffer.bytes(), &refused);
                }
                Step::Skip(len) => {
                    buffer.consume(len);
                    self.other_bytes += len;
                }
                Step::More => return ControlFlow::Continue(()),
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(buffer.bytes());
                self.client.wait_for_room();
            }
        }
    }

    /// There is no memory for more of an incomplete line: the line is refused, the conversation
    /// continues.
    #[inline(never)]
    fn give_up_line(&mut self, buffer: &mut ReadBuffer) {
        let refused = self.framer.give_up(buffer.unread());
        buffer.give_up();
        self.refuse(&[], &refused);
        self.finish_part(&[]);
    }

    /// Ends the batch early: all requests so far are executed and answered.
    fn finish_part(&mut self, buffer: &[u8]) {
        let receipt = self.last_receipt();
        let answers = Answers {
            receipt,
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_part(buffer, answers);
    }

    /// The same, and all answers have left: the next one may not wait behind them, because messages follow it.
    fn finish_all(&mut self, buffer: &[u8]) {
        self.finish_part(buffer);
        self.client.wait_for_receipts();
    }

    /// The fast path for nearly every line of a busy publisher: a PUBLISH without attributes whose
    /// route is cached. Returns false for all other lines.
    #[inline]
    fn publish_known(&mut self, buffer: &mut ReadBuffer, start: usize, len: usize) -> bool {
        let bytes = buffer.bytes();
        let line = &bytes[start..start + len];
        if !line.starts_with(PUBLISH) || line.ends_with(b"\r") {
            return false;
        }
        let rest = &line[PUBLISH.len()..];
        let range = start..start + len + 1;
        let Some(copies) = self.client.publish_known(bytes, range, rest) else {
            return false;
        };
        buffer.bytes_mut()[start..start + MESSAGE.len()].copy_from_slice(MESSAGE);
        self.receipts.accept(copies);
        true
    }

    /// Handles any line, and counts its bytes unless it publishes.
    // Out of line: inlined, the loop keeps fewer values in registers (measured: 6 instructions a message).
    #[inline(never)]
    fn answer_and_count(
        &mut self,
        buffer: &mut ReadBuffer,
        start: usize,
        len: usize,
    ) -> ControlFlow<End> {
        if !self.client.is_counted() {
            self.count_unless_named(&buffer.bytes()[start..start + len])?;
        }
        let published = self.client.published();
        let answered = self.answer(buffer, start, len);
        if self.client.published() == published {
            self.other_bytes += len + 1;
        }
        answered
    }

    /// Counts a client that begins with anything but saying who it is.
    #[inline(never)]
    fn count_unless_named(&mut self, line: &[u8]) -> ControlFlow<End> {
        let line = Framer::content(line);
        match line.is_empty() || words::is_auth(line) {
            true => ControlFlow::Continue(()),
            false => self.enter(),
        }
    }

    /// Handles any line.
    fn answer(&mut self, buffer: &mut ReadBuffer, start: usize, len: usize) -> ControlFlow<End> {
        let bytes = buffer.bytes();
        let line = Framer::content(&bytes[start..start + len]);
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        let request = Request::decode(line);
        if request.as_ref().is_ok_and(is_answered_in_turn) {
            self.write_receipt(bytes);
        }
        match request {
            Ok(Request::Publish {
                topic,
                payload,
                attributes,
            }) => {
                let end = start + line.len() + 1;
                let must_be_written_anew = BROKERS_ATTRIBUTES
                    .iter()
                    .any(|key| attributes.contains(key))
                    || payload.as_line().ends_with(b"\r");
                if must_be_written_anew {
                    self.publish(bytes, topic, payload, attributes);
                    return ControlFlow::Continue(());
                }
                match self.publish_in_place(bytes, topic, start..end) {
                    Ok(verb) => {
                        let bytes = buffer.bytes_mut();
                        bytes[verb..verb + MESSAGE.len()].copy_from_slice(MESSAGE);
                        // Lines in the engine end with LF, so the CR before it is overwritten.
                        bytes[end - 1] = b'\n';
                    }
                    Err(PublishError::Denied(denied)) => self.refuse_denied(bytes, &denied),
                    Err(PublishError::NotKept(why)) => {
                        self.refuse_publish(bytes, not_kept(why), &why.to_string());
                    }
                    Err(
                        PublishError::BrokersOwn
                        | PublishError::Full(_)
                        | PublishError::OverLimit(_)
                        | PublishError::BadAckLevel(_),
                    ) => {
                        self.inquire(bytes, topic, &payload, &attributes);
                    }
                }
            }
            Ok(Request::Subscribe {
                filters,
                attributes,
            }) => {
                self.finish_all(bytes);
                self.subscribe(filters, &attributes);
            }
            Ok(Request::Unsubscribe { filters }) => {
                self.finish_all(bytes);
                self.unsubscribe(filters);
            }
            Ok(Request::Ping { token }) => Reply::Pong { token }.encode(&mut self.answers),
            Ok(Request::Pong { .. }) => {}
            Ok(Request::Will {
                topic,
                payload,
                attributes,
            }) => self.set_will(topic, payload, attributes),
            Ok(Request::Name { name }) => self.set_name(name),
            Ok(Request::Auth { credential }) => {
                self.finish_all(bytes);
                let known = self.authenticate(credential.as_ref());
                // No copy of the secret stays behind.
                buffer.bytes_mut()[start..start + len].fill(b' ');
                return known;
            }
            Ok(Request::Quiet) => self.be_quiet(),
            Ok(Request::Help { verb }) => self.help(verb),
            Ok(Request::Bye) => return self.say_bye(bytes),
            Err(refused) => self.refuse(bytes, &refused),
        }
        ControlFlow::Continue(())
    }

    #[inline(never)]
    fn say_bye(&mut self, buffer: &[u8]) -> ControlFlow<End> {
        self.finish_all(buffer);
        self.client.forget_filters();
        self.client.forget_will();
        self.client.farewell(&encoded(&Reply::Bye));
        ControlFlow::Break(End::SaidBye)
    }

    /// Publishes a message that can leave unchanged except for its verb; returns the position of the
    /// verb, or why it is not published.
    fn publish_in_place(
        &mut self,
        bytes: &[u8],
        topic: Topic<'_>,
        line: Range<usize>,
    ) -> Result<usize, PublishError> {
        let verb = match bytes[line.start] {
            b'@' => line.start + memchr(b' ', &bytes[line.clone()]).map_or(0, |at| at + 1),
            _ => line.start,
        };
        let start = verb + PUBLISH.len();
        let range = start..start + topic.as_str().len();
        let copies = self.client.publish_in_place(topic, range, line)?;
        self.receipts.accept(copies);
        Ok(verb)
    }

    /// Publishes a message that must be rewritten, or is retained.
    #[inline(never)]
    fn publish(
        &mut self,
        buffer: &[u8],
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
    ) {
        if !self.client.is_told_levels() && attributes.contains(ACK) {
            // Of the messages before this one the client has not asked.
            self.write_receipt(buffer);
        }
        let message = Message::of_line(topic, payload.clone(), attributes.clone());
        match self.client.publish(buffer, message) {
            Ok(copies) => self.receipts.accept(copies),
            Err(PublishError::BrokersOwn) => self.inquire(buffer, topic, &payload, &attributes),
            Err(PublishError::Denied(denied)) => self.refuse_denied(buffer, &denied),
            Err(PublishError::Full(full)) => {
                self.refuse_publish(buffer, Code::TooMany, &full.to_string())
            }
            Err(PublishError::OverLimit(over)) => {
                self.refuse_publish(buffer, Code::TooMany, &over.to_string())
            }
            Err(PublishError::NotKept(why)) => {
                self.refuse_publish(buffer, not_kept(why), &why.to_string());
            }
            Err(PublishError::BadAckLevel(why)) => {
                self.refuse_publish(buffer, Code::BadAttribute, &why.to_string());
            }
        }
    }

    /// A message on a topic of the broker: an inquiry, or refused.
    #[inline(never)]
    fn inquire(
        &mut self,
        buffer: &[u8],
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) {
        self.finish_part(buffer);
        let most_bytes = self.line_bytes;
        match self.client.inquire(topic, payload, attributes, most_bytes) {
            Ok(copies) => self.receipts.accept(copies),
            Err(Unanswered { code, text }) => self.refuse_publish(buffer, code, &text),
        }
    }

    #[inline(never)]
    fn refuse(&mut self, buffer: &[u8], refused: &DecodeError) {
        let text = refused.to_string();
        if refused.is_publish() {
            self.refuse_publish(buffer, refused.code(), &text);
        } else {
            self.write_receipt(buffer);
            self.refuse_line(refused.code(), &text);
        }
    }

    fn refuse_line(&mut self, code: Code, text: &str) {
        self.log_refusal(code, text);
        refusal(&mut self.answers, code, Subject::Line, text);
    }

    /// Refuses a PUBLISH that the client may not say.
    #[inline(never)]
    fn refuse_denied(&mut self, buffer: &[u8], denied: &Denied) {
        let (code, text) = denial(denied);
        self.refuse_publish(buffer, code, &text);
    }

    /// Counts a refused PUBLISH, which the next PUBACK covers.
    #[inline(never)]
    fn refuse_publish(&mut self, buffer: &[u8], code: Code, text: &str) {
        if self.receipts.has_accepted() {
            self.write_receipt(buffer);
        }
        self.receipts.refuse();
        self.log_refusal(code, text);
        let subject = Subject::Publish(self.published());
        refusal(&mut self.answers, code, subject, text);
    }

    fn log_refusal(&mut self, code: Code, text: &str) {
        self.client.note_refused(1);
        log::debug!("connection {}: refused, {code}: {text}", self.client.id());
    }

    /// The number of PUBLISH frames so far, including refused ones.
    fn published(&self) -> u64 {
        self.client.published() + self.receipts.refused()
    }

    /// Takes the counts for a PUBACK, if there is anything to confirm.
    fn take_receipt(&mut self) -> Option<Receipt> {
        let answered = self.published();
        let copies = self.receipts.take(answered)? + self.client.take_followed();
        Some(Receipt {
            answered,
            copies,
            // The client knows it when the batch is delivered.
            reached: None,
        })
    }

    /// Takes the counts for a PUBACK that is not sent together with other answers.
    fn last_receipt(&mut self) -> Option<Receipt> {
        if self.answers.is_empty() || self.client.is_told_levels() {
            return self.take_receipt();
        }
        self.encode_receipt();
        None
    }

    /// Puts a PUBACK behind the answers so far, if there is anything to confirm. `buffer` is the whole read buffer.
    fn write_receipt(&mut self, buffer: &[u8]) {
        if self.client.is_told_levels() {
            // What it says is known when the messages before it are delivered.
            return self.finish_part(buffer);
        }
        self.encode_receipt();
    }

    fn encode_receipt(&mut self) {
        if let Some(receipt) = self.take_receipt() {
            pub_ack(&receipt).encode(&mut self.answers);
        }
    }

    /// The client has been quiet for a moment.
    fn pause(&mut self) {
        self.client.pause();
        self.answers.shrink_to_fit();
    }

    /// The client has been silent for an interval: sends one PING. A missing answer is logged, and no
    /// more: TCP finds out whether the client is gone.
    #[inline(never)]
    fn ask(&mut self) {
        if self.receipts.is_quiet() && !self.client.has_subscriptions() {
            // It may never read, and a PING that it has not read would have its system reset the connection
            // when it closes.
            return;
        }
        match self.silence {
            Silence::No => {
                self.silence = Silence::Pinged;
                self.client.answer(&encoded(&Reply::Ping { token: b"" }));
            }
            Silence::Pinged => {
                self.silence = Silence::Stale;
                if let Some(more) = self.client.note_stale() {
                    log::info!(
                        "connection {} is stale: no answer to PING, it stays{more}",
                        self.client.id()
                    );
                }
            }
            Silence::Stale => {}
        }
    }
}
