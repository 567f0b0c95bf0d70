//! Promises about `busy`: over the limit of connections a newcomer is told so, and only it.

use std::io::{Read, Write};
use std::net::TcpStream;

use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient};
use tests::{PATIENCE, TestBroker, TestClient};

#[test]
fn a_newcomer_over_the_limit_is_refused_and_the_others_are_served() {
    let broker = TestBroker::with_args(&["--max-connections", "2"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.send("PING").expect("PONG");
    for n in 1..=20 {
        let mut newcomer = broker.connect();
        if n % 2 == 0 {
            newcomer.send("PUBLISH news from outside");
        }
        newcomer.expect_error("busy", "line").expect_closed();
        bob.send(format!("PUBLISH news {n}"))
            .expect(format!("PUBACK {n} 1"));
        ann.expect(format!("MESSAGE news {n}"));
    }
    ann.expect_silence();
}

#[test]
fn a_place_that_has_been_freed_can_be_taken() {
    let broker = TestBroker::with_args(&["--max-connections", "2"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("PING").expect("PONG");
    for round in 0..10 {
        ann.send("PING").expect("PONG");
        if round % 2 == 0 {
            ann.send("BYE").expect("BYE").expect_end();
        }
        drop(ann);
        ann = admitted(&broker);
        bob.send("PING").expect("PONG");
    }
}

/// Asks until there is a place: it is free a moment after the one before has left.
fn admitted(broker: &TestBroker) -> TestClient {
    let mut admitted = None;
    tests::eventually("a place is free", || {
        let mut client = broker.connect();
        if client.send("PING").read_line() == "PONG" {
            admitted = Some(client);
        }
        admitted.is_some()
    });
    admitted.expect("eventually returns only then")
}

/// A broker without a free place, and the client that has the only one.
fn full() -> (TestBroker, TestClient) {
    let broker = TestBroker::with_args(&["--max-connections", "1"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    (broker, ann)
}

#[test]
fn a_newcomer_is_told_in_the_protocol_that_it_speaks() {
    // All were told in a line, which a client of MQTT takes for a broken packet, and a proxy for no answer.
    let (broker, _ann) = full();
    for version in BOTH {
        let mut client = MqttClient::dial(broker.address(), version);
        client.send(&Hello::new("bob").encode(version));
        let connack = client.packet();
        let code = if version == Mqtt::V3 { 3 } else { 0x89 };
        assert_eq!((connack[0], connack[3]), (0x20, code), "{connack:02x?}");
        client.expect_closed();
    }
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /topics/a HTTP/1.1\r\n",
    ] {
        let mut stream = TcpStream::connect(broker.address()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // More than is needed for the answer, so that there are unread bytes when it is closed.
        stream.write_all(request.as_bytes()).expect("a connection");
        let _ = stream.write_all(&[b'x'; 3000]);
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer and the end");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.to_lowercase().contains("\r\nretry-after: 1\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn a_newcomer_that_says_nothing_is_told_in_a_line_also_among_many() {
    let (broker, mut ann) = full();
    let mut newcomers: Vec<TestClient> = (0..150).map(|_| broker.connect()).collect();
    ann.send("PING").expect("PONG");
    for newcomer in &mut newcomers {
        newcomer.expect_error("busy", "line").expect_closed();
    }
    ann.send("BYE").expect("BYE").expect_end();
    admitted(&broker).send("PING").expect("PONG");
}

#[test]
fn a_full_broker_stops_at_once() {
    let (broker, _ann) = full();
    let mut newcomer = broker.connect();
    broker.wait_for_log("turned away");
    broker.stop();
    newcomer.expect_error("busy", "line").expect_closed();
}
