//! WebSocket: a tunnel that unwraps what a client sends and hands the bytes to the wire inside.
//!
//! Frames are unwrapped as they come, so that a long message takes no memory but that of the lines
//! or packets in it. What goes out is a frame for each message: unmasked, so one byte string serves
//! all. The tunnel never meets the router. Layout of frames and their codes are the library's.

use std::io::Cursor;
use std::time::{Duration, Instant};

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame as Whole, FrameHeader};

use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::session::clients::ClientRecord;
use crate::wire::mqtt::{self, Encoders};
use crate::wire::{Arrival, End, Source, line};

/// So much is read at a time.
const RAW_BYTES: usize = 64 * 1024;

/// The longest payload of a control frame.
const CONTROL_BYTES: u64 = 125;

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// The line protocol: the end of a message is the end of a line.
    Line,
    /// MQTT: messages are binary, and their ends mean nothing [MQTT-6.0.0-1] [MQTT-6.0.0-2].
    Mqtt,
}

impl Inside {
    /// What the outbox says before more is known of the client.
    pub(crate) fn encoder(self) -> &'static Encoder {
        match self {
            Self::Line => &ENCODER,
            Self::Mqtt => MQTT.v3,
        }
    }
}

/// For the line protocol in a tunnel: a frame for each line, with the line end in it.
const ENCODER: Encoder = Encoder {
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
    receipt: |answered, copies| framed(&(line::ENCODER.receipt)(answered, copies), Data::Text),
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
    taken_over: line::ENCODER.taken_over,
};

/// For MQTT in a tunnel: a frame for each message, and one for what is answered at a time.
pub(crate) const MQTT: Encoders = Encoders {
    v3: &Encoder {
        wire: "mqtt 3.1.1+ws",
        encode: Some(|lines| framed_packets(lines, &mqtt::ENCODER_3)),
        goodbye: mqtt::ENCODER_3.goodbye,
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
    taken_over: mqtt::ENCODER_5.taken_over,
    ..ENCODER
};

/// A client's bytes without their frames.
pub(crate) struct Tunnel<'a, S> {
    source: &'a mut S,
    /// The outbox of its session may change in the middle of a conversation.
    record: &'a ClientRecord,
    inside: Inside,
    /// Frames that have come.
    raw: &'a mut ReadBuffer,
    /// The data frame that has begun.
    frame: Option<Begun>,
    /// The message that has begun, which may have several frames.
    message: Option<Message>,
    /// A line end has to follow what has been handed on.
    owes_line_end: bool,
    /// There is nothing more to read.
    has_ended: bool,
    /// Why it is over: what the client said, or what it did wrong.
    closing: Option<Closing>,
}

struct Begun {
    left: u64,
    mask: [u8; 4],
    /// How far into the frame, as far as the mask is concerned.
    turn: usize,
    is_final: bool,
}

struct Message {
    is_text: bool,
    /// The beginning of a letter.
    partial: Vec<u8>,
    ends_line: bool,
}

