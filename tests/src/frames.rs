//! A client of WebSocket that knows no more than bytes: it sends what a test gives it and reads whole
//! frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use crate::PATIENCE;

/// One connection that has become a WebSocket, read with patience.
#[derive(Debug)]
pub struct FrameClient {
    stream: TcpStream,
}

/// The key of a handshake, as good as any.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A frame as clients send it: first byte, length, mask, payload.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// The beginning of such a frame, whose payload is yet to come.
pub fn head(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(0x80 | len as u8),
        126..=0xffff => {
            head.push(0x80 | 126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(len.to_be_bytes());
        }
    }
    head.extend(MASK);
    head
}

const MASK: [u8; 4] = *b"mask";

impl FrameClient {
    /// A new connection that has been let in, with this subprotocol if one is given.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str, subprotocol: Option<&str>) -> Self {
        match Self::try_open(address, path, subprotocol) {
            Ok((client, chosen)) => {
                assert_eq!(chosen.as_deref(), subprotocol);
                client
            }
            Err(answer) => panic!("not let in: {answer}"),
        }
    }

    /// The same with any offer of subprotocols; returns which was chosen, or the answer of a server that refuses.
    #[track_caller]
    pub fn try_open(
        address: SocketAddr,
        path: &str,
        subprotocols: Option<&str>,
    ) -> Result<(Self, Option<String>), String> {
        let mut headers = String::new();
        if let Some(subprotocols) = subprotocols {
            headers = format!("Sec-WebSocket-Protocol: {subprotocols}\r\n");
        }
        let (client, answer) = Self::handshake(address, path, &headers);
        if !answer.starts_with("HTTP/1.1 101 ") {
            return Err(answer);
        }
        let chosen = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_it = name.eq_ignore_ascii_case("sec-websocket-protocol");
            is_it.then(|| value.to_owned())
        });
        Ok((client, chosen))
    }

    /// A new connection that has asked to become a WebSocket, with these headers besides, and the head
    /// of the answer.
    #[track_caller]
    pub fn handshake(address: SocketAddr, path: &str, headers: &str) -> (Self, String) {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a connected socket");
        stream.set_nodelay(true).expect("a connected socket");
        let mut client = Self { stream };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        );
        client.send(request.as_bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        (client, String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends bytes as they are. That the broker has closed shows when something is read.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.stream.write_all(bytes);
        self
    }

    /// Sends a frame.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) -> &mut Self {
        self.send(&masked(first, payload))
    }

    /// The next frame: its first byte and its payload, or why there is none.
    pub fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert!(head[1] < 0x80, "a server masks nothing");
        let long = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut len = [0; 8];
        self.stream.read_exact(&mut len[8 - long..])?;
        let len = match long {
            0 => head[1].into(),
            _ => u64::from_be_bytes(len),
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }

    /// The next frame.
    #[track_caller]
    pub fn next_frame(&mut self) -> (u8, Vec<u8>) {
        self.read_frame()
            .unwrap_or_else(|err| panic!("no frame came: {err}"))
    }

    /// The next frame, which has to be this.
    #[track_caller]
    pub fn expect(&mut self, first: u8, payload: impl AsRef<[u8]>) -> &mut Self {
        let (came, bytes) = self.next_frame();
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(
            (came, shown(&bytes)),
            (first, shown(payload.as_ref())),
            "first byte and payload"
        );
        self
    }

    /// The next frame, which has to close with this code, and then the end. What the frame says
    /// besides.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let (first, payload) = self.next_frame();
        let (said, why) = payload.split_at(payload.len().min(2));
        assert_eq!(
            (first, said),
            (0x88, &code.to_be_bytes()[..]),
            "not closed with {code}, but {}",
            why.escape_ascii()
        );
        self.expect_end();
        String::from_utf8(why.to_vec()).expect("a reason is text")
    }

    /// The broker has closed the connection and sent nothing more.
    #[track_caller]
    pub fn expect_end(&mut self) {
        match self.read_frame() {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {}
            other => panic!("expected the end, came {other:02x?}"),
        }
    }

    /// A second way to write to the same socket, for another thread.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    /// Makes the end of the connection a reset, as if the machine had lost its power.
    pub fn vanish(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("an open connection");
    }
}
