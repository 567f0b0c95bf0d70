//! Lines `limit ...` of access files.

use bytesize::ByteSize;

use super::limit::{LimitKind, LimitLine, LimitSubject, shown_size};
use super::parser::{AccessParser, PlacedWord};
use crate::auth::identity::mistake::unknown;

/// The word for each address; in quotes it is the name of a user.
const ADDRESS: &str = "address";

/// The least size of a line: enough to say who one is.
const LEAST_LINE: u64 = 128;

impl AccessParser<'_> {
    /// Reads the words behind `limit`; `text` is the whole line.
    pub(super) fn read_limit(
        &mut self,
        placed: &[PlacedWord],
        text: Box<str>,
        number: usize,
        end: usize,
    ) {
        let before = self.mistake_count();
        let is_address = placed.first().is_some_and(|word| word.is(ADDRESS));
        let (kinds, subjects): (&[LimitKind], usize) = match is_address {
            true => (&LimitKind::OF_ADDRESSES, 1),
            false => {
                let is_kind = |word: &PlacedWord| !word.is_quoted && is_any_kind(&word.text);
                let first = placed.iter().position(is_kind);
                (&LimitKind::OF_IDENTITIES, first.unwrap_or(placed.len()))
            }
        };
        let (subjects, rest) = placed.split_at(subjects);
        if let Some((at, why)) = misspelt_kind(subjects, kinds) {
            return self.mistake(at, why);
        }
        if rest.is_empty() {
            return self.mistake(
                end,
                format!("a limit follows here: {}", words(kinds).join(", ")),
            );
        }
        let limits = self.read_limits(kinds, rest, end);
        let subject = match is_address {
            true => LimitSubject::Address,
            false => {
                let (who, except) = self.read_who(subjects, rest[0].at);
                LimitSubject::Identities {
                    who: who.into(),
                    except: except.into(),
                }
            }
        };
        if self.mistake_count() == before {
            let line = LimitLine {
                file: self.file.clone(),
                line: number,
                text,
                subject,
                limits: limits.into(),
            };
            self.parsed.limits.push(line.into());
        }
    }

    /// Reads kinds, each with its value.
    fn read_limits(
        &mut self,
        kinds: &[LimitKind],
        placed: &[PlacedWord],
        end: usize,
    ) -> Vec<(LimitKind, u64)> {
        let mut limits: Vec<(LimitKind, u64)> = Vec::new();
        for pair in placed.chunks(2) {
            let (word, value) = (&pair[0], pair.get(1));
            let Some(kind) = kinds.iter().copied().find(|kind| word.is(kind.as_str())) else {
                let why = match is_any_kind(&word.text) {
                    true if word.is(LimitKind::Attempts.as_str()) => {
                        format!(
                            "attempts is a limit of each address; write limit address {}",
                            example(LimitKind::Attempts)
                        )
                    }
                    true => format!(
                        "an address has no limit of {}; it has: {}",
                        word.text,
                        words(kinds).join(", ")
                    ),
                    false => unknown("limit", &word.text, &words(kinds)),
                };
                self.mistake(word.at, why);
                // What follows may be anything.
                break;
            };
            let parsed = value.map(|value| read_value(kind, &value.text));
            let (at, why) = match parsed {
                Some(Ok(_)) if limits.iter().any(|(known, _)| *known == kind) => {
                    (word.at, format!("{} is there twice; leave one", word.text))
                }
                Some(Ok(most)) => {
                    limits.push((kind, most));
                    continue;
                }
                Some(Err(why)) => (value.map_or(end, |value| value.at), why),
                None => (
                    end,
                    format!("a value follows here, as in {}", example(kind)),
                ),
            };
            self.mistake(at, why);
        }
        limits
    }
}

/// A kind that is misspelt would be a name, and its value another.
fn misspelt_kind(subjects: &[PlacedWord], kinds: &[LimitKind]) -> Option<(usize, String)> {
    let pairs = subjects
        .windows(2)
        .filter(|pair| is_value(&pair[1].text) && !pair[0].is_quoted);
    let mut told = pairs.map(|pair| (pair[0].at, unknown("limit", &pair[0].text, &words(kinds))));
    told.find(|(_, why)| why.ends_with(" is one"))
}

fn words(kinds: &[LimitKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.as_str()).collect()
}

fn is_any_kind(word: &str) -> bool {
    let mut kinds = LimitKind::OF_IDENTITIES
        .iter()
        .chain(&LimitKind::OF_ADDRESSES);
    kinds.any(|kind| kind.as_str() == word)
}

fn is_value(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit())
}

fn example(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Connections => "connections 2",
        LimitKind::Sessions => "sessions 1",
        LimitKind::Subscriptions => "subscriptions 20",
        LimitKind::SubscriptionBytes => "subscription-bytes 64KiB",
        LimitKind::Retained => "retained 100",
        LimitKind::RetainedBytes => "retained-bytes 1MiB",
        LimitKind::Publish => "publish 50/s",
        LimitKind::Bytes => "bytes 1MiB/s",
        LimitKind::Line => "line 64KiB",
        LimitKind::Attempts => "attempts 10/min",
    }
}

