//! What a users file says: users and tokens as values, and the line for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

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

/// What is different about one user or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsersChange {
    /// `user` or `token`.
    pub what: &'static str,
    /// The name of the user, or the public part of the token.
    pub name: String,
    /// The owner of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `added`, `removed`, `password`, `groups`, `disabled`, `enabled`, or of a token `changed`.
    pub change: &'static str,
}

impl Users {
    /// What is different in others, in the order of the names.
    #[must_use]
    pub fn changes(&self, next: &Self) -> Vec<UsersChange> {
        let mut changes = Vec::new();
        let names: BTreeSet<&IdentityName> = self.users.keys().chain(next.users.keys()).collect();
        for name in names {
            let changed = User::changes(self.users.get(name), next.users.get(name));
            changes.extend(changed.into_iter().map(|change| UsersChange {
                what: "user",
                name: name.to_string(),
                owner: None,
                change,
            }));
        }
        let ids: BTreeSet<&TokenId> = self.tokens.keys().chain(next.tokens.keys()).collect();
        for id in ids {
            let (token, change) = match (self.tokens.get(id), next.tokens.get(id)) {
                (None, Some(token)) => (token, "added"),
                (Some(token), None) => (token, "removed"),
                (Some(before), Some(token)) if before != token => (token, "changed"),
                _ => continue,
            };
            changes.push(UsersChange {
                what: "token",
                name: id.to_string(),
                owner: Some(token.owner.to_string()),
                change,
            });
        }
        changes
    }

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
    fn changes(before: Option<&Self>, next: Option<&Self>) -> Vec<&'static str> {
        let (before, next) = match (before, next) {
            (Some(before), Some(next)) => (before, next),
            (None, Some(_)) => return vec!["added"],
            (Some(_), None) => return vec!["removed"],
            (None, None) => return Vec::new(),
        };
        let able = match next.is_disabled {
            true => "disabled",
            false => "enabled",
        };
        [
            (before.password != next.password, "password"),
            (before.groups != next.groups, "groups"),
            (before.is_disabled != next.is_disabled, able),
        ]
        .into_iter()
        .filter_map(|(is_other, change)| is_other.then_some(change))
        .collect()
    }

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

#[cfg(test)]
mod tests {
    use super::super::UsersDocument;

    #[test]
    fn what_is_different_about_users_and_tokens_is_told_without_secrets() {
        let users = |text: &str| {
            let document = UsersDocument::parse(text.into());
            document.expect("it is right").into_users()
        };
        let digest = "0".repeat(64);
        let before = users(&format!(
            "user ann groups=a\nuser bob\nuser carl disabled\ntoken t0 owner=bob sha256={digest}\n\
             token t1 owner=bob sha256={digest}\n"
        ));
        let next = users(&format!(
            "user ann groups=a,b disabled\nuser bob\nuser dora\ntoken t1 owner=bob sha256={digest} \
             note=\"x\"\ntoken t2 owner=dora sha256={digest}\n"
        ));
        let changes = before.changes(&next);
        let told: Vec<String> = changes
            .iter()
            .map(|it| {
                let owner = it.owner.as_deref().unwrap_or_default();
                format!("{} {} {owner} {}", it.what, it.name, it.change)
            })
            .collect();
        assert_eq!(
            told,
            [
                "user ann  groups",
                "user ann  disabled",
                "user carl  removed",
                "user dora  added",
                "token t0 bob removed",
                "token t1 bob changed",
                "token t2 dora added",
            ]
        );
        assert!(next.changes(&next).is_empty());
    }
}
