//! The bytes of a wire that are the same for all its clients: functions that an outbox calls without
//! knowing the wire.

/// Makes messages of a wire from lines, as many as there are lines.
pub(crate) type Encode = fn(lines: &[u8]) -> Vec<u8>;

/// How a wire writes messages and what an outbox itself has to say, and where its messages end.
pub(crate) struct Encoder {
    /// What people call the wire.
    pub(crate) wire: &'static str,
    /// For messages on their way through the engine, which are lines of the line protocol; none if
    /// these are what the wire sends.
    pub(crate) encode: Option<Encode>,
    /// For answers, and for what a [`DeliveryState`](crate::engine::outbox::delivery::DeliveryState)
    /// makes, if they do not leave as they are; nothing becomes nothing.
    pub(crate) answer: Option<Encode>,
    /// That many messages were dropped here; nothing if the next message tells.
    pub(crate) gap: fn(count: u64) -> Vec<u8>,
    /// This many publishes have been answered; this many copies were made of the newly answered.
    pub(crate) receipt: fn(answered: u64, copies: u64) -> Vec<u8>,
    /// How long the first message is.
    pub(crate) first: fn(messages: &[u8]) -> usize,
    /// How many bytes of this are whole messages that fit into `room` bytes.
    pub(crate) fitting: fn(messages: &[u8], room: usize) -> usize,
    /// How many messages end in this.
    pub(crate) count: fn(messages: &[u8]) -> u64,
    /// The topic of a message, as it is spelt; nothing if the wire does not tell.
    pub(crate) topic: fn(message: &[u8]) -> &[u8],
    /// The broker stops.
    pub(crate) goodbye: &'static [u8],
    /// Another connection goes on with the client's session.
    pub(crate) taken_over: &'static [u8],
}

impl Encoder {
    /// For an outbox that has no connection and never had one.
    pub(crate) const NONE: Self = Self {
        wire: "none",
        encode: None,
        answer: None,
        gap: |_| Vec::new(),
        receipt: |_, _| Vec::new(),
        first: <[u8]>::len,
        fitting: |_, _| 0,
        count: |_| 0,
        topic: |_| b"",
        goodbye: b"",
        taken_over: b"",
    };
}
