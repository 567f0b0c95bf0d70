//! `client request`.

use rustix::process::Signal;

use crate::run::{Ended, Run, end};
use crate::scripted::{Peer, ScriptedBroker};

/// One request to a broker that runs `script` with the reply topic once it has the request.
fn ask(arguments: &str, script: impl FnOnce(&mut Peer, &str)) -> Ended {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, &format!("request {arguments}"));
    run.end_input();
    let mut peer = broker.accept();
    let line = String::from_utf8(peer.line()).expect("text");
    let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    peer.say(&format!("SUBACK {topic}"));
    script(&mut peer, topic);
    run.end()
}

/// The same, with one answer to the request `time` with the payload `now?`.
fn answered(arguments: &str, answer: &str) -> Ended {
    ask(&format!("{arguments} time now?"), |peer, topic| {
        peer.expect(&format!("@reply={topic};id=1 PUBLISH time now?"));
        peer.say("PUBACK 1 1");
        peer.say(&answer.replace("MESSAGE", &format!("MESSAGE {topic}")));
    })
}

#[test]
fn the_answer_is_printed_as_a_line() {
    let ended = answered("--wait 20s", "@id=1 MESSAGE noon");
    ended.expect(0, "");
    ended.expect_out("noon\n");
    assert_eq!(ended.err, "");
    answered("--wait 20s", "@id=1 MESSAGE 1\\n2\\n").expect_out("1\n2\n");
}

#[test]
fn the_answer_can_be_printed_as_it_is_or_as_json() {
    answered("--raw", "@id=1 MESSAGE noon").expect_out("noon");
    let ended = answered("--json", "@id=1;unit=h MESSAGE 12");
    let out = String::from_utf8(ended.out).expect("text");
    assert!(out.starts_with(r#"{"topic":"$reply/"#), "{out}");
    let rest = r#","payload":"12","attributes":{"id":"1","unit":"h"}}"#;
    assert!(out.ends_with(&format!("{rest}\n")), "{out}");
}

#[test]
fn an_answer_that_is_an_error_is_a_failure() {
    let ended = answered("--wait 20s", "@id=1;error=3 MESSAGE half");
    ended.expect(1, "client: the answer is an error: 3\n");
    ended.expect_out("half\n");
}

#[test]
fn without_subscribers_it_fails_at_once() {
    let ended = ask("time", |peer, _| {
        peer.line();
        peer.say("PUBACK 1 0");
    });
    ended.expect(
        5,
        "your request failed: no client listens to time; to answer",
    );
    ended.expect_out("");
}

#[test]
fn without_an_answer_in_time_it_says_how_many_subscribers_got_it() {
    let ended = ask("--wait 1s time", |peer, topic| {
        peer.line();
        // The second is an answer to another request.
        peer.say("PUBACK 1 2")
            .say(&format!("@id=2 MESSAGE {topic} x"));
        peer.expect_end();
    });
    ended.expect(5, "nobody answered within 1s, though 2 subscribers got it");
    ended.expect_out("");
}

#[test]
fn several_answers_are_printed_as_they_come() {
    let script = |answers: u64| {
        move |peer: &mut Peer, topic: &str| {
            peer.line();
            peer.say("PUBACK 1 3");
            for n in 1..=answers {
                peer.say(&format!("@id=1 MESSAGE {topic} {n}"));
            }
            peer.expect_end();
        }
    };
    let ended = ask("-C 2 who", script(3));
    ended.expect(0, "");
    ended.expect_out("1\n2\n");
    let ended = ask("-C 3 --wait 1s who", script(2));
    ended.expect(5, "2 of 3 answers came and then none within 1s");
    ended.expect_out("1\n2\n");
}

#[test]
fn a_request_can_have_attributes_but_not_those_of_a_request() {
    ask("-H unit:C a x", |peer, topic| {
        peer.expect(&format!("@unit=C;reply={topic};id=1 PUBLISH a x"));
        peer.say("PUBACK 1 0");
    });
    for attribute in ["reply:x", "id:x", "retain:x"] {
        end(&format!("request -H {attribute} a x")).expect(2, "error: invalid value");
    }
}

#[test]
fn a_refused_request_is_a_failure() {
    let ended = ask("a x", |peer, _| {
        peer.line();
        peer.say("ERROR denied publish:1 not you").say("PUBACK 1 0");
    });
    ended.expect(4, "your request failed: not you (denied publish:1)");
}

#[test]
fn an_interrupted_request_ends_at_once() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "request a x");
    let mut peer = broker.accept();
    peer.line();
    run.signal(Signal::INT);
    assert_eq!(run.end().code, Some(130));
}
