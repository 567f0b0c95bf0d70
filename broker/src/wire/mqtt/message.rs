//! Converts messages between MQTT packets and the engine's lines of the line protocol.
//!
//! `docs/mqtt.md` has the mapping. What one protocol cannot express is left out for its clients; a
//! message between MQTT clients loses nothing.

use std::ops::Range;

use memchr::{memchr, memchr_iter};
use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MessageExpiryInterval, PayloadFormat, PayloadFormatIndicator,
    Properties, Property, ResponseTopic, SubscriptionIdentifier, TopicAlias, UserProperty,
};
use protocol::{
    Attributes, Escaped, ID, MessageLine, REPLY, RETAIN, RETAINED, TTL, decode_spaces_bytes,
    encode_spaces,
};

use super::Version;
use crate::engine::outbox::run::MESSAGE;

/// The content type.
pub(super) const TYPE: &str = "type";

/// The payload is text, as a flag. With the value 0 its publisher said that it is bytes.
pub(super) const UTF8: &str = "utf8";

/// A user property whose key is no valid attribute key, or one of those above.
pub(super) const USER: &str = "user";

const KNOWN: [&str; 8] = [RETAIN, RETAINED, REPLY, ID, TYPE, TTL, UTF8, USER];

/// Maximum bytes of a string or binary data.
const MOST_BYTES: usize = 65_535;

/// Writes the line of a message without attributes; returns the range of its topic.
pub(super) fn write_line(line: &mut Vec<u8>, topic: &str, payload: &[u8]) -> Range<usize> {
    line.extend_from_slice(MESSAGE);
    let start = line.len();
    line.extend_from_slice(topic.as_bytes());
    let end = line.len();
    if !payload.is_empty() {
        line.push(b' ');
        line.extend_from_slice(Escaped::escape(payload).as_line());
    }
    line.push(b'\n');
    start..end
}

/// The attributes before the verb of a line, for these properties.
pub(super) fn attributes(properties: &Properties) -> Attributes<'static> {
    let mut attributes = Attributes::default();
    let push = |attributes: &mut Attributes<'_>, key: &str, value: &[u8]| {
        // Only valid keys get here.
        let _ = attributes.push(key, value);
    };
    // In order, because the order of user properties is kept, from the publisher on and in a will
    // [MQTT-3.3.2-18] [MQTT-3.1.3-10].
    for property in properties {
        match property {
            Property::ResponseTopic(topic) => push(
                &mut attributes,
                REPLY,
                encode_spaces(topic.val()).as_bytes(),
            ),
            Property::CorrelationData(data) => push(&mut attributes, ID, data.val()),
            Property::ContentType(text) => push(&mut attributes, TYPE, text.val().as_bytes()),
            Property::MessageExpiryInterval(seconds) => {
                push(&mut attributes, TTL, seconds.val().to_string().as_bytes());
            }
            Property::PayloadFormatIndicator(format) => match format.val() {
                0 => push(&mut attributes, UTF8, b"0"),
                _ => {
                    let _ = attributes.push_flag(UTF8);
                }
            },
            Property::UserProperty(pair) => {
                let (key, value) = (pair.key(), pair.val());
                if is_key(key) && !KNOWN.contains(&key) {
                    push(&mut attributes, key, value.as_bytes());
                } else {
                    push(
                        &mut attributes,
                        USER,
                        format!("{}={value}", escaped_key(key)).as_bytes(),
                    );
                }
            }
            _ => {}
        }
    }
    attributes
}

fn is_key(key: &str) -> bool {
    let may = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !key.is_empty() && key.bytes().all(may)
}

/// `=` ends the key in the value of a `user` attribute.
fn escaped_key(key: &str) -> String {
    key.replace('%', "%25").replace('=', "%3D")
}

fn meant_key(key: &str) -> String {
    key.replace("%3D", "=").replace("%25", "%")
}

/// A message without attributes, as nearly every one is, parsed without checks: lines in the engine are
/// valid.
pub(super) struct Plain<'a> {
    /// As spelled in the line.
    pub(super) topic: &'a [u8],
    payload: Escaped<'a>,
}

