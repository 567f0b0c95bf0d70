//! Packets, and a strict parser for those of a server: what the standard does not allow is
//! [`Malformed`].

use super::encode;
use super::property::{self, Properties};
use super::reader::{FieldReader, MAX_LENGTH_BYTES, Malformed};
use super::version::MqttVersion;
use super::writer::FieldWriter;

/// A packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connack(Connack),
    Publish(TestMessage),
    Ack(Ack),
    Suback(AckCodes),
    Unsuback(AckCodes),
    Pingresp,
    Disconnect { code: u8, properties: Properties },
    Auth { code: u8, properties: Properties },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connack {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

/// A PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestMessage {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// The packet id; 0 for QoS 0.
    pub(crate) id: u16,
    pub(crate) properties: Properties,
}

impl TestMessage {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.as_bytes().to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(Properties) -> Properties) -> Self {
        self.properties = change(self.properties);
        self
    }

    pub(crate) fn encode(&self, version: MqttVersion) -> Vec<u8> {
        let mut body = FieldWriter::default();
        body.data(self.topic.as_bytes());
        if self.qos > 0 {
            body.u16(self.id);
        }
        if version == MqttVersion::V5 {
            self.properties.write(&mut body);
        }
        body.bytes(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        encode::packet(0x30 | flags, &body.0)
    }
}

/// The steps that acknowledge a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckStep {
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) step: AckStep,
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

/// SUBACK and UNSUBACK. In 3.1.1 the latter has no codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AckCodes {
    pub(crate) id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) properties: Properties,
}

