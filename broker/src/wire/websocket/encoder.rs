//! The encoders for WebSocket clients: a frame for each message.
//!
//! Lines of the engine become frames, and an outbox asks here where a frame ends and which topic it
//! has. Frames of a server are unmasked (RFC 6455 §5.1), so one byte string serves all clients. Nothing
//! here parses bytes of a client.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::engine::outbox::encoder::Encoder;
use crate::wire::chat_object;
use crate::wire::line;
use crate::wire::mqtt::{self, Encoders};
use crate::wire::protocols::Subprotocol;

impl Subprotocol {
    /// The encoder until the client's version is known.
    pub(crate) fn encoder(self) -> &'static Encoder {
        match self {
            Self::Line => &ENCODER,
            Self::Mqtt => MQTT.v3,
            Self::Talking => &TALKING,
        }
    }
}

/// For the line protocol in a tunnel: a frame for each line, including the line end.
pub(super) const ENCODER: Encoder = Encoder {
    wire: "websocket",
    encode: Some(|lines| {
        let mut frames = Vec::with_capacity(lines.len() + lines.len() / 16);
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            push_frame(&mut frames, line, kind_of(line));
        }
        frames
    }),
    answer: Some(|lines| framed(lines, kind_of(lines))),
    gap: |count| framed(&(line::ENCODER.gap)(count), Data::Text),
    receipt: |receipt| framed(&(line::ENCODER.receipt)(receipt), Data::Text),
    first: first_frame,
    fitting: |frames, room| {
        ends(frames)
            .take_while(|&end| end <= room)
            .last()
            .unwrap_or(0)
    },
    count: |frames| ends(frames).count() as u64,
    topic: |frame| (line::ENCODER.topic)(payload(frame)),
    goodbye: line::ENCODER.goodbye,
    kicked: line::ENCODER.kicked,
    auth_ended: line::ENCODER.auth_ended,
    withdrawn: line::ENCODER.withdrawn,
    auth_ends_soon: line::ENCODER.auth_ends_soon,
    moves_when_told: false,
    taken_over: line::ENCODER.taken_over,
};

/// For MQTT in a tunnel: a frame for each message, and one for answers sent together.
pub(crate) const MQTT: Encoders = Encoders {
    v3: &Encoder {
        wire: "mqtt 3.1.1+ws",
        encode: Some(|lines| framed_packets(lines, &mqtt::ENCODER_3)),
        goodbye: mqtt::ENCODER_3.goodbye,
        kicked: mqtt::ENCODER_3.kicked,
        auth_ended: mqtt::ENCODER_3.auth_ended,
        moves_when_told: mqtt::ENCODER_3.moves_when_told,
        taken_over: mqtt::ENCODER_3.taken_over,
        ..MQTT_5
    },
    v5: &MQTT_5,
};

const MQTT_5: Encoder = Encoder {
    wire: "mqtt 5.0+ws",
    encode: Some(|lines| framed_packets(lines, &mqtt::ENCODER_5)),
    answer: Some(|packets| framed(packets, Data::Binary)),
    topic: mqtt::ENCODER_5.topic,
    gap: mqtt::ENCODER_5.gap,
    receipt: mqtt::ENCODER_5.receipt,
    goodbye: mqtt::ENCODER_5.goodbye,
    kicked: mqtt::ENCODER_5.kicked,
    auth_ended: mqtt::ENCODER_5.auth_ended,
    withdrawn: None,
    auth_ends_soon: mqtt::ENCODER_5.auth_ends_soon,
    moves_when_told: mqtt::ENCODER_5.moves_when_told,
    taken_over: mqtt::ENCODER_5.taken_over,
    ..ENCODER
};

/// For the web chat in a tunnel: a frame for each object. Only its own writer makes objects of messages.
const TALKING: Encoder = Encoder {
    wire: "talking",
    encode: None,
    answer: Some(|object| framed(object, Data::Text)),
    gap: |count| framed(&chat_object::missing(count), Data::Text),
    receipt: |_| Vec::new(),
    topic: |_| b"",
    goodbye: chat_object::GOODBYE,
    kicked: chat_object::KICKED,
    auth_ended: chat_object::AUTH_ENDED,
    withdrawn: None,
    auth_ends_soon: chat_object::AUTH_ENDS_SOON,
    taken_over: b"",
    ..ENCODER
};

