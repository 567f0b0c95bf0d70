//! The bytes of a protocol that are the same for all its clients, as functions that an outbox calls
//! without knowing the protocol.

use super::receipt::Receipt;

/// Converts lines to messages of a protocol, one for each line.
pub(crate) type Encode = fn(lines: &[u8]) -> Vec<u8>;

/// How a protocol writes messages and the outbox's own notices, and where its messages end.
pub(crate) struct Encoder {
    /// The name of the protocol, for people.
    pub(crate) wire: &'static str,
    /// Converts lines to messages; none if the protocol sends lines as they are.
    pub(crate) encode: Option<Encode>,
    /// Wraps answers, and what a [`DeliveryState`](crate::engine::outbox::delivery::DeliveryState)
    /// writes; none if they are sent unchanged. Empty input gives empty output.
    pub(crate) answer: Option<Encode>,
    /// The notice that this many messages were dropped here; empty if the next message reports it.
    pub(crate) gap: fn(count: u64) -> Vec<u8>,
    /// The receipt for messages that the client has published.
    pub(crate) receipt: fn(&Receipt) -> Vec<u8>,
    /// The length of the first message.
    pub(crate) first: fn(messages: &[u8]) -> usize,
    /// The number of bytes of whole messages that fit into `room` bytes.
    pub(crate) fitting: fn(messages: &[u8], room: usize) -> usize,
    /// The number of messages that end in these bytes.
    pub(crate) count: fn(messages: &[u8]) -> u64,
    /// The topic of a message as spelled on the wire; empty if the format does not contain it.
    pub(crate) topic: fn(message: &[u8]) -> &[u8],
    /// The final answer when the broker stops.
    pub(crate) goodbye: &'static [u8],
    /// The final answer when the operator ends the connection.
    pub(crate) kicked: &'static [u8],
    /// The final answer when the client's identity is none any more.
    pub(crate) auth_ended: &'static [u8],
    /// Converts the line that a subscription has been taken from the client; none if the protocol has no words for
    /// that.
    pub(crate) withdrawn: Option<Encode>,
    /// The notice that the client's identity ends soon; empty if the protocol has no words for it.
    pub(crate) auth_ends_soon: &'static [u8],
    /// `goodbye` tells the client to connect again elsewhere, so that a broker that drains may send it early.
    pub(crate) moves_when_told: bool,
    /// The final answer when another connection takes the session over.
    pub(crate) taken_over: &'static [u8],
}

/// Why the broker ends a connection that may still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The broker stops.
    Stopping,
    /// The operator ends the connection.
    Kicked,
    /// The client's user or token is gone, is disabled, or has ended.
    AuthEnded,
}

impl Encoder {
    /// The final answer in this case.
    pub(crate) fn parting(&self, why: Parting) -> &'static [u8] {
        match why {
            Parting::Stopping => self.goodbye,
            Parting::Kicked => self.kicked,
            Parting::AuthEnded => self.auth_ended,
        }
    }

    /// The encoder of an outbox that has no connection and never had one.
    pub(crate) const NONE: Self = Self {
        wire: "none",
        encode: None,
        answer: None,
        gap: |_| Vec::new(),
        receipt: |_| Vec::new(),
        first: <[u8]>::len,
        fitting: |_, _| 0,
        count: |_| 0,
        topic: |_| b"",
        goodbye: b"",
        kicked: b"",
        auth_ended: b"",
        withdrawn: None,
        auth_ends_soon: b"",
        moves_when_told: false,
        taken_over: b"",
    };
}
