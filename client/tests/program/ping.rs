//! `client ping`.

use rustix::process::Signal;

use crate::run::Run;
use crate::scripted::ScriptedBroker;

#[test]
fn each_round_trip_is_a_line_and_a_summary_ends_it() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "ping -C 2 -i 1ms");
    let mut peer = broker.accept();
    peer.expect("PING 1").say("PONG 1");
    peer.expect("PING 2").say("PONG 2");
    let address = broker.address();
    assert_eq!(run.line(), format!("PING {address}"));
    let answer = run.line();
    let expected = format!("answer from {address}: seq=1 time=");
    assert!(answer.starts_with(&expected), "{answer}");
    let ended = run.end();
    ended.expect(0, "");
    let out = String::from_utf8(ended.out).expect("text");
    let summary = format!("--- {address} ping statistics ---\n2 sent, 2 answered\n");
    assert!(out.contains(&summary), "{out}");
    assert!(out.contains("round trip min/avg/max/stddev = "), "{out}");
}

#[test]
fn an_answer_that_does_not_come_is_a_failure() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "ping -C 2 -i 0 --wait 1s");
    let mut peer = broker.accept();
    peer.expect("PING 1").expect("PING 2").say("PONG 2");
    let ended = run.end();
    ended.expect(1, "no answer to PING within 1s (seq=1)");
    let out = String::from_utf8_lossy(&ended.out).into_owned();
    assert!(out.contains("2 sent, 1 answered"), "{out}");
}

#[test]
fn an_interrupted_one_has_its_summary_too() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "ping");
    let mut peer = broker.accept();
    peer.expect("PING 1").say("PONG 1");
    let _ = (run.line(), run.line());
    run.signal(Signal::INT);
    let ended = run.end();
    assert_eq!(ended.code, Some(130));
    let out = String::from_utf8_lossy(&ended.out).into_owned();
    assert!(out.contains("1 sent, 1 answered"), "{out}");
}

#[test]
fn a_lost_broker_is_the_end() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "ping");
    broker.accept().expect("PING 1");
    run.end()
        .expect(3, "client: the broker closed the connection");
}
