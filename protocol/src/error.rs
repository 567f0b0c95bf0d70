//! Why bytes are not the protocol, for the program and for the person.

use std::fmt;

use crate::attributes::BadAttribute;
use crate::name::BadName;
use crate::topic::BadTopic;
use crate::verb::Verb;

/// The word after `ERROR` on the wire. Part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The line begins with no verb that the broker takes.
    UnknownVerb,
    /// A PUBLISH to what is not a topic.
    BadTopic,
    /// A SUBSCRIBE or UNSUBSCRIBE of what is not a filter.
    BadFilter,
    /// A NAME that is none.
    BadName,
    /// What stands after `@` is not attributes.
    BadAttribute,
    /// The verb needs an argument.
    MissingArgument,
    /// The line is longer than the broker takes.
    TooLong,
    /// A limit on subscriptions, retained messages or memory is reached.
    TooMany,
    /// Not allowed for this client.
    Denied,
    /// The broker cannot serve one more connection.
    Busy,
}

impl Code {
    /// The word.
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
            Self::Denied => "denied",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line is not a frame. None ends the connection: the next line end is where the next frame
/// begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The line is longer than allowed; it is skipped to its end.
    TooLong {
        /// The limit in bytes.
        max: usize,
        /// What it began with.
        verb: Option<Verb>,
    },
    /// There was no memory for more of the line; it is skipped to its end.
    NoMemory {
        /// How many bytes of it had come.
        begun: usize,
        /// What it began with.
        verb: Option<Verb>,
    },
    /// The line begins with no verb that may stand there.
    UnknownVerb {
        /// The beginning of the word, made printable.
        word: String,
    },
    /// The verb needs an argument.
    MissingArgument {
        /// Which verb.
        verb: Verb,
    },
    /// The topic is none.
    BadTopic {
        /// Of which verb.
        verb: Verb,
        /// What is wrong with it.
        why: BadTopic,
    },
    /// The name is none.
    BadName(BadName),
    /// What stands after `@` is not attributes.
    BadAttribute {
        /// Of which verb.
        verb: Option<Verb>,
        /// What is wrong with it.
        why: BadAttribute,
    },
    /// A frame of the broker that does not have its form.
    Malformed {
        /// Which verb.
        verb: Verb,
    },
}

impl DecodeError {
    /// The word for the wire.
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

    /// Whether the refused line was a PUBLISH, which counts on its connection.
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
