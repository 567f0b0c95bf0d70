//! `client record` and `client play`: what was published once is published again.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tests::{Process, TestBroker, client, client_of};

/// Starts `client record` and waits until it listens.
#[track_caller]
fn record(broker: &TestBroker, args: &[&str]) -> Process {
    let recorder = Process::start(&mut client_of(broker, "record", args));
    recorder.wait_for_complaint("recording ");
    recorder
}

/// Runs `client play`; its exit code, standard output and standard error.
#[track_caller]
fn play(broker: &TestBroker, args: &[&str]) -> (Option<i32>, String, String) {
    let (status, out, err) = Process::start(&mut client_of(broker, "play", args)).end();
    let out = String::from_utf8_lossy(&out).into_owned();
    (status.code(), out, err)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The lines without the times, which differ.
#[track_caller]
fn without_times(recording: &str) -> Vec<String> {
    let mut last = 0;
    let lines = recording.lines().map(|line| {
        let rest = line.strip_prefix("{\"offset_us\":").expect("a time");
        let (offset, rest) = rest.split_once(',').expect("more");
        let offset: u64 = offset.parse().expect("a number");
        assert!(offset >= last, "the times go back at {line}");
        last = offset;
        rest.to_owned()
    });
    lines.collect()
}

#[test]
fn what_was_recorded_is_published_again_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.jsonl");
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    bob.send("@retain PUBLISH lamp on").expect("PUBACK 1 0");
    let mut recorder = record(&broker, &["-C", "4", "-o", text(&file)]);
    bob.send("@unit=a\\sb;urgent PUBLISH room/1 21");
    bob.write(b"PUBLISH bytes \xff\\n\0\nPUBLISH empty\n");
    let (status, _, err) = recorder.end();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.ends_with("recorded 4 messages\n"), "{err}");
    let recording = fs::read_to_string(&file).expect("a recording");
    assert_eq!(
        without_times(&recording),
        [
            r#""topic":"lamp","payload":"on","retained":true}"#,
            r#""topic":"room/1","payload":"21","attributes":{"unit":"a b","urgent":true}}"#,
            r#""topic":"bytes","payload_base64":"/woA"}"#,
            r#""topic":"empty","payload":""}"#,
        ]
    );

    let other = TestBroker::start();
    let mut ann = other.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let (code, out, err) = play(&other, &[text(&file), "--speed", "max"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("published 4 messages in "), "{out}");
    ann.expect("MESSAGE lamp on");
    ann.expect("@unit=a\\sb;urgent MESSAGE room/1 21");
    ann.expect(b"MESSAGE bytes \xff\\n\0");
    ann.expect("MESSAGE empty");
    // What was retained is retained again.
    let mut late = other.connect();
    late.send("SUBSCRIBE #").expect("SUBACK #");
    late.expect("@retained MESSAGE lamp on").expect_silence();
}

#[test]
fn a_recording_can_be_played_below_another_topic_and_at_its_pace() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("two.jsonl");
    let lines = "{\"offset_us\":60000000,\"topic\":\"a\",\"payload\":\"1\"}\n\
                 {\"offset_us\":60100000,\"gap\":2}\n\
                 {\"offset_us\":60400000,\"topic\":\"a/b\",\"payload\":\"2\"}\n";
    fs::write(&file, lines).expect("room");
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let args = [text(&file), "--topic-prefix", "test/", "--speed", "2"];
    let (code, out, err) = play(&broker, &args);
    assert_eq!(code, Some(0), "{err}");
    ann.expect("MESSAGE test/a 1").expect("MESSAGE test/a/b 2");
    assert!(out.contains("late by "), "{out}");
    assert!(
        err.contains("missed when this was recorded: 2 messages"),
        "{err}"
    );
    let seconds = out
        .split_once(" in ")
        .and_then(|(_, rest)| rest.split_once(" s;"))
        .and_then(|(seconds, _)| seconds.parse::<f64>().ok());
    // Half of 400 ms; how much longer it takes is the machine's affair.
    assert!(seconds.is_some_and(|seconds| seconds >= 0.2), "{out}");
}

#[test]
fn a_broken_line_is_named_by_its_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broken.jsonl");
    let good = "{\"offset_us\":1,\"topic\":\"a\",\"payload\":\"1\"}\n";
    fs::write(&file, format!("{good}{good}what?\n{good}")).expect("room");
    let broker = TestBroker::start();
    let (code, out, err) = play(&broker, &[text(&file)]);
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    let name = text(&file);
    assert!(
        err.contains(&format!("{name}, line 3: this is not JSON")),
        "{err}"
    );
    assert!(err.contains("published before it: 2 messages"), "{err}");
    let (code, _, err) = play(&broker, &["no-such-file"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("cannot read no-such-file"), "{err}");
}

#[test]
fn one_broker_can_be_played_to_another_while_it_is_recorded() {
    let (from, to) = (TestBroker::start(), TestBroker::start());
    let mut ann = to.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let mut recorder = record(&from, &["news/#"]);
    let mut player = Process::start(&mut client_of(&to, "play", &["-"]));
    let mut bob = from.connect();
    for n in 1..=2 {
        bob.send(format!("PUBLISH news {n}"));
        player.write(recorder.next_line() + "\n");
        ann.expect(format!("MESSAGE news {n}"));
    }
    assert!(player.end().0.success());
    recorder.signal(Signal::INT);
    let (status, _, err) = recorder.end();
    assert_eq!(status.code(), Some(130), "{err}");
    assert!(err.ends_with("recorded 2 messages\n"), "{err}");
}

#[test]
fn ten_thousand_messages_are_recorded_and_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("many.jsonl");
    let broker = TestBroker::start();
    let mut recorder = record(&broker, &["-C", "10000", "-o", text(&file), "n"]);
    let lines: String = (0..10_000).map(|n| format!("PUBLISH n {n}\n")).collect();
    // Closing with receipts unread would cut off what is still on its way.
    let mut bob = broker.connect();
    bob.write(lines);
    assert!(recorder.end().0.success());
    let mut again = record(&broker, &["-C", "10000", "n"]);
    let (code, out, err) = play(&broker, &[text(&file), "--speed", "max"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("published 10000 messages in "), "{out}");
    let (_, out, _) = again.end();
    let first = fs::read_to_string(&file).expect("a recording");
    let second = String::from_utf8(out).expect("text");
    assert!(without_times(&first) == without_times(&second));
}

#[test]
fn a_recording_ends_after_its_time() {
    let broker = TestBroker::start();
    let mut recorder = record(&broker, &["--duration", "100ms"]);
    let (status, out, err) = recorder.end();
    assert_eq!((status.code(), out.len()), (Some(0), 0), "{err}");
}

#[test]
fn what_cannot_be_played_is_told_from_what_can() {
    for args in [
        &["play"][..],
        &["play", "x", "--speed", "0"],
        &["play", "x", "--topic-prefix", "#"],
        &["record", "a#b"],
    ] {
        let (status, _, err) = Process::start(&mut client(args)).end();
        assert_eq!(status.code(), Some(2), "{args:?}: {err}");
    }
}
