//! `tests/peers` without the installation: the program that measures and writes the document. How
//! fast a broker is does not matter here.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tests::{Process, example, installed, program};

/// Runs it with these arguments; its exit code and standard error. It ends every run that hangs, so
/// no limit is needed here.
fn run(arguments: &[&str], out: &Path) -> (Option<i32>, String) {
    // It measures what is built beside it.
    program("broker");
    let mut command = Command::new(example("peers"));
    command.args(arguments).arg("--out").arg(out);
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("a program that was built can be started");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), complaints)
}

/// Writes the document from these results.
fn run_from(results: &Path, out: &Path) -> (Option<i32>, String) {
    run(&["--from", results.to_str().expect("a path in UTF-8")], out)
}

#[track_caller]
fn read(out: &TempDir, name: &str) -> String {
    let path = out.path().join(name);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

#[track_caller]
fn contains(document: &str, parts: &[&str]) {
    for part in parts {
        assert!(document.contains(part), "no {part:?} in\n{document}");
    }
}

#[track_caller]
fn is_xml(path: &Path) {
    let mut python = installed("python3", "python3");
    python.args([
        "-c",
        "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])",
    ]);
    let (status, _, complaints) = Process::start(python.arg(path)).end();
    assert!(status.success(), "{}: {complaints}", path.display());
}

/// One result, as a line of `results.jsonl`.
fn line(case: &str, broker: &str, figures: &str) -> String {
    format!(r#"{{"case":"{case}","broker":"{broker}","round":1,"figures":{{{figures}}}}}"#) + "\n"
}

#[test]
fn what_it_measures_stands_in_the_document() {
    let out = tempfile::tempdir().expect("a folder");
    let cases = "^(1x1 128 B|1x10 128 B|8x8 .*|window 1|round trips|latency 1x1 1,000/s|idle 1,000|\
                 MQTT QoS . 8x8 16 B|web: (events 1x1000|idle 1,000 WebSockets)|\
                 unix: (TCP|socket) (1x1 128 B|round trips)|\
                 store: (disk window 1|1x1 .*))$";
    let arguments = [
        "--brokers",
        "dallal,relay",
        "--seconds",
        "0.2",
        "--rounds",
        "1",
    ];
    let arguments = [&arguments[..], &["--cases", cases]].concat();
    let (code, complaints) = run(&arguments, out.path());
    assert_eq!(code, Some(0), "{complaints}");

    let document = read(&out, "benchmarks.md");
    contains(
        &document,
        &[
            "| 1x1 128 B | **dallal** | ",
            "| 1x1 128 B | relay | ",
            "| 8x8 separate topics | relay | not measured: it sends each message to all connections",
            "| mosquitto | not measured: it was not asked for |",
            "| 1x1 128 B | messages/s: at least 5x N | not measured | not measured |",
            "| idle 1,000 | memory a connection: at most 14.0 KB | ",
            "| MQTT QoS 0 8x8 16 B | **dallal** | ",
            "| MQTT QoS 1 8x8 16 B | **dallal** | ",
            "| web: events 1x1000 | **dallal** | ",
            "| web: idle 1,000 WebSockets | **dallal** | ",
            "| unix: TCP 1x1 128 B | **dallal** | ",
            "| unix: socket 1x1 128 B | **dallal** | ",
            "| unix: socket round trips | **dallal** | ",
            "| store: disk window 1 | **dallal** | ",
            "| store: 1x1 nothing kept | **dallal** | ",
            "| store: 1x1 kept | messages/s: at least 3.00 M | ",
            "Where the store is compared, also `--data DATA --keep bench/#=all`.",
            "Where the store at `disk` is compared, also this in `FILE`.",
            "Where Unix sockets are compared, also `unixsocket SOCKET` in `FILE`.",
            "| MQTT QoS 0 8x8 16 B | messages/s: at least 3x rumqttd | not measured | not measured |",
            " 0 lost, 0 doubled, 0 reordered in 18 runs | yes |",
            "No rival was measured.",
        ],
    );
    let against_relay = document
        .lines()
        .find(|line| line.contains("0.8x the relay"));
    assert!(
        against_relay.is_some_and(|line| line.contains("x, ") && line.contains(" to ")),
        "{document}"
    );
    let results = read(&out, "benchmarks/results.jsonl");
    assert_eq!(results.lines().count(), 1 + 18 + 5, "{results}");
    assert!(!results.contains("failed"), "{results}");
    for key in [
        "cpu_ns_per_message",
        "peak_bytes",
        "resident_bytes_per_connection",
        "p99_ns",
    ] {
        assert!(results.contains(key), "no {key} in {results}");
    }
    for plot in ["payload", "fan-out", "latency", "idle"] {
        let name = format!("benchmarks/{plot}.svg");
        contains(&document, &[&format!("({name})")]);
        is_xml(&out.path().join(&name));
    }

    // The same results make the same document.
    let again = tempfile::tempdir().expect("a folder");
    let from = out.path().join("benchmarks/results.jsonl");
    let (code, complaints) = run_from(&from, again.path());
    assert_eq!(code, Some(0), "{complaints}");
    assert_eq!(read(&again, "benchmarks.md"), document);
    assert_eq!(read(&again, "benchmarks/results.jsonl"), results);
}

#[test]
fn the_document_says_where_a_rival_is_ahead() {
    let folder = tempfile::tempdir().expect("a folder");
    let about = r#"{"about":{"date":"2026-01-31","machine":"a machine","rounds":1,"seconds":1,"versions":{"dallal":"1.0.0","nats":"2.0.0","redis":"3.0.0"},"left_out":{}}}"#;
    let case = "1x1 16 B";
    let lines = [
        format!("{about}\n"),
        line(
            case,
            "dallal",
            r#""delivered_per_s":8000000,"cpu_ns_per_message":50"#,
        ),
        line(
            case,
            "nats",
            r#""delivered_per_s":1000000,"cpu_ns_per_message":200"#,
        ),
        line(
            case,
            "redis",
            r#""delivered_per_s":900000,"cpu_ns_per_message":25"#,
        ),
    ];
    let from = folder.path().join("made-up.jsonl");
    fs::write(&from, lines.concat()).expect("a folder that can be written");
    let (code, complaints) = run_from(&from, folder.path());
    assert_eq!(code, Some(0), "{complaints}");
    contains(
        &read(&folder, "benchmarks.md"),
        &[
            "| 1x1 16 B | **dallal** | 8.00 M, 8.00x | 50 ns, 0.25x |",
            "| 1x1 16 B | messages/s: at least 8x N | 8.00x, 8.00 M to 1.00 M | yes |",
            "| 1x1 16 B | processor a message: at most 0.2x N | 0.25x, 50 ns to 200 ns | **no** |",
            "| 1x1 16 B | processor a message | redis | 25 ns | 50 ns | 2.00x | apart |",
            ": 1 of 4 comparisons.",
        ],
    );
}

#[test]
fn what_was_measured_apart_takes_its_place_among_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let part = |name: &str, date: &str, lines: &[String]| {
        let about = format!(
            r#"{{"about":{{"date":"{date}","machine":"a machine","rounds":1,"seconds":1,"versions":{{"dallal":"1.0.0"}},"left_out":{{}}}}}}"#
        );
        let path = folder.path().join(name);
        let text = format!("{about}\n{}", lines.concat());
        fs::write(&path, text).expect("a folder that can be written");
        path
    };
    let figures = |rate: u32| format!(r#""delivered_per_s":{rate}"#);
    let ours = |case: &str, rate| line(case, "dallal", &figures(rate));
    let all = [ours("1x1 16 B", 1000), ours("1x1 128 B", 2000)];
    let all = part("all.jsonl", "2026-01-30", &all);
    let again = part("again.jsonl", "2026-01-31", &[ours("1x1 128 B", 3000)]);
    let files = [&all, &again].map(|path| path.to_str().expect("a path in UTF-8"));
    let (code, complaints) = run(&["--from", files[0], "--from", files[1]], folder.path());
    assert_eq!(code, Some(0), "{complaints}");
    contains(
        &read(&folder, "benchmarks.md"),
        &[
            "2026-01-30, on a machine.",
            "Measured apart from the others: 1x1 128 B. 2026-01-31, on a machine.",
            "| 1x1 16 B | **dallal** | 1.00 k |",
            "| 1x1 128 B | **dallal** | 3.00 k |",
        ],
    );
}

#[test]
fn lost_messages_of_ours_are_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let about = r#"{"about":{"date":"2026-01-31","machine":"a machine","rounds":1,"seconds":1,"versions":{"dallal":"1.0.0"},"left_out":{}}}"#;
    let from = folder.path().join("made-up.jsonl");
    let lost = line("1x1 16 B", "dallal", r#""delivered_per_s":1,"lost":3"#);
    fs::write(&from, format!("{about}\n{lost}")).expect("a folder that can be written");
    let (code, complaints) = run_from(&from, folder.path());
    assert_eq!(code, Some(1));
    contains(&complaints, &["dallal failed, lost, doubled or reordered"]);
    contains(
        &read(&folder, "benchmarks.md"),
        &["3 lost, 0 doubled, 0 reordered in 1 runs | **no** |"],
    );
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_would_be_right() {
    let out = tempfile::tempdir().expect("a folder");
    for (arguments, hint) in [
        ("--brokers kafka", "mosquitto"),
        ("--cases no-such-case", "there are\n  1x1 16 B\n"),
        ("--seconds never", "such as 2 or 0.5"),
        ("--no-such-flag", "--help"),
    ] {
        let words: Vec<_> = arguments.split(' ').collect();
        let (code, complaints) = run(&words, out.path());
        assert_eq!(code, Some(2), "{arguments}: {complaints}");
        contains(&complaints, &[hint]);
    }
}

#[test]
fn results_that_are_none_are_refused_with_their_line() {
    let out = tempfile::tempdir().expect("a folder");
    let from = out.path().join("nonsense");
    fs::write(&from, "nonsense\n").expect("a folder that can be written");
    let (code, complaints) = run_from(&from, out.path());
    assert_eq!(code, Some(1));
    contains(&complaints, &["nonsense, line 1 is no result"]);
}
