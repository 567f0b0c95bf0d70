//! `client reply`.

use rustix::process::Signal;

use crate::run::{Ended, Run, command_for, end};
use crate::scripted::{Peer, ScriptedBroker};

/// A run of `reply jobs` with these arguments, after it has subscribed.
fn start(arguments: &[&str]) -> (Run, Peer, ScriptedBroker) {
    let broker = ScriptedBroker::start();
    let run = Run::spawn(command_for(&broker, "reply jobs").args(arguments));
    let mut peer = broker.accept();
    peer.expect("SUBSCRIBE jobs").say("SUBACK jobs");
    (run, peer, broker)
}

/// `script` sends all requests and reads their answers.
fn check(arguments: &[&str], script: impl FnOnce(&mut Peer)) -> Ended {
    let (run, mut peer, _broker) = start(arguments);
    script(&mut peer);
    peer.expect_end();
    run.end()
}

#[test]
fn every_request_gets_the_text() {
    let ended = check(&["-C", "2", "here I am"], |peer| {
        peer.say("@reply=a;id=1 MESSAGE jobs x");
        peer.expect("@id=1 PUBLISH a here I am").say("PUBACK 1 1");
        peer.say("@reply=b MESSAGE jobs");
        peer.expect("PUBLISH b here I am").say("PUBACK 2 0");
    });
    ended.expect(0, "replying on jobs\n");
}

#[test]
fn every_request_gets_the_output_of_the_command() {
    let command = "printf '%s:' \"$DALLAL_TOPIC\" \"$DALLAL_ID\"; tr a-z A-Z";
    let ended = check(&["-C", "1", "--exec", command], |peer| {
        peer.say("@reply=a;id=7 MESSAGE jobs two\\nlines");
        peer.expect("@id=7 PUBLISH a jobs:7:TWO\\nLINES")
            .say("PUBACK 1 1");
    });
    ended.expect(0, "");
}

#[test]
fn a_command_that_fails_is_an_answer_with_an_error_and_a_line() {
    let command = "echo half; exit 3";
    let ended = check(&["-C", "1", "-x", command], |peer| {
        peer.say("@reply=a;id=7 MESSAGE jobs");
        peer.expect("@id=7;error=3 PUBLISH a half\\n")
            .say("PUBACK 1 1");
    });
    ended.expect(
        0,
        "client: `echo half; exit 3` failed (exit status: 3) for a request on jobs\n",
    );
}

#[test]
fn a_message_that_wants_no_answer_is_run_and_not_answered() {
    let ended = check(&["-C", "3", "-x", "cat >&2"], |peer| {
        peer.say("MESSAGE jobs one\\n")
            .say("@id=2 MESSAGE jobs two\\n");
        peer.say("@reply=a+b MESSAGE jobs three\\n");
    });
    for said in ["one\n", "two\n", "three\n", "jobs cannot be answered: "] {
        ended.expect(0, said);
    }
}

#[test]
fn retained_requests_are_not_answered() {
    check(&["-C", "1", "x"], |peer| {
        peer.say("@retained;reply=old MESSAGE jobs");
        peer.say("@reply=new MESSAGE jobs");
        peer.expect("PUBLISH new x").say("PUBACK 1 1");
    });
}

/// Sends this many requests and reads all answers, in any order.
fn ask_all(peer: &mut Peer, requests: usize, answer: &str) {
    for id in 1..=requests {
        peer.say(&format!("@reply=a;id={id} MESSAGE jobs"));
    }
    let mut answered: Vec<usize> = (1..=requests)
        .map(|number| {
            let line = String::from_utf8(peer.line()).expect("text");
            peer.say(&format!("PUBACK {number} 1"));
            let id = line
                .strip_prefix("@id=")
                .and_then(|rest| rest.strip_suffix(answer));
            let id = id.unwrap_or_else(|| panic!("{line}"));
            id.parse().expect("a number")
        })
        .collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(1..=requests));
}

// Opening one end of this pipe waits for the other, so both commands have to run at once.
#[test]
fn commands_run_beside_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo can be run").success());
    let pipe = pipe.display();
    let command = format!("if [ $DALLAL_ID = 1 ]; then true > {pipe}; else cat {pipe}; fi");
    let ended = check(&["-C", "2", "-j", "2", "-x", &command], |peer| {
        ask_all(peer, 2, " PUBLISH a");
    });
    ended.expect(0, "");
}

