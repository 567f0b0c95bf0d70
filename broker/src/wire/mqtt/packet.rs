//! What an MQTT client says: bytes in, packets out, with no I/O.
//!
//! Packets are the types of `mqtt-protocol-core`. What that library leaves to its users is checked
//! here: reserved bits, bytes behind the end of a packet, U+0000 in strings, lengths that nobody needs.
//! A PUBLISH is read in place, because a copy of each message is what this broker is quick without.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::packet::{Properties, Property, PropertyId, SubEntry, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::Version;
use super::property::{self, Place, number};

/// The longest packet other than a PUBLISH. Its parts are kept one by one, which takes more memory than
/// they have bytes.
const CONTROL_BYTES: usize = 1024 * 1024;

/// The longest properties of a PUBLISH, for the same reason.
const PROPERTY_BYTES: usize = 256 * 1024;

/// Why a client is not listened to any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// As MQTT 5 numbers them.
    pub(super) code: MqttError,
    /// What to do about it.
    pub(super) why: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(code: MqttError, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            why: why.into(),
        }
    }

    pub(super) fn malformed(why: &'static str) -> Self {
        Self::new(MqttError::MalformedPacket, why)
    }

    pub(super) fn protocol(why: &'static str) -> Self {
        Self::new(MqttError::ProtocolError, why)
    }

    /// The code as a byte of MQTT 5.
    pub(super) fn byte(&self) -> u8 {
        byte(self.code)
    }
}

/// Errors of the library that are none of the standard mean that the packet is malformed.
fn byte(code: MqttError) -> u8 {
    u8::try_from(code as u16).unwrap_or(MqttError::MalformedPacket as u16 as u8)
}

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) first: u8,
    /// Its own length.
    pub(super) bytes: usize,
    /// The length of what follows.
    pub(super) rest: usize,
}

/// What the high four bits of a packet say.
pub(super) mod kind {
    pub(in super::super) const CONNECT: u8 = 1;
    pub(in super::super) const PUBLISH: u8 = 3;
    pub(in super::super) const PUBACK: u8 = 4;
    pub(in super::super) const PUBREC: u8 = 5;
    pub(in super::super) const PUBREL: u8 = 6;
    pub(in super::super) const PUBCOMP: u8 = 7;
    pub(in super::super) const SUBSCRIBE: u8 = 8;
    pub(in super::super) const UNSUBSCRIBE: u8 = 10;
    pub(in super::super) const PINGREQ: u8 = 12;
    pub(in super::super) const DISCONNECT: u8 = 14;
    pub(in super::super) const AUTH: u8 = 15;
}

impl Header {
    pub(super) fn kind(self) -> u8 {
        self.first >> 4
    }

    /// How long the whole packet is.
    pub(super) fn size(self) -> usize {
        self.bytes + self.rest
    }

    /// Whether the length takes more bytes than it needs, which MQTT 5 forbids [MQTT-1.5.5-1].
    pub(super) fn is_padded(self) -> bool {
        self.bytes > 2 && self.rest >> (7 * (self.bytes - 2)) == 0
    }

    /// Reads it as soon as it is there. Packets of more than `most` bytes are refused.
    pub(super) fn read(bytes: &[u8], most: usize) -> Result<Option<Self>, Fault> {
        let Some((&first, lengths)) = bytes.split_first() else {
            return Ok(None);
        };
        let mut rest = 0;
        for (at, &byte) in lengths.iter().take(4).enumerate() {
            rest |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                let header = Self {
                    first,
                    bytes: at + 2,
                    rest,
                };
                header.check(most)?;
                return Ok(Some(header));
            }
        }
        match lengths.len() {
            0..4 => Ok(None),
            _ => Err(Fault::malformed(
                "the length of a packet has more than four bytes",
            )),
        }
    }

    fn check(self, most: usize) -> Result<(), Fault> {
        let flags = self.first & 0x0f;
        let as_reserved = match self.kind() {
            kind::PUBLISH => true,
            kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => flags == 2,
            _ => flags == 0,
        };
        if !as_reserved {
            return Err(Fault::malformed("reserved bits of a fixed header are set"));
        }
        if self.size() > most {
            return Err(Fault::new(
                MqttError::PacketTooLarge,
                format!(
                    "a packet has {} bytes; this broker takes {most}, send less or ask its \
                     operator for a higher --max-line",
                    self.size()
                ),
            ));
        }
        if self.kind() != kind::PUBLISH && self.size() > CONTROL_BYTES {
            return Err(Fault::new(
                MqttError::QuotaExceeded,
                "a packet that is no PUBLISH has more than a mebibyte; divide it",
            ));
        }
        Ok(())
    }
}

