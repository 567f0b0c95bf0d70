//! Parses CONNECT. `wire/mqtt/connect.rs` decides on it.
//!
//! The library parses the packet; its flags and the properties of MQTT 5 are checked here first.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::packet::{Properties, PropertyId, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::header::Header;
use crate::auth::identity::{BadSecret, Secret};
use crate::wire::mqtt::fault::{Fault, padded, too_short};
use crate::wire::mqtt::field::{check_text, data, expect_end, varint};
use crate::wire::mqtt::property::{self, PropertyPlace, number};
use crate::wire::mqtt::{Dialect, Version};

/// The contents of a CONNECT.
pub(in crate::wire::mqtt) struct Connect {
    pub(in crate::wire::mqtt) version: Version,
    pub(in crate::wire::mqtt) dialect: Dialect,
    pub(in crate::wire::mqtt) client_id: String,
    pub(in crate::wire::mqtt) clean: bool,
    pub(in crate::wire::mqtt) keep_alive: u16,
    pub(in crate::wire::mqtt) user_name: Option<String>,
    /// As it came; none if the client gives none.
    pub(in crate::wire::mqtt) password: Option<Result<Secret, BadSecret>>,
    pub(in crate::wire::mqtt) will: Option<WillPacket>,
    pub(in crate::wire::mqtt) properties: Properties,
}

/// The will of a CONNECT.
pub(in crate::wire::mqtt) struct WillPacket {
    pub(in crate::wire::mqtt) topic: String,
    pub(in crate::wire::mqtt) payload: Vec<u8>,
    pub(in crate::wire::mqtt) qos: u8,
    pub(in crate::wire::mqtt) retain: bool,
    pub(in crate::wire::mqtt) properties: Properties,
}

/// Why a CONNECT is refused.
pub(in crate::wire::mqtt) enum BadConnect {
    /// The client would understand no answer.
    NotMqtt,
    /// A version that this broker does not support, in a packet with the layout of the given version.
    Version(Version),
    /// A fault in a packet of this version.
    Fault(Version, Fault),
}

impl Connect {
    /// Parses the bytes after the fixed header.
    pub(in crate::wire::mqtt) fn read(header: Header, body: &[u8]) -> Result<Self, BadConnect> {
        let level = match body {
            [0, 4, b'M', b'Q', b'T', b'T', level, ..] => *level,
            [
                0,
                6,
                b'M',
                b'Q',
                b'I',
                b's',
                b'd',
                b'p',
                level @ (3 | 0x83),
                ..,
            ] => {
                let dialect = Dialect {
                    is_3_1: true,
                    is_bridge: *level == 0x83,
                };
                return Self::read_v3(&of_3_1(body), dialect);
            }
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
                return Err(BadConnect::Version(Version::V3));
            }
            // Another protocol name means another protocol, in which no answer is possible
            // [MQTT-3.1.2-1].
            _ => return Err(BadConnect::NotMqtt),
        };
        match level {
            4 => return Self::read_v3(body, Dialect::default()),
            0x84 => {
                let dialect = Dialect {
                    is_3_1: false,
                    is_bridge: true,
                };
                return Self::read_v3(&with_level(body, 4), dialect);
            }
            5 => {}
            _ => {
                // The answer must use a version that the client can read [MQTT-3.1.2-2]: 5.0 if the
                // packet is valid as one of 5.0.
                let known = with_level(body, 5);
                let like_5 = v5_0::Connect::parse(&known).is_ok_and(|(_, used)| used == body.len());
                let like = if like_5 { Version::V5 } else { Version::V3 };
                return Err(BadConnect::Version(like));
            }
        }
        let bad = |fault| BadConnect::Fault(Version::V5, fault);
        if header.is_padded() {
            return Err(bad(padded()));
        }
        Self::read_version(body, Version::V5).map_err(bad)
    }

    fn read_v3(body: &[u8], dialect: Dialect) -> Result<Self, BadConnect> {
        let connect = Self::read_version(body, Version::V3);
        let connect = connect.map_err(|fault| BadConnect::Fault(Version::V3, fault))?;
        Ok(Self { dialect, ..connect })
    }

    fn read_version(body: &[u8], version: Version) -> Result<Self, Fault> {
        let flags = *body.get(7).ok_or_else(too_short)?;
        // [MQTT-3.1.2-3].
        if flags & 1 != 0 {
            return Err(Fault::malformed("the reserved flag of CONNECT is set"));
        }
        let (has_will, will_qos) = (flags & 4 != 0, flags >> 3 & 3);
        // QoS 3 does not exist: [MQTT-3.1.2-14] (3.1.1) [MQTT-3.1.2-12] (5.0). Without a will its QoS
        // and RETAIN are zero: [MQTT-3.1.2-11] and [MQTT-3.1.2-13] of both, [MQTT-3.1.2-15] (3.1.1).
        if will_qos == 3 || (!has_will && flags & 0x38 != 0) {
            return Err(Fault::malformed(
                "the flags of the will in CONNECT are not valid",
            ));
        }
        if version == Version::V5 {
            check_connect_properties(body, has_will)?;
        }
        let wrong = |code| match code {
            MqttError::ProtocolError => {
                Fault::protocol("a CONNECT contains a value that is not allowed")
            }
            // The library has reason codes for invalid text that mean refused credentials.
            _ => Fault::malformed("the CONNECT packet is not valid in its version"),
        };
        // The library requires a user name with a password, in MQTT 5 too.
        let body = match version {
            Version::V5 if flags & 0xc0 == 0x40 => Cow::Owned(with_user_name(body)?),
            _ => Cow::Borrowed(body),
        };
        // The library reads the fields in the order of the standard [MQTT-3.1.3-1], each if its flag
        // says that it is present: the client identifier always [MQTT-3.1.3-3], topic and payload of a
        // will [MQTT-3.1.2-9], the user name [MQTT-3.1.2-18] [MQTT-3.1.2-19] (3.1.1) [MQTT-3.1.2-16]
        // [MQTT-3.1.2-17] (5.0), the password [MQTT-3.1.2-20] [MQTT-3.1.2-21] (3.1.1) [MQTT-3.1.2-18]
        // [MQTT-3.1.2-19] (5.0), which 3.1.1 does not allow without a user name [MQTT-3.1.2-22].
        let (connect, used) = match version {
            Version::V3 => Self::parse_v3(&body, will_qos),
            Version::V5 => Self::parse_v5(&body, will_qos),
        }
        .map_err(wrong)?;
        // A field without its flag, or other bytes after the last field, make the CONNECT invalid
        // [MQTT-3.1.4-1].
        expect_end(used, &body)?;
        // The library has checked that these are UTF-8, but not for U+0000: the client identifier
        // [MQTT-3.1.3-4], the topic of the will [MQTT-3.1.3-10] (3.1.1) [MQTT-3.1.3-11] (5.0), the user
        // name [MQTT-3.1.3-11] (3.1.1) [MQTT-3.1.3-12] (5.0).
        check_text(&connect.client_id)?;
        check_text(connect.user_name.as_deref().unwrap_or_default())?;
        if let Some(will) = &connect.will {
            check_text(&will.topic)?;
        }
        Ok(connect)
    }

    fn parse_v3(body: &[u8], will_qos: u8) -> Result<(Self, usize), MqttError> {
        let (packet, used) = v3_1_1::Connect::parse(body)?;
        let will = packet.will_topic().map(|topic| WillPacket {
            topic: topic.to_owned(),
            payload: packet.will_payload().unwrap_or_default().to_vec(),
            qos: will_qos,
            retain: packet.will_retain(),
            properties: Properties::new(),
        });
        let connect = Self {
            version: Version::V3,
            dialect: Dialect::default(),
            client_id: packet.client_id().to_owned(),
            clean: packet.clean_start(),
            keep_alive: packet.keep_alive(),
            user_name: packet.user_name().map(str::to_owned),
            password: packet.password().map(|bytes| Secret::shown(bytes.to_vec())),
            will,
            properties: Properties::new(),
        };
        Ok((connect, used))
    }

    fn parse_v5(body: &[u8], will_qos: u8) -> Result<(Self, usize), MqttError> {
        let (packet, used) = v5_0::Connect::parse(body)?;
        let will = packet.will_topic().map(|topic| WillPacket {
            topic: topic.to_owned(),
            payload: packet.will_payload().unwrap_or_default().to_vec(),
            qos: will_qos,
            retain: packet.will_retain(),
            properties: packet.will_props().clone(),
        });
        let connect = Self {
            version: Version::V5,
            dialect: Dialect::default(),
            client_id: packet.client_id().to_owned(),
            clean: packet.clean_start(),
            keep_alive: packet.keep_alive(),
            user_name: packet.user_name().map(str::to_owned),
            password: packet.password().map(|bytes| Secret::shown(bytes.to_vec())),
            will,
            properties: packet.props().clone(),
        };
        Ok((connect, used))
    }

    pub(in crate::wire::mqtt) fn number(&self, id: PropertyId) -> Option<u32> {
        number(&self.properties, id)
    }
}

