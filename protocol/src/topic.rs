//! A topic: a checked name.
//!
//! Also the rules that topics share with filters. A [`Topic`] borrows its text and is not checked again.

use std::fmt;

use crate::limits::{TOPIC_BYTES, TOPIC_LEVELS};

/// The name under which a message is published: 1 to [`TOPIC_BYTES`] bytes of UTF-8, at most
/// [`TOPIC_LEVELS`] levels separated by `/`, without space, control bytes, `+` and `#`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks a name. There is no other way to create a `Topic`, so later code does not check again.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(name: &'a T) -> Result<Self, BadTopic> {
        let text = checked_text(name.as_ref())?;
        match text.bytes().find(|byte| matches!(byte, b'+' | b'#')) {
            Some(wildcard) => Err(BadTopic::Wildcard(wildcard.into())),
            None => Ok(Self(text)),
        }
    }

    /// The name itself.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes; some may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether the topic begins with `$`: a wildcard in the first level does not match it.
    pub fn is_hidden(self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether the topic is `$SYS` or below it, where only the broker publishes.
    pub fn is_brokers_own(self) -> bool {
        self.0.starts_with("$SYS/") || self.0 == "$SYS"
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The rules that topics and filters share: length, UTF-8, no space or control byte, depth.
pub(crate) fn checked_text(name: &[u8]) -> Result<&str, BadTopic> {
    if name.is_empty() {
        return Err(BadTopic::Empty);
    }
    if name.len() > TOPIC_BYTES {
        return Err(BadTopic::TooLong { bytes: name.len() });
    }
    let text = str::from_utf8(name).map_err(|_| BadTopic::NotUtf8)?;
    if let Some(byte) = text.bytes().find(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadTopic::ControlOrSpace(byte));
    }
    let levels = memchr::memchr_iter(b'/', name).count() + 1;
    if levels > TOPIC_LEVELS {
        return Err(BadTopic::TooDeep { levels });
    }
    Ok(text)
}

/// Why some bytes are not a topic. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTopic {
    /// No bytes.
    Empty,
    /// More than [`TOPIC_BYTES`] bytes.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// More than [`TOPIC_LEVELS`] levels.
    TooDeep {
        /// How many it has.
        levels: usize,
    },
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A space or a control byte.
    ControlOrSpace(u8),
    /// `+` or `#`, which belong to filters.
    Wildcard(char),
}

impl fmt::Display for BadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                f,
                "the name is empty; give one, such as sensors/attic, and in a line put exactly one \
                 space before it"
            ),
            Self::TooLong { bytes } => {
                write!(f, "the name has {bytes} bytes; use at most {TOPIC_BYTES}")
            }
            Self::TooDeep { levels } => {
                write!(
                    f,
                    "the name has {levels} levels; use at most {TOPIC_LEVELS}"
                )
            }
            Self::NotUtf8 => write!(f, "the name is not UTF-8; send it as UTF-8"),
            Self::ControlOrSpace(b' ') => write!(f, "the name holds a space; leave it out"),
            Self::ControlOrSpace(byte) => {
                write!(
                    f,
                    "the name holds the control byte 0x{byte:02x}; leave it out"
                )
            }
            Self::Wildcard(wildcard) => write!(
                f,
                "{wildcard} is for filters; publish to a topic without + and #"
            ),
        }
    }
}

impl std::error::Error for BadTopic {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(name: impl AsRef<[u8]>, why: BadTopic) {
        assert_eq!(Topic::parse(name.as_ref()), Err(why));
    }

    #[test]
    fn a_topic_may_have_empty_levels() {
        for name in ["/", "/a", "a/", "a//b", "a"] {
            assert_eq!(Topic::parse(name).map(Topic::as_str), Ok(name));
        }
    }

    #[test]
    fn a_topic_is_at_most_1024_bytes_and_128_levels() {
        assert!(Topic::parse(&"x".repeat(1024)).is_ok());
        refuses("x".repeat(1025), BadTopic::TooLong { bytes: 1025 });
        assert!(Topic::parse(&"/".repeat(127)).is_ok());
        refuses("/".repeat(128), BadTopic::TooDeep { levels: 129 });
        refuses("", BadTopic::Empty);
    }

    #[test]
    fn a_topic_holds_no_space_control_byte_or_wildcard() {
        refuses("a b", BadTopic::ControlOrSpace(b' '));
        refuses("a\tb", BadTopic::ControlOrSpace(b'\t'));
        refuses("a\x7f", BadTopic::ControlOrSpace(0x7f));
        refuses("a\0", BadTopic::ControlOrSpace(0));
        refuses("a/+", BadTopic::Wildcard('+'));
        refuses("a#b", BadTopic::Wildcard('#'));
    }

    #[test]
    fn a_topic_is_utf8_in_any_script() {
        assert!(Topic::parse("اتاق/گفتگو").is_ok());
        refuses(b"caf\xe9", BadTopic::NotUtf8);
    }
}
