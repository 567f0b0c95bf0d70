//! PUBLISH and PUBREL for one connection: its version, its longest packet, its topic aliases.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use protocol::MessageLine;

use super::Version;
use super::message::{self, Extra, Plain};
use super::packet::kind;
use super::reply;
use crate::engine::outbox::delivery::writer::{Details, PacketWriter, Written};

/// The limits that a client states in CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) version: Version,
    /// Maximum unacknowledged messages at QoS 1 and 2 [MQTT-3.3.4-9].
    pub(super) receive_maximum: u16,
    /// Maximum bytes of a packet; none for no limit [MQTT-3.1.2-24].
    pub(super) packet_bytes: Option<u32>,
    /// Maximum topic aliases [MQTT-3.1.2-26].
    pub(super) aliases: u16,
}

/// Writes packets for the client of one connection.
pub(super) struct ConnectionWriter {
    limits: ClientLimits,
    /// Topic aliases assigned so far; they end with the connection [MQTT-3.3.2-7].
    aliases: HashMap<Box<str>, u16, RandomState>,
    gap_topic: Option<Box<str>>,
}

impl ConnectionWriter {
    pub(super) fn new(client_id: &str, limits: ClientLimits) -> Self {
        // A client of MQTT 5 is told of a gap in a property of the next message.
        let gap_topic = (limits.version == Version::V3)
            .then(|| format!("$SYS/gap/{}", protocol::encode_spaces(client_id)).into());
        Self {
            limits,
            aliases: HashMap::default(),
            gap_topic,
        }
    }

    /// The alias of a topic, and whether it is new to the client.
    fn alias(&mut self, topic: &str) -> Option<(u16, bool)> {
        if let Some(&alias) = self.aliases.get(topic) {
            return Some((alias, false));
        }
        let count = self.aliases.len() as u16;
        // [MQTT-3.1.2-26] [MQTT-3.1.2-27].
        if count >= self.limits.aliases {
            return None;
        }
        // Aliases range from one to the client's maximum [MQTT-3.3.2-11].
        self.aliases.insert(topic.into(), count + 1);
        Some((count + 1, true))
    }

    fn is_too_long(&self, len: usize) -> bool {
        let max = self.limits.packet_bytes;
        max.is_some_and(|max| len > max as usize)
    }

    /// Most messages have no attributes, and most clients take no aliases.
    fn write_plain(&self, plain: &Plain<'_>, details: &Details<'_>, out: &mut Vec<u8>) -> Written {
        let start = out.len();
        plain.write(out, self.limits.version, extra(details, None));
        if self.is_too_long(out.len() - start) {
            out.truncate(start);
            return Written::TooLong;
        }
        Written::Yes
    }
}

impl PacketWriter for ConnectionWriter {
    fn is_plain(&self) -> bool {
        self.limits.packet_bytes.is_none() && self.limits.aliases == 0
    }

    fn max_in_flight(&self) -> usize {
        self.limits.receive_maximum.into()
    }

    fn write(&mut self, line: &[u8], details: &Details<'_>, out: &mut Vec<u8>) -> Written {
        if self.limits.aliases == 0
            && details.identifiers.is_empty()
            && details.gap == 0
            && let Some(plain) = Plain::of(line)
        {
            return self.write_plain(&plain, details, out);
        }
        let Some(message_line) = MessageLine::decode(line) else {
            return Written::TooLong;
        };
        let start = out.len();
        let alias = self.alias(message_line.topic.as_str());
        message::write_publish(
            out,
            self.limits.version,
            &message_line,
            extra(details, alias),
        );
        let is_new = alias.is_some_and(|(_, is_new)| is_new);
        if self.is_too_long(out.len() - start) {
            out.truncate(start);
            if is_new {
                // The packet was not sent, so the client does not know the alias.
                self.aliases.remove(message_line.topic.as_str());
            }
            return Written::TooLong;
        }
        if is_new {
            Written::Pinned
        } else {
            Written::Yes
        }
    }

    fn write_release(&mut self, id: u16, out: &mut Vec<u8>) {
        reply::ack(out, kind::PUBREL, id, 0);
    }

    fn gap_topic(&self) -> Option<&str> {
        self.gap_topic.as_deref()
    }
}

fn extra<'a>(details: &Details<'a>, alias: Option<(u16, bool)>) -> Extra<'a> {
    Extra {
        dup: details.dup,
        qos: details.qos,
        retain: details.retain,
        id: details.id,
        identifiers: details.identifiers,
        gap: details.gap,
        waited: details.waited_s,
        alias,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"MESSAGE a/b hi\n";

    fn writer(aliases: u16, packet_bytes: Option<u32>) -> ConnectionWriter {
        let limits = ClientLimits {
            version: Version::V5,
            receive_maximum: 10,
            packet_bytes,
            aliases,
        };
        ConnectionWriter::new("ann", limits)
    }

    fn written(writer: &mut ConnectionWriter) -> (Written, Vec<u8>) {
        let mut out = Vec::new();
        let written = writer.write(LINE, &Details::default(), &mut out);
        (written, out)
    }

    #[test]
    fn a_topic_is_sent_once_where_the_client_takes_aliases() {
        let mut writer = writer(1, None);
        let (first, packet) = written(&mut writer);
        assert_eq!(first, Written::Pinned);
        assert_eq!(packet, b"0\x0b\x00\x03a/b\x03\x23\x00\x01hi");
        let (second, packet) = written(&mut writer);
        assert_eq!(second, Written::Yes);
        assert_eq!(packet, b"0\x08\x00\x00\x03\x23\x00\x01hi");
    }

    #[test]
    fn what_is_too_long_leaves_neither_bytes_nor_an_alias() {
        let mut writer = writer(1, Some(12));
        let (first, packet) = written(&mut writer);
        assert_eq!((first, packet), (Written::TooLong, Vec::new()));
        assert!(writer.aliases.is_empty());
        writer.limits.packet_bytes = Some(13);
        assert_eq!(written(&mut writer).0, Written::Pinned);
    }

    #[test]
    fn only_what_is_the_same_for_all_clients_is_plain() {
        assert!(writer(0, None).is_plain());
        assert!(!writer(1, None).is_plain());
        assert!(!writer(0, Some(100)).is_plain());
    }

    #[test]
    fn only_clients_of_3_1_1_have_a_topic_for_gaps() {
        assert_eq!(writer(0, None).gap_topic(), None);
        let limits = ClientLimits {
            version: Version::V3,
            ..writer(0, None).limits
        };
        let writer = ConnectionWriter::new("ann 1", limits);
        assert_eq!(writer.gap_topic(), Some(r"$SYS/gap/ann\s1"));
    }
}
