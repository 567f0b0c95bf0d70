//! How the mistakes of a configuration are told.

use std::io::{self, Write};
use std::process;

/// Why there is no configuration.
pub(super) enum Failure {
    /// Wrong usage, or something that only prints.
    Usage(clap::Error),
    /// The mistakes in the file.
    File(Vec<String>),
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl Failure {
    /// The mistakes, one in each line.
    pub(super) fn into_lines(self) -> Vec<String> {
        match self {
            Self::Usage(error) => vec![error.to_string().trim_end().to_owned()],
            Self::File(mistakes) => mistakes,
        }
    }

    /// Tells it and ends the process.
    pub(super) fn exit(self) -> ! {
        match self {
            Self::Usage(error) => error.exit(),
            Self::File(mistakes) => fail(&mistakes),
        }
    }
}

/// Tells the mistakes of a configuration and ends the process.
pub(super) fn fail(mistakes: &[String]) -> ! {
    write_lines("", mistakes);
    process::exit(WRONG_USAGE)
}

/// Prints what is no mistake, and perhaps not meant either.
pub(super) fn warn(warnings: &[String]) {
    write_lines("warning: ", warnings);
}

fn write_lines(head: &str, lines: &[String]) {
    let mut text = String::new();
    for line in lines {
        text.push_str(head);
        text.push_str(line);
        text.push('\n');
    }
    // Without standard error, the exit code tells.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The exit code of `clap`.
const WRONG_USAGE: i32 = 2;
