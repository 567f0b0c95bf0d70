//! Names of identities and of their groups.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of an identity or a group: 1 to 64 bytes; letters of ASCII, digits and `-_.@:`, of which the
/// first is a letter or a digit.
///
/// It is one level of a topic without wildcards, so what is made of it cannot match more than it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct IdentityName(Box<str>);

/// Why a text is no [`IdentityName`] of a user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadIdentityName {
    /// It is empty.
    Empty,
    /// It has more than 64 bytes.
    TooLong,
    /// It has this character, which no name has.
    Letter(char),
    /// It begins with this character, which is for the inside of a name.
    First(char),
    /// It is a word that means others than one user.
    Reserved(&'static str),
    /// It begins like the names that the broker gives by itself.
    Given(&'static str),
}

/// Maximum bytes of a name.
const MOST_BYTES: usize = 64;

/// What stands for several identities, or for none.
const RESERVED: [&str; 3] = ["anonymous", "everyone", "known"];

/// How names begin that come from a socket or a port.
const GIVEN: [&str; 2] = [UNIX, ROOM];
const UNIX: &str = "unix:";
const ROOM: &str = "room:";

impl IdentityName {
    /// That of all clients that have shown none.
    pub(super) fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// The group whose members may do what the operator may.
    pub(super) fn admin() -> Self {
        Self("admin".into())
    }

    /// That of a user of this machine, by its number if its name has letters that no name here has.
    pub(super) fn of_unix_user(user: &str, number: u32) -> Self {
        let is_name = user.parse::<Self>().is_ok() && UNIX.len() + user.len() <= MOST_BYTES;
        Self(match is_name {
            true => format!("{UNIX}{user}").into(),
            false => format!("{UNIX}{number}").into(),
        })
    }

    /// That of the members of a room for raw text.
    pub(super) fn of_room(port: u16) -> Self {
        Self(format!("{ROOM}{port}").into())
    }

    /// Whether the broker gives it by itself, so that no user can have it.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0.parse::<Self>().is_err()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdentityName {
    type Err = BadIdentityName;

    fn from_str(text: &str) -> Result<Self, BadIdentityName> {
        check_form(text)?;
        if let Some(word) = RESERVED.iter().find(|word| **word == text) {
            return Err(BadIdentityName::Reserved(word));
        }
        if let Some(start) = GIVEN.iter().find(|start| text.starts_with(**start)) {
            return Err(BadIdentityName::Given(start));
        }
        Ok(Self(text.into()))
    }
}

/// Takes those that the broker gives, too: for what it has written itself.
impl TryFrom<Box<str>> for IdentityName {
    type Error = BadIdentityName;

    fn try_from(text: Box<str>) -> Result<Self, BadIdentityName> {
        check_form(&text).map(|()| Self(text))
    }
}

fn check_form(text: &str) -> Result<(), BadIdentityName> {
    let first = text.chars().next().ok_or(BadIdentityName::Empty)?;
    let is_inside = |letter: char| letter.is_ascii_alphanumeric() || "-_.@:".contains(letter);
    if let Some(letter) = text.chars().find(|letter| !is_inside(*letter)) {
        return Err(BadIdentityName::Letter(letter));
    }
    if text.len() > MOST_BYTES {
        return Err(BadIdentityName::TooLong);
    }
    // So that both stay free as signs before a name, such as one to leave it out.
    if !first.is_ascii_alphanumeric() {
        return Err(BadIdentityName::First(first));
    }
    Ok(())
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadIdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name is not empty"),
            Self::TooLong => write!(f, "a name has at most {MOST_BYTES} bytes"),
            Self::Letter(letter) => write!(
                f,
                "a name has letters of ASCII, digits and -_.@: only, not {letter:?}"
            ),
            Self::First(letter) => {
                write!(f, "a name begins with a letter or a digit, not {letter:?}")
            }
            Self::Reserved(word) => write!(
                f,
                "{word} is no name, because it means others than one user"
            ),
            Self::Given(start) => write!(
                f,
                "the broker itself gives the names that begin with {start}"
            ),
        }
    }
}

impl std::error::Error for BadIdentityName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_of_a_topic_without_wildcards() {
        let longest = "x".repeat(64);
        for name in ["a", "7", "ann@example.org", "meter-7", "a:b_c.d", &longest] {
            assert_eq!(name.parse::<IdentityName>().expect("a name").as_str(), name);
        }
        let too_long = "x".repeat(65);
        for (text, why) in [
            ("", BadIdentityName::Empty),
            (&*too_long, BadIdentityName::TooLong),
            ("a/b", BadIdentityName::Letter('/')),
            ("+", BadIdentityName::Letter('+')),
            ("a#", BadIdentityName::Letter('#')),
            ("$a", BadIdentityName::Letter('$')),
            ("a b", BadIdentityName::Letter(' ')),
            ("a\0", BadIdentityName::Letter('\0')),
            ("änn", BadIdentityName::Letter('ä')),
            ("-a", BadIdentityName::First('-')),
            ("@a", BadIdentityName::First('@')),
            ("anonymous", BadIdentityName::Reserved("anonymous")),
            ("unix:root", BadIdentityName::Given("unix:")),
            ("room:1", BadIdentityName::Given("room:")),
        ] {
            assert_eq!(text.parse::<IdentityName>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_no_user_can_have_is_one_that_the_broker_gives() {
        let user: IdentityName = "ann".parse().expect("a name");
        assert!(!user.is_given());
        for given in [
            IdentityName::anonymous(),
            IdentityName::of_room(7),
            IdentityName::of_unix_user("ann", 1),
        ] {
            assert!(given.is_given(), "{given}");
        }
    }
}
