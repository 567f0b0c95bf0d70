//! What a connection speaks.

use std::fmt;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Line,
    Http,
    /// What HTTP has switched to, with another protocol inside.
    WebSocket(Subprotocol),
    Mqtt,
    Tls,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "the line protocol",
            Self::Http => "HTTP",
            Self::WebSocket(Subprotocol::Line) => "the line protocol in WebSocket",
            Self::WebSocket(Subprotocol::Mqtt) => "MQTT in WebSocket",
            Self::Mqtt => "MQTT",
            Self::Tls => "TLS",
        })
    }
}

/// What is spoken inside (RFC 6455 §1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// The line protocol: the end of a message is the end of a line.
    Line,
    /// MQTT: messages are binary, and their ends mean nothing [MQTT-6.0.0-1] [MQTT-6.0.0-2].
    Mqtt,
}