/// What a client asks for with CONNECT.
pub(super) struct Connect {
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) user_name: Option<String>,
    pub(super) has_password: bool,
    pub(super) will: Option<WillPacket>,
    pub(super) properties: Properties,
}

/// The will in it.
pub(super) struct WillPacket {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Properties,
}

/// Why a CONNECT cannot be answered like others.
pub(super) enum BadConnect {
    /// No answer that the client would understand.
    NotMqtt,
    /// A version that this broker does not speak, in a packet that is built like one of this version.
    Version(Version),
    /// A fault in a packet of this version.
    Fault(Version, Fault),
}

impl Connect {
    /// Reads what follows the fixed header.
    pub(super) fn read(header: Header, body: &[u8]) -> Result<Self, BadConnect> {
        let level = match body {
            [0, 4, b'M', b'Q', b'T', b'T', level, ..] => *level,
            // The name that 3.1 had.
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
                return Err(BadConnect::Version(Version::V3));
            }
            _ => return Err(BadConnect::NotMqtt),
        };
        let version = match level {
            4 => Version::V3,
            5 => Version::V5,
            _ => {
                let mut known = body.to_vec();
                known[6] = 5;
                let like_5 = v5_0::Connect::parse(&known).is_ok_and(|(_, used)| used == body.len());
                let like = if like_5 { Version::V5 } else { Version::V3 };
                return Err(BadConnect::Version(like));
            }
        };
        if version == Version::V5 && header.is_padded() {
            return Err(BadConnect::Fault(version, padded()));
        }
        Self::read_version(body, version).map_err(|fault| BadConnect::Fault(version, fault))
    }

    fn read_version(body: &[u8], version: Version) -> Result<Self, Fault> {
        let flags = *body.get(7).ok_or_else(too_short)?;
        if flags & 1 != 0 {
            return Err(Fault::malformed("the reserved flag of CONNECT is set"));
        }
        let (has_will, will_qos) = (flags & 4 != 0, flags >> 3 & 3);
        if will_qos == 3 || (!has_will && flags & 0x38 != 0) {
            return Err(Fault::malformed(
                "the flags of CONNECT ask for a QoS of the will that there is not",
            ));
        }
        if version == Version::V5 {
            check_connect_properties(body, has_will)?;
        }
        let wrong = |code| match code {
            MqttError::ProtocolError => Fault::protocol("a CONNECT holds what it may not"),
            // The library has codes for a text that is none, which are for those that are not welcome.
            _ => Fault::malformed("this is no CONNECT packet of its version"),
        };
        // The library wants a user name with a password, in MQTT 5 too.
        let body = match version {
            Version::V5 if flags & 0xc0 == 0x40 => Cow::Owned(with_user_name(body)?),
            _ => Cow::Borrowed(body),
        };
        let (connect, used) = match version {
            Version::V3 => {
                let (packet, used) = v3_1_1::Connect::parse(&body).map_err(wrong)?;
                let will = packet.will_topic().map(|topic| WillPacket {
                    topic: topic.to_owned(),
                    payload: packet.will_payload().unwrap_or_default().to_vec(),
                    qos: will_qos,
                    retain: packet.will_retain(),
                    properties: Properties::new(),
                });
                let connect = Self {
                    version,
                    client_id: packet.client_id().to_owned(),
                    clean: packet.clean_start(),
                    keep_alive: packet.keep_alive(),
                    user_name: packet.user_name().map(str::to_owned),
                    has_password: packet.password_flag(),
                    will,
                    properties: Properties::new(),
                };
                (connect, used)
            }
            Version::V5 => {
                let (packet, used) = v5_0::Connect::parse(&body).map_err(wrong)?;
                let will = packet.will_topic().map(|topic| WillPacket {
                    topic: topic.to_owned(),
                    payload: packet.will_payload().unwrap_or_default().to_vec(),
                    qos: will_qos,
                    retain: packet.will_retain(),
                    properties: packet.will_props().clone(),
                });
                let connect = Self {
                    version,
                    client_id: packet.client_id().to_owned(),
                    clean: packet.clean_start(),
                    keep_alive: packet.keep_alive(),
                    user_name: packet.user_name().map(str::to_owned),
                    has_password: packet.password_flag(),
                    will,
                    properties: packet.props().clone(),
                };
                (connect, used)
            }
        };
        expect_end(used, &body)?;
        check_text(&connect.client_id)?;
        check_text(connect.user_name.as_deref().unwrap_or_default())?;
        if let Some(will) = &connect.will {
            check_text(&will.topic)?;
        }
        Ok(connect)
    }

    /// There are no methods, and data belongs to one.
    pub(super) fn check_authentication(&self) -> Result<(), Fault> {
        let has = |id| self.properties.iter().any(|property| property.id() == id);
        if has(PropertyId::AuthenticationMethod) {
            return Err(Fault::new(
                MqttError::BadAuthenticationMethod,
                "this broker has no authentication methods; connect without one",
            ));
        }
        if has(PropertyId::AuthenticationData) {
            return Err(Fault::protocol(
                "authentication data needs an authentication method",
            ));
        }
        Ok(())
    }

    pub(super) fn number(&self, id: PropertyId) -> Option<u32> {
        number(&self.properties, id)
    }
}

