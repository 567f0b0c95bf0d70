//! One connection of an MQTT client: bytes in, engine calls and answers out.
//!
//! A batch is the packets of one read. Its messages are delivered at its end, and its answers are sent after
//! that, so that no acknowledgement is sent before its message is delivered. CONNECT is handled by `connect`.

mod publishing;
mod subscribing;

use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, MqttError};

use super::authentication::{self, Authentication};
use super::connect::{self, Accepted, Rejected};
use super::packet::{self, Connect, Fault, Header, Packet, Publish, kind};
use super::reply::{self, ReplyLimits};
use super::{Dialect, Encoders, Version};
use crate::engine::client::{Answers, Client};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::delivery::in_flight::{Ack, AckEffect};
use crate::engine::session::received::ReceivedIds;
use crate::wire::end::End;
use crate::wire::source::{Arrival, Source};

/// A batch with more bytes of answers than this is ended early.
const ANSWER_BYTES: usize = 32 * 1024;

/// The time for a whole CONNECT, from its first byte.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Bytes of an incomplete packet that count like a packet for the keep alive: a client cannot send
/// PINGREQ inside a long PUBLISH.
const PROGRESS_BYTES: usize = 1024;

/// The reason code of 5.0 for a packet identifier that no message has.
const IDENTIFIER_NOT_FOUND: u8 = 0x92;

/// One client's conversation.
pub(crate) struct MqttConversation<'a, 'b> {
    client: &'a mut Client<'b>,
    encoders: Encoders,
    version: Version,
    dialect: Dialect,
    /// CONNECT has named the authentication method.
    by_method: bool,
    reply_limits: ReplyLimits,
    /// The maximum packet size that CONNACK announced; zero if it announced none.
    announced: usize,
    keep_alive: Duration,
    /// When the last packet came, or [`PROGRESS_BYTES`] of an incomplete one.
    heard: Instant,
    /// Bytes of the incomplete packet that had come then.
    begun: usize,
    /// The session expiry interval that the client asked for.
    expiry: u32,
    /// Answers to be sent after the batch has been delivered.
    answers: Vec<u8>,
    /// The client has acknowledged a message in this batch, so that more may be sent.
    acknowledged: bool,
    /// Identifiers of messages that the client has sent at QoS 2 and not released.
    received: ReceivedIds,
    /// They have changed, and the store does not know yet.
    has_received: bool,
    /// Topics by their aliases, the first of which is one; they end with the connection [MQTT-3.3.2-7].
    aliases: Vec<Option<Box<str>>>,
}

impl<'a, 'b> MqttConversation<'a, 'b> {
    pub(crate) fn new(client: &'a mut Client<'b>, encoders: Encoders) -> Self {
        Self {
            client,
            encoders,
            version: Version::V3,
            dialect: Dialect::default(),
            by_method: false,
            reply_limits: ReplyLimits::ANY,
            announced: 0,
            keep_alive: CONNECT_TIME,
            heard: Instant::now(),
            begun: 0,
            expiry: 0,
            answers: Vec::new(),
            acknowledged: false,
            received: ReceivedIds::default(),
            has_received: false,
            aliases: Vec::new(),
        }
    }

    /// Serves the client until it leaves, breaks a rule of the standard or is silent for too long. `buffer` holds
    /// what has been read already.
    pub(crate) fn read_loop(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        // Once for each connection: CONNACK is sent nowhere else [MQTT-3.2.0-2].
        let end = match self.wait_for_connect(source, buffer) {
            ControlFlow::Continue(()) => self.serve(source, buffer),
            ControlFlow::Break(end) => end,
        };
        self.leave();
        end
    }

