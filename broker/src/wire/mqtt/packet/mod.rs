//! Parses the packets of MQTT clients, with no I/O.
//!
//! Packets are the types of `mqtt-protocol-core`. Checks that the library leaves to its users are made
//! here: reserved bits, bytes after the end of a packet, U+0000 in strings, excessive lengths. CONNECT
//! and PUBLISH have files of their own; here are all others.

mod connect;
mod header;
mod publish;

use mqtt_protocol_core::mqtt::packet::{Properties, Property, PropertyId, SubEntry, v5_0};

use mqtt_protocol_core::mqtt::result_code::AuthReasonCode;

use super::Version;
use super::authentication::Authentication;
use super::fault::{behind_the_end, too_short, wrong};
use super::field::{expect_end, packet_id, text};
use super::property::{self, PropertyPlace, number};

pub(super) use super::fault::{Fault, padded, reserved};
pub(super) use connect::{BadConnect, Connect, WillPacket};
pub(super) use header::{Header, kind};
pub(super) use publish::Publish;

/// A packet of a client, other than CONNECT and PUBLISH.
pub(super) enum Packet {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, and whether it reports an error.
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
    Auth {
        reason: AuthReasonCode,
        shown: Option<Authentication>,
    },
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
            // [MQTT-3.1.0-2].
            kind::CONNECT => Err(Fault::protocol("a second CONNECT")),
            kind::AUTH if version == Version::V5 => Self::read_auth(body),
            0 | kind::AUTH => Err(Fault::malformed("the type of a packet is not valid")),
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
                let (_, used) = property::read(&rest[1..], PropertyPlace::Acknowledgement)?;
                expect_end(used, &rest[1..])?;
            }
            // The library checks the reason codes [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1]
            // [MQTT-3.7.2-1].
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
                let (properties, used) = property::read(rest, PropertyPlace::Subscribe)?;
                let identifier = properties.iter().find_map(|property| match property {
                    Property::SubscriptionIdentifier(number) => Some(number.val()),
                    _ => None,
                });
                (identifier, &rest[used..])
            }
        };
        if rest.is_empty() {
            // [MQTT-3.8.3-3] (3.1.1) [MQTT-3.8.3-2] (5.0).
            return Err(Fault::protocol("a SUBSCRIBE contains no filter"));
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            // The filter is UTF-8 [MQTT-3.8.3-1].
            let (_, after) = text(rest)?;
            let options = *after.first().ok_or_else(too_short)?;
            // QoS 3 and retain handling 3 do not exist: [MQTT-3.8.3-5] and §3.8.3.1 of 5.0. The library
            // would report a malformed packet, the standard asks for a protocol error.
            if version == Version::V5 && (options & 3 == 3 || options & 0x30 == 0x30) {
                return Err(Fault::protocol(
                    "a subscription has a QoS or retain handling of 3",
                ));
            }
            let (entry, used) = SubEntry::parse(rest).map_err(wrong)?;
            // [MQTT-4.7.3-1].
            if entry.topic_filter().is_empty() {
                return Err(Fault::malformed("a filter is empty"));
            }
            // [MQTT-3.8.3-4] of 3.1.1. Those of 5.0 are refused by the library [MQTT-3.8.3-5].
            if version == Version::V3 && options & 0xfc != 0 {
                return Err(Fault::malformed("reserved bits of a requested QoS are set"));
            }
            // [MQTT-3.8.3-4] of 5.0: a message goes to one member, which may be its publisher.
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
                let (_, used) = property::read(rest, PropertyPlace::Unsubscribe)?;
                &rest[used..]
            }
        };
        if rest.is_empty() {
            // [MQTT-3.10.3-2].
            return Err(Fault::protocol("an UNSUBSCRIBE contains no filter"));
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            // The filter is UTF-8 [MQTT-3.10.3-1] and not empty [MQTT-4.7.3-1].
            let (filter, after) = text(rest)?;
            if filter.is_empty() {
                return Err(Fault::malformed("a filter is empty"));
            }
            filters.push(filter.to_owned());
            rest = after;
        }
        Ok(Self::Unsubscribe { id, filters })
    }

    fn read_auth(body: &[u8]) -> Result<Self, Fault> {
        let (packet, used) = v5_0::Auth::parse(body).map_err(wrong)?;
        expect_end(used, body)?;
        let shown = packet.props().as_ref().map(Authentication::of);
        Ok(Self::Auth {
            // Without a code it is success (5.0 §3.15.2.1).
            reason: packet.reason_code().unwrap_or(AuthReasonCode::Success),
            shown: shown.transpose()?.flatten(),
        })
    }

    fn read_disconnect(body: &[u8], version: Version) -> Result<Self, Fault> {
        if version == Version::V3 && !body.is_empty() {
            return Err(behind_the_end());
        }
        let mut properties = Properties::new();
        if body.len() > 1 {
            let used;
            (properties, used) = property::read(&body[1..], PropertyPlace::Disconnect)?;
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
