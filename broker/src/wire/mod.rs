//! Conversations: bytes on one side, the engine on the other.
//!
//! `serve` serves a client in the protocol that `detect` finds, and `close` lists the steps after its end.
//! A wire reads from a [`Source`] and sends everything through the client's outbox; it knows no socket
//! and starts no thread.

pub(crate) mod busy;
mod chat_object;
pub(crate) mod close;
mod credential;
mod detect;
pub(crate) mod end;
pub(crate) mod http;
mod json;
pub(crate) mod line;
pub(crate) mod mqtt;
pub(crate) mod protocols;
mod proxy;
pub(crate) mod room;
mod serve;
pub(crate) mod source;
pub(crate) mod talking;
pub(crate) mod websocket;

pub(crate) use close::{Closing, Finished, close};
pub(crate) use end::End;
pub(crate) use protocols::Protocol;
pub(crate) use proxy::{Admit, behind_header};
pub(crate) use serve::{Entrance, serve};
pub(crate) use source::{Arrival, Source};
