//! Promises of "QUIET" and of "The end of a connection": what a publisher that does not read loses, and how
//! it loses nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use tests::{Asker, TestBroker, eventually};

const MANY: usize = 20_000;

#[test]
fn a_quiet_client_gets_no_receipts_and_all_other_answers() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.subscribe("news"));
    ann.send("PUBLISH news 1").expect("PUBACK 1 1");
    ann.write("PUBLISH news 2\nQUIET\n");
    ann.expect("PUBACK 2 1").expect("QUIETACK");
    ann.send("PUBLISH news 3").send("@retain PUBLISH news 4");
    ann.send("PUBLISH news/+ 5")
        .expect_error("bad-topic", "publish:5");
    ann.send("quiet").expect("QUIETACK");
    ann.send("PUBLISH $SYS/x 6")
        .expect_error("denied", "publish:6");
    ann.send("SUBSCRIBE mine").expect("SUBACK mine");
    ann.send("PUBLISH mine 7").expect("MESSAGE mine 7");
    ann.send("UNSUBSCRIBE mine").expect("UNSUBACK mine");
    ann.expect_silence();
    for n in 1..=4 {
        bob.expect(format!("MESSAGE news {n}"));
    }
    bob.expect_silence();
    ann.send("BYE").expect("BYE").expect_end();
}

#[test]
fn a_quiet_client_that_subscribes_to_nothing_is_sent_no_ping() {
    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("QUIET").expect("QUIETACK");
    bob.send("PING").expect("PONG");
    for _ in 0..3 {
        bob.read_until_prefix("PING");
        bob.send("PONG");
    }
    ann.send("PING x").expect("PONG x");
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    ann.read_until_prefix("PING");
}

/// Publishes and closes without a look at what has arrived.
fn publish_and_close(mut socket: TcpStream) {
    let lines = "PUBLISH news xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(MANY);
    socket
        .write_all(lines.as_bytes())
        .expect("the broker reads");
}

#[test]
fn a_quiet_client_that_never_reads_loses_nothing_when_it_closes() {
    let broker = TestBroker::start();
    for round in 1..=4 {
        let mut socket = TcpStream::connect(broker.address()).expect("it listens");
        socket.write_all(b"QUIET\n").expect("the broker reads");
        let mut answer = [0; 9];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"QUIETACK\n");
        publish_and_close(socket);
        eventually("it has left", || {
            broker.log().matches(", 20000 published;").count() == round
        });
        let why = Asker::of(&broker).ask("why news");
        assert_eq!(why["seen"]["messages"], round * MANY, "{why}");
    }
    let log = broker.log();
    let published = log
        .lines()
        .filter(|line| line.contains(", 20000 published;"));
    assert!(
        published
            .into_iter()
            .all(|line| line.contains("the client left")),
        "{log}"
    );
}

#[test]
fn a_client_that_closes_with_unread_answers_is_logged_as_one_that_loses_what_was_on_its_way() {
    let broker = TestBroker::start();
    let mut socket = TcpStream::connect(broker.address()).expect("it listens");
    socket
        .write_all(b"PUBLISH news x\n")
        .expect("the broker reads");
    socket.peek(&mut [0]).expect("the receipt has arrived");
    drop(socket);
    broker.wait_for_log("reset by the client; what was on its way is lost");
}
