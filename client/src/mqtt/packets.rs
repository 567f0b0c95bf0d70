//! The packets of both versions, converted to and from one common form.

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::{
    Packet, Property, SessionExpiryInterval, SubEntry, SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use protocol::Reached;

use super::settings::{Qos, Settings, Version};
use super::{attributes, reason};

/// A packet from the broker, in either version. Reason codes are those of MQTT 5.
#[derive(Debug)]
pub(super) enum BrokerPacket {
    Connack {
        code: u8,
        text: Option<String>,
    },
    Publish(PublishPacket),
    /// PUBACK, PUBCOMP, or a PUBREC with an error code: the last packet for this message.
    Settled {
        id: u16,
        code: u8,
        text: Option<String>,
        reached: Option<Reached>,
    },
    /// A PUBREC that accepts the message.
    PubRec {
        id: u16,
        reached: Option<Reached>,
    },
    /// PUBREL.
    Released {
        id: u16,
    },
    Suback {
        codes: Vec<u8>,
    },
    Pingresp,
    Disconnect {
        code: u8,
        text: Option<String>,
    },
    /// A packet that this client does not use.
    Other,
}

/// A PUBLISH.
#[derive(Debug)]
pub(super) struct PublishPacket {
    pub(super) topic: String,
    pub(super) payload: ArcPayload,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// For QoS 1 and 2.
    pub(super) id: Option<u16>,
    pub(super) properties: Vec<Property>,
}

pub(super) fn connect(settings: &Settings) -> Result<Packet, MqttError> {
    let keep_alive = settings.keep_alive_seconds();
    let clean = settings.starts_clean();
    Ok(match settings.version {
        Version::V3 => {
            let mut packet = v3_1_1::Connect::builder()
                .client_id(&*settings.id)?
                .clean_session(clean)
                .keep_alive(keep_alive);
            if let Some(will) = &settings.will {
                let qos = will.qos.to_packet();
                packet =
                    packet.will_message(&*will.topic, will.payload.clone(), qos, will.retain)?;
            }
            if let Some(user) = &settings.user {
                packet = packet.user_name(&**user)?;
            }
            if let Some(password) = &settings.password {
                packet = packet.password(password.as_bytes().to_vec())?;
            }
            packet.build()?.into()
        }
        Version::V5 => {
            let mut packet = v5_0::Connect::builder()
                .client_id(&*settings.id)?
                .clean_start(clean)
                .keep_alive(keep_alive);
            if let Some(will) = &settings.will {
                let qos = will.qos.to_packet();
                packet =
                    packet.will_message(&*will.topic, will.payload.clone(), qos, will.retain)?;
            }
            if let Some(user) = &settings.user {
                packet = packet.user_name(&**user)?;
            }
            if let Some(password) = &settings.password {
                packet = packet.password(password.as_bytes().to_vec())?;
            }
            let seconds = settings.session_expiry_seconds();
            if seconds > 0 {
                let expiry = SessionExpiryInterval::new(seconds)?;
                packet = packet.props(vec![Property::SessionExpiryInterval(expiry)]);
            }
            packet.build()?.into()
        }
    })
}

pub(super) fn publish(version: Version, message: &PublishPacket) -> Result<Packet, MqttError> {
    let qos = message.qos.to_packet();
    Ok(match version {
        Version::V3 => v3_1_1::Publish::builder()
            .topic_name(&*message.topic)?
            .qos(qos)
            .retain(message.retain)
            .packet_id(message.id)
            .payload(message.payload.as_slice())
            .build()?
            .into(),
        Version::V5 => v5_0::Publish::builder()
            .topic_name(&*message.topic)?
            .qos(qos)
            .retain(message.retain)
            .packet_id(message.id)
            .props(message.properties.clone())
            .payload(message.payload.as_slice())
            .build()?
            .into(),
    })
}

pub(super) fn subscribe<F: AsRef<str>>(
    version: Version,
    id: u16,
    filters: &[F],
    qos: Qos,
) -> Result<Packet, MqttError> {
    let options = SubOpts::new().set_qos(qos.to_packet());
    let entries = filters
        .iter()
        .map(|filter| SubEntry::new(filter.as_ref(), options));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(match version {
        Version::V3 => v3_1_1::Subscribe::builder()
            .packet_id(id)
            .entries(entries)
            .build()?
            .into(),
        Version::V5 => v5_0::Subscribe::builder()
            .packet_id(id)
            .entries(entries)
            .build()?
            .into(),
    })
}

pub(super) fn pingreq(version: Version) -> Result<Packet, MqttError> {
    Ok(match version {
        Version::V3 => v3_1_1::Pingreq::builder().build()?.into(),
        Version::V5 => v5_0::Pingreq::builder().build()?.into(),
    })
}

pub(super) fn disconnect(version: Version) -> Result<Packet, MqttError> {
    Ok(match version {
        Version::V3 => v3_1_1::Disconnect::builder().build()?.into(),
        Version::V5 => v5_0::Disconnect::builder().build()?.into(),
    })
}

/// PUBACK for QoS 1, PUBREC for QoS 2.
pub(super) fn acknowledgement(version: Version, qos: Qos, id: u16) -> Result<Packet, MqttError> {
    Ok(match (version, qos) {
        (Version::V3, Qos::ExactlyOnce) => v3_1_1::Pubrec::builder().packet_id(id).build()?.into(),
        (Version::V3, _) => v3_1_1::Puback::builder().packet_id(id).build()?.into(),
        (Version::V5, Qos::ExactlyOnce) => v5_0::Pubrec::builder().packet_id(id).build()?.into(),
        (Version::V5, _) => v5_0::Puback::builder().packet_id(id).build()?.into(),
    })
}

pub(super) fn pubrel(version: Version, id: u16) -> Result<Packet, MqttError> {
    Ok(match version {
        Version::V3 => v3_1_1::Pubrel::builder().packet_id(id).build()?.into(),
        Version::V5 => v5_0::Pubrel::builder().packet_id(id).build()?.into(),
    })
}

pub(super) fn pubcomp(version: Version, id: u16) -> Result<Packet, MqttError> {
    Ok(match version {
        Version::V3 => v3_1_1::Pubcomp::builder().packet_id(id).build()?.into(),
        Version::V5 => v5_0::Pubcomp::builder().packet_id(id).build()?.into(),
    })
}

/// Converts a packet from the broker.
pub(super) fn decode(packet: Packet) -> BrokerPacket {
    match packet {
        Packet::V3_1_1Connack(it) => BrokerPacket::Connack {
            code: reason::of_connack_3(it.return_code() as u8),
            text: None,
        },
        Packet::V5_0Connack(it) => BrokerPacket::Connack {
            code: it.reason_code() as u8,
            text: reason_string(it.props()),
        },
        Packet::V3_1_1Publish(it) => BrokerPacket::Publish(PublishPacket {
            topic: it.topic_name().to_owned(),
            payload: it.payload().clone(),
            qos: qos(it.qos() as u8),
            retain: it.retain(),
            id: it.packet_id(),
            properties: Vec::new(),
        }),
        Packet::V5_0Publish(it) => BrokerPacket::Publish(PublishPacket {
            topic: it.topic_name().to_owned(),
            payload: it.payload().clone(),
            qos: qos(it.qos() as u8),
            retain: it.retain(),
            id: it.packet_id(),
            properties: it.props().clone(),
        }),
        Packet::V3_1_1Puback(it) => settled(it.packet_id(), 0, None),
        Packet::V5_0Puback(it) => {
            let code = it.reason_code().map_or(0, |code| code as u8);
            settled(it.packet_id(), code, it.props().as_deref())
        }
        Packet::V3_1_1Pubrec(it) => BrokerPacket::PubRec {
            id: it.packet_id(),
            reached: None,
        },
        Packet::V5_0Pubrec(it) => match it.reason_code().map_or(0, |code| code as u8) {
            code @ 0x80.. => settled(it.packet_id(), code, it.props().as_deref()),
            _ => BrokerPacket::PubRec {
                id: it.packet_id(),
                reached: it.props().as_deref().and_then(attributes::reached),
            },
        },
        Packet::V3_1_1Pubrel(it) => BrokerPacket::Released { id: it.packet_id() },
        Packet::V5_0Pubrel(it) => BrokerPacket::Released { id: it.packet_id() },
        Packet::V3_1_1Pubcomp(it) => settled(it.packet_id(), 0, None),
        Packet::V5_0Pubcomp(it) => settled(it.packet_id(), 0, None),
        Packet::V3_1_1Suback(it) => BrokerPacket::Suback {
            codes: it.return_codes().iter().map(|code| *code as u8).collect(),
        },
        Packet::V5_0Suback(it) => BrokerPacket::Suback {
            codes: it.reason_codes().iter().map(|code| *code as u8).collect(),
        },
        Packet::V3_1_1Pingresp(_) | Packet::V5_0Pingresp(_) => BrokerPacket::Pingresp,
        Packet::V5_0Disconnect(it) => BrokerPacket::Disconnect {
            code: it.reason_code().map_or(0, |code| code as u8),
            text: it.props().as_deref().and_then(reason_string),
        },
        _ => BrokerPacket::Other,
    }
}

fn settled(id: u16, code: u8, properties: Option<&[Property]>) -> BrokerPacket {
    BrokerPacket::Settled {
        id,
        code,
        text: properties.and_then(reason_string),
        reached: properties.and_then(attributes::reached),
    }
}

fn qos(number: u8) -> Qos {
    match number {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

/// The reason string among the properties.
fn reason_string(properties: &[Property]) -> Option<String> {
    properties.iter().find_map(|property| match property {
        Property::ReasonString(text) => Some(text.val().to_owned()),
        _ => None,
    })
}
