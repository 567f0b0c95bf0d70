//! The fixed header: the kind and length of a packet. Packets above the maximum length are refused
//! here, before they are read.

use mqtt_protocol_core::mqtt::result_code::MqttError;

use crate::wire::mqtt::fault::{Fault, reserved};

/// Maximum bytes of a packet other than a PUBLISH. Its parts are stored one by one, which takes more
/// memory than they have bytes.
const CONTROL_BYTES: usize = 1024 * 1024;

/// The flag of a packet that may have been sent before.
const DUP: u8 = 8;

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire::mqtt) struct Header {
    pub(in crate::wire::mqtt) first: u8,
    /// The length of the header.
    pub(in crate::wire::mqtt) bytes: usize,
    /// The length of the rest of the packet.
    pub(in crate::wire::mqtt) rest: usize,
}

/// The packet types, the high four bits of the first byte.
pub(in crate::wire::mqtt) mod kind {
    pub(in crate::wire::mqtt) const CONNECT: u8 = 1;
    pub(in crate::wire::mqtt) const PUBLISH: u8 = 3;
    pub(in crate::wire::mqtt) const PUBACK: u8 = 4;
    pub(in crate::wire::mqtt) const PUBREC: u8 = 5;
    pub(in crate::wire::mqtt) const PUBREL: u8 = 6;
    pub(in crate::wire::mqtt) const PUBCOMP: u8 = 7;
    pub(in crate::wire::mqtt) const SUBSCRIBE: u8 = 8;
    pub(in crate::wire::mqtt) const UNSUBSCRIBE: u8 = 10;
    pub(in crate::wire::mqtt) const PINGREQ: u8 = 12;
    pub(in crate::wire::mqtt) const DISCONNECT: u8 = 14;
    pub(in crate::wire::mqtt) const AUTH: u8 = 15;
}

impl Header {
    pub(in crate::wire::mqtt) fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The length of the whole packet.
    pub(in crate::wire::mqtt) fn size(self) -> usize {
        self.bytes + self.rest
    }

    /// Whether the length has more bytes than it needs, which MQTT 5 forbids [MQTT-1.5.5-1].
    pub(in crate::wire::mqtt) fn is_padded(self) -> bool {
        self.bytes > 2 && self.rest >> (7 * (self.bytes - 2)) == 0
    }

    /// Whether a packet other than PUBLISH is marked as sent again, as only MQTT 3.1 allows.
    pub(in crate::wire::mqtt) fn is_repeated(self) -> bool {
        self.kind() != kind::PUBLISH && self.first & DUP != 0
    }

    /// Parses the header; `None` if more bytes are needed. Packets of more than `most` bytes are
    /// refused.
    pub(in crate::wire::mqtt) fn read(bytes: &[u8], most: usize) -> Result<Option<Self>, Fault> {
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
        // Only the flags of PUBLISH have a meaning. All others are fixed, and other values make a
        // packet malformed [MQTT-2.2.2-1] [MQTT-2.2.2-2] (3.1.1) [MQTT-2.1.3-1] (5.0): PUBREL
        // [MQTT-3.6.1-1], SUBSCRIBE [MQTT-3.8.1-1], UNSUBSCRIBE [MQTT-3.10.1-1], DISCONNECT
        // [MQTT-3.14.1-1], AUTH [MQTT-3.15.1-1].
        let as_reserved = match self.kind() {
            kind::PUBLISH => true,
            kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => flags & !DUP == 2,
            _ => flags == 0,
        };
        if !as_reserved {
            return Err(reserved());
        }
        // A client of 5.0 was told this limit in CONNACK [MQTT-3.2.2-15].
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
                "a packet other than PUBLISH has more than a mebibyte; divide it",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
}
