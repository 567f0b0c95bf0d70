//! Promises about `busy`: over the limit of connections a newcomer is told so, and only it.

use tests::{TestBroker, TestClient};

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
