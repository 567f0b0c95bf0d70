//! How the tests call the program `client`.

use std::env;
use std::process::Command;

use crate::{Process, TestBroker, program};

/// What each command of `client` is called with that ends by itself, with exit code 0 if `time` has a responder.
pub const COMMANDS: [&[&str]; 14] = [
    &["publish", "a", "hello"],
    &["who"],
    &["sessions"],
    &["topics"],
    &["filters"],
    &["audit"],
    &["retained", "ls"],
    &["kept"],
    &["why", "time"],
    &["ping", "-C", "1"],
    &["top", "--once"],
    &["request", "time", ""],
    &["chat", "lobby", "--nick", "ann", "--plain"],
    &["record", "a", "--duration", "100ms"],
];

/// How `client` is called for a broker: with none of the tester's own settings.
pub fn client_of(broker: &TestBroker, command: &str, args: &[&str]) -> Command {
    let server = broker.address().to_string();
    let mut client = client(&[command]);
    client.args(["--server", &server]).args(args);
    client
}

/// Starts `client subscribe` and waits until it has subscribed.
#[track_caller]
pub fn subscriber_of(broker: &TestBroker, args: &[&str]) -> Process {
    let subscriber = Process::start(&mut client_of(broker, "subscribe", args));
    subscriber.wait_for_complaint("subscribing on ");
    subscriber
}

/// How `client` is called for no broker.
pub fn client(args: &[&str]) -> Command {
    let mut client = Command::new(program("client"));
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("BROKER_")) {
        client.env_remove(name);
    }
    // A folder that is not there has no configuration file in it.
    client.env("XDG_CONFIG_HOME", "/nonexistent").args(args);
    client
}
