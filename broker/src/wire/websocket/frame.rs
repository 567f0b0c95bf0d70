//! Frames of a client (RFC 6455 §5.2): parses the head, and removes the mask of the payload.
//!
//! Rules about the head of one frame are checked here; rules about the sequence of frames, in `tunnel`.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, OpCode};

/// Maximum payload bytes of a control frame.
pub(super) const CONTROL_BYTES: u64 = 125;

/// A rule that the client has broken, and the close code for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Violation {
    pub(super) code: CloseCode,
    pub(super) why: &'static str,
}

pub(super) fn rule(why: &'static str) -> Violation {
    Violation {
        code: CloseCode::Protocol,
        why,
    }
}

/// A valid head of a frame.
pub(super) struct FrameHead {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    /// Bytes of the head.
    pub(super) bytes: usize,
    /// Bytes of the payload.
    pub(super) payload: u64,
}

/// A data frame whose payload has not been read completely.
pub(super) struct OpenFrame {
    /// Payload bytes that have not been unmasked.
    pub(super) left: u64,
    pub(super) is_final: bool,
    mask: [u8; 4],
    /// Number of mask bytes used since the beginning of the frame.
    turn: usize,
}

impl FrameHead {
    /// Parses the head at the beginning of the bytes; `None` if more are needed.
    pub(super) fn read(unread: &[u8]) -> Result<Option<Self>, Violation> {
        let mut cursor = Cursor::new(unread);
        // RFC 6455 §5.2: a frame with an unknown opcode fails the connection.
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| rule("a frame has a known opcode"))?;
        let bytes = usize::try_from(cursor.position()).expect("the position is within the buffer");
        let Some((header, payload)) = parsed else {
            return Ok(None);
        };
        // RFC 6455 §5.2: RSV1 to RSV3 are 0 unless an extension has a meaning for them.
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(rule(
                "no extension was agreed on, so the reserved bits are 0",
            ));
        }
        // RFC 6455 §5.2: the most significant bit of a length of 64 bits is 0.
        if payload > i64::MAX as u64 {
            return Err(rule("the length of a frame has 63 bits"));
        }
        // RFC 6455 §5.1: a server closes a connection that sends a frame without a mask.
        let mask = header.mask.ok_or(rule("frames of a client are masked"))?;
        // RFC 6455 §5.5: control frames have at most 125 bytes and are not fragmented.
        let is_control = matches!(header.opcode, OpCode::Control(_));
        if is_control && (payload > CONTROL_BYTES || !header.is_final) {
            return Err(rule("a control frame has at most 125 bytes, in one piece"));
        }
        Ok(Some(Self {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            bytes,
            payload,
        }))
    }
}

impl OpenFrame {
    pub(super) fn new(head: &FrameHead) -> Self {
        Self {
            left: head.payload,
            is_final: head.is_final,
            mask: head.mask,
            turn: 0,
        }
    }

    /// Unmasks the next bytes of the payload.
    pub(super) fn unmask(&mut self, bytes: &mut [u8]) {
        unmask(bytes, self.mask, self.turn);
        self.turn = (self.turn + bytes.len()) % 4;
        self.left -= bytes.len() as u64;
    }
}

/// Removes the mask (RFC 6455 §5.3), of which `turn` bytes have been used already.
pub(super) fn unmask(bytes: &mut [u8], mut mask: [u8; 4], turn: usize) {
    mask.rotate_left(turn);
    let (fours, rest) = bytes.as_chunks_mut::<4>();
    for four in fours {
        *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
}
