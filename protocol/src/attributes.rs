//! The attributes before a verb: `@key=value;flag `.
//!
//! Keys are lower-case letters, digits and `-`. A value encodes space, `;`, backslash, LF and CR as
//! `\s`, `\:`, `\\`, `\n` and `\r`; any other backslash is a backslash.

use std::borrow::Cow;
use std::fmt;

/// On PUBLISH: the broker retains the message on its topic.
pub const RETAIN: &str = "retain";

/// On MESSAGE: a retained message, sent because of a SUBSCRIBE.
pub const RETAINED: &str = "retained";

/// On PUBLISH: the seconds after which the message expires.
pub const TTL: &str = "ttl";

/// On PUBLISH: the topic for the answer.
pub const REPLY: &str = "reply";

/// On PUBLISH: tells one request from another; the answer repeats it.
pub const ID: &str = "id";

/// On PUBLISH to `$SYS/request/...`: the most rows of the answer.
pub const LIMIT: &str = "limit";

/// On PUBLISH: this answer reports a failure; the value is its status.
pub const ERROR: &str = "error";

/// On PUBLISH: the level that the receipt waits for, see [`crate::AckLevel`].
pub const ACK: &str = "ack";

/// On PUBACK: the lowest level that the messages have reached, see [`crate::AckLevel`].
pub const LEVEL: &str = "level";

/// On SUBSCRIBE: the number of messages of the past, of all topics together.
pub const LAST: &str = "last";

/// On SUBSCRIBE: the number of messages of the past, of each topic.
pub const EACH: &str = "each";

/// On SUBSCRIBE: where the past begins, see [`crate::PastStart`].
pub const SINCE: &str = "since";

/// On SUBSCRIBE: where it ends.
pub const UNTIL: &str = "until";

/// On MESSAGE: it is of the past that a SUBSCRIBE has asked for.
pub const PAST: &str = "past";

/// On SUBACK: not all of the past is there that was asked for.
pub const INCOMPLETE: &str = "incomplete";

/// On SUBACK: the position of the oldest message that may be there.
pub const OLDEST: &str = "oldest";

/// On PUBACK: where the last message is that is kept, see [`crate::Position`].
pub const POSITION: &str = "pos";

/// On SUBSCRIBE: the overflow policy, see [`crate::OverflowPolicy`].
pub const SLOW: &str = "slow";

/// The attributes of a frame, in order. A key may occur more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a>(Cow<'a, [u8]>);

impl<'a> Attributes<'a> {
    /// Checks the first word of a line, without its `@`.
    pub(crate) fn parse(word: &'a [u8]) -> Result<Self, BadAttribute> {
        for item in word.split(|&byte| byte == b';') {
            check_key(split_item(item).0)?;
        }
        if word.contains(&b'\r') {
            return Err(BadAttribute::CarriageReturn);
        }
        Ok(Self(Cow::Borrowed(word)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each key with its value; a flag has none.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<Cow<'_, [u8]>>)> {
        self.items().map(|item| {
            let (key, value) = split_item(item);
            let key = str::from_utf8(key).expect("a checked key is ASCII");
            (key, value.map(unescape))
        })
    }

    /// Whether there is an attribute `key`, with or without a value.
    pub fn contains(&self, key: &str) -> bool {
        self.iter().any(|(each, _)| each == key)
    }

    /// The value of the first `key`; a flag has an empty one.
    pub fn get(&self, key: &str) -> Option<Cow<'_, [u8]>> {
        let found = self.iter().find(|(each, _)| *each == key);
        found.map(|(_, value)| value.unwrap_or_default())
    }

    /// Adds `key=value`.
    pub fn push(&mut self, key: &str, value: &[u8]) -> Result<(), BadAttribute> {
        self.push_flag(key)?;
        let word = self.0.to_mut();
        word.push(b'=');
        for &byte in value {
            match byte {
                b' ' => word.extend_from_slice(b"\\s"),
                b';' => word.extend_from_slice(b"\\:"),
                b'\\' => word.extend_from_slice(b"\\\\"),
                b'\n' => word.extend_from_slice(b"\\n"),
                b'\r' => word.extend_from_slice(b"\\r"),
                _ => word.push(byte),
            }
        }
        Ok(())
    }

    /// Adds `key` without a value.
    pub fn push_flag(&mut self, key: &str) -> Result<(), BadAttribute> {
        check_key(key.as_bytes())?;
        let word = self.0.to_mut();
        if !word.is_empty() {
            word.push(b';');
        }
        word.extend_from_slice(key.as_bytes());
        Ok(())
    }

    /// A copy without the attributes named in `keys`.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Attributes<'static> {
        let kept: Vec<&[u8]> = self
            .items()
            .filter(|item| !keys.iter().any(|key| key.as_bytes() == split_item(item).0))
            .collect();
        Attributes(Cow::Owned(kept.join(&b';')))
    }

