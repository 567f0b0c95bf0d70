//! Promises of `rooms.md` about lines in datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tests::{PATIENCE, TestBroker};

fn broker() -> TestBroker {
    TestBroker::with_args(&["--udp", "0"])
}

fn socket(broker: &TestBroker) -> UdpSocket {
    broker.wait_for_log("INFO  broker] lines in datagrams on ");
    let log = broker.log();
    let mut lines = log.lines();
    let address = lines.find_map(|line| line.split_once("INFO  broker] lines in datagrams on "));
    let (_, address) = address.expect("it is logged");
    let address: SocketAddr = address.trim().parse().expect("an address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(address).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket
}

#[track_caller]
fn answer(socket: &UdpSocket, datagram: &str) -> String {
    socket.send(datagram.as_bytes()).expect("it is sent");
    let mut answer = [0; 2000];
    let len = socket.recv(&mut answer).expect("an answer");
    String::from_utf8(answer[..len].to_vec()).expect("text")
}

#[test]
fn a_datagram_publishes_and_is_answered_if_it_asks_for_it() {
    let broker = broker();
    let mut lines = broker.subscribe("news");
    let socket = socket(&broker);
    socket.send(b"PUBLISH news hi").expect("it is sent");
    lines.expect("MESSAGE news hi");
    socket
        .send(b"PUBLISH news 1\n@id=7 PUBLISH news 2\r\n")
        .expect("it is sent");
    lines
        .expect("MESSAGE news 1")
        .expect("@id=7 MESSAGE news 2");
    // No answer came before this one.
    assert_eq!(
        answer(&socket, "@ack=mem;id=8 PUBLISH news 3"),
        "PUBACK 1 1\n"
    );
    lines.expect("@id=8 MESSAGE news 3");
    assert_eq!(answer(&socket, "PING a"), "PONG a\n");
    assert!(answer(&socket, "SUBSCRIBE news").starts_with("ERROR denied line "));
    assert!(answer(&socket, "hello").starts_with("ERROR unknown-verb line "));
    lines.expect_silence();
}

#[test]
fn answers_that_are_longer_than_their_datagram_are_limited() {
    let broker = broker();
    let socket = socket(&broker);
    for _ in 0..3000 {
        socket.send(b"x").expect("it is sent");
    }
    // These are not longer, and come all the same.
    let token = "y".repeat(100);
    socket
        .send(format!("PING {token}").as_bytes())
        .expect("it is sent");
    let (mut bytes, mut pongs, mut came) = (0, 0, [0; 2000]);
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time");
    while let Ok(len) = socket.recv(&mut came) {
        match came.starts_with(b"PONG") {
            true => pongs += 1,
            false => bytes += len,
        }
    }
    assert_eq!(pongs, 1);
    // The burst may take longer than a second.
    assert!((1..=3 * 64 * 1024).contains(&bytes), "{bytes}");
}
