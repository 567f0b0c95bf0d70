//! The tokens of a text in Rust: words, numbers and punctuation, each with its line. Comments go
//! apart, literals keep their place and lose their content.
//!
//! Items that only unit tests compile (`#[cfg(test)]`) can be left out.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// A word, a number, `::`, or one letter of punctuation. A literal of text is `""`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    text: String,
    line: usize,
}

impl Token {
    /// What it is.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it is, counted from one.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Whether it can be a name.
    #[must_use]
    pub fn is_word(&self) -> bool {
        let first = self.text.chars().next();
        first.is_some_and(|first| first.is_alphabetic() || first == '_')
    }
}

/// What a text consists of.
pub(super) struct Tokens {
    pub(super) all: Vec<Token>,
    /// The lines with a comment that is not for the documentation.
    pub(super) comments: BTreeSet<usize>,
}

impl Tokens {
    pub(super) fn read(text: &str) -> Self {
        let mut reader = Reader {
            rest: text,
            line: 1,
            tokens: Self {
                all: Vec::new(),
                comments: BTreeSet::new(),
            },
        };
        while !reader.rest.is_empty() {
            reader.read();
        }
        reader.tokens
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    tokens: Tokens,
}

impl Reader<'_> {
    fn read(&mut self) {
        if self.rest.starts_with("//") {
            self.comment();
        } else if self.rest.starts_with("/*") {
            self.long_comment();
        } else if let Some(bytes) = text_literal(self.rest).or_else(|| letter_literal(self.rest)) {
            self.push("\"\"", bytes);
        } else if self.rest.starts_with("::") {
            self.push("::", 2);
        } else {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let word = self.rest.find(|letter| !is_word(letter));
            match word.unwrap_or(self.rest.len()) {
                0 => {
                    let letter = self.rest.chars().next().unwrap_or_default();
                    if letter.is_whitespace() {
                        self.skip(letter.len_utf8());
                    } else {
                        self.push(&letter.to_string(), letter.len_utf8());
                    }
                }
                bytes => self.push(&self.rest[..bytes], bytes),
            }
        }
    }

    fn comment(&mut self) {
        if !self.rest.starts_with("///") && !self.rest.starts_with("//!") {
            self.tokens.comments.insert(self.line);
        }
        self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
    }

    fn long_comment(&mut self) {
        let mut depth = 0;
        let mut bytes = 0;
        loop {
            let rest = &self.rest[bytes..];
            if rest.starts_with("/*") {
                (depth, bytes) = (depth + 1, bytes + 2);
            } else if rest.starts_with("*/") {
                (depth, bytes) = (depth - 1, bytes + 2);
                if depth == 0 {
                    break;
                }
            } else if let Some(letter) = rest.chars().next() {
                bytes += letter.len_utf8();
            } else {
                break;
            }
        }
        self.skip(bytes);
    }

    fn push(&mut self, text: &str, bytes: usize) {
        self.tokens.all.push(Token {
            text: text.to_owned(),
            line: self.line,
        });
        self.skip(bytes);
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// The length of a literal of text that begins here, also of bytes, and raw ones.
fn text_literal(rest: &str) -> Option<usize> {
    let prefixes = ["\"", "b\"", "c\""];
    if let Some(prefix) = prefixes.iter().find(|prefix| rest.starts_with(**prefix)) {
        return Some(prefix.len() + closed_by('"', &rest[prefix.len()..]));
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        let behind = rest.strip_prefix(prefix).unwrap_or_default();
        behind.trim_start_matches('#').starts_with('"')
    })?;
    let hashes = rest[prefix.len()..].find('"')?;
    let begin = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(begin + rest[begin..].find(&end)? + end.len())
}

/// The length of a literal of one letter that begins here. A lifetime is none.
fn letter_literal(rest: &str) -> Option<usize> {
    let prefix = if rest.starts_with("b'") { 2 } else { 1 };
    let behind = rest
        .get(prefix..)
        .filter(|_| rest[prefix - 1..].starts_with('\''))?;
    let mut letters = behind.chars();
    let first = letters.next()?;
    if first == '\\' || letters.next() == Some('\'') {
        return Some(prefix + closed_by('\'', behind));
    }
    None
}

/// How many bytes there are up to and including this letter, if no backslash is before it.
fn closed_by(end: char, text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if letter == end && !escaped {
            return at + end.len_utf8();
        }
        escaped = letter == '\\' && !escaped;
    }
    text.len()
}

