//! Promises of `docs/web.md` on WebSocket: the line protocol in frames, for whatever a browser runs.
//! The rules of the standard, section by section, are in `websocket_rules.rs`.

use std::net::TcpStream;

use tests::{PATIENCE, TestBroker};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

/// A client of a library that is not ours.
struct Page(WebSocket<TcpStream>);

impl Page {
    #[track_caller]
    fn open(broker: &TestBroker) -> Self {
        Self::try_open(broker, "localhost", &[]).expect("it is let in")
    }

    /// The status of the answer if it is not let in.
    fn try_open(broker: &TestBroker, host: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let stream = TcpStream::connect(broker.address()).expect("a connection");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a connected socket");
        let address = format!("ws://{host}:{}/ws", broker.address().port());
        let mut request = ClientRequestBuilder::new(address.parse().expect("an address"));
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let request = request.into_client_request().expect("a request");
        match tungstenite::client(request, stream) {
            Ok((socket, answer)) => {
                let asked = headers
                    .iter()
                    .any(|(name, _)| *name == "Sec-WebSocket-Protocol");
                let chosen = answer.headers().get("Sec-WebSocket-Protocol");
                assert_eq!(chosen.is_some(), asked);
                Ok(Self(socket))
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(err) => panic!("no answer: {err}"),
        }
    }

    #[track_caller]
    fn send(&mut self, message: impl Into<Message>) -> &mut Self {
        self.0.send(message.into()).expect("the broker takes it");
        self
    }

    #[track_caller]
    fn next(&mut self) -> Message {
        self.0.read().expect("a message")
    }

    #[track_caller]
    fn expect(&mut self, text: &str) -> &mut Self {
        assert_eq!(self.next(), Message::text(text));
        self
    }

    #[track_caller]
    fn expect_close(&mut self, code: CloseCode) {
        match self.next() {
            Message::Close(Some(frame)) => assert_eq!(frame.code, code),
            other => panic!("expected a close frame, came {other:?}"),
        }
    }
}

#[test]
fn a_message_holds_lines_whatever_kind_it_is() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    for headers in [
        &[][..],
        &[("Sec-WebSocket-Protocol", "line")],
        &[("Sec-WebSocket-Protocol", "x, line")],
    ] {
        let mut page = Page::try_open(&broker, "localhost", headers).expect("it is let in");
        page.send("SUBSCRIBE news\nPING a")
            .expect("SUBACK news\n")
            .expect("PONG a\n");
        bob.send("PUBLISH news good morning")
            .expect_prefix("PUBACK ");
        page.expect("MESSAGE news good morning\n");
        page.send(b"PUBLISH news \xff\r\n".to_vec());
        assert_eq!(page.next(), Message::binary(&b"MESSAGE news \xff\n"[..]));
        page.expect("PUBACK 1 1\n");
        page.send("what?");
        assert!(
            page.next()
                .to_text()
                .expect("text")
                .starts_with("ERROR unknown-verb line ")
        );
        page.send("BYE")
            .expect("BYE\n")
            .expect_close(CloseCode::Normal);
    }
}

#[test]
fn a_page_that_is_gone_leaves_its_will() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE bye/+").expect("SUBACK bye/+");
    let mut page = Page::open(&broker);
    page.send("WILL bye/closed x")
        .expect("WILLACK bye/closed\n");
    page.0.close(None).expect("it is open");
    assert_eq!(page.next(), Message::Close(None));
    ann.expect("MESSAGE bye/closed x");
    let mut page = Page::open(&broker);
    page.send("WILL bye/lost x").expect("WILLACK bye/lost\n");
    drop(page);
    ann.expect("MESSAGE bye/lost x");
}