enum Closing {
    /// The client has said goodbye, with or without a code.
    Asked(Option<CloseCode>),
    /// The client has broken this rule.
    Broken(CloseCode, &'static str),
}

/// Why the tunnel cannot go on.
type Broken = (CloseCode, &'static str);

impl<'a, S: Source> Tunnel<'a, S> {
    /// `raw` may hold frames already.
    pub(crate) fn new(
        source: &'a mut S,
        record: &'a ClientRecord,
        inside: Inside,
        raw: &'a mut ReadBuffer,
    ) -> Self {
        Self {
            source,
            record,
            inside,
            raw,
            frame: None,
            message: None,
            owes_line_end: false,
            has_ended: false,
            closing: None,
        }
    }

    /// Whether it was closed in one of the ways that have an answer.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The frame that closes the tunnel, now that the conversation has ended so; nothing if nobody is
    /// there to get it.
    pub(crate) fn last_frame(&self, end: &End) -> Vec<u8> {
        let close = |code, reason: &str| {
            let reason = reason.to_owned().into();
            Some(Whole::close(Some(CloseFrame { code, reason })))
        };
        let frame = match (&self.closing, end) {
            (Some(Closing::Broken(code, why)), _) => close(*code, why),
            (_, End::Stopping) => close(CloseCode::Away, "the broker stops"),
            (Some(Closing::Asked(Some(code))), _) => close(*code, ""),
            (Some(Closing::Asked(None)), _) => Some(Whole::close(None)),
            (None, End::SaidBye) => close(CloseCode::Normal, ""),
            // Somebody else has ended it, for the client has come anew.
            (None, End::Refused(_)) if self.has_ended => close(CloseCode::Normal, ""),
            (None, End::Refused(why)) => close(CloseCode::Protocol, first_bytes(why)),
            (None, _) => None,
        };
        let mut bytes = Vec::new();
        if let Some(frame) = frame {
            frame
                .format(&mut bytes)
                .expect("a vector takes what is written");
        }
        bytes
    }

    fn fill_with(
        &mut self,
        buffer: &mut ReadBuffer,
        most: usize,
        mut read: impl FnMut(&mut S, &mut ReadBuffer) -> Arrival,
    ) -> Arrival {
        let mut has_read = false;
        loop {
            if self.closing.is_some() {
                return Arrival::End;
            }
            let Some(room) = buffer.fill(most) else {
                return Arrival::NoMemory;
            };
            let before = room.len();
            if let Err((code, why)) = self.unwrap(room) {
                log::debug!("connection {}: closed, {code}: {why}", self.record.id());
                self.closing = Some(Closing::Broken(code, why));
            }
            if room.len() > before {
                return Arrival::Bytes;
            }
            if self.closing.is_some() {
                return Arrival::End;
            }
            // MQTT looks how long no packet has come, whatever else has.
            if has_read && self.inside == Inside::Mqtt {
                return Arrival::Bytes;
            }
            match read(self.source, self.raw) {
                Arrival::Bytes => has_read = true,
                Arrival::Pause => {
                    buffer.shrink();
                    self.raw.shrink();
                    return Arrival::Pause;
                }
                other => {
                    self.has_ended = matches!(other, Arrival::End);
                    return other;
                }
            }
        }
    }

    /// Hands on what has come, as far as there is room.
    fn unwrap(&mut self, room: &mut Vec<u8>) -> Result<(), Broken> {
        while room.len() < room.capacity() {
            if self.owes_line_end {
                room.push(b'\n');
                self.owes_line_end = false;
            } else if let Some(frame) = &mut self.frame {
                let unread = self.raw.unread();
                let len = unread.len().min(room.capacity() - room.len());
                let len = len.min(usize::try_from(frame.left).unwrap_or(usize::MAX));
                if len == 0 && frame.left > 0 {
                    return Ok(());
                }
                let start = room.len();
                room.extend_from_slice(&unread[..len]);
                frame.unmask(&mut room[start..]);
                self.raw.consume(len);
                let message = self.message.as_mut().expect("a frame belongs to a message");
                if !message.check(&room[start..]) {
                    room.truncate(start);
                    return Err((CloseCode::Invalid, "a text message is UTF-8"));
                }
                if let Some(last) = room[start..].last() {
                    message.ends_line = *last == b'\n';
                }
                if frame.left == 0 {
                    let is_final = frame.is_final;
                    self.frame = None;
                    if is_final {
                        self.end_message()?;
                    }
                }
            } else if !self.begin_frame()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Begins the next data frame, or handles a control frame. Returns false if more has to come
    /// first, or nothing does.
    fn begin_frame(&mut self) -> Result<bool, Broken> {
        let mut cursor = Cursor::new(self.raw.unread());
        let parsed = FrameHeader::parse(&mut cursor);
        let head = usize::try_from(cursor.position()).expect("it is within a buffer");
        let Some((header, len)) = parsed.map_err(|_| rule("a frame has a known opcode"))? else {
            return Ok(false);
        };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(rule(
                "no extension was agreed on, so the reserved bits are 0",
            ));
        }
        if len > i64::MAX as u64 {
            return Err(rule("the length of a frame has 63 bits"));
        }
        let mask = header.mask.ok_or(rule("frames of a client are masked"))?;
        let kind = match header.opcode {
            OpCode::Data(kind) => kind,
            OpCode::Control(kind) => {
                if len > CONTROL_BYTES || !header.is_final {
                    return Err(rule("a control frame has at most 125 bytes, in one piece"));
                }
                return self.handle_control(kind, mask, head, len as usize);
            }
        };
        self.raw.consume(head);
        match (kind, &self.message) {
            (Data::Continue, Some(_)) => {}
            (Data::Text, None) if self.inside == Inside::Mqtt => {
                let why = "MQTT is sent in binary messages";
                return Err((CloseCode::Unsupported, why));
            }
            (Data::Text | Data::Binary, None) => {
                self.message = Some(Message {
                    is_text: kind == Data::Text,
                    partial: Vec::new(),
                    ends_line: true,
                });
            }
            _ => return Err(rule("a message ends before the next one begins")),
        }
        self.frame = Some(Begun {
            left: len,
            mask,
            turn: 0,
            is_final: header.is_final,
        });
        Ok(true)
    }

    fn handle_control(
        &mut self,
        kind: Control,
        mask: [u8; 4],
        head: usize,
        len: usize,
    ) -> Result<bool, Broken> {
        let Some(masked) = self.raw.unread().get(head..head + len) else {
            return Ok(false);
        };
        let mut payload = masked.to_vec();
        unmask(&mut payload, mask, 0);
        self.raw.consume(head + len);
        match kind {
            Control::Ping => {
                let mut pong = Vec::new();
                let frame = Whole::pong(payload);
                frame
                    .format(&mut pong)
                    .expect("a vector takes what is written");
                let outbox = self.record.outbox();
                outbox.lock().signal(&pong);
                outbox.wait_for_room();
            }
            Control::Pong => {}
            Control::Close => {
                self.closing = Some(Closing::Asked(close_code(&payload)?));
                return Ok(false);
            }
            Control::Reserved(_) => return Err(rule("a frame has a known opcode")),
        }
        Ok(true)
    }

    fn end_message(&mut self) -> Result<(), Broken> {
        let message = self.message.take().expect("it has begun");
        if !message.partial.is_empty() {
            return Err((CloseCode::Invalid, "a text message is UTF-8"));
        }
        self.owes_line_end = self.inside == Inside::Line && !message.ends_line;
        Ok(())
    }
}

impl<S: Source> Source for Tunnel<'_, S> {
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        self.fill_with(buffer, most, |source, raw| source.fill(raw, RAW_BYTES))
    }

    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival {
        self.fill_with(buffer, most, |source, raw| {
            source.fill_by(raw, RAW_BYTES, deadline)
        })
    }

    /// Who closes one side of a tunnel closes both.
    fn wait_for_end(&mut self) -> Arrival {
        Arrival::End
    }

    fn set_interval(&mut self, interval: Duration) {
        self.source.set_interval(interval);
    }
}

impl Begun {
    /// Unmasks the next bytes of the frame.
    fn unmask(&mut self, bytes: &mut [u8]) {
        unmask(bytes, self.mask, self.turn);
        self.turn = (self.turn + bytes.len()) % 4;
        self.left -= bytes.len() as u64;
    }
}

impl Message {
    /// Whether it can still become UTF-8 with these bytes, if it has to.
    fn check(&mut self, bytes: &[u8]) -> bool {
        if !self.is_text {
            return true;
        }
        let mut rest = bytes;
        while !self.partial.is_empty()
            && let [first, behind @ ..] = rest
        {
            self.partial.push(*first);
            rest = behind;
            match str::from_utf8(&self.partial) {
                Ok(_) => self.partial.clear(),
                Err(err) if err.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match str::from_utf8(rest) {
            Err(err) => {
                self.partial.extend_from_slice(&rest[err.valid_up_to()..]);
                err.error_len().is_none()
            }
            Ok(_) => true,
        }
    }
}

fn rule(why: &'static str) -> Broken {
    (CloseCode::Protocol, why)
}

fn unmask(bytes: &mut [u8], mut mask: [u8; 4], turn: usize) {
    mask.rotate_left(turn);
    let (fours, rest) = bytes.as_chunks_mut::<4>();
    for four in fours {
        *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// What a close frame says.
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Broken> {
    match payload {
        [] => Ok(None),
        [_] => Err(rule("a close frame has a code of two bytes, or nothing")),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if !code.is_allowed() {
                return Err(rule("a close frame has a code that may be sent"));
            }
            match str::from_utf8(reason) {
                Ok(_) => Ok(Some(code)),
                Err(_) => Err((CloseCode::Invalid, "the reason of a close frame is UTF-8")),
            }
        }
    }
}

/// What fits into a control frame beside a code.
fn first_bytes(text: &str) -> &str {
    &text[..text.floor_char_boundary(CONTROL_BYTES as usize - 2)]
}

/// Packets at QoS 0 for lines, a message for each.
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

/// Bytes as one message; none if there are none.
fn framed(bytes: &[u8], kind: Data) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes.len() + 10);
    if !bytes.is_empty() {
        push_frame(&mut frame, bytes, kind);
    }
    frame
}

/// Text if that is what it is, as payloads are bytes.
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
    written.expect("a vector takes what is written");
    frames.extend_from_slice(bytes);
}

fn first_frame(frames: &[u8]) -> usize {
    let mut cursor = Cursor::new(frames);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((_, len))) => frames.len().min((cursor.position() + len) as usize),
        _ => frames.len(),
    }
}

