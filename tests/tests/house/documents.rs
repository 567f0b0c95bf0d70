//! What documents name is there: files, and the tests that hold a rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::source::{sources, workspace};

use crate::none;

const DOCUMENTS: [&str; 2] = ["docs/architecture.md", "docs/internals.md"];

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn a_rule_of_the_architecture_names_tests_that_exist() {
    let mut functions = BTreeSet::new();
    for folder in ["broker", "client", "protocol", "tests"] {
        for file in sources(folder) {
            functions.extend(functions_in(file.path()));
        }
    }
    let text = fs::read_to_string(workspace().join(DOCUMENTS[0])).expect("it can be read");
    let rules = text.split("## Rules").nth(1).expect("it has rules");
    let rules = rules.split("\n## ").next().unwrap_or_default();
    let is_test = |name: &&str| name.matches('_').count() >= 3 && !name.contains(['/', ' ', '-']);
    let named: Vec<&str> = quoted(rules).into_iter().filter(is_test).collect();
    assert!(named.len() > 20, "only {} tests are named", named.len());
    none(
        "a test that docs/architecture.md names must exist",
        named.into_iter().filter(|name| !functions.contains(*name)),
    );
}

/// The names of the functions in a source.
fn functions_in(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join(path)).unwrap_or_default();
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let names = words.windows(2).filter(|pair| pair[0] == "fn");
    names.map(|pair| pair[1].to_owned()).collect()
}

#[test]
fn what_holds_of_security_names_tests_that_are_in_their_files() {
    const DOCUMENT: &str = "docs/security.md";
    let text = fs::read_to_string(workspace().join(DOCUMENT)).expect("it can be read");
    let (_, rules) = text
        .split_once("\n## What holds, and the tests that hold it\n")
        .expect("it has the section");
    let rules = rules.split("\n## ").next().unwrap_or_default();
    let rows = rules.lines().filter(|line| line.starts_with("| "));
    // The head of the table is none.
    let rows: Vec<&str> = rows.skip(1).collect();
    assert!(rows.len() >= 10, "only {} rows", rows.len());
    let mut faults = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [rule, tests, files] = cells[..] else {
            faults.push(format!("it has not three cells: {row}"));
            continue;
        };
        let found = quoted(files).into_iter().map(Path::new).map(functions_in);
        let found: Vec<BTreeSet<String>> = found.collect();
        let tests = quoted(tests);
        if tests.is_empty() || found.iter().any(BTreeSet::is_empty) {
            faults.push(format!("no test, or no file: {rule}"));
        }
        let missing = tests
            .into_iter()
            .filter(|test| !found.iter().any(|functions| functions.contains(*test)));
        faults.extend(missing.map(|test| format!("{test} is not in {files}")));
    }
    none(
        &format!("a test that {DOCUMENT} names must be in one of the files beside it"),
        faults,
    );
}

#[test]
fn a_file_that_the_architecture_names_exists() {
    let mut faults = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(workspace().join(document)).expect("it can be read");
        for name in quoted(&text) {
            let is_path = name.contains('/') && !name.contains([' ', '{', '$', ',', '*']);
            // A folder's parts, such as `queue/`, are named without their path.
            let is_file = is_path && (name.ends_with(".rs") || name.matches('/').count() > 1);
            let places = ["", "broker/src/"].map(|root| workspace().join(root).join(name));
            if is_file && !places.iter().any(|place| place.exists()) {
                faults.push(format!("{document}: {name}"));
            }
        }
    }
    none("a file that a document names must exist", faults);
}
