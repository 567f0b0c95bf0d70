//! Why a line is not a frame: a [`Code`] for programs and a sentence for people.
//!
//! The modules of topics, names and attributes define their own errors; [`DecodeError`] adds the verb.

use std::fmt;

use crate::attributes::BadAttribute;
use crate::name::BadName;
use crate::topic::BadTopic;
use crate::verb::Verb;

/// The word after `ERROR` on the wire. Part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The line does not begin with the verb of a request.
    UnknownVerb,
    /// A topic that is not valid.
    BadTopic,
    /// A filter that is not valid.
    BadFilter,
    /// A name that is not valid.
    BadName,
    /// The word after `@` is malformed, or an attribute has an unknown value.
    BadAttribute,
    /// The argument of the verb is missing.
    MissingArgument,
    /// The line is longer than the limit.
    TooLong,
    /// A limit on subscriptions, retained messages or memory is reached.
    TooMany,
    /// The client has to say who it is first, or what it has said is wrong or has ended.
    Auth,
    /// The client may not do this.
    Denied,
    /// The broker has reached its limit of connections.
    Busy,
    /// The disk of the broker is full: what would be kept is refused.
    NoRoom,
    /// The disk of the broker has failed: what would be kept is refused.
    StoreFailed,
    /// The broker could not do what it was asked for; the text says why.
    NotDone,
}

impl Code {
    /// The spelling on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownVerb => "unknown-verb",
            Self::BadTopic => "bad-topic",
            Self::BadFilter => "bad-filter",
            Self::BadName => "bad-name",
            Self::BadAttribute => "bad-attribute",
            Self::MissingArgument => "missing-argument",
            Self::TooLong => "too-long",
            Self::TooMany => "too-many",
            Self::Auth => "auth",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::NoRoom => "no-room",
            Self::StoreFailed => "store-failed",
            Self::NotDone => "not-done",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line is not a frame. It never ends the connection: the next frame begins after the line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The line is longer than allowed; it is skipped to its end.
    TooLong {
        /// The limit in bytes.
        max: usize,
        /// Its verb, if that was within the limit.
        verb: Option<Verb>,
    },
    /// There was no memory for more of the line; it is skipped to its end.
    NoMemory {
        /// How many bytes of it had arrived.
        begun: usize,
        /// Its verb, if that had arrived.
        verb: Option<Verb>,
    },
    /// The line does not begin with a verb of this direction.
    UnknownVerb {
        /// The beginning of the word, made printable.
        word: String,
    },
    /// The argument of the verb is missing.
    MissingArgument {
        /// The verb.
        verb: Verb,
    },
    /// The topic is not valid.
    BadTopic {
        /// Its verb.
        verb: Verb,
        /// Why.
        why: BadTopic,
    },
    /// The name is not valid.
    BadName(BadName),
    /// The word after `@` is malformed.
    BadAttribute {
        /// The verb of the line, if it has one.
        verb: Option<Verb>,
        /// Why.
        why: BadAttribute,
    },
    /// A frame of the broker whose arguments are malformed.
    Malformed {
        /// Its verb.
        verb: Verb,
    },
}

impl DecodeError {
    /// The code for the `ERROR` frame.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => Code::TooLong,
            Self::NoMemory { .. } => Code::TooMany,
            Self::UnknownVerb { .. } => Code::UnknownVerb,
            Self::MissingArgument { .. } | Self::Malformed { .. } => Code::MissingArgument,
            Self::BadTopic { .. } => Code::BadTopic,
            Self::BadName(_) => Code::BadName,
            Self::BadAttribute { .. } => Code::BadAttribute,
        }
    }

    /// Whether the refused line was a PUBLISH: it takes a number on its connection, like an accepted one.
    pub fn is_publish(&self) -> bool {
        match self {
            Self::TooLong { verb, .. }
            | Self::NoMemory { verb, .. }
            | Self::BadAttribute { verb, .. } => *verb == Some(Verb::Publish),
            Self::MissingArgument { verb }
            | Self::Malformed { verb }
            | Self::BadTopic { verb, .. } => *verb == Verb::Publish,
            Self::BadName(_) | Self::UnknownVerb { .. } => false,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max, .. } => {
                write!(f, "the line has more than {max} bytes; send less at a time")
            }
            Self::NoMemory { begun, .. } => write!(
                f,
                "there is no memory for more than {begun} bytes of this line now; send it again \
                 later, or in smaller parts"
            ),
            Self::UnknownVerb { word } if word.is_empty() => {
                write!(
                    f,
                    "no verb begins this line; a line is VERB argument; try HELP"
                )
            }
            Self::UnknownVerb { word } => match Verb::parse(word.as_bytes()) {
                Some(_) => write!(f, "only the other side says {word}; try HELP"),
                None => write!(f, "no verb is called {word:?}; try HELP"),
            },
            Self::MissingArgument { verb } => match verb.help() {
                Some(help) => write!(f, "an argument is missing: {help}"),
                None => write!(f, "an argument of {verb} is missing"),
            },
            Self::BadTopic { why, .. } => why.fmt(f),
            Self::BadName(why) => why.fmt(f),
            Self::BadAttribute { why, .. } => why.fmt(f),
            Self::Malformed { verb } => write!(f, "this is not the form of {verb}"),
        }
    }
}

impl std::error::Error for DecodeError {}