/// Where frames end.
fn ends(frames: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &frames[at..];
        at += first_frame(rest);
        (!rest.is_empty()).then_some(at)
    })
}

/// The line in the first frame.
fn payload(frames: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(frames);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some(_)) => &frames[cursor.position() as usize..],
        _ => frames,
    }
}

#[cfg(test)]
mod tests {
    use std::mem;
    use std::sync::Arc;

    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::tests::outbox;

    /// A client that sends these pieces and is gone.
    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Source for Pieces {
        fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
            match self.0.next() {
                Some(bytes) => {
                    let room = buffer.fill(most).expect("there is memory");
                    room.extend_from_slice(&bytes);
                    Arrival::Bytes
                }
                None => Arrival::End,
            }
        }

        fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _deadline: Instant) -> Arrival {
            self.fill(buffer, most)
        }

        fn wait_for_end(&mut self) -> Arrival {
            Arrival::End
        }

        fn set_interval(&mut self, _interval: Duration) {}
    }

    /// A frame as clients send it: first byte, payload.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(b"mask");
        let start = frame.len();
        frame.extend_from_slice(payload);
        unmask(&mut frame[start..], *b"mask", 0);
        frame
    }

    /// What comes through, what is sent back on the way, and the last frame.
    fn through(inside: Inside, pieces: Vec<Vec<u8>>) -> [Vec<u8>; 3] {
        let memory = Arc::new(Memory::new(1 << 30));
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        let (mut raw, mut buffer) = (ReadBuffer::new(&memory), ReadBuffer::new(&memory));
        let mut source = Pieces(pieces.into_iter());
        let record = ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into());
        let mut tunnel = Tunnel::new(&mut source, &record, inside, &mut raw);
        let mut came = Vec::new();
        while let Arrival::Bytes = tunnel.fill(&mut buffer, 1 << 20) {
            came.extend_from_slice(buffer.unread());
            buffer.consume(buffer.unread().len());
        }
        let last = tunnel.last_frame(&End::Left);
        let back = mem::take(&mut sink.0.lock().taken);
        [came, back, last]
    }

    /// What comes through with the line protocol inside and what is sent back, in one piece and byte by byte; `last` is what the
    /// last frame begins with.
    #[track_caller]
    fn check(frames: &[Vec<u8>], came: &[u8], back: &[u8], last: &[u8]) {
        let all = frames.concat();
        let bytes = all.iter().map(|&byte| vec![byte]).collect();
        for pieces in [vec![all], bytes] {
            let [lines, said, end] = through(Inside::Line, pieces);
            let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
            assert_eq!(shown(&lines), shown(came));
            assert_eq!(shown(&said), shown(back));
            assert_eq!(shown(&end[..end.len().min(last.len())]), shown(last));
            assert_eq!(end.is_empty(), last.is_empty(), "{}", shown(&end));
        }
    }

    /// The same for what breaks a rule: in one piece, as earlier bytes may be handed on or not.
    #[track_caller]
    fn check_broken(frames: &[Vec<u8>], code: u16) {
        check_closed(&through(Inside::Line, vec![frames.concat()]), code);
    }

    #[track_caller]
    fn check_closed([.., end]: &[Vec<u8>; 3], code: u16) {
        assert_eq!(end.first(), Some(&0x88), "no close frame");
        assert_eq!(u16::from_be_bytes([end[2], end[3]]), code);
        assert!(end.len() > 4, "it says why");
    }

    #[test]
    fn messages_are_lines_however_they_are_cut() {
        // RFC 6455, 5.2 and 5.4.
        check(&[masked(0x81, b"PING")], b"PING\n", b"", b"");
        let two = b"PING a\nPING b\n";
        check(&[masked(0x82, two)], two, b"", b"");
        let pieces = [
            masked(0x01, b"PI"),
            masked(0x00, b""),
            masked(0x80, b"NG\n"),
            masked(0x81, b"x"),
        ];
        check(&pieces, b"PING\nx\n", b"", b"");
        check(&[masked(0x81, b""), masked(0x82, b"y")], b"y\n", b"", b"");
        let long = vec![b'x'; 5000];
        check(
            &[masked(0x81, &long)],
            &[&long[..], b"\n"].concat(),
            b"",
            b"",
        );
    }

    #[test]
    fn control_frames_may_stand_between_the_frames_of_a_message() {
        // RFC 6455, 5.5.2 and 5.5.3.
        let frames = [
            masked(0x01, b"PI"),
            masked(0x89, b"there?"),
            masked(0x8a, b"unasked"),
            masked(0x80, b"NG"),
        ];
        check(&frames, b"PING\n", b"\x8a\x06there?", b"");
        check(&[masked(0x89, b"")], b"", b"\x8a\0", b"");
        check(
            &[masked(0x89, &[b'x'; 125])],
            b"",
            &[&b"\x8a\x7d"[..], &[b'x'; 125]].concat(),
            b"",
        );
    }

    #[test]
    fn a_close_is_answered_by_its_code_and_nothing_counts_after_it() {
        // RFC 6455, 5.5.1 and 7.4.
        let bye = |payload: &[u8]| [masked(0x88, payload), masked(0x81, b"PING")];
        check(&bye(b"\x03\xe8done"), b"", b"", b"\x88\x02\x03\xe8");
        check(&bye(b""), b"", b"", b"\x88\0");
        check(&bye(b"\x0f\xa0"), b"", b"", b"\x88\x02\x0f\xa0");
        for payload in [
            &b"\x03"[..],
            b"\x03\xed",
            b"\x03\xee",
            b"\0\0",
            b"\x03\xe7",
            b"\x04\x4c",
        ] {
            check_broken(&bye(payload), 1002);
        }
        check_broken(&bye(b"\x03\xe8\xff"), 1007);
    }

    #[test]
    fn what_breaks_a_rule_ends_it_with_its_code() {
        let unmasked = b"\x81\x04PING".to_vec();
        // RFC 6455, 5.1.
        check_broken(&[unmasked], 1002);
        // 5.2: reserved bits, unknown opcodes.
        for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
            check_broken(&[masked(first, b"PING")], 1002);
        }
        // 5.4: what continues nothing, and what begins before the last has ended.
        check_broken(&[masked(0x80, b"PING")], 1002);
        check_broken(&[masked(0x01, b"PI"), masked(0x81, b"NG")], 1002);
        // 5.5: control frames in pieces, and long ones.
        check_broken(&[masked(0x09, b"x")], 1002);
        check_broken(&[masked(0x89, &[b'x'; 126])], 1002);
        check_broken(&[masked(0x88, &[b'x'; 126])], 1002);
    }

    #[test]
    fn text_is_utf_8_and_bytes_are_bytes() {
        // RFC 6455, 8.1.
        let letter = "é€𝄞".as_bytes();
        let (one, two) = letter.split_at(4);
        check(
            &[masked(0x01, one), masked(0x80, two)],
            "é€𝄞\n".as_bytes(),
            b"",
            b"",
        );
        check(&[masked(0x82, b"\xff")], b"\xff\n", b"", b"");
        check_broken(&[masked(0x81, b"a\xff")], 1007);
        check_broken(&[masked(0x81, one)], 1007);
        check_broken(&[masked(0x01, one), masked(0x80, b"x")], 1007);
        check_broken(&[masked(0x81, b"\xed\xa0\x80")], 1007);
        // It is known before the message has ended.
        let mut begun = masked(0x01, b"\xf4\x90");
        begun.extend_from_slice(&[0x80]);
        check_broken(&[begun], 1007);
    }

    #[test]
    fn packets_of_mqtt_come_as_they_are_in_binary_messages_alone() {
        // [MQTT-6.0.0-1], [MQTT-6.0.0-2].
        let frames = [
            masked(0x82, b"\x10"),
            masked(0x02, b""),
            masked(0x80, b"\x02\n"),
            masked(0x82, b"x"),
        ];
        let [came, back, last] = through(Inside::Mqtt, vec![frames.concat()]);
        assert_eq!(came, b"\x10\x02\nx");
        assert!(back.is_empty() && last.is_empty());
        let text = [masked(0x82, b"x"), masked(0x81, b"x")].concat();
        check_closed(&through(Inside::Mqtt, vec![text]), 1003);
    }

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
}
