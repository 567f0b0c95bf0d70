//! What is printed.

use std::fmt;
use std::io::{self, Write};

/// A closed pipe is no reason to fail.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}
