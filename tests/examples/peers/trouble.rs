//! Why there is no document.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::cases::CASES;

#[derive(Debug)]
pub(crate) enum Trouble {
    /// No case has such a name.
    NoCase(String),
    /// None of the brokers that were asked for is there.
    NoBroker,
    /// A program of this project was not built.
    NotBuilt(PathBuf),
    File(PathBuf, io::Error),
    /// The results have a line that is none of ours, counted from one.
    Line(PathBuf, usize),
    Plot(String),
    Signals(io::Error),
    Interrupted,
}

impl Trouble {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File(path.to_owned(), error)
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NoCase(_) => 2,
            Self::NoBroker
            | Self::NotBuilt(_)
            | Self::File(..)
            | Self::Line(..)
            | Self::Plot(_)
            | Self::Signals(_) => 1,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCase(pattern) => {
                let names = CASES.iter().map(|case| format!("\n  {}", case.name));
                let names: String = names.collect();
                write!(f, "no case matches {pattern:?}; there are{names}")
            }
            Self::NoBroker => write!(
                f,
                "none of these brokers is there; run tests/peers, which installs them"
            ),
            Self::NotBuilt(path) => write!(
                f,
                "there is no {}; run `cargo build --release --bins --examples`",
                path.display()
            ),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Line(path, line) => write!(
                f,
                "{}, line {line} is no result; give a results.jsonl that this program wrote",
                path.display()
            ),
            Self::Plot(why) => write!(f, "a plot cannot be drawn ({why})"),
            Self::Signals(error) => write!(f, "cannot watch for an interruption ({error})"),
            Self::Interrupted => {
                write!(f, "interrupted; the results so far are in unfinished.jsonl")
            }
        }
    }
}
