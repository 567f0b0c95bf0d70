//! Promises of "Errors": every code, with its subject, and the connection stays.
//!
//! `busy` has a file of its own.

use tests::{TestBroker, TestClient};

/// Checks that after all this the client is served as ever.
#[track_caller]
fn still_there(mut client: TestClient) {
    client.expect_silence();
    client
        .send("SUBSCRIBE still/there")
        .expect("SUBACK still/there");
    client.send("BYE").expect("BYE").expect_end();
}

#[test]
fn what_begins_with_no_verb_of_a_client_is_an_unknown_verb() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let of_the_broker = [
        "MESSAGE a b",
        "PUBACK 1 1",
        "SUBACK a",
        "UNSUBACK a",
        "GAP 1",
    ];
    let of_neither = [
        "HELLO",
        "PUBLISHED a b",
        "PUB a",
        "P",
        "CONNECT {}",
        "a=b",
        "ping\tx",
    ];
    for line in of_the_broker
        .into_iter()
        .chain(of_neither)
        .chain(["ERROR a line b", "GET"])
    {
        ann.send(line).expect_error("unknown-verb", "line");
    }
    still_there(ann);
}

#[test]
fn a_wrong_verb_is_quoted_once() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send(r#""hi" there"#)
        .expect(r#"ERROR unknown-verb line no verb is called "\"hi\""; try HELP"#);
    still_there(ann);
}

#[test]
fn a_verb_without_its_argument_misses_it() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE")
        .expect_error("missing-argument", "line");
    ann.send("UNSUBSCRIBE")
        .expect_error("missing-argument", "line");
    ann.send("PUBLISH")
        .expect_error("missing-argument", "publish:1")
        .expect("PUBACK 1 0");
    ann.send("PUBLISH ")
        .expect_error("missing-argument", "publish:2")
        .expect("PUBACK 2 0");
    still_there(ann);
}

#[test]
fn a_line_over_the_limit_is_too_long() {
    let broker = TestBroker::with_args(&["--max-line", "100"]);
    let mut ann = broker.connect();
    let x = "x".repeat(100);
    ann.send(format!("PUBLISH a {x}"))
        .expect_error("too-long", "publish:1");
    ann.expect("PUBACK 1 0");
    ann.send(format!("publish a {x}"))
        .expect_error("too-long", "publish:2");
    ann.expect("PUBACK 2 0");
    ann.send(format!("@a=1 PUBLISH a {x}"))
        .expect_error("too-long", "publish:3");
    ann.expect("PUBACK 3 0");
    for line in ["SUBSCRIBE ", "PING ", "", "@", "@a="] {
        ann.send(format!("{line}{x}x"))
            .expect_error("too-long", "line");
    }
    ann.send("PUBLISH a x").expect("PUBACK 4 0");
    still_there(ann);
}

#[test]
fn bad_names_and_attributes_have_codes_of_their_own() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PUBLISH a/+ x")
        .expect_error("bad-topic", "publish:1")
        .expect("PUBACK 1 0");
    ann.send("@A PUBLISH a x")
        .expect_error("bad-attribute", "publish:2")
        .expect("PUBACK 2 0");
    ann.send("SUBSCRIBE a+")
        .expect_error("bad-filter", "subscribe:a+");
    ann.send("UNSUBSCRIBE a+")
        .expect_error("bad-filter", "unsubscribe:a+");
    ann.send("@A NONSENSE")
        .expect_error("bad-attribute", "line");
    still_there(ann);
}

#[test]
fn a_long_word_is_repeated_up_to_1024_bytes() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let (long, cut) = ("y".repeat(5000), "y".repeat(1024));
    ann.send(format!("SUBSCRIBE {long}"))
        .expect_error("bad-filter", &format!("subscribe:{cut}"));
    ann.send(format!("UNSUBSCRIBE {long}"));
    ann.expect_error("bad-filter", &format!("unsubscribe:{cut}"));
    ann.send(&long).expect_error("unknown-verb", "line");
    still_there(ann);
}

#[test]
fn the_text_says_it_in_one_line_whatever_was_sent() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let words: [&[u8]; 4] = [b"\x01\x02\x03", b"a\rb\rc", b"\xff\xfe", b"\x1b[31mred"];
    for word in words {
        ann.send(word);
        let answer = ann.next_line().expect("an answer");
        assert!(answer.starts_with(b"ERROR unknown-verb line "));
        assert!(
            !answer.iter().any(u8::is_ascii_control),
            "{:?}",
            answer.escape_ascii().to_string()
        );
    }
    still_there(ann);
}

#[test]
fn only_the_broker_publishes_under_its_own_topics() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("SUBSCRIBE $SYS/mine/#")
        .expect("SUBACK $SYS/mine/#");
    ann.send("PUBLISH $SYS/mine/x 1")
        .expect_error("denied", "publish:1")
        .expect("PUBACK 1 0");
    ann.send("@retain PUBLISH $SYS/mine 1")
        .expect_error("denied", "publish:2");
    ann.expect("PUBACK 2 0");
    ann.send("PUBLISH $SYSTEM/x 1").expect("PUBACK 3 0");
    bob.expect_silence();
    let mut later = broker.connect();
    later
        .send("SUBSCRIBE $SYS/mine/#")
        .expect("SUBACK $SYS/mine/#")
        .expect_silence();
    still_there(ann);
}

#[test]
fn the_limit_on_subscriptions_is_told_as_too_many() {
    let broker = TestBroker::with_args(&["--max-subscriptions", "1"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a b")
        .expect("SUBACK a")
        .expect_error("too-many", "subscribe:b");
    ann.send("UNSUBSCRIBE a").expect("UNSUBACK a");
    still_there(ann);
}
