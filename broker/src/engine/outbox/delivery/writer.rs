//! The interface to a wire that writes packets for one client.
//!
//! A [`DeliveryState`](super::DeliveryState) decides what a client receives, at which QoS, and with
//! which identifier; a writer makes the bytes. It lives as long as one connection.

/// Writes messages in the format of a wire, for one connection.
pub(crate) trait PacketWriter: Send {
    /// Whether a message at QoS 0 without special properties may be sent as the shared encoder writes
    /// it.
    fn is_plain(&self) -> bool;

    /// Maximum unacknowledged messages that the client accepts.
    fn max_in_flight(&self) -> usize;

    /// Appends the message of the line `line`. If the client cannot accept it, nothing is appended.
    fn write(&mut self, line: &[u8], details: &Details<'_>, out: &mut Vec<u8>) -> Written;

    /// Appends the release (PUBREL) of a message at QoS 2.
    fn write_release(&mut self, id: u16, out: &mut Vec<u8>);

    /// The topic on which the client is told of gaps if a message cannot do so and the client
    /// subscribes to it.
    fn gap_topic(&self) -> Option<&str> {
        None
    }
}

/// The properties of a message for one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details<'a> {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// The packet identifier, at QoS 1 and 2.
    pub(crate) id: u16,
    /// The message may have been sent before.
    pub(crate) dup: bool,
    /// The subscription identifiers of the matching filters.
    pub(crate) identifiers: &'a [u32],
    /// Number of messages dropped before it.
    pub(crate) gap: u64,
    /// Seconds that the message has waited.
    pub(crate) waited_s: u32,
    /// The session that published it, zero for one that was retained; only of a message at QoS 0.
    pub(crate) publisher: u64,
}

/// The result of writing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// Later messages refer to this one, so it must not be dropped.
    Pinned,
    /// The packet is longer than the client accepts.
    TooLong,
}

/// The writer of a session before its first connection: writes nothing.
pub(crate) struct Unattached;

impl PacketWriter for Unattached {
    fn is_plain(&self) -> bool {
        false
    }

    fn max_in_flight(&self) -> usize {
        0
    }

    fn write(&mut self, _: &[u8], _: &Details<'_>, _: &mut Vec<u8>) -> Written {
        Written::TooLong
    }

    fn write_release(&mut self, _: u16, _: &mut Vec<u8>) {}
}
