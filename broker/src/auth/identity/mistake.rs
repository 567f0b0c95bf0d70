//! Mistakes in a users file.

use std::fmt;

/// A mistake, its place, and what would be right. Written as `LINE:COLUMN: TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersMistake {
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

impl fmt::Display for UsersMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// Why a word is none of the right ones, with the one that may have been meant. A strange word is not shown:
/// it may be a secret in the wrong place.
pub(super) fn unknown(kind: &str, word: &str, right: &[&str]) -> String {
    let likeness = |right: &str| strsim::normalized_damerau_levenshtein(word, right);
    let nearest = right
        .iter()
        .map(|right| (likeness(right), *right))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((likeness, nearest)) if likeness >= LIKENESS && word.len() <= MOST_SHOWN => {
            format!("there is no {kind} {word:?}; `{nearest}` is one")
        }
        _ => format!("a {kind} is one of: {}", right.join(", ")),
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
    }
}
