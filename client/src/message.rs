//! Messages and gaps as a subscriber receives them.

use protocol::{Attributes, ERROR, Escaped, REPLY, RETAINED, Reply, Topic};

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

/// A message or a gap, borrowed from the receive buffer.
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
}

impl<'a> Delivery<'a> {
    /// `Err` returns a reply that is neither.
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
            other => Err(other),
        }
    }

    /// An owned message with this number of `missed` ones before it; `Err` has the count of a gap.
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
        }
    }
}
