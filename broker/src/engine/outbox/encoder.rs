//! How a wire words what an outbox sends: functions that an outbox calls without knowing the wire.

/// Makes messages of a wire from lines, as many as there are lines.
pub(crate) type Encode = fn(lines: &[u8]) -> Vec<u8>;

/// How a wire words messages and what an outbox itself has to say, and where its messages end.
pub(crate) struct Encoder {
    /// What people call the wire.
    pub(crate) wire: &'static str,
    /// For messages on their way through the engine, which are lines of the line protocol; none if
    /// these are what the wire sends.
    pub(crate) encode: Option<Encode>,
    /// For answers, and for what an [`Adapter`](crate::engine::outbox::delivery_state::Adapter) makes, if they do not leave as
    /// they are; nothing becomes nothing.
    pub(crate) answer: Option<Encode>,
    /// That many messages were dropped here; nothing if an [`Adapter`](crate::engine::outbox::delivery_state::Adapter) tells
    /// of it with the next message.
    pub(crate) gap: fn(count: u64) -> Vec<u8>,
    /// So many publishes have been answered; so many copies were made of the newly answered.
    pub(crate) receipt: fn(answered: u64, copies: u64) -> Vec<u8>,
    /// How long the first message is.
    pub(crate) first: fn(messages: &[u8]) -> usize,
    /// How much of this whole messages are that fit into `room` bytes.
    pub(crate) fitting: fn(messages: &[u8], room: usize) -> usize,
    /// How many messages end in this.
    pub(crate) count: fn(messages: &[u8]) -> u64,
    /// The topic of a message, as it is spelt; nothing if the wire does not tell.
    pub(crate) topic: fn(message: &[u8]) -> &[u8],
    /// The broker stops.
    pub(crate) goodbye: &'static [u8],
}
