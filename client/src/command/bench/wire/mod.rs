//! The protocols of the brokers under test, as far as a load needs them.
//!
//! Payloads are those of `payload.rs`, which need no escapes in any of these protocols.

mod events;
mod follow;
mod jetstream;
mod line;
mod mqtt;
mod nats;
mod protocol;
mod publishers;
mod redis;
mod redis_streams;
mod text;
mod websocket;

pub(crate) use events::Streams;
pub(crate) use follow::FollowerLines;
pub(crate) use jetstream::JetStream;
pub(crate) use line::LineProtocol;
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::Nats;
pub(crate) use protocol::{AckCount, Kept, Protocol, PublishOptions, WireEvent};
pub(crate) use publishers::LinePublishers;
pub(crate) use redis::Redis;
pub(crate) use redis_streams::RedisStreams;
pub(crate) use websocket::WebSocket;
