//! One connection to the server: bytes out, packets in, with a timeout on every wait.
//!
//! It sends valid and invalid bytes alike and acknowledges nothing by itself. Packets of the server
//! are parsed strictly, so that every case also checks their form.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use client::Transport;

use super::encode::{self, FilterOptions};
use super::finding::{Checked, Finding, same};
use super::packet::{self, Ack, AckCodes, AckStep, Connack, Packet, TestMessage};
use super::property::Properties;
use super::version::MqttVersion;

const CHUNK_BYTES: usize = 16 * 1024;

/// A client that can violate the protocol.
#[derive(Debug)]
pub(crate) struct TestClient {
    stream: Transport,
    pub(crate) version: MqttVersion,
    timeout: Duration,
    bytes: Vec<u8>,
    /// Packets that arrived before the awaited one.
    held: VecDeque<Packet>,
    next_id: u16,
}

/// What can happen on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Packet(Packet),
    Closed,
    /// Nothing arrived in time.
    Nothing,
}

impl TestClient {
    pub(crate) fn new(
        stream: Transport,
        version: MqttVersion,
        timeout: Duration,
    ) -> io::Result<Self> {
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            version,
            timeout,
            bytes: Vec::new(),
            held: VecDeque::new(),
            next_id: 1,
        })
    }

    /// Sends bytes. An error shows at the next read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// A packet id that has not been used on this connection.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// The next packet or event within the timeout.
    pub(crate) fn receive(&mut self) -> Checked<Received> {
        self.receive_within(self.timeout)
    }

    /// The next packet or event within `time`.
    pub(crate) fn receive_within(&mut self, time: Duration) -> Checked<Received> {
        if let Some(packet) = self.held.pop_front() {
            return Ok(Received::Packet(packet));
        }
        self.read_within(time)
    }

    fn read_within(&mut self, time: Duration) -> Checked<Received> {
        let deadline = Instant::now() + time;
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let first = packet::first(&self.bytes, self.version);
            let first = first.map_err(|malformed| {
                Finding::differs("only packets that the standard allows", malformed.0)
            })?;
            if let Some((packet, len)) = first {
                self.bytes.drain(..len);
                return Ok(Received::Packet(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Received::Nothing);
            }
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut chunk));
            match read {
                Ok(0) => return Ok(Received::Closed),
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Ok(Received::Closed),
            }
        }
    }

    /// The next packet; `expected` describes the awaited one.
    pub(crate) fn packet(&mut self, expected: impl Display) -> Checked<Packet> {
        match self.receive()? {
            Received::Packet(packet) => Ok(packet),
            received => Err(Finding::differs(expected, shown(&received))),
        }
    }

    /// The next packet of a kind; messages before it are kept for later.
    fn next_of<T>(
        &mut self,
        expected: &str,
        pick: impl Fn(Packet) -> Result<T, Packet>,
    ) -> Checked<T> {
        let mut passed = VecDeque::new();
        let found = loop {
            let packet = match self.packet(expected) {
                Ok(packet) => packet,
                Err(finding) => break Err(finding),
            };
            match pick(packet) {
                Ok(found) => break Ok(found),
                Err(message @ Packet::Publish(_)) => passed.push_back(message),
                Err(other) => break Err(differs(expected, &other)),
            }
        };
        passed.append(&mut self.held);
        self.held = passed;
        found
    }

    pub(crate) fn connack(&mut self) -> Checked<Connack> {
        match self.packet("a CONNACK")? {
            Packet::Connack(connack) => Ok(connack),
            other => Err(differs("a CONNACK", &other)),
        }
    }

    /// The next packet, which must be a PUBLISH.
    pub(crate) fn message(&mut self) -> Checked<TestMessage> {
        match self.packet("a PUBLISH")? {
            Packet::Publish(message) => Ok(message),
            other => Err(differs("a PUBLISH", &other)),
        }
    }

    /// The next packet, which must be a PUBLISH with this payload.
    pub(crate) fn message_of(&mut self, payload: &str) -> Checked<TestMessage> {
        let expected = format!("a PUBLISH with the payload {payload:?}");
        match self.packet(&expected)? {
            Packet::Publish(message) if message.payload == payload.as_bytes() => Ok(message),
            other => Err(differs(&expected, &other)),
        }
    }

    /// The same, and acknowledges it.
    pub(crate) fn take(&mut self, payload: &str) -> Checked<TestMessage> {
        let message = self.message_of(payload)?;
        self.acknowledge(&message)?;
        Ok(message)
    }

    /// Acknowledges a message as its QoS requires.
    pub(crate) fn acknowledge(&mut self, message: &TestMessage) -> Checked {
        match message.qos {
            0 => {}
            1 => self.step(AckStep::Puback, message.id),
            _ => {
                self.step(AckStep::Pubrec, message.id);
                self.expect_step(AckStep::Pubrel, message.id)?;
                self.step(AckStep::Pubcomp, message.id);
            }
        }
        Ok(())
    }

    /// Sends one step of an acknowledgement.
    pub(crate) fn step(&mut self, step: AckStep, id: u16) {
        let flags = if step == AckStep::Pubrel { 2 } else { 0 };
        self.send(&encode::packet(
            (step as u8) << 4 | flags,
            &id.to_be_bytes(),
        ));
    }

    /// The same with a reason code of MQTT 5.
    pub(crate) fn step_with(&mut self, step: AckStep, id: u16, code: u8) {
        let [high, low] = id.to_be_bytes();
        self.send(&encode::packet((step as u8) << 4, &[high, low, code]));
    }

    /// Waits for one step of an acknowledgement with this packet id.
    pub(crate) fn expect_step(&mut self, step: AckStep, id: u16) -> Checked<Ack> {
        let expected = format!("a {step:?} of packet {id}");
        self.next_of(&expected, |packet| match packet {
            Packet::Ack(ack) if ack.step == step && ack.id == id => Ok(ack),
            other => Err(other),
        })
    }

    /// Sends a message without waiting; returns its packet id.
    pub(crate) fn begin(&mut self, message: &TestMessage) -> u16 {
        let mut message = message.clone();
        if message.qos > 0 && message.id == 0 {
            message.id = self.fresh_id();
        }
        self.send(&message.encode(self.version));
        message.id
    }

    /// Publishes, and waits for the acknowledgements. A refusal is a finding.
    pub(crate) fn publish(&mut self, message: &TestMessage) -> Checked {
        let id = self.begin(message);
        self.finish(message.qos, id)
    }

    /// Waits for the acknowledgements of a message.
    pub(crate) fn finish(&mut self, qos: u8, id: u16) -> Checked {
        if qos == 1 {
            let ack = self.expect_step(AckStep::Puback, id)?;
            return accepted(ack.code);
        }
        if qos == 2 {
            let ack = self.expect_step(AckStep::Pubrec, id)?;
            accepted(ack.code)?;
            self.step(AckStep::Pubrel, id);
            self.expect_step(AckStep::Pubcomp, id)?;
        }
        Ok(())
    }

    /// Subscribes; returns the codes of the SUBACK.
    pub(crate) fn subscribe(&mut self, filters: &[FilterOptions<'_>]) -> Checked<Vec<u8>> {
        self.subscribe_with(&Properties::default(), filters)
    }

    /// The same with properties.
    pub(crate) fn subscribe_with(
        &mut self,
        properties: &Properties,
        filters: &[FilterOptions<'_>],
    ) -> Checked<Vec<u8>> {
        let id = self.fresh_id();
        self.send(&encode::subscribe(self.version, id, properties, filters));
        Ok(self.suback(id)?.codes)
    }

    pub(crate) fn suback(&mut self, id: u16) -> Checked<AckCodes> {
        let expected = format!("a SUBACK of packet {id}");
        self.next_of(&expected, |packet| match packet {
            Packet::Suback(answers) if answers.id == id => Ok(answers),
            other => Err(other),
        })
    }

    /// Unsubscribes; returns the UNSUBACK.
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Checked<AckCodes> {
        let id = self.fresh_id();
        self.send(&encode::unsubscribe(self.version, id, filters));
        self.unsuback(id)
    }

    pub(crate) fn unsuback(&mut self, id: u16) -> Checked<AckCodes> {
        let expected = format!("an UNSUBACK of packet {id}");
        self.next_of(&expected, |packet| match packet {
            Packet::Unsuback(answers) if answers.id == id => Ok(answers),
            other => Err(other),
        })
    }

    /// Checks that nothing has arrived: the next packet must be the answer to a PINGREQ.
    pub(crate) fn expect_silence(&mut self) -> Checked {
        self.send(encode::PINGREQ);
        match self.packet("a PINGRESP, and nothing before it")? {
            Packet::Pingresp => Ok(()),
            other => Err(differs("a PINGRESP, and nothing before it", &other)),
        }
    }

    /// Sends a PINGREQ; returns whatever arrives next.
    pub(crate) fn ask(&mut self) -> Checked<Received> {
        self.send(encode::PINGREQ);
        self.receive()
    }

    /// Expects that the server closes the connection. In MQTT 5 it may send a DISCONNECT before;
    /// returns its code.
    pub(crate) fn expect_close(&mut self) -> Checked<Option<u8>> {
        self.expect_close_within(self.timeout)
    }

    /// The same within `time`.
    pub(crate) fn expect_close_within(&mut self, time: Duration) -> Checked<Option<u8>> {
        let expected = "the connection to be closed";
        match self.receive_within(time)? {
            Received::Closed => Ok(None),
            Received::Packet(Packet::Disconnect { code, .. }) => {
                let wanted = format!("{expected}, with a reason code of 0x80 or more");
                if code < 0x80 {
                    return Err(Finding::differs(wanted, format!("DISCONNECT 0x{code:02x}")));
                }
                self.expect_end()?;
                Ok(Some(code))
            }
            received => Err(Finding::differs(expected, shown(&received))),
        }
    }

    /// Expects the end of the connection, and nothing before it.
    pub(crate) fn expect_end(&mut self) -> Checked {
        let received = self.receive()?;
        match received {
            Received::Closed => Ok(()),
            received => Err(Finding::differs(
                "the connection to be closed, and nothing before it",
                shown(&received),
            )),
        }
    }

    /// Sends DISCONNECT, and waits until the server closes the connection.
    pub(crate) fn leave(mut self) -> Checked {
        self.send(&encode::packet(0xe0, &[]));
        let _ = self.stream.end();
        while !matches!(self.receive()?, Received::Closed | Received::Nothing) {}
        Ok(())
    }

    /// Subscribes; the requested QoS must be granted.
    pub(crate) fn must_subscribe(&mut self, filters: &[FilterOptions<'_>]) -> Checked {
        let wanted: Vec<_> = filters.iter().map(|(_, options)| options & 3).collect();
        let codes = self.subscribe(filters)?;
        granted(&codes, &wanted)
    }
}

/// Checks the codes of a SUBACK. A server may grant a lower QoS; then the statement cannot be
/// checked.
pub(crate) fn granted(codes: &[u8], wanted: &[u8]) -> Checked {
    same("the number of codes in SUBACK", codes.len(), wanted.len())?;
    for (&code, &qos) in codes.iter().zip(wanted) {
        if code < qos {
            return Finding::unsupported(format_args!("it grants QoS {code} instead of {qos}"));
        }
        same("the code in SUBACK", code, qos)?;
    }
    Ok(())
}

fn accepted(code: u8) -> Checked {
    if code < 0x80 {
        return Ok(());
    }
    Err(Finding::differs(
        "the PUBLISH to be accepted",
        format!("reason code 0x{code:02x}"),
    ))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn differs(expected: &str, came: &Packet) -> Finding {
    Finding::differs(expected, shown_packet(came))
}

pub(crate) fn shown(received: &Received) -> String {
    match received {
        Received::Packet(packet) => shown_packet(packet),
        Received::Closed => "the connection was closed".to_owned(),
        Received::Nothing => "nothing came, and the connection stayed open".to_owned(),
    }
}

/// A packet as text.
fn shown_packet(packet: &Packet) -> String {
    let code = |name: &str, code: u8| format!("{name} 0x{code:02x}");
    match packet {
        Packet::Connack(connack) => code("CONNACK", connack.code),
        Packet::Publish(message) => {
            let payload = message.payload.get(..40).unwrap_or(&message.payload);
            format!(
                "PUBLISH to {} with the payload \"{}\" (QoS {}, retain {}, DUP {})",
                message.topic,
                payload.escape_ascii(),
                message.qos,
                u8::from(message.retain),
                u8::from(message.dup),
            )
        }
        Packet::Ack(ack) => {
            let step = format!("{:?}", ack.step).to_uppercase();
            format!("{step} of packet {}, code 0x{:02x}", ack.id, ack.code)
        }
        Packet::Suback(answers) => format!("SUBACK of packet {} {:?}", answers.id, answers.codes),
        Packet::Unsuback(answers) => {
            format!("UNSUBACK of packet {} {:?}", answers.id, answers.codes)
        }
        Packet::Pingresp => "PINGRESP".to_owned(),
        Packet::Disconnect { code: why, .. } => code("DISCONNECT", *why),
        Packet::Auth { code: why, .. } => code("AUTH", *why),
    }
}
