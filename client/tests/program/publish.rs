//! `client publish`.

use std::io::Write;

use crate::run::{Run, command_for, end};
use crate::scripted::ScriptedBroker;

const SUCCESS: &str = "your message published successfully\n";
const FAILED: &str = "your message publishing failed: ";

/// A temporary file with these bytes.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a place for files");
    file.write_all(bytes).expect("room");
    file
}

#[test]
fn success_is_said_on_standard_output() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish news hello");
    run.end_input();
    broker
        .accept()
        .expect("PUBLISH news hello")
        .say("PUBACK 1 2");
    let ended = run.end();
    ended.expect(0, "");
    ended.expect_out(SUCCESS);
    assert_eq!(ended.err, "");
}

#[test]
fn a_hint_says_that_there_are_no_subscribers() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news hello");
    broker
        .accept()
        .expect("PUBLISH news hello")
        .say("PUBACK 1 0");
    let ended = run.end();
    ended.expect(0, "no client listens to news right now");
    ended.expect_out(SUCCESS);
}

#[test]
fn without_a_message_all_of_standard_input_is_one() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish news");
    run.input(b"one\ntwo\n").end_input();
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one\\ntwo\\n").say("PUBACK 1 1");
    run.end().expect_out(SUCCESS);
}

#[test]
fn each_line_can_be_a_message_as_soon_as_it_is_there() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish --lines news");
    let mut peer = broker.accept();
    run.input(b"one\n");
    peer.expect("PUBLISH news one").say("PUBACK 1 1");
    run.input(b"two\n\nthree").end_input();
    peer.expect("PUBLISH news two").expect("PUBLISH news");
    peer.expect("PUBLISH news three").say("PUBACK 4 3");
    let ended = run.end();
    ended.expect(0, "");
    ended.expect_out("your 4 messages published successfully\n");
}

#[test]
fn a_broker_that_closes_is_noticed_while_waiting_for_a_line() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish -l news --no-retry");
    run.input(b"one\n");
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one").say("PUBACK 1 1");
    run.input(b"two\n");
    peer.expect("PUBLISH news two");
    drop(peer);
    let said = run.said();
    assert!(said.starts_with(FAILED), "{said}");
    assert!(said.ends_with("; published before: 1 message"), "{said}");
    assert_eq!(run.end().code, Some(3));
}

#[test]
fn after_a_lost_connection_it_goes_on_with_the_first_line_without_a_receipt() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish -l news");
    run.input(b"one\ntwo\nthree\n");
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one").expect("PUBLISH news two");
    peer.expect("PUBLISH news three").say("PUBACK 1 1");
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("PUBLISH news two").expect("PUBLISH news three");
    peer.say("PUBACK 2 2");
    run.input(b"four").end_input();
    peer.expect("PUBLISH news four").say("PUBACK 3 1");
    let ended = run.end();
    ended.expect(0, "lost the broker: ");
    ended.expect(
        0,
        "connected again; going on with the first message without a receipt",
    );
    ended.expect_out("your 4 messages published successfully\n");
}

#[test]
fn a_repeated_message_survives_a_lost_connection_and_a_single_one_does_not() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news x --repeat 2");
    broker.accept().expect("PUBLISH news x");
    let mut peer = broker.accept();
    peer.expect("PUBLISH news x").expect("PUBLISH news x");
    peer.say("PUBACK 2 2");
    run.end()
        .expect_out("your 2 messages published successfully\n");
    let run = Run::start(&broker, "publish news x");
    broker.accept().expect("PUBLISH news x");
    let ended = run.end();
    ended.expect(3, FAILED);
    assert!(!ended.err.contains("published before"), "{ended:?}");
}

#[test]
fn empty_input_is_wrong_usage_and_an_empty_message_is_typed() {
    let broker = ScriptedBroker::start();
    let ended = Run::start(&broker, "publish -r news").end();
    let what = "standard input is empty; for an empty message, write ''";
    ended.expect(2, &format!("{FAILED}{what}"));
    let run = Run::spawn(command_for(&broker, "publish -r news").arg(""));
    let mut peer = broker.accept();
    peer.expect("@retain PUBLISH news").say("PUBACK 1 1");
    run.end().expect_out(SUCCESS);
}

