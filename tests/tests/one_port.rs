//! Promises of "Several protocols on one port": what the first bytes decide.

use tests::{Random, TestBroker, TestClient};

const BODY: &str = "PUBLISH x y\nSUBSCRIBE x\n";

#[track_caller]
fn expect_refusal(client: &mut TestClient) {
    let status = client.read_line();
    let refused = ["HTTP/1.1 4", "HTTP/1.1 501", "HTTP/1.1 505"];
    let refused = refused.iter().any(|begin| status.starts_with(begin));
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
        let head =
            format!("{method} /no HTTP/1.1\r\nHost: x.example\r\nContent-Length: {len}\r\n\r\n");
        for request in [format!("{head}{BODY}"), format!("{method} {BODY}{head}")] {
            let mut page = broker.connect();
            page.write(request);
            expect_refusal(&mut page);
        }
    }
    ann.expect_silence();
}

#[test]
fn a_request_with_any_method_is_refused_and_never_read_as_lines() {
    let broker = TestBroker::start();
    let port = broker.address().port();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for (line, known, rebound) in [
        ("PATCH /topics/a HTTP/1.1", "405", "421"),
        ("TRACE / HTTP/1.1", "405", "421"),
        ("PATCH * HTTP/1.1", "405", "421"),
        ("patch /x HTTP/1.1", "501", "421"),
        ("get / HTTP/1.1", "501", "421"),
        ("QUERY /topics/a HTTP/1.1", "501", "421"),
        ("PROPFIND /x HTTP/1.1", "501", "421"),
        ("PUBLISH /a HTTP/1.1", "501", "421"),
        ("SUBSCRIBE /a HTTP/1.0", "501", "421"),
        ("FOO http://localhost/x HTTP/1.1", "501", "501"),
        ("FOO http://evil.example/x HTTP/1.1", "421", "421"),
        ("CONNECT localhost:443 HTTP/1.1", "405", "405"),
        ("CONNECT evil.example:443 HTTP/1.1", "421", "421"),
        ("connect localhost:443 HTTP/1.1", "501", "501"),
        ("PRI * HTTP/2.0", "505", "505"),
        ("@a=b /x HTTP/1.1", "400", "400"),
    ] {
        let names = [("localhost", known), ("evil.example", rebound)];
        for (name, status) in names {
            for (end, origin) in [
                ("\r\n", String::new()),
                ("\n", format!("Origin: http://{name}:{port}\r\n")),
            ] {
                let mut page = broker.connect();
                let len = BODY.len();
                // Another host in the target is another site.
                let origin = if line.contains(':') { "" } else { &origin };
                page.write(format!(
                    "{line}{end}Host: {name}:{port}\r\n{origin}Content-Length: {len}\r\n\r\n{BODY}"
                ));
                let answer = page.read_to_end();
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{line}, {name}: {answer}"
                );
                assert!(!answer.contains("PUBACK"), "{line}: {answer}");
            }
        }
    }
    // Longer than the head of a request may be.
    let long = "a".repeat(20_000);
    for line in [
        format!("PATCH /{long} HTTP/1.1"),
        format!("PUBLISH /{long} HTTP/1.1"),
        format!("{long} / HTTP/1.1"),
    ] {
        let mut page = broker.connect();
        page.write(format!("{line}\r\nHost: localhost\r\n\r\n{BODY}"));
        expect_refusal(&mut page);
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
        ("get /\n", "ERROR unknown-verb line "),
        ("PUBLISH log HTTP/1.1\n", "PUBACK 1 0"),
        ("PUBLISH /a HTTP/1.1 hi\n", "PUBACK 1 0"),
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

#[test]
fn every_first_byte_is_read_as_something_and_holds_up_no_other_client() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let mut begun: Vec<TestClient> = (0..=255u8)
        .map(|byte| {
            let mut client = broker.connect();
            client.write([byte]);
            client
        })
        .collect();
    ann.expect_silence();
    for (byte, client) in (0..=255u8).zip(&mut begun) {
        match byte {
            // They begin TLS or a packet of MQTT, or may.
            0x10..=0x1a | 0x1c..=0x1f | 0x80.. => {}
            b'\n' => {
                client.send("PING").expect("PONG");
            }
            _ => {
                // A line that no verb begins, or a request without its method.
                client.write("!\n").expect_prefix("ERROR ");
                client.send("PING").expect("PONG");
            }
        }
    }
}

#[test]
fn ten_thousand_random_openings_do_no_harm() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let mut random = Random::new(7);
    let words: [&[u8]; 12] = [
        b"GET ",
        b"POST ",
        b"PUBLISH ",
        b"/topics/a",
        b" HTTP/1.1",
        b"\r\n",
        b"\n",
        b"Host: localhost",
        b"Content-Length: 5",
        b"\x10\x0c\x00\x04MQTT",
        b"Transfer-Encoding: chunked",
        b"Upgrade: websocket",
    ];
    for round in 0..10_000 {
        let mut opening = Vec::new();
        for _ in 0..random.below(8) {
            if random.below(4) == 0 {
                let count = random.below(20);
                opening.extend(random.bytes(count));
            } else {
                opening.extend_from_slice(words[random.below(words.len())]);
            }
        }
        let mut client = broker.connect();
        client.write(&opening);
        drop(client);
        if round % 500 == 0 {
            ann.send("PING").expect("PONG");
        }
    }
    ann.expect_silence();
}

#[test]
fn all_wires_may_come_a_byte_at_a_time() {
    let broker = TestBroker::start();
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let lines = b"@a=b PUBLISH news hi\r\nPING end\n";
    let (mut web, mut line, mut other) = (broker.connect(), broker.connect(), broker.connect());
    for at in 0..request.len().max(lines.len()) {
        if let Some(byte) = request.get(at) {
            web.write([*byte]);
        }
        if let Some(byte) = lines.get(at) {
            line.write([*byte]);
        }
        other.expect_silence();
    }
    web.expect("HTTP/1.1 200 OK\r");
    line.expect("PUBACK 1 0").expect("PONG end");
}