/// Leaves out each item behind `#[cfg(test)]`, and says which lines these items have.
pub(super) fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<RangeInclusive<usize>>) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut lines = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((token, behind)) = rest.split_first() {
        let begins = rest.len() > ATTRIBUTE.len()
            && ATTRIBUTE
                .iter()
                .zip(rest)
                .all(|(part, token)| token.is(part));
        if !begins {
            kept.push(token.clone());
            rest = behind;
            continue;
        }
        let item = &rest[ATTRIBUTE.len()..];
        let end = item_end(item);
        lines.push(token.line..=item[end - 1].line);
        rest = &item[end..];
    }
    (kept, lines)
}

/// How many tokens the item, statement or field has that begins here.
fn item_end(item: &[Token]) -> usize {
    let has_generics =
        |token: &Token| ["fn", "impl", "struct", "enum", "trait"].contains(&token.text());
    let mut depth = 0;
    for (at, token) in item.iter().enumerate() {
        match token.text() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" if depth <= 1 => {
                // The braces of `use a::{b, c};` do not end it.
                let goes_on = item.get(at + 1).is_some_and(|next| next.is(";"));
                return at + 1 + usize::from(goes_on);
            }
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            "," if depth == 0 && !item[..at].iter().any(has_generics) => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The tokens of the body, with its braces, of the item that begins here; none if it has no body.
pub(super) fn body(tokens: &[Token], from: usize) -> Option<RangeInclusive<usize>> {
    let mut depth = 0;
    let mut begin = None;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            ";" if depth == 0 && begin.is_none() => return None,
            "{" => {
                if depth == 0 && begin.is_none() {
                    begin = Some(at);
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return begin.map(|begin| begin..=at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let (tokens, _) = without_tests(Tokens::read(text).all);
        tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_the_content_of_literals_are_left_out() {
        assert_eq!(read("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
        assert_eq!(
            read(r####"a("b{", r#"c"d"#, b"\"{")"####),
            ["a", "(", "\"\"", ",", "\"\"", ",", "\"\"", ")"]
        );
        assert_eq!(
            read(r"'{' b'}' '\'' 'x"),
            ["\"\"", "\"\"", "\"\"", "'", "x"]
        );
        assert_eq!(
            read("break 'read; b: &'a str"),
            ["break", "'", "read", ";", "b", ":", "&", "'", "a", "str"]
        );
    }

    #[test]
    fn paths_and_words_are_cut_where_they_end() {
        assert_eq!(
            read("crate::a_1::B<u8>"),
            ["crate", "::", "a_1", "::", "B", "<", "u8", ">"]
        );
    }

    #[test]
    fn items_of_tests_are_left_out() {
        for (text, kept) in [
            ("use a; #[cfg(test)] mod tests { fn f() {} } b", "use a ; b"),
            ("#[cfg(test)] use a::{b, c}; d", "d"),
            ("#[cfg(test)] fn f<A, B>(a: A) -> B { g() } d", "d"),
            ("S { #[cfg(test)] a: u8, b: u8 }", "S { b : u8 }"),
            ("#[cfg(test)] #[allow(dead_code)] mod tests; d", "d"),
            ("#[cfg(not(test))] a", "# [ cfg ( not ( test ) ) ] a"),
        ] {
            assert_eq!(read(text).join(" "), kept, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let tokens = Tokens::read("a\n\"b\n\"\n/*\n*/ c\n// d\n/// e\nf");
        let lines = tokens.all.iter().map(|token| token.line);
        assert_eq!(lines.collect::<Vec<_>>(), [1, 2, 5, 8]);
        assert_eq!(tokens.comments.into_iter().collect::<Vec<_>>(), [6]);
    }
}
