//! Why a question cannot be answered.

use std::fmt;

use protocol::{BadFilter, BadTopic};

use crate::engine::client::Denied;

/// Why a question cannot be answered. `Display` says what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadArgument {
    Filter(BadFilter),
    Topic(BadTopic),
    /// The question needs a topic and has none.
    NoTopic,
    /// The question needs arguments that it does not have; these.
    Missing(&'static str),
    /// The question has no answer: an argument is not what it should be.
    Question(String),
    /// The client may not ask this.
    Denied(Denied),
}

impl From<BadFilter> for BadArgument {
    fn from(why: BadFilter) -> Self {
        Self::Filter(why)
    }
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(why) => why.fmt(f),
            Self::Topic(why) => why.fmt(f),
            Self::Denied(denied) => denied.fmt(f),
            Self::Missing(what) => f.write_str(what),
            Self::Question(why) => f.write_str(why),
            Self::NoTopic => write!(f, "the topic is missing; write it behind one space"),
        }
    }
}
