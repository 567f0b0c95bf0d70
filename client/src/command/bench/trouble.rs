//! Why a run ended before its time.

use std::fmt;
use std::io;
use std::time::Duration;

use client::Error;

use crate::exit::{Exit, Failure};

/// What went wrong between the bench and the broker.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is no connection, or no more.
    Connection(Error),
    /// Neither an answer nor room to send for so long.
    Silent(Duration),
    /// The broker's own words.
    Refused(String),
    /// Something came that nobody published here.
    Strange,
    /// This machine does not give what is needed.
    Machine(io::Error),
    /// The user has seen enough.
    Interrupted,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => why.fmt(f),
            Self::Silent(time) => write!(
                f,
                "the broker has not moved for {time:?}; give --wait a longer time"
            ),
            Self::Refused(text) => write!(f, "the broker said: {text}"),
            Self::Strange => write!(
                f,
                "a message came that was not published here; is this the right protocol?"
            ),
            Self::Machine(why) => write!(f, "this machine has no room for it ({why})"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let exit = match &trouble {
            Trouble::Connection(error) => return Self::of(error, "client"),
            Trouble::Silent(_) | Trouble::Refused(_) | Trouble::Strange | Trouble::Machine(_) => {
                Exit::Failed
            }
            Trouble::Interrupted => Exit::Interrupted,
        };
        Self::new(exit, "client", trouble)
    }
}
