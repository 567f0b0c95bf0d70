//! Why a run failed.

use std::fmt;
use std::io;
use std::time::Duration;

use client::Error;

use crate::exit::{Exit, Failure};

/// A failure of a run.
#[derive(Debug)]
pub(crate) enum BenchFailure {
    /// Connecting failed, or the connection was lost.
    Connection(Error),
    /// No answer and no room to send for this time.
    Silent(Duration),
    /// The broker refused a request; its own text.
    Refused(String),
    /// The broker does not know who this client is; its own text.
    Unauthenticated(String),
    /// A message arrived that this run did not publish.
    Unexpected,
    /// The local system refused a resource.
    Resources(io::Error),
    /// The user interrupted the run.
    Interrupted,
}

impl fmt::Display for BenchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => why.fmt(f),
            Self::Silent(time) => write!(
                f,
                "no progress of the broker for {time:?}; give --wait a longer time"
            ),
            Self::Refused(text) | Self::Unauthenticated(text) => {
                write!(f, "the broker said: {text}")
            }
            Self::Unexpected => write!(
                f,
                "a message came that was not published here; is this the right protocol?"
            ),
            Self::Resources(why) => write!(f, "this machine lacks a resource for the run ({why})"),
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
            BenchFailure::Unauthenticated(_) => Exit::Unauthenticated,
            BenchFailure::Interrupted => Exit::Interrupted,
        };
        Self::new(exit, "client", failure)
    }
}
