//! Promises of "BYE": what comes before the end, and that it is the end.

use tests::{TestBroker, TestClient};

#[test]
fn bye_is_answered_and_ends_the_connection() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("BYE").expect("BYE").expect_end();
    let mut bob = broker.connect();
    bob.send("bye and thanks").expect("BYE").expect_end();
}

#[test]
fn the_answers_to_all_before_it_stand_before_it() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.write("SUBSCRIBE a\nPUBLISH b x\nNONSENSE\nPING 1\nBYE\n");
    ann.expect("SUBACK a");
    let mut rest = ann.read_until("BYE");
    ann.expect_end();
    assert_eq!(rest.pop().as_deref(), Some("PONG 1"));
    let error = rest
        .iter()
        .filter(|line| line.starts_with("ERROR unknown-verb line "));
    assert_eq!(error.count(), 1);
    assert!(rest.contains(&"PUBACK 1 0".to_owned()));
    assert_eq!(rest.len(), 2);
}

#[test]
fn what_is_sent_behind_it_is_not_read() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.write("PUBLISH news before\nBYE\nPUBLISH news after\nPING\n");
    bob.expect("PUBACK 1 1").expect("BYE").expect_closed();
    ann.expect("MESSAGE news before").expect_silence();
}

#[test]
fn everything_that_waits_is_sent_before_it() {
    let broker = TestBroker::start();
    let mut ann = TestClient::connect_with_small_buffer(broker.address());
    let mut bob = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    // More than the kernel keeps for a client that does not read.
    let payload = "x".repeat(10_000);
    bob.write(format!("PUBLISH news {payload}\n").repeat(2000));
    bob.read_until_prefix("PUBACK 2000 ");
    ann.send("BYE");
    for _ in 0..2000 {
        ann.expect(format!("MESSAGE news {payload}"));
    }
    ann.expect("BYE").expect_end();
}
