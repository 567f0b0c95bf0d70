//! What is different at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::run::{command, command_for};
use crate::scripted::ScriptedBroker;

/// Both ends of a terminal: the person's and the program's.
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
    peer.expect("SUBSCRIBE a").say("SUBACK a");
    peer.say("MESSAGE a \x1b[2J");
    let mut line = String::new();
    let read = BufReader::new(person).read_line(&mut line);
    read.expect("a line");
    assert_eq!(line.trim_end(), "a: \\u{1b}[2J");
    assert!(child.wait().expect("a child").success());
}
