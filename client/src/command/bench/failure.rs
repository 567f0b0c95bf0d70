//! Why a run ended before its time.

use std::fmt;
use std::io;
use std::time::Duration;

use client::Error;

use crate::exit::{Exit, Failure};

/// What went wrong between the bench and the broker.
#[derive(Debug)]
pub(crate) enum BenchFailure {
    /// There is no connection, or no more.
    Connection(Error),
    /// Neither an answer nor room to send for so long.
    Silent(Duration),
    /// The broker's own words.
    Refused(String),
    /// Something came that nobody published here.
    Unexpected,
    /// This machine does not give what is needed.
    Resources(io::Error),
    /// The user has seen enough.
    Interrupted,
}

impl fmt::Display for BenchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => why.fmt(f),
            Self::Silent(time) => write!(
                f,
                "the broker has not moved for {time:?}; give --wait a longer time"
            ),
            Self::Refused(text) => write!(f, "the broker said: {text}"),
            Self::Unexpected => write!(
                f,
                "a message came that was not published here; is this the right protocol?"
            ),
            Self::Resources(why) => write!(f, "this machine has no room for it ({why})"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl From<BenchFailure> for Failure {
    fn from(failure: BenchFailure) -> Self {
        let exit = match &failure {
            BenchFailure::Connection(error) => return Self::of(error, "client"),
            BenchFailure::Silent(_)
            | BenchFailure::Refused(_)
            | BenchFailure::Unexpected
            | BenchFailure::Resources(_) => Exit::Failed,
            BenchFailure::Interrupted => Exit::Interrupted,
        };
        Self::new(exit, "client", failure)
    }
}
