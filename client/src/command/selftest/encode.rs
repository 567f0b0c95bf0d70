//! Encodes packets of a client, valid or invalid as a case needs them.

use super::property::Properties;
use super::version::MqttVersion;
use super::writer::FieldWriter;

pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];

/// A filter and its subscription options.
pub(crate) type FilterOptions<'a> = (&'a str, u8);

/// A packet with this first byte and this body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = FieldWriter::default();
    out.u8(first);
    out.variable(body.len() as u32);
    out.bytes(body);
    out.0
}

/// A packet with an id, no properties, and `rest` after them.
pub(crate) fn with_id(version: MqttVersion, first: u8, id: u16, rest: &[u8]) -> Vec<u8> {
    let mut body = FieldWriter::default();
    body.u16(id);
    if version == MqttVersion::V5 {
        body.u8(0);
    }
    body.bytes(rest);
    packet(first, &body.0)
}

/// A packet of MQTT 5 with a reason code and properties.
pub(crate) fn with_reason(first: u8, code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = FieldWriter::default();
    body.u8(code);
    properties.write(&mut body);
    packet(first, &body.0)
}

/// A PUBLISH with QoS 0 and no properties.
pub(crate) fn publish(version: MqttVersion, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = FieldWriter::default();
    body.data(topic);
    if version == MqttVersion::V5 {
        body.u8(0);
    }
    body.bytes(payload);
    packet(0x30, &body.0)
}

/// A PUBLISH of MQTT 5 with QoS 0, no payload, and these bytes as properties.
pub(crate) fn publish_with(topic: &str, properties: &[u8]) -> Vec<u8> {
    let mut body = FieldWriter::default();
    body.data(topic.as_bytes());
    body.variable(properties.len() as u32);
    body.bytes(properties);
    packet(0x30, &body.0)
}

pub(crate) fn subscribe(
    version: MqttVersion,
    id: u16,
    properties: &Properties,
    filters: &[FilterOptions<'_>],
) -> Vec<u8> {
    let mut body = FieldWriter::default();
    body.u16(id);
    if version == MqttVersion::V5 {
        properties.write(&mut body);
    }
    for (filter, options) in filters {
        body.data(filter.as_bytes());
        body.u8(*options);
    }
    packet(0x82, &body.0)
}

pub(crate) fn unsubscribe(version: MqttVersion, id: u16, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|filter| field(filter.as_bytes()));
    with_id(version, 0xa2, id, &filters.collect::<Vec<_>>())
}

/// Bytes or text with their length before them.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = FieldWriter::default();
    out.data(bytes);
    out.0
}