    fn serve(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        loop {
            match self.handle(buffer) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(end)) => return end,
                Err(fault) => return self.refuse(buffer, fault),
            }
            if let ControlFlow::Break(end) = self.wait(source, buffer) {
                return end;
            }
        }
    }

    /// The identifiers at QoS 2 that are not released stay with the session [MQTT-4.1.0-1].
    fn leave(&mut self) {
        let received = mem::take(&mut self.received);
        self.client.session().set_received(received);
    }

    #[inline(never)]
    fn wait_for_connect(
        &mut self,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> ControlFlow<End> {
        loop {
            self.client.refresh_limits();
            let unread = buffer.unread();
            if unread
                .first()
                .is_some_and(|first| first >> 4 != kind::CONNECT)
            {
                // [MQTT-3.1.0-1].
                let why = "an MQTT connection begins with CONNECT, and this one does not";
                return ControlFlow::Break(End::Refused(why.into()));
            }
            let header = match Header::read(unread, self.packet_bytes()) {
                Ok(header) => header.filter(|header| header.size() <= unread.len()),
                Err(fault) => return ControlFlow::Break(End::Refused(fault.why)),
            };
            if let Some(header) = header {
                self.client.begin();
                let accepted = self.connect(header, &unread[header.bytes..header.size()]);
                buffer.consume(header.size());
                source.note_first_request();
                return match accepted {
                    Ok(()) => ControlFlow::Continue(()),
                    // The connection is closed [MQTT-3.2.2-5] of 3.1.1, [MQTT-3.2.2-7] of 5.0, and what follows
                    // the CONNECT is not handled [MQTT-3.1.4-5] of 3.1.1, [MQTT-3.1.4-6] of 5.0.
                    Err(Rejected { why, answer }) => {
                        if !answer.is_empty() {
                            self.client.farewell(&answer);
                        }
                        ControlFlow::Break(End::Refused(why.why))
                    }
                };
            }
            self.wait(source, buffer)?;
        }
    }

    fn connect(&mut self, header: Header, body: &[u8]) -> Result<(), Rejected> {
        let connect = Connect::read(header, body).map_err(Rejected::unreadable)?;
        let Accepted {
            version,
            dialect,
            by_method,
            keep_alive,
            reply_limits,
            expiry,
        } = connect::accept(self.client, self.encoders, &connect)?;
        (self.version, self.dialect, self.keep_alive) = (version, dialect, keep_alive);
        (self.reply_limits, self.expiry) = (reply_limits, expiry);
        self.by_method = by_method;
        if version == Version::V5 {
            self.announced = self.client.line_bytes();
        }
        self.heard = Instant::now();
        self.received = self.client.session().take_received();
        Ok(())
    }

    /// The longest packet that is accepted. A client that CONNACK told a higher limit may send packets of that
    /// size [MQTT-3.2.2-15], also after the limit was lowered.
    fn packet_bytes(&self) -> usize {
        let most = match self.client.is_counted() {
            true => self.client.line_bytes(),
            // Before CONNECT it is not known who sends it.
            false => self.client.limits().line_bytes,
        };
        most.max(self.announced)
    }

    /// Waits for more bytes, at most as long as the keep alive allows.
    fn wait(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> ControlFlow<End> {
        if self.keep_alive.is_zero() {
            source.set_interval(Duration::ZERO);
        } else {
            let left = self.keep_alive.saturating_sub(self.heard.elapsed());
            // [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0.
            if left.is_zero() {
                let why =
                    "neither a packet nor 1 KiB of one came in one and a half times the keep alive";
                let fault = Fault::new(MqttError::KeepAliveTimeout, why);
                return ControlFlow::Break(self.refuse(buffer, fault));
            }
            source.set_interval(left.max(Duration::from_millis(1)));
        }
        let before = buffer.unread().len();
        match source.fill(buffer, self.packet_bytes()) {
            Arrival::Bytes => {
                self.client.note_heard(buffer.unread().len() - before);
                ControlFlow::Continue(())
            }
            Arrival::Silence => ControlFlow::Continue(()),
            Arrival::Pause => {
                self.pause();
                ControlFlow::Continue(())
            }
            Arrival::NoMemory => {
                let why = "there is no memory for a packet of this length now; try again later";
                let fault = Fault::new(MqttError::QuotaExceeded, why);
                ControlFlow::Break(self.refuse(buffer, fault))
            }
            Arrival::End if self.client.is_ending() => ControlFlow::Break(End::Refused(
                "its client identifier has connected again".into(),
            )),
            Arrival::End => ControlFlow::Break(End::Left),
            Arrival::Stopping => ControlFlow::Break(End::Stopping),
            Arrival::Failed(err) => ControlFlow::Break(err.into()),
        }
    }

    /// The client has been quiet for a moment.
    fn pause(&mut self) {
        self.client.pause();
        self.answers.shrink_to_fit();
        self.received.shrink();
    }

    /// Handles the whole packets in the buffer as one batch.
    fn handle(&mut self, buffer: &mut ReadBuffer) -> Result<ControlFlow<End>, Fault> {
        self.client.refresh_limits();
        self.client.begin();
        let before = buffer.start();
        // Bytes of packets other than PUBLISH.
        let mut other_bytes = 0;
        loop {
            let unread = buffer.unread();
            let header = match Header::read(unread, self.packet_bytes())? {
                Some(header) if header.size() <= unread.len() => header,
                _ => break,
            };
            let start = buffer.start();
            buffer.consume(header.size());
            if self.version == Version::V5 && header.is_padded() {
                return Err(packet::padded());
            }
            if header.is_repeated() && !self.dialect.is_3_1 {
                return Err(packet::reserved());
            }
            let body = &buffer.bytes()[start + header.bytes..start + header.size()];
            if header.kind() == kind::PUBLISH {
                let publish = Publish::read(header.first, body, self.version)?;
                self.publish(buffer.bytes(), publish)?;
            } else {
                other_bytes += header.size();
                let packet = Packet::read(header, body, self.version)?;
                if let ControlFlow::Break(end) = self.answer(buffer.bytes(), packet)? {
                    self.client
                        .note_publish_bytes(buffer.start() - before - other_bytes);
                    self.finish_part(buffer.bytes());
                    return Ok(ControlFlow::Break(end));
                }
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(buffer.bytes());
                self.client.wait_for_room();
            }
        }
        self.keep_received(buffer.bytes());
        let has_packet = buffer.start() != before;
        self.client
            .note_publish_bytes(buffer.start() - before - other_bytes);
        let begun = buffer.unread().len();
        let answers = Answers {
            acknowledged: mem::take(&mut self.acknowledged),
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_batch(Some(buffer), answers);
        // After the batch, whose end may have waited for slow subscribers, or rested for the client's rate: that is no
        // silence of this client.
        if self.client.has_rested() || has_packet || begun >= self.begun + PROGRESS_BYTES {
            (self.heard, self.begun) = (Instant::now(), begun);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Has the store keep which identifiers are in use at QoS 2, before PUBREC and PUBCOMP say so.
    #[inline]
    pub(super) fn keep_received(&mut self, buffer: &[u8]) {
        if mem::take(&mut self.has_received) {
            self.client.keep_received(buffer, &self.received);
        }
    }

    /// Delivers and answers all of the batch so far.
    fn finish_part(&mut self, buffer: &[u8]) {
        self.keep_received(buffer);
        let answers = Answers {
            acknowledged: mem::take(&mut self.acknowledged),
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_part(buffer, answers);
    }

    /// The same, and all answers have left: the next one may not wait behind them, because messages follow it.
    fn finish_all(&mut self, buffer: &[u8]) {
        self.finish_part(buffer);
        self.client.wait_for_receipts();
    }

    /// Ends the conversation for a fault, once the packets before it are answered.
    #[inline(never)]
    fn refuse(&mut self, buffer: &ReadBuffer, fault: Fault) -> End {
        self.finish_part(buffer.bytes());
        self.client.note_refused(1);
        if fault.code == MqttError::PacketTooLarge {
            self.client.note_too_long();
        }
        log::debug!(
            "connection {}: refused, {:?}: {}",
            self.client.id(),
            fault.code,
            fault.why
        );
        let farewell = match self.version {
            Version::V3 => Vec::new(),
            Version::V5 => self
                .reply_limits
                .fitting(reply::disconnect(&fault, self.reply_limits)),
        };
        // The connection is closed after it [MQTT-3.14.4-2], also if it is too long for the client
        // [MQTT-4.13.2-1].
        self.client.farewell(&farewell);
        End::Refused(fault.why)
    }

    /// Handles a packet other than CONNECT and PUBLISH.
    fn answer(&mut self, buffer: &[u8], packet: Packet) -> Result<ControlFlow<End>, Fault> {
        match packet {
            Packet::Ack { kind, id, failed } => self.acked(kind, id, failed)?,
            Packet::Subscribe {
                id,
                identifier,
                entries,
            } => {
                self.finish_all(buffer);
                self.subscribe(id, identifier, &entries)?;
            }
            Packet::Unsubscribe { id, filters } => {
                self.finish_all(buffer);
                self.unsubscribe(id, &filters)?;
            }
            Packet::Auth { reason, shown } => {
                self.finish_all(buffer);
                self.renew_token(reason, shown.as_ref())?;
            }
            Packet::Ping => self.answers.extend(reply::PINGRESP),
            Packet::Disconnect { with_will, expiry } => {
                return self.disconnect(with_will, expiry).map(ControlFlow::Break);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Handles PUBACK, PUBREC, PUBREL and PUBCOMP.
    fn acked(&mut self, kind: u8, id: u16, failed: bool) -> Result<(), Fault> {
        let not_found = match self.version {
            Version::V3 => 0,
            Version::V5 => IDENTIFIER_NOT_FOUND,
        };
        if kind == kind::PUBREL {
            // Answered [MQTT-4.3.3-2] of 3.1.1, [MQTT-4.3.3-11] of 5.0, also if the message has expired
            // [MQTT-4.3.3-13]. The next PUBLISH with its identifier is a new message [MQTT-4.3.3-12].
            let code = if self.received.remove(id) {
                self.has_received = true;
                0
            } else {
                not_found
            };
            reply::ack(&mut self.answers, kind::PUBCOMP, id, code);
            return Ok(());
        }
        let ack = match kind {
            kind::PUBACK => Ack::Accepted,
            kind::PUBREC => Ack::Received { refused: failed },
            _ => Ack::Completed,
        };
        let release = match self.client.acknowledge(id, ack) {
            AckEffect::Release | AckEffect::ReleaseAgain => Some(0),
            AckEffect::Done | AckEffect::Completed => None,
            AckEffect::Unknown if kind == kind::PUBREC && !failed => Some(not_found),
            AckEffect::Unknown => None,
            AckEffect::OutOfTurn => {
                return Err(Fault::protocol(
                    "an acknowledgement is not of the kind that the QoS of its message asks for next",
                ));
            }
        };
        // [MQTT-4.3.3-4].
        if let Some(code) = release {
            reply::ack(&mut self.answers, kind::PUBREL, id, code);
        }
        self.acknowledged = true;
        Ok(())
    }

    /// Handles AUTH.
    fn renew_token(
        &mut self,
        reason: AuthReasonCode,
        shown: Option<&Authentication>,
    ) -> Result<(), Fault> {
        if !self.by_method {
            // [MQTT-4.12.0-7].
            return Err(Fault::protocol(
                "an AUTH, although CONNECT named no authentication method",
            ));
        }
        authentication::renew(self.client, reason, shown)?;
        let renewed = self.reply_limits.fitting(authentication::RENEWED.to_vec());
        self.answers.extend(renewed);
        Ok(())
    }

    /// Handles DISCONNECT.
    #[inline(never)]
    fn disconnect(&mut self, with_will: bool, expiry: Option<u32>) -> Result<End, Fault> {
        if let Some(expiry) = expiry {
            if self.expiry == 0 && expiry > 0 {
                return Err(Fault::new(
                    MqttError::ProtocolError,
                    "a session that was to end with its connection cannot be kept; say so in CONNECT",
                ));
            }
            let granted = connect::granted(expiry, self.client.limits());
            self.client.session().set_expiry(connect::expiry(granted));
        }
        if with_will {
            return Ok(End::Left);
        }
        // [MQTT-3.14.4-3] [MQTT-3.1.2-10].
        self.client.forget_will();
        Ok(End::SaidBye)
    }
}

/// A code of MQTT 5 as its byte.
fn byte(code: MqttError) -> u8 {
    u8::try_from(code as u16).unwrap_or(MqttError::UnspecifiedError as u16 as u8)
}

#[cfg(test)]
pub(super) mod harness {
    //! MQTT clients of a broker without sockets, for unit tests of this wire.
    //!
    //! Packets of a client go in, and what the broker answers comes out as text, such as
    //! `PUBLISH q1 #1 a hello; PUBACK 7`. Codes are hexadecimal, and `why` says that there is a reason string.

    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::mem;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use protocol::Filter;

    use super::MqttConversation;
    use crate::engine::Engine;
    use crate::engine::client::Client;
    use crate::engine::limits::Limits;
    use crate::engine::memory::read_buffer::ReadBuffer;
    use crate::engine::outbox::tests::{TestSink, outbox};
    use crate::engine::session::clients::ClientRecord;
    use crate::wire::end::End;
    use crate::wire::mqtt::message::{first_packet, push_varint};
    use crate::wire::mqtt::packet::{Publish, kind};
    use crate::wire::mqtt::{ENCODERS, Version};
    use crate::wire::source::{Arrival, Source};

    /// Both versions.
    pub(in crate::wire::mqtt) const BOTH: [Version; 2] = [Version::V3, Version::V5];

    /// A broker without sockets.
    pub(in crate::wire::mqtt) struct BrokerInMemory {
        pub(in crate::wire::mqtt) engine: Engine,
        /// The number of the newest connection.
        last_id: Cell<u64>,
    }

    impl BrokerInMemory {
        pub(in crate::wire::mqtt) fn new() -> Self {
            Self::with(Limits::default())
        }

        pub(in crate::wire::mqtt) fn with(limits: Limits) -> Self {
            Self {
                engine: Engine::new(limits).expect("an engine"),
                last_id: Cell::new(0),
            }
        }

        /// A new connection, on which nothing has been sent.
        pub(in crate::wire::mqtt) fn connection(&self) -> TestConnection<'_> {
            let (record, sink) = self.record();
            TestConnection {
                client: Client::new(&self.engine, &record),
                sink,
            }
        }

        /// A subscriber that gets each message as a line.
        pub(in crate::wire::mqtt) fn subscriber(&self, filter: &str) -> TestSink {
            let (record, sink) = self.record();
            let filter = Filter::parse(filter).expect("a filter");
            self.engine.router.subscribe(filter, record.outbox());
            sink
        }

        fn record(&self) -> (Arc<ClientRecord>, TestSink) {
            self.last_id.set(self.last_id.get() + 1);
            let (outbox, sink) = outbox(self.last_id.get(), 1 << 20, usize::MAX);
            let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
            self.engine.clients.enter(record.clone());
            (record, sink)
        }

        /// Every copy of a message must be accounted for.
        pub(in crate::wire::mqtt) fn check_ledger(&self) {
            let ledger = self.engine.clients.audit().ledger;
            assert!(ledger.is_balanced(), "{ledger}");
        }
    }

    /// One connection, from the side of the broker.
    pub(in crate::wire::mqtt) struct TestConnection<'e> {
        pub(in crate::wire::mqtt) client: Box<Client<'e>>,
        sink: TestSink,
    }

    impl<'e> TestConnection<'e> {
        pub(in crate::wire::mqtt) fn conversation(&mut self) -> TestConversation<'_, 'e> {
            TestConversation {
                buffer: ReadBuffer::new(self.client.memory()),
                conversation: MqttConversation::new(&mut self.client, ENCODERS),
                sink: self.sink.clone(),
                is_connected: false,
                interval: None,
            }
        }

        /// The conversation of a client that has connected.
        pub(in crate::wire::mqtt) fn connected(
            &mut self,
            connect: &[u8],
        ) -> TestConversation<'_, 'e> {
            let mut conversation = self.conversation();
            let told = conversation.send(connect);
            assert!(told.starts_with("CONNACK "), "{told}");
            assert!(conversation.is_connected, "{told}");
            conversation
        }

        /// A whole conversation, in which the client sends these bytes and then ends its side.
        pub(super) fn converse(&mut self, bytes: &[u8]) -> End {
            let mut source = Script::new([Ok(bytes.to_vec())].into());
            let mut buffer = ReadBuffer::new(self.client.memory());
            MqttConversation::new(&mut self.client, ENCODERS).read_loop(&mut source, &mut buffer)
        }

        /// The bytes that the client was sent since the last call.
        pub(in crate::wire::mqtt) fn told(&self) -> Vec<u8> {
            mem::take(&mut self.sink.0.lock().taken)
        }

        /// Ends the connection as `net` does.
        pub(in crate::wire::mqtt) fn close(mut self, end: &End) {
            self.client.begin();
            let remains = self.client.end_connection();
            self.client.redeliver(&remains.redeliveries);
            if !matches!(end, End::SaidBye) {
                self.client.publish_will();
            }
            self.client.settle();
            self.client.leave();
        }
    }

    /// The conversation on one connection.
    pub(in crate::wire::mqtt) struct TestConversation<'c, 'e> {
        pub(super) conversation: MqttConversation<'c, 'e>,
        pub(super) buffer: ReadBuffer,
        sink: TestSink,
        is_connected: bool,
        /// The interval of silence that was set last.
        pub(super) interval: Option<Duration>,
    }

    impl TestConversation<'_, '_> {
        /// The client sends these bytes, which come with one read. Returns what it is sent.
        pub(in crate::wire::mqtt) fn send(&mut self, bytes: &[u8]) -> String {
            let (told, end) = self.send_all([bytes]);
            assert!(end.is_none(), "it ends: {end:?}, {told}");
            told
        }

        /// The same for bytes that end the conversation.
        pub(in crate::wire::mqtt) fn send_last(&mut self, bytes: &[u8]) -> (String, End) {
            let (told, end) = self.send_all([bytes]);
            (told, end.expect("it ends"))
        }

        /// The same for bytes that come with several reads. Returns the end if there is one.
        pub(in crate::wire::mqtt) fn send_all<'b>(
            &mut self,
            pieces: impl IntoIterator<Item = &'b [u8]>,
        ) -> (String, Option<End>) {
            let pieces = pieces.into_iter().map(|piece| Ok(piece.to_vec()));
            let end = self.run(pieces.collect());
            (self.told(), end)
        }

        /// Something else arrives than bytes. Returns the end if there is one.
        pub(super) fn arrive(&mut self, arrival: Arrival) -> Option<End> {
            self.run([Err(arrival)].into())
        }

        /// Runs until nothing more comes, or to the end.
        fn run(&mut self, arrivals: VecDeque<Result<Vec<u8>, Arrival>>) -> Option<End> {
            let mut source = Script::new(arrivals);
            let mut end = None;
            if !self.is_connected {
                let connected = self
                    .conversation
                    .wait_for_connect(&mut source, &mut self.buffer);
                self.is_connected = connected.is_continue();
                end = connected.break_value();
            }
            if self.is_connected {
                end = Some(self.conversation.serve(&mut source, &mut self.buffer));
            }
            self.interval = source.interval;
            end.filter(|_| !source.is_over)
        }

        /// What the client was sent since the last call.
        pub(in crate::wire::mqtt) fn told(&mut self) -> String {
            let bytes = self.told_bytes();
            described(&bytes, self.conversation.version)
        }

        /// The client sends these bytes; returns what it is sent, as it is on the wire.
        pub(super) fn send_for_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
            let end = self.run([Ok(bytes.to_vec())].into());
            assert!(end.is_none(), "it ends: {end:?}");
            self.told_bytes()
        }

        /// The same as it is on the wire.
        pub(super) fn told_bytes(&mut self) -> Vec<u8> {
            mem::take(&mut self.sink.0.lock().taken)
        }

        /// Ends the conversation: what belongs to the session is given back to it.
        pub(in crate::wire::mqtt) fn leave(mut self) {
            self.conversation.leave();
        }
    }

    /// Bytes and other arrivals, and then the end of what the client sends.
    struct Script {
        arrivals: VecDeque<Result<Vec<u8>, Arrival>>,
        /// All has arrived, and more was waited for.
        is_over: bool,
        interval: Option<Duration>,
    }

    impl Script {
        fn new(arrivals: VecDeque<Result<Vec<u8>, Arrival>>) -> Self {
            Self {
                arrivals,
                is_over: false,
                interval: None,
            }
        }
    }

    impl Source for Script {
        fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
            match self.arrivals.pop_front() {
                Some(Ok(bytes)) => {
                    let room = buffer.fill(most).expect("there is memory");
                    room.extend_from_slice(&bytes);
                    Arrival::Bytes
                }
                Some(Err(arrival)) => arrival,
                None => {
                    self.is_over = true;
                    Arrival::End
                }
            }
        }

        fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _: Instant) -> Arrival {
            self.fill(buffer, most)
        }

        fn wait_for_end(&mut self) -> Arrival {
            Arrival::End
        }

        fn set_interval(&mut self, interval: Duration) {
            self.interval = Some(interval);
        }
    }

    /// Packets of the broker as text.
    pub(in crate::wire::mqtt) fn described(mut packets: &[u8], version: Version) -> String {
        let mut all = Vec::new();
        while !packets.is_empty() {
            let (packet, rest) = packets.split_at(first_packet(packets));
            all.push(described_packet(packet, version));
            packets = rest;
        }
        all.join("; ")
    }

    fn described_packet(packet: &[u8], version: Version) -> String {
        let first = packet[0];
        let length = 1 + packet[1..]
            .iter()
            .take_while(|&&byte| byte & 0x80 != 0)
            .count();
        let body = &packet[1 + length..];
        let codes = |codes: &[u8]| codes.iter().map(|code| format!(" {code:02x}")).collect();
        let id = || u16::from_be_bytes([body[0], body[1]]);
        // Codes follow the properties of 5.0.
        let after_properties = |at: usize| match version {
            Version::V3 => &body[at..],
            Version::V5 => &body[at + 1 + usize::from(body[at])..],
        };
        // The broker sends no other property there.
        let why = |at: usize| match body.get(at) {
            None | Some(0) => "",
            Some(_) => " why",
        };
        let ack = |name: &str| {
            let code: String = codes(&body[2..body.len().min(3)]);
            format!("{name} {}{code}{}", id(), why(3))
        };
        match first >> 4 {
            2 => format!("CONNACK {} {:02x}", body[0], body[1]),
            kind::PUBLISH => described_publish(first, body, version),
            kind::PUBACK => ack("PUBACK"),
            kind::PUBREC => ack("PUBREC"),
            kind::PUBREL => ack("PUBREL"),
            kind::PUBCOMP => ack("PUBCOMP"),
            9 => {
                let codes: String = codes(after_properties(2));
                format!("SUBACK {}{codes}", id())
            }
            11 => {
                let codes: String = codes(after_properties(2));
                format!("UNSUBACK {}{codes}", id())
            }
            13 => "PINGRESP".to_owned(),
            kind::DISCONNECT => format!("DISCONNECT {:02x}{}", body[0], why(1)),
            other => panic!("no broker sends a packet of kind {other}"),
        }
    }

    fn described_publish(first: u8, body: &[u8], version: Version) -> String {
        let publish = Publish::read(first, body, version).expect("a PUBLISH");
        let mut text = format!("PUBLISH q{}", publish.qos);
        for (flag, name) in [(8, " dup"), (1, " retain")] {
            if first & flag != 0 {
                text.push_str(name);
            }
        }
        if publish.qos > 0 {
            text.push_str(&format!(" #{}", publish.id));
        }
        let payload = publish.payload.escape_ascii();
        text + &format!(" {} {payload}", publish.topic)
    }

    /// A packet with this first byte.
    pub(in crate::wire::mqtt) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        push_varint(&mut packet, body.len());
        packet.extend(body);
        packet
    }

    /// A string with its length before it.
    pub(in crate::wire::mqtt) fn text(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).expect("it is short");
        [&length.to_be_bytes(), text.as_bytes()].concat()
    }

    /// Properties with their length before them; 3.1.1 has none.
    fn properties(version: Version, bytes: &[u8]) -> Vec<u8> {
        match version {
            Version::V3 => Vec::new(),
            Version::V5 => {
                let mut properties = Vec::new();
                push_varint(&mut properties, bytes.len());
                properties.extend(bytes);
                properties
            }
        }
    }

    /// What a CONNECT asks for.
    #[derive(Clone)]
    pub(in crate::wire::mqtt) struct Hello {
        pub(in crate::wire::mqtt) version: Version,
        pub(in crate::wire::mqtt) client_id: &'static str,
        pub(in crate::wire::mqtt) clean: bool,
        pub(in crate::wire::mqtt) keep_alive: u16,
        pub(in crate::wire::mqtt) properties: &'static [u8],
        /// A will on this topic.
        pub(in crate::wire::mqtt) will: Option<&'static str>,
    }

    impl Hello {
        /// A session that ends with its connection.
        pub(in crate::wire::mqtt) fn new(version: Version) -> Self {
            Self {
                version,
                client_id: "ann",
                clean: true,
                keep_alive: 0,
                properties: &[],
                will: None,
            }
        }

        /// A session that outlasts its connection, and may go on with an earlier one.
        pub(in crate::wire::mqtt) fn lasting(version: Version) -> Self {
            Self {
                clean: false,
                // Session expiry interval: a hundred seconds.
                properties: &[0x11, 0, 0, 0, 100],
                ..Self::new(version)
            }
        }

        pub(in crate::wire::mqtt) fn encode(&self) -> Vec<u8> {
            let level = match self.version {
                Version::V3 => 4,
                Version::V5 => 5,
            };
            let flags = u8::from(self.clean) << 1 | u8::from(self.will.is_some()) << 2;
            let mut body = text("MQTT");
            body.extend([level, flags]);
            body.extend(self.keep_alive.to_be_bytes());
            body.extend(properties(self.version, self.properties));
            body.extend(text(self.client_id));
            if let Some(topic) = self.will {
                body.extend(properties(self.version, &[]));
                body.extend(text(topic));
                body.extend(text("will"));
            }
            packet(0x10, &body)
        }
    }

    /// A PUBLISH whose first byte has these flags, with properties of 5.0.
    pub(in crate::wire::mqtt) fn publish_with(
        version: Version,
        flags: u8,
        id: u16,
        topic: &str,
        property_bytes: &[u8],
        payload: &str,
    ) -> Vec<u8> {
        let mut body = text(topic);
        if flags & 6 != 0 {
            body.extend(id.to_be_bytes());
        }
        body.extend(properties(version, property_bytes));
        body.extend(payload.as_bytes());
        packet(0x30 | flags, &body)
    }

    pub(in crate::wire::mqtt) fn publish(
        version: Version,
        qos: u8,
        id: u16,
        topic: &str,
        payload: &str,
    ) -> Vec<u8> {
        publish_with(version, qos << 1, id, topic, &[], payload)
    }

    /// A SUBSCRIBE to filters with their options.
    pub(in crate::wire::mqtt) fn subscribe(
        version: Version,
        id: u16,
        filters: &[(&str, u8)],
    ) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties(version, &[]));
        for (filter, options) in filters {
            body.extend(text(filter));
            body.push(*options);
        }
        packet(0x82, &body)
    }

    pub(in crate::wire::mqtt) fn unsubscribe(
        version: Version,
        id: u16,
        filters: &[&str],
    ) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties(version, &[]));
        for filter in filters {
            body.extend(text(filter));
        }
        packet(0xa2, &body)
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP, with a code of 5.0 unless that is zero.
    pub(in crate::wire::mqtt) fn ack(kind: u8, id: u16, code: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::wire::mqtt::reply::ack(&mut bytes, kind, id, code);
        bytes
    }

    pub(in crate::wire::mqtt) const PINGREQ: [u8; 2] = [0xc0, 0];
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::harness::{
        BOTH, BrokerInMemory, Hello, PINGREQ, TestConversation, ack, described, packet, publish,
        publish_with, subscribe, text, unsubscribe,
    };
    use super::*;
    use crate::engine::limits::Limits;
    use crate::engine::session::Lifecycle;

    /// DISCONNECT of 5.0 with this code; 3.1.1 is just closed.
    fn disconnect(version: Version, code: &str) -> String {
        match version {
            Version::V3 => String::new(),
            Version::V5 => format!("DISCONNECT {code} why"),
        }
    }

    /// The packet ends the conversation, and the client is told this code of 5.0.
    #[track_caller]
    fn assert_ends(packet: &[u8], version: Version, code: &str) {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(version).encode());
        let (told, end) = ann.send_last(packet);
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(told, disconnect(version, code), "{packet:02x?}");
        connection.client.settle();
        assert_eq!(connection.client.record().totals().refused, 1);
    }

    /// Makes the last packet of the client older.
    fn pass(conversation: &mut TestConversation<'_, '_>, seconds: u64) {
        conversation.conversation.heard -= Duration::from_secs(seconds);
    }

    #[test]
    fn a_connection_begins_with_connect_or_is_closed_without_an_answer() {
        let broker = BrokerInMemory::new();
        let ping_first = [&PINGREQ[..], &Hello::new(Version::V5).encode()].concat();
        for bytes in [
            &ping_first[..],
            &packet(0x30, b"\0\x01ahi"),
            // The first byte says enough.
            b"\x30",
            // Longer than any packet.
            b"\x10\xff\xff\xff\x7f",
            // Flags that a CONNECT does not have.
            b"\x11\x00",
        ] {
            let mut connection = broker.connection();
            let (told, end) = connection.conversation().send_last(bytes);
            assert!(matches!(end, End::Refused(_)), "{end:?}");
            assert_eq!(told, "");
            assert!(!connection.client.is_ending());
        }
    }

    #[test]
    fn a_second_connect_ends_the_connection() {
        for version in BOTH {
            assert_ends(&Hello::new(version).encode(), version, "82");
        }
    }

    #[test]
    fn packets_may_come_in_any_pieces() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let said = [
                Hello::new(version).encode(),
                subscribe(version, 1, &[("a", 0)]),
                publish(version, 0, 0, "a", "hi"),
                publish(version, 1, 7, "a", "ho"),
            ];
            for size in [1, 3, 1000] {
                let told = "CONNACK 0 00; SUBACK 1 00; PUBLISH q0 a hi; PUBLISH q0 a ho; PUBACK 7";
                let said = said.concat();
                let mut ann = connection.conversation();
                let (heard, end) = ann.send_all(said.chunks(size));
                assert!(end.is_none(), "{end:?}");
                assert_eq!(heard, told);
                ann.leave();
                connection.close(&End::Left);
                connection = broker.connection();
            }
        }
    }

    #[test]
    fn what_follows_a_connect_that_is_refused_is_not_handled() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        let nameless = Hello {
            client_id: "",
            clean: false,
            ..Hello::new(Version::V3)
        };
        let said = [nameless.encode(), publish(Version::V3, 0, 0, "a", "hi")].concat();
        let mut connection = broker.connection();
        let (told, end) = connection.conversation().send_last(&said);
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(told, "CONNACK 0 02");
        assert!(connection.client.is_ending());
        assert_eq!(messages.taken(), "");
    }

    /// A CONNECT with these flags and fields.
    fn connect_as(name: &str, level: u8, flags: u8, fields: &[&str]) -> Vec<u8> {
        let head = [&text(name)[..], &[level, flags, 0, 0]].concat();
        let fields = fields.iter().map(|field| text(field));
        packet(0x10, &[head, fields.collect::<Vec<_>>().concat()].concat())
    }

    #[test]
    fn protocol_names_and_levels_of_3_1_and_of_bridges_are_known() {
        let broker = BrokerInMemory::new();
        for (name, level, answer) in [
            ("MQTT", 4, "CONNACK 0 00"),
            ("MQTT", 0x84, "CONNACK 0 00"),
            ("MQIsdp", 3, "CONNACK 0 00"),
            ("MQIsdp", 0x83, "CONNACK 0 00"),
            ("MQTT", 3, "CONNACK 0 01"),
            ("MQTT", 0x83, "CONNACK 0 01"),
            ("MQTT", 0x85, "CONNACK 0 01"),
            ("MQIsdp", 4, "CONNACK 0 01"),
            ("MQIsdp", 0x84, "CONNACK 0 01"),
            ("MQIsdq", 3, ""),
        ] {
            let mut connection = broker.connection();
            let mut conversation = connection.conversation();
            let (told, _) = conversation.send_all([&connect_as(name, level, 2, &["ann"])[..]]);
            assert_eq!(told, answer, "{name} {level}");
            conversation.leave();
            connection.close(&End::SaidBye);
        }
    }

    #[test]
    fn a_connect_of_3_1_may_lack_what_its_flags_announce() {
        let broker = BrokerInMemory::new();
        let (name, password, will) = (0x80, 0x40, 4);
        for (flags, fields, answer) in [
            (2 | name, &["ann"][..], "CONNACK 0 00"),
            (2 | name | password, &["ann"], "CONNACK 0 00"),
            (2 | name | password, &["ann", "name"], "CONNACK 0 00"),
            (
                2 | name | password,
                &["ann", "name", "word"],
                "CONNACK 0 00",
            ),
            (2 | name | will, &["ann", "a", "gone"], "CONNACK 0 00"),
            (
                2 | password | name | will,
                &["ann", "a", "gone", "n"],
                "CONNACK 0 00",
            ),
            // Flags of a will that is not there, and the one that 3.1.1 reserves.
            (2 | 0x38 | 1, &["ann"], "CONNACK 0 00"),
            (2, &[""], "CONNACK 0 02"),
            (2 | will, &["ann"], ""),
            (2, &["ann", "name"], ""),
            (2, &[], ""),
        ] {
            let mut connection = broker.connection();
            let mut conversation = connection.conversation();
            let (told, _) = conversation.send_all([&connect_as("MQIsdp", 3, flags, fields)[..]]);
            assert_eq!(told, answer, "{flags:02x} {fields:?}");
            conversation.leave();
            connection.close(&End::SaidBye);
        }
    }

    #[test]
    fn a_client_of_3_1_gets_no_code_that_3_1_lacks_and_may_mark_packets_as_sent_again() {
        let broker = BrokerInMemory::with(Limits {
            subscriptions: 1,
            ..Limits::default()
        });
        let hello = connect_as("MQIsdp", 3, 0, &["ann"]);
        let mut first = broker.connection();
        first.connected(&hello).leave();
        first.close(&End::SaidBye);
        // The session is there, and CONNACK does not say so.
        let mut connection = broker.connection();
        let mut ann = connection.conversation();
        assert_eq!(ann.send(&hello), "CONNACK 0 00");
        let again = |mut packet: Vec<u8>| {
            packet[0] |= 8;
            packet
        };
        let filters = subscribe(Version::V3, 7, &[("a", 1), ("b", 2)]);
        assert_eq!(ann.send(&again(filters)), "SUBACK 7 01 02");
        assert_eq!(ann.send(&again(packet(0x62, &[0, 9]))), "PUBCOMP 9");
        let told = ann.send(&again(unsubscribe(Version::V3, 8, &["a"])));
        assert_eq!(told, "UNSUBACK 8");
        ann.leave();
        assert_eq!(connection.client.record().totals().refused, 1);
        connection.close(&End::SaidBye);
        for version in BOTH {
            let mut connection = broker.connection();
            let mut bob = connection.connected(&Hello::new(version).encode());
            let (told, end) = bob.send_last(&again(packet(0x62, &[0, 9])));
            assert!(matches!(end, End::Refused(_)), "{end:?}");
            assert_eq!(told, disconnect(version, "81"));
            bob.leave();
            connection.close(&End::SaidBye);
        }
    }

    #[test]
    fn a_bridge_gets_no_messages_of_its_own_and_the_retain_flag_as_published() {
        for (name, level) in [("MQTT", 0x84), ("MQIsdp", 0x83)] {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut bridge = connection.connected(&connect_as(name, level, 2, &["bridge"]));
            let told = bridge.send(&subscribe(Version::V3, 1, &[("a", 0), ("$share/g/b", 0)]));
            assert_eq!(told, "SUBACK 1 00 00");
            assert_eq!(bridge.send(&publish(Version::V3, 0, 0, "a", "own")), "");
            let mut other = broker.connection();
            let mut other = other.connected(&Hello::new(Version::V3).encode());
            other.send(&publish_with(Version::V3, 1, 0, "a", &[], "kept"));
            assert_eq!(bridge.told(), "PUBLISH q0 retain a kept");
            // A member of a group may be the publisher.
            let told = bridge.send(&publish(Version::V3, 0, 0, "b", "shared"));
            assert_eq!(told, "PUBLISH q0 b shared");
        }
    }

    #[test]
    fn a_connect_that_has_begun_is_waited_for_ten_seconds() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.conversation();
        pass(&mut ann, 9);
        assert_eq!(ann.send(&[0x10]), "");
        assert!(ann.interval.expect("a time") <= Duration::from_secs(1));
        pass(&mut ann, 1);
        let (told, end) = ann.send_last(&[]);
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(told, "");
    }

    #[test]
    fn a_client_is_closed_after_one_and_a_half_times_its_keep_alive_without_a_packet() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let hello = Hello {
                keep_alive: 10,
                ..Hello::new(version)
            };
            let mut connection = broker.connection();
            let mut ann = connection.conversation();
            // The time for CONNECT does not count.
            pass(&mut ann, 9);
            assert_eq!(ann.send(&hello.encode()), "CONNACK 0 00");
            let interval = ann.interval.expect("a time");
            assert!(interval > Duration::from_secs(14), "{interval:?}");
            pass(&mut ann, 14);
            assert!(ann.arrive(Arrival::Silence).is_none());
            assert_eq!(ann.send(&PINGREQ), "PINGRESP");
            pass(&mut ann, 14);
            // A packet that is not whole does not count.
            assert_eq!(ann.send(&PINGREQ[..1]), "");
            pass(&mut ann, 1);
            let end = ann.arrive(Arrival::Silence).expect("it ends");
            assert!(matches!(end, End::Refused(_)), "{end:?}");
            assert_eq!(ann.told(), disconnect(version, "8d"));
        }
    }

    #[test]
    fn of_a_long_packet_each_kilobyte_counts_like_a_packet() {
        let whole = publish(Version::V5, 1, 7, "a", &"x".repeat(3 * PROGRESS_BYTES));
        let broker = BrokerInMemory::new();
        let hello = Hello {
            keep_alive: 10,
            ..Hello::new(Version::V5)
        };
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello.encode());
        // Bytes behind a packet of the same read count from there.
        let (first, rest) = whole.split_at(100);
        assert_eq!(ann.send(&[&PINGREQ, first].concat()), "PINGRESP");
        for piece in rest.chunks(PROGRESS_BYTES) {
            pass(&mut ann, 14);
            let (told, end) = ann.send_all([piece]);
            assert!(end.is_none(), "{end:?}");
            assert!(told.is_empty() || told == "PUBACK 7 10", "{told}");
        }
        // What is less does not.
        assert_eq!(ann.send(first), "");
        pass(&mut ann, 14);
        assert_eq!(ann.send(&rest[..PROGRESS_BYTES - 101]), "");
        pass(&mut ann, 1);
        let end = ann.arrive(Arrival::Silence).expect("it ends");
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(ann.told(), disconnect(Version::V5, "8d"));
    }

    #[test]
    fn a_connect_gains_no_time_by_its_length() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.conversation();
        let long = packet(0x10, &[b'x'; 3 * PROGRESS_BYTES]);
        pass(&mut ann, 9);
        assert_eq!(ann.send(&long[..2 * PROGRESS_BYTES]), "");
        pass(&mut ann, 1);
        let (told, end) = ann.send_last(&[]);
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(told, "");
    }

    #[test]
    fn a_client_of_5_0_is_told_the_longest_keep_alive_and_held_to_it() {
        for (asked, most, told) in [
            (0, 10, Some(10)),
            (11, 10, Some(10)),
            (10, 10, None),
            (4, 10, None),
            (100, 0, None),
            (0, 100_000, Some(u16::MAX)),
        ] {
            for version in BOTH {
                let broker = BrokerInMemory::with(Limits {
                    keep_alive: Duration::from_secs(most),
                    ..Limits::default()
                });
                let hello = Hello {
                    keep_alive: asked,
                    ..Hello::new(version)
                };
                let mut connection = broker.connection();
                let mut ann = connection.conversation();
                let connack = ann.send_for_bytes(&hello.encode());
                let told = told.filter(|_| version == Version::V5);
                let property = connack.iter().position(|&byte| byte == 0x13);
                let came =
                    property.map(|at| u16::from_be_bytes([connack[at + 1], connack[at + 2]]));
                assert_eq!(came, told, "{version:?} {connack:02x?}");
                let granted = f64::from(told.unwrap_or(asked));
                let interval = ann.interval.expect("a time").as_secs_f64();
                assert!(
                    (granted * 1.5 - interval).abs() < 1.0,
                    "{version:?} {interval}"
                );
            }
        }
    }

    #[test]
    fn with_a_keep_alive_of_zero_a_silence_never_ends_the_connection() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        pass(&mut ann, 100_000);
        assert_eq!(ann.send(&PINGREQ), "PINGRESP");
        assert_eq!(ann.interval, Some(Duration::ZERO));
    }

    #[test]
    fn answers_come_after_the_messages_of_their_batch_and_in_the_order_of_their_packets() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            ann.send(&subscribe(version, 1, &[("a", 0)]));
            let batch = [
                publish(version, 1, 1, "a", "1"),
                PINGREQ.to_vec(),
                publish(version, 2, 2, "a", "2"),
                publish(version, 0, 0, "a", "3"),
            ];
            assert_eq!(
                ann.send(&batch.concat()),
                "PUBLISH q0 a 1; PUBLISH q0 a 2; PUBLISH q0 a 3; PUBACK 1; PINGRESP; PUBREC 2"
            );
            // What came before a SUBSCRIBE or an UNSUBSCRIBE is done before it.
            let batch = [
                publish(version, 1, 3, "a", "4"),
                publish(version, 1, 4, "b", "5"),
                subscribe(version, 5, &[("b", 0)]),
                publish(version, 1, 6, "b", "6"),
                publish(version, 0, 0, "a", "7"),
                unsubscribe(version, 7, &["a"]),
                publish(version, 0, 0, "a", "8"),
            ];
            let unsuback = match version {
                Version::V3 => "UNSUBACK 7",
                Version::V5 => "UNSUBACK 7 00",
            };
            let none = if version == Version::V5 { " 10" } else { "" };
            let told = ann.send(&batch.concat());
            assert_eq!(
                told,
                format!(
                    "PUBLISH q0 a 4; PUBACK 3; PUBACK 4{none}; SUBACK 5 00; PUBLISH q0 b 6; \
                     PUBLISH q0 a 7; PUBACK 6; {unsuback}"
                )
            );
        }
    }

    #[test]
    fn a_batch_with_many_answers_is_ended_early() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V3).encode());
        ann.send(&subscribe(Version::V3, 1, &[("a", 0)]));
        let enough = ANSWER_BYTES / reply::PINGRESP.len() + 1;
        let mut batch = PINGREQ.repeat(enough);
        batch.extend(publish(Version::V3, 0, 0, "a", "hi"));
        batch.extend(PINGREQ);
        let told = ann.send(&batch);
        let told: Vec<&str> = told.split("; ").collect();
        assert_eq!(told.len(), enough + 2);
        assert_eq!(
            told[enough - 1..],
            ["PINGRESP", "PUBLISH q0 a hi", "PINGRESP"]
        );
    }

    #[test]
    fn what_came_before_a_fault_is_done_and_answered() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        let batch = [publish(Version::V5, 1, 1, "a", "hi"), vec![0xc1, 0]].concat();
        let (told, _) = ann.send_last(&batch);
        assert_eq!(told, "PUBACK 1; DISCONNECT 81 why");
        assert_eq!(messages.taken(), "MESSAGE a hi\n");
    }

    #[test]
    fn a_message_at_qos_1_is_done_with_its_puback() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            ann.send(&subscribe(version, 1, &[("a", 1)]));
            let told = ann.send(&publish(version, 1, 7, "a", "hi"));
            assert_eq!(told, "PUBLISH q1 #1 a hi; PUBACK 7");
            assert_eq!(ann.send(&ack(kind::PUBACK, 1, 0)), "");
            // Now it is unknown, which is no error.
            assert_eq!(ann.send(&ack(kind::PUBACK, 1, 0)), "");
        }
    }

    #[test]
    fn a_message_at_qos_2_is_released_after_its_pubrec_and_done_with_its_pubcomp() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            ann.send(&subscribe(version, 1, &[("a", 2)]));
            let told = ann.send(&publish(version, 2, 7, "a", "hi"));
            assert_eq!(told, "PUBLISH q2 #1 a hi; PUBREC 7");
            for _ in 0..2 {
                assert_eq!(ann.send(&ack(kind::PUBREC, 1, 0)), "PUBREL 1");
            }
            assert_eq!(ann.send(&ack(kind::PUBCOMP, 1, 0)), "");
            assert_eq!(ann.send(&ack(kind::PUBCOMP, 1, 0)), "");
        }
    }

    #[test]
    fn a_message_at_qos_2_that_the_client_refuses_is_done() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        ann.send(&subscribe(Version::V5, 1, &[("a", 2)]));
        ann.send(&publish(Version::V5, 2, 7, "a", "hi"));
        assert_eq!(ann.send(&ack(kind::PUBREC, 1, 0x97)), "");
        assert_eq!(ann.send(&ack(kind::PUBREC, 1, 0)), "PUBREL 1 92");
    }

    #[test]
    fn an_acknowledgement_for_an_unknown_identifier_is_no_error() {
        for (version, code) in [(Version::V3, ""), (Version::V5, " 92")] {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            assert_eq!(ann.send(&ack(kind::PUBACK, 9, 0)), "");
            assert_eq!(ann.send(&ack(kind::PUBCOMP, 9, 0)), "");
            let told = ann.send(&ack(kind::PUBREC, 9, 0));
            assert_eq!(told, format!("PUBREL 9{code}"));
            let told = ann.send(&ack(kind::PUBREL, 9, 0));
            assert_eq!(told, format!("PUBCOMP 9{code}"));
        }
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        // What the client refuses needs no release.
        assert_eq!(ann.send(&ack(kind::PUBREC, 9, 0x80)), "");
    }

    #[test]
    fn an_acknowledgement_of_another_kind_than_is_due_ends_the_connection() {
        for (qos, kinds) in [
            (1, [kind::PUBREC, kind::PUBCOMP]),
            (2, [kind::PUBACK, kind::PUBCOMP]),
        ] {
            for (version, kind) in BOTH.into_iter().zip(kinds) {
                let broker = BrokerInMemory::new();
                let mut connection = broker.connection();
                let mut ann = connection.connected(&Hello::new(version).encode());
                ann.send(&subscribe(version, 1, &[("a", qos)]));
                ann.send(&publish(version, qos, 7, "a", "hi"));
                let (told, end) = ann.send_last(&ack(kind, 1, 0));
                assert!(matches!(end, End::Refused(_)), "{end:?}");
                assert_eq!(told, disconnect(version, "82"));
            }
        }
    }

    #[test]
    fn an_acknowledgement_makes_room_for_the_next_message() {
        let broker = BrokerInMemory::new();
        // Receive maximum: one.
        let hello = Hello {
            properties: &[0x21, 0, 1],
            ..Hello::new(Version::V5)
        };
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello.encode());
        ann.send(&subscribe(Version::V5, 1, &[("a", 1)]));
        let batch = [
            publish(Version::V5, 1, 7, "a", "1"),
            publish(Version::V5, 1, 8, "a", "2"),
        ];
        let told = ann.send(&batch.concat());
        assert_eq!(told, "PUBLISH q1 #1 a 1; PUBACK 7; PUBACK 8");
        let told = ann.send(&ack(kind::PUBACK, 1, 0));
        assert_eq!(told, "PUBLISH q1 #2 a 2");
    }

    #[test]
    fn a_disconnect_ends_the_conversation_and_forgets_the_will() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let messages = broker.subscriber("#");
            let hello = Hello {
                will: Some("gone"),
                ..Hello::new(version)
            };
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello.encode());
            let batch = [
                publish(version, 1, 1, "a", "last"),
                packet(0xe0, &[]),
                PINGREQ.to_vec(),
            ];
            let (told, end) = ann.send_last(&batch.concat());
            assert!(matches!(end, End::SaidBye), "{end:?}");
            assert_eq!(told, "PUBACK 1");
            assert!(connection.client.session().take_will().is_none());
            connection.close(&end);
            assert_eq!(messages.taken(), "MESSAGE a last\n");
            broker.check_ledger();
        }
    }

    #[test]
    fn a_disconnect_with_will_and_any_other_end_leave_the_will() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("gone");
        let hello = Hello {
            will: Some("gone"),
            ..Hello::new(Version::V5)
        };
        let with_will = packet(0xe0, &[4]);
        for last in [&with_will[..], &[0xc1, 0]] {
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello.encode());
            let (_, end) = ann.send_last(last);
            assert_eq!(matches!(end, End::Left), last == with_will, "{end:?}");
            connection.close(&end);
            assert_eq!(messages.taken(), "MESSAGE gone will\n");
        }
    }

    #[test]
    fn a_disconnect_may_change_how_long_the_session_is_kept() {
        let seconds = |seconds: u32| {
            let property = [&[0, 5, 0x11][..], &seconds.to_be_bytes()].concat();
            packet(0xe0, &property)
        };
        let limits = Limits {
            session_expiry: Duration::from_secs(200),
            ..Limits::default()
        };
        for (asked, kept) in [(0, None), (7, Some(7)), (201, Some(200))] {
            let broker = BrokerInMemory::with(limits.clone());
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::lasting(Version::V5).encode());
            let (told, end) = ann.send_last(&seconds(asked));
            assert_eq!(told, "");
            assert!(matches!(end, End::SaidBye), "{end:?}");
            let session = connection.client.record().own_session().clone();
            connection.close(&end);
            let left = match session.lifecycle() {
                Lifecycle::Detached { until: Some(until) } => {
                    let left = until.saturating_duration_since(Instant::now());
                    Some(left.as_millis().div_ceil(1000))
                }
                Lifecycle::Ended => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(left, kept);
        }
        // Zero in CONNECT stays zero.
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        let (told, end) = ann.send_last(&seconds(7));
        assert_eq!(told, "DISCONNECT 82 why");
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert!(!connection.client.session().outlasts_connection());
        let mut connection = broker.connection();
        let other = Hello {
            client_id: "bob",
            ..Hello::new(Version::V5)
        };
        let (told, end) = connection.connected(&other.encode()).send_last(&seconds(0));
        assert_eq!((&*told, matches!(end, End::SaidBye)), ("", true));
    }

    #[test]
    fn what_is_received_at_qos_2_and_not_released_stays_with_the_session() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let messages = broker.subscriber("a");
            let hello = Hello::lasting(version).encode();
            let said = [hello, publish(version, 2, 7, "a", "hi")].concat();
            for (present, heard) in [(0, "MESSAGE a hi\n"), (1, "")] {
                let mut connection = broker.connection();
                let end = connection.converse(&said);
                assert!(matches!(end, End::Left), "{end:?}");
                let told = described(&connection.told(), version);
                assert_eq!(told, format!("CONNACK {present} 00; PUBREC 7"));
                connection.close(&end);
                assert_eq!(messages.taken(), heard);
            }
        }
    }

    #[test]
    fn a_packet_is_as_long_as_its_client_was_told_at_most() {
        for version in BOTH {
            let limits = Limits {
                line_bytes: 100,
                ..Limits::default()
            };
            let broker = BrokerInMemory::with(limits.clone());
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            let head = publish(version, 0, 0, "a", "").len();
            let of = |bytes: usize| publish(version, 0, 0, "a", &"x".repeat(bytes - head));
            assert_eq!(ann.send(&of(100)), "");
            // 3.1.1 does not announce a limit, so the lower one holds at once.
            broker.engine.replace_limits(Limits {
                line_bytes: 99,
                ..limits
            });
            let long = if version == Version::V5 { 101 } else { 100 };
            assert_eq!(ann.send(&of(long - 1)), "");
            let (told, end) = ann.send_last(&of(long));
            assert!(matches!(end, End::Refused(_)), "{end:?}");
            assert_eq!(told, disconnect(version, "95"));
        }
    }

    #[test]
    fn a_length_with_more_bytes_than_it_needs_is_malformed_in_5_0() {
        assert_ends(&[0xc0, 0x80, 0], Version::V5, "81");
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V3).encode());
        assert_eq!(ann.send(&[0xc0, 0x80, 0]), "PINGRESP");
    }

    #[test]
    fn the_conversation_ends_as_what_arrives_says() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let ended = |arrival| {
                let mut connection = broker.connection();
                let mut ann = connection.connected(&Hello::new(version).encode());
                let end = ann.arrive(arrival);
                let told = ann.told();
                connection.close(&End::SaidBye);
                (end, told)
            };
            let (end, told) = ended(Arrival::Pause);
            assert_eq!((end.is_none(), &*told), (true, ""));
            let (end, told) = ended(Arrival::End);
            assert_eq!((matches!(end, Some(End::Left)), &*told), (true, ""));
            let (end, told) = ended(Arrival::Stopping);
            assert_eq!((matches!(end, Some(End::Stopping)), &*told), (true, ""));
            let reset = io::ErrorKind::ConnectionReset.into();
            let (end, told) = ended(Arrival::Failed(reset));
            assert_eq!((matches!(end, Some(End::Reset)), &*told), (true, ""));
            let (end, told) = ended(Arrival::NoMemory);
            assert!(matches!(end, Some(End::Refused(_))), "{end:?}");
            assert_eq!(told, disconnect(version, "97"));
        }
    }

    #[test]
    fn a_connection_whose_session_is_taken_over_ends_as_refused() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let hello = Hello::new(Version::V5).encode();
        let mut ann = connection.connected(&hello);
        let outbox = ann.conversation.client.session().outbox().clone();
        outbox.lock().take_over();
        let end = ann.arrive(Arrival::End).expect("it ends");
        assert!(matches!(end, End::Refused(_)), "{end:?}");
        assert_eq!(ann.told(), "DISCONNECT 8e");
    }

    #[test]
    fn a_reason_is_told_where_the_client_can_take_it_and_in_disconnect_whether_or_not_it_asks_for_it()
     {
        let publish_nowhere = publish(Version::V5, 1, 1, "$SYS/a", "");
        let malformed = publish_with(Version::V5, 6, 1, "a", &[], "");
        for (properties, told) in [
            (&[][..], ["PUBACK 1 87 why", "DISCONNECT 81 why"]),
            // Request problem information: no.
            (&[0x17, 0], ["PUBACK 1 87", "DISCONNECT 81 why"]),
            // Maximum packet size: 40 bytes.
            (&[0x27, 0, 0, 0, 40], ["PUBACK 1 87", "DISCONNECT 81"]),
        ] {
            let broker = BrokerInMemory::new();
            let hello = Hello {
                properties,
                ..Hello::new(Version::V5)
            };
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello.encode());
            assert_eq!(ann.send(&publish_nowhere), told[0]);
            assert_eq!(ann.send_last(&malformed).0, told[1]);
            assert!(connection.client.is_ending());
        }
    }
}
