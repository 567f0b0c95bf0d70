//! One connection of an MQTT client.
//!
//! A batch is what one read brought. Its messages are delivered at its end, and only then are its
//! answers sent, so that an acknowledgement never runs ahead of what it promises.

mod publishing;
mod subscribing;

use std::collections::HashSet;
use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::connect::{self, Accepted, Turned};
use super::packet::{self, Connect, Fault, Header, Packet, Publish, kind};
use super::reply::{self, ReplyLimits};
use super::{Encoders, Version};
use crate::engine::client::{Answers, Client};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::delivery::in_flight::{Ack, AckEffect};
use crate::wire::end::End;
use crate::wire::source::{Arrival, Source};

/// With more answers than this in hand the batch is ended early.
const ANSWER_BYTES: usize = 32 * 1024;

/// So long may a CONNECT take that has begun.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The code for a number that no message has.
const IDENTIFIER_NOT_FOUND: u8 = 0x92;

/// One client's conversation.
pub(crate) struct MqttConversation<'a, 'b> {
    client: &'a mut Client<'b>,
    encoders: Encoders,
    version: Version,
    reply_limits: ReplyLimits,
    /// The maximum packet size that CONNACK has announced, if it has.
    announced: usize,
    keep_alive: Duration,
    /// When the last packet came.
    heard: Instant,
    /// The session expiry interval that the client asked for.
    expiry: u32,
    /// Answers to be sent after the batch has been delivered.
    answers: Vec<u8>,
    /// Something has been acknowledged, so that more may be sent.
    acknowledged: bool,
    /// What the client has sent at QoS 2 and not released.
    received: HashSet<u16, RandomState>,
    /// Topics by the number that stands for them; they end with the connection [MQTT-3.3.2-7].
    aliases: Vec<Option<Box<str>>>,
}

impl<'a, 'b> MqttConversation<'a, 'b> {
    pub(crate) fn new(client: &'a mut Client<'b>, encoders: Encoders) -> Self {
        Self {
            client,
            encoders,
            version: Version::V3,
            reply_limits: ReplyLimits::ANY,
            announced: 0,
            keep_alive: CONNECT_TIME,
            heard: Instant::now(),
            expiry: 0,
            answers: Vec::new(),
            acknowledged: false,
            received: HashSet::default(),
            aliases: Vec::new(),
        }
    }

    /// Serves the client until it leaves, breaks a rule whose breach ends the connection, or is
    /// silent for too long. `buffer` holds what has been read already.
    pub(crate) fn read_loop(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        // Done once for a connection, and only here is a CONNACK sent [MQTT-3.2.0-2].
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
                return match accepted {
                    Ok(()) => ControlFlow::Continue(()),
                    // The connection is closed [MQTT-3.2.2-5] of 3.1.1, [MQTT-3.2.2-7] of 5.0, and what comes
                    // behind the CONNECT is not handled [MQTT-3.1.4-5] of 3.1.1, [MQTT-3.1.4-6] of 5.0.
                    Err(Turned { why, answer }) => {
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

    fn connect(&mut self, header: Header, body: &[u8]) -> Result<(), Turned> {
        let connect = Connect::read(header, body).map_err(Turned::bad)?;
        let Accepted {
            version,
            keep_alive,
            reply_limits,
            expiry,
        } = connect::accept(self.client, self.encoders, &connect)?;
        (self.version, self.keep_alive) = (version, keep_alive);
        (self.reply_limits, self.expiry) = (reply_limits, expiry);
        if version == Version::V5 {
            self.announced = self.client.limits().line_bytes;
        }
        self.heard = Instant::now();
        self.received = self.client.session().take_received();
        Ok(())
    }

    /// The longest packet taken. A limit that is lowered meanwhile does not hold for a client that has
    /// been told a higher one: it may send packets of that size [MQTT-3.2.2-15].
    fn packet_bytes(&self) -> usize {
        self.client.limits().line_bytes.max(self.announced)
    }

    /// Waits for more bytes, or for the time when there should have been some.
    fn wait(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> ControlFlow<End> {
        if self.keep_alive.is_zero() {
            source.set_interval(Duration::ZERO);
        } else {
            let left = self.keep_alive.saturating_sub(self.heard.elapsed());
            // [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0.
            if left.is_zero() {
                let why = "no packet came in one and a half times the keep alive";
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
        self.received.shrink_to_fit();
    }

    /// Handles all whole packets.
    fn handle(&mut self, buffer: &mut ReadBuffer) -> Result<ControlFlow<End>, Fault> {
        self.client.refresh_limits();
        self.client.begin();
        let before = buffer.start();
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
            let body = &buffer.bytes()[start + header.bytes..start + header.size()];
            if header.kind() == kind::PUBLISH {
                let publish = Publish::read(header.first, body, self.version)?;
                self.publish(buffer.bytes(), publish)?;
            } else {
                let packet = Packet::read(header, body, self.version)?;
                if let ControlFlow::Break(end) = self.answer(buffer.bytes(), packet)? {
                    self.finish_part(buffer.bytes());
                    return Ok(ControlFlow::Break(end));
                }
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(buffer.bytes());
                self.client.wait_for_room();
            }
        }
        if buffer.start() != before {
            self.heard = Instant::now();
        }
        let answers = Answers {
            acknowledged: mem::take(&mut self.acknowledged),
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_batch(Some(buffer), answers);
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the batch before its time: all that was asked so far is done and answered.
    fn finish_part(&mut self, buffer: &[u8]) {
        let answers = Answers {
            acknowledged: mem::take(&mut self.acknowledged),
            ..Answers::new(&mut self.answers)
        };
        self.client.finish_part(buffer, answers);
    }

    /// Ends the conversation as the standard says, after what was asked before.
    #[inline(never)]
    fn refuse(&mut self, buffer: &ReadBuffer, fault: Fault) -> End {
        self.finish_part(buffer.bytes());
        self.client.note_refused(1);
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
        // The connection is closed after it [MQTT-3.14.4-2], also if the client cannot take this packet
        // [MQTT-4.13.2-1].
        self.client.farewell(&farewell);
        End::Refused(fault.why)
    }

    /// Handles any other packet.
    fn answer(&mut self, buffer: &[u8], packet: Packet) -> Result<ControlFlow<End>, Fault> {
        match packet {
            Packet::Ack { kind, id, failed } => self.acked(kind, id, failed)?,
            Packet::Subscribe {
                id,
                identifier,
                entries,
            } => {
                self.finish_part(buffer);
                self.subscribe(id, identifier, &entries)?;
            }
            Packet::Unsubscribe { id, filters } => {
                self.finish_part(buffer);
                self.unsubscribe(id, &filters)?;
            }
            Packet::Ping => self.answers.extend(reply::PINGRESP),
            Packet::Disconnect { with_will, expiry } => {
                return self.disconnect(with_will, expiry).map(ControlFlow::Break);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The client has acknowledged something, or releases it.
    fn acked(&mut self, kind: u8, id: u16, failed: bool) -> Result<(), Fault> {
        let not_found = match self.version {
            Version::V3 => 0,
            Version::V5 => IDENTIFIER_NOT_FOUND,
        };
        if kind == kind::PUBREL {
            // Answered [MQTT-4.3.3-2] of 3.1.1, [MQTT-4.3.3-11] of 5.0, also if the message has expired
            // [MQTT-4.3.3-13]. The next PUBLISH with its identifier is a new message [MQTT-4.3.3-12].
            let code = if self.received.remove(&id) {
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
