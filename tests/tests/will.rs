//! Promises of "WILL" and "NAME".

use tests::{TestBroker, TestClient};

fn with_will(broker: &TestBroker, will: &str) -> TestClient {
    let mut client = broker.connect();
    client.send(will).expect_prefix("WILLACK ");
    client
}

#[test]
fn a_will_is_published_when_the_connection_breaks_or_is_closed() {
    let broker = TestBroker::start();
    let mut bob = broker.subscribe("wills/#");
    with_will(&broker, "WILL wills/reset gone\\nfor good").vanish();
    bob.expect("MESSAGE wills/reset gone\\nfor good");
    drop(with_will(&broker, "@from=ann WILL wills/closed bye"));
    bob.expect("@from=ann MESSAGE wills/closed bye");
    // With subscriptions of its own a client is only found to be gone when it is written to.
    let mut ann = with_will(&broker, "WILL wills/subscribed");
    ann.send("SUBSCRIBE wills/#").expect("SUBACK wills/#");
    drop(ann);
    bob.expect("MESSAGE wills/subscribed").expect_silence();
}

#[test]
fn after_bye_there_is_no_will() {
    let broker = TestBroker::start();
    let mut bob = broker.subscribe("#");
    let mut ann = with_will(&broker, "WILL wills/ann");
    ann.send("BYE").expect("BYE").expect_end();
    bob.expect_silence();
}

#[test]
fn when_the_broker_stops_there_is_no_will() {
    let broker = TestBroker::start();
    let mut bob = broker.subscribe("#");
    let ann = with_will(&broker, "WILL wills/ann");
    drop(broker.stop());
    bob.expect("BYE").expect_end();
    drop(ann);
}

#[test]
fn the_last_will_counts_and_a_refused_one_changes_nothing() {
    let broker = TestBroker::start();
    let mut bob = broker.subscribe("wills/#");
    let mut ann = with_will(&broker, "WILL wills/first");
    ann.send("WILL wills/second 2")
        .expect("WILLACK wills/second");
    ann.send("WILL $SYS/x").expect_error("denied", "line");
    ann.send("WILL a/+").expect_error("bad-topic", "line");
    ann.send("WILL").expect_error("missing-argument", "line");
    ann.send("@BAD WILL a")
        .expect_error("bad-attribute", "line");
    drop(ann);
    bob.expect("MESSAGE wills/second 2").expect_silence();
}

#[test]
fn a_retained_will_is_there_for_later_subscribers() {
    let broker = TestBroker::start();
    let mut bob = broker.subscribe("state");
    drop(with_will(&broker, "@retain WILL state off"));
    bob.expect("MESSAGE state off");
    let mut late = broker.subscribe("state");
    late.expect("@retained MESSAGE state off").expect_silence();
}

#[test]
fn a_will_stands_behind_all_that_its_client_has_published() {
    let broker = TestBroker::start();
    for round in 0..50 {
        let mut bob = broker.subscribe("news");
        let mut ann = with_will(&broker, "WILL news last");
        let lines: String = (0..100).map(|n| format!("PUBLISH news {n}\n")).collect();
        ann.write(lines);
        if round % 2 == 0 {
            // Read to its end, so that nothing is reset.
            ann.half_close().read_to_end();
        } else {
            ann.read_until_prefix("PUBACK 100 ");
            ann.vanish();
        }
        for n in 0..100 {
            bob.expect(format!("MESSAGE news {n}"));
        }
        bob.expect("MESSAGE news last");
    }
}

#[test]
fn a_name_stands_in_the_log_and_need_not_be_the_only_one() {
    let broker = TestBroker::start();
    let (mut ann, mut other) = (broker.connect(), broker.connect());
    for client in [&mut ann, &mut other] {
        client.send("NAME Ann «Lee»").expect("NAMEACK Ann «Lee»");
    }
    ann.send(b"NAME a\x1b[2Jb").expect_error("bad-name", "line");
    ann.send(format!("NAME {}", "x".repeat(129)))
        .expect_error("bad-name", "line");
    ann.send("NAME").expect_error("missing-argument", "line");
    ann.send("BYE").expect("BYE").expect_end();
    let log = broker.stop().log;
    assert_eq!(log.matches("is called \"Ann «Lee»\"").count(), 2, "{log}");
    assert!(log.contains("(\"Ann «Lee»\") from 127.0.0.1"), "{log}");
}
