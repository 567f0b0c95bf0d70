//! Concurrent code says why at the spot: a comment is on the statement or within three lines before
//! it, where an atomic access orders others, where one is tried again, and where a lock is taken
//! while another is held.
//!
//! Guards are found by what is written: `let guard = x.lock();`, and until its block ends or
//! `drop(guard)`. A guard that a function is handed, or that a value hides, is not seen.

use std::collections::BTreeSet;

use ::tests::source::{Function, Source, Token, sources};

use crate::none;

const LINES_BEFORE: usize = 3;

const ORDERINGS: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];
const RETRIES: [&str; 4] = [
    "compare_exchange",
    "compare_exchange_weak",
    "fetch_update",
    "try_update",
];
const LOCKS: [&str; 5] = ["lock", "read", "write", "try_lock", "lock_arc"];

#[test]
fn what_orders_memory_has_its_reason() {
    check(
        "an ordered or repeated atomic access needs a comment that says why",
        atomics,
    );
}

#[test]
fn a_lock_inside_another_has_its_reason() {
    check(
        "a lock that is taken while another is held needs a comment that says why",
        nested_locks,
    );
}

/// Fails for each of the tokens found in the broker that has no comment.
#[track_caller]
fn check(rule: &str, find: impl Fn(&Source) -> BTreeSet<usize>) {
    let mut faults = Vec::new();
    for file in sources("broker/src") {
        for at in uncommented(&file, find(&file)) {
            let token = &file.tokens()[at];
            faults.push(format!(
                "{}:{}: {}",
                file.path().display(),
                token.line(),
                token.text()
            ));
        }
    }
    none(rule, faults);
}

fn uncommented(file: &Source, tokens: BTreeSet<usize>) -> Vec<usize> {
    let has_none = |at: &usize| {
        let first = file.statement_line(*at).saturating_sub(LINES_BEFORE);
        !file.has_comment(first..=file.tokens()[*at].line())
    };
    tokens.into_iter().filter(has_none).collect()
}

fn atomics(file: &Source) -> BTreeSet<usize> {
    let tokens = file.tokens();
    let is_one = |at: &usize| {
        let text = tokens[*at].text();
        let is_ordering = ORDERINGS.contains(&text)
            && at
                .checked_sub(2)
                .is_some_and(|at| tokens[at].is("Ordering"));
        is_ordering || RETRIES.contains(&text)
    };
    (0..tokens.len()).filter(is_one).collect()
}

fn nested_locks(file: &Source) -> BTreeSet<usize> {
    let functions = file.functions();
    let nested = functions
        .iter()
        .flat_map(|function| nested_in(file.tokens(), function));
    nested.collect()
}

fn nested_in(tokens: &[Token], function: &Function) -> Vec<usize> {
    let mut depth = 0;
    // Each guard by its name and by the depth of its block.
    let mut guards: Vec<(&str, usize)> = Vec::new();
    let mut nested = Vec::new();
    let mut bound = None;
    for at in function.body.clone() {
        match tokens[at].text() {
            "{" => depth += 1,
            "}" => {
                guards.retain(|(_, block)| *block < depth);
                depth -= 1;
            }
            "let" => bound = bound_name(&tokens[at + 1..]),
            "drop" if tokens[at + 1].is("(") => {
                guards.retain(|(name, _)| !tokens[at + 2].is(name));
            }
            text if LOCKS.contains(&text) && is_call(tokens, at) => {
                if !guards.is_empty() {
                    nested.push(at);
                }
                let is_kept = tokens[at + 3].is(";") || tokens[at + 3].is("else");
                if let Some(name) = bound.filter(|_| is_kept) {
                    guards.push((name, depth));
                }
            }
            ";" => bound = None,
            _ => {}
        }
    }
    nested
}

/// The name in `let name`, `let mut name` or `let Some(name)`.
fn bound_name(pattern: &[Token]) -> Option<&str> {
    let mut words = pattern.iter().filter(|token| token.is_word());
    let name = words.find(|word| !word.is("mut") && !word.is("Some") && !word.is("Ok"));
    name.map(Token::text)
}

/// Whether it is a method that is called without an argument.
fn is_call(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1].is(".") && tokens[at + 1].is("(") && tokens[at + 2].is(")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(code: &str, find: impl Fn(&Source) -> BTreeSet<usize>) -> (usize, usize) {
        let file = Source::new("a.rs", code);
        let found = find(&file);
        (found.len(), uncommented(&file, found).len())
    }

    #[test]
    fn atomics_are_found_with_their_comments() {
        for (code, expected) in [
            ("fn f() { a.load(Ordering::Relaxed); }", (0, 0)),
            ("fn f() { a.load(Ordering::Acquire); }", (1, 1)),
            (
                "fn f() {\n// Why.\na.load(Ordering::Acquire);\nb.load(Ordering::SeqCst);\n}",
                (2, 0),
            ),
            (
                "fn f() {\n// Why.\n\n\n\na.load(Ordering::Acquire);\n}",
                (1, 1),
            ),
            ("/// What.\nfn f() { a.load(Ordering::Acquire); }", (1, 1)),
            (
                "fn f() {\n// Why.\na\n.b\n.c\n.d\n.load(Ordering::Acquire);\n}",
                (1, 0),
            ),
            (
                "fn f() { a.compare_exchange(b, c, Ordering::Relaxed, Ordering::Relaxed) }",
                (1, 1),
            ),
        ] {
            assert_eq!(count(code, atomics), expected, "{code}");
        }
    }

    #[test]
    fn a_lock_is_nested_while_a_guard_lives() {
        for (code, nested) in [
            ("fn f() { let a = x.lock(); y.lock().g(); }", 1),
            (
                "fn f() { let mut a = x.write(); if b { let c = y.read(); z.lock(); } }",
                2,
            ),
            ("fn f() { let a = x.lock().len(); y.lock(); }", 0),
            ("fn f() { { let a = x.lock(); } y.lock(); }", 0),
            ("fn f() { let a = x.lock(); drop(a); y.lock(); }", 0),
            ("fn f() { let a = x.lock(); } fn g() { y.lock(); }", 0),
            (
                "fn f() { let Some(a) = x.try_lock() else { return }; y.lock(); }",
                1,
            ),
            ("fn f() { let a = x.lock(); y.read(b); }", 0),
        ] {
            assert_eq!(count(code, nested_locks).0, nested, "{code}");
        }
    }
}
