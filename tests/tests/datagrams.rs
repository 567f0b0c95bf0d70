//! Promises of `rooms.md` about lines in datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use tests::{PATIENCE, TestBroker};

fn broker() -> TestBroker {
    TestBroker::with_args(&["--open", "--udp", "0"])
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
    let (mut bytes, mut came) = (0, [0; 2000]);
    let began = Instant::now();
    for number in 0..60 {
        // No more at a time than the system keeps for the broker.
        for _ in 0..50 {
            socket.send(b"x").expect("it is sent");
        }
        // An answer that is not longer comes all the same.
        let ping = format!("PING {number}\n");
        socket.send(ping.as_bytes()).expect("it is sent");
        let pong = format!("PONG {number}\n");
        while let len = socket.recv(&mut came).expect("an answer")
            && came[..len] != *pong.as_bytes()
        {
            bytes += len;
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(
        (1..=seconds * 64 * 1024).contains(&bytes),
        "{bytes} in {seconds} s"
    );
}
