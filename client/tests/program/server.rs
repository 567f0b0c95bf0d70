//! How the program finds its broker.

use crate::run::{Run, command, command_for, end};
use crate::scripted::ScriptedBroker;

/// Checks that the program finds the broker with these arguments.
fn finds(arguments: impl Fn(&ScriptedBroker) -> String) {
    let broker = ScriptedBroker::start();
    let arguments = format!("ping -C 1 {}", arguments(&broker));
    let run = Run::spawn(&mut command(&arguments));
    broker.accept().expect("PING 1").say("PONG 1");
    run.end().expect(0, "");
}

#[test]
fn a_server_can_be_given_in_several_ways() {
    finds(|broker| format!("-s {}", broker.address()));
    finds(|broker| format!("--server dallal://{}", broker.address()));
    finds(|broker| format!("-p {}", broker.address().port()));
    finds(|broker| format!("-s 127.0.0.2:{} --host localhost", broker.address().port()));
}

#[test]
fn an_argument_wins_over_the_environment() {
    let broker = ScriptedBroker::start();
    let other = ScriptedBroker::start();
    let arguments = format!("ping -C 1 -s {}", broker.address());
    let run = Run::spawn(&mut command_for(&other, &arguments));
    broker.accept().expect("PING 1").say("PONG 1");
    run.end().expect(0, "");
}

#[test]
fn an_invalid_server_is_a_usage_error() {
    for arguments in [
        "ping -s nats://a",
        "chat r -s mqtt://",
        "ping -s a:0",
        "ping -p 0",
    ] {
        end(arguments).expect(2, "error: invalid value");
    }
}
