//! Behaviour at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::run::{command, command_for};
use crate::scripted::ScriptedBroker;

/// Both ends of a terminal: the user's and the program's.
fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&person).expect("a terminal");
    unlockpt(&person).expect("a terminal");
    let name = ptsname(&person, Vec::new()).expect("a terminal");
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let program = OpenOptions::new().read(true).write(true).open(path);
    (person.into(), program.expect("a terminal"))
}

#[test]
fn a_message_is_not_awaited_from_a_terminal() {
    let (_person, program) = terminal();
    let output = command("publish news").stdin(program).output();
    let output = output.expect("the program was built");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("type one message a line with --lines"),
        "{said}"
    );
}

#[test]
fn a_payload_cannot_command_a_terminal() {
    let (person, program) = terminal();
    let broker = ScriptedBroker::start();
    let mut child = command_for(&broker, "subscribe a -C 1")
        .stdout(program)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program was built");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    peer.say("MESSAGE a \x1b[2J");
    let mut line = String::new();
    let read = BufReader::new(person).read_line(&mut line);
    read.expect("a line");
    assert_eq!(line.trim_end(), "a: \\u{1b}[2J");
    assert!(child.wait().expect("a child").success());
}

#[test]
fn raw_bytes_reach_a_terminal_only_by_force() {
    for arguments in ["subscribe a -o raw", "request a x --raw"] {
        let (_person, program) = terminal();
        let output = command(arguments).stdout(program).output();
        let output = output.expect("the program was built");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("give --force"), "{said}");
    }
    let (mut person, program) = terminal();
    let broker = ScriptedBroker::start();
    let mut child = command_for(&broker, "subscribe a -C 1 -o raw --force")
        .stdout(program)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program was built");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    peer.say("MESSAGE a \x1b[2J");
    let mut came = [0; 4];
    person.read_exact(&mut came).expect("four bytes");
    assert_eq!(&came, b"\x1b[2J");
    assert!(child.wait().expect("a child").success());
}

#[test]
fn no_message_for_the_user_can_command_a_terminal() {
    let broker = ScriptedBroker::start();
    let child = command_for(&broker, "reply a -x false -C 1")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut peer = broker.accept();
    peer.expect("SUBSCRIBE a").say("SUBACK a");
    peer.say("MESSAGE a/\u{9b}2J\u{202e}\u{2028} x");
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.ends_with("for a request on a/�2J��\n"), "{said}");
}

/// What is in a recording of 3 bytes after `record` has asked and this was answered.
fn asked_whether_to_overwrite(answer: &str) -> String {
    let (mut person, program) = terminal();
    let broker = ScriptedBroker::start();
    let file = tempfile::NamedTempFile::new().expect("a place for files");
    std::fs::write(file.path(), "old").expect("room");
    let path = file.path().to_str().expect("a name");
    person.write_all(answer.as_bytes()).expect("a reader");
    let mut child = command_for(&broker, &format!("record a -C 1 -o {path}"))
        .stdin(program)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program was built");
    if answer == "y\n" {
        let mut peer = broker.accept();
        peer.expect("@since=now SUBSCRIBE a")
            .say("SUBACK a")
            .say("MESSAGE a 1");
    }
    assert!(child.wait().expect("a child").success());
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut said).expect("text");
    let question = format!("overwrite {path} (3 B)? [y/N] ");
    assert!(said.starts_with(&question), "{said}");
    std::fs::read_to_string(path).expect("a recording")
}

#[test]
fn a_recording_is_overwritten_only_after_confirmation() {
    assert_eq!(asked_whether_to_overwrite("\n"), "old");
    let new = asked_whether_to_overwrite("y\n");
    assert!(new.starts_with("{\"offset_us\":"), "{new}");
}

/// What remains of two retained messages, and the output, after this answer of the user.
fn asked_whether_to_clear(answer: &str) -> (bool, String) {
    let (mut person, program) = terminal();
    let broker = ScriptedBroker::start();
    let child = command_for(&broker, "retained rm a/#")
        .stdin(program)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut peer = broker.accept();
    let line = String::from_utf8(peer.line()).expect("text");
    let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    peer.say(&format!("SUBACK {topic}")).line();
    peer.say(&format!(
        "@id=1 MESSAGE {topic} {}",
        r#"{"total":1,"bytes":9,"max_count":9,"max_bytes":99,"retained":[{"topic":"a","bytes":3,"age_s":9}]}"#
    ));
    // The user takes time, and the broker sends a PING meanwhile.
    peer.say("PUBACK 1 1").say("PING x").expect("PONG x");
    person.write_all(answer.as_bytes()).expect("a reader");
    let is_cleared = match &*peer.line() {
        b"@retain PUBLISH a" => {
            peer.say("PUBACK 2 0");
            true
        }
        rest => {
            assert_eq!(rest, b"");
            false
        }
    };
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{output:?}");
    (
        is_cleared,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn retained_messages_are_cleared_only_after_confirmation() {
    let question = "clear 1 retained message on a/#? [y/N] ";
    let said = |text: &str| format!("{question}{text}\n");
    assert_eq!(
        asked_whether_to_clear("y\n"),
        (true, said("cleared 1 retained message"))
    );
    assert_eq!(
        asked_whether_to_clear("\n"),
        (false, said("nothing was cleared"))
    );
}
