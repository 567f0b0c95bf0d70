//! Frames: what the files of a store consist of. A header of 48 bytes with two checksums, then a body.
//!
//! `docs/storage.md` draws the bytes. Nothing here knows a file.

use crc32c::{crc32c, crc32c_append};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 48;

/// Bodies are padded with zeros, so that frames begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The version of the format that this program writes, and the newest that it reads.
const VERSION: u16 = 1;

/// Sequence numbers are below this, so that counting on from one does not overflow, whatever a file says.
pub(crate) const SEQUENCE_END: u64 = 1 << 63;

const MAGIC: [u8; 4] = *b"dllF";

/// The flag of messages that were published with RETAIN, beside the QoS.
const RETAIN: u8 = 1 << 2;

/// What the checksum of a header is masked with.
const MASK: u32 = 0xa282_ead8;

/// What the checksums of headers begin with. Each store has its own, which no publisher knows, so that what looks like a
/// frame in a payload is none. Zero is that of stores without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameSecret(pub(crate) u32);

/// What the body of a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Messages as they stand on the wire, one a line.
    Lines {
        /// That of all of them.
        qos: u8,
        /// Whether their publishers had each of them retained.
        retain: bool,
    },
    /// Changes of state, or in a snapshot the state itself: see `record`.
    State,
    /// Nothing: its entries were there, and are not needed any more.
    Removed,
    /// Nothing: how far the segment is durable, or the end of a snapshot.
    Mark,
}

/// What a header says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// The number of entries in the body, each of which has a sequence number.
    pub(crate) count: u32,
    /// The sequence number of the first.
    pub(crate) first: u64,
    /// Milliseconds since 1970, never less than in the frame before.
    pub(crate) time_ms: u64,
    /// The generation of the store that wrote it.
    pub(crate) generation: u32,
    /// Up to this offset the segment was durable when the frame was written.
    pub(crate) synced_to: u32,
    /// Bytes of the body.
    pub(crate) length: u32,
    body_checksum: u32,
}

impl FrameHeader {
    /// A header for this body, whose length is set.
    pub(crate) fn of(mut self, body: &[&[u8]]) -> Self {
        let length: usize = body.iter().map(|part| part.len()).sum();
        self.length = u32::try_from(length).expect("a body is shorter than 4 GiB");
        self.body_checksum = body
            .iter()
            .fold(0, |checksum, part| crc32c_append(checksum, part));
        self
    }

    /// A header without a body.
    pub(crate) fn new(kind: FrameKind, first: u64, count: u32) -> Self {
        Self {
            kind,
            count,
            first,
            time_ms: 0,
            generation: 0,
            synced_to: 0,
            length: 0,
            body_checksum: 0,
        }
    }

    pub(crate) fn encode(&self, secret: FrameSecret) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (kind, flags) = match self.kind {
            FrameKind::Lines { qos, retain } => (1, qos | if retain { RETAIN } else { 0 }),
            FrameKind::State => (2, 0),
            FrameKind::Removed => (3, 0),
            FrameKind::Mark => (4, 0),
        };
        bytes[0..4].copy_from_slice(&MAGIC);
        (bytes[4], bytes[5]) = (kind, flags);
        bytes[6..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.generation.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.synced_to.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = secret.checksum(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What looks like a header at the beginning of these bytes, and the secret with which it would be a sound one.
    pub(crate) fn decode_any(bytes: &[u8]) -> Option<(Self, FrameSecret)> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let (head, checksum) = bytes.split_last_chunk()?;
        let secret = FrameSecret::of(head, u32::from_le_bytes(*checksum));
        Some((Self::decode(bytes, secret)?, secret))
    }

    /// The header at the beginning of these bytes, if there is a sound one.
    pub(crate) fn decode(bytes: &[u8], secret: FrameSecret) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("in a header"));
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("in a header"));
        let is_known = bytes[..4] == MAGIC && bytes[6..8] == VERSION.to_le_bytes();
        if !is_known || word(44) != secret.checksum(&bytes[..44]) {
            return None;
        }
        let kind = match bytes[4] {
            1 => FrameKind::Lines {
                qos: bytes[5] & !RETAIN,
                retain: bytes[5] & RETAIN != 0,
            },
            2 => FrameKind::State,
            3 => FrameKind::Removed,
            4 => FrameKind::Mark,
            _ => return None,
        };
        let first = long(16);
        if first >= SEQUENCE_END {
            return None;
        }
        Some(Self {
            kind,
            length: word(8),
            count: word(12),
            first,
            time_ms: long(24),
            generation: word(32),
            synced_to: word(36),
            body_checksum: word(40),
        })
    }

    /// Bytes of the whole frame in its file.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + padded(self.length as usize)
    }

    /// The sequence number behind its entries.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// A frame that is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogFrame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
}

