//! Lines for the user on standard error, apart from the data on standard output.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes one line. A failure is ignored: there is no other place to report it.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
