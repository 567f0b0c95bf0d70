//! The name of a client, for people to read.
//!
//! Checked once, in [`Name::parse`]; it identifies no client.

use std::fmt;

use crate::limits::NAME_BYTES;

/// The name of a client: 1 to [`NAME_BYTES`] bytes of UTF-8 without control characters, not only
/// white space. It is a label, not an identity: two clients may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// Checks a name.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(name: &'a T) -> Result<Self, BadName> {
        let name = name.as_ref();
        if name.len() > NAME_BYTES {
            return Err(BadName::TooLong { bytes: name.len() });
        }
        let text = str::from_utf8(name).map_err(|_| BadName::NotUtf8)?;
        if text.trim().is_empty() {
            return Err(BadName::Empty);
        }
        match text.chars().find(|each| each.is_control()) {
            Some(control) => Err(BadName::Control(control)),
            None => Ok(Self(text)),
        }
    }

    /// The name itself.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why some bytes are not a name. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// No bytes, or only white space.
    Empty,
    /// More than [`NAME_BYTES`] bytes.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A control character.
    Control(char),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the name is empty; choose one that people can read"),
            Self::TooLong { bytes } => {
                write!(f, "the name has {bytes} bytes; use at most {NAME_BYTES}")
            }
            Self::NotUtf8 => write!(f, "the name is not UTF-8; send it as UTF-8"),
            Self::Control(control) => write!(
                f,
                "the name holds the control character {}; leave it out",
                control.escape_unicode()
            ),
        }
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_in_any_script() {
        for name in [
            "ann",
            "Ann Lee",
            "سارا",
            "名前",
            "é",
            &"x".repeat(NAME_BYTES),
        ] {
            assert_eq!(Name::parse(name).map(Name::as_str), Ok(name));
        }
    }

    #[test]
    fn a_name_that_cannot_be_displayed_is_refused() {
        let refuses = |name: &[u8], why| assert_eq!(Name::parse(name), Err(why));
        refuses(b"", BadName::Empty);
        refuses(b"  ", BadName::Empty);
        refuses(&[b'x'; NAME_BYTES + 1], BadName::TooLong { bytes: 129 });
        refuses(b"a\xff", BadName::NotUtf8);
        refuses(b"a\x1b[2J", BadName::Control('\x1b'));
        refuses("a\u{85}".as_bytes(), BadName::Control('\u{85}'));
    }
}
