//! One connection to an MQTT broker.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::common::{Cursor, IntoPayload};
use mqtt_protocol_core::mqtt::connection::{Connection, Event, role};
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{self as core};
use protocol::{ACK, Attributes, RETAIN, Reached, Verb};

use super::attributes;
use super::failure::{encode_error, end_error, protocol_error, refusal};
use super::packets::{self, BrokerPacket, PublishPacket};
use super::pubrec::PubRecs;
use super::settings::{Qos, Settings, Version};
use super::timers::Timers;
use crate::clock;
use crate::error::{Error, Refusal};
use crate::levels::Levels;
use crate::link::{Link, Woken};
use crate::options::Options;
use crate::publisher::Receipt;
use crate::stream::Inside;

/// Maximum number of unacknowledged messages, unless the broker has a lower receive maximum.
const WINDOW: usize = 1000;

/// The same for QoS 2 in MQTT 3.1.1, which has no receive maximum. Mosquitto closes the connection
/// when more than its `max_inflight_messages` are in flight, 20 by default.
const SMALL_WINDOW: usize = 20;

/// Reason codes from here on say that something failed.
const FAILURE: u8 = 0x80;

/// How many bytes are buffered before they are sent.
const BATCH_BYTES: usize = 64 * 1024;

/// How long to wait for the broker to close after DISCONNECT.
const PARTING: Duration = Duration::from_secs(1);

/// A message or a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// A message.
    Message {
        /// The topic. A topic of MQTT may contain characters that a [`Topic`](crate::Topic) may
        /// not.
        topic: &'a str,
        /// The payload.
        payload: &'a [u8],
        /// Its properties, and whether it is retained.
        attributes: &'a Attributes<'a>,
    },
    /// The broker dropped messages at this position because this client was too slow. Only from
    /// brokers that put the user property `gap` into the next message.
    Gap {
        /// How many.
        count: u64,
    },
}

/// A connection, used by one thread.
#[derive(Debug)]
pub struct Session {
    link: Link,
    protocol: ProtocolState,
    pubrecs: PubRecs,
    version: Version,
    timers: Timers,
    answer_timeout: Duration,
    delivered: VecDeque<PublishPacket>,
    /// The unacknowledged messages, by packet id.
    outstanding: HashMap<u16, Outstanding>,
    receipt: Receipt,
    /// Of what `receipt` counts.
    levels: Levels,
    /// The answer to CONNECT, once it has arrived.
    connack: Option<(u8, Option<String>)>,
    /// The answer to the last SUBSCRIBE, once it has arrived.
    suback: Option<Vec<u8>>,
    pongs: u64,
    /// A message was sent with QoS 0 and no later answer confirms that the broker has read it.
    is_unconfirmed: bool,
    /// How the connection ended; returned after everything that arrived before the end.
    ended: Option<Error>,
}

/// A message with QoS 1 or 2.
#[derive(Debug)]
struct Outstanding {
    number: u64,
    /// It asks how safe it is, and has not been answered.
    asks: bool,
    /// A PUBREC has accepted it with this code.
    code: u8,
}

/// The state of the protocol. The library's type does not implement `Debug`.
struct ProtocolState(Connection<role::Client>);

