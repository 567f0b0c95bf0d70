//! Promises of `operating.md` about the configuration file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use tests::TestBroker;

/// Runs the broker with these arguments, in a folder with these files.
fn run(files: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    write_all(folder.path(), files);
    TestBroker::bare(args)
        .current_dir(folder.path())
        .output()
        .expect("it runs")
}

fn write_all(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("a file");
    }
}

#[track_caller]
fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[track_caller]
fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
    let output = run(files, &["-c", "broker.toml", "--check"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_their_places() {
    let file = r#"
port = "1373"
max_line = 5
ping-intervall = "5s"
ping-interval = 30
max-line = "64 apples"
listen = ["127.0.0.1:1883", 5]
max-queued = 5.5
max-block = true
include = 7
check = true

[web]
"#;
    let told = mistakes(&[("broker.toml", file)]);
    let expected = [
        "2:8: `port` is a whole number without quotes, not a text",
        "3:1: there is no key `max_line`; `max-line` is one",
        "4:1: there is no key `ping-intervall`; `ping-interval` is one",
        "5:17: `ping-interval` is a time with its unit, such as \"30s\"",
        "6:12: `max-line` cannot be \"64 apples\"",
        "7:29: `listen` is a text in quotes, not a number",
        "8:14: `max-queued` is a whole number without quotes, not a fraction",
        "9:13: `max-block` is a text in quotes, not true or false",
        "10:11: `include` is the name of a file",
        "11:1: there is no key `check`",
        "13:2: there is no key `web`",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(
            told.starts_with(&format!("broker.toml:{expected}")),
            "{told}"
        );
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place_and_so_is_a_file_that_is_not_there() {
    let told = mistakes(&[("broker.toml", "port = = 5\nhost = \"a")]);
    assert!(told[0].starts_with("broker.toml:1:8: "), "{told:?}");
    assert!(
        told.iter().any(|line| line.starts_with("broker.toml:2:")),
        "{told:?}"
    );
    let told = mistakes(&[("broker.toml", "é = 1 # é\nport = 1\ninclude = \"é.toml\"")]);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("broker.toml:3:11: é.toml cannot be read: "),
        "{told:?}"
    );
    assert!(told[1].starts_with("broker.toml:1:1: "), "{told:?}");
    let output = run(&[], &["-c", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.starts_with("nowhere.toml cannot be read: "), "{why}");
}

#[test]
fn files_include_others_and_what_stands_in_one_counts_more_than_what_it_includes() {
    let files = [
        (
            "broker.toml",
            "include = [\"a.toml\", \"b.toml\"]\nmax-queued = 1",
        ),
        (
            "a.toml",
            "max-queued = 2\nmax-retained = 2\nroom-members = 2",
        ),
        ("b.toml", "max-queued = 3\nmax-retained = 3"),
    ];
    let text = printed(&run(&files, &["-c", "broker.toml", "--print-config"]));
    for line in [
        "max-queued = 1  # broker.toml:2",
        "max-retained = 3  # b.toml:2",
        "room-members = 2  # a.toml:3",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}: {text}");
    }
    let told = mistakes(&[
        ("broker.toml", "include = \"a.toml\""),
        ("a.toml", "include = \"broker.toml\""),
    ]);
    assert_eq!(told, ["a.toml:1:11: broker.toml includes itself"]);
}

#[test]
fn a_flag_counts_more_than_its_variable_and_that_more_than_the_file() {
    let file = "max-queued = 1\nmax-retained = 1\nroom-members = 1\nlisten = \"127.0.0.1:0\"";
    let folder = tempfile::tempdir().expect("a folder");
    write_all(folder.path(), &[("broker.toml", file)]);
    let mut broker = TestBroker::bare(&[
        "--config",
        "broker.toml",
        "--print-config",
        "--max-queued",
        "3",
    ]);
    broker.current_dir(folder.path());
    broker
        .env("BROKER_MAX_QUEUED", "2")
        .env("BROKER_MAX_RETAINED", "2");
    let text = printed(&broker.output().expect("it runs"));
    for line in [
        "max-queued = 3  # --max-queued",
        "max-retained = 2  # BROKER_MAX_RETAINED",
        "room-members = 1  # broker.toml:3",
        "listen = [\"127.0.0.1:0\"]  # broker.toml:4",
        "max-block = \"1s\"  # default",
        "# max-per-address is not set: half of all",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}: {text}");
    }
    // What is printed is a file.
    let again = run(
        &[("broker.toml", &text)],
        &["-c", "broker.toml", "--print-config"],
    );
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split("  #").next());
        lines
            .map(|line| line.unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(values(&printed(&again)), values(&text));
}

#[test]
fn the_example_has_every_default_and_can_be_used() {
    let example = printed(&run(&[], &["--example-config"]));
    let settings = example.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|line| line.starts_with(|first: char| first.is_lowercase()));
    let file: String = settings
        .filter(|line| !line.ends_with('='))
        .map(|line| format!("{line}\n"))
        .collect();
    let with_file = printed(&run(
        &[("broker.toml", &file)],
        &["-c", "broker.toml", "--print-config"],
    ));
    let without = printed(&run(&[], &["--print-config"]));
    let values = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.contains("is not set"));
        let lines = lines.filter_map(|line| line.split("  #").next());
        lines
            .filter(|line| !line.ends_with("= []"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(values(&with_file), values(&without));
    assert!(file.lines().count() > 20, "{file}");
}

#[test]
fn flags_variables_file_help_manual_and_document_have_one_source() {
    let example = printed(&run(&[], &["--example-config"]));
    let help = printed(&run(&[], &["--help"]));
    let manual = printed(&run(&[], &["--man"]));
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let document = fs::read_to_string(document).expect("the document");
    let keys: Vec<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" =").map(|(key, _)| key))
        .filter(|key| *key != "include")
        .collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        let variable = format!("BROKER_{}", key.to_uppercase().replace('-', "_"));
        // The value of a flag that is true or false may be left out.
        let has_flag = [format!("--{key} <"), format!("--{key}[=<")]
            .iter()
            .any(|it| help.contains(it));
        assert!(has_flag, "--help: {key}");
        assert!(manual.contains(&variable), "the manual: {variable}");
        let row = document.lines().find(|line| {
            let is_row = line.contains(&format!("--{key} ")) || line.contains(&format!("--{key}`"));
            line.starts_with('|') && is_row && line.contains(&variable)
        });
        assert!(
            row.is_some(),
            "operating.md has no row for --{key} and {variable}"
        );
    }
    // And nothing else has a value.
    for row in document.lines().filter(|line| line.contains("| `BROKER_")) {
        let flag = row.split("--").nth(1).expect("a flag");
        let flag = flag.split([' ', '`']).next().unwrap_or_default();
        let is_known = flag == "config" || example.contains(&format!("\n#{flag} ="));
        assert!(is_known, "operating.md has --{flag}");
    }
}

#[test]
fn a_broker_runs_with_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.toml");
    fs::write(&file, "max-line = 10\nsys-interval = \"0s\"\n").expect("a file");
    let broker = TestBroker::with_args(&["--config", file.to_str().expect("UTF-8")]);
    broker
        .connect()
        .send("PUBLISH news hello")
        .expect_prefix("ERROR too-long");
}
