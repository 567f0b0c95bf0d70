//! Messages and gaps as a subscriber receives them.

use protocol::{
    Attributes, ERROR, Escaped, Filter, Incomplete, PAST, POSITION, Position, REPLY, RETAINED,
    Reply, Topic,
};

/// An owned message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic it was published on.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The attributes of its publisher, and those that the broker adds.
    pub attributes: Attributes<'static>,
    /// How many messages the broker dropped right before this one because this client was too slow.
    pub missed: u64,
}

impl Message {
    /// Whether it is a retained message that was sent because of a subscription.
    pub fn is_retained(&self) -> bool {
        self.attributes.contains(RETAINED)
    }

    /// Where it is in the log of the broker, if its topic keeps messages and the filter is followed; see
    /// [`Client::follow`](crate::Client::follow).
    pub fn position(&self) -> Option<Position> {
        position(&self.attributes)
    }

    /// Whether it was published before the subscription, see [`Client::follow`](crate::Client::follow).
    pub fn is_past(&self) -> bool {
        self.attributes.contains(PAST)
    }

    /// The topic for the answer, if this message is a request.
    pub fn reply_topic(&self) -> Option<String> {
        let topic = self.attributes.get(REPLY)?;
        Some(Topic::parse(&*topic).ok()?.to_string())
    }

    /// The error, if this is the answer of a responder that failed.
    pub fn error(&self) -> Option<String> {
        let status = self.attributes.get(ERROR)?;
        Some(String::from_utf8_lossy(&status).into_owned())
    }
}

/// The position that the broker has given a message.
pub(crate) fn position(attributes: &Attributes<'_>) -> Option<Position> {
    Position::parse(&attributes.get(POSITION)?).ok()
}

/// A message, or what the broker says between messages, borrowed from the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// A message.
    Message {
        /// The topic it was published on.
        topic: Topic<'a>,
        /// What was published; see [`Escaped::unescape`].
        payload: Escaped<'a>,
        /// The attributes of its publisher, and those that the broker adds.
        attributes: Attributes<'a>,
    },
    /// The broker dropped messages at this position because this client was too slow.
    Gap {
        /// How many.
        count: u64,
    },
    /// Some of the past of a filter is not there that was asked for; what is there follows. See
    /// [`Client::follow`](crate::Client::follow).
    Incomplete {
        /// As it was asked for.
        filter: Filter<'a>,
        /// Where that begins which is there; none if nothing is.
        oldest: Option<Position>,
    },
    /// All of the past of a filter has come, and what follows is new. See
    /// [`Client::follow`](crate::Client::follow).
    Current {
        /// As it was asked for.
        filter: Filter<'a>,
        /// What is newer is behind this position; none if the broker keeps nothing.
        position: Option<Position>,
    },
    /// All of the past of a filter has come, and nothing follows. See [`Client::past`](crate::Client::past).
    End {
        /// As it was asked for.
        filter: Filter<'a>,
        /// What is newer is behind this position; none if the broker keeps nothing.
        position: Option<Position>,
    },
}

impl<'a> Delivery<'a> {
    /// `Err` returns any other reply.
    pub(crate) fn from_reply(reply: Reply<'a>) -> Result<Self, Reply<'a>> {
        match reply {
            Reply::Message {
                topic,
                payload,
                attributes,
            } => Ok(Self::Message {
                topic,
                payload,
                attributes,
            }),
            Reply::Gap { count } => Ok(Self::Gap { count }),
            Reply::SubAck {
                filter,
                incomplete: Some(Incomplete { oldest }),
            } => match Filter::parse(filter) {
                Ok(filter) => Ok(Self::Incomplete { filter, oldest }),
                Err(_) => Err(reply),
            },
            Reply::Current { filter, position } => match Filter::parse(filter) {
                Ok(filter) => Ok(Self::Current { filter, position }),
                Err(_) => Err(reply),
            },
            Reply::End { filter, position } => match Filter::parse(filter) {
                Ok(filter) => Ok(Self::End { filter, position }),
                Err(_) => Err(reply),
            },
            other => Err(other),
        }
    }

    /// An owned message with this number of `missed` ones before it; `Err` has the count of a gap, and 0 for what is
    /// neither.
    pub(crate) fn into_message(self, missed: u64) -> Result<Message, u64> {
        match self {
            Self::Message {
                topic,
                payload,
                attributes,
            } => Ok(Message {
                topic: topic.to_string(),
                payload: payload.unescape().into_owned(),
                attributes: attributes.without(&[]),
                missed,
            }),
            Self::Gap { count } => Err(count),
            Self::Incomplete { .. } | Self::Current { .. } | Self::End { .. } => Err(0),
        }
    }

    pub(crate) fn into_reply(self) -> Reply<'a> {
        match self {
            Self::Message {
                topic,
                payload,
                attributes,
            } => Reply::Message {
                topic,
                payload,
                attributes,
            },
            Self::Gap { count } => Reply::Gap { count },
            Self::Incomplete { filter, oldest } => Reply::SubAck {
                filter: filter.as_str().as_bytes(),
                incomplete: Some(Incomplete { oldest }),
            },
            Self::Current { filter, position } => Reply::Current {
                filter: filter.as_str().as_bytes(),
                position,
            },
            Self::End { filter, position } => Reply::End {
                filter: filter.as_str().as_bytes(),
                position,
            },
        }
    }
}
