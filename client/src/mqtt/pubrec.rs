//! Makes a PUBREC of a message without subscribers one that the library understands.
//!
//! The code 0x10 accepts a message as 0x00 does `[MQTT-3.5.2-1]`, but `mqtt-protocol-core` 0.7.9 takes each code besides
//! 0x00 for a refusal: it frees the packet identifier, and the PUBREL that has to follow is an error to it.

/// The first byte of a PUBREC, without its flags.
const PUBREC: u8 = 0x50;

/// The codes that accept a message, besides success. Those from the end on refuse it.
const ACCEPTING: std::ops::Range<u8> = 0x01..0x80;

/// A remaining length has at most four bytes of seven bits.
const MAX_LENGTH_BITS: u32 = 28;

/// Where the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// The first byte of a packet.
    #[default]
    Kind,
    /// The remaining length; how much of it is known.
    Length { value: usize, bits: u32 },
    /// The rest of a packet; how many bytes of it have come, and how many are missing.
    Body { come: usize, left: usize },
    /// Behind a packet that has no end.
    Nowhere,
}

/// Finds these packets in the bytes from a broker of MQTT 5, which may come in any pieces.
#[derive(Debug, Default)]
pub(super) struct PubRecs {
    place: Place,
    is_pubrec: bool,
    id: [u8; 2],
}

impl PubRecs {
    /// Turns the codes in these bytes into success. `accepted` is told the packet identifier and the code of each.
    pub(super) fn pass(&mut self, bytes: &mut [u8], mut accepted: impl FnMut(u16, u8)) {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first_mut() {
            let (next, skipped) = match self.place {
                Place::Kind => {
                    self.is_pubrec = *first & 0xf0 == PUBREC;
                    (Place::Length { value: 0, bits: 0 }, 0)
                }
                Place::Length { value, bits } => (after_length(*first, value, bits), 0),
                Place::Body { come, left } => {
                    let skipped = match (self.is_pubrec, come) {
                        (true, 0 | 1) => {
                            self.id[come] = *first;
                            0
                        }
                        (true, 2) if ACCEPTING.contains(first) => {
                            accepted(u16::from_be_bytes(self.id), std::mem::take(first));
                            0
                        }
                        _ => behind.len().min(left - 1),
                    };
                    (body(come + 1 + skipped, left - 1 - skipped), skipped)
                }
                Place::Nowhere => return,
            };
            self.place = next;
            rest = &mut behind[skipped..];
        }
    }
}

/// The place behind a byte of a remaining length.
fn after_length(byte: u8, value: usize, bits: u32) -> Place {
    let value = value | usize::from(byte & 0x7f) << bits;
    match (byte & 0x80, bits + 7) {
        (0, _) => body(0, value),
        (_, MAX_LENGTH_BITS) => Place::Nowhere,
        (_, bits) => Place::Length { value, bits },
    }
}

fn body(come: usize, left: usize) -> Place {
    match left {
        0 => Place::Kind,
        left => Place::Body { come, left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, and what was told of it, is the same however the bytes come in.
    #[track_caller]
    fn check(bytes: &[u8], expected: &[u8], told: &[(u16, u8)]) {
        for size in 1..=bytes.len() {
            let (mut pubrecs, mut came, mut out) = (PubRecs::default(), Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                let mut piece = piece.to_vec();
                pubrecs.pass(&mut piece, |id, code| came.push((id, code)));
                out.extend(piece);
            }
            assert_eq!((&*out, &*came), (expected, told), "{size} at once");
        }
    }

    #[test]
    fn a_pubrec_without_subscribers_is_one_that_accepts() {
        check(
            b"\x50\x03\x01\x02\x10\x50\x04\x00\x07\x10\x00\xd0\x00",
            b"\x50\x03\x01\x02\x00\x50\x04\x00\x07\x00\x00\xd0\x00",
            &[(0x0102, 0x10), (7, 0x10)],
        );
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let long = [&b"\x30\x80\x01\x00\x01a\x00"[..], &[0x50; 124]].concat();
        for bytes in [
            &b"\x50\x02\x00\x01"[..],
            b"\x50\x03\x00\x01\x00\x50\x03\x00\x01\x97",
            b"\x40\x03\x00\x01\x10\x70\x03\x00\x01\x10",
            &long,
            // A length that has no end.
            b"\x50\xff\xff\xff\xff\x50\x03\x00\x01\x10",
        ] {
            check(bytes, bytes, &[]);
        }
    }
}
