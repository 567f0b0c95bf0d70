//! The tunnel: unwraps the frames of a client, and passes the bytes in them to the inner protocol.
//!
//! Frames are unwrapped as they arrive, so that a long message takes no memory but that of the lines or
//! packets in it. PING and CLOSE of the client are handled here; frames for the client are written
//! elsewhere.

use std::time::{Duration, Instant};

use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::close::{CloseReason, TunnelEnd, close_code};
use super::frame::{FrameHead, OpenFrame, Violation, rule, unmask};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::wire::protocols::{BINARY, MESSAGE_END, Subprotocol};
use crate::wire::source::{Arrival, Source};

/// Maximum bytes of frames read at a time.
const RAW_BYTES: usize = 64 * 1024;

/// RFC 6455 §8.1: a text message that is not UTF-8 fails the connection.
const NOT_UTF_8: Violation = Violation {
    code: CloseCode::Invalid,
    why: "a text message is UTF-8",
};

/// The payload bytes of a client's frames, as a [`Source`].
pub(crate) struct Tunnel<'a, S> {
    source: &'a mut S,
    /// The session, and with it the outbox, may change in the middle of a conversation.
    record: &'a ClientRecord,
    inside: Subprotocol,
    /// Frames that have arrived.
    raw: &'a mut ReadBuffer,
    /// The incomplete data frame.
    frame: Option<OpenFrame>,
    /// The incomplete message, which may have several frames.
    message: Option<OpenMessage>,
    /// The bytes passed on must be followed by this one, which begins or ends a message.
    owes: Option<u8>,
    /// Why the tunnel ends, if it does.
    end: TunnelEnd,
}

/// An incomplete message.
struct OpenMessage {
    is_text: bool,
    /// The first bytes of an incomplete character.
    partial: Vec<u8>,
    ends_line: bool,
}

impl<'a, S: Source> Tunnel<'a, S> {
    /// `raw` may contain frames already.
    pub(crate) fn new(
        source: &'a mut S,
        record: &'a ClientRecord,
        inside: Subprotocol,
        raw: &'a mut ReadBuffer,
    ) -> Self {
        Self {
            source,
            record,
            inside,
            raw,
            frame: None,
            message: None,
            owes: None,
            end: TunnelEnd::default(),
        }
    }

    /// The state for the close frame, after the end of the conversation.
    pub(crate) fn into_end(self) -> TunnelEnd {
        self.end
    }

