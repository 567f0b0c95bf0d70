//! Filters and names with placeholders: `%u` is the identity, `%c` the client identifier, `%g` each group.
//!
//! A value is one level without wildcard, or there is none: so a filter that is filled in never matches more
//! than it says.

use std::collections::BTreeSet;

use protocol::{Filter, Topic, encode_spaces, is_harmless};

use crate::auth::identity::IdentityName;

/// What is filled in for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Placeholder {
    User,
    Client,
    Group,
}

/// A level of a filter, or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LevelPattern {
    Plus,
    Hash,
    Literal(Box<str>),
    Template {
        before: Box<str>,
        placeholder: Placeholder,
        after: Box<str>,
    },
}

/// A filter with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilterPattern {
    pub(super) levels: Box<[LevelPattern]>,
}

/// A name with placeholders, and with an open end if a `*` ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamePattern {
    name: LevelPattern,
    is_open: bool,
}

/// The values of a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceholderValues<'a> {
    pub(super) user: &'a str,
    /// `None` is filled in nowhere.
    pub(super) client: Option<&'a str>,
    pub(super) groups: &'a BTreeSet<IdentityName>,
    /// Those that a file says.
    pub(super) more_groups: &'a [Box<str>],
}

impl<'a> PlaceholderValues<'a> {
    /// Each group once or twice.
    pub(super) fn groups(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let named = self.groups.iter().map(IdentityName::as_str);
        named.chain(self.more_groups.iter().map(AsRef::as_ref))
    }

    /// The values of a placeholder. A group that is chosen already stays the same in all of a filter.
    pub(super) fn of(&self, placeholder: Placeholder, chosen: Option<&'a str>) -> Vec<&'a str> {
        match (placeholder, chosen) {
            (Placeholder::User, _) => vec![self.user],
            (Placeholder::Client, _) => self.client.into_iter().collect(),
            (Placeholder::Group, Some(chosen)) => vec![chosen],
            (Placeholder::Group, None) => self.groups().collect(),
        }
    }
}

/// A value that may be filled in: one level without wildcard and without a `$` at its beginning. Spaces are
/// encoded, as in topics.
pub(super) fn placeholder_value(text: &str) -> Option<Box<str>> {
    let encoded = encode_spaces(text);
    let is_one = !encoded.contains('/') && !encoded.starts_with('$');
    (is_one && Topic::parse(&*encoded).is_ok()).then(|| encoded.as_ref().into())
}

impl FilterPattern {
    /// Parses a filter of a rule. An error is the place in it, and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        if let Some((at, letter)) = text.char_indices().find(|(_, it)| !is_harmless(*it)) {
            let shown = letter.escape_default();
            return Err((at, format!("no filter of a rule has the character {shown}")));
        }
        let mut at = 0;
        let mut levels = Vec::new();
        let mut sample = String::new();
        for level in text.split('/') {
            let parsed = LevelPattern::parse(level).map_err(|(inside, why)| (at + inside, why))?;
            if at > 0 {
                sample.push('/');
            }
            parsed.fill(&mut sample, "x");
            levels.push(parsed);
            at += level.len() + 1;
        }
        let filter = Filter::parse(&sample).map_err(|why| (0, why.to_string()))?;
        if filter.group().is_some() {
            let why = "the group of a shared subscription is a right: share:<group>, and here the filter alone";
            return Err((0, why.to_owned()));
        }
        let levels = levels.into_boxed_slice();
        Ok(Self { levels })
    }

    /// Whether it has this placeholder.
    pub(super) fn uses(&self, placeholder: Placeholder) -> bool {
        self.levels.iter().any(|level| level.uses(placeholder))
    }

    /// The filters that it is for a subject.
    pub(super) fn filled_in(&self, values: &PlaceholderValues<'_>) -> Vec<String> {
        let groups: BTreeSet<Option<&str>> = if self.uses(Placeholder::Group) {
            values.groups().map(Some).collect()
        } else {
            BTreeSet::from([None])
        };
        let filled = groups.into_iter().filter_map(|group| {
            let mut text = String::new();
            for (at, level) in self.levels.iter().enumerate() {
                if at > 0 {
                    text.push('/');
                }
                let value = match level.placeholder() {
                    None => "",
                    Some(placeholder) => values.of(placeholder, group).first()?,
                };
                level.fill(&mut text, value);
            }
            Some(text)
        });
        filled.collect()
    }
}

impl NamePattern {
    /// Parses a name of a rule. An error is the place in it, and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let (name, is_open) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        if let Some(at) = name.find('*') {
            return Err((at, "a * is the last letter, for any end".to_owned()));
        }
        let name = LevelPattern::parse(name)?;
        Ok(Self { name, is_open })
    }

    pub(super) fn uses(&self, placeholder: Placeholder) -> bool {
        self.name.uses(placeholder)
    }

    /// The names that it is for a subject, with the `*` at an open end.
    pub(super) fn filled_in(&self, values: &PlaceholderValues<'_>) -> Vec<String> {
        let filled = |value: &str| {
            let mut text = String::new();
            self.name.fill(&mut text, value);
            text.extend(self.is_open.then_some('*'));
            text
        };
        match self.name.placeholder() {
            None => vec![filled("")],
            Some(placeholder) => values
                .of(placeholder, None)
                .into_iter()
                .map(filled)
                .collect(),
        }
    }

    /// Whether it fits a name for a subject.
    pub(super) fn fits(&self, name: &str, values: &PlaceholderValues<'_>) -> bool {
        self.filled_in(values)
            .iter()
            .any(|filled| match self.is_open {
                true => name.starts_with(&filled[..filled.len() - 1]),
                false => name == filled,
            })
    }
}

impl LevelPattern {
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        match text {
            "+" => return Ok(Self::Plus),
            "#" => return Ok(Self::Hash),
            _ => {}
        }
        let (mut before, mut found, mut after) = (String::new(), None, String::new());
        let mut letters = text.char_indices();
        while let Some((at, letter)) = letters.next() {
            let part = if found.is_none() {
                &mut before
            } else {
                &mut after
            };
            if letter != '%' {
                part.push(letter);
                continue;
            }
            let placeholder = match letters.next().map(|(_, letter)| letter) {
                Some('%') => {
                    part.push('%');
                    continue;
                }
                Some('u') => Placeholder::User,
                Some('c') => Placeholder::Client,
                Some('g') => Placeholder::Group,
                _ => {
                    let why = "a placeholder is %u, %c or %g; write %% for a %";
                    return Err((at, why.to_owned()));
                }
            };
            if found.replace(placeholder).is_some() {
                return Err((at, "a level has one placeholder".to_owned()));
            }
        }
        Ok(match found {
            None => Self::Literal(before.into()),
            Some(placeholder) => Self::Template {
                before: before.into(),
                placeholder,
                after: after.into(),
            },
        })
    }

    fn placeholder(&self) -> Option<Placeholder> {
        match self {
            Self::Template { placeholder, .. } => Some(*placeholder),
            Self::Plus | Self::Hash | Self::Literal(_) => None,
        }
    }

    fn uses(&self, placeholder: Placeholder) -> bool {
        self.placeholder() == Some(placeholder)
    }

    /// Adds it to a text, with a value for its placeholder.
    fn fill(&self, text: &mut String, value: &str) {
        match self {
            Self::Plus => text.push('+'),
            Self::Hash => text.push('#'),
            Self::Literal(literal) => text.push_str(literal),
            Self::Template { before, after, .. } => {
                text.push_str(before);
                text.push_str(value);
                text.push_str(after);
            }
        }
    }
}
