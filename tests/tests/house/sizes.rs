//! How long files and functions of the broker may be, and that each type in it has a name of its own.

use std::collections::BTreeMap;
use std::fs;

use tests::source::{sources, workspace};

use crate::none;

const MAX_ENTRIES: usize = 15;
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;
/// A program that compiles parts of another crate names a few roots of it, not each file.
const MAX_PATH_ATTRIBUTES: usize = 7;

#[test]
fn the_sources_of_the_broker_have_few_entries() {
    let folder = fs::read_dir(workspace().join("broker/src")).expect("the sources of the broker");
    let entries = folder.map(|entry| entry.expect("an entry").file_name());
    let mut entries: Vec<String> = entries.map(|name| name.to_string_lossy().into()).collect();
    entries.sort();
    assert!(
        entries.len() <= MAX_ENTRIES,
        "broker/src has {} entries, at most {MAX_ENTRIES} can be kept in mind: {}",
        entries.len(),
        entries.join(" ")
    );
}

#[test]
fn files_of_the_broker_are_short() {
    let files = sources("broker/src");
    let faults = files.iter().filter(|file| file.lines() > MAX_FILE_LINES);
    none(
        &format!("a file has at most {MAX_FILE_LINES} lines without its unit tests"),
        faults.map(|file| format!("{} has {}", file.path().display(), file.lines())),
    );
}

#[test]
fn functions_of_the_broker_are_short() {
    let mut faults = Vec::new();
    for file in sources("broker/src") {
        for function in file.functions() {
            if function.lines > MAX_FUNCTION_LINES {
                faults.push(format!(
                    "{}:{}: {} has {}",
                    file.path().display(),
                    function.line,
                    function.name,
                    function.lines
                ));
            }
        }
    }
    none(
        &format!("a function has at most {MAX_FUNCTION_LINES} lines"),
        faults,
    );
}

#[test]
fn a_type_of_the_broker_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources("broker/src") {
        for name in file.types() {
            let place = file.path().display().to_string();
            places.entry(name.to_owned()).or_default().push(place);
        }
    }
    let doubled = places.iter().filter(|(_, places)| places.len() > 1);
    none(
        "two types must not have the same name",
        doubled.map(|(name, places)| format!("{name}: {}", places.join(", "))),
    );
}

#[test]
fn no_file_is_put_together_from_many_others() {
    let folders = ["protocol", "broker", "client", "tests"];
    let files = folders.into_iter().flat_map(sources);
    let faults = files.filter_map(|file| {
        let lines = file.text().lines();
        let count = lines.filter(|line| line.starts_with("#[path")).count();
        let place = file.path().display();
        (count > MAX_PATH_ATTRIBUTES).then(|| format!("{place} has {count}"))
    });
    none(
        &format!("a list of #[path] has at most {MAX_PATH_ATTRIBUTES} lines; name a folder"),
        faults,
    );
}
