//! What is said while measuring.

use std::io::{self, Write};

/// To standard error. A closed pipe is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
