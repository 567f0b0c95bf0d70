//! Promises of `docs/client.md` about kept messages: `client subscribe` and `client record` go on where they lost the
//! broker, and `--last`, `--each` and `--since` bring what was published before.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use rustix::process::Signal;
use tests::{Process, TestBroker, TestClient, client_of, folder, outcome, subscriber_of};

const KEEP: &[&str] = &["--keep", "a/#=100000"];

/// A broker that keeps what is published below `a`, at the port of an earlier one.
#[track_caller]
fn broker(data: &Path, port: u16, more: &[&str]) -> TestBroker {
    TestBroker::with_store(data, &[&["--port", &port.to_string()], more].concat())
}

/// Kills a broker and starts the next one in its place.
#[track_caller]
fn killed(first: TestBroker, data: &Path, more: &[&str]) -> TestBroker {
    let port = first.address().port();
    assert_eq!(first.stop_by(Signal::KILL).code, None);
    broker(data, port, more)
}

/// Publishes numbers, each on one of three topics.
#[track_caller]
fn publish(client: &mut TestClient, numbers: RangeInclusive<u64>) {
    let lines = numbers.map(|number| format!("PUBLISH a/{} {number}\n", number % 3));
    client.write(lines.collect::<String>());
    client.send("PING done").read_until("PONG done");
}

