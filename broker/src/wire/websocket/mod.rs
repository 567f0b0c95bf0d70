//! WebSocket: a tunnel that unwraps what a client sends and hands the bytes to the wire inside.
//!
//! `tunnel` reads what a client sends and `frame` its parts, `encoder` makes the frames that it is sent, and
//! `close` says how both sides end. None of them meets the router. The layout of frames and the codes are the
//! library's; the rules of RFC 6455 that a client can break are kept here.

mod close;
mod encoder;
mod frame;
mod tunnel;

use crate::engine::outbox::encoder::Encoder;

pub(crate) use close::TunnelEnd;
pub(crate) use encoder::MQTT;
pub(crate) use tunnel::Tunnel;

/// What is spoken inside (RFC 6455 §1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// The line protocol: the end of a message is the end of a line.
    Line,
    /// MQTT: messages are binary, and their ends mean nothing [MQTT-6.0.0-1] [MQTT-6.0.0-2].
    Mqtt,
}

impl Subprotocol {
    /// What the outbox says before more is known of the client.
    pub(crate) fn encoder(self) -> &'static Encoder {
        match self {
            Self::Line => &encoder::ENCODER,
            Self::Mqtt => MQTT.v3,
        }
    }
}
