//! Rooms for programs that know no protocol: raw text, over TCP and in datagrams.
//!
//! A room is a topic. A member says its nick first, and then texts. It hears one line for each message
//! of others, `nick: text`; lines of the broker itself begin with `* `.

mod allowance;
mod conversation;
pub(crate) mod datagrams;
mod members;
mod reader;
mod rooms;
mod text;
mod writer;

pub(crate) use allowance::{ASKING, Allowance, RateWindow, Verdict};
pub(crate) use conversation::serve;
pub(crate) use members::{NotSaid, Room, busy, check_length, hear, publish};
pub(crate) use rooms::Rooms;
pub(crate) use text::{chat, nick, notice, said};
pub(crate) use writer::ENCODER;
