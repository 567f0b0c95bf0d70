//! Names of rooms and nicks: each is one level of a topic.

use std::fmt;

use client::Topic;

use crate::visible;

/// Maximum length of a name in characters. Longer names would leave no room for the message.
const MAX_CHARS: usize = visible::MAX_NAME;

/// A name that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatName(String);

impl ChatName {
    /// Parses a nick.
    pub(crate) fn nick(text: &str) -> Result<Self, BadName> {
        Self::checked("nick", text)
    }

    /// Parses the name of a room.
    pub(crate) fn room(text: &str) -> Result<Self, BadName> {
        Self::checked("room", text)
    }

    fn checked(what: &'static str, text: &str) -> Result<Self, BadName> {
        let bad = |why| {
            Err(BadName {
                what,
                text: visible::name(text),
                why,
            })
        };
        if text.is_empty() {
            return bad(NameProblem::Empty);
        }
        if text.chars().count() > MAX_CHARS {
            return bad(NameProblem::TooLong);
        }
        if text.contains(char::is_whitespace) {
            return bad(NameProblem::Space);
        }
        if let Some(letter) = text.chars().find(|letter| "/+#".contains(*letter)) {
            return bad(NameProblem::OfTopics(letter));
        }
        if visible::name(text) != text || Topic::parse(text).is_err() {
            return bad(NameProblem::Invisible);
        }
        // Topics that begin with $ are the broker's own, and wildcards do not match them.
        if what == "room" && text.starts_with('$') {
            return bad(NameProblem::Dollar);
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a valid name. `Display` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadName {
    what: &'static str,
    text: String,
    why: NameProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameProblem {
    Empty,
    TooLong,
    Space,
    OfTopics(char),
    Invisible,
    Dollar,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, text, why } = self;
        match why {
            NameProblem::Empty => write!(f, "the {what} is empty; give it a name, such as ann"),
            NameProblem::TooLong => {
                write!(
                    f,
                    "the {what} is too long; use at most {MAX_CHARS} characters"
                )
            }
            NameProblem::Space => write!(f, "the {what} {text} holds a space; use - or _ instead"),
            NameProblem::OfTopics(letter) => {
                write!(
                    f,
                    "the {what} {text} holds {letter}, which divides topics; leave it out"
                )
            }
            NameProblem::Invisible => write!(
                f,
                "the {what} {text} holds a character that cannot be shown; leave it out"
            ),
            NameProblem::Dollar => write!(
                f,
                "the {what} {text} begins with $, as the broker's own topics do; leave it out"
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
        for name in ["ann", "آن", "می‌خواهم", "דנה", "李明", "ann-2", "@ann", "🦊"]
        {
            assert!(ChatName::nick(name).is_ok(), "{name}");
            assert!(ChatName::room(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_not_a_topic_level_is_refused_with_advice() {
        for (name, advice) in [
            ("", "give it a name"),
            ("ann lee", "use - or _ instead"),
            ("ann\u{2003}lee", "use - or _ instead"),
            ("a/b", "holds /, which divides topics; leave it out"),
            ("a+", "holds +"),
            ("#a", "holds #"),
            (
                "a\x1b[2J",
                "the nick a\u{fffd}[2J holds a character that cannot be shown",
            ),
            ("a\u{202e}b", "cannot be shown"),
            (&"x".repeat(33), "use at most 32 characters"),
        ] {
            let refused = ChatName::nick(name).expect_err(name).to_string();
            assert!(refused.contains(advice), "{name:?}: {refused}");
        }
        let refused = ChatName::room("$SYS")
            .expect_err("the broker's")
            .to_string();
        assert!(refused.contains("begins with $"), "{refused}");
        assert!(ChatName::nick("$").is_ok());
    }
}