    /// The encoded word, without its `@`.
    pub(crate) fn as_word(&self) -> &[u8] {
        &self.0
    }

    fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b';')
            .filter(|item| !item.is_empty())
    }
}

fn split_item(item: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', item) {
        Some(at) => (&item[..at], Some(&item[at + 1..])),
        None => (item, None),
    }
}

fn check_key(key: &[u8]) -> Result<(), BadAttribute> {
    let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match key.iter().find(|byte| !allowed(byte)) {
        _ if key.is_empty() => Err(BadAttribute::EmptyKey),
        Some(&byte) => Err(BadAttribute::InKey(byte)),
        None => Ok(()),
    }
}

fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut meant = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, tail @ ..] = rest {
        let (byte, used) = match (byte, tail.first()) {
            (b'\\', Some(b's')) => (b' ', 2),
            (b'\\', Some(b':')) => (b';', 2),
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            _ => (*byte, 1),
        };
        meant.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(meant)
}

/// Why the word after `@` is malformed. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAttribute {
    /// Nothing before `=`, or nothing between two `;`.
    EmptyKey,
    /// A byte that is not allowed in a key.
    InKey(u8),
    /// A bare carriage return in a value.
    CarriageReturn,
}

impl fmt::Display for BadAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyKey => write!(f, "an attribute has no key; write @key=value;flag"),
            Self::InKey(byte) => write!(
                f,
                "the key of an attribute holds {:?}; use lower-case letters, digits and -",
                char::from(*byte)
            ),
            Self::CarriageReturn => {
                write!(f, "an attribute holds a carriage return; write it as \\r")
            }
        }
    }
}

impl std::error::Error for BadAttribute {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(word: &str) -> Attributes<'_> {
        Attributes::parse(word.as_bytes()).expect("attributes")
    }

    #[test]
    fn a_value_may_hold_any_byte() {
        let value: Vec<u8> = (0..=255).collect();
        let mut attributes = Attributes::default();
        attributes.push("a", &value).expect("a valid key");
        attributes.push_flag("b").expect("a valid key");
        let word = attributes.as_word().to_vec();
        assert!(!word.iter().any(|byte| b" \n\r".contains(byte)));
        let again = Attributes::parse(&word).expect("attributes");
        let items: Vec<_> = again.iter().collect();
        assert_eq!(items, [("a", Some(Cow::from(value))), ("b", None)]);
    }

    #[test]
    fn an_empty_value_is_not_a_flag() {
        let items = parsed("a=;b");
        let items: Vec<_> = items.iter().collect();
        assert_eq!(items, [("a", Some(Cow::from(&b""[..]))), ("b", None)]);
    }

    #[test]
    fn a_key_is_lower_case_letters_digits_and_dashes() {
        for (word, why) in [
            ("", BadAttribute::EmptyKey),
            ("=x", BadAttribute::EmptyKey),
            ("a;;b", BadAttribute::EmptyKey),
            ("A=x", BadAttribute::InKey(b'A')),
            ("a_b", BadAttribute::InKey(b'_')),
            ("a=x\ry", BadAttribute::CarriageReturn),
        ] {
            assert_eq!(Attributes::parse(word.as_bytes()), Err(why), "{word:?}");
        }
    }

    #[test]
    fn attributes_can_be_removed_by_key() {
        assert_eq!(parsed("a=1;retain;b").without(&[RETAIN]), parsed("a=1;b"));
        assert!(parsed("retain").without(&[RETAIN]).is_empty());
    }
}