    fn fill_with(
        &mut self,
        buffer: &mut ReadBuffer,
        most: usize,
        mut read: impl FnMut(&mut S, &mut ReadBuffer) -> Arrival,
    ) -> Arrival {
        let mut has_read = false;
        loop {
            if self.end.is_closing() {
                return Arrival::End;
            }
            let Some(room) = buffer.fill(most) else {
                return Arrival::NoMemory;
            };
            let before = room.len();
            if let Err(violation) = self.unwrap(room) {
                let Violation { code, why } = violation;
                log::debug!("connection {}: closed, {code}: {why}", self.record.id());
                self.end.reason = Some(CloseReason::Violated(violation));
            }
            if room.len() > before {
                return Arrival::Bytes;
            }
            if self.end.is_closing() {
                return Arrival::End;
            }
            // The keep alive of MQTT counts packets only, so the conversation checks its time after
            // every read.
            if has_read && self.inside == Subprotocol::Mqtt {
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
                    self.end.has_ended = matches!(other, Arrival::End);
                    return other;
                }
            }
        }
    }

    /// Passes on the bytes that have arrived, as far as there is room.
    fn unwrap(&mut self, room: &mut Vec<u8>) -> Result<(), Violation> {
        while room.len() < room.capacity() {
            if let Some(end) = self.owes.take() {
                room.push(end);
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
                    return Err(NOT_UTF_8);
                }
                if !message.is_text && self.inside == Subprotocol::Talking {
                    // [`BINARY`] stands for it.
                    room.truncate(start);
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

    /// Begins the next data frame, or handles a control frame. Returns false if more bytes are needed
    /// first, or if the client has closed the tunnel.
    fn begin_frame(&mut self) -> Result<bool, Violation> {
        let Some(head) = FrameHead::read(self.raw.unread())? else {
            return Ok(false);
        };
        let kind = match head.opcode {
            OpCode::Data(kind) => kind,
            // RFC 6455 §5.4: it may come between the frames of a message.
            OpCode::Control(kind) => return self.handle_control(kind, &head),
        };
        self.raw.consume(head.bytes);
        match (kind, &self.message) {
            (Data::Continue, Some(_)) => {}
            // [MQTT-6.0.0-1]: MQTT in other frames than binary ones closes the connection.
            (Data::Text, None) if self.inside == Subprotocol::Mqtt => {
                return Err(Violation {
                    code: CloseCode::Unsupported,
                    why: "MQTT is sent in binary messages",
                });
            }
            (Data::Text | Data::Binary, None) => {
                self.message = Some(OpenMessage {
                    is_text: kind == Data::Text,
                    partial: Vec::new(),
                    ends_line: true,
                });
                if kind == Data::Binary && self.inside == Subprotocol::Talking {
                    self.owes = Some(BINARY);
                }
            }
            // RFC 6455 §5.4: the frames of two messages are not mixed.
            _ => return Err(rule("a message ends before the next one begins")),
        }
        self.frame = Some(OpenFrame::new(&head));
        Ok(true)
    }

    fn handle_control(&mut self, kind: Control, head: &FrameHead) -> Result<bool, Violation> {
        let end = head.bytes + head.payload as usize;
        let Some(masked) = self.raw.unread().get(head.bytes..end) else {
            return Ok(false);
        };
        let mut payload = masked.to_vec();
        unmask(&mut payload, head.mask, 0);
        self.raw.consume(end);
        match kind {
            // RFC 6455 §5.5.3: a PONG has the payload of the PING that it answers.
            Control::Ping => {
                let mut pong = Vec::new();
                let frame = Frame::pong(payload);
                frame
                    .format(&mut pong)
                    .expect("writing to a vector does not fail");
                self.record.interject(&pong);
            }
            Control::Pong => {}
            Control::Close => {
                self.end.reason = Some(CloseReason::Asked(close_code(&payload)?));
                return Ok(false);
            }
            Control::Reserved(_) => return Err(rule("a frame has a known opcode")),
        }
        Ok(true)
    }

    fn end_message(&mut self) -> Result<(), Violation> {
        let message = self.message.take().expect("the message has begun");
        if !message.partial.is_empty() {
            return Err(NOT_UTF_8);
        }
        self.owes = match self.inside {
            Subprotocol::Line => (!message.ends_line).then_some(b'\n'),
            Subprotocol::Mqtt => None,
            Subprotocol::Talking => Some(MESSAGE_END),
        };
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

    /// A tunnel has no half-closed state: the client's close frame closes both directions (RFC 6455
    /// §5.5.1).
    fn wait_for_end(&mut self) -> Arrival {
        Arrival::End
    }

    fn set_interval(&mut self, interval: Duration) {
        self.source.set_interval(interval);
    }
}

impl OpenMessage {
    /// Checks UTF-8, if the message is text; an incomplete last character is valid so far.
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

#[cfg(test)]
mod tests {
    use std::mem;
    use std::sync::Arc;

    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::tests::outbox;
    use crate::wire::End;

    /// A client that sends these pieces and disconnects.
    struct Cut(std::vec::IntoIter<Vec<u8>>);

    impl Source for Cut {
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

    /// A frame of a client, from its first byte and payload.
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

    /// The unwrapped bytes, the answers on the way, and the close frame.
    fn through(inside: Subprotocol, pieces: Vec<Vec<u8>>) -> [Vec<u8>; 3] {
        let memory = Arc::new(Memory::new(1 << 30));
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        let (mut raw, mut buffer) = (ReadBuffer::new(&memory), ReadBuffer::new(&memory));
        let mut source = Cut(pieces.into_iter());
        let record = ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into());
        let mut tunnel = Tunnel::new(&mut source, &record, inside, &mut raw);
        let mut came = Vec::new();
        while let Arrival::Bytes = tunnel.fill(&mut buffer, 1 << 20) {
            came.extend_from_slice(buffer.unread());
            buffer.consume(buffer.unread().len());
        }
        let last = tunnel.into_end().last_frame(&End::Left);
        let back = mem::take(&mut sink.0.lock().taken);
        [came, back, last]
    }

    /// Checks the unwrapped bytes and the answers with the line protocol inside, in one piece and byte
    /// by byte. `last` is the beginning of the close frame.
    #[track_caller]
    fn check(frames: &[Vec<u8>], came: &[u8], back: &[u8], last: &[u8]) {
        let all = frames.concat();
        let bytes = all.iter().map(|&byte| vec![byte]).collect();
        for pieces in [vec![all], bytes] {
            let [lines, said, end] = through(Subprotocol::Line, pieces);
            let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
            assert_eq!(shown(&lines), shown(came));
            assert_eq!(shown(&said), shown(back));
            assert_eq!(shown(&end[..end.len().min(last.len())]), shown(last));
            assert_eq!(end.is_empty(), last.is_empty(), "{}", shown(&end));
        }
    }

    /// The same for a broken rule: in one piece only, because byte by byte earlier bytes may be passed
    /// on.
    #[track_caller]
    fn check_broken(frames: &[Vec<u8>], code: u16) {
        check_closed(&through(Subprotocol::Line, vec![frames.concat()]), code);
    }

    #[track_caller]
    fn check_closed([.., end]: &[Vec<u8>; 3], code: u16) {
        assert_eq!(end.first(), Some(&0x88), "no close frame");
        assert_eq!(u16::from_be_bytes([end[2], end[3]]), code);
        assert!(end.len() > 4, "it says why");
    }

    #[test]
    fn messages_are_lines_however_they_are_cut() {
        // RFC 6455 §5.2, §5.4.
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
        // RFC 6455 §5.5.2, §5.5.3.
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
        // RFC 6455 §5.5.1, §7.4.
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
        // RFC 6455 §5.1.
        check_broken(&[unmasked], 1002);
        // §5.2: reserved bits, unknown opcodes.
        for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
            check_broken(&[masked(first, b"PING")], 1002);
        }
        // §5.4: a continuation without a beginning, and a beginning before the last message has ended.
        check_broken(&[masked(0x80, b"PING")], 1002);
        check_broken(&[masked(0x01, b"PI"), masked(0x81, b"NG")], 1002);
        // §5.5: control frames in pieces, and long ones.
        check_broken(&[masked(0x09, b"x")], 1002);
        check_broken(&[masked(0x89, &[b'x'; 126])], 1002);
        check_broken(&[masked(0x88, &[b'x'; 126])], 1002);
    }

    #[test]
    fn text_is_utf_8_and_bytes_are_bytes() {
        // RFC 6455 §8.1.
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
        // The fault is found before the message has ended.
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
        let [came, back, last] = through(Subprotocol::Mqtt, vec![frames.concat()]);
        assert_eq!(came, b"\x10\x02\nx");
        assert!(back.is_empty() && last.is_empty());
        let text = [masked(0x82, b"x"), masked(0x81, b"x")].concat();
        check_closed(&through(Subprotocol::Mqtt, vec![text]), 1003);
    }

    #[test]
    fn messages_of_the_web_chat_have_their_ends_and_binary_ones_no_content() {
        let frames = [
            masked(0x81, b"{\n}\n"),
            masked(0x81, b""),
            masked(0x02, b"ab\xff"),
            masked(0x89, b""),
            masked(0x80, b"\xfe"),
            masked(0x82, b""),
            masked(0x01, b"{"),
            masked(0x80, b"}"),
        ];
        let all = frames.concat();
        let bytes = all.iter().map(|&byte| vec![byte]).collect();
        for pieces in [vec![all], bytes] {
            let [came, back, last] = through(Subprotocol::Talking, pieces);
            let expected = b"{\n}\n\xff\xff\xfe\xff\xfe\xff{}\xff";
            assert_eq!(
                came.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
            assert_eq!(back, b"\x8a\0");
            assert!(last.is_empty());
        }
        for text in [&b"\xff"[..], b"\xfe", b"a\xff{}"] {
            let frame = masked(0x81, text);
            check_closed(&through(Subprotocol::Talking, vec![frame]), 1007);
        }
    }
}