impl<'a> LogFrame<'a> {
    /// The frame at the beginning of these bytes, if it is whole and both checksums are right.
    pub(crate) fn at(bytes: &'a [u8], secret: FrameSecret) -> Option<Self> {
        let header = FrameHeader::decode(bytes, secret)?;
        let body = bytes.get(HEADER_BYTES..)?.get(..header.length as usize)?;
        (crc32c(body) == header.body_checksum).then_some(Self { header, body })
    }

    /// The same for a frame that has been found sound, whose body is not looked at again.
    pub(crate) fn checked_before(bytes: &'a [u8], secret: FrameSecret) -> Option<Self> {
        let header = FrameHeader::decode(bytes, secret)?;
        let body = bytes.get(HEADER_BYTES..)?.get(..header.length as usize)?;
        Some(Self { header, body })
    }

    /// Whether there is a sound header at or behind an offset whose entries do not come before this number; its body
    /// may be torn.
    pub(crate) fn has_header(bytes: &[u8], from: usize, next: u64, secret: FrameSecret) -> bool {
        let starts = (from.next_multiple_of(ALIGNMENT)..bytes.len()).step_by(ALIGNMENT);
        let mut headers = starts
            .filter(|&at| bytes[at..].starts_with(&MAGIC))
            .filter_map(|at| FrameHeader::decode(&bytes[at..], secret));
        headers.any(|header| header.first >= next)
    }

    /// The first frame behind a hole whose sequence number can follow: where it begins, and that number.
    pub(crate) fn next_behind(
        bytes: &'a [u8],
        mut from: usize,
        next: u64,
        secret: FrameSecret,
    ) -> Option<(usize, u64)> {
        loop {
            let (at, frame) = Self::find(bytes, from + 1, secret)?;
            if frame.header.first >= next {
                return Some((at, frame.header.first));
            }
            from = at;
        }
    }

    /// The first sound frame at or behind an offset, and where it begins.
    pub(crate) fn find(bytes: &'a [u8], from: usize, secret: FrameSecret) -> Option<(usize, Self)> {
        let starts = (from.next_multiple_of(ALIGNMENT)..bytes.len()).step_by(ALIGNMENT);
        starts
            .filter(|&at| bytes[at..].starts_with(&MAGIC))
            .find_map(|at| Some((at, Self::at(&bytes[at..], secret)?)))
    }
}

/// Gives each frame in these bytes the checksums of what it has, so that a fuzzer comes behind them.
#[cfg(fuzzing)]
pub(crate) fn seal(bytes: &mut [u8], secret: FrameSecret) {
    for at in (0..bytes.len()).step_by(ALIGNMENT) {
        let Some(frame) = bytes[at..].strip_prefix(&MAGIC) else {
            continue;
        };
        let Some(length) = frame.get(4..).and_then(|rest| rest.first_chunk()) else {
            continue;
        };
        let length = u32::from_le_bytes(*length) as usize;
        let body = bytes[at..]
            .get(HEADER_BYTES..)
            .and_then(|body| body.get(..length));
        if let Some(body) = body.map(crc32c) {
            bytes[at + 40..at + 44].copy_from_slice(&body.to_le_bytes());
        }
        if at + HEADER_BYTES <= bytes.len() {
            let header = secret.checksum(&bytes[at..at + 44]);
            bytes[at + 44..at + 48].copy_from_slice(&header.to_le_bytes());
        }
    }
}

/// The bytes that a body of this length takes.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

impl FrameSecret {
    /// The checksum of a header. It is masked, so that zeros are never a header.
    fn checksum(self, head: &[u8]) -> u32 {
        let checksum = crc32c_append(self.0, head);
        checksum.rotate_right(15).wrapping_add(MASK)
    }

