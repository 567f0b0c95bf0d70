//! Promises of "Several protocols on one port": what the first bytes decide.

use tests::{TestBroker, TestClient};

const BODY: &str = "PUBLISH x y\nSUBSCRIBE x\n";

#[track_caller]
fn expect_refusal(client: &mut TestClient) {
    let status = client.read_line();
    let refused = status.starts_with("HTTP/1.1 4") || status.starts_with("HTTP/1.1 505");
    assert!(refused, "came {status:?}");
    let text = client.read_to_end();
    for word in ["ERROR", "PUBACK", "SUBACK"] {
        assert!(!text.contains(word), "read as lines: {text}");
    }
}

#[test]
fn what_begins_as_http_is_never_read_as_lines() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for method in ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"] {
        let len = BODY.len();
        let head = format!("{method} /no HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
        for request in [format!("{head}{BODY}"), format!("{method} {BODY}{head}")] {
            let mut page = broker.connect();
            page.write(request);
            expect_refusal(&mut page);
        }
    }
    ann.expect_silence();
}

#[test]
fn the_first_bytes_may_come_one_by_one() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let mut page = broker.connect();
    for byte in b"POST" {
        page.write([*byte]);
        // Time for the broker to see this byte alone.
        ann.expect_silence();
    }
    page.write(format!(" / HTTP/1.1\r\n\r\n{BODY}"));
    expect_refusal(&mut page);
    ann.expect_silence();
}

#[test]
fn a_frame_that_begins_like_a_method_is_a_frame() {
    let broker = TestBroker::start();
    let mut other = broker.connect();
    for (frame, answer) in [
        ("PUBLISH a b\n", "PUBACK 1 0"),
        ("PING\n", "PONG"),
        ("HELP ping\n", "HELP PING"),
        ("GET\n", "ERROR unknown-verb line "),
        ("GETTING here\n", "ERROR unknown-verb line "),
        ("PUTT x\n", "ERROR unknown-verb line "),
        ("get / HTTP/1.1\n", "ERROR unknown-verb line "),
        ("OPTIONSX\n", "ERROR unknown-verb line "),
        ("D\n", "ERROR unknown-verb line "),
        ("@a=1 PING x\n", "PONG x"),
        ("\nPING x\n", "PONG x"),
        ("1 2 3\n", "ERROR unknown-verb line "),
    ] {
        let mut whole = broker.connect();
        whole.write(frame).expect_prefix(answer);
        let mut split = broker.connect();
        for byte in frame.bytes() {
            split.write([byte]);
            other.expect_silence();
        }
        split.expect_prefix(answer);
    }
}

#[test]
fn http_on_a_connection_that_began_with_a_frame_is_an_unknown_verb() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    ann.send("GET / HTTP/1.1")
        .expect_error("unknown-verb", "line")
        .expect_silence();
}

#[test]
fn tls_is_closed_and_reported() {
    let broker = TestBroker::start();
    let tls = [
        &b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"[..],
        BODY.as_bytes(),
    ]
    .concat();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let mut stranger = broker.connect();
    stranger.write(&tls).expect_closed();
    broker.wait_for_log("TLS");
    let mut slow = broker.connect();
    slow.write(&tls[..1]).expect_closed();
    ann.expect_silence();
}

#[test]
fn what_is_no_text_and_no_connect_of_mqtt_is_closed_and_never_read_as_lines() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for head in [
        &b"\xc0\x00"[..],
        b"\x82\x06\x00\x01\x00\x01a\x00",
        b"0\x04\x00\x01ab",
        b"\xe0\x00",
        b"\x11\x0c",
    ] {
        let mut stranger = broker.connect();
        stranger
            .write([head, BODY.as_bytes()].concat())
            .expect_closed();
        broker.wait_for_log("begins with CONNECT");
    }
    ann.expect_silence();
}

#[test]
fn every_port_serves_every_protocol() {
    let broker = TestBroker::with_args(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    let others: Vec<_> = broker.other_addresses();
    assert_eq!(others.len(), 2);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    for (number, address) in others.into_iter().enumerate() {
        let mut bob = TestClient::connect(address);
        bob.send(format!("PUBLISH a {number}")).expect("PUBACK 1 1");
        ann.expect(format!("MESSAGE a {number}"));
        let mut page = TestClient::connect(address);
        page.write("GET /none HTTP/1.1\r\n\r\n");
        expect_refusal(&mut page);
    }
    assert_eq!(broker.stop().code, Some(0));
}
