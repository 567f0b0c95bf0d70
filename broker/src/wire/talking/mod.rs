//! The web chat of tutorials: objects of JSON in a WebSocket, in the rooms of all other chats.
//!
//! A client logs in with a nick and a room. What it says goes to the others of the web chat as the object
//! that it sent, byte for byte, and to all other members of the room as ordinary text. `reader`
//! finds where an object ends, `request` says what it asks for, `writer` makes one of each message, and
//! `topics` says where they are published.

mod conversation;
mod reader;
mod request;
mod topics;
mod web_chat;
mod writer;

pub(crate) use conversation::serve;
pub(crate) use web_chat::WebChat;
