//! Everything that can be said, in both directions.

use std::borrow::Cow;

use crate::attributes::Attributes;
use crate::escape::Escaped;
use crate::filter::Filters;
use crate::name::Name;
use crate::topic::Topic;
use crate::verb::Verb;

/// Everything a client can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `PUBLISH <topic>[ <payload>]`. Answered by [`Reply::PubAck`].
    Publish {
        /// Where to.
        topic: Topic<'a>,
        /// What; may be empty.
        payload: Escaped<'a>,
        /// What stood before the verb.
        attributes: Attributes<'a>,
    },
    /// `SUBSCRIBE <filter>[ <filter>...]`. Answered by one [`Reply::SubAck`] for each, in order.
    Subscribe {
        /// What for.
        filters: Filters<'a>,
        /// What stood before the verb.
        attributes: Attributes<'a>,
    },
    /// `UNSUBSCRIBE <filter>[ <filter>...]`. Answered by one [`Reply::UnsubAck`] for each.
    Unsubscribe {
        /// What for.
        filters: Filters<'a>,
    },
    /// `PING[ <token>]`. Answered by [`Reply::Pong`] once everything before it has been handled.
    Ping {
        /// Comes back in the answer; may be empty.
        token: &'a [u8],
    },
    /// `PONG[ <token>]`. Answers [`Reply::Ping`].
    Pong {
        /// The token of the PING.
        token: &'a [u8],
    },
    /// `HELP[ <verb>]`. Answered by [`Reply::Help`] lines.
    Help {
        /// The one verb to explain, else all.
        verb: Option<Verb>,
    },
    /// `WILL <topic>[ <payload>]`. Answered by [`Reply::WillAck`]. Published if the connection ends
    /// without [`Request::Bye`]; a newer one takes its place.
    Will {
        /// Where to.
        topic: Topic<'a>,
        /// What; may be empty.
        payload: Escaped<'a>,
        /// What stood before the verb, as on a PUBLISH.
        attributes: Attributes<'a>,
    },
    /// `NAME <name>`. Answered by [`Reply::NameAck`].
    Name {
        /// What the client calls itself.
        name: Name<'a>,
    },
    /// `BYE`. Answered by [`Reply::Bye`] after everything queued; then the broker closes.
    Bye,
}

/// Everything the broker can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `MESSAGE <topic>[ <payload>]`. Matches one of this client's filters.
    Message {
        /// Where it was published.
        topic: Topic<'a>,
        /// What was published.
        payload: Escaped<'a>,
        /// What its publisher put before the verb, and the broker's own marks.
        attributes: Attributes<'a>,
    },
    /// `PUBACK <n> <copies>`. The first `answered` publishes of this connection have been answered.
    PubAck {
        /// Counted from the connection's first PUBLISH.
        answered: u64,
        /// Subscriber copies made of those that this PUBACK newly covers.
        copies: u64,
    },
    /// `SUBACK <filter>`.
    SubAck {
        /// As the client wrote it.
        filter: &'a [u8],
    },
    /// `UNSUBACK <filter>`. Nothing for it follows.
    UnsubAck {
        /// As the client wrote it.
        filter: &'a [u8],
    },
    /// `WILLACK <topic>`.
    WillAck {
        /// As the client wrote it.
        topic: &'a [u8],
    },
    /// `NAMEACK <name>`.
    NameAck {
        /// As the client wrote it.
        name: &'a [u8],
    },
    /// `ERROR <code> <subject> <text>`. A frame was refused; the connection stays.
    Error {
        /// A word for programs: one of [`crate::Code`], or one that a newer broker knows.
        code: Cow<'a, str>,
        /// Which frame.
        subject: Subject<'a>,
        /// A sentence for people, which says what to do.
        text: Cow<'a, str>,
    },
    /// `GAP <count>`. Exactly here `count` messages were dropped because the outbox was full.
    Gap {
        /// How many.
        count: u64,
    },
    /// `PING[ <token>]`. Are you there? Answer [`Request::Pong`].
    Ping {
        /// Wanted back in the answer.
        token: &'a [u8],
    },
    /// `PONG[ <token>]`. Answers [`Request::Ping`].
    Pong {
        /// The token of the PING.
        token: &'a [u8],
    },
    /// `HELP <text>`, one of several lines.
    Help {
        /// For people.
        text: Cow<'a, str>,
    },
    /// `BYE`. Answers [`Request::Bye`]; unasked, the broker is stopping.
    Bye,
}

/// Which frame an `ERROR` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `publish:<n>`: the n-th PUBLISH of the connection, counted from 1.
    Publish(u64),
    /// `subscribe:<filter>`.
    Subscribe(&'a [u8]),
    /// `unsubscribe:<filter>`.
    Unsubscribe(&'a [u8]),
    /// `line`: any other.
    Line,
}