impl<'a> Plain<'a> {
    /// Parses a line, with or without its line end; `None` if it has attributes.
    #[inline]
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(MESSAGE)?;
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        let (topic, payload) = match memchr(b' ', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &b""[..]),
        };
        let payload = Escaped::from_line(payload);
        Some(Self { topic, payload })
    }

    /// Writes a PUBLISH without a topic alias.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, version: Version, extra: Extra<'_>) {
        let properties = match version {
            Version::V3 => None,
            Version::V5 => Some(&b""[..]),
        };
        let topic = decode_spaces_bytes(self.topic);
        write_parts(out, extra, &topic, properties, &self.payload.unescape());
    }
}

/// The properties of a message for one client.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra<'a> {
    pub(super) dup: bool,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// The packet identifier, at QoS 1 and 2.
    pub(super) id: u16,
    pub(super) identifiers: &'a [u32],
    /// Number of messages dropped before it.
    pub(super) gap: u64,
    /// Seconds that the message has waited.
    pub(super) waited: u32,
    /// The topic alias, and whether it is new to the client.
    pub(super) alias: Option<(u16, bool)>,
}

/// Writes a PUBLISH.
pub(super) fn write_publish(
    out: &mut Vec<u8>,
    version: Version,
    message: &MessageLine<'_>,
    extra: Extra<'_>,
) {
    let name = decode_spaces_bytes(message.topic.as_str().as_bytes());
    let name = match extra.alias {
        Some((_, false)) => &b""[..],
        _ => &name,
    };
    let payload = message.payload.unescape();
    let properties = match version {
        Version::V3 => None,
        Version::V5 => Some(property_bytes(&message.attributes, extra)),
    };
    write_parts(out, extra, name, properties.as_deref(), &payload);
}

fn write_parts(
    out: &mut Vec<u8>,
    extra: Extra<'_>,
    topic: &[u8],
    properties: Option<&[u8]>,
    payload: &[u8],
) {
    // At QoS 0 there is no packet identifier [MQTT-2.3.1-5] (3.1.1) [MQTT-2.2.1-2] (5.0).
    let id_bytes = if extra.qos > 0 { 2 } else { 0 };
    let properties_bytes = properties.map_or(0, |bytes| varint_bytes(bytes.len()) + bytes.len());
    let rest = 2 + topic.len() + id_bytes + properties_bytes + payload.len();
    out.reserve(5 + rest);
    // DUP is decided by the session for this client's copy, never copied from the publisher's packet
    // [MQTT-3.3.1-3]; at QoS 0 it is not set [MQTT-3.3.1-2].
    let first = 0x30 | u8::from(extra.dup) << 3 | extra.qos << 1 | u8::from(extra.retain);
    out.push(first);
    push_varint(out, rest);
    // The topic is the one it was published on, so it matches the filter for which it is sent
    // [MQTT-3.3.2-3]. No topic of the engine is longer than 65,535 bytes.
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic);
    if extra.qos > 0 {
        out.extend_from_slice(&extra.id.to_be_bytes());
    }
    if let Some(properties) = properties {
        // The length is present even without properties [MQTT-2.2.2-1].
        push_varint(out, properties.len());
        out.extend_from_slice(properties);
    }
    out.extend_from_slice(payload);
}

/// The properties of a message for one client, without their length.
fn property_bytes(attributes: &Attributes<'_>, extra: Extra<'_>) -> Vec<u8> {
    let mut properties = Properties::new();
    if !attributes.is_empty() {
        push_attributes(&mut properties, attributes, extra.waited);
    }
    if extra.gap > 0
        && let Ok(pair) = UserProperty::new("gap", extra.gap.to_string())
    {
        properties.push(pair.into());
    }
    // One copy for several subscriptions has the identifiers of all [MQTT-3.3.4-4].
    for &identifier in extra.identifiers {
        properties.extend(SubscriptionIdentifier::new(identifier).map(Property::from));
    }
    if let Some((alias, _)) = extra.alias {
        properties.extend(TopicAlias::new(alias).map(Property::from));
    }
    let written = properties.iter().map(Property::to_continuous_buffer);
    written.collect::<Vec<_>>().concat()
}