/// PUBLISH packets at QoS 0 for lines, each in a frame.
fn framed_packets(lines: &[u8], encoder: &Encoder) -> Vec<u8> {
    let packets = encoder.encode.map_or_else(Vec::new, |encode| encode(lines));
    let mut frames = Vec::with_capacity(packets.len() + packets.len() / 16);
    let mut rest = &packets[..];
    while !rest.is_empty() {
        let (packet, behind) = rest.split_at((encoder.first)(rest));
        push_frame(&mut frames, packet, Data::Binary);
        rest = behind;
    }
    frames
}

/// Bytes as one frame; empty for none.
fn framed(bytes: &[u8], kind: Data) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes.len() + 10);
    if !bytes.is_empty() {
        push_frame(&mut frame, bytes, kind);
    }
    frame
}

/// Text if the lines are UTF-8: payloads may be any bytes.
fn kind_of(lines: &[u8]) -> Data {
    match str::from_utf8(lines) {
        Ok(_) => Data::Text,
        Err(_) => Data::Binary,
    }
}

fn push_frame(frames: &mut Vec<u8>, bytes: &[u8], kind: Data) {
    let header = FrameHeader {
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    };
    let written = header.format(bytes.len() as u64, frames);
    written.expect("writing to a vector does not fail");
    frames.extend_from_slice(bytes);
}

fn first_frame(frames: &[u8]) -> usize {
    let mut cursor = Cursor::new(frames);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((_, len))) => frames.len().min((cursor.position() + len) as usize),
        _ => frames.len(),
    }
}

/// The ends of the frames.
fn ends(frames: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &frames[at..];
        at += first_frame(rest);
        (!rest.is_empty()).then_some(at)
    })
}

/// The payload of the first frame.
fn payload(frames: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(frames);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some(_)) => &frames[cursor.position() as usize..],
        _ => frames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_for_each_packet_tells_where_it_ends() {
        let encode = MQTT.v3.encode.expect("it has frames");
        let long = format!("MESSAGE b {}\n", "x".repeat(70_000));
        let lines = [b"MESSAGE a hi\n", long.as_bytes()].concat();
        let frames = encode(&lines);
        let first = (MQTT.v3.first)(&frames);
        assert_eq!(&frames[..first], b"\x82\x07\x30\x05\0\x01ahi");
        assert_eq!((MQTT.v5.count)(&frames), 2);
        assert_eq!(frames[first..first + 2], [0x82, 127]);
        let answer = MQTT.v5.answer.expect("it has frames");
        assert_eq!(answer(b"\xd0\0"), b"\x82\x02\xd0\0");
        assert!(answer(MQTT.v3.goodbye).is_empty(), "nothing is no frame");
    }

    #[test]
    fn a_frame_for_each_line_tells_where_it_ends() {
        let encode = ENCODER.encode.expect("it has frames");
        let long = format!("MESSAGE b {}\n", "x".repeat(70_000));
        let lines = [b"MESSAGE a hi\n", long.as_bytes(), b"MESSAGE c \xff\n"].concat();
        let frames = encode(&lines);
        let first = (ENCODER.first)(&frames);
        assert_eq!(&frames[..first], b"\x81\x0dMESSAGE a hi\n");
        assert_eq!((ENCODER.topic)(&frames[first..]), b"b");
        assert_eq!((ENCODER.count)(&frames), 3);
        assert_eq!((ENCODER.fitting)(&frames, first + 70_000), first);
        assert_eq!((ENCODER.fitting)(&frames, frames.len()), frames.len());
        assert_eq!(frames[frames.len() - 14], 0x82, "it is not text");
        assert_eq!((ENCODER.gap)(3), b"\x81\x06GAP 3\n");
    }

    #[test]
    fn objects_of_the_web_chat_are_text_each_in_a_frame() {
        let encoder = Subprotocol::Talking.encoder();
        let answer = encoder.answer.expect("it has frames");
        assert_eq!(answer(b"{}"), b"\x81\x02{}");
        let gap = (encoder.gap)(3);
        assert!(
            gap.starts_with(b"\x81\x44{\"type\":\"missing\",\"count\":3,"),
            "{}",
            gap.escape_ascii()
        );
        assert_eq!((encoder.count)(&[gap.clone(), answer(b"{}")].concat()), 2);
        assert_eq!((encoder.first)(&gap), gap.len());
    }
}