/// Where the properties of a CONNECT begin.
const CONNECT_PROPERTIES: usize = 10;

fn check_connect_properties(body: &[u8], has_will: bool) -> Result<(), Fault> {
    let rest = body.get(CONNECT_PROPERTIES..).ok_or_else(too_short)?;
    let (_, used) = property::read(rest, Place::Connect)?;
    if has_will {
        let (_, rest) = data(&rest[used..])?;
        property::read(rest, Place::Will)?;
    }
    Ok(())
}

/// The same CONNECT with an empty user name before its password, which stands last.
fn with_user_name(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let properties = |rest| {
        let (len, size) = varint(rest)?;
        rest.get(len + size..).ok_or_else(too_short)
    };
    let rest = body.get(CONNECT_PROPERTIES..).ok_or_else(too_short)?;
    let (_, mut rest) = data(properties(rest)?)?;
    if body[7] & 4 != 0 {
        let (_, after_topic) = data(properties(rest)?)?;
        (_, rest) = data(after_topic)?;
    }
    let (before, after) = body.split_at(body.len() - rest.len());
    let mut patched = [before, &[0, 0], after].concat();
    patched[7] |= 0x80;
    Ok(patched)
}

/// A PUBLISH, read in place.
pub(super) struct Publish<'a> {
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Empty if an alias stands for it.
    pub(super) topic: &'a str,
    /// Zero at QoS 0.
    pub(super) id: u16,
    pub(super) properties: Properties,
    pub(super) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(super) fn read(first: u8, body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let qos = first >> 1 & 3;
        if qos == 3 {
            return Err(Fault::malformed("there is no QoS 3"));
        }
        if qos == 0 && first & 8 != 0 {
            return Err(Fault::malformed("DUP is set on a PUBLISH at QoS 0"));
        }
        let (topic, rest) = text(body)?;
        let (id, rest) = match qos {
            0 => (0, rest),
            _ => packet_id(rest)?,
        };
        let (properties, payload) = match version {
            Version::V3 => (Properties::new(), rest),
            Version::V5 => publish_properties(rest)?,
        };
        Ok(Self {
            qos,
            retain: first & 1 != 0,
            topic,
            id,
            properties,
            payload,
        })
    }
}

#[inline]
fn publish_properties(bytes: &[u8]) -> Result<(Properties, &[u8]), Fault> {
    if let [0, payload @ ..] = bytes {
        return Ok((Properties::new(), payload));
    }
    read_publish_properties(bytes)
}

#[inline(never)]
fn read_publish_properties(bytes: &[u8]) -> Result<(Properties, &[u8]), Fault> {
    if varint(bytes)?.0 > PROPERTY_BYTES {
        return Err(Fault::new(
            MqttError::QuotaExceeded,
            "the properties of a PUBLISH have more than 256 KiB; put less there",
        ));
    }
    let (properties, used) = property::read(bytes, Place::Publish)?;
    Ok((properties, &bytes[used..]))
}

/// What a client says besides CONNECT and PUBLISH.
pub(super) enum Packet {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP; whether it tells of an error.
    Ack {
        kind: u8,
        id: u16,
        failed: bool,
    },
    Subscribe {
        id: u16,
        identifier: Option<u32>,
        entries: Vec<SubEntry>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry: Option<u32>,
    },
}

