//! What the command lines of broker and client share: which variables of the environment count as flags,
//! the page of the manual, words as one types them, and messages as JSON. It is a crate of its own because neither
//! program imports the other, and the protocol knows no command line.

mod environment;
pub mod json;
mod man_page;
pub mod recording;
mod shell;

pub use environment::{command, parse};
pub use man_page::{write_commands, write_page};
pub use shell::shell_word;
