//! The terminal program `client`, from end to end: what it prints, and with what it exits.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tests::{Process, Random, TestBroker, client, client_of, subscriber_of};

/// Runs a program with this input; its exit code, standard output and standard error.
#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> (Option<i32>, String, String) {
    let mut process = Process::start(command);
    if !input.is_empty() {
        process.write(input);
    }
    let (status, out, err) = process.end();
    (
        status.code(),
        String::from_utf8_lossy(&out).into_owned(),
        err,
    )
}

/// Publishes, which has to succeed.
#[track_caller]
fn publish(broker: &TestBroker, args: &[&str], input: &[u8]) -> String {
    let (code, out, err) = run(&mut client_of(broker, "publish", args), input);
    assert_eq!(code, Some(0), "{err}");
    out
}

/// A file of the tests' own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("the folder for such files can be written");
    path
}

#[test]
fn what_one_publishes_another_prints() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["news/#", "sport"]);
    let said = publish(&broker, &["news/today", "hello, world"], b"");
    assert_eq!(said, "your message published successfully\n");
    subscriber.expect("news/today: hello, world");
    publish(&broker, &["sport", "2:1"], b"");
    subscriber.expect("sport: 2:1");
    publish(&broker, &["elsewhere", "not for you"], b"");
    publish(&broker, &["news", ""], b"");
    subscriber.expect("news: ");
}

#[test]
fn each_line_can_be_a_message() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["logs"]);
    let said = publish(
        &broker,
        &["--lines", "logs"],
        b"one\n  two \n\nfour without line end",
    );
    assert_eq!(said, "your 4 messages published successfully\n");
    for line in ["one", "  two ", "", "four without line end"] {
        subscriber.expect(&format!("logs: {line}"));
    }
}

#[test]
fn lines_are_published_as_they_come() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["logs"]);
    let mut publisher = Process::start(&mut client_of(&broker, "publish", &["--lines", "logs"]));
    for line in ["first", "second"] {
        publisher.write(format!("{line}\n"));
        subscriber.expect(&format!("logs: {line}"));
    }
    publisher
        .end_input()
        .expect("your 2 messages published successfully");
}

#[test]
fn ten_thousand_lines_arrive_in_order() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["-C", "10000", "-o", "raw", "logs"]);
    let lines: String = (0..10_000).map(|n| format!("{n};")).collect();
    publish(
        &broker,
        &["--lines", "logs"],
        lines.replace(';', "\n").as_bytes(),
    );
    let (status, out, _) = subscriber.end();
    assert!(status.success());
    assert_eq!(String::from_utf8_lossy(&out), lines.replace(';', ""));
}

#[test]
fn bytes_go_round_from_file_to_standard_output() {
    let broker = TestBroker::start();
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let large = Random::new(13).bytes(3_000_000);
    for (name, bytes) in [
        ("all", &all[..]),
        ("large", &large),
        ("none", b""),
        ("end", b"a\n"),
    ] {
        let file = file(&format!("round-{name}"), bytes);
        let path = file.to_str().expect("a path in UTF-8");
        let mut subscriber = subscriber_of(&broker, &["-C", "1", "-o", "raw", name]);
        publish(&broker, &["-f", path, name], b"");
        let (status, out, err) = subscriber.end();
        assert!(status.success(), "{err}");
        assert!(
            out == bytes,
            "{name}: {} bytes became {}",
            bytes.len(),
            out.len()
        );
    }
}

#[test]
fn all_of_standard_input_can_be_one_message() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["-C", "1", "-o", "raw", "letter"]);
    publish(&broker, &["letter"], b"two\nlines\r\n\\n\0");
    let (_, out, _) = subscriber.end();
    assert_eq!(out, b"two\nlines\r\n\\n\0");
}

#[test]
fn messages_can_be_printed_as_json() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["-o", "json", "#"]);
    publish(&broker, &["-H", "unit:C", "attic", "a\"b\\\n"], b"");
    let line = subscriber.next_line();
    for part in [
        r#""topic":"attic""#,
        r#""payload":"a\"b\\\n""#,
        r#""unit":"C""#,
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
}

#[test]
fn a_retained_message_is_printed_for_later_subscribers() {
    let broker = TestBroker::start();
    publish(&broker, &["--retain", "lamp", "on"], b"");
    let mut one = subscriber_of(&broker, &["-C", "1", "lamp"]);
    assert_eq!(one.end().1, b"lamp: on\n");
    let mut fresh = subscriber_of(&broker, &["-C", "1", "--no-retained", "lamp"]);
    publish(&broker, &["lamp", "off"], b"");
    assert_eq!(fresh.end().1, b"lamp: off\n");
}

#[test]
fn a_publish_that_is_refused_exits_with_1_and_says_why() {
    let broker = TestBroker::with_args(&["--max-line", "100"]);
    let long = "x".repeat(200);
    let (code, out, err) = run(&mut client_of(&broker, "publish", &["news", &long]), b"");
    assert_eq!((code, &out[..]), (Some(1), ""), "{err}");
    assert!(
        err.contains("too-long") || err.contains("more than 100 bytes"),
        "{err}"
    );
}

