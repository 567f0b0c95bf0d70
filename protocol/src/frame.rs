//! All frames of the protocol, in both directions.
//!
//! A frame borrows from the line that it was decoded from. `decode.rs` and `encode.rs` convert; these
//! types know no bytes of the wire.

use std::borrow::Cow;
use std::fmt;

use crate::ack_level::Reached;
use crate::attributes::Attributes;
use crate::escape::Escaped;
use crate::filter::Filters;
use crate::name::Name;
use crate::past::Incomplete;
use crate::position::Position;
use crate::topic::Topic;
use crate::verb::Verb;

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `PUBLISH <topic>[ <payload>]`. Answered by [`Reply::PubAck`].
    Publish {
        /// The topic of the message.
        topic: Topic<'a>,
        /// The payload; may be empty.
        payload: Escaped<'a>,
        /// The attributes before the verb.
        attributes: Attributes<'a>,
    },
    /// `SUBSCRIBE <filter>[ <filter>...]`. Answered by one [`Reply::SubAck`] for each, in order.
    Subscribe {
        /// The filters, in the order of the line.
        filters: Filters<'a>,
        /// The attributes before the verb.
        attributes: Attributes<'a>,
    },
    /// `UNSUBSCRIBE <filter>[ <filter>...]`. Answered by one [`Reply::UnsubAck`] for each.
    Unsubscribe {
        /// The filters, in the order of the line.
        filters: Filters<'a>,
    },
    /// `PING[ <token>]`. Answered by [`Reply::Pong`] once everything before it has been handled.
    Ping {
        /// The answer repeats it; may be empty.
        token: &'a [u8],
    },
    /// `PONG[ <token>]`. Answers [`Reply::Ping`].
    Pong {
        /// The token of the PING.
        token: &'a [u8],
    },
    /// `HELP[ <verb>]`. Answered by [`Reply::Help`] lines.
    Help {
        /// The verb to explain; `None` for all.
        verb: Option<Verb>,
    },
    /// `WILL <topic>[ <payload>]`. Answered by [`Reply::WillAck`]. Published if the connection ends
    /// without [`Request::Bye`]; a later WILL replaces it.
    Will {
        /// The topic of the message.
        topic: Topic<'a>,
        /// The payload; may be empty.
        payload: Escaped<'a>,
        /// The attributes before the verb, as on a PUBLISH.
        attributes: Attributes<'a>,
    },
    /// `NAME <name>`. Answered by [`Reply::NameAck`].
    Name {
        /// The name of the client.
        name: Name<'a>,
    },
    /// `AUTH[[ <user>] <secret>]`. Answered by [`Reply::AuthAck`].
    Auth {
        /// What the client shows; `None` asks only who it is.
        credential: Option<Credential<'a>>,
    },
    /// `QUIET`. Answered by [`Reply::QuietAck`]. From then on a PUBLISH has no answer, unless it is refused.
    Quiet,
    /// `BYE`. Answered by [`Reply::Bye`] after everything queued; then the broker closes the connection.
    Bye,
}

/// What a client shows for its identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The name of a user, without a space; `None` for a token alone.
    pub user: Option<&'a [u8]>,
    /// Its password, or a token. Without a user it has no space.
    pub secret: Escaped<'a>,
}

/// Leaves the secret out.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "Credential({:?} ***)", String::from_utf8_lossy(user)),
            None => write!(f, "Credential(***)"),
        }
    }
}

/// A frame from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `MESSAGE <topic>[ <payload>]`. Matches at least one filter of this client.
    Message {
        /// Its topic.
        topic: Topic<'a>,
        /// Its payload; may be empty.
        payload: Escaped<'a>,
        /// The attributes of the publisher, and `retained` if the broker added it.
        attributes: Attributes<'a>,
    },
    /// `[@level=<level>[;pos=<position>] ]PUBACK <n> <copies>`. The first `answered` PUBLISH frames of this connection are answered.
    PubAck {
        /// Counted from the connection's first PUBLISH.
        answered: u64,
        /// Copies made of the messages that this PUBACK answers and no earlier one did.
        copies: u64,
        /// How far those messages are kept, for a client that has asked with `ack`.
        reached: Option<Reached>,
    },
    /// `[@incomplete[;oldest=<position>] ]SUBACK <filter>`.
    SubAck {
        /// As the client spelt it.
        filter: &'a [u8],
        /// That some of the past is not there that the SUBSCRIBE has asked for.
        incomplete: Option<Incomplete>,
    },
    /// `UNSUBACK <filter>`. No message that this filter brings follows.
    UnsubAck {
        /// As the client spelt it.
        filter: &'a [u8],
    },
    /// `WILLACK <topic>`.
    WillAck {
        /// As the client spelt it.
        topic: &'a [u8],
    },
    /// `NAMEACK <name>`.
    NameAck {
        /// As the client spelt it.
        name: &'a [u8],
    },
    /// `AUTHACK <name>`.
    AuthAck {
        /// The name of the identity that the client has.
        name: &'a [u8],
    },
    /// `QUIETACK`. No [`Reply::PubAck`] follows.
    QuietAck,
    /// `ERROR <code> <subject> <text>`. A frame was refused; the connection stays.
    Error {
        /// For programs: one of [`crate::Code`], or a code of a newer broker.
        code: Cow<'a, str>,
        /// The frame or filter that was refused.
        subject: Subject<'a>,
        /// For people: a sentence that says what to do.
        text: Cow<'a, str>,
    },
    /// `CURRENT <filter>[ <position>]`. All of the past has been sent that a SUBSCRIBE has asked for, and what follows
    /// is new.
    Current {
        /// As the client spelt it.
        filter: &'a [u8],
        /// What is newer has a position behind this one; none if nothing is kept.
        position: Option<Position>,
    },
    /// `END <filter>[ <position>]`. All of the past has been sent that a SUBSCRIBE has asked for.
    End {
        /// As the client spelt it.
        filter: &'a [u8],
        /// What is newer has a position behind this one; none if nothing is kept.
        position: Option<Position>,
    },
    /// `GAP <count>`. Exactly here `count` messages were dropped because the outbox was full.
    Gap {
        /// How many.
        count: u64,
    },
    /// `PING[ <token>]`. The client answers [`Request::Pong`].
    Ping {
        /// The answer has to repeat it.
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
    /// `BYE`. Answers [`Request::Bye`]; unsolicited, it says that the broker is stopping.
    Bye,
}

/// The frame or filter that an `ERROR` refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `publish:<n>`: the n-th PUBLISH of the connection, counted from 1.
    Publish(u64),
    /// `subscribe:<filter>`.
    Subscribe(&'a [u8]),
    /// `unsubscribe:<filter>`.
    Unsubscribe(&'a [u8]),
    /// `line`: any other frame.
    Line,
}
