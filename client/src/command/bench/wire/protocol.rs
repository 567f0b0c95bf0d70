//! The interface of a protocol for a load on a broker.
//!
//! An implementation encodes requests and finds events in received bytes. It opens no socket and
//! keeps no state.

use std::fmt::Debug;
use std::ops::Range;
use std::str::FromStr;

use client::{AckLevel, Credential};

/// How the messages of a run are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublishOptions {
    /// Each is acknowledged.
    pub(crate) acked: bool,
    /// Each is retained.
    pub(crate) retain: bool,
    /// The level that each acknowledgement waits for, if they ask for one.
    pub(crate) level: Option<AckLevel>,
}

impl PublishOptions {
    pub(crate) const PLAIN: Self = Self {
        acked: false,
        retain: false,
        level: None,
    };
    pub(crate) const RETAINED: Self = Self {
        retain: true,
        ..Self::PLAIN
    };
    #[cfg(test)]
    pub(crate) const ACKED: Self = Self {
        acked: true,
        ..Self::PLAIN
    };
}

/// The messages of a topic that a stream keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    All,
    /// At most this many; a new one takes the place of the oldest.
    Newest(u32),
}

impl FromStr for Kept {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(count @ 1..) => Ok(Self::Newest(count)),
            _ if text == "all" => Ok(Self::All),
            _ => Err("give a number of messages, such as 20, or all"),
        }
    }
}

/// One protocol.
pub(crate) trait Protocol: Debug + Sync {
    /// The separator of topic levels.
    fn separator(&self) -> char {
        '/'
    }

    /// Its name in the handshake of TLS (ALPN), if it has one.
    fn alpn(&self) -> Option<&'static str> {
        None
    }

    /// Whether a connection with subscriptions can publish too.
    fn subscribers_may_publish(&self) -> bool {
        true
    }

    /// The protocol of subscribers, if it is another one.
    fn of_subscribers(&self) -> Option<&dyn Protocol> {
        None
    }

    /// The protocol of one of the publishers, if each has its own.
    fn of_publisher(&self, _publisher: usize) -> Option<&'static dyn Protocol> {
        None
    }

    /// Maximum number of topics of one connection.
    fn most_topics(&self) -> usize {
        usize::MAX
    }

    /// Checks that messages can be published so; the error says why not.
    fn check(&self, _options: PublishOptions) -> Result<(), &'static str> {
        Ok(())
    }

    /// Encodes the handshake; answered by one [`WireEvent::Confirm`] unless it is empty. `acked`
    /// asks for acknowledgements, in protocols where that is an option of the connection.
    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>);

    /// Encodes what says who the client is, unless it is a part of another request, or bench logs in to no
    /// server of this protocol; answered by one [`WireEvent::Confirm`]. The error says why there is no such
    /// request.
    fn authenticate(
        &self,
        _credential: &Credential,
        _out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether [`Self::connect`] comes before it.
    fn connects_first(&self) -> bool {
        false
    }

    /// Encodes what makes the streams of a run, if they have to be there first; answered by one
    /// [`WireEvent::Confirm`] unless it is empty.
    fn prepare(&self, _topics: &[String], _out: &mut Vec<u8>) {}

    /// Encodes what removes the streams of a run; answered by one [`WireEvent::Confirm`] unless it is empty.
    fn remove(&self, _topics: &[String], _out: &mut Vec<u8>) {}

    /// Subscribes to `these` of all topics of a connection; returns how many [`WireEvent::Confirm`]
    /// will follow.
    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize;

    /// Appends one message to `out`.
    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>);

    /// Sets the packet number of an acknowledged message whose payload is at `payload_at` of
    /// `frame`, which was published with these options.
    fn identify(
        &self,
        _frame: &mut [u8],
        _payload_at: usize,
        _options: PublishOptions,
        _number: u64,
    ) {
    }

    /// The level in an acknowledgement, given as a whole frame, if it says one.
    fn level(&self, _frame: &[u8]) -> Option<AckLevel> {
        None
    }

    /// Encodes a ping; answered by one [`WireEvent::Confirm`] after everything sent before.
    fn ping(&self, out: &mut Vec<u8>);

    /// Answers an [`WireEvent::Ping`].
    fn pong(&self, _token: &[u8], _out: &mut Vec<u8>) {}

    /// Whether subscribers have to acknowledge messages.
    fn wants_receipts(&self) -> bool {
        false
    }

    /// Whether messages on one topic begin with the same bytes, up to the payload.
    fn looks_alike(&self) -> bool {
        true
    }

    /// Acknowledges a message, given as a whole frame.
    fn receipt(&self, _frame: &[u8], _out: &mut Vec<u8>) {}

    /// The first event in `bytes` and its size; `None` if it is incomplete.
    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)>;
}

/// An event from the broker. Ranges are offsets in the scanned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireEvent {
    Message {
        topic: Range<usize>,
        payload: Range<usize>,
    },
    /// Messages of this connection are acknowledged.
    Ack(AckCount),
    /// The answer to [`Protocol::connect`], [`Protocol::ping`] or a part of [`Protocol::subscribe`].
    Confirm,
    /// The broker expects an answer by [`Protocol::pong`].
    Ping { token: Range<usize> },
    /// The broker refuses a request, with its own text, or speaks another protocol.
    Refused(String),
    /// The same, because the broker does not know who the client is.
    Unauthenticated(String),
    /// An event to ignore.
    Other,
}

impl WireEvent {
    /// The event with its ranges moved by `by` bytes.
    pub(super) fn shifted(self, by: usize) -> Self {
        let moved = |range: Range<usize>| range.start + by..range.end + by;
        match self {
            Self::Message { topic, payload } => Self::Message {
                topic: moved(topic),
                payload: moved(payload),
            },
            Self::Ping { token } => Self::Ping {
                token: moved(token),
            },
            Self::Ack(_)
            | Self::Confirm
            | Self::Refused(_)
            | Self::Unauthenticated(_)
            | Self::Other => self,
        }
    }
}

/// How a broker counts acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckCount {
    /// One more message.
    One,
    /// The total on this connection.
    Total(u64),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_a_number_or_all() {
        let parsed = |text: &str| text.parse::<Kept>().ok();
        assert_eq!(parsed("20"), Some(Kept::Newest(20)));
        assert_eq!(parsed("all"), Some(Kept::All));
        assert_eq!(["0", "none", "-1"].map(parsed), [None; 3]);
    }

    /// `frame` is this event, complete only with its last byte, also with more bytes after it.
    pub(crate) fn check(wire: &dyn Protocol, frame: &[u8], event: &WireEvent) {
        for cut in 0..frame.len() {
            assert_eq!(wire.scan(&frame[..cut]), None, "{cut} bytes of {frame:?}");
        }
        let twice = frame.repeat(2);
        assert_eq!(wire.scan(&twice), Some((event.clone(), frame.len())));
    }

    /// `frame` is a message with the payload `hi`.
    pub(crate) fn check_message(wire: &dyn Protocol, frame: &[u8], name: &str) {
        let Some((WireEvent::Message { topic, payload }, _)) = wire.scan(frame) else {
            panic!("no message in {frame:?}");
        };
        assert_eq!(&frame[topic.clone()], name.as_bytes());
        assert_eq!(&frame[payload.clone()], b"hi");
        check(wire, frame, &WireEvent::Message { topic, payload });
    }

    /// The bytes that a protocol writes.
    pub(crate) fn written(say: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        say(&mut out);
        out
    }
}
