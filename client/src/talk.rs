//! What the program says to its user, apart from data.

use std::fmt::Display;
use std::io::{self, Write};

/// One line on standard error. If nobody reads there, nobody misses it.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// So many messages, in words.
pub(crate) fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}
