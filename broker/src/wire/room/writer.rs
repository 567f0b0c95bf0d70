//! Messages as lines of text for one member.

use memchr::{memchr, memchr_iter, memrchr};
use protocol::MessageLine;

use super::text;
use crate::engine::outbox::delivery::writer::{Details, PacketWriter, Written};
use crate::engine::outbox::encoder::Encoder;

/// The encoder of a room. Only a [`RoomWriter`] writes messages.
pub(crate) const ENCODER: Encoder = Encoder {
    wire: "room",
    encode: None,
    answer: None,
    gap: text::missing,
    receipt: |_| Vec::new(),
    first: |lines| memchr(b'\n', lines).map_or(lines.len(), |at| at + 1),
    fitting: |lines, room| memrchr(b'\n', &lines[..room]).map_or(0, |at| at + 1),
    count: |lines| memchr_iter(b'\n', lines).count() as u64,
    topic: |_| b"",
    goodbye: b"* the broker stops; come again later\n",
    kicked: b"* the operator has ended your connection\n",
    auth_ended: b"",
    withdrawn: None,
    auth_ends_soon: b"",
    moves_when_told: false,
    taken_over: b"",
};

/// Writes messages for a member.
pub(super) struct RoomWriter {
    /// Maximum bytes of a line with its end.
    pub(super) line_bytes: usize,
}

impl PacketWriter for RoomWriter {
    fn is_plain(&self) -> bool {
        false
    }

    fn max_in_flight(&self) -> usize {
        0
    }

    /// Gaps are told by the encoder's own notice, never in a message.
    fn write(&mut self, line: &[u8], _: &Details<'_>, out: &mut Vec<u8>) -> Written {
        let Some(message) = MessageLine::decode(line) else {
            return Written::TooLong;
        };
        let mut heard = text::heard(&message.payload.unescape());
        text::cut(&mut heard, self.line_bytes - 1);
        out.extend_from_slice(heard.as_bytes());
        out.push(b'\n');
        Written::Yes
    }

    fn write_release(&mut self, _: u16, _: &mut Vec<u8>) {}
}