    /// The one with which this checksum is right.
    fn of(head: &[u8], checksum: u32) -> Self {
        /// That of CRC-32C, its bits in the order in which the checksum has them.
        const POLYNOMIAL: u32 = 0x82f6_3b78;
        // Each step of a checksum can be gone back: the polynomial was added if the highest bit is set, which no shift sets.
        let mut register = !checksum.wrapping_sub(MASK).rotate_left(15);
        for &byte in head.iter().rev() {
            for _ in 0..8 {
                register = match register >> 31 {
                    0 => register << 1,
                    _ => (register ^ POLYNOMIAL) << 1 | 1,
                };
            }
            register ^= u32::from(byte);
        }
        Self(!register)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: FrameSecret = FrameSecret(0x5ea1_5ea1);

    fn frame(first: u64, body: &[u8]) -> Vec<u8> {
        let header = FrameHeader::new(FrameKind::State, first, 1).of(&[body]);
        let mut bytes = header.encode(SECRET).to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(header.frame_bytes(), 0);
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let header = FrameHeader {
            time_ms: 5,
            generation: 6,
            synced_to: 7,
            ..FrameHeader::new(FrameKind::State, SEQUENCE_END - 8, 3)
        };
        let header = header.of(&[b"ab", b"", b"c"]);
        let mut bytes = header.encode(SECRET).to_vec();
        bytes.extend_from_slice(b"abc");
        let frame = LogFrame::at(&bytes, SECRET).expect("a frame");
        assert_eq!((frame.header, frame.body), (header, &b"abc"[..]));
        assert_eq!((header.frame_bytes(), header.end()), (56, SEQUENCE_END - 5));
        assert_eq!(
            frame.header.of(&[b"abc"]),
            header,
            "parts and whole have one checksum"
        );
    }

    #[test]
    fn no_bit_can_change_without_notice() {
        let bytes = frame(9, b"some bytes");
        let sound = HEADER_BYTES + b"some bytes".len();
        for bit in 0..sound * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // Byte 5 and the version are under the checksum as well.
            assert_eq!(LogFrame::at(&changed, SECRET), None, "bit {bit}");
        }
        for len in 0..sound {
            assert_eq!(LogFrame::at(&bytes[..len], SECRET), None, "{len} bytes");
        }
        assert_eq!(LogFrame::at(&[0; 100], SECRET), None);
    }

    #[test]
    fn frames_are_found_behind_anything() {
        let mut bytes = vec![7; 24];
        bytes.extend_from_slice(&MAGIC);
        bytes.resize(40, 0);
        bytes.extend(frame(3, b"x"));
        let (at, found) = LogFrame::find(&bytes, 1, SECRET).expect("a frame");
        assert_eq!((at, found.header.first), (40, 3));
        assert!(LogFrame::find(&bytes, 41, SECRET).is_none());
        assert!(LogFrame::find(&bytes, 1000, SECRET).is_none());
    }

    /// As brokers have written it that had no secret.
    const WITHOUT_SECRET: [u8; 64] = [
        0x64, 0x6c, 0x6c, 0x46, 0x01, 0x01, 0x01, 0x00, 0x10, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
        0x00, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01,
        0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x30, 0x00, 0x00, 0x00, 0x85, 0x52, 0x53, 0x64, 0x16,
        0x67, 0xcb, 0xa4, 0x4d, 0x45, 0x53, 0x53, 0x41, 0x47, 0x45, 0x20, 0x6e, 0x65, 0x77, 0x73,
        0x20, 0x68, 0x69, 0x0a,
    ];

    #[test]
    fn a_store_without_a_secret_has_the_checksums_that_it_had() {
        let frame = LogFrame::at(&WITHOUT_SECRET, FrameSecret(0)).expect("a frame");
        assert_eq!(frame.body, b"MESSAGE news hi\n");
        let header = FrameHeader {
            time_ms: 1_700_000_000_000,
            generation: 2,
            synced_to: 48,
            ..FrameHeader::new(
                FrameKind::Lines {
                    qos: 1,
                    retain: false,
                },
                42,
                1,
            )
        };
        let header = header.of(&[frame.body]);
        assert_eq!(frame.header, header);
        assert_eq!(header.encode(FrameSecret(0)), WITHOUT_SECRET[..48]);
    }

    #[test]
    fn a_frame_with_another_secret_is_none() {
        let mut bytes = WITHOUT_SECRET.to_vec();
        bytes.extend(frame(43, b"x"));
        let found = LogFrame::find(&bytes, 0, SECRET).expect("a frame");
        assert_eq!((found.0, found.1.header.first), (64, 43));
        for bit in 0..32 {
            let other = FrameSecret(SECRET.0 ^ 1 << bit);
            assert!(LogFrame::find(&bytes, 0, other).is_none());
            assert!(!LogFrame::has_header(&bytes, 0, 0, other));
            assert!(LogFrame::checked_before(&bytes[64..], other).is_none());
        }
    }

    #[test]
    fn a_header_leads_back_to_its_secret() {
        for secret in [0, 1, SECRET.0, u32::MAX].map(FrameSecret) {
            let header = FrameHeader::new(FrameKind::State, 9, 1).of(&[b"some bytes"]);
            let bytes = header.encode(secret);
            assert_eq!(FrameHeader::decode_any(&bytes), Some((header, secret)));
        }
        assert_eq!(FrameHeader::decode_any(&[0; HEADER_BYTES]), None);
    }
}
