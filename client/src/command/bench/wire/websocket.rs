//! The line protocol in a WebSocket. A client sends each request in a frame of its own.

use std::io::Cursor;
use std::ops::Range;

use client::{AckLevel, Credential};
use tungstenite::ClientRequestBuilder;
use tungstenite::error::UrlError;
use tungstenite::handshake::client::generate_request;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::line::LineProtocol;
use super::protocol::{Protocol, PublishOptions, WireEvent};
use super::text::{self, head, refused};

/// The mask of a client's frames. A mask of zeros leaves the payload unchanged, so that frames can
/// be prepared.
const MASK: [u8; 4] = [0; 4];

#[derive(Debug)]
pub(crate) struct WebSocket {
    handshake: Vec<u8>,
}

impl WebSocket {
    /// Prepares the handshake for this address.
    pub(crate) fn at(url: &str) -> Result<Self, String> {
        let wrong = |why: tungstenite::Error| format!("{url} cannot be asked for ({why})");
        let no_url = |_| wrong(UrlError::UnableToConnect(url.to_owned()).into());
        let request = ClientRequestBuilder::new(url.parse().map_err(no_url)?);
        let request = request.with_sub_protocol("line");
        let request = tungstenite::client::IntoClientRequest::into_client_request(request);
        let (handshake, _) = request.and_then(generate_request).map_err(wrong)?;
        Ok(Self { handshake })
    }
}

impl Protocol for WebSocket {
    fn alpn(&self) -> Option<&'static str> {
        Some("http/1.1")
    }

    fn connect(&self, _client: &str, _acked: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.handshake);
    }

    fn authenticate(&self, credential: &Credential, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut line = Vec::new();
        LineProtocol.authenticate(credential, &mut line)?;
        frame(out, |out| out.extend_from_slice(&line));
        Ok(())
    }

    /// The handshake.
    fn connects_first(&self) -> bool {
        true
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let mut confirms = 0;
        frame(out, |out| {
            confirms = LineProtocol.subscribe(topics, these, out)
        });
        confirms
    }

    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>) {
        frame(out, |out| {
            LineProtocol.publish(topic, payload, options, out)
        });
    }

    fn level(&self, frame: &[u8]) -> Option<AckLevel> {
        text::level(frame)
    }

    fn ping(&self, out: &mut Vec<u8>) {
        frame(out, |out| LineProtocol.ping(out));
    }

    fn pong(&self, token: &[u8], out: &mut Vec<u8>) {
        frame(out, |out| LineProtocol.pong(token, out));
    }

    /// Scans a frame header together with its first line, so that messages, which have frames of
    /// their own, begin alike from the first byte on.
    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let &first = bytes.first()?;
        if bytes.starts_with(b"HTTP/") {
            let (head, len) = head(bytes)?;
            let event = match head.split(|&byte| byte == b' ').nth(1) {
                Some(b"101") => WireEvent::Confirm,
                _ => refused(head),
            };
            return Some((event, len));
        }
        // A further line of a frame.
        if first.is_ascii_graphic() {
            return LineProtocol.scan(bytes);
        }
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor);
        let head = cursor.position() as usize;
        let (header, len) = match parsed {
            Ok(parsed) => parsed?,
            Err(_) => return Some((refused(b"a frame of no known kind"), bytes.len())),
        };
        match header.opcode {
            OpCode::Control(kind) => {
                let end = head.checked_add(usize::try_from(len).ok()?)?;
                let event = match kind {
                    Control::Close => refused(b"the WebSocket is closed"),
                    Control::Ping | Control::Pong | Control::Reserved(_) => WireEvent::Other,
                };
                (bytes.len() >= end).then_some((event, end))
            }
            OpCode::Data(_) if len == 0 => Some((WireEvent::Other, head)),
            OpCode::Data(_) => {
                let (event, len) = LineProtocol.scan(&bytes[head..])?;
                Some((event.shifted(head), head + len))
            }
        }
    }
}

/// Writes the output of `say` as one frame.
fn frame(out: &mut Vec<u8>, say: impl FnOnce(&mut Vec<u8>)) {
    let mut said = Vec::new();
    say(&mut said);
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Text),
        mask: Some(MASK),
        ..FrameHeader::default()
    };
    let written = header.format(said.len() as u64, out);
    written.expect("a vector takes what is written");
    out.extend_from_slice(&said);
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    fn websocket() -> WebSocket {
        WebSocket::at("ws://127.0.0.1:1373/ws").expect("an address")
    }

    #[test]
    fn a_conversation_begins_with_a_handshake() {
        let connect = written(|out| websocket().connect("b", false, out));
        let connect = String::from_utf8(connect).expect("text");
        assert!(connect.starts_with("GET /ws HTTP/1.1\r\n"), "{connect}");
        assert!(
            connect.contains("Sec-WebSocket-Protocol: line"),
            "{connect}"
        );
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        check(&websocket(), answer, &WireEvent::Confirm);
        let text = "HTTP/1.1 404 Not Found".to_owned();
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        check(&websocket(), answer, &WireEvent::Refused(text));
        assert!(WebSocket::at("ws://a b/").is_err());
    }

    #[test]
    fn a_message_is_a_frame_with_a_line() {
        check_message(&websocket(), b"\x81\x0fMESSAGE a/b hi\n", "a/b");
        check(
            &websocket(),
            b"\x81\x07PING x\n",
            &WireEvent::Ping { token: 7..8 },
        );
    }

    #[test]
    fn a_frame_may_have_several_lines_and_none() {
        let frame = b"\x81\x0eSUBACK a\nPONG\n";
        let first = websocket().scan(frame);
        assert_eq!(first, Some((WireEvent::Confirm, 11)));
        assert_eq!(
            websocket().scan(&frame[11..]),
            Some((WireEvent::Confirm, 5))
        );
        check(&websocket(), b"\x81\x00", &WireEvent::Other);
        check(&websocket(), b"\x8a\x01x", &WireEvent::Other);
    }

    #[test]
    fn an_end_is_a_refusal() {
        let closed = WireEvent::Refused("the WebSocket is closed".to_owned());
        check(&websocket(), b"\x88\x02\x03\xe9", &closed);
    }

    #[test]
    fn a_request_is_a_frame_with_a_mask_of_zeros() {
        let out = written(|out| websocket().publish("a", b"hi", PublishOptions::PLAIN, out));
        assert_eq!(out, b"\x81\x8d\0\0\0\0PUBLISH a hi\n");
    }
}
