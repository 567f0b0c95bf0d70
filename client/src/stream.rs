//! The byte stream of a connection: its transport, or a WebSocket on that.
//!
//! Both are non-blocking. A WebSocket carries the line protocol, in messages of whole lines, or
//! MQTT, in messages with arbitrary boundaries.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::time::Duration;

use memchr::{memchr, memrchr};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};

use crate::options::Options;
use crate::printable::printable;
use crate::socket;
use crate::transport::Transport;

/// Maximum size of a message that is sent, unless one line is longer.
const MESSAGE_BYTES: usize = 64 * 1024;

/// The protocol inside a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Line,
    Mqtt,
}

impl Inside {
    fn subprotocol(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Mqtt => "mqtt",
        }
    }

    /// Its name for ALPN, without a WebSocket.
    pub(crate) fn alpn(self) -> &'static str {
        match self {
            Self::Line => "dallal",
            Self::Mqtt => "mqtt",
        }
    }
}

/// A stream to the broker.
#[derive(Debug)]
pub(crate) enum Stream {
    Direct(Transport),
    Tunnel(Box<Tunnel>),
}

/// A WebSocket.
#[derive(Debug)]
pub(crate) struct Tunnel {
    socket: WebSocket<Transport>,
    inside: Inside,
    /// The last received message, and how many of its bytes have been read.
    message: Vec<u8>,
    taken: usize,
    /// Whether the WebSocket may hold received data, of which a poll of the socket knows nothing.
    may_hold: bool,
    /// Whether written bytes wait for room in the socket.
    is_flushing: bool,
}

impl Stream {
    /// Wraps a new connection as the options say.
    pub(crate) fn open(
        transport: Transport,
        server: &impl Display,
        inside: Inside,
        options: &Options,
    ) -> io::Result<Self> {
        let stream = match &options.websocket {
            None => Self::Direct(transport),
            Some(path) => {
                let server = server.to_string();
                let host = socket::path_in(&server).map_or(&*server, |_| "localhost");
                let address = format!("ws://{host}{path}");
                Self::tunnel(transport, &address, inside, options.connect_timeout)?
            }
        };
        stream.transport().set_nonblocking(true)?;
        Ok(stream)
    }

    /// Does the WebSocket handshake with this address.
    fn tunnel(
        stream: Transport,
        address: &str,
        inside: Inside,
        wait: Duration,
    ) -> io::Result<Self> {
        let address = address.parse().map_err(io::Error::other)?;
        let request = ClientRequestBuilder::new(address).with_sub_protocol(inside.subprotocol());
        // The broker limits the length of lines, not the WebSocket.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        stream.set_read_timeout(Some(wait))?;
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self::Tunnel(Box::new(Tunnel {
                socket,
                inside,
                message: Vec::new(),
                taken: 0,
                may_hold: true,
                is_flushing: false,
            }))),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let text = answer.body().as_deref().unwrap_or_default();
                let text = printable(String::from_utf8_lossy(text).trim_end());
                let status = answer.status();
                Err(io::Error::other(format!(
                    "the server answers {status}: {text}"
                )))
            }
            Err(HandshakeError::Failure(tungstenite::Error::Io(err))) => Err(err),
            Err(HandshakeError::Failure(err)) => Err(io::Error::other(err)),
            Err(HandshakeError::Interrupted(_)) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// What carries it, to poll.
    pub(crate) fn transport(&self) -> &Transport {
        match self {
            Self::Direct(transport) => transport,
            Self::Tunnel(tunnel) => tunnel.socket.get_ref(),
        }
    }

    /// Whether there may be data to read that a poll of the socket does not report.
    pub(crate) fn may_hold(&self) -> bool {
        match self {
            Self::Direct(transport) => transport.may_hold(),
            Self::Tunnel(tunnel) => tunnel.may_hold,
        }
    }

    /// Whether written bytes have not been sent yet.
    pub(crate) fn is_flushing(&self) -> bool {
        match self {
            Self::Direct(transport) => transport.is_flushing(),
            Self::Tunnel(tunnel) => tunnel.is_flushing,
        }
    }

    /// Closes the sending side.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(transport) => transport.end(),
            Self::Tunnel(tunnel) => {
                // Fails if the peer has closed already.
                let _ = tunnel.socket.close(None);
                tunnel.flush()
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct(transport) => transport.read(chunk),
            Self::Tunnel(tunnel) => tunnel.read(chunk),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(transport) => transport.write(bytes),
            Self::Tunnel(tunnel) => tunnel.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(transport) => transport.flush(),
            Self::Tunnel(tunnel) => tunnel.flush(),
        }
    }
}

impl Tunnel {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.message.len() {
            self.message = match self.socket.read() {
                Ok(Message::Text(_)) if self.inside == Inside::Mqtt => {
                    let why = "MQTT came in a message of text";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Ok(Message::Text(text)) => text.as_bytes().to_vec(),
                Ok(Message::Binary(bytes)) => bytes.to_vec(),
                Ok(_) => Vec::new(),
                Err(tungstenite::Error::ConnectionClosed) => return Ok(0),
                Err(err) => {
                    let err = failure(err);
                    self.may_hold = err.kind() != io::ErrorKind::WouldBlock;
                    return Err(err);
                }
            };
            self.taken = 0;
            self.may_hold = true;
        }
        let rest = &self.message[self.taken..];
        let len = rest.len().min(chunk.len());
        chunk[..len].copy_from_slice(&rest[..len]);
        self.taken += len;
        Ok(len)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let len = match self.inside {
            Inside::Line => whole_lines(bytes),
            Inside::Mqtt => bytes.len().min(MESSAGE_BYTES),
        };
        let message = Message::binary(bytes[..len].to_vec());
        // The WebSocket buffers the message even if the socket has no room.
        let written = self.socket.write(message).map_err(failure);
        match written.and_then(|()| self.flush()) {
            Err(err) if err.kind() != io::ErrorKind::WouldBlock => Err(err),
            Err(_) => {
                self.is_flushing = true;
                Ok(len)
            }
            Ok(()) => Ok(len),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.socket.flush().map_err(failure);
        self.is_flushing = flushed.is_err();
        flushed
    }
}

/// How many bytes go into one message: whole lines, because the end of a message ends a line.
fn whole_lines(bytes: &[u8]) -> usize {
    let (first, rest) = bytes.split_at(bytes.len().min(MESSAGE_BYTES));
    match memrchr(b'\n', first) {
        Some(end) => end + 1,
        None => memchr(b'\n', rest).map_or(bytes.len(), |end| first.len() + end + 1),
    }
}

fn failure(err: tungstenite::Error) -> io::Error {
    match err {
        tungstenite::Error::Io(err) => err,
        err => io::Error::other(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_a_line_does() {
        assert_eq!(whole_lines(b"PING a\nPING b\n"), 14);
        assert_eq!(whole_lines(b"PING a\nPING"), 7);
        let long = [vec![b'x'; MESSAGE_BYTES + 5], b"\nPING\n".to_vec()].concat();
        assert_eq!(whole_lines(&long), MESSAGE_BYTES + 6);
        let many = b"PING\n".repeat(MESSAGE_BYTES);
        assert_eq!(whole_lines(&many) % 5, 0);
        assert!(whole_lines(&many) <= MESSAGE_BYTES);
    }
}
