//! Lines for the user on standard error, apart from the data on standard output. They may contain
//! text of peers.

use std::fmt::Display;
use std::io::{self, Write};

use crate::visible;

/// Writes one line. A failure is ignored: there is no other place to report it.
pub(crate) fn say(text: impl Display) {
    let text = visible::lines(&text.to_string());
    let _ = writeln!(io::stderr().lock(), "{text}");
}
