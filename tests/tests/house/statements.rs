//! Each numbered statement of the MQTT standards that `docs/mqtt.md` says is checked is named in the
//! broker at the place where it is kept, as in `[MQTT-3.3.1-5]`, or in `statements.txt` with the
//! reason why no place of the broker keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ::tests::source::{sources, workspace};

use crate::none;

const DOCUMENT: &str = "docs/mqtt.md";
const TABLE_HEAD: &str = "| | 3.1.1 | 5.0 |";
const ELSEWHERE: &str = "tests/tests/house/statements.txt";

#[test]
fn statements_of_mqtt_are_named_where_they_are_kept() {
    let listed = table(&read(DOCUMENT));
    assert!(
        listed.len() > 200,
        "{DOCUMENT} lists {} statements",
        listed.len()
    );
    let elsewhere = reasons(&read(ELSEWHERE));
    let files = sources("broker/src");
    let named: BTreeSet<String> = files.iter().flat_map(|file| named(file.text())).collect();
    let mut faults = Vec::new();
    for statement in &listed {
        if !named.contains(statement) && !elsewhere.contains_key(statement) {
            faults.push(format!("{statement} is named nowhere"));
        }
    }
    for (statement, reason) in &elsewhere {
        if reason.is_empty() {
            faults.push(format!("{statement} has no reason in {ELSEWHERE}"));
        }
        if named.contains(statement) || !listed.contains(statement) {
            faults.push(format!(
                "{statement} must go from {ELSEWHERE}: the broker names it, or {DOCUMENT} does not"
            ));
        }
    }
    let rule = format!(
        "name each statement in broker/src where it is kept, or in {ELSEWHERE} with a reason"
    );
    none(&rule, faults);
}

fn read(path: &str) -> String {
    let path = workspace().join(Path::new(path));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The statements in the table of a document, as `MQTT-3.3.1-5`. Its cells are like `3.3.1: 1 to 3, 5; 3.3.2: 1`.
fn table(document: &str) -> BTreeSet<String> {
    let lines = document.lines().skip_while(|line| *line != TABLE_HEAD);
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    // In front of the first bar is nothing, and behind it is what the statements are about.
    let cells = rows.flat_map(|row| row.split('|').skip(2));
    let sections = cells.flat_map(|cell| cell.split(';')).map(str::trim);
    let sections = sections.filter(|section| !section.is_empty());
    sections.flat_map(section).collect()
}

/// The statements in `3.3.1: 1 to 3, 5`.
fn section(text: &str) -> Vec<String> {
    let number = |text: &str| -> u32 {
        let number = text.trim().parse();
        number.unwrap_or_else(|_| panic!("{text:?} in {DOCUMENT} is no number"))
    };
    let (section, numbers) = text.split_once(": ").expect("a section and its numbers");
    let ranges = numbers
        .split(',')
        .map(|range| match range.split_once(" to ") {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        });
    let statements = ranges
        .flatten()
        .map(|number| format!("MQTT-{section}-{number}"));
    statements.collect()
}

/// The statements in a text, such as `[MQTT-3.3.1-5]`.
fn named(text: &str) -> Vec<String> {
    let places = text.match_indices("[MQTT-").map(|(at, _)| &text[at + 1..]);
    let closed = places.filter_map(|rest| rest.split_once(']'));
    closed.map(|(statement, _)| statement.to_owned()).collect()
}

/// Statements with their reasons, one a line. `#` begins a comment.
fn reasons(list: &str) -> BTreeMap<String, String> {
    let lines = list.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
    let pairs = pairs.map(|(statement, reason)| (statement.to_owned(), reason.trim().to_owned()));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_its_statements() {
        let document = "\
| | 3.1.1 | 5.0 |
|---|---|---|
| text | 1.5.3: 1 to 2, 4 | 1.5.4: 1; 1.5.5: 3 |
| none |  | 4.8.0: 1 |

| 9.9.9: 9 |
";
        let statements = table(document);
        let short: Vec<&str> = statements
            .iter()
            .map(|name| &name["MQTT-".len()..])
            .collect();
        assert_eq!(
            short,
            [
                "1.5.3-1", "1.5.3-2", "1.5.3-4", "1.5.4-1", "1.5.5-3", "4.8.0-1"
            ]
        );
    }

    #[test]
    fn statements_are_found_in_comments() {
        assert_eq!(
            named("// Why [MQTT-3.3.1-5], [MQTT-3.3.1-15].\n"),
            ["MQTT-3.3.1-5", "MQTT-3.3.1-15"]
        );
    }

    #[test]
    fn a_list_gives_reasons() {
        let list = reasons("# Why.\n\nMQTT-1.5.3-1  the library\nMQTT-1.5.3-2\n");
        let pairs: Vec<_> = list
            .iter()
            .map(|(name, reason)| (name.as_str(), reason.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("MQTT-1.5.3-1", "the library"), ("MQTT-1.5.3-2", "")]
        );
    }
}