#[test]
fn what_is_not_allowed_exits_with_4() {
    let broker = TestBroker::start();
    let (code, out, err) = run(&mut client_of(&broker, "publish", &["$SYS/x", "1"]), b"");
    assert_eq!((code, &out[..]), (Some(4), ""), "{err}");
    assert!(err.contains("$SYS/"), "{err}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let broker = TestBroker::start();
    for (command, args) in [
        ("publish", &[][..]),
        ("publish", &["news/+", "hi"]),
        ("publish", &["two\twords", "hi"]),
        ("subscribe", &[]),
        ("subscribe", &["a#"]),
        ("subscribe", &["--count", "few", "a"]),
        ("publish", &["--no-such-flag", "a", "b"]),
        ("shout", &["a"]),
    ] {
        let (code, out, err) = run(&mut client_of(&broker, command, args), b"");
        assert_eq!((code, &out[..]), (Some(2), ""), "{command} {args:?}: {err}");
        assert!(!err.is_empty());
    }
}

#[test]
fn without_a_broker_it_exits_with_3_and_says_what_to_do() {
    // A port without a listener: it was ours a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    drop(listener);
    for args in [
        ["publish", "news", "hi"],
        ["subscribe", "--no-retry", "news"],
    ] {
        let mut command = client(&args);
        let (code, out, err) = run(command.args(["--server", &address]), b"");
        assert_eq!((code, &out[..]), (Some(3), ""), "{err}");
        assert!(err.contains(&address) && err.contains("broker"), "{err}");
    }
}

#[test]
fn a_subscriber_whose_time_is_up_exits_with_124() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["-W", "100ms", "news"]);
    let (status, out, err) = subscriber.end();
    assert_eq!((status.code(), out.len()), (Some(124), 0), "{err}");
}

#[test]
fn an_interrupted_subscriber_exits_with_130_and_has_printed_everything() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["news"]);
    publish(&broker, &["news", "hi"], b"");
    subscriber.expect("news: hi");
    subscriber.signal(Signal::INT);
    let (status, _, err) = subscriber.end();
    assert_eq!(status.code(), Some(130), "{err}");
}

#[test]
fn a_closed_pipe_is_success() {
    let broker = TestBroker::start();
    let mut command = client_of(&broker, "subscribe", &["news"]);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    let mut child = command.spawn().expect("the client starts");
    let mut out = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    let mut bob = broker.connect();
    tests::eventually("it has subscribed", || {
        bob.send("PUBLISH news hi").read_line().ends_with(" 1")
    });
    let mut line = String::new();
    out.read_line(&mut line).expect("a pipe can be read");
    assert_eq!(line, "news: hi\n");
    drop(out);
    let mut status = None;
    tests::eventually("it ends when its output is not read", || {
        bob.send("PUBLISH news hi").read_line();
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_subscriber_finds_a_broker_that_comes_back() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let mut subscriber = subscriber_of(&broker, &["news"]);
    publish(&broker, &["news", "before"], b"");
    subscriber.expect("news: before");
    assert_eq!(broker.stop().code, Some(0));
    subscriber.wait_for_complaint("lost the broker");
    let again = TestBroker::with_args(&["--port", &port]);
    subscriber.wait_for_complaint("connected again");
    publish(&again, &["news", "after"], b"");
    subscriber.expect("news: after");
}

#[test]
fn a_subscriber_survives_a_broker_that_is_killed() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let mut subscriber = subscriber_of(&broker, &["news"]);
    broker.stop_by(Signal::KILL);
    let again = TestBroker::with_args(&["--port", &port]);
    subscriber.wait_for_complaint("connected again");
    publish(&again, &["news", "after"], b"");
    subscriber.expect("news: after");
}

#[test]
fn a_subscriber_that_must_not_retry_ends_with_its_broker() {
    let broker = TestBroker::start();
    let mut subscriber = subscriber_of(&broker, &["--no-retry", "news"]);
    broker.stop();
    let (status, _, err) = subscriber.end();
    assert_eq!(status.code(), Some(3), "{err}");
}

#[test]
fn the_client_answers_the_pings_of_the_broker() {
    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let mut subscriber = subscriber_of(&broker, &["news"]);
    let mut bob = broker.connect();
    for _ in 0..3 {
        bob.send("PONG").expect_prefix("PING");
    }
    publish(&broker, &["news", "hi"], b"");
    subscriber.expect("news: hi");
    let log = broker.stop().log;
    assert!(log.contains(" 0 found stale"), "{log}");
}

#[test]
fn ping_measures_the_way_and_exits_with_0() {
    let broker = TestBroker::start();
    let (code, out, err) = run(
        &mut client_of(&broker, "ping", &["-C", "3", "-i", "0"]),
        b"",
    );
    assert_eq!(code, Some(0), "{err}");
    assert!(out.lines().count() >= 3, "{out}{err}");
}

#[test]
fn a_server_that_is_no_broker_is_told_from_one() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let mut command = client(&["publish", "--wait", "300ms", "news", "hi"]);
    let mut publisher = Process::start(command.args(["--server", &address]));
    // A server that takes the connection and never answers.
    let accepted: TcpStream = listener.accept().expect("the client connects").0;
    let (status, out, err) = publisher.end();
    assert!(matches!(status.code(), Some(1 | 3)), "{status}: {err}");
    assert!(
        out.is_empty(),
        "nothing was published: {}",
        out.escape_ascii()
    );
    drop(accepted);
}
