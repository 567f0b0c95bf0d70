//! How a wire writes messages for one client alone.
//!
//! A [`DeliveryState`](super::DeliveryState) decides what a client gets, at which QoS, and with which
//! identifier; a writer turns that into the bytes of its wire. It lives as long as one connection.

/// Writes messages in the bytes of a wire, for one connection.
pub(crate) trait PacketWriter: Send {
    /// Whether a message at QoS 0 without anything special may leave as the wire's encoder makes it.
    fn is_plain(&self) -> bool;

    /// How many messages the client takes before it has acknowledged some.
    fn max_in_flight(&self) -> usize;

    /// Appends a message, which is the line `line`. If the client cannot take it, nothing is appended.
    fn write(&mut self, line: &[u8], details: &Details<'_>, out: &mut Vec<u8>) -> Written;

    /// Appends the release of a message at QoS 2.
    fn write_release(&mut self, id: u16, out: &mut Vec<u8>);

    /// The topic on which the client is told of gaps, if it subscribes to it and a message cannot tell.
    fn gap_topic(&self) -> Option<&str> {
        None
    }
}

/// What one client is told beside a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details<'a> {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// At QoS 1 and 2.
    pub(crate) id: u16,
    /// It may have been sent before.
    pub(crate) dup: bool,
    /// Of the subscriptions that match.
    pub(crate) identifiers: &'a [u32],
    /// How many messages before it were dropped.
    pub(crate) gap: u64,
    /// For how many seconds the message has waited.
    pub(crate) waited_s: u32,
}

/// What became of a message that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// Later messages can only be read after this one, so it must not be dropped.
    Pinned,
    /// The client cannot take it.
    TooLong,
}

/// For a session that no connection has gone on with yet: nothing is written.
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
