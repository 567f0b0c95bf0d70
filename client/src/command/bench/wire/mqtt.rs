//! MQTT 3.1.1 and 5: QoS 0, and QoS 1 for acknowledged publishing and subscribing.

use std::ops::Range;

use client::{ACK, AckLevel};

use super::protocol::{AckCount, Protocol, PublishOptions, WireEvent};
use crate::address::Login;

/// The MQTT options of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mqtt {
    /// MQTT 5, whose packets have properties.
    pub(crate) is_v5: bool,
    /// Subscribe with QoS 1.
    pub(crate) acknowledges: bool,
    /// The requested window of unacknowledged messages.
    pub(crate) window: Option<u64>,
    pub(crate) login: Login,
}

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const QOS_1: u8 = 0x02;
const RETAIN: u8 = 0x01;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;
const DISCONNECT: u8 = 0xe0;

/// The keep alive in seconds: the maximum, because a measurement may include silence. Not 0, which
/// some brokers refuse.
const KEEP_ALIVE: u16 = u16::MAX;

/// Flags of a CONNECT.
const CLEAN: u8 = 0x02;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

/// The property of CONNACK with the maximum number of unacknowledged messages.
const RECEIVE_MAXIMUM: u8 = 0x21;

/// The property with a name and a value that the standard does not define.
const USER_PROPERTY: u8 = 0x26;

/// The property with a text for people.
const REASON_STRING: u8 = 0x1f;

/// The user property of a PUBACK with the level that was reached.
const LEVEL: &[u8] = b"level";

/// Codes from here on are failures.
const FAILURE: u8 = 0x80;

/// Maximum bytes of a variable byte integer.
const MAX_LENGTH_BYTES: usize = 4;

impl Protocol for Mqtt {
    fn alpn(&self) -> Option<&'static str> {
        Some("mqtt")
    }

    fn check(&self, options: PublishOptions) -> Result<(), &'static str> {
        match options.level {
            Some(_) if !self.is_v5 => Err("MQTT 3.1.1 cannot ask for a level; give --mqtt 5"),
            _ => Ok(()),
        }
    }

    fn connect(&self, client: &str, _acked: bool, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        put_text("MQTT", &mut body);
        let Login { user, password } = &self.login;
        let mut flags = CLEAN;
        if user.is_some() {
            flags |= USER;
        }
        if password.is_some() {
            flags |= PASSWORD;
        }
        let level = if self.is_v5 { 5 } else { 4 };
        body.extend_from_slice(&[level, flags]);
        body.extend_from_slice(&KEEP_ALIVE.to_be_bytes());
        self.put_no_properties(&mut body);
        put_text(client, &mut body);
        if let Some(user) = user {
            put_text(user, &mut body);
        }
        if let Some(password) = password {
            put_bytes(password.as_bytes(), &mut body);
        }
        out.push(CONNECT);
        put_length(body.len(), out);
        out.extend_from_slice(&body);
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let topics = &topics[these];
        let filters: usize = topics.iter().map(|topic| topic.len() + 3).sum();
        out.push(SUBSCRIBE);
        put_length(2 + usize::from(self.is_v5) + filters, out);
        out.extend_from_slice(&[0, 1]);
        self.put_no_properties(out);
        for topic in topics {
            put_text(topic, out);
            out.push(self.acknowledges.into());
        }
        1
    }

    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>) {
        let (mut flags, id): (u8, &[u8]) = match options.acked {
            true => (QOS_1, &[0, 1]),
            false => (0, &[]),
        };
        if options.retain {
            flags |= RETAIN;
        }
        out.push(PUBLISH | flags);
        let properties = self.properties_bytes(options);
        put_length(2 + topic.len() + id.len() + properties + payload.len(), out);
        put_text(topic, out);
        out.extend_from_slice(id);
        match options.level {
            Some(level) => {
                out.push((properties - 1) as u8);
                out.push(USER_PROPERTY);
                put_text(ACK, out);
                put_text(level.as_str(), out);
            }
            None => self.put_no_properties(out),
        }
        out.extend_from_slice(payload);
    }

    fn identify(&self, frame: &mut [u8], payload_at: usize, options: PublishOptions, number: u64) {
        let id = (number % u64::from(u16::MAX)) as u16 + 1;
        let end = payload_at - self.properties_bytes(options);
        frame[end - 2..end].copy_from_slice(&id.to_be_bytes());
    }

    fn ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[PINGREQ, 0]);
    }

    fn level(&self, frame: &[u8]) -> Option<AckLevel> {
        let (body, _) = length(frame)??;
        // Behind the packet identifier and the reason code.
        let properties = frame.get(body + 3..)?;
        let len = self.properties_len(properties)?;
        user_property(properties.get(1..len)?, LEVEL)
    }

    fn wants_receipts(&self) -> bool {
        self.acknowledges
    }

    /// With QoS 1 each frame has its own packet id, so messages do not begin alike.
    fn looks_alike(&self) -> bool {
        !self.acknowledges
    }

    fn receipt(&self, frame: &[u8], out: &mut Vec<u8>) {
        let Some(Some((body, _))) = length(frame) else {
            return;
        };
        let id = frame.get(body..body + 2).map(|size| {
            let topic_end = body + 2 + usize::from(u16::from_be_bytes([size[0], size[1]]));
            frame.get(topic_end..topic_end + 2)
        });
        if frame[0] & 0x06 != 0
            && let Some(Some(id)) = id
        {
            out.extend_from_slice(&[PUBACK, 2]);
            out.extend_from_slice(id);
        }
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let &kind = bytes.first()?;
        let Some((body, len)) = length(bytes)? else {
            let text = "a packet with an invalid length".to_owned();
            return Some((WireEvent::Refused(text), bytes.len()));
        };
        if bytes.len() < len {
            return None;
        }
        let packet = &bytes[..len];
        let event = match kind & 0xf0 {
            PUBLISH => self.message(kind, packet, body),
            CONNACK => self.connack(&packet[body..]),
            SUBACK => self.suback(&packet[body..]),
            PINGRESP => WireEvent::Confirm,
            PUBACK => match packet.get(body + 2) {
                Some(&code) if code >= FAILURE => refused("PUBACK", code),
                _ => WireEvent::Ack(AckCount::One),
            },
            DISCONNECT => refused("DISCONNECT", packet.get(body).copied().unwrap_or(0)),
            _ => WireEvent::Other,
        };
        Some((event, len))
    }
}

