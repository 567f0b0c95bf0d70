//! Promises of "Payloads": any bytes arrive as they were meant.

use protocol::Reply;
use tests::{Random, TestBroker, TestClient};

/// What a sender writes for these bytes.
fn escaped(payload: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for &byte in payload {
        match byte {
            b'\n' => line.extend(br"\n"),
            b'\r' => line.extend(br"\r"),
            b'\\' => line.extend(br"\\"),
            _ => line.push(byte),
        }
    }
    line
}

/// A subscriber and a publisher.
struct Pair(TestClient, TestClient);

impl Pair {
    fn new(broker: &TestBroker) -> Self {
        let (mut ann, bob) = (broker.connect(), broker.connect());
        ann.send("SUBSCRIBE b").expect("SUBACK b");
        Self(ann, bob)
    }

    /// These bytes of a line arrive as the same bytes of a line.
    #[track_caller]
    fn travels(&mut self, line: &[u8]) {
        let Self(ann, bob) = self;
        bob.send([b"PUBLISH b ", line].concat())
            .expect_prefix("PUBACK ");
        ann.expect([b"MESSAGE b ", line].concat());
    }

    /// These bytes of a line arrive with this meaning, in whatever spelling.
    #[track_caller]
    fn means(&mut self, line: &[u8], payload: &[u8]) {
        let Self(ann, bob) = self;
        bob.send([b"PUBLISH b", line].concat())
            .expect_prefix("PUBACK ");
        let mut came = ann.next_line().expect("a message");
        if came.ends_with(b"\r") {
            came.pop();
        }
        match Reply::decode(&came) {
            Ok(Reply::Message { payload: came, .. }) => assert_eq!(came.unescape(), payload),
            other => panic!("expected a message, came {other:?}"),
        }
    }
}

#[test]
fn a_payload_may_be_any_bytes() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    let all: Vec<u8> = (0..=255).collect();
    pair.travels(&escaped(&all));
    pair.means(&[b" ", &escaped(&all)[..]].concat(), &all);
    for byte in all {
        pair.travels(&escaped(&[byte]));
        pair.travels(&escaped(&[b'x', byte, byte, b'y', byte]));
    }
}

#[test]
fn a_payload_may_be_any_two_bytes_after_another() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    let pairs: Vec<u8> = (0..=65_535_u16).flat_map(u16::to_be_bytes).collect();
    pair.travels(&escaped(&pairs));
}

#[test]
fn random_payloads_arrive_as_they_were_sent() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    let mut random = Random::new(3);
    for _ in 0..300 {
        let len = random.below(5000) + 1;
        pair.travels(&escaped(&random.bytes(len)));
    }
}

#[test]
fn spaces_of_a_payload_are_kept() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    for payload in [" ", "  ", " a", "a ", "  a  b  "] {
        pair.travels(payload.as_bytes());
    }
}

#[test]
fn a_payload_may_be_empty() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    pair.means(b"", b"");
    pair.means(b" ", b"");
}

#[test]
fn a_backslash_before_anything_else_is_a_backslash() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    pair.means(br" \x\", br"\x\");
    pair.means(br" C:\temp\\new", b"C:\\temp\\new");
    for line in [r"\", r"\x", r"\\", r"\\\", r"a\", r"\s\:"] {
        pair.travels(line.as_bytes());
    }
}

#[test]
fn a_bare_cr_means_itself() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    pair.means(b" a\rb", b"a\rb");
    pair.means(b" a\r\r", b"a\r");
    pair.means(b" \r\rb\r\r\r", b"\r\rb\r\r");
}

#[test]
fn what_looks_like_a_frame_inside_a_payload_is_payload() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    for payload in [
        r"x\nPUBLISH b y",
        "PUBLISH b y",
        "@retain PUBLISH b y",
        r"\r\nBYE",
    ] {
        pair.travels(payload.as_bytes());
    }
    let Pair(mut ann, mut bob) = pair;
    ann.expect_silence();
    bob.expect_silence();
}
