//! Promises of "Lines": where a frame begins and ends, however its bytes arrive.

use tests::{TestBroker, TestClient};

/// The frames are answered so in one piece, byte by byte, and with the next frame close behind.
fn check(broker: &TestBroker, frames: &[u8], answers: &[&[u8]]) {
    let mut whole = broker.connect();
    whole.write(frames);
    check_answers(&mut whole, answers);

    let mut split = broker.connect();
    for byte in frames {
        split.write([*byte]);
    }
    check_answers(&mut split, answers);

    let mut joined = broker.connect();
    joined.write([frames, b"PING next\n"].concat());
    for answer in answers {
        joined.expect(answer);
    }
    joined.expect("PONG next").expect_silence();
}

fn check_answers(client: &mut TestClient, answers: &[&[u8]]) {
    for answer in answers {
        client.expect(answer);
    }
    client.expect_silence();
}

#[test]
fn a_frame_is_the_same_however_it_arrives() {
    let broker = TestBroker::start();
    check(&broker, b"PING\n", &[b"PONG"]);
    check(&broker, b"PING a token\n", &[b"PONG a token"]);
    check(&broker, b"PUBLISH nobody/here hi\n", &[b"PUBACK 1 0"]);
    check(&broker, b"SUBSCRIBE a b/#\n", &[b"SUBACK a", b"SUBACK b/#"]);
    check(&broker, b"UNSUBSCRIBE a\n", &[b"UNSUBACK a"]);
    check(&broker, b"@a=1;b PING x\n", &[b"PONG x"]);
    check(&broker, b"PONG\n", &[]);
    check(
        &broker,
        b"PING 1\nPONG 2\nPING 3\n",
        &[b"PONG 1", b"PONG 3"],
    );
}

#[test]
fn one_cr_before_the_lf_belongs_to_the_line_end() {
    let broker = TestBroker::start();
    check(&broker, b"PING\r\n", &[b"PONG"]);
    check(&broker, b"SUBSCRIBE a b\r\n", &[b"SUBACK a", b"SUBACK b"]);
    check(&broker, b"PING a\rb\n", &[b"PONG a\rb"]);
    let mut ann = broker.connect();
    ann.write("SUBSCRIBE a\r\r\n")
        .expect_error("bad-filter", "subscribe:a\r");
}

#[test]
fn a_message_ends_with_lf_even_if_its_publish_ended_with_cr_lf() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.write("PUBLISH news hi\r\n").expect("PUBACK 1 1");
    ann.expect("MESSAGE news hi");
    bob.write("PUBLISH news one\r\nPUBLISH news two\nPUBLISH news\r\n");
    ann.expect("MESSAGE news one").expect("MESSAGE news two");
    ann.expect("MESSAGE news").expect_silence();
}

#[test]
fn a_verb_is_understood_in_any_case() {
    let broker = TestBroker::start();
    check(&broker, b"ping x\n", &[b"PONG x"]);
    check(&broker, b"Subscribe News\n", &[b"SUBACK News"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("sUBSCRIBE news").expect("SUBACK news");
    bob.send("publish news hi").expect("PUBACK 1 1");
    ann.expect("MESSAGE news hi");
    bob.send("Publish news again").expect("PUBACK 2 1");
    ann.expect("MESSAGE news again").expect_silence();
}

#[test]
fn an_empty_line_means_nothing() {
    let broker = TestBroker::start();
    check(&broker, b"\n", &[]);
    check(&broker, b"\r\n\n\r\n", &[]);
    check(&broker, b"\n\nPING\n\n\nPING\n\n", &[b"PONG", b"PONG"]);
}

#[test]
fn exactly_one_space_stands_between_two_fields() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send(" PING").expect_error("unknown-verb", "line");
    ann.send("SUBSCRIBE a  b").expect("SUBACK a");
    ann.expect_prefix("ERROR bad-filter subscribe: ");
    ann.expect("SUBACK b");
    ann.send("PUBLISH  a")
        .expect_error("bad-topic", "publish:1");
    ann.expect("PUBACK 1 0").expect_silence();
}

#[test]
fn a_thousand_frames_may_come_at_once() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let pings: Vec<String> = (0..1000).map(|n| format!("PING {n}\n")).collect();
    ann.write(pings.concat());
    for n in 0..1000 {
        ann.expect(format!("PONG {n}"));
    }
    ann.expect_silence();
}

#[test]
fn a_frame_counts_when_its_lf_has_come() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.write("PING before\nPUBLISH news hi")
        .expect("PONG before");
    ann.expect_silence();
    bob.write(" there").write("\n").expect("PUBACK 1 1");
    ann.expect("MESSAGE news hi there").expect_silence();
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_not_longer() {
    let broker = TestBroker::with_args(&["--max-line", "64"]);
    let longest = [b"PING ".as_slice(), &[b'x'; 59]].concat();
    let answer = [b"PONG ".as_slice(), &[b'x'; 59]].concat();
    check(&broker, &[&longest[..], b"\n"].concat(), &[&answer]);
    check(&broker, &[&longest[..], b"\r\n"].concat(), &[&answer]);

    let mut ann = broker.connect();
    for too_long in ["x\n", "x\r\n", "\r\r\n", &"x".repeat(100_000)] {
        ann.write([&longest[..], too_long.as_bytes()].concat());
        if !too_long.ends_with('\n') {
            ann.write("\n");
        }
        ann.expect_error("too-long", "line").expect_silence();
    }
}

#[test]
fn the_line_after_one_that_is_too_long_is_read_as_if_nothing_had_happened() {
    let broker = TestBroker::with_args(&["--max-line", "64"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let long = "PUBLISH a 0123456789 ".repeat(1000);
    // Arrives in one piece, and in pieces whose borders are everywhere.
    ann.write(format!("{long}\nPUBLISH b 1\n"));
    ann.expect_error("too-long", "publish:1");
    let mut rest = ann.read_to_fence();
    rest.retain(|line| !line.starts_with("PUBACK"));
    assert_eq!(rest, ["MESSAGE b 1"]);

    let mut bob = broker.connect();
    for piece in format!("{long}\nPING after\n").as_bytes().chunks(61) {
        bob.write(piece);
    }
    bob.expect_error("too-long", "publish:1");
    bob.expect("PUBACK 1 0")
        .expect("PONG after")
        .expect_silence();
    ann.expect_silence();
}

#[test]
fn the_broker_keeps_no_more_of_a_line_than_its_limit() {
    let broker = TestBroker::with_args(&["--max-line", "1000000"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let before = broker.resident_kib();
    let chunk = vec![b'x'; 1024 * 1024];
    ann.write("PUBLISH news ");
    for _ in 0..100 {
        ann.write(&chunk);
    }
    // The refusal comes before the line has ended; by then it is being thrown away.
    let grown = broker.resident_kib().saturating_sub(before);
    ann.write("\nPING\n").expect_error("too-long", "publish:1");
    ann.expect("PUBACK 1 0").expect("PONG");
    assert!(grown < 16 * 1024, "{grown} KiB for a line of 100 MiB");
}
