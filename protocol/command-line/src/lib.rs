//! What the command lines of broker and client share: which variables of the environment count as flags,
//! and the page of the manual. It is a crate of its own because neither program imports the other, and
//! the protocol knows no command line.

mod environment;
mod man_page;

pub use environment::{command, parse};
pub use man_page::{write_commands, write_page};