/// The number that a JSON line has as its payload.
#[track_caller]
fn number(line: &str) -> u64 {
    let payload = line.split(r#""payload":""#).nth(1);
    let payload = payload.and_then(|rest| rest.split('"').next());
    let number = payload.and_then(|payload| payload.parse().ok());
    number.unwrap_or_else(|| panic!("no number: {line}"))
}

/// What a command prints that ends by itself with exit code 0.
#[track_caller]
fn printed(broker: &TestBroker, args: &[&str]) -> (String, String) {
    let (code, out, err) = outcome(&mut client_of(broker, "subscribe", args));
    assert_eq!(code, Some(0), "{args:?}: {err}");
    (out, err)
}

/// Kills the broker of a subscriber again and again, and publishes numbers meanwhile. Each has to come once: in the order
/// in which they were published if there is one filter, and if there are several, in that order on each topic.
#[track_caller]
fn check_kills(filters: &[&str]) {
    const ROUND: u64 = 2000;
    let folder = folder();
    let mut broker = broker(folder.path(), 0, KEEP);
    let args = [&["-o", "json"], filters].concat();
    let mut subscriber = subscriber_of(&broker, &args);
    let (mut published, mut printed) = (0, 0);
    // As if each topic had begun a step earlier.
    let mut last: [i64; 3] = [0, -2, -1];
    let mut expect_until = |subscriber: &mut Process, until: u64| {
        while printed < until {
            let line = subscriber.next_line();
            let number = number(&line);
            printed += 1;
            if filters.len() == 1 {
                assert_eq!(number, printed);
            }
            let last = &mut last[number as usize % 3];
            *last += 3;
            assert_eq!(number as i64, *last, "{line}");
        }
    };
    for round in 0..4 {
        publish(&mut broker.connect(), published + 1..=published + ROUND);
        // Some of it has been printed when the broker is killed, or all.
        expect_until(&mut subscriber, published + round * ROUND / 3);
        published += ROUND;
        broker = killed(broker, folder.path(), KEEP);
        publish(&mut broker.connect(), published + 1..=published + ROUND);
        published += ROUND;
        expect_until(&mut subscriber, published);
    }
    let said = subscriber.complaints();
    let again =
        "connected again; messages on topics that keep none may have been missed meanwhile\n";
    assert_eq!(said.matches(again).count(), 4, "{said}");
    assert!(!said.contains("may be missing here"), "{said}");
    // Nothing is left.
    broker
        .connect()
        .send("PUBLISH a/end 7")
        .expect("PUBACK 1 1");
    let end = subscriber.next_line();
    assert!(
        end.starts_with(r#"{"topic":"a/end","payload":"7""#),
        "{end}"
    );
}

#[test]
fn a_subscriber_misses_nothing_when_its_broker_is_killed_and_gets_nothing_twice() {
    check_kills(&["a/#"]);
}

#[test]
fn neither_does_one_whose_filters_match_the_same_topics() {
    check_kills(&["a/1", "a/#", "+/0", "b"]);
}

#[test]
fn what_was_removed_meanwhile_is_told() {
    let keep = &["--keep", "a/#=3"];
    let folder = folder();
    let first = broker(folder.path(), 0, keep);
    let mut subscriber = subscriber_of(&first, &["-o", "json", "a/#"]);
    let mut plain = subscriber_of(&first, &["a/#"]);
    publish(&mut first.connect(), 3..=3);
    assert_eq!(number(&subscriber.next_line()), 3);
    plain.expect("a/0: 3");
    // Both are held, so that they are back when there is more than is kept.
    subscriber.signal(Signal::STOP);
    plain.signal(Signal::STOP);
    let second = killed(first, folder.path(), keep);
    let lines: String = (4..=20).map(|n| format!("PUBLISH a/0 {n}\n")).collect();
    let mut publisher = second.connect();
    publisher.write(lines);
    publisher.send("PING done").read_until("PONG done");
    subscriber.signal(Signal::CONT);
    plain.signal(Signal::CONT);
    let incomplete = subscriber.next_line();
    assert!(
        incomplete.starts_with(r#"{"incomplete":{"oldest":""#),
        "{incomplete}"
    );
    for expected in 18..=20 {
        assert_eq!(number(&subscriber.next_line()), expected);
        plain.expect(&format!("a/0: {expected}"));
    }
    plain.wait_for_complaint("messages on a/# may be missing here; the broker keeps those from ");
}

#[test]
fn the_past_comes_first_as_far_as_it_is_asked_for() {
    let folder = folder();
    let broker = broker(folder.path(), 0, KEEP);
    publish(&mut broker.connect(), 1..=9);
    let all: String = (1..=9).map(|n| format!("a/{}: {n}\n", n % 3)).collect();
    for since in ["start", "1h", "@0", "2026-01-01T00:00:00Z"] {
        let args = ["--since", since, "--until-now", "a/#", "a/1"];
        assert_eq!(printed(&broker, &args).0, all, "{since}");
    }
    let (out, err) = printed(&broker, &["--last", "2", "a/#", "-C", "2"]);
    assert_eq!(out, "a/2: 8\na/0: 9\n");
    assert_eq!(err, "subscribing on a/#\n");
    let (out, _) = printed(&broker, &["--each", "1", "a/#", "a/+", "--until-now"]);
    assert_eq!(out, "a/1: 7\na/2: 8\na/0: 9\n");
    // A position comes back as `--since`.
    let (out, _) = printed(
        &broker,
        &["--last", "3", "a/#", "--until-now", "-o", "json"],
    );
    let first = out.lines().next().expect("a line");
    assert!(
        first.contains(r#""past":true"#) && number(first) == 7,
        "{first}"
    );
    let position = first
        .split(r#""pos":""#)
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let position = position.expect("a position");
    let (out, _) = printed(&broker, &["--since", position, "a/#", "--until-now"]);
    assert_eq!(out, "a/2: 8\na/0: 9\n");
    // One of another store.
    let args = ["--since", "zzzz.1:1", "a/1", "--until-now", "-o", "json"];
    let (out, _) = printed(&broker, &args);
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[0].starts_with(r#"{"incomplete":{"oldest":""#),
        "{out}"
    );
    assert_eq!(lines.len(), 4, "{out}");
    // Where the past ends is told, and what is new follows.
    let mut subscriber = subscriber_of(&broker, &["--last", "1", "a/#", "-C", "2"]);
    subscriber.expect("a/0: 9");
    subscriber.wait_for_complaint("client: what follows is new\n");
    publish(&mut broker.connect(), 10..=10);
    assert_eq!(subscriber.rest(), "a/1: 10\n");
}

#[test]
fn the_past_is_refused_where_it_means_nothing() {
    let broker = TestBroker::start();
    for (args, why) in [
        (&["--last", "1", "$share/g/a"][..], "a group has no past"),
        (
            &["--last", "1", "--slow", "latest", "a"],
            "cannot be used with",
        ),
        (
            &["--each", "1", "--since", "start", "a"],
            "cannot be used with",
        ),
        (&["--since", "1h", "--mqtt", "5", "a"], "MQTT has no past"),
        (&["--until-now", "a"], "--since"),
        (&["--since", "yesterday", "a"], "a time ago such as 10m"),
        (&["--last", "0", "a"], "0 is not in 1.."),
    ] {
        let (code, _, err) = outcome(&mut client_of(&broker, "subscribe", args));
        assert_eq!(code, Some(2), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
}

#[test]
fn a_group_and_a_broker_that_keeps_nothing_go_on_as_ever() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let mut subscriber = subscriber_of(&broker, &["a/#", "$share/g/b", "-C", "4"]);
    let mut ann = broker.connect();
    ann.send("PUBLISH b 1").expect("PUBACK 1 1");
    subscriber.expect("b: 1");
    ann.send("PUBLISH a/b 2").expect("PUBACK 2 1");
    subscriber.expect("a/b: 2");
    assert_eq!(broker.stop_by(Signal::KILL).code, None);
    let broker = TestBroker::with_args(&["--port", &port]);
    subscriber.wait_for_complaint("connected again; messages may have been missed meanwhile\n");
    let mut ann = broker.connect();
    ann.send("PUBLISH a/b 3").expect("PUBACK 1 1");
    subscriber.expect("a/b: 3");
    ann.send("PUBLISH b 4").expect("PUBACK 2 1");
    assert_eq!(subscriber.rest(), "b: 4\n");
    // There is no past.
    let args = ["--since", "start", "--until-now", "#"];
    assert_eq!(printed(&broker, &args).0, "");
    let (out, err) = printed(&broker, &["--since", "zzzz.1:1", "--until-now", "#"]);
    assert_eq!(out, "");
    assert!(err.contains("the broker keeps none of them"), "{err}");
}

/// What is retained comes first as ever, although its topic keeps messages, and not again when the subscriber resumes.
#[test]
fn the_last_value_of_a_topic_comes_to_a_new_subscriber() {
    let folder = folder();
    let first = broker(folder.path(), 0, KEEP);
    let mut ann = first.connect();
    ann.send("@retain PUBLISH a/lamp on").expect("PUBACK 1 0");
    let mut subscriber = subscriber_of(&first, &["a/#", "-C", "3"]);
    subscriber.expect("a/lamp: on");
    ann.send("@retain PUBLISH a/lamp off").expect("PUBACK 2 1");
    subscriber.expect("a/lamp: off");
    let second = killed(first, folder.path(), KEEP);
    second
        .connect()
        .send("PUBLISH a/lamp x")
        .expect_prefix("PUBACK 1 ");
    assert_eq!(subscriber.rest(), "a/lamp: x\n");
}

/// A recording over several brokers has no hole, and is played without what the recorded broker has added.
#[test]
fn a_recording_has_no_hole_where_the_broker_was_killed() {
    let folder = folder();
    let file = folder.path().join("all.jsonl");
    let path = file.to_str().expect("a path of text");
    let data = folder.path().join("data");
    let first = broker(&data, 0, KEEP);
    let args = ["a/#", "-C", "3000", "-o", path];
    let mut recorder = Process::start(&mut client_of(&first, "record", &args));
    recorder.wait_for_complaint("recording ");
    publish(&mut first.connect(), 1..=1000);
    let second = killed(first, &data, KEEP);
    publish(&mut second.connect(), 1001..=2000);
    let third = killed(second, &data, KEEP);
    publish(&mut third.connect(), 2001..=3000);
    let (status, _, err) = recorder.end();
    assert_eq!(status.code(), Some(0), "{err}");
    let recording = fs::read_to_string(&file).expect("a recording");
    let numbers: Vec<u64> = recording.lines().map(number).collect();
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>());
    assert!(
        recording.lines().all(|line| line.contains(r#""pos":""#)),
        "{recording}"
    );

    let other = TestBroker::start();
    let mut ann = other.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let play = ["--speed", "max", path];
    let (code, _, err) = outcome(&mut client_of(&other, "play", &play));
    assert_eq!(code, Some(0), "{err}");
    for number in 1..=3000 {
        ann.expect(format!("MESSAGE a/{} {number}", number % 3));
    }
}
