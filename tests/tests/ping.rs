//! Promises of "PING" in both directions.

use std::time::{Duration, Instant};

use tests::TestBroker;

#[test]
fn a_ping_is_answered_with_its_token() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    ann.send("PING ").expect("PONG");
    ann.send("PING 7").expect("PONG 7");
    ann.send("PING two words  and spaces ")
        .expect("PONG two words  and spaces ");
    ann.send(r"PING not\nescaped \\")
        .expect(r"PONG not\nescaped \\");
    ann.send(b"PING \xff\x00\x01").expect(b"PONG \xff\x00\x01");
    let long = "x".repeat(100_000);
    ann.send(format!("PING {long}"))
        .expect(format!("PONG {long}"));
    ann.expect_silence();
}

#[test]
fn a_pong_is_not_answered() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PONG")
        .send("PONG 1")
        .send("PONG a b c")
        .expect_silence();
}

#[test]
fn a_pong_stands_behind_all_that_was_asked_and_published_before() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    for round in 0..200 {
        bob.write("PUBLISH news x\n".repeat(10)).write("PING\n");
        let receipts = bob.read_until("PONG");
        let last = receipts.last().expect("a receipt before the PONG");
        assert!(
            last.starts_with(&format!("PUBACK {} ", 10 * (round + 1))),
            "{last:?}"
        );
        assert_eq!(ann.read_to_fence().len(), 10);
    }
}

#[test]
fn the_broker_asks_once_for_each_silence() {
    let broker = TestBroker::with_args(&["--ping-interval", "200ms"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("PING").expect("PONG");
    bob.send("PING").expect("PONG");
    for _ in 0..3 {
        let ping = ann.read_line();
        let token = ping.strip_prefix("PING").expect("a PING");
        ann.send(format!("PONG{token}"));
    }
    // By then at least two intervals have gone by without a word from bob.
    broker.wait_for_log("is stale");
    let asked = bob.read_to_fence();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("PING"));
    let log = broker.stop().log;
    assert!(log.contains(" 1 found stale"), "ann answered: {log}");
}

#[test]
fn a_client_that_does_not_answer_is_reported_as_stale_once_and_keeps_its_connection() {
    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    // Two silences of bob later, which is many intervals, ann has been asked once.
    for _ in 0..2 {
        bob.send("PING").expect("PONG").expect_prefix("PING");
    }
    broker.wait_for_log("is stale");
    bob.send("PUBLISH news hi").expect("PUBACK 1 1");
    ann.expect_prefix("PING").expect("MESSAGE news hi");
    ann.send("PING back").expect("PONG back");
    let log = broker.stop().log;
    assert_eq!(log.matches("is stale").count(), 1, "{log}");
    assert!(log.contains(" 1 found stale"), "{log}");
}

#[test]
fn a_client_that_has_said_nothing_yet_is_not_asked() {
    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let (mut silent, mut bob) = (broker.connect(), broker.connect());
    for _ in 0..2 {
        bob.send("PING").expect("PONG").expect_prefix("PING");
    }
    silent.expect_silence();
    silent.expect_prefix("PING");
}

#[test]
fn a_client_that_keeps_talking_is_not_asked() {
    let broker = TestBroker::with_args(&["--ping-interval", "2s"]);
    let mut ann = broker.connect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        ann.expect_silence();
    }
}

#[test]
fn a_client_that_only_listens_is_asked_as_well() {
    let broker = TestBroker::with_args(&["--ping-interval", "200ms"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    let start = Instant::now();
    loop {
        bob.send("PUBLISH news x").read_until_prefix("PUBACK ");
        match ann.read_line().as_str() {
            "MESSAGE news x" => {}
            line if line.starts_with("PING") => return,
            line => panic!("expected messages and a PING, came {line:?}"),
        }
        assert!(start.elapsed() < tests::PATIENCE, "no PING came");
    }
}