/// The value of a kind; or why it is none.
fn read_value(kind: LimitKind, text: &str) -> Result<u64, String> {
    let example = example(kind);
    let (number, least) = match kind {
        LimitKind::Publish | LimitKind::Bytes => (text.strip_suffix("/s"), 1),
        LimitKind::Attempts => (text.strip_suffix("/min"), 1),
        LimitKind::Connections => (Some(text), 1),
        LimitKind::Line => (Some(text), LEAST_LINE),
        LimitKind::Sessions
        | LimitKind::Subscriptions
        | LimitKind::SubscriptionBytes
        | LimitKind::Retained
        | LimitKind::RetainedBytes => (Some(text), 0),
    };
    // Both parsers take more than digits before the unit.
    let number = number.filter(|number| is_value(number));
    let value = number.and_then(|number| match kind.is_size() {
        true => number.parse().ok().map(|size: ByteSize| size.as_u64()),
        false => number.parse().ok(),
    });
    match value {
        Some(value) if value >= least => Ok(value),
        Some(_) if kind.is_size() => Err(format!("the least here is {}", shown_size(least))),
        Some(_) => Err(format!("the least here is {least}")),
        None => Err(format!(
            "this is no value of {}; one is as in {example}",
            kind.as_str()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::AccessTable;

    fn mistakes(text: &str) -> Vec<String> {
        AccessTable::parse("f", text).expect_err("there is a mistake")
    }

    #[test]
    fn mistakes_of_limits_have_their_places_and_what_would_be_right() {
        for (text, told) in [
            (
                "limt ann line 1KiB",
                "f:1:1: there is no line \"limt\"; `limit` is one",
            ),
            (
                "limit ann",
                "f:1:10: a limit follows here: connections, sessions, subscriptions, subscription-bytes, retained, retained-bytes, publish, bytes, line",
            ),
            (
                "limit connections 2",
                "f:1:7: a line begins with names, @groups, anonymous, known or everyone; those to leave out, as -ann, follow them",
            ),
            (
                "limit -ann connections 2",
                "f:1:7: a line begins with names, @groups, anonymous, known or everyone; those to leave out, as -ann, follow them",
            ),
            (
                "limit ann conections 2",
                "f:1:11: there is no limit \"conections\"; `connections` is one",
            ),
            (
                "limit ann sesions 2 line 1KiB",
                "f:1:11: there is no limit \"sesions\"; `sessions` is one",
            ),
            (
                "limit ann connections 2 bites 5",
                "f:1:25: there is no limit \"bites\"; `bytes` is one",
            ),
            (
                "limit ann connections",
                "f:1:22: a value follows here, as in connections 2",
            ),
            ("limit ann connections 0", "f:1:23: the least here is 1"),
            (
                "limit ann connections two",
                "f:1:23: this is no value of connections; one is as in connections 2",
            ),
            (
                "limit ann connections -1",
                "f:1:23: this is no value of connections; one is as in connections 2",
            ),
            (
                "limit ann connections 99999999999999999999",
                "f:1:23: this is no value of connections; one is as in connections 2",
            ),
            (
                "limit ann publish 50",
                "f:1:19: this is no value of publish; one is as in publish 50/s",
            ),
            (
                "limit ann publish 50/min",
                "f:1:19: this is no value of publish; one is as in publish 50/s",
            ),
            ("limit ann publish 0/s", "f:1:19: the least here is 1"),
            (
                "limit ann bytes 1MiB",
                "f:1:17: this is no value of bytes; one is as in bytes 1MiB/s",
            ),
            ("limit ann line 100", "f:1:16: the least here is 128B"),
            (
                "limit ann line 1KiB line 2KiB",
                "f:1:21: line is there twice; leave one",
            ),
            (
                "limit ann attempts 5/min",
                "f:1:11: attempts is a limit of each address; write limit address attempts 10/min",
            ),
            (
                "limit address",
                "f:1:14: a limit follows here: connections, attempts",
            ),
            (
                "limit address publish 5/s",
                "f:1:15: an address has no limit of publish; it has: connections, attempts",
            ),
            (
                "limit address attempts 10/s",
                "f:1:24: this is no value of attempts; one is as in attempts 10/min",
            ),
        ] {
            assert_eq!(mistakes(text), [told], "{text}");
        }
        // In quotes these are users.
        for right in [
            "limit \"address\" \"line\" line 1KiB",
            "limit ann 5 connections 2",
            "limit conection bob connections 2",
            "limit \"conections\" 5 connections 2",
            "limit @admin -ann sessions 0",
        ] {
            assert!(AccessTable::parse("f", right).is_ok(), "{right}");
        }
    }
}
