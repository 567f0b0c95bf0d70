//! The configuration file: the choice of the server, and `client config`.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::run::{Ended, Run, command, end};
use crate::scripted::ScriptedBroker;

/// A folder for configuration files, with this text in the client's.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("dallal")).expect("an empty folder");
    fs::write(folder.path().join("dallal/client.toml"), text).expect("room");
    folder
}

/// The text of the file: three servers, one of which can exist.
fn servers(default: &str, broker: &ScriptedBroker) -> String {
    let address = broker.address();
    format!(
        "default = \"{default}\"\n[servers.here]\nurl = \"dallal://{address}\"\n\
         [servers.there]\nurl = \"127.0.0.1:1\"\n[servers.elsewhere]\nurl = \"127.0.0.2:1\"\n"
    )
}

fn with(folder: &TempDir, arguments: &str) -> Command {
    let mut command = command(arguments);
    command.env("XDG_CONFIG_HOME", folder.path());
    command
}

fn end_with(text: &str, arguments: &str) -> Ended {
    Run::spawn(&mut with(&folder(text), arguments)).end()
}

/// Checks that the program connects to the broker.
fn finds(broker: &ScriptedBroker, command: &mut Command) {
    let run = Run::spawn(command);
    broker.accept().expect("PING 1").say("PONG 1");
    run.end().expect(0, "");
}

#[test]
fn a_server_can_be_given_by_its_name() {
    let broker = ScriptedBroker::start();
    let folder = folder(&servers("there", &broker));
    finds(&broker, &mut with(&folder, "ping -C 1 -c here"));
    let port = broker.address().port();
    let arguments = format!("ping -C 1 --configured there -p {port}");
    finds(&broker, &mut with(&folder, &arguments));
}

#[test]
fn the_default_of_the_file_is_used_when_nothing_else_is_said() {
    let broker = ScriptedBroker::start();
    let folder = folder(&servers("here", &broker));
    finds(&broker, &mut with(&folder, "ping -C 1"));
    // Without the other variable the file is below HOME.
    let home = tempfile::tempdir().expect("a folder");
    fs::rename(folder.path(), home.path().join(".config")).expect("one file system");
    let mut command = command("ping -C 1");
    command
        .env_remove("XDG_CONFIG_HOME")
        .env("HOME", home.path());
    finds(&broker, &mut command);
}

#[test]
fn flags_and_environment_win_over_the_file() {
    let broker = ScriptedBroker::start();
    let address = broker.address();
    let there = folder(&servers("there", &broker));
    finds(
        &broker,
        &mut with(&there, &format!("ping -C 1 -s {address}")),
    );
    let mut environment = with(&there, "ping -C 1");
    finds(&broker, environment.env("BROKER_URL", address.to_string()));
    // A name on the command line counts like a flag.
    let mut named = with(&there, "ping -C 1 -c here");
    finds(&broker, named.env("BROKER_URL", "127.0.0.1:1"));
    let wrong = folder("nonsense");
    finds(
        &broker,
        &mut with(&wrong, &format!("ping -C 1 -s {address}")),
    );
}

#[test]
fn a_suggested_command_has_the_name_of_the_server() {
    let broker = ScriptedBroker::start();
    let folder = folder(&servers("here", &broker));
    let port = broker.address().port();
    for (typed, server) in [
        ("-c here".to_owned(), "-c here ".to_owned()),
        (String::new(), String::new()),
        (
            format!("-c elsewhere --host localhost -p {port}"),
            format!("-c elsewhere --host localhost -p {port} "),
        ),
    ] {
        let arguments = format!("{typed} publish a x");
        let run = Run::spawn(&mut with(&folder, arguments.trim_start()));
        broker.accept().expect("PUBLISH a x").say("PUBACK 1 0");
        run.end()
            .expect(0, &format!("type: client subscribe {server}a\n"));
    }
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_line() {
    for arguments in ["ping -C 1", "ping -c a", "config"] {
        let ended = end_with("[servers.a]\nulr = \"x\"\n", arguments);
        ended.expect(2, "dallal/client.toml, line 2: unknown field `ulr`");
        ended.expect(2, "correct it there, `client config` shows an example");
        ended.expect_out("");
    }
    let ended = end_with("default = \"b\"\n", "ping");
    ended.expect(2, "line 1: there is no [servers.b]");
    let ended = end_with("[servers.a]\nurl = \"a:0\"\n", "ping");
    ended.expect(2, "line 2: \"a:0\" is not a server: \"0\" is not a port");
}

#[test]
fn a_name_that_is_not_in_the_file_is_a_usage_error() {
    let ended = end_with(
        "[servers.a]\nurl = \"x\"\n[servers.b]\nurl = \"x\"\n",
        "ping -c c",
    );
    ended.expect(2, "has no server \"c\"; it has a, b\n");
    end("ping -c c").expect(2, "`client config` shows how to give names to servers");
    end("ping -c c -s a").expect(2, "--server and --configured each name a server");
}

#[test]
fn config_shows_the_file_or_an_example() {
    let ended = end_with("[servers.a]\nurl = \"x\"\n", "config");
    ended.expect(0, "");
    let out = String::from_utf8(ended.out).expect("text");
    assert!(
        out.contains("dallal/client.toml says:\n\n  a   x\n"),
        "{out}"
    );
    let ended = end("config");
    ended.expect(0, "");
    let out = String::from_utf8(ended.out).expect("text");
    assert!(
        out.starts_with("There is no /nonexistent/dallal/client.toml yet."),
        "{out}"
    );
}
