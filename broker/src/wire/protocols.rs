//! The protocols that a connection may speak.

use std::fmt;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Line,
    Http,
    /// WebSocket, after a switch from HTTP, with another protocol inside.
    WebSocket(Subprotocol),
    Mqtt,
    Tls,
    /// Raw text, on the port of a room.
    Room,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "the line protocol",
            Self::Http => "HTTP",
            Self::WebSocket(Subprotocol::Line) => "the line protocol in WebSocket",
            Self::WebSocket(Subprotocol::Mqtt) => "MQTT in WebSocket",
            Self::WebSocket(Subprotocol::Talking) => "the web chat in WebSocket",
            Self::Mqtt => "MQTT",
            Self::Tls => "TLS",
            Self::Room => "raw text",
        })
    }
}

/// The protocol inside a WebSocket (RFC 6455 §1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// The line protocol: the end of a message ends a line.
    Line,
    /// MQTT: messages are binary, and packets may cross their ends [MQTT-6.0.0-1] [MQTT-6.0.0-2].
    Mqtt,
    /// The web chat: each message is an object of JSON. It has no name in the handshake.
    Talking,
}

/// Follows each message of the web chat in the bytes that a tunnel passes on: an object may hold line ends, but
/// text is UTF-8, which has neither this byte nor [`BINARY`].
pub(crate) const MESSAGE_END: u8 = 0xff;

/// Takes the place of the content of a binary message there.
pub(crate) const BINARY: u8 = 0xfe;