impl Mqtt {
    /// Connects without a login and subscribes with QoS 0.
    pub(crate) const fn of(is_v5: bool) -> Self {
        Self {
            is_v5,
            acknowledges: false,
            window: None,
            login: Login {
                user: None,
                password: None,
            },
        }
    }

    /// Number of bytes of the properties of a PUBLISH, with their length, which is one byte.
    fn properties_bytes(&self, options: PublishOptions) -> usize {
        let level = options.level.map(|level| level.as_str().len());
        usize::from(self.is_v5) + level.map_or(0, |len| 1 + 2 + ACK.len() + 2 + len)
    }

    fn put_no_properties(&self, out: &mut Vec<u8>) {
        if self.is_v5 {
            out.push(0);
        }
    }

    fn message(&self, kind: u8, packet: &[u8], body: usize) -> WireEvent {
        let id = if kind & 0x06 == 0 { 0 } else { 2 };
        let too_short = || WireEvent::Refused("a PUBLISH shorter than its topic".to_owned());
        let Some(size) = packet.get(body..body + 2) else {
            return too_short();
        };
        let topic = body + 2..body + 2 + usize::from(u16::from_be_bytes([size[0], size[1]]));
        let Some(rest) = packet.get(topic.end + id..) else {
            return too_short();
        };
        let Some(properties) = self.properties_len(rest) else {
            return too_short();
        };
        let payload = topic.end + id + properties..packet.len();
        WireEvent::Message { topic, payload }
    }

    /// Number of bytes of the properties at the front, with their length.
    fn properties_len(&self, bytes: &[u8]) -> Option<usize> {
        if !self.is_v5 {
            return Some(0);
        }
        // A variable byte integer, as after the first byte of a packet.
        let mut length = 0;
        for (index, byte) in bytes.iter().take(MAX_LENGTH_BYTES).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let len = index + 1 + length;
                return (len <= bytes.len()).then_some(len);
            }
        }
        None
    }

    /// Whether a CONNACK with this code says that the broker does not know who the client is.
    fn is_auth(&self, code: u8) -> bool {
        match self.is_v5 {
            true => matches!(code, 0x86 | 0x87 | 0x8c),
            false => matches!(code, 4 | 5),
        }
    }

    fn connack(&self, body: &[u8]) -> WireEvent {
        match body.get(1) {
            Some(0) => {}
            Some(&code) if self.is_auth(code) => {
                return WireEvent::Unauthenticated(format!("CONNACK with code 0x{code:02x}"));
            }
            Some(&code) => return refused("CONNACK", code),
            None => return refused("CONNACK", 0),
        }
        let properties = body.get(2..).unwrap_or_default();
        let maximum = self.properties_len(properties).and_then(|len| {
            let length_bytes = properties.iter().position(|byte| byte & 0x80 == 0)? + 1;
            receive_maximum(properties.get(length_bytes..len)?)
        });
        match (self.window, maximum) {
            (Some(window), Some(maximum)) if window > u64::from(maximum) => {
                WireEvent::Refused(format!(
                    "the broker takes {maximum} unacknowledged messages; give --window {maximum}"
                ))
            }
            _ => WireEvent::Confirm,
        }
    }

    fn suback(&self, body: &[u8]) -> WireEvent {
        let codes = body.get(2..).unwrap_or_default();
        let properties = self.properties_len(codes).unwrap_or(0);
        match codes[properties..].iter().find(|&&code| code >= FAILURE) {
            Some(&code) => refused("SUBACK", code),
            None => WireEvent::Confirm,
        }
    }
}