#[test]
fn no_more_commands_run_at_a_time_than_are_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = folder.path().join("lock");
    let lock = lock.display();
    // Fails if another command runs between the two.
    let command = format!("mkdir {lock} && rmdir {lock}");
    let ended = check(&["-C", "50", "-j", "1", "-x", &command], |peer| {
        ask_all(peer, 50, " PUBLISH a");
    });
    ended.expect(0, "");
}

#[test]
fn a_refused_answer_is_told_and_the_next_request_is_answered() {
    let ended = check(&["-C", "2", "x"], |peer| {
        peer.say("@reply=a MESSAGE jobs").expect("PUBLISH a x");
        peer.say("ERROR denied publish:1 not there")
            .say("PUBACK 1 0");
        peer.say("@reply=b MESSAGE jobs").expect("PUBLISH b x");
        peer.say("PUBACK 2 1");
    });
    ended.expect(
        0,
        "client: an answer was refused: not there (denied publish:1)",
    );
}

#[test]
fn a_lost_broker_is_looked_for() {
    let (run, peer, broker) = start(&["-C", "1", "x"]);
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("SUBSCRIBE jobs").say("SUBACK jobs");
    peer.say("@reply=a MESSAGE jobs").expect("PUBLISH a x");
    peer.say("PUBACK 1 1");
    run.end().expect(0, "connected again");
}

#[test]
fn an_interrupt_ends_it() {
    for arguments in [&["x"][..], &["-x", "cat"]] {
        let (mut run, _peer, _broker) = start(arguments);
        assert_eq!(run.said(), "replying on jobs");
        run.signal(Signal::INT);
        assert_eq!(run.end().code, Some(130));
    }
}

/// Whether any process has this word in its command line.
fn runs(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").expect("processes");
    let commands =
        entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let mut words = commands.flat_map(|it| {
        it.split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    });
    words.any(|each| each == word.as_bytes())
}

#[test]
fn commands_end_with_it_and_their_requests_are_answered_with_an_error() {
    for (number, signal) in [(1, Signal::TERM), (2, Signal::INT), (3, Signal::HUP)] {
        // No other command sleeps for this time.
        let time = format!("9{number}{}", std::process::id());
        let command = format!("sleep {time}; echo no");
        let (run, mut peer, _broker) = start(&["-j", "1", "-x", &command]);
        peer.say("@reply=a;id=1 MESSAGE jobs")
            .say("@reply=a;id=2 MESSAGE jobs");
        while !runs(&time) {
            std::thread::yield_now();
        }
        run.signal(signal);
        peer.expect("@id=1;error=143 PUBLISH a").say("PUBACK 1 1");
        peer.expect_end();
        run.end().expect_end_by(signal);
        assert!(!runs(&time));
    }
}

#[test]
fn a_command_that_ignores_the_request_to_end_is_killed() {
    let time = format!("94{}", std::process::id());
    let command = format!("trap '' TERM; sleep {time}; sleep {time}");
    let (run, mut peer, _broker) = start(&["-x", &command]);
    peer.say("@reply=a MESSAGE jobs");
    while !runs(&time) {
        std::thread::yield_now();
    }
    run.signal(Signal::TERM);
    peer.expect("@error=137 PUBLISH a").say("PUBACK 1 1");
    run.end().expect_end_by(Signal::TERM);
    assert!(!runs(&time));
}

#[test]
fn commands_end_also_while_the_broker_is_away() {
    let time = format!("95{}", std::process::id());
    let (mut run, mut peer, broker) = start(&["-x", &format!("sleep {time}")]);
    peer.say("@reply=a MESSAGE jobs");
    while !runs(&time) {
        std::thread::yield_now();
    }
    drop((peer, broker));
    while !run.said().contains("trying again") {}
    run.signal(Signal::TERM);
    run.end().expect_end_by(Signal::TERM);
    assert!(!runs(&time));
}

#[test]
fn there_is_one_way_to_answer() {
    end("reply jobs").expect(2, "required");
    end("reply jobs text -x cat").expect(2, "cannot be used with");
    end("reply a#b text").expect(2, "error: invalid value");
}