/// The codes that a server may send in each of its packets.
const CONNACK_CODES_3: &[u8] = &[0, 1, 2, 3, 4, 5];
const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
];
const PUBLISH_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_CODES: &[u8] = &[0x00, 0x92];
const SUBACK_CODES_3: &[u8] = &[0, 1, 2, 0x80];
const SUBACK_CODES: &[u8] = &[
    0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const AUTH_CODES: &[u8] = &[0x00, 0x18];

/// The first packet in `bytes` and its size; `None` if it is incomplete.
pub(crate) fn first(
    bytes: &[u8],
    version: MqttVersion,
) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((&kind, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let says_length = rest
        .iter()
        .take(MAX_LENGTH_BYTES)
        .any(|byte| byte & 0x80 == 0);
    if !says_length && rest.len() < MAX_LENGTH_BYTES {
        return Ok(None);
    }
    let mut reader = FieldReader(rest);
    let length = reader.variable("the length of a packet")? as usize;
    let Some(body) = reader.0.get(..length) else {
        return Ok(None);
    };
    let len = 1 + rest.len() - reader.0.len() + length;
    let mut body = FieldReader(body);
    let packet = read(kind, &mut body, version)?;
    if !body.0.is_empty() {
        let why = format!("{} bytes too many in {packet:?}", body.0.len());
        return Err(Malformed(why));
    }
    Ok(Some((packet, len)))
}

fn read(kind: u8, body: &mut FieldReader<'_>, version: MqttVersion) -> Result<Packet, Malformed> {
    let is_v5 = version == MqttVersion::V5;
    let flags = kind & 0x0f;
    let wanted_flags = match kind >> 4 {
        3 => flags,
        6 => 2,
        _ => 0,
    };
    if flags != wanted_flags {
        let why = format!("the flags of packet type {} are {flags:04b}", kind >> 4);
        return Err(Malformed(why));
    }
    Ok(match kind >> 4 {
        2 => Packet::Connack(read_connack(body, version)?),
        3 => Packet::Publish(read_publish(flags, body, version)?),
        4 => Packet::Ack(read_ack(AckStep::Puback, PUBLISH_CODES, body, version)?),
        5 => Packet::Ack(read_ack(AckStep::Pubrec, PUBLISH_CODES, body, version)?),
        6 => Packet::Ack(read_ack(AckStep::Pubrel, RELEASE_CODES, body, version)?),
        7 => Packet::Ack(read_ack(AckStep::Pubcomp, RELEASE_CODES, body, version)?),
        9 => {
            let allowed = if is_v5 { SUBACK_CODES } else { SUBACK_CODES_3 };
            Packet::Suback(read_answers("SUBACK", allowed, body, version)?)
        }
        11 if is_v5 => Packet::Unsuback(read_answers("UNSUBACK", UNSUBACK_CODES, body, version)?),
        11 => Packet::Unsuback(AckCodes {
            id: body.id("UNSUBACK")?,
            codes: Vec::new(),
            properties: Properties::default(),
        }),
        13 => Packet::Pingresp,
        14 if is_v5 => {
            let (code, properties) = read_end(body, DISCONNECT_CODES, property::IN_DISCONNECT)?;
            Packet::Disconnect { code, properties }
        }
        15 if is_v5 => {
            let (code, properties) = read_end(body, AUTH_CODES, property::IN_AUTH)?;
            Packet::Auth { code, properties }
        }
        kind => {
            let why = format!("packet type {kind} is not one of a server of MQTT {version}");
            return Err(Malformed(why));
        }
    })
}

fn read_connack(body: &mut FieldReader<'_>, version: MqttVersion) -> Result<Connack, Malformed> {
    let flags = body.u8("the flags of a CONNACK")?;
    if flags > 1 {
        return Err(Malformed(format!("the flags of a CONNACK are {flags:08b}")));
    }
    let code = body.u8("the code of a CONNACK")?;
    // A server without MQTT 5 may refuse in the format of 3.1.1.
    let refuses_version = version == MqttVersion::V5 && code == 1 && body.0.is_empty();
    let (allowed, properties) = match version {
        _ if refuses_version => (CONNACK_CODES_3, Properties::default()),
        MqttVersion::V3 => (CONNACK_CODES_3, Properties::default()),
        MqttVersion::V5 => (CONNACK_CODES, Properties::read(body, property::IN_CONNACK)?),
    };
    check_code("CONNACK", code, allowed)?;
    Ok(Connack {
        session_present: flags == 1,
        code,
        properties,
    })
}

fn read_publish(
    flags: u8,
    body: &mut FieldReader<'_>,
    version: MqttVersion,
) -> Result<TestMessage, Malformed> {
    let qos = flags >> 1 & 3;
    let dup = flags & 8 != 0;
    if qos == 3 {
        return Err(Malformed("a PUBLISH with QoS 3".to_owned()));
    }
    if qos == 0 && dup {
        return Err(Malformed("a PUBLISH with QoS 0 and DUP".to_owned()));
    }
    let topic = body.text("the topic of a PUBLISH")?;
    if topic.contains(['+', '#']) {
        return Err(Malformed(format!("a PUBLISH to {topic:?}")));
    }
    let id = if qos > 0 { body.id("PUBLISH")? } else { 0 };
    let properties = match version {
        MqttVersion::V3 => Properties::default(),
        MqttVersion::V5 => Properties::read(body, property::IN_PUBLISH)?,
    };
    let has_alias = properties.get(property::PropertyName::TopicAlias).is_some();
    if topic.is_empty() && !has_alias {
        return Err(Malformed("a PUBLISH without a topic".to_owned()));
    }
    let payload = body.rest().to_owned();
    Ok(TestMessage {
        topic,
        payload,
        qos,
        retain: flags & 1 != 0,
        dup,
        id,
        properties,
    })
}

fn read_ack(
    step: AckStep,
    allowed: &[u8],
    body: &mut FieldReader<'_>,
    version: MqttVersion,
) -> Result<Ack, Malformed> {
    let id = body.id("an acknowledgement")?;
    let (code, properties) = match version {
        MqttVersion::V3 => (0, Properties::default()),
        MqttVersion::V5 => read_end(body, allowed, property::IN_ACK)?,
    };
    Ok(Ack {
        step,
        id,
        code,
        properties,
    })
}

/// A code and properties; the properties or both may be left out.
fn read_end(
    body: &mut FieldReader<'_>,
    allowed: &[u8],
    properties: &[property::PropertyName],
) -> Result<(u8, Properties), Malformed> {
    if body.0.is_empty() {
        return Ok((0, Properties::default()));
    }
    let code = body.u8("a reason code")?;
    check_code("this packet", code, allowed)?;
    if body.0.is_empty() {
        return Ok((code, Properties::default()));
    }
    Ok((code, Properties::read(body, properties)?))
}

fn read_answers(
    what: &str,
    allowed: &[u8],
    body: &mut FieldReader<'_>,
    version: MqttVersion,
) -> Result<AckCodes, Malformed> {
    let id = body.id(what)?;
    let properties = match version {
        MqttVersion::V3 => Properties::default(),
        MqttVersion::V5 => Properties::read(body, property::IN_ACK)?,
    };
    let codes = body.rest().to_owned();
    if codes.is_empty() {
        return Err(Malformed(format!("{what} without a code")));
    }
    for &code in &codes {
        check_code(what, code, allowed)?;
    }
    Ok(AckCodes {
        id,
        codes,
        properties,
    })
}

fn check_code(what: &str, code: u8, allowed: &[u8]) -> Result<(), Malformed> {
    if allowed.contains(&code) {
        return Ok(());
    }
    Err(Malformed(format!(
        "0x{code:02x} is not a reason code of {what}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], version: MqttVersion) -> Packet {
        for cut in 0..bytes.len() {
            assert_eq!(
                first(&bytes[..cut], version),
                Ok(None),
                "{cut} of {bytes:?}"
            );
        }
        let twice = bytes.repeat(2);
        let (packet, len) = first(&twice, version)
            .expect("a packet")
            .expect("a whole one");
        assert_eq!(len, bytes.len());
        packet
    }

    #[test]
    fn a_packet_is_parsed_once_it_is_complete() {
        assert_eq!(whole(&[0xd0, 0], MqttVersion::V3), Packet::Pingresp);
        let connack = Packet::Connack(Connack {
            session_present: true,
            code: 0,
            properties: Properties::default(),
        });
        assert_eq!(whole(&[0x20, 2, 1, 0], MqttVersion::V3), connack);
        assert_eq!(whole(&[0x20, 3, 1, 0, 0], MqttVersion::V5), connack);
        let Packet::Publish(message) = whole(b"\x3b\x08\x00\x01a\x00\x07\x00hi", MqttVersion::V5)
        else {
            panic!("no PUBLISH");
        };
        assert_eq!((message.qos, message.id, message.retain), (1, 7, true));
        assert_eq!((&*message.topic, &*message.payload), ("a", &b"hi"[..]));
    }

    #[test]
    fn a_packet_that_a_server_may_not_send_is_malformed() {
        for (bytes, version, why) in [
            (&[0x36, 5, 0, 1, b'a', 0, 1][..], MqttVersion::V3, "QoS 3"),
            (&[0x38, 3, 0, 1, b'a'], MqttVersion::V3, "QoS 0 and DUP"),
            (&[0x30, 3, 0, 1, b'#'], MqttVersion::V3, "PUBLISH to"),
            (&[0x30, 2, 0, 0], MqttVersion::V3, "without a topic"),
            (
                &[0x32, 5, 0, 1, b'a', 0, 0],
                MqttVersion::V3,
                "packet id of PUBLISH is 0",
            ),
            (&[0x31, 3, 0, 1, 0xff], MqttVersion::V3, "not UTF-8"),
            (&[0xd1, 0], MqttVersion::V3, "flags of packet type 13"),
            (&[0xd0, 1, 0], MqttVersion::V3, "too many"),
            (&[0xd0, 0x80, 0], MqttVersion::V3, "longer than it needs"),
            (&[0xd0, 0x80, 0x80, 0x80, 0x80], MqttVersion::V3, "too long"),
            (&[0x20, 2, 2, 0], MqttVersion::V3, "flags of a CONNACK"),
            (&[0x20, 2, 0, 6], MqttVersion::V3, "not a reason code"),
            (&[0x90, 3, 0, 1, 3], MqttVersion::V3, "not a reason code"),
            (&[0x10, 0], MqttVersion::V3, "not one of a server"),
            (&[0xe0, 0], MqttVersion::V3, "not one of a server"),
            (&[0xe0, 1, 4], MqttVersion::V5, "not a reason code"),
            (
                &[0x20, 5, 0, 0, 2, 0x01, 0],
                MqttVersion::V5,
                "does not belong",
            ),
            (
                &[0x20, 7, 0, 0, 4, 0x25, 0, 0x25, 0],
                MqttVersion::V5,
                "comes twice",
            ),
            (&[0x20, 5, 0, 0, 2, 0x25, 2], MqttVersion::V5, "not 0 or 1"),
            (&[0x20, 4, 0, 0, 1, 0x7f], MqttVersion::V5, "is not known"),
            (&[0x20, 2, 0, 0], MqttVersion::V5, "cut off"),
        ] {
            let malformed = first(bytes, version).expect_err(why);
            assert!(malformed.0.contains(why), "{malformed:?}");
        }
    }
}
