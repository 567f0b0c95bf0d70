//! WebSocket: a tunnel that unwraps what a client sends and hands the bytes to the wire inside.
//!
//! `tunnel` reads what a client sends and `frame` its parts, `encoder` makes the frames that it is sent, and
//! `close` says how both sides end. None of them meets the router. The layout of frames and the codes are the
//! library's; the rules of RFC 6455 that a client can break are kept here.

mod close;
mod encoder;
mod frame;
mod tunnel;

pub(crate) use close::TunnelEnd;
pub(crate) use encoder::MQTT;
pub(crate) use tunnel::Tunnel;
