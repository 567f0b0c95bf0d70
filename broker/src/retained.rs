//! The last value of each topic whose publisher asked to keep it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use protocol::{Filter, Topic};

/// Retained messages, ready for the wire, by topic.
pub(crate) struct Retained {
    messages: BTreeMap<Box<str>, Bytes>,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

/// Why a message could not be retained. `Display` says what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Count(usize),
    Bytes(usize),
}

impl Retained {
    pub(crate) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            bytes: 0,
            max_count,
            max_bytes,
        }
    }

    /// Keeps `message` as the last value of `topic`.
    pub(crate) fn set(&mut self, topic: Topic<'_>, message: &[u8]) -> Result<(), Full> {
        let name = topic.as_str();
        let before = self.messages.get(name).map(|old| size(name, old));
        if before.is_none() && self.messages.len() >= self.max_count {
            return Err(Full::Count(self.max_count));
        }
        let bytes = self.bytes - before.unwrap_or(0) + size(name, message);
        if bytes > self.max_bytes {
            return Err(Full::Bytes(self.max_bytes));
        }
        self.bytes = bytes;
        self.messages
            .insert(name.into(), Bytes::copy_from_slice(message));
        Ok(())
    }

    /// Forgets the last value of `topic`.
    pub(crate) fn clear(&mut self, topic: Topic<'_>) {
        if let Some(old) = self.messages.remove(topic.as_str()) {
            self.bytes -= size(topic.as_str(), &old);
        }
    }

    /// The messages that `filter` matches, in topic order.
    pub(crate) fn matching(&self, filter: Filter<'_>) -> impl Iterator<Item = &Bytes> {
        let pattern = filter.pattern();
        let wildcard = pattern.find(['+', '#']).unwrap_or(pattern.len());
        // `a/#` also matches `a`, so the slash before `#` is not part of what all have in common.
        let prefix = pattern[..wildcard].trim_end_matches('/').to_owned();
        let from = Bound::Included(prefix.as_str());
        self.messages
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(&prefix))
            .filter(move |(name, _)| {
                Topic::parse(name.as_bytes()).is_ok_and(|topic| filter.matches(topic))
            })
            .map(|(_, message)| message)
    }
}

fn size(name: &str, message: &[u8]) -> usize {
    name.len() + message.len()
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(most) => write!(
                f,
                "the broker retains {most} messages and no more; clear one with an empty payload"
            ),
            Self::Bytes(most) => write!(
                f,
                "the broker retains {most} bytes and no more; clear a message with an empty payload"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic<'_> {
        Topic::parse(name).expect("a topic")
    }

    fn matching(retained: &Retained, filter: &str) -> Vec<String> {
        retained
            .matching(Filter::parse(filter).expect("a filter"))
            .map(|message| String::from_utf8_lossy(message).into_owned())
            .collect()
    }

    #[test]
    fn a_filter_gets_its_messages_in_topic_order() {
        let mut retained = Retained::new(10, 1000);
        for name in ["b", "a/x", "a", "ab", "a/b/c", "$SYS/x"] {
            retained.set(topic(name), name.as_bytes()).expect("room");
        }
        assert_eq!(matching(&retained, "#"), ["a", "a/b/c", "a/x", "ab", "b"]);
        assert_eq!(matching(&retained, "a/#"), ["a", "a/b/c", "a/x"]);
        assert_eq!(matching(&retained, "a/+"), ["a/x"]);
        assert_eq!(matching(&retained, "+/x"), ["a/x"]);
        assert_eq!(matching(&retained, "a"), ["a"]);
        assert_eq!(matching(&retained, "c"), [""; 0]);
    }

    #[test]
    fn the_limits_hold_and_a_new_value_takes_the_place_of_the_old() {
        let mut retained = Retained::new(2, 10);
        retained.set(topic("a"), b"1234").expect("room");
        retained.set(topic("a"), b"12345").expect("room");
        assert_eq!(retained.set(topic("b"), b"1234"), Err(Full::Bytes(10)));
        retained.set(topic("b"), b"123").expect("room");
        assert_eq!(retained.set(topic("c"), b""), Err(Full::Count(2)));
        retained.clear(topic("a"));
        retained.set(topic("c"), b"12345").expect("room");
        assert_eq!(matching(&retained, "#"), ["123", "12345"]);
    }
}