/// Text that is not UTF-8, or too long, cannot be expressed in MQTT and is left out. All else arrives
/// as it was sent: payload format indicator [MQTT-3.3.2-4], response topic [MQTT-3.3.2-15], correlation
/// data [MQTT-3.3.2-16], user properties [MQTT-3.3.2-17] in their order [MQTT-3.3.2-18], content type
/// [MQTT-3.3.2-20].
fn push_attributes(properties: &mut Properties, attributes: &Attributes<'_>, waited: u32) {
    let mut seen = [false; 5];
    for (key, value) in attributes.iter() {
        let value = value.unwrap_or_default();
        let text = str::from_utf8(&value).ok();
        let text = text.filter(|text| text.len() <= MOST_BYTES && !text.contains('\0'));
        let mut first = |at: usize| !std::mem::replace(&mut seen[at], true);
        let property: Option<Property> = match key {
            RETAIN | RETAINED => None,
            REPLY if first(0) => text.and_then(response_topic),
            ID if value.len() <= MOST_BYTES && first(1) => {
                CorrelationData::new(value.to_vec()).ok().map(Into::into)
            }
            TYPE if first(2) => text.and_then(|text| ContentType::new(text).ok().map(Into::into)),
            TTL if first(3) => text
                .and_then(|text| text.parse().ok())
                .and_then(|ttl: u32| {
                    // [MQTT-3.3.2-6].
                    let left = ttl.saturating_sub(waited);
                    MessageExpiryInterval::new(left).ok().map(Into::into)
                }),
            UTF8 if matches!(&*value, b"" | b"0") && first(4) => {
                let format = match value.is_empty() {
                    true => PayloadFormat::String,
                    false => PayloadFormat::Binary,
                };
                PayloadFormatIndicator::new(format).ok().map(Into::into)
            }
            USER => text
                .and_then(|text| text.split_once('='))
                .and_then(|(key, value)| {
                    UserProperty::new(meant_key(key), value)
                        .ok()
                        .map(Into::into)
                }),
            _ => text.and_then(|text| UserProperty::new(key, text).ok().map(Into::into)),
        };
        properties.extend(property);
    }
}

fn response_topic(written: &str) -> Option<Property> {
    let name = decode_spaces_bytes(written.as_bytes());
    let name = str::from_utf8(&name).ok()?;
    if name.is_empty() || name.contains(['+', '#']) {
        return None;
    }
    ResponseTopic::new(name).ok().map(Into::into)
}

/// PUBLISH packets at QoS 0 without DUP for lines [MQTT-4.3.1-1], the same for all clients of the
/// version without special options.
pub(super) fn encode(lines: &[u8], version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len());
    let is_literal = memchr(b'\\', lines).is_none();
    let mut last: Option<Alike<'_>> = None;
    let mut start = 0;
    for end in memchr_iter(b'\n', lines) {
        let line = &lines[start..end];
        start = end + 1;
        if let Some(last) = &last
            && last.len == line.len()
            && let Some(payload) = line.strip_prefix(last.head)
        {
            out.extend_from_within(last.written.clone());
            out.extend_from_slice(payload);
            continue;
        }
        let begin = out.len();
        let Some(plain) = Plain::of(line) else {
            last = None;
            encode_attributed(&mut out, line, version);
            continue;
        };
        plain.write(&mut out, version, Extra::default());
        last = is_literal.then(|| {
            let payload = plain.payload.as_line().len();
            Alike {
                len: line.len(),
                head: &line[..line.len() - payload],
                written: begin..out.len() - payload,
            }
        });
    }
    out
}

/// The common beginning of messages with one length on one topic, which busy publishers send in
/// sequence.
struct Alike<'a> {
    len: usize,
    /// The line up to the payload.
    head: &'a [u8],
    /// The same bytes of a packet, once one has been written.
    written: Range<usize>,
}

// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
fn encode_attributed(out: &mut Vec<u8>, line: &[u8], version: Version) {
    if let Some(message) = MessageLine::decode(line) {
        let extra = Extra {
            retain: message.attributes.contains(RETAINED),
            ..Extra::default()
        };
        write_publish(out, version, &message, extra);
    }
}

/// The length of the first packet.
pub(super) fn first_packet(packets: &[u8]) -> usize {
    let (mut rest, mut at) = (0, 1);
    while let Some(&byte) = packets.get(at) {
        rest |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 || at > 4 {
            break;
        }
    }
    (at + rest).min(packets.len().max(1))
}

/// The number of bytes of whole packets that fit into `room` bytes.
pub(super) fn fitting_packets(packets: &[u8], room: usize) -> usize {
    let mut end = 0;
    while end < packets.len() {
        let next = end + first_packet(&packets[end..]);
        if next > room {
            break;
        }
        end = next;
    }
    end
}

pub(super) fn count_packets(packets: &[u8]) -> u64 {
    let (mut at, mut count) = (0, 0);
    while at < packets.len() {
        at += first_packet(&packets[at..]);
        count += 1;
    }
    count
}

pub(super) fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn varint_bytes(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::Arc;
    use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1, v5_0};
    use proptest::prelude::*;

    use super::*;

    fn line(topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        write_line(&mut line, &encode_spaces(topic), payload);
        line
    }

    proptest! {
        #[test]
        fn what_lines_become_is_what_the_library_reads(
            topic in "[a-z /\\\\]{1,20}",
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let line = line(&topic, &payload);
            for version in [Version::V3, Version::V5] {
                let packets = encode(&line.repeat(3), version);
                let first = first_packet(&packets);
                prop_assert_eq!(first * 3, packets.len());
                prop_assert_eq!(count_packets(&packets), 3);
                prop_assert_eq!(fitting_packets(&packets, packets.len() - 1), first * 2);
                prop_assert_eq!(fitting_packets(&packets, first - 1), 0);
                let head = if packets[1] < 0x80 { 2 } else { 3 };
                let body: Arc<[u8]> = packets[head..first].into();
                let (name, came, qos) = match version {
                    Version::V3 => {
                        let (packet, _) = v3_1_1::Publish::parse(packets[0] & 15, body).expect("it is one");
                        (packet.topic_name().to_owned(), packet.payload().as_slice().to_vec(), packet.qos())
                    }
                    Version::V5 => {
                        let (packet, _) = v5_0::Publish::parse(packets[0] & 15, body).expect("it is one");
                        (packet.topic_name().to_owned(), packet.payload().as_slice().to_vec(), packet.qos())
                    }
                };
                prop_assert_eq!(&name, &topic);
                prop_assert_eq!(&came, &payload);
                prop_assert_eq!(qos, Qos::AtMostOnce);
            }
        }

        #[test]
        fn many_lines_become_what_each_becomes_by_itself(
            messages in prop::collection::vec(("[ab ]", prop::collection::vec(b'[' ..= b']', 0..3)), 0..20),
        ) {
            let lines = messages.iter().map(|(topic, payload)| line(topic, payload));
            let lines: Vec<Vec<u8>> = lines.collect();
            for version in [Version::V3, Version::V5] {
                let each: Vec<_> = lines.iter().map(|line| encode(line, version)).collect();
                prop_assert_eq!(encode(&lines.concat(), version), each.concat());
            }
        }

        #[test]
        fn user_properties_come_back_whatever_their_keys(key in "[^\0]{0,20}", value in "[^\0]{0,20}") {
            let pair = UserProperty::new(key.clone(), value.clone()).expect("it is short");
            let properties = vec![Property::from(pair)];
            let attributes = attributes(&properties);
            let written = property_bytes(&attributes, Extra::default());
            prop_assert_eq!(written, properties[0].to_continuous_buffer());
        }
    }
}
