//! The line protocol as values and bytes, with no I/O.
//!
//! Bytes from a peer go into a [`Decoder`] and complete frames come out: [`Request`]s for a broker,
//! [`Reply`]s for a client. `encode` on either turns a frame back into bytes. Nothing here opens a
//! socket, starts a thread or reads a clock, so a byte string can test every rule of the protocol.
//! `docs/protocol.md` is the contract: where the two differ, this crate has the bug.

mod ack_level;
mod attributes;
mod decode;
mod encode;
mod error;
mod escape;
mod filter;
mod frame;
mod harmless;
pub mod limits;
mod message;
mod name;
mod overflow_policy;
mod past;
mod position;
mod spaces;
mod topic;
mod verb;

pub use ack_level::{AckLevel, BadAckLevel, Reached};
pub use attributes::{
    ACK, Attributes, BadAttribute, EACH, ERROR, ID, INCOMPLETE, LAST, LEVEL, LIMIT, OLDEST, PAST,
    POSITION, REPLY, RETAIN, RETAINED, SINCE, SLOW, TTL, UNTIL,
};
pub use decode::{Decoder, Framer, Step};
pub use error::{Code, DecodeError};
pub use escape::Escaped;
pub use filter::{BadFilter, Filter, Filters};
pub use frame::{Credential, Reply, Request, Subject};
pub use harmless::is_harmless;
pub use message::MessageLine;
pub use name::{BadName, Name};
pub use overflow_policy::{BadOverflowPolicy, OverflowPolicy};
pub use past::{BadPast, Incomplete, PastQuery, PastStart};
pub use position::{BadPosition, Position, StoreId};
pub use spaces::{decode_spaces, decode_spaces_bytes, encode_spaces, escape_spaces};
pub use topic::{BadTopic, Topic};
pub use verb::Verb;