#[test]
fn a_line_may_end_with_cr_lf() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish --lines news");
    run.input(b"one\r\n\r\ntwo\r").end_input();
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one").expect("PUBLISH news");
    peer.expect("PUBLISH news two").say("PUBACK 3 3");
    run.end().expect(0, "");
}

#[test]
fn no_line_is_no_failure() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish -l news");
    run.end_input();
    broker.accept().expect_end();
    run.end().expect(0, "nothing was published");
}

#[test]
fn a_file_is_one_message_or_one_for_each_line() {
    let file = file(b"one\ntwo\n");
    let path = file.path().to_str().expect("a name");
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, &format!("publish news -f {path}"));
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one\\ntwo\\n").say("PUBACK 1 1");
    run.end().expect_out(SUCCESS);
    let run = Run::start(&broker, &format!("publish news -l -f {path}"));
    let mut peer = broker.accept();
    peer.expect("PUBLISH news one").expect("PUBLISH news two");
    peer.say("PUBACK 2 2");
    run.end()
        .expect_out("your 2 messages published successfully\n");
}

#[test]
fn all_bytes_survive_from_a_file_to_a_raw_subscriber() {
    let bytes: Vec<u8> = (0..=255).collect();
    let file = file(&bytes);
    let path = file.path().to_str().expect("a name");
    let broker = ScriptedBroker::start();
    let publishing = Run::start(&broker, &format!("publish b -f {path}"));
    let mut publisher = broker.accept();
    let mut line = publisher.line();
    publisher.say("PUBACK 1 1");
    publishing.end().expect_out(SUCCESS);
    let subscribing = Run::start(&broker, "subscribe b -C 1 -o raw");
    let mut subscriber = broker.accept();
    subscriber.expect("@since=now SUBSCRIBE b").say("SUBACK b");
    line[..7].copy_from_slice(b"MESSAGE");
    subscriber.send(&line).say("");
    assert_eq!(subscribing.end().out, bytes);
}

#[test]
fn retain_and_attributes_stand_before_the_verb() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish -r -H unit:C -H at:1:2 attic -5");
    let mut peer = broker.accept();
    peer.expect("@retain;unit=C;at=1:2 PUBLISH attic -5");
    peer.say("PUBACK 1 1");
    run.end().expect_out(SUCCESS);
}

#[test]
fn a_level_is_asked_for_and_told_behind_the_success() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish -r --ack disk -H unit:C attic -5");
    let mut peer = broker.accept();
    peer.expect("@retain;ack=disk;unit=C PUBLISH attic -5");
    peer.say("@level=disk;pos=k3f9.2:1042 PUBACK 1 1");
    let ended = run.end();
    ended.expect(0, "");
    ended.expect_out(&format!("{SUCCESS}level disk, position k3f9.2:1042\n"));
    let run = Run::start(&broker, "publish --ack mem attic -5");
    let mut peer = broker.accept();
    peer.expect("@ack=mem PUBLISH attic -5")
        .say("@level=mem PUBACK 1 1");
    run.end().expect_out(&format!("{SUCCESS}level mem\n"));
}

#[test]
fn a_lower_level_than_asked_for_is_a_failure_and_so_is_none() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish --ack disk a x");
    let mut peer = broker.accept();
    peer.expect("@ack=disk PUBLISH a x")
        .say("@level=mem PUBACK 1 1");
    let ended = run.end();
    ended.expect(8, "published, but only at level mem, not disk; ");
    ended.expect_out("");
    let run = Run::start(&broker, "publish --ack disk a x");
    let mut peer = broker.accept();
    peer.expect("@ack=disk PUBLISH a x").say("PUBACK 1 1");
    run.end()
        .expect(8, "the broker does not say at which level; ");
}

#[test]
fn the_lowest_level_counts_over_all_connections() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish -l -r --ack disk a");
    run.input(b"1\n2\n");
    let mut peer = broker.accept();
    peer.expect("@retain;ack=disk PUBLISH a 1")
        .expect("@retain;ack=disk PUBLISH a 2")
        .say("@level=os;pos=k3f9.2:7 PUBACK 1 0");
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("@retain;ack=disk PUBLISH a 2");
    run.end_input();
    peer.say("@level=disk;pos=k3f9.3:8 PUBACK 1 0");
    run.end()
        .expect(8, "2 messages were published, but not all at level disk");
}

