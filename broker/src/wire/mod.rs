//! Conversations: bytes on one side, the engine on the other.
//!
//! `detect` finds out which protocol a client begins to speak and serves it, and `close` says what happens
//! when that is over. A wire gets its bytes from a [`Source`] and says everything through the client's
//! outbox; it knows no socket and starts no thread.

pub(crate) mod close;
mod detect;
pub(crate) mod end;
pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod mqtt;
pub(crate) mod protocols;
pub(crate) mod source;
pub(crate) mod websocket;

pub(crate) use close::{Closing, Finished, close};
pub(crate) use detect::serve;
pub(crate) use end::End;
pub(crate) use protocols::Protocol;
pub(crate) use source::{Arrival, Source};
