//! A line of a users file as words.
//!
//! Words are separated by spaces and tabs. Quotes keep spaces in a word, and a backslash before a quote or
//! a backslash keeps it; a `#` at the beginning of a word begins a comment.

use std::ops::Range;

/// A word with its place in the line, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Word<'a> {
    pub(in crate::auth) text: &'a str,
    pub(in crate::auth) span: Range<usize>,
}

/// The words of a line before its comment. An error is where a quote begins that does not end.
pub(in crate::auth) fn words(line: &str) -> Result<Vec<Word<'_>>, usize> {
    let is_space = |letter: char| matches!(letter, ' ' | '\t');
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let rest = &line[at..];
        at += rest.len() - rest.trim_start_matches(is_space).len();
        let rest = &line[at..];
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(words);
        }
        let (mut quote, mut is_escaped) = (None, false);
        let end = rest.char_indices().find(|(offset, letter)| {
            match (quote, letter) {
                (Some(_), _) if is_escaped => is_escaped = false,
                (Some(_), '\\') => is_escaped = true,
                (Some(_), '"') => quote = None,
                (None, '"') => quote = Some(at + offset),
                (None, letter) => return is_space(*letter),
                _ => {}
            }
            false
        });
        if let Some(start) = quote {
            return Err(start);
        }
        let end = end.map_or(line.len(), |(offset, _)| at + offset);
        words.push(Word {
            text: &line[at..end],
            span: at..end,
        });
        at = end;
    }
}

/// A text in quotes.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// The text of a value: as it is, or what is between its quotes.
pub(in crate::auth) fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    loop {
        match letters.next()? {
            // Nothing follows the quote that ends it.
            '"' => return letters.next().is_none().then_some(text),
            '\\' => text.push(
                letters
                    .next()
                    .filter(|letter| matches!(letter, '"' | '\\'))?,
            ),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<&str> {
        let words = words(line).expect("its quotes end");
        for word in &words {
            assert_eq!(&line[word.span.clone()], word.text);
        }
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn a_line_is_words_up_to_its_comment() {
        assert_eq!(texts(" user\tann  a=b#c # d \"e"), ["user", "ann", "a=b#c"]);
        assert_eq!(texts("note=\"a # \\\" b\" c"), ["note=\"a # \\\" b\"", "c"]);
        assert_eq!(texts("# user"), [""; 0]);
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(words("é x=\"a \\\""), Err(5));
    }

    #[test]
    fn what_is_in_quotes_is_whole_or_nothing() {
        for (value, text) in [
            ("plain", Some("plain")),
            ("\"a b\"", Some("a b")),
            ("\"\"", Some("")),
            ("a\"b\"", None),
            ("\"a\"b", None),
            ("\"a\\n\"", None),
            ("\"a", None),
        ] {
            assert_eq!(unquote(value).as_deref(), text, "{value}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_survives_its_quotes(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert_eq!(unquote(&quoted), Some(text));
            let line = format!("note={quoted} next");
            prop_assert_eq!(words(&line).expect("its quotes end").len(), 2);
        }
    }
}