/// The same CONNECT with another level.
fn with_level(body: &[u8], level: u8) -> Vec<u8> {
    let mut body = body.to_vec();
    body[6] = level;
    body
}

/// A CONNECT of 3.1 in the form of 3.1.1. 3.1 has no meaning for bits that 3.1.1 reserves, and lets the
/// length of the packet decide whether a user name and a password are present, not their flags.
fn of_3_1(body: &[u8]) -> Vec<u8> {
    let mut body = [b"\0\x04MQTT\x04", body.get(9..).unwrap_or_default()].concat();
    let Some(flags) = body.get(7).copied() else {
        return body;
    };
    let mut kept = !1;
    if flags & 4 == 0 {
        kept &= !0x38;
    }
    // The client identifier, and topic and payload of a will.
    let before = if flags & 4 == 0 { 1 } else { 3 };
    if flags & 0x80 != 0 && is_end_after(&body, before) {
        kept &= !0xc0;
    } else if flags & 0x40 != 0 && is_end_after(&body, before + 1) {
        kept &= !0x40;
    }
    body[7] &= kept;
    body
}

/// Whether a CONNECT of 3.1.1 has this number of fields.
fn is_end_after(body: &[u8], fields: usize) -> bool {
    let mut rest = body.get(CONNECT_PROPERTIES..).unwrap_or_default();
    for _ in 0..fields {
        match data(rest) {
            Ok((_, behind)) => rest = behind,
            Err(_) => return false,
        }
    }
    rest.is_empty()
}

/// The offset of the properties of a CONNECT, or of its first field in 3.1.1.
const CONNECT_PROPERTIES: usize = 10;

fn check_connect_properties(body: &[u8], has_will: bool) -> Result<(), Fault> {
    let rest = body.get(CONNECT_PROPERTIES..).ok_or_else(too_short)?;
    let (_, used) = property::read(rest, PropertyPlace::Connect)?;
    if has_will {
        let (_, rest) = data(&rest[used..])?;
        property::read(rest, PropertyPlace::Will)?;
    }
    Ok(())
}

/// The same CONNECT with an empty user name before its password, which is the last field.
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
