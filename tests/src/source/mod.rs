//! The sources of this workspace as text, for the checks of `tests/tests/house`.
//!
//! A [`Source`] is one file. It gives its tokens without comments, and without what only unit tests
//! compile; its comments by line; its functions; and the types that it defines. A [`Modules`] is one
//! crate: which files it consists of and which of them import which.
//!
//! This is no compiler: it knows neither macros nor types, and finds an import only where a path
//! names it.

mod modules;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use modules::{Import, Modules, circles};
pub use tokens::Token;

use tokens::Tokens;

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("the crate lies in the workspace")
}

/// All sources below a folder of the workspace, in the order of their paths.
#[must_use]
pub fn sources(folder: &str) -> Vec<Source> {
    let mut folders = vec![workspace().join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                // The fuzz targets are built in folders of their own.
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                let path = path.strip_prefix(workspace()).expect("a path below it");
                sources.push(Source::new(path, &text));
            }
        }
    }
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// One file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    tokens: Vec<Token>,
    comments: BTreeSet<usize>,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// How many lines it has, from its `fn` to its closing brace.
    pub lines: usize,
    /// The tokens of its body, as indices into [`Source::tokens`].
    pub body: RangeInclusive<usize>,
}

impl Source {
    /// Reads a text.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        let Tokens { all, comments } = Tokens::read(text);
        let (tokens, test_lines) = tokens::without_tests(all);
        Self {
            path: path.into(),
            text: text.to_owned(),
            tokens,
            comments,
            test_lines,
        }
    }

    /// Where it lies in the workspace.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is compiled into the program: no comments, no unit tests.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether one of its tokens is this word.
    #[must_use]
    pub fn names(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(word))
    }

    /// Whether these tokens follow one another.
    #[must_use]
    pub fn has(&self, sequence: &[&str]) -> bool {
        self.tokens.windows(sequence.len()).any(|window| {
            let mut both = window.iter().zip(sequence);
            both.all(|(token, word)| token.is(word))
        })
    }

    /// Whether a `//` comment, not one for the documentation, is on one of these lines.
    #[must_use]
    pub fn has_comment(&self, mut lines: RangeInclusive<usize>) -> bool {
        lines.any(|line| self.comments.contains(&line))
    }

    /// How many lines it has without its unit tests.
    #[must_use]
    pub fn lines(&self) -> usize {
        let tests = self.test_lines.iter().map(|lines| lines.clone().count());
        self.text.lines().count() - tests.sum::<usize>()
    }

    /// The line on which the statement begins that a token belongs to.
    #[must_use]
    pub fn statement_line(&self, token: usize) -> usize {
        let ends = |before: &Token| before.is(";") || before.is("{") || before.is("}");
        let before = self.tokens[..token].iter().rposition(ends);
        self.tokens[before.map_or(0, |before| before + 1)].line()
    }

    /// Its functions with a body, those inside of others as well.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            // A pointer to a function has no name.
            if !pair[0].is("fn") || !pair[1].is_word() {
                continue;
            }
            let Some(body) = tokens::body(&self.tokens, at) else {
                continue;
            };
            let line = pair[0].line();
            functions.push(Function {
                name: pair[1].text().to_owned(),
                line,
                lines: self.tokens[*body.end()].line() + 1 - line,
                body,
            });
        }
        functions
    }

    /// The names of the types it defines. An associated type is none of them.
    #[must_use]
    pub fn types(&self) -> Vec<&str> {
        let mut depth = 0_usize;
        let mut types = Vec::new();
        for pair in self.tokens.windows(2) {
            match pair[0].text() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "struct" | "enum" | "trait" | "union" if pair[1].is_word() => {
                    types.push(pair[1].text());
                }
                "type" if depth == 0 && pair[1].is_word() => types.push(pair[1].text()),
                _ => {}
            }
        }
        types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! What it is.

/// Doubles.
fn double(x: u8) -> u8 {
    // Why.
    2 * x
}

impl Iterator for Numbers {
    type Item = u8;
    fn next(&mut self) -> Option<u8>;
}

type Bytes = Vec<u8>;
struct Numbers;

#[cfg(test)]
mod tests {
    fn helper() {}
    struct Numbers;
}
";

    #[test]
    fn functions_have_a_place_and_a_length() {
        let source = Source::new("a.rs", TEXT);
        let functions = source.functions();
        let found = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines));
        assert_eq!(found.collect::<Vec<_>>(), [("double", 4, 4)]);
    }

    #[test]
    fn types_are_found_without_associated_ones_and_those_of_tests() {
        assert_eq!(Source::new("a.rs", TEXT).types(), ["Bytes", "Numbers"]);
    }

    #[test]
    fn unit_tests_count_as_no_lines() {
        assert_eq!(Source::new("a.rs", TEXT).lines(), 16);
    }

    #[test]
    fn only_plain_comments_are_comments() {
        let source = Source::new("a.rs", TEXT);
        assert!(source.has_comment(4..=6) && !source.has_comment(1..=4));
    }

    #[test]
    fn a_statement_may_have_several_lines() {
        let source = Source::new("a.rs", "fn f() {\n    a\n        .b()\n        .c();\n}\n");
        let at = source.tokens().iter().position(|token| token.is("c"));
        assert_eq!(source.statement_line(at.expect("c")), 2);
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("a.rs", "fn f(x: &TcpStream) { std::net::bind(\"Frame\") }");
        assert!(source.names("TcpStream") && !source.names("Tcp") && !source.names("Frame"));
        assert!(source.has(&["std", "::", "net"]) && !source.has(&["std", "::", "fs"]));
    }
}