#[test]
fn pings_are_answered_and_rules_are_kept() {
    let broker = TestBroker::start();
    let mut page = Page::open(&broker);
    page.send(Message::Ping(b"there?"[..].into()));
    assert_eq!(page.next(), Message::Pong(b"there?"[..].into()));
    let mut raw = broker.connect();
    raw.write(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    raw.write("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    raw.expect("HTTP/1.1 101 Switching Protocols\r");
    let head = raw.read_until("\r");
    let accepted = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r";
    assert!(head.iter().any(|line| line == accepted), "{head:?}");
    // Not masked.
    raw.write(b"\x81\x04PING");
    let end = raw.read_to_end();
    assert!(end.contains("masked"), "{end:?}");
    page.send("PING").expect("PONG\n");
}

#[test]
fn a_broker_that_stops_says_so_in_frames() {
    let broker = TestBroker::start();
    let mut page = Page::open(&broker);
    page.send("PING").expect("PONG\n");
    broker.stop();
    page.expect("BYE\n").expect_close(CloseCode::Away);
}

#[test]
fn a_slow_page_is_told_what_it_missed() {
    let broker = TestBroker::with_args(&["--outbox-bytes", "512KiB", "--max-line", "64KiB"]);
    let mut bob = broker.connect();
    let mut page = Page::open(&broker);
    page.send("SUBSCRIBE big").expect("SUBACK big\n");
    let payload = "x".repeat(60_000);
    let sent: u64 = 1000;
    for _ in 0..sent {
        bob.send(format!("PUBLISH big {payload}"))
            .expect_prefix("PUBACK ");
    }
    bob.send("PUBLISH big last").expect_prefix("PUBACK ");
    let (mut came, mut missed) = (0, 0);
    loop {
        let message = page.next();
        let line = message.to_text().expect("text").trim_end();
        if let Some(count) = line.strip_prefix("GAP ") {
            missed += count.parse::<u64>().expect("a number");
        } else if line == "MESSAGE big last" {
            break;
        } else {
            assert_eq!(line.len(), "MESSAGE big ".len() + payload.len());
            came += 1;
        }
    }
    assert!(missed > 0, "the outbox was too large for this test");
    assert_eq!(came + missed, sent);
}

#[test]
fn a_page_from_elsewhere_is_not_let_in() {
    let broker = TestBroker::with_args(&["--allow-origin", "https://app.example"]);
    let own = format!("http://localhost:{}", broker.address().port());
    for (host, headers, status) in [
        ("localhost", vec![], None),
        ("localhost", vec![("Origin", &own[..])], None),
        ("localhost", vec![("Origin", "https://app.example")], None),
        (
            "localhost",
            vec![("Origin", "http://evil.example")],
            Some(403),
        ),
        ("localhost", vec![("Origin", "http://localhost")], Some(403)),
        ("localhost", vec![("Origin", "null")], Some(403)),
        (
            "evil.example",
            vec![("Origin", "http://evil.example")],
            Some(421),
        ),
        // A program may use any name.
        ("broker.example", vec![], None),
        (
            "localhost",
            vec![("Sec-WebSocket-Protocol", "soap")],
            Some(400),
        ),
    ] {
        let refused = Page::try_open(&broker, host, &headers).err();
        assert_eq!(refused, status, "{host} {headers:?}");
    }
    broker.wait_for_log("it is refused: 403 Forbidden: pages of http://evil.example may not use");
    broker.wait_for_log("it is refused: 421 Misdirected Request: this broker is not known as evil");
}

#[test]
fn a_handshake_is_never_answered_with_the_page() {
    let broker = TestBroker::start();
    for (path, headers, status) in [
        // A proxy has removed what it does not know.
        ("/", "", "426"),
        ("/ws", "Connection: close\r\n", "426"),
        ("/", "Upgrade: websocket\r\n", "426"),
        ("/", "Upgrade: websocket\r\nConnection: Upgrade\r\n", "400"),
        (
            "/chat",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            "404",
        ),
        (
            "/topics/a",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            "404",
        ),
        (
            "/metrics",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            "404",
        ),
    ] {
        let mut client = broker.connect();
        client.write(format!(
            "GET {path} HTTP/1.1\r\nHost: any.example\r\n{headers}Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        client.expect_prefix(&format!("HTTP/1.1 {status} "));
        let answer = client.read_to_end();
        assert!(answer.contains("/ws"), "{path}: {answer}");
    }
}

#[test]
fn what_is_no_handshake_is_told_what_to_do() {
    let broker = TestBroker::start();
    let whole = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (from, to, status) in [
        ("", "", "101"),
        ("Upgrade: websocket", "X: y", "426"),
        (", Upgrade", "", "426"),
        ("Version: 13", "Version: 8", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("GET", "POST", "426"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("HTTP/1.1", "HTTP/1.2", "101"),
        // RFC 6455 §11.3.1, §11.3.5: once in a request.
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key",
            "400",
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version",
            "400",
        ),
        // §4.1: a subprotocol is compared as it is, and empty items mean nothing.
        (
            "Upgrade: w",
            "Sec-WebSocket-Protocol: Line\r\nUpgrade: w",
            "400",
        ),
        (
            "Upgrade: w",
            "Sec-WebSocket-Protocol: , line,\r\nUpgrade: w",
            "101",
        ),
    ] {
        let mut page = broker.connect();
        page.write(whole.replacen(from, to, usize::from(!from.is_empty())));
        page.expect_prefix(&format!("HTTP/1.1 {status} "));
    }
}
