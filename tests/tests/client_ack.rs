//! Promises of `docs/client.md` about `publish --ack`: it succeeds only if the messages are as safe as was asked for.

use std::process::Command;

use rustix::process::Signal;
use tests::{Process, TestBroker, client_of};

/// Runs `client publish` with these arguments; its exit code, standard output and standard error.
fn publish(broker: &TestBroker, args: &[&str], input: &str) -> (Option<i32>, String, String) {
    ended(&mut client_of(broker, "publish", args), input)
}

fn ended(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let mut program = Process::start(command);
    program.write(input).end_input();
    let (status, out, err) = program.end();
    (status.code(), String::from_utf8(out).expect("text"), err)
}

/// The level and the sequence number at the end of an output.
#[track_caller]
fn level(out: &str) -> (&str, u64) {
    let line = out.lines().last().expect("a line");
    let (level, position) = line
        .strip_prefix("level ")
        .and_then(|rest| rest.split_once(", position "))
        .expect("a level and a position");
    let sequence = position.split_once(".1:").expect("the first generation").1;
    (level, sequence.parse().expect("a number"))
}

#[test]
fn each_level_is_reached_on_each_wire_where_messages_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text");
    let broker = TestBroker::with_args(&["--data", data]);
    let websocket = format!("ws://{}/ws", broker.address());
    let mut sequence = 0;
    for wire in [
        &[][..],
        &["-s", &websocket],
        &["--mqtt", "5", "-q", "1"],
        &["--mqtt", "5", "-q", "2"],
    ] {
        for (asked, reached) in [("disk", "disk"), ("os", "os"), ("mem", "os")] {
            let args = [wire, &["-r", "--ack", asked, "door", "open"]].concat();
            let mut command = match wire.first() {
                Some(&"-s") => tests::client(&["publish"]),
                _ => client_of(&broker, "publish", &[]),
            };
            let (code, out, err) = ended(command.args(&args), "");
            sequence += 1;
            assert_eq!(code, Some(0), "{args:?}: {err}");
            assert!(out.starts_with("your message published successfully\n"));
            assert_eq!(level(&out), (reached, sequence), "{args:?}");
        }
    }
    // The position is where the message is: it outlives a broker that is killed.
    broker.stop_by(Signal::KILL);
    let broker = TestBroker::with_args(&["--data", data]);
    broker
        .connect()
        .send("SUBSCRIBE door")
        .expect("SUBACK door")
        .expect("@retained MESSAGE door open");
}

#[test]
fn a_message_that_is_not_kept_has_an_exit_code_of_its_own() {
    let broker = TestBroker::start();
    let mut reader = broker.subscribe("door");
    for (args, advice) in [
        (
            &["--ack", "disk"][..],
            "give -r, or start the broker with --data DIR and a rule --keep for it",
        ),
        (
            &["-r", "--ack", "os"],
            "keeps nothing: start it with --data DIR",
        ),
        (
            &["-r", "--ack", "os", "--mqtt", "5"],
            "start it with --data DIR",
        ),
    ] {
        let args = [args, &["door", "open"]].concat();
        let (code, out, err) = publish(&broker, &args, "");
        assert_eq!((code, &*out), (Some(8), ""), "{err}");
        assert!(
            err.contains("published, but only at level mem") && err.contains(advice),
            "{err}"
        );
        reader.expect("MESSAGE door open");
    }
    let (code, out, err) = publish(&broker, &["--ack", "mem", "door", "open"], "");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "your message published successfully\nlevel mem\n");
}

#[test]
fn of_many_lines_the_lowest_level_and_the_last_position_are_told() {
    const LINES: u64 = 5000;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text");
    let broker = TestBroker::with_args(&["--data", data]);
    let input: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    for (round, wire) in [&[][..], &["--mqtt", "5"]].into_iter().enumerate() {
        let args = [wire, &["-l", "-r", "--ack", "disk", "door"]].concat();
        let (code, out, err) = publish(&broker, &args, &input);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(level(&out), ("disk", LINES * (round as u64 + 1)));
    }
    let (code, _, err) = publish(&broker, &["-l", "--ack", "disk", "door"], &input);
    assert_eq!(code, Some(8), "{err}");
    let text = "5000 messages were published, but not all at level disk, the lowest is mem";
    assert!(err.contains(text), "{err}");
}

#[test]
fn a_recording_is_played_at_a_level_as_lines_are_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text");
    let broker = TestBroker::with_args(&["--data", data, "--keep", "a=10"]);
    let recording = |topic| {
        // A level in the recording does not count.
        let attributes = r#"{"ack":"paper","pos":"k3f9.1:9"}"#;
        let line = |offset| {
            format!(
                r#"{{"offset_us":{offset},"topic":"{topic}","payload":"1","attributes":{attributes}}}"#
            )
        };
        format!("{}\n{}\n", line(0), line(1))
    };
    let play = |topic| {
        let args = ["-", "--speed", "max", "--ack", "disk"];
        ended(&mut client_of(&broker, "play", &args), &recording(topic))
    };
    let (code, out, err) = play("a");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("published 2 messages in "), "{out}");
    assert_eq!(level(&out), ("disk", 2));
    let (code, out, err) = play("b");
    assert_eq!((code, &*out), (Some(8), ""), "{err}");
    assert!(
        err.contains("the lowest is mem; not all is kept: start the broker"),
        "{err}"
    );
}
