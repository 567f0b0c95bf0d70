//! The text of a users or access file as lines, and the mistakes in it with their places.

use std::fmt;

/// A mistake, its place, and what would be right. Written as `LINE:COLUMN: TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMistake {
    /// Counted from one.
    pub line: usize,
    /// In characters, counted from one.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Maximum mistakes that are told; the rest is counted.
pub(super) const MOST_MISTAKES: usize = 100;

/// Maximum bytes of a word that is shown.
const MOST_SHOWN: usize = 16;

/// The least likeness, from 0 to 1, of a word that may have been meant.
const LIKENESS: f64 = 0.6;

pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// Why a word is none of the right ones, with the one that may have been meant. A strange word is not shown:
/// it may be a secret in the wrong place.
pub(in crate::auth) fn unknown(kind: &str, word: &str, right: &[&str]) -> String {
    let likeness = |right: &str| strsim::normalized_damerau_levenshtein(word, right);
    let nearest = right
        .iter()
        .map(|right| (likeness(right), *right))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((likeness, nearest)) if likeness >= LIKENESS && word.len() <= MOST_SHOWN => {
            format!("there is no {kind} {word:?}; `{nearest}` is one")
        }
        _ if kind.starts_with(['a', 'e', 'i', 'o', 'u']) => {
            format!("an {kind} is one of: {}", right.join(", "))
        }
        _ => format!("a {kind} is one of: {}", right.join(", ")),
    }
}

/// The text of a file.
pub(in crate::auth) fn decode(bytes: Vec<u8>) -> Result<String, FileMistake> {
    String::from_utf8(bytes).map_err(|why| {
        let valid = why.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&why.as_bytes()[..valid]).into_owned();
        let text = "the file is not UTF-8 from here on".to_owned();
        mistake_at(&before, before.len(), text)
    })
}

/// The lines of a text, each with its place in bytes, without a byte order mark and line ends.
pub(in crate::auth) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = if text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len_utf8()
    } else {
        0
    };
    text[start..].split('\n').map(move |line| {
        let at = start;
        start += line.len() + 1;
        (at, line.strip_suffix('\r').unwrap_or(line))
    })
}

/// Mistakes, told by their places in bytes, in the order of these.
pub(in crate::auth) fn placed(text: &str, mut mistakes: Vec<(usize, String)>) -> Vec<FileMistake> {
    mistakes.sort_by_key(|(at, _)| *at);
    let more = mistakes.len().saturating_sub(MOST_MISTAKES);
    mistakes.truncate(MOST_MISTAKES);
    if more > 0
        && let Some((_, last)) = mistakes.last_mut()
    {
        last.push_str(&format!(" (and {more} more mistakes)"));
    }
    let (mut line, mut start) = (1, 0);
    let placed = mistakes.into_iter().map(|(at, why)| {
        let before = &text[start..at];
        line += before.matches('\n').count();
        start += before.rfind('\n').map_or(0, |end| end + 1);
        FileMistake {
            line,
            ..mistake_at(&text[start..], at - start, why)
        }
    });
    placed.collect()
}

/// A mistake in a text at a byte.
fn mistake_at(text: &str, at: usize, why: String) -> FileMistake {
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before[start..]
        .trim_start_matches(BYTE_ORDER_MARK)
        .chars()
        .count()
        + 1;
    FileMistake {
        line: before.matches('\n').count() + 1,
        column,
        text: why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_and_a_strange_one_is_not_shown() {
        let words = ["user", "token"];
        for (word, advice) in [
            ("usr", "`user` is one"),
            ("User", "`user` is one"),
            ("tokens", "`token` is one"),
            ("hunter2", "a word is one of: user, token"),
            ("\u{1b}[2J", "a word is one of: user, token"),
        ] {
            let told = unknown("word", word, &words);
            assert!(told.ends_with(advice), "{told}");
        }
        // Near, and too long to be anything but a secret.
        let told = unknown("word", "subscription-bites", &["subscription-bytes"]);
        assert_eq!(told, "a word is one of: subscription-bytes");
    }
}