#[test]
fn a_message_that_cannot_be_kept_is_refused_like_any_other() {
    for (code, text) in [
        ("no-room", "the disk is full"),
        ("store-failed", "it broke"),
    ] {
        let broker = ScriptedBroker::start();
        let run = Run::start(&broker, "publish -r --ack disk a x");
        let mut peer = broker.accept();
        peer.expect("@retain;ack=disk PUBLISH a x")
            .say(&format!("ERROR {code} publish:1 {text}"))
            .say("PUBACK 1 0");
        run.end()
            .expect(1, &format!("{FAILED}{text} ({code} publish:1)"));
    }
}

#[test]
fn a_level_that_no_receipt_could_say_is_wrong_usage() {
    for (arguments, why) in [
        (
            "publish --ack paper a x",
            "[possible values: mem, os, disk]",
        ),
        (
            "publish --ack disk --mqtt 3.1.1 a x",
            "MQTT 3.1.1 cannot ask for a level of safety; give --mqtt 5",
        ),
        (
            "publish --ack disk --mqtt 5 -q 0 a x",
            "give -q 1, -q 2 or no --ack",
        ),
    ] {
        end(arguments).expect(2, why);
    }
}

#[test]
fn a_message_can_be_repeated() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news x --repeat 3 --delay 1ms");
    let mut peer = broker.accept();
    for n in 1..=3 {
        peer.expect("PUBLISH news x").say(&format!("PUBACK {n} 1"));
    }
    run.end()
        .expect_out("your 3 messages published successfully\n");
}

#[test]
fn a_refused_message_is_a_failure_with_its_reason() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news x");
    let mut peer = broker.accept();
    peer.expect("PUBLISH news x")
        .say("ERROR too-long publish:1 send less");
    peer.say("PUBACK 1 0");
    let ended = run.end();
    ended.expect(1, &format!("{FAILED}send less"));
    ended.expect_out("");
}

#[test]
fn a_denied_request_has_its_own_code() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "publish -l news");
    run.input(b"1\n2\n3\n").end_input();
    let mut peer = broker.accept();
    for n in 1..=3 {
        peer.expect(&format!("PUBLISH news {n}"));
    }
    peer.say("ERROR denied publish:2 ask the owner")
        .say("PUBACK 3 2");
    run.end().expect(
        4,
        &format!("{FAILED}1 of 3 were refused, the first: ask the owner"),
    );
}

#[test]
fn a_receipt_that_does_not_come_is_a_failure() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news x --wait 50ms");
    let mut peer = broker.accept();
    peer.expect("PUBLISH news x");
    run.end()
        .expect(1, &format!("{FAILED}no answer to PUBLISH within 50ms"));
}

#[test]
fn a_full_broker_is_one_that_cannot_be_reached() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish news x");
    broker.accept().say("ERROR busy line come back later");
    run.end().expect(3, "come back later");
}

#[test]
fn a_wrong_topic_is_refused_before_connecting() {
    for (arguments, why) in [
        ("publish a/# x", "publish to a topic without + and #"),
        ("publish a x -H Key:v", "use lower-case letters"),
        ("publish a x -H key", "write KEY:VALUE"),
        ("publish a x -H retain:1", "give --retain"),
        ("publish a x -l", "cannot be used with"),
        ("publish", "<TOPIC>"),
    ] {
        end(arguments).expect(2, why);
    }
}

#[test]
fn an_empty_topic_is_told_as_what_it_is() {
    for command in ["publish", "subscribe", "request", "why"] {
        let ended = Run::spawn(crate::run::command(command).arg("")).end();
        ended.expect(2, "the name is empty; give one, such as sensors/attic");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    end("publish a -f /nonexistent/file").expect(1, "cannot read /nonexistent/file");
}

#[test]
fn a_message_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let broker = ScriptedBroker::start();
    let mut command = command_for(&broker, "publish news");
    let run = Run::spawn(command.arg(OsStr::from_bytes(b"caf\xe9")));
    let mut peer = broker.accept();
    assert_eq!(peer.line(), b"PUBLISH news caf\xe9");
    peer.say("PUBACK 1 1");
    run.end().expect_out(SUCCESS);
}