impl std::fmt::Debug for ProtocolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProtocolState").finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to `HOST:PORT` or `unix:PATH`, and waits until the broker accepts the connection.
    pub fn connect(
        server: impl ToSocketAddrs + Display,
        settings: &Settings,
        options: &Options,
    ) -> Result<Self, Error> {
        let version = match settings.version {
            Version::V3 => core::Version::V3_1_1,
            Version::V5 => core::Version::V5_0,
        };
        let mut protocol = Connection::new(version);
        let patience = options.answer_timeout.as_millis();
        protocol.set_pingresp_recv_timeout(u64::try_from(patience).unwrap_or(u64::MAX));
        let mut session = Self {
            link: Link::open(server, Inside::Mqtt, options)?,
            protocol: ProtocolState(protocol),
            pubrecs: PubRecs::default(),
            version: settings.version,
            timers: Timers::default(),
            answer_timeout: options.answer_timeout,
            delivered: VecDeque::new(),
            outstanding: HashMap::new(),
            receipt: Receipt::default(),
            levels: Levels::default(),
            connack: None,
            suback: None,
            pongs: 0,
            is_unconfirmed: false,
            ended: None,
        };
        let packet = packets::connect(settings);
        session.send_now(packet.map_err(|error| encode_error("connect", error))?);
        session.wait_for(None, |session| session.connack.is_some())?;
        match session.connack.take() {
            Some((0, _)) | None => Ok(session),
            Some((code, text)) => Err(end_error(code, text)),
        }
    }

    /// Subscribes to all filters; the broker may grant a lower QoS.
    pub fn subscribe_all<F: AsRef<str>>(&mut self, filters: &[F], qos: Qos) -> Result<(), Error> {
        let id = self.packet_id()?;
        self.suback = None;
        let packet = packets::subscribe(self.version, id, filters, qos);
        self.send_now(packet.map_err(|error| encode_error("subscribe", error))?);
        self.wait_for(Some(Verb::Subscribe), |session| session.suback.is_some())?;
        let codes = self.suback.take().unwrap_or_default();
        for (filter, code) in filters.iter().zip(codes) {
            if code >= FAILURE {
                let subject = format!("subscribe:{}", filter.as_ref());
                return Err(Error::Refused(refusal(code, None, subject)));
            }
        }
        Ok(())
    }

    /// Publishes; waits only while the window of unacknowledged messages is full. The attribute
    /// `retain` asks the broker to retain the message.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        attributes: &Attributes<'_>,
        qos: Qos,
    ) -> Result<(), Error> {
        let number = self.receipt.published + 1;
        let subject = || format!("publish:{number}");
        let bad_attribute = |text| {
            Error::Refused(Refusal {
                code: "bad-attribute".to_owned(),
                subject: subject(),
                text,
            })
        };
        attributes::check_attributes(self.version, attributes).map_err(bad_attribute)?;
        let properties = match self.version {
            Version::V3 => Vec::new(),
            Version::V5 => attributes::properties(attributes).map_err(bad_attribute)?,
        };
        let id = match qos {
            Qos::AtMostOnce => None,
            _ => {
                self.make_room(qos)?;
                Some(self.packet_id()?)
            }
        };
        let message = PublishPacket {
            topic: topic.to_owned(),
            payload: payload.into_payload(),
            qos,
            retain: attributes.contains(RETAIN),
            id,
            properties,
        };
        let packet = packets::publish(self.version, &message);
        let packet = packet.map_err(|error| encode_error(&subject(), error))?;
        self.receipt.published = number;
        let asks = attributes.contains(ACK);
        match id {
            Some(id) => drop(self.outstanding.insert(
                id,
                Outstanding {
                    number,
                    asks,
                    code: 0,
                },
            )),
            // With QoS 0 the broker can report neither that there are no subscribers nor a level.
            None => {
                self.is_unconfirmed = true;
                self.receipt.copies += 1;
                if asks {
                    self.levels.add(None);
                }
            }
        }
        self.queue(packet);
        if self.link.unsent() >= BATCH_BYTES {
            self.link.send();
            self.wait_for(Some(Verb::Publish), |session| {
                session.link.unsent() < BATCH_BYTES
            })?;
        }
        Ok(())
    }

    /// Waits until a full window is half empty, so that both sides work in batches. If the broker's
    /// receive maximum is low, waits only for room for one message.
    fn make_room(&mut self, qos: Qos) -> Result<(), Error> {
        if self.outstanding.len() >= WINDOW {
            let is_half_empty = |session: &Self| session.outstanding.len() <= WINDOW / 2;
            self.wait_for(Some(Verb::Publish), is_half_empty)?;
        }
        let is_small = (self.version, qos) == (Version::V3, Qos::ExactlyOnce);
        let has_room = |session: &Self| {
            let vacancy = session.protocol.0.get_receive_maximum_vacancy_for_send();
            let is_full = is_small && session.outstanding.len() >= SMALL_WINDOW;
            vacancy != Some(0) && !is_full
        };
        if has_room(self) {
            return Ok(());
        }
        self.wait_for(Some(Verb::Publish), has_room)
    }

    /// Waits for all acknowledgements; after messages with QoS 0, for the answer to a PINGREQ. A
    /// message counts as one copy unless the broker reports that it has no subscribers.
    pub fn finish(&mut self) -> Result<Receipt, Error> {
        self.settle()?;
        Ok(self.take_receipt())
    }

    /// Waits as [`finish`](Self::finish) does.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.link.send();
        self.wait_for(Some(Verb::Publish), |session| {
            session.outstanding.is_empty()
        })?;
        if std::mem::take(&mut self.is_unconfirmed) {
            self.ping()?;
        }
        Ok(())
    }

    /// How many messages, counted from the first since the last receipt, are acknowledged or need
    /// no acknowledgement.
    pub fn answered(&self) -> u64 {
        let first = self.outstanding.values().map(|it| it.number).min();
        first.map_or(self.receipt.published, |first| first - 1)
    }

    /// What is known so far, also after the connection was lost; the next receipt begins with no
    /// message. Counted as published are the [`answered`](Self::answered) messages.
    pub fn take_receipt(&mut self) -> Receipt {
        let published = self.answered();
        Receipt {
            published,
            reached: self.levels.take(),
            ..std::mem::take(&mut self.receipt)
        }
    }

    /// Measures the round-trip time to the broker.
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        let wanted = self.pongs + 1;
        let packet = packets::pingreq(self.version);
        self.send_now(packet.map_err(|error| encode_error("ping", error))?);
        self.wait_for(Some(Verb::Ping), |session| session.pongs >= wanted)?;
        Ok(start.elapsed())
    }

    /// Passes received messages to `each` until it breaks; returns how many. Their acknowledgements
    /// are sent with the next wait, so that the caller can store the messages first.
    pub fn take_ready(
        &mut self,
        mut each: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        if self.delivered.is_empty() && self.ended.is_none() {
            self.receive();
        }
        let mut taken = 0;
        while let Some(message) = self.delivered.pop_front() {
            taken += 1;
            let flow = self.hand_out(&message, &mut each);
            self.acknowledge(&message);
            if flow.is_break() {
                break;
            }
        }
        match self.ended.take() {
            Some(ended) if taken == 0 => Err(ended),
            ended => {
                self.ended = ended;
                Ok(taken)
            }
        }
    }

    fn hand_out(
        &self,
        message: &PublishPacket,
        each: &mut impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (attributes, gap) = attributes::attributes(&message.properties, message.retain);
        if gap > 0 {
            each(Delivery::Gap { count: gap })?;
        }
        each(Delivery::Message {
            topic: &message.topic,
            payload: message.payload.as_slice(),
            attributes: &attributes,
        })
    }

    fn acknowledge(&mut self, message: &PublishPacket) {
        if let Some(id) = message.id {
            let packet = packets::acknowledgement(self.version, message.qos, id);
            self.queue_built(packet);
        }
    }

    /// Waits until a message may have arrived, or the time is over.
    pub fn wait(&mut self, time: Option<Duration>) -> Result<(), Error> {
        if self.ended.is_some() || !self.delivered.is_empty() {
            return Ok(());
        }
        self.wait_once(time.map(clock::after), None).map(drop)
    }

    /// Sends what was published, then only keeps the connection alive for `time`.
    pub fn rest(&mut self, time: Duration) -> Result<(), Error> {
        self.serve(Some(clock::after(time)), None)
    }

    /// Does the same until `input` is readable.
    pub fn wait_for_input(&mut self, input: impl AsFd) -> Result<(), Error> {
        self.serve(None, Some(input.as_fd()))
    }

    fn serve(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        self.link.send();
        loop {
            self.receive();
            self.check_end()?;
            let is_input = self.wait_once(deadline, input)?;
            if is_input || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(());
            }
        }
    }

    /// Sends DISCONNECT and closes. Without it the broker publishes the will.
    pub fn close(mut self) {
        let packet = packets::disconnect(self.version);
        self.queue_built(packet);
        self.link.close(clock::after(PARTING));
    }

    /// Waits until `is_so` returns true. Fails if no byte arrives for the answer timeout.
    fn wait_for(&mut self, to: Option<Verb>, is_so: impl Fn(&Self) -> bool) -> Result<(), Error> {
        self.link.send();
        let mut deadline = clock::after(self.answer_timeout);
        loop {
            if self.receive() {
                deadline = clock::after(self.answer_timeout);
            }
            if is_so(self) {
                return Ok(());
            }
            self.check_end()?;
            if deadline <= Instant::now() {
                let after = self.answer_timeout;
                return Err(match to {
                    Some(to) => Error::NoAnswer { to, after },
                    None => Error::Silent(after),
                });
            }
            self.wait_once(Some(deadline), None)?;
        }
    }

    /// Waits for the socket, a timer, the input or the deadline; returns whether it was the input.
    fn wait_once(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<bool, Error> {
        self.link.send();
        let until = [deadline, self.timers.next()].into_iter().flatten().min();
        let woken = self.link.wait(until, input)?;
        self.link.check_interrupt()?;
        while let Some(kind) = self.timers.take_due(Instant::now()) {
            let events = self.protocol.0.notify_timer_fired(kind);
            self.handle_events(events);
        }
        self.link.send();
        Ok(woken == Woken::Input)
    }

    fn check_end(&mut self) -> Result<(), Error> {
        self.ended.take().map_or(Ok(()), Err)
    }

    fn packet_id(&mut self) -> Result<u16, Error> {
        let id = self.protocol.0.acquire_packet_id();
        id.map_err(|error| encode_error("packet", error))
    }

    /// Receives at most one chunk without waiting; returns whether any bytes had arrived.
    fn receive(&mut self) -> bool {
        let (events, came) = match self.link.receive() {
            Ok(None) => return false,
            Ok(Some(bytes)) => {
                if self.version == Version::V5 {
                    self.pubrecs.pass(bytes, |id, code| {
                        if let Some(message) = self.outstanding.get_mut(&id) {
                            message.code = code;
                        }
                    });
                }
                let mut cursor = Cursor::new(&*bytes);
                let mut events = Vec::new();
                while (cursor.position() as usize) < bytes.len() {
                    events.extend(self.protocol.0.recv(&mut cursor));
                }
                (events, true)
            }
            Err(error) => {
                self.ended.get_or_insert(error);
                (Vec::new(), false)
            }
        };
        self.handle_events(events);
        came
    }

    /// Sends a packet at once.
    fn send_now(&mut self, packet: Packet) {
        self.queue(packet);
        self.link.send();
    }

    fn queue(&mut self, packet: Packet) {
        let events = self.protocol.0.send(packet);
        self.handle_events(events);
    }

    /// Sends a packet that has only a packet id. Failing to build one ends the connection.
    fn queue_built(&mut self, packet: Result<Packet, MqttError>) {
        match packet {
            Ok(packet) => self.queue(packet),
            Err(error) => drop(self.ended.get_or_insert(encode_error("packet", error))),
        }
    }

    /// Handles the events of the protocol state.
    fn handle_events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    use core::packet::GenericPacketTrait as _;
                    let bytes = packet.to_continuous_buffer();
                    self.link.outgoing().extend_from_slice(&bytes);
                }
                Event::NotifyPacketReceived(packet) => self.handle_packet(packets::decode(packet)),
                Event::RequestTimerReset { kind, duration_ms } => {
                    let time = Duration::from_millis(duration_ms);
                    self.timers.set(kind, time, Instant::now());
                }
                Event::RequestTimerCancel(kind) => self.timers.cancel(kind),
                Event::NotifyError(error) => {
                    self.ended.get_or_insert(protocol_error(error));
                }
                Event::RequestClose => {
                    self.ended.get_or_insert(Error::Silent(self.answer_timeout));
                }
                Event::NotifyPacketIdReleased(_) => {}
            }
        }
    }

    fn handle_packet(&mut self, packet: BrokerPacket) {
        match packet {
            BrokerPacket::Connack { code, text } => self.connack = Some((code, text)),
            BrokerPacket::Publish(message) => self.delivered.push_back(message),
            BrokerPacket::Settled {
                id,
                code,
                text,
                reached,
            } => {
                if code < FAILURE {
                    self.take_level(id, reached);
                }
                self.settle_message(id, code, text);
            }
            BrokerPacket::PubRec { id, reached } => {
                self.take_level(id, reached);
                let packet = packets::pubrel(self.version, id);
                self.queue_built(packet);
            }
            BrokerPacket::Released { id } => {
                let packet = packets::pubcomp(self.version, id);
                self.queue_built(packet);
            }
            BrokerPacket::Suback { codes } => self.suback = Some(codes),
            BrokerPacket::Pingresp => self.pongs += 1,
            BrokerPacket::Disconnect { code, text } => {
                let ended = match end_error(code, text) {
                    // Not all of these codes say that the broker is full.
                    Error::Busy(why) => Error::Ended(why),
                    other => other,
                };
                self.ended.get_or_insert(ended);
            }
            BrokerPacket::Other => {}
        }
    }

    /// Takes what the first packet that accepts a message says about how safe it is.
    fn take_level(&mut self, id: u16, reached: Option<Reached>) {
        let message = self.outstanding.get_mut(&id);
        if message.is_some_and(|message| std::mem::take(&mut message.asks)) {
            self.levels.add(reached);
        }
    }

    fn settle_message(&mut self, id: u16, code: u8, text: Option<String>) {
        /// The reason code for no matching subscribers.
        const NO_SUBSCRIBERS: u8 = 0x10;
        let Some(message) = self.outstanding.remove(&id) else {
            return;
        };
        if code >= FAILURE {
            self.receipt.refused += 1;
            let refusal = || refusal(code, text, format!("publish:{}", message.number));
            self.receipt.first_refusal.get_or_insert_with(refusal);
        } else if ![code, message.code].contains(&NO_SUBSCRIBERS) {
            self.receipt.copies += 1;
        }
    }
}
