//! `client subscribe`.

use crate::run::{Run, end};
use crate::scripted::{Peer, ScriptedBroker};

/// The program, subscribed to `#` with more `arguments`, and its broker.
fn subscribed(arguments: &str) -> (ScriptedBroker, Peer, Run) {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, format!("subscribe # {arguments}").trim());
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE #").say("SUBACK #");
    assert_eq!(run.said(), "subscribing on #");
    (broker, peer, run)
}

/// The output for these lines of the broker.
fn check(arguments: &str, lines: &[&str], expected: &str) {
    let (_broker, mut peer, run) = subscribed(arguments);
    for line in lines {
        peer.say(line);
    }
    peer.say("BYE");
    run.end().expect_out(expected);
}

#[test]
fn it_says_so_once_every_filter_is_answered() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a b/+ -C 1");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a b/+").say("SUBACK a");
    peer.say("MESSAGE a x").say("SUBACK b/+");
    assert_eq!(run.said(), "subscribing on a, b/+");
    assert_eq!(run.line(), "a: x");
    run.end().expect(0, "");
}

#[test]
fn a_refused_filter_is_a_failure_with_its_reason() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "subscribe a b");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a b").say("SUBACK a");
    peer.say("ERROR denied subscribe:b ask the owner");
    run.end().expect(4, "subscribing failed: ask the owner");
}

#[test]
fn a_filter_that_is_not_answered_is_a_failure() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "subscribe a --wait 50ms");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a");
    run.end()
        .expect(1, "subscribing failed: no answer to SUBSCRIBE within 50ms");
}

#[test]
fn each_message_follows_its_topic() {
    let lines = ["MESSAGE a x y", "@k=v MESSAGE b/c", "MESSAGE a 1\\n2"];
    check("--no-retry", &lines, "a: x y\nb/c: \na: 1\\n2\n");
}