impl Packet {
    pub(super) fn read(header: Header, body: &[u8], version: Version) -> Result<Self, Fault> {
        match header.kind() {
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
                Self::read_ack(header.kind(), body, version)
            }
            kind::SUBSCRIBE => Self::read_subscribe(body, version),
            kind::UNSUBSCRIBE => Self::read_unsubscribe(body, version),
            kind::PINGREQ if body.is_empty() => Ok(Self::Ping),
            kind::PINGREQ => Err(behind_the_end()),
            kind::DISCONNECT => Self::read_disconnect(body, version),
            kind::CONNECT => Err(Fault::protocol("a second CONNECT")),
            kind::AUTH if version == Version::V5 => {
                let (_, used) = v5_0::Auth::parse(body).map_err(wrong)?;
                expect_end(used, body)?;
                Err(Fault::protocol(
                    "an AUTH, although CONNECT named no authentication method",
                ))
            }
            0 | kind::AUTH => Err(Fault::malformed("a packet of a kind that there is not")),
            _ => Err(Fault::protocol("a packet that only brokers send")),
        }
    }

    fn read_ack(kind: u8, body: &[u8], version: Version) -> Result<Self, Fault> {
        let (id, rest) = packet_id(body)?;
        let mut failed = false;
        if !rest.is_empty() {
            if version == Version::V3 {
                return Err(behind_the_end());
            }
            if rest.len() > 1 {
                let (_, used) = property::read(&rest[1..], Place::Acknowledgement)?;
                expect_end(used, &rest[1..])?;
            }
            // The library knows which reasons there are.
            match kind {
                kind::PUBACK => v5_0::Puback::parse(body).map(|_| ()),
                kind::PUBREC => v5_0::Pubrec::parse(body).map(|_| ()),
                kind::PUBREL => v5_0::Pubrel::parse(body).map(|_| ()),
                _ => v5_0::Pubcomp::parse(body).map(|_| ()),
            }
            .map_err(wrong)?;
            failed = rest[0] >= 0x80;
        }
        Ok(Self::Ack { kind, id, failed })
    }

    fn read_subscribe(body: &[u8], version: Version) -> Result<Self, Fault> {
        let (id, rest) = packet_id(body)?;
        let (identifier, mut rest) = match version {
            Version::V3 => (None, rest),
            Version::V5 => {
                let (properties, used) = property::read(rest, Place::Subscribe)?;
                let identifier = properties.iter().find_map(|property| match property {
                    Property::SubscriptionIdentifier(number) => Some(number.val()),
                    _ => None,
                });
                (identifier, &rest[used..])
            }
        };
        if rest.is_empty() {
            return Err(Fault::protocol("a SUBSCRIBE asks for nothing"));
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (_, after) = text(rest)?;
            let options = *after.first().ok_or_else(too_short)?;
            if version == Version::V5 && (options & 3 == 3 || options & 0x30 == 0x30) {
                return Err(Fault::protocol("a subscription asks for what there is not"));
            }
            let (entry, used) = SubEntry::parse(rest).map_err(wrong)?;
            if entry.topic_filter().is_empty() {
                return Err(Fault::malformed("a filter is empty"));
            }
            if version == Version::V3 && options & 0xfc != 0 {
                return Err(Fault::malformed("reserved bits of a requested QoS are set"));
            }
            if entry.sub_opts().nl() && entry.topic_filter().starts_with("$share/") {
                return Err(Fault::protocol(
                    "no local is not for shared subscriptions; leave it out",
                ));
            }
            entries.push(entry);
            rest = &rest[used..];
        }
        Ok(Self::Subscribe {
            id,
            identifier,
            entries,
        })
    }

    fn read_unsubscribe(body: &[u8], version: Version) -> Result<Self, Fault> {
        let (id, rest) = packet_id(body)?;
        let mut rest = match version {
            Version::V3 => rest,
            Version::V5 => {
                let (_, used) = property::read(rest, Place::Unsubscribe)?;
                &rest[used..]
            }
        };
        if rest.is_empty() {
            return Err(Fault::protocol("an UNSUBSCRIBE names nothing"));
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let (filter, after) = text(rest)?;
            if filter.is_empty() {
                return Err(Fault::malformed("a filter is empty"));
            }
            filters.push(filter.to_owned());
            rest = after;
        }
        Ok(Self::Unsubscribe { id, filters })
    }

    fn read_disconnect(body: &[u8], version: Version) -> Result<Self, Fault> {
        if version == Version::V3 && !body.is_empty() {
            return Err(behind_the_end());
        }
        let mut properties = Properties::new();
        if body.len() > 1 {
            let used;
            (properties, used) = property::read(&body[1..], Place::Disconnect)?;
            expect_end(used, &body[1..])?;
        }
        v5_0::Disconnect::parse(body).map_err(wrong)?;
        if properties
            .iter()
            .any(|property| property.id() == PropertyId::ServerReference)
        {
            return Err(Fault::protocol("only a broker names another server"));
        }
        Ok(Self::Disconnect {
            with_will: body.first().is_some_and(|&code| code != 0),
            expiry: number(&properties, PropertyId::SessionExpiryInterval),
        })
    }
}

