//! WebSocket: a tunnel that unwraps a client's frames and passes the bytes to the inner protocol.
//!
//! `tunnel` reads a client's bytes and `frame` their parts, `encoder` writes the frames for the client,
//! and `close` determines the close frame. None of them calls the router. The library defines the
//! layout of frames and the codes; the rules of RFC 6455 that a client can break are checked here.

mod close;
mod encoder;
mod frame;
mod tunnel;

pub(crate) use close::TunnelEnd;
pub(crate) use encoder::MQTT;
pub(crate) use tunnel::Tunnel;
