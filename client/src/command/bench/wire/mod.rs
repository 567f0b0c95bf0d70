//! What the brokers under test speak: just enough of each protocol to load them.
//!
//! A wire turns what a client says into bytes and finds what a broker says among the bytes that
//! came. It opens no socket and keeps no state. Payloads are those of `payload.rs`, which stand in
//! every protocol as they are, so no wire escapes anything.

mod events;
mod line;
mod mqtt;
mod nats;
mod protocol;
mod redis;
mod text;
mod websocket;

pub(crate) use events::{Events, Streams};
pub(crate) use line::LineProtocol;
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::Nats;
pub(crate) use protocol::{AckCount, Protocol, WireEvent};
pub(crate) use redis::Redis;
pub(crate) use websocket::WebSocket;
