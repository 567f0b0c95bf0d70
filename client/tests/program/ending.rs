//! How the program ends: codes, signals, closed pipes, and its help.

use std::io::Write;
use std::net::TcpListener;

use rustix::process::Signal;

use crate::run::{Run, command, command_for, end};
use crate::scripted::ScriptedBroker;

/// An address without a listener.
fn nowhere() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn without_a_broker_it_names_the_address_and_a_remedy() {
    let place = nowhere();
    let what = format!(
        "no broker at {place} (connection refused); start one with `broker`, or give --server HOST:PORT"
    );
    for (arguments, prefix) in [
        ("publish a x", "your message publishing failed"),
        ("subscribe a", "subscribing failed"),
        ("ping", "client"),
    ] {
        let ended = end(&format!("{arguments} -s {place}"));
        ended.expect(3, &format!("{prefix}: {what}\n"));
        ended.expect_out("");
    }
}

#[test]
fn a_timeout_has_the_code_of_timeout() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "subscribe a -W 50ms");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    run.end().expect(124, "");
}

#[test]
fn a_timeout_holds_while_the_broker_is_away() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a -W 300ms");
    broker
        .accept()
        .expect("@since=now SUBSCRIBE a")
        .say("SUBACK a");
    assert_eq!(run.said(), "subscribing on a");
    drop(broker);
    assert_eq!(run.end().code, Some(124));
}

#[test]
fn an_interrupted_subscriber_prints_what_it_has() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let broker = ScriptedBroker::start();
        let mut run = Run::start(&broker, "subscribe a");
        let mut peer = broker.accept();
        peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
        peer.send(b"MESSAGE a 1\nMESSAGE a 2\n");
        assert_eq!(run.line(), "a: 1");
        run.signal(signal);
        let ended = run.end();
        ended.expect_end_by(signal);
        ended.expect_out("a: 2\n");
        assert_eq!(ended.err, "subscribing on a\n");
    }
}

#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    let broker = ScriptedBroker::start();
    let mut shell = std::process::Command::new("sh");
    let program = command("subscribe a -C 1");
    let program = program.get_program().to_string_lossy().into_owned();
    shell.args(["-c", "trap '' HUP; exec \"$0\" subscribe a -C 1", &program]);
    shell.env("BROKER_URL", broker.address().to_string());
    let mut run = Run::spawn(&mut shell);
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    assert_eq!(run.said(), "subscribing on a");
    run.signal(Signal::HUP);
    peer.say("MESSAGE a 1");
    run.end().expect(0, "");
}

#[test]
fn an_interrupted_search_for_the_broker_ends_at_once() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a");
    broker
        .accept()
        .expect("@since=now SUBSCRIBE a")
        .say("SUBACK a");
    drop(broker);
    while !run.said().contains("no broker at") {}
    run.signal(Signal::INT);
    assert_eq!(run.end().code, Some(130));
}

#[test]
fn an_interrupted_publisher_has_failed() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish a x");
    let mut peer = broker.accept();
    peer.expect("PUBLISH a x");
    run.signal(Signal::INT);
    run.end()
        .expect(130, "your message publishing failed: interrupted");
}

#[test]
fn a_player_that_loses_the_broker_says_how_many_messages_have_a_receipt() {
    let mut recording = tempfile::NamedTempFile::new().expect("a place for files");
    for offset_us in [0, 0, 60_000_000] {
        let line = format!("{{\"offset_us\":{offset_us},\"topic\":\"a\",\"payload\":\"\"}}");
        writeln!(recording, "{line}").expect("room");
    }
    let broker = ScriptedBroker::start();
    let path = recording.path().to_str().expect("a name");
    let run = Run::start(&broker, &format!("play {path}"));
    let mut peer = broker.accept();
    peer.expect("PUBLISH a")
        .expect("PUBLISH a")
        .say("PUBACK 2 2");
    drop(peer);
    run.end()
        .expect(3, "client: published before: 2 messages\n");
}

#[test]
fn a_recording_is_not_lost_to_another_one() {
    let file = tempfile::NamedTempFile::new().expect("a place for files");
    let path = file.path().to_str().expect("a name");
    let kept = || std::fs::read_to_string(path).expect("a recording");
    std::fs::write(path, "old").expect("room");
    let refused = end(&format!("record a -o {path} -s {}", nowhere()));
    refused.expect(2, "has 3 B already; give --force to overwrite it");
    assert_eq!(kept(), "old");
    // Without a broker there is no new recording.
    let unreachable = end(&format!("record a -o {path} --force -s {}", nowhere()));
    unreachable.expect(3, "no broker at");
    assert_eq!(kept(), "old");
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, &format!("record a -C 1 -o {path} --force"));
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a")
        .say("SUBACK a")
        .say("MESSAGE a");
    run.end().expect(0, "recorded 1 message");
    assert!(kept().starts_with("{\"offset_us\":"), "{}", kept());
}

#[test]
fn publish_and_subscribe_have_short_names() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "pub a x");
    broker.accept().expect("PUBLISH a x").say("PUBACK 1 1");
    run.end().expect(0, "");
    let run = Run::start(&broker, "sub a -C 1");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a")
        .say("SUBACK a")
        .say("MESSAGE a 1");
    run.end().expect_out("a: 1\n");
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end_without_another_message() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a")
        .say("SUBACK a")
        .say("MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    let ended = run.close_output().end();
    ended.expect(0, "");
    assert_eq!(ended.err, "subscribing on a\n");
}

#[test]
fn a_closed_output_is_no_failure_of_a_publisher() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish a x").close_output();
    broker.accept().expect("PUBLISH a x").say("PUBACK 1 1");
    let ended = run.end();
    ended.expect(0, "");
    assert_eq!(ended.err, "");
}

#[test]
fn without_a_command_it_says_which_there_are() {
    let ended = Run::spawn(&mut std::process::Command::new(env!(
        "CARGO_BIN_EXE_client"
    )))
    .end();
    ended.expect(2, "  Print messages as they arrive");
}

#[test]
fn output_that_does_not_fit_anywhere_is_a_failure() {
    let broker = ScriptedBroker::start();
    let full = std::fs::File::create("/dev/full").expect("a full device");
    let child = command_for(&broker, "subscribe a")
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a")
        .say("SUBACK a")
        .say("MESSAGE a 1");
    let output = child.and_then(|child| child.wait_with_output());
    let output = output.expect("the program was built");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn help_fits_a_screen_and_ends_with_examples_and_codes() {
    for arguments in [
        "--help",
        "publish --help",
        "subscribe --help",
        "request --help",
        "reply --help",
        "record --help",
        "play --help",
        "chat --help",
        "audit --help",
        "who --help",
        "why --help",
        "top --help",
        "topics --help",
        "filters --help",
        "kept --help",
        "retained --help",
        "retained ls --help",
        "retained rm --help",
        "reload --help",
        "drain --help",
        "restart --help",
        "kick --help",
        "sessions --help",
        "sessions rm --help",
        "ping --help",
        "bench --help",
        "selftest --help",
        "config --help",
        "completions --help",
        "man --help",
    ] {
        for columns in [80, 100] {
            let mut command = command(arguments);
            let ended = Run::spawn(command.env("COLUMNS", columns.to_string())).end();
            ended.expect(0, "");
            let help = String::from_utf8(ended.out).expect("text");
            assert!(help.lines().count() <= 40, "{help}");
            let fits = |line: &str| line.chars().count() <= columns;
            assert!(help.lines().all(fits), "{help}");
            assert!(help.contains("Examples:"), "{help}");
            assert!(help.ends_with("130 interrupted\n"), "{help}");
        }
    }
}
