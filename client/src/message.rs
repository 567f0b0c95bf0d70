//! What a subscriber gets.

use protocol::{Attributes, ERROR, Escaped, REPLY, RETAINED, Reply, Topic};

/// A message of one's own to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What was published.
    pub payload: Vec<u8>,
    /// What its publisher put before the verb, and the broker's own marks.
    pub attributes: Attributes<'static>,
    /// How many messages were dropped right before this one, because this client was too slow.
    pub missed: u64,
}

impl Message {
    /// Whether it was sent because of a subscription, not published just now.
    pub fn is_retained(&self) -> bool {
        self.attributes.contains(RETAINED)
    }

    /// The topic that an answer shall be published to, if this is a request for one.
    pub fn reply_topic(&self) -> Option<String> {
        let topic = self.attributes.get(REPLY)?;
        Some(Topic::parse(&*topic).ok()?.to_string())
    }

    /// What went wrong, if this is the answer of somebody who failed.
    pub fn error(&self) -> Option<String> {
        let status = self.attributes.get(ERROR)?;
        Some(String::from_utf8_lossy(&status).into_owned())
    }
}

/// A message, or the hole where messages would have been, as it lies in the receive buffer:
/// nothing is copied to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// A message.
    Message {
        /// Where it was published.
        topic: Topic<'a>,
        /// What was published; see [`Escaped::unescape`].
        payload: Escaped<'a>,
        /// What its publisher put before the verb, and the broker's own marks.
        attributes: Attributes<'a>,
    },
    /// Exactly here messages were dropped, because this client was too slow.
    Gap {
        /// How many.
        count: u64,
    },
}

impl<'a> Delivery<'a> {
    /// `Err` gives back what is none.
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

    /// A message to keep, after so many that were `missed`; `Err` says how many a gap stands for.
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
