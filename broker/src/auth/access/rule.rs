//! A rule: who may do what where, or may not.

use std::fmt;
use std::sync::Arc;

use super::effect::Effect;
use super::pattern::{FilterPattern, NamePattern, Placeholder};
use super::right::{AccessRight, RightKind};

/// A line of an access file that allows or denies. `Display` is `FILE:LINE: TEXT`, with the name of the file
/// without its folder.
#[derive(Debug)]
pub struct AccessRule {
    pub(super) effect: Effect,
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    /// Its words, with one space between.
    pub(super) text: Box<str>,
    pub(super) who: Box<[Who]>,
    /// Those that are left out.
    pub(super) except: Box<[Who]>,
    pub(super) rights: Box<[AccessRight]>,
    pub(super) filters: Box<[FilterPattern]>,
    /// Nicks and client identifiers.
    pub(super) names: Box<[NamePattern]>,
}

/// Those that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Everyone,
    /// All but [`Who::Anonymous`].
    Known,
    Anonymous,
    Group(Box<str>),
    Name(Box<str>),
}

impl AccessRule {
    /// The file, without its folder, and the line.
    #[must_use]
    pub fn place(&self) -> (&str, usize) {
        (&self.file, self.line)
    }

    /// Its words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is about, each kind once.
    pub(super) fn kinds(&self) -> Vec<RightKind> {
        let has_filters = !self.filters.is_empty();
        let kinds = self.rights.iter().map(|right| right.kinds(has_filters));
        let mut unique = Vec::new();
        for kind in kinds.flatten() {
            if !unique.contains(&kind) {
                unique.push(kind);
            }
        }
        unique
    }

    /// Whether it is about all topics, also those that begin with `$`.
    pub(super) fn is_everywhere(&self) -> bool {
        self.filters.is_empty() && self.rights.contains(&AccessRight::All)
    }

    /// Whether a filter that asks for too much is narrowed by it.
    pub(super) fn narrows(&self) -> bool {
        self.rights.contains(&AccessRight::SubscribeNarrow)
    }

    /// Whether it is about subscriptions that are shared in this group.
    pub(super) fn is_about_share(&self, group: &str) -> bool {
        self.rights.iter().any(|right| match right {
            AccessRight::Share(None) | AccessRight::All => true,
            AccessRight::Share(Some(named)) => **named == *group,
            _ => false,
        })
    }

    /// Whether it is about this inquiry.
    pub(super) fn is_about_inquiry(&self, inquiry: &str) -> bool {
        self.rights.iter().any(|right| match right {
            AccessRight::Inquire(None) | AccessRight::All => true,
            AccessRight::Inquire(Some(named)) => *named == inquiry,
            _ => false,
        })
    }

    /// Whether a placeholder of it has to have a value.
    pub(super) fn uses(&self, placeholder: Placeholder) -> bool {
        let mut filters = self.filters.iter();
        let mut names = self.names.iter();
        filters.any(|filter| filter.uses(placeholder)) || names.any(|name| name.uses(placeholder))
    }
}

impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}