/// A variable byte integer, and how many bytes it takes.
pub(super) fn varint(bytes: &[u8]) -> Result<(usize, usize), Fault> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte == 0 && at > 0 {
            return Err(padded());
        }
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(Fault::malformed("a variable byte integer does not end"))
}

fn packet_id(bytes: &[u8]) -> Result<(u16, &[u8]), Fault> {
    let (id, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    match u16::from_be_bytes(*id) {
        0 => Err(Fault::protocol("a packet identifier is zero")),
        id => Ok((id, rest)),
    }
}

/// A string with its length before it, and what follows.
fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let (text, rest) = data(bytes)?;
    let text = str::from_utf8(text).map_err(|_| Fault::malformed("a string is not UTF-8"))?;
    check_text(text)?;
    Ok((text, rest))
}

/// Bytes with their length before them, and what follows.
#[inline]
fn data(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (len, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    let len = usize::from(u16::from_be_bytes(*len));
    rest.split_at_checked(len).ok_or_else(too_short)
}

#[inline]
pub(super) fn check_text(text: &str) -> Result<(), Fault> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(_) => Err(Fault::malformed("a string holds U+0000")),
    }
}

fn expect_end(used: usize, body: &[u8]) -> Result<(), Fault> {
    if used == body.len() {
        return Ok(());
    }
    Err(behind_the_end())
}

fn behind_the_end() -> Fault {
    Fault::malformed("bytes stand behind the end of what a packet holds")
}

/// What is wrong with an integer in more bytes than it needs.
pub(super) fn padded() -> Fault {
    Fault::malformed("a variable byte integer has more bytes than it needs")
}

pub(super) fn too_short() -> Fault {
    Fault::malformed("a packet ends before what it holds")
}

fn wrong(code: MqttError) -> Fault {
    match code {
        MqttError::ProtocolError => Fault::protocol("a packet holds what does not belong there"),
        MqttError::MalformedPacket => Fault::malformed("a packet cannot be read"),
        other => match MqttError::try_from(byte(other)) {
            Ok(code) => Fault::new(code, "a packet holds what it may not"),
            Err(_) => Fault::malformed("a packet cannot be read"),
        },
    }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::Arc;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_read_when_its_last_byte_has_come() {
        for (bytes, expected) in [
            (&b"\xc0"[..], Ok(None)),
            (b"\xc0\x00", Ok(Some((2, 0)))),
            (b"\x30\x80", Ok(None)),
            (b"\x30\x80\x01", Ok(Some((3, 128)))),
            (b"\x30\xff\xff\xff", Ok(None)),
            (b"\x30\xff\xff\xff\xff", Err(MqttError::MalformedPacket)),
            (b"\x30\xff\xff\xff\x7f", Err(MqttError::PacketTooLarge)),
            (b"\xc1\x00", Err(MqttError::MalformedPacket)),
            (b"\x82\xff\xff\x7f", Err(MqttError::QuotaExceeded)),
        ] {
            let read = Header::read(bytes, 100_000_000);
            let read = read.map(|header| header.map(|header| (header.bytes, header.rest)));
            assert_eq!(read.map_err(|fault| fault.code), expected, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn a_publish_is_read_as_the_library_reads_it(
            first in 0x30u8..0x40,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::vec(0u8..40, 0..40),
                ("[a-z]{0,5}", prop::collection::vec(0u8..40, 0..20)).prop_map(|(topic, rest)| {
                    [&[0, topic.len() as u8][..], topic.as_bytes(), &rest].concat()
                }),
            ],
        ) {
            let library: Arc<[u8]> = body.as_slice().into();
            if let Ok(ours) = Publish::read(first, &body, Version::V3) {
                let (theirs, _) = v3_1_1::Publish::parse(first & 15, library.clone()).expect("it is one");
                prop_assert_eq!(ours.topic, theirs.topic_name());
                prop_assert_eq!(ours.payload, theirs.payload().as_slice());
                prop_assert_eq!(ours.id, theirs.packet_id().unwrap_or(0));
            }
            if let Ok(ours) = Publish::read(first, &body, Version::V5) {
                let (theirs, _) = v5_0::Publish::parse(first & 15, library).expect("it is one");
                prop_assert_eq!(ours.topic, theirs.topic_name());
                prop_assert_eq!(ours.payload, theirs.payload().as_slice());
                prop_assert_eq!(&ours.properties, theirs.props());
                prop_assert_eq!(ours.id, theirs.packet_id().unwrap_or(0));
            }
        }
    }
}
