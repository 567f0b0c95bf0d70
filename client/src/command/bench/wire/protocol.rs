//! What a protocol has to say and to understand to load a broker.
//!
//! A wire turns what a client says into bytes and finds what a broker says among the bytes that
//! came. It opens no socket and keeps no state.

use std::fmt::Debug;
use std::ops::Range;

/// One protocol.
pub(crate) trait Protocol: Debug + Sync {
    /// Between the levels of a topic.
    fn separator(&self) -> char {
        '/'
    }

    /// Whether a connection with subscriptions can publish too.
    fn subscribers_may_publish(&self) -> bool {
        true
    }

    /// What subscribers speak, if that is something else.
    fn of_subscribers(&self) -> Option<&dyn Protocol> {
        None
    }

    /// How many topics a connection can subscribe to.
    fn most_topics(&self) -> usize {
        usize::MAX
    }

    /// Begins a conversation; answered by one [`WireEvent::Confirm`], if it is anything. `acked` asks for
    /// acknowledgements where that is for the whole connection.
    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>);

    /// Subscribes to `these` of all topics of a connection; how many [`WireEvent::Confirm`] answer that.
    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize;

    /// Puts one message behind `out`.
    fn publish(&self, topic: &str, payload: &[u8], acked: bool, out: &mut Vec<u8>);

    /// Numbers an acknowledged message whose payload stands at `payload_at` of `frame`.
    fn identify(&self, _frame: &mut [u8], _payload_at: usize, _number: u64) {}

    /// Asks for a word; answered by one [`WireEvent::Confirm`] after all that was sent before.
    fn ping(&self, out: &mut Vec<u8>);

    /// Answers an [`WireEvent::Ping`].
    fn pong(&self, _token: &[u8], _out: &mut Vec<u8>) {}

    /// Whether subscribers have to acknowledge what they get.
    fn wants_receipts(&self) -> bool {
        false
    }

    /// Whether messages on one topic begin with the same bytes, up to the payload.
    fn looks_alike(&self) -> bool {
        true
    }

    /// Acknowledges a message, given as a whole frame.
    fn receipt(&self, _frame: &[u8], _out: &mut Vec<u8>) {}

    /// The first event of `bytes` and the bytes it takes; `None` if it is not there as a whole.
    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)>;
}

/// What a broker can say, as far as it matters here. Ranges are places in the bytes scanned.
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
    /// The broker wants to be answered by [`Protocol::pong`].
    Ping { token: Range<usize> },
    /// The broker refuses something, in its own words, or speaks another protocol.
    Refused(String),
    /// What needs no answer.
    Other,
}

impl WireEvent {
    /// The same where so many more bytes stand before it.
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
            Self::Ack(_) | Self::Confirm | Self::Refused(_) | Self::Other => self,
        }
    }
}

/// How brokers count acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckCount {
    /// One more.
    One,
    /// The first so many of this connection.
    Total(u64),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `frame` is this event, whole only with its last byte, also with more behind it.
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

    /// What a wire says when it is told to.
    pub(crate) fn said(say: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        say(&mut out);
        out
    }
}