/// The value of this user property among the properties of an acknowledgement, if it is a level.
fn user_property(mut properties: &[u8], wanted: &[u8]) -> Option<AckLevel> {
    while let Some((&name, mut rest)) = properties.split_first() {
        let mut text = || {
            let (size, behind) = rest.split_first_chunk()?;
            let text;
            (text, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
            Some(text)
        };
        match name {
            USER_PROPERTY => {
                let (key, value) = (text()?, text()?);
                if key == wanted {
                    return AckLevel::parse(value).ok();
                }
            }
            REASON_STRING => drop(text()?),
            _ => return None,
        }
        properties = rest;
    }
    None
}

/// The receive maximum among the properties of a CONNACK.
fn receive_maximum(mut properties: &[u8]) -> Option<u16> {
    loop {
        let (&name, value) = properties.split_first()?;
        let text = |at: usize| {
            let size = value.get(at..at + 2)?;
            Some(at + 2 + usize::from(u16::from_be_bytes([size[0], size[1]])))
        };
        let len = match name {
            RECEIVE_MAXIMUM => {
                let value = value.get(..2)?;
                return Some(u16::from_be_bytes([value[0], value[1]]));
            }
            // Sizes of properties: four bytes, two, one, two texts, one text.
            0x11 | 0x27 => 4,
            0x13 | 0x22 => 2,
            0x24 | 0x25 | 0x28..=0x2a => 1,
            0x26 => text(text(0)?)?,
            _ => text(0)?,
        };
        properties = value.get(len..)?;
    }
}

/// The refusal in a packet.
fn refused(packet: &str, code: u8) -> WireEvent {
    WireEvent::Refused(format!("{packet} with code 0x{code:02x}"))
}

/// Start and end of the body of the first packet. `Some(None)` if its length is invalid.
fn length(bytes: &[u8]) -> Option<Option<(usize, usize)>> {
    let mut length = 0;
    for index in 0..MAX_LENGTH_BYTES {
        let byte = *bytes.get(1 + index)?;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let body = 2 + index;
            return Some(Some((body, body + length)));
        }
    }
    Some(None)
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_bytes(text.as_bytes(), out);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    const V3: Mqtt = Mqtt::of(false);
    const V5: Mqtt = Mqtt::of(true);

    #[test]
    fn a_published_message_scans_as_a_delivery() {
        let frame = written(|out| V3.publish("a/b", b"hi", PublishOptions::PLAIN, out));
        check_message(&V3, &frame, "a/b");
        let frame = written(|out| V3.publish("a/b", b"hi", PublishOptions::ACKED, out));
        check_message(&V3, &frame, "a/b");
    }

    #[test]
    fn an_acknowledged_message_has_a_number_that_is_never_zero() {
        let mut frame = written(|out| V3.publish("a", b"hi", PublishOptions::ACKED, out));
        let payload_at = frame.len() - 2;
        for (number, id) in [(0, [0, 1]), (65_534, [0xff, 0xff]), (65_535, [0, 1])] {
            V3.identify(&mut frame, payload_at, PublishOptions::ACKED, number);
            assert_eq!(frame[payload_at - 2..payload_at], id);
        }
    }

    #[test]
    fn a_long_packet_says_its_length_in_several_bytes() {
        let frame = written(|out| V3.publish("a", &[b'x'; 20_000], PublishOptions::PLAIN, out));
        let Some((WireEvent::Message { payload, .. }, len)) = V3.scan(&frame) else {
            panic!("no message");
        };
        assert_eq!((payload.len(), len), (20_000, frame.len()));
    }

    #[test]
    fn answers_and_refusals_are_told_apart() {
        check(&V3, &[CONNACK, 2, 0, 0], &WireEvent::Confirm);
        check(&V3, &[SUBACK, 3, 0, 1, 0], &WireEvent::Confirm);
        check(&V3, &[PINGRESP, 0], &WireEvent::Confirm);
        check(&V3, &[PUBACK, 2, 0, 1], &WireEvent::Ack(AckCount::One));
        for refusal in [&[CONNACK, 2, 0, 3][..], &[SUBACK, 3, 0, 1, 0x80]] {
            let event = V3.scan(refusal).map(|(event, _)| event);
            assert!(matches!(event, Some(WireEvent::Refused(_))), "{event:?}");
        }
        for code in [4, 5] {
            let event = V3.scan(&[CONNACK, 2, 0, code]).map(|(event, _)| event);
            assert!(
                matches!(event, Some(WireEvent::Unauthenticated(_))),
                "{event:?}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_and_does_not_panic() {
        for nonsense in [
            &[PUBLISH, 0][..],
            &[PUBLISH, 2, 9, 9],
            &[0x30, 255, 255, 255, 255, 1],
        ] {
            let event = V3.scan(nonsense).map(|(event, _)| event);
            assert!(matches!(event, Some(WireEvent::Refused(_))), "{event:?}");
        }
    }

    #[test]
    fn version_5_is_the_same_with_properties() {
        for options in [PublishOptions::PLAIN, PublishOptions::ACKED] {
            let frame = written(|out| V5.publish("a/b", b"hi", options, out));
            check_message(&V5, &frame, "a/b");
        }
        let mut frame = written(|out| V5.publish("a", b"hi", PublishOptions::ACKED, out));
        let payload_at = frame.len() - 2;
        V5.identify(&mut frame, payload_at, PublishOptions::ACKED, 0x0102);
        assert_eq!(frame, b"\x32\x08\x00\x01a\x01\x03\x00hi");
        // With an expiry interval, which a broker may forward.
        let with_property = b"\x30\x0b\x00\x01a\x05\x02\x00\x00\x00\x3chi";
        check_message(&V5, with_property, "a");
        check(&V5, &[CONNACK, 3, 0, 0, 0], &WireEvent::Confirm);
        check(&V5, &[SUBACK, 4, 0, 1, 0, 1], &WireEvent::Confirm);
        check(
            &V5,
            &[PUBACK, 3, 0, 1, 0x10],
            &WireEvent::Ack(AckCount::One),
        );
        for refusal in [
            &[PUBACK, 3, 0, 1, 0x97][..],
            &[SUBACK, 4, 0, 1, 0, 0x87],
            &[DISCONNECT, 1, 0x8b],
        ] {
            let event = V5.scan(refusal).map(|(event, _)| event);
            assert!(matches!(event, Some(WireEvent::Refused(_))), "{event:?}");
        }
    }

    #[test]
    fn version_5_asks_for_a_level_and_is_told_one() {
        let options = PublishOptions {
            acked: true,
            retain: true,
            level: Some(AckLevel::Disk),
        };
        let mut frame = written(|out| V5.publish("a", b"hi", options, out));
        check_message(&V5, &frame, "a");
        let payload_at = frame.len() - 2;
        V5.identify(&mut frame, payload_at, options, 0x0102);
        assert_eq!(
            frame,
            b"\x33\x14\x00\x01a\x01\x03\x0c\x26\x00\x03ack\x00\x04diskhi"
        );
        assert!(V3.check(options).is_err() && V5.check(options).is_ok());
        for (puback, level) in [
            (&b"\x40\x02\x00\x01"[..], None),
            (b"\x40\x04\x00\x01\x10\x00", None),
            (
                b"\x40\x1b\x00\x01\x00\x17\x1f\x00\x02hi\x26\x00\x01x\x00\x00\x26\x00\x05level\x00\x02os",
                Some(AckLevel::Os),
            ),
            (b"\x40\x0a\x00\x01\x00\x06\x26\x00\x05lev", None),
        ] {
            assert_eq!(V5.level(puback), level, "{puback:?}");
        }
    }

    #[test]
    fn a_window_beyond_what_the_broker_takes_is_refused_at_once() {
        let connack = b"\x20\x0c\x00\x00\x09\x22\x00\x0a\x13\xff\xff\x21\x00\x14";
        let of = |window| Mqtt {
            window: Some(window),
            ..V5
        };
        check(&of(20), connack, &WireEvent::Confirm);
        let refused = of(21).scan(connack);
        let Some((WireEvent::Refused(why), _)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("give --window 20"), "{why}");
    }

    #[test]
    fn a_message_with_qos_1_gets_a_receipt_with_its_number() {
        for wire in [V3, V5] {
            let mut frame = written(|out| wire.publish("a", b"hi", PublishOptions::ACKED, out));
            let payload_at = frame.len() - 2;
            wire.identify(&mut frame, payload_at, PublishOptions::ACKED, 0x0506);
            let receipt = written(|out| wire.receipt(&frame, out));
            assert_eq!(receipt, [PUBACK, 2, 5, 7]);
            let frame = written(|out| wire.publish("a", b"hi", PublishOptions::PLAIN, out));
            assert!(written(|out| wire.receipt(&frame, out)).is_empty());
        }
    }
}
