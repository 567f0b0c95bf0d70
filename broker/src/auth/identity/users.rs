//! What a users file says: users and tokens as values, and the line for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::name::IdentityName;
use super::password::StoredPassword;
use super::token::{TokenDigest, TokenId, TokenNote};
use super::words::quote;

/// All users and tokens of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// By name.
    pub users: BTreeMap<IdentityName, User>,
    /// By id. The owner of each is a user.
    pub tokens: BTreeMap<TokenId, Token>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The groups that it belongs to.
    pub groups: BTreeSet<IdentityName>,
    /// Its password, if it has one.
    pub password: Option<StoredPassword>,
    /// Whether it is kept out for now, with its tokens.
    pub is_disabled: bool,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The user that its holder is.
    pub owner: IdentityName,
    /// What the token is compared with.
    pub digest: TokenDigest,
    /// When it ends; never without.
    pub expires: Option<Timestamp>,
    /// What it is for.
    pub note: Option<TokenNote>,
}

impl Users {
    /// All groups in which there is a user.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<IdentityName> {
        let groups = self.users.values().flat_map(|user| &user.groups);
        groups.cloned().collect()
    }
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (users, tokens) = (self.users.len(), self.tokens.len());
        write!(f, "{users} users and {tokens} tokens")
    }
}

impl User {
    /// The line of a users file for this user.
    pub(super) fn line(&self, name: &IdentityName) -> String {
        let mut line = format!("user {name}");
        if !self.groups.is_empty() {
            let groups: Vec<&str> = self.groups.iter().map(IdentityName::as_str).collect();
            line.push_str(&format!(" groups={}", groups.join(",")));
        }
        if let Some(password) = &self.password {
            line.push_str(&format!(" hash={}", password.as_str()));
        }
        if self.is_disabled {
            line.push_str(" disabled");
        }
        line
    }
}

impl Token {
    /// Whether its time is over.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// The line of a users file for this token.
    pub(super) fn line(&self, id: &TokenId) -> String {
        let mut line = format!("token {id} owner={} sha256={}", self.owner, self.digest);
        if let Some(expires) = self.expires {
            line.push_str(&format!(" expires={expires}"));
        }
        if let Some(note) = &self.note {
            line.push_str(&format!(" note={}", quote(note.as_str())));
        }
        line
    }
}