#[test]
fn a_message_is_printed_at_once() {
    let (_broker, mut peer, mut run) = subscribed("--no-retry");
    peer.say("MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    peer.say("MESSAGE a 2");
    assert_eq!(run.line(), "a: 2");
}

#[test]
fn json_is_one_object_a_line_and_a_gap_is_one_too() {
    let lines = ["@retained;k=v MESSAGE a x", "GAP 12", "MESSAGE a y"];
    let expected = "{\"topic\":\"a\",\"payload\":\"x\",\"attributes\":{\"k\":\"v\"},\"retained\":true}\n\
                    {\"gap\":12}\n\
                    {\"topic\":\"a\",\"payload\":\"y\"}\n";
    check("-o json --no-retry", &lines, expected);
}

#[test]
fn a_gap_is_told_on_standard_error() {
    let (_broker, mut peer, mut run) = subscribed("--no-retry");
    peer.say("MESSAGE a 1").say("GAP 12");
    assert_eq!(
        run.said(),
        "client: 12 messages were dropped here because this client was too slow"
    );
    assert_eq!(run.line(), "a: 1");
}

#[test]
fn a_format_chooses_the_output() {
    let lines = ["MESSAGE a x\\n"];
    check("-F %t|%x|%l|%% --no-retry", &lines, "a|780a|2|%\n");
}

#[test]
fn raw_prints_payloads_and_nothing_else() {
    let lines = ["MESSAGE a 1", "MESSAGE a 2\\n", "MESSAGE a"];
    check("-o raw --no-retry", &lines, "12\n");
}

#[test]
fn topics_and_retained_messages_can_be_hidden() {
    let lines = ["MESSAGE a 1", "@retained MESSAGE b 2", "MESSAGE c/d 3"];
    check("-T a -T c/# --no-retry", &lines, "b: 2\n");
    check("--no-retained --no-retry", &lines, "a: 1\nc/d: 3\n");
}

#[test]
fn a_count_ends_it_after_as_many_messages() {
    let (_broker, mut peer, run) = subscribed("-C 2 -T b");
    peer.say("MESSAGE a 1").say("MESSAGE b 2");
    peer.say("MESSAGE a 3").say("MESSAGE a 4");
    let ended = run.end();
    ended.expect(0, "");
    ended.expect_out("a: 1\na: 3\n");
}

#[test]
fn pings_of_the_broker_are_answered() {
    let (_broker, mut peer, _run) = subscribed("--no-retry");
    peer.say("PING x").expect("PONG x");
    peer.say("PING").expect("PONG");
}

#[test]
fn after_a_loss_it_reconnects_and_subscribes_again() {
    let (broker, mut peer, mut run) = subscribed("-C 2");
    peer.say("MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE #").say("SUBACK #");
    peer.say("MESSAGE a 2");
    let ended = run.end();
    ended.expect(
        0,
        "client: lost the broker: the broker closed the connection",
    );
    ended.expect(0, "messages may have been missed");
    ended.expect_out("a: 2\n");
}

#[test]
fn a_broker_that_stops_is_looked_for_too() {
    let (broker, mut peer, mut run) = subscribed("-C 1");
    peer.say("BYE");
    let mut next = broker.accept();
    next.expect("@since=now SUBSCRIBE #").say("SUBACK #");
    next.say("MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    run.end().expect(0, "the broker is stopping");
}

#[test]
fn a_broker_that_is_full_on_return_is_tried_again() {
    let (broker, peer, run) = subscribed("-C 1");
    drop(peer);
    broker.accept().say("ERROR busy line come back later");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE #").say("SUBACK #");
    peer.say("MESSAGE a 1");
    run.end()
        .expect(0, "the broker is full: come back later; trying again");
}

#[test]
fn without_retry_a_lost_broker_is_the_end() {
    let (_broker, mut peer, run) = subscribed("--no-retry");
    peer.say("MESSAGE a 1").say("BYE");
    let ended = run.end();
    ended.expect(3, "client: the broker is stopping");
    ended.expect_out("a: 1\n");
}

#[test]
fn a_wrong_argument_is_refused_before_connecting() {
    for (arguments, why) in [
        ("subscribe a/#/b", "# must be the last level"),
        ("subscribe a+", "must stand alone"),
        ("subscribe a -T b#", "must stand alone"),
        ("subscribe a -F %q", "there is no %q"),
        ("subscribe a -F %t -o raw", "cannot be used with"),
        ("subscribe a -C 0", "0 is not in"),
        ("subscribe a -W soon", "write seconds"),
        ("subscribe a --wait 0", "a time above zero"),
        ("subscribe", "<FILTER>"),
    ] {
        end(arguments).expect(2, why);
    }
}

#[test]
fn the_overflow_policy_is_sent_with_the_subscription() {
    for policy in ["drop-oldest", "drop-newest", "latest", "block"] {
        let broker = ScriptedBroker::start();
        let arguments = format!("subscribe a b --slow {policy} -C 1");
        let run = Run::start(&broker, &arguments);
        let mut peer = broker.accept();
        peer.expect(&format!("@slow={policy} SUBSCRIBE a b"));
        peer.say("SUBACK a").say("SUBACK b").say("MESSAGE a x");
        run.end().expect_out("a: x\n");
    }
    end("subscribe a --slow later").expect(2, "drop-oldest");
}

/// Where a message is goes back to the broker when the connection was lost, and nothing is printed twice.
#[test]
fn it_goes_on_behind_the_last_message_that_has_come() {
    let (broker, mut peer, mut run) = subscribed("-C 3");
    peer.say("CURRENT # k3f9.1:6");
    peer.say("@pos=k3f9.1:7 MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("@since=k3f9.1:7 SUBSCRIBE #").say("SUBACK #");
    peer.say("@past;pos=k3f9.1:8 MESSAGE a 2");
    assert_eq!(run.line(), "a: 2");
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("@since=k3f9.1:8 SUBSCRIBE #");
    peer.say("@incomplete;oldest=k3f9.1:11 SUBACK #");
    peer.say("@past;pos=k3f9.1:12 MESSAGE a 3");
    let ended = run.end();
    ended.expect(
        0,
        "messages on # may be missing here; the broker keeps those from k3f9.1:11 on",
    );
    ended.expect(
        0,
        "connected again; messages on topics that keep none may have been missed",
    );
    ended.expect_out("a: 3\n");
}

#[test]
fn a_broker_that_does_not_know_the_past_is_subscribed_to_plainly() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a b -C 2");
    for message in ["1", "2"] {
        let mut peer = broker.accept();
        peer.expect("@since=now SUBSCRIBE a b").say("SUBACK a");
        peer.say("ERROR bad-attribute subscribe:b what is since?");
        peer.expect("SUBSCRIBE b").say("SUBACK b");
        peer.say(&format!("MESSAGE b {message}"));
        assert_eq!(run.line(), format!("b: {message}"));
    }
    run.end()
        .expect(0, "connected again; messages may have been missed");
    let run = Run::start(&broker, "subscribe a --last 2");
    let mut peer = broker.accept();
    peer.expect("@last=2 SUBSCRIBE a");
    peer.say("ERROR bad-attribute subscribe:a what is last?");
    run.end().expect(1, "what is last?");
}

#[test]
fn a_group_is_subscribed_to_plainly_and_has_no_past() {
    let broker = ScriptedBroker::start();
    let mut run = Run::start(&broker, "subscribe a $share/g/b c -C 1");
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    peer.expect("SUBSCRIBE $share/g/b").say("SUBACK $share/g/b");
    peer.expect("@since=now SUBSCRIBE c").say("SUBACK c");
    peer.say("MESSAGE a 1");
    assert_eq!(run.line(), "a: 1");
    run.end().expect(0, "");
    for arguments in [
        "$share/g/b --since 10m",
        "a --last 1 --slow latest",
        "a --last 1 --each 1",
        "a --since start --mqtt 5",
        "a --until-now",
        "a --since soon",
        "a --last 0",
    ] {
        end(&format!("subscribe {arguments}")).expect(2, "");
    }
}

/// The past of each filter is asked for when that of the one before has come.
#[test]
fn until_now_ends_behind_the_past_of_all_filters() {
    let broker = ScriptedBroker::start();
    let arguments = "subscribe a b --since @7 --until-now -o json";
    let mut run = Run::start(&broker, arguments);
    let mut peer = broker.accept();
    peer.expect("@since=@7;until=now SUBSCRIBE a")
        .say("SUBACK a");
    peer.say("@past;pos=k3f9.1:1 MESSAGE a 1");
    let first = r#"{"topic":"a","payload":"1","attributes":{"past":true,"pos":"k3f9.1:1"}}"#;
    assert_eq!(run.line(), first);
    drop(peer);
    let mut peer = broker.accept();
    peer.expect("@since=k3f9.1:1;until=now SUBSCRIBE a");
    peer.say("@incomplete SUBACK a").say("END a k3f9.1:1");
    assert_eq!(run.line(), r#"{"incomplete":{"oldest":null}}"#);
    peer.expect("@since=@7;until=now SUBSCRIBE b");
    peer.say("SUBACK b").say("END b k3f9.1:1");
    run.end().expect(0, "subscribing on a, b");
}
