//! The rules of WebSocket, byte by byte: what RFC 6455 says, by its sections.
//!
//! §4.2 the handshake: `a_handshake_is_as_the_standard_says`, and in `websocket.rs`
//! `what_is_no_handshake_is_told_what_to_do`. §5.1 masks, §5.2 bits, opcodes and lengths, §5.4
//! fragments, §5.5 control frames: the tests from `every_length...` to `pings_without_end...`. §6
//! sending and receiving: `every_length...`, `a_frame_may_come_a_byte_at_a_time`. §7 closing and its
//! codes: `a_close_is_answered...`, `a_code_that_may_not_be_sent...`. §8.1 UTF-8: `text_is_utf_8...`.
//! §10.4 limits: `claims_of_length_take_no_memory`.

use std::io::Write;
use std::thread;

use tests::frames::{FrameClient, head, masked};
use tests::{PATIENCE, TestBroker};

fn open(broker: &TestBroker) -> FrameClient {
    FrameClient::open(broker.address(), "/ws", Some("line"))
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The first of several frames of a text, and one between.
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const GOES_ON_TO_END: u8 = 0x80;

/// These bytes are answered by a close with this code, and nothing after them counts.
#[track_caller]
fn check_closed(broker: &TestBroker, bytes: &[u8], code: u16) {
    let mut client = open(broker);
    client.send(bytes).send_frame(TEXT, b"PUBLISH after x");
    let why = client.expect_close(code);
    assert!(!why.is_empty() && why.len() <= 123, "{why:?}");
}

/// Hears what is published after a rule was broken: nothing.
fn after(broker: &TestBroker) -> tests::TestClient {
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE after").expect("SUBACK after");
    ann
}

#[test]
fn a_handshake_is_as_the_standard_says() {
    let broker = TestBroker::start();
    // Extensions are offered, and none is taken [§4.2.2, 9.1].
    let offers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n\
                  Sec-WebSocket-Protocol: superchat\r\nSec-WebSocket-Protocol: line\r\n";
    let (mut client, answer) = FrameClient::handshake(broker.address(), "/ws", offers);
    let answer = answer.to_ascii_lowercase();
    for line in [
        "http/1.1 101 switching protocols",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: line",
    ] {
        assert!(answer.lines().any(|each| each == line), "{answer}");
    }
    assert!(!answer.contains("extensions"), "{answer}");
    client.send_frame(TEXT, b"PING").expect(TEXT, "PONG\n");
    // What is compressed all the same breaks a rule.
    client.send_frame(0xc1, b"PING").expect_close(1002);
}

#[test]
fn every_length_is_written_and_read_in_its_own_way() {
    let broker = TestBroker::start();
    let mut client = open(&broker);
    client
        .send_frame(TEXT, b"SUBSCRIBE a")
        .expect(TEXT, "SUBACK a\n");
    // `PUBLISH a ` and what comes back as `MESSAGE a `, with its line end, have as many bytes.
    for len in [
        0, 114, 115, 116, 117, 65_524, 65_525, 65_526, 65_527, 1_000_000,
    ] {
        let payload = "x".repeat(len);
        client.send_frame(TEXT, format!("PUBLISH a {payload}\n").as_bytes());
        let line = match len {
            0 => "MESSAGE a \n".to_owned(),
            _ => format!("MESSAGE a {payload}\n"),
        };
        client.expect(TEXT, line);
        assert_eq!(client.next_frame().0, TEXT, "a receipt");
    }
    // 64 bits of length are 63.
    let mut client = open(&broker);
    client.send(&head(TEXT, 1 << 63)).expect_close(1002);
}

#[test]
fn frames_without_a_mask_or_with_unknown_bits_end_it() {
    let broker = TestBroker::start();
    let mut ann = after(&broker);
    check_closed(&broker, b"\x81\x04PING", 1002);
    check_closed(&broker, b"\x89\x00", 1002);
    // Each reserved bit, and each opcode that is none.
    let opcodes = (0x03..=0x07).chain(0x0b..=0x0f).map(|opcode| 0x80 | opcode);
    for first in [0xc1, 0xa1, 0x91, 0xf1, 0xc9].into_iter().chain(opcodes) {
        check_closed(&broker, &masked(first, b"PING"), 1002);
    }
    ann.expect_silence();
}

#[test]
fn a_message_may_come_in_fragments_with_control_frames_between() {
    let broker = TestBroker::start();
    let mut client = open(&broker);
    client
        .send_frame(TEXT_BEGINS, b"")
        .send_frame(PING, b"1")
        .send_frame(GOES_ON, b"PI")
        .send_frame(PONG, b"of no use")
        .send_frame(GOES_ON, b"")
        .send_frame(PING, b"2")
        .send_frame(GOES_ON, b"NG a\nPING")
        .send_frame(GOES_ON_TO_END, b" b")
        .expect(PONG, "1")
        .expect(PONG, "2");
    let mut said = String::new();
    while said.len() < "PONG a\nPONG b\n".len() {
        said.push_str(&String::from_utf8_lossy(&client.next_frame().1));
    }
    assert_eq!(said, "PONG a\nPONG b\n");
    // A close may come in the middle of a message.
    client
        .send_frame(TEXT_BEGINS, b"PING")
        .send_frame(CLOSE, b"\x03\xe8")
        .expect_close(1000);
    let mut ann = after(&broker);
    for frames in [
        // What goes on where nothing has begun.
        masked(GOES_ON, b"x"),
        masked(GOES_ON_TO_END, b"x"),
        [masked(TEXT, b"PING"), masked(GOES_ON_TO_END, b"x")].concat(),
        // What begins where something has.
        [masked(TEXT_BEGINS, b"x"), masked(TEXT, b"PING")].concat(),
        [masked(0x02, b"x"), masked(TEXT_BEGINS, b"x")].concat(),
        [masked(0x02, b"x"), masked(BINARY, b"PING")].concat(),
    ] {
        let mut client = open(&broker);
        client.send(&frames).send_frame(TEXT, b"PUBLISH after x");
        let mut frame = client.next_frame();
        if frame.0 == TEXT {
            assert_eq!(frame.1, b"PONG\n");
            frame = client.next_frame();
        }
        assert_eq!(
            (frame.0, &frame.1[..2]),
            (CLOSE, &1002_u16.to_be_bytes()[..])
        );
    }
    ann.expect_silence();
}

#[test]
fn control_frames_are_short_and_whole() {
    let broker = TestBroker::start();
    let mut client = open(&broker);
    for len in [0, 1, 124, 125] {
        let payload = vec![b'\xff'; len];
        client.send_frame(PING, &payload).expect(PONG, &payload);
    }
    let mut ann = after(&broker);
    for kind in [CLOSE, PING, PONG] {
        check_closed(&broker, &masked(kind, &[b'x'; 126]), 1002);
        check_closed(&broker, &masked(kind & 0x0f, b"\x03\xe8"), 1002);
        // It is known from its head.
        let mut client = open(&broker);
        client.send(&head(kind, 70_000)).expect_close(1002);
    }
    ann.expect_silence();
}

#[test]
fn a_close_is_answered_with_its_code_and_nothing_counts_after_it() {
    let broker = TestBroker::start();
    let mut ann = after(&broker);
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    let long = "é".repeat(61);
    for code in codes {
        for reason in ["", "done", &long] {
            let payload = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
            let mut client = open(&broker);
            client
                .send_frame(CLOSE, &payload)
                .send_frame(TEXT, b"PUBLISH after x")
                .send_frame(PING, b"")
                .expect_close(code);
        }
    }
    let mut client = open(&broker);
    client.send_frame(CLOSE, b"").expect(CLOSE, "").expect_end();
    ann.expect_silence();
}

#[test]
fn a_code_that_may_not_be_sent_is_a_broken_rule() {
    let broker = TestBroker::start();
    let mut ann = after(&broker);
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        check_closed(&broker, &masked(CLOSE, &u16::to_be_bytes(code)), 1002);
    }
    check_closed(&broker, &masked(CLOSE, b"\x03"), 1002);
    check_closed(&broker, &masked(CLOSE, b"\x03\xe8\xce\xba\xff"), 1007);
    ann.expect_silence();
}

#[test]
fn text_is_utf_8_wherever_it_is_cut() {
    let broker = TestBroker::start();
    let mut client = open(&broker);
    let text = "κόσμε \u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}\u{0}\u{7f}";
    let line = format!("PING {text}\n");
    for at in 1..line.len() {
        let (first, rest) = line.as_bytes().split_at(at);
        client
            .send_frame(TEXT_BEGINS, first)
            .send_frame(PING, b"")
            .send_frame(GOES_ON_TO_END, rest)
            .expect(PONG, "")
            .expect(TEXT, format!("PONG {text}\n"));
    }
    let by_bytes = line.bytes().map(|byte| masked(GOES_ON, &[byte]));
    let by_bytes = by_bytes.collect::<Vec<_>>().concat();
    client
        .send_frame(TEXT_BEGINS, b"")
        .send(&by_bytes)
        .send_frame(GOES_ON_TO_END, b"")
        .expect(TEXT, format!("PONG {text}\n"));
    let mut ann = after(&broker);
    for wrong in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited"[..],
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf5",
        b"\xfe",
        b"\xff",
        // It ends too early.
        b"\xce",
        b"\xf0\x9f\x98",
    ] {
        check_closed(&broker, &masked(TEXT, wrong), 1007);
        let (first, last) = wrong.split_at(wrong.len() - 1);
        let cut = [masked(TEXT_BEGINS, first), masked(GOES_ON_TO_END, last)].concat();
        check_closed(&broker, &cut, 1007);
        // The same bytes are no mistake in a binary message.
        let mut client = open(&broker);
        let line = [&b"PING "[..], wrong].concat();
        let answer = [&b"PONG "[..], wrong, b"\n"].concat();
        client.send_frame(BINARY, &line).expect(BINARY, answer);
    }
    // It is known before the message, or even its frame, has ended.
    let mut client = open(&broker);
    client
        .send(&masked(TEXT_BEGINS, b"\xf4\x90"))
        .expect_close(1007);
    let mut client = open(&broker);
    let mut begun = masked(TEXT, &[&b"PING \xff"[..], &[b'x'; 100]].concat());
    begun.truncate(20);
    client.send(&begun).expect_close(1007);
    ann.expect_silence();
}

#[test]
fn a_frame_may_come_a_byte_at_a_time() {
    let broker = TestBroker::start();
    let mut client = open(&broker);
    let long = format!("PING {}", "x".repeat(200));
    let frames = [
        masked(TEXT, b"PING 1"),
        masked(PING, b"there?"),
        masked(TEXT_BEGINS, b"PI"),
        masked(GOES_ON_TO_END, b"NG 2"),
        masked(BINARY, long.as_bytes()),
        masked(CLOSE, b"\x03\xe8bye"),
    ]
    .concat();
    let mut writer = client.writer();
    let sender = thread::spawn(move || {
        for byte in frames {
            writer.write_all(&[byte]).expect("the broker reads");
        }
    });
    // Answers to lines come together when they can, and a pong goes before them.
    let (mut said, mut last) = (String::new(), client.next_frame());
    while last.0 != CLOSE {
        match last.0 {
            TEXT => said.push_str(&String::from_utf8_lossy(&last.1)),
            first => assert_eq!((first, &last.1[..]), (PONG, &b"there?"[..])),
        }
        last = client.next_frame();
    }
    let answers = long.replacen("PING", "PONG", 1);
    assert_eq!(said, format!("PONG 1\nPONG 2\n{answers}\n"));
    assert_eq!(last.1, b"\x03\xe8");
    sender.join().expect("no panic");
}

#[test]
fn pings_without_end_are_answered_in_order_and_take_no_memory() {
    const PINGS: u32 = 200_000;
    let broker = TestBroker::start();
    let mut client = open(&broker);
    let before = broker.resident_kib();
    let mut writer = client.writer();
    writer
        .set_write_timeout(Some(PATIENCE))
        .expect("an open socket");
    let sender = thread::spawn(move || {
        for number in 0..PINGS {
            let mut payload = [b'x'; 125];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            writer
                .write_all(&masked(PING, &payload))
                .expect("the broker reads on");
        }
    });
    // Nothing is read for a while, in which others are served.
    let mut ann = broker.connect();
    for _ in 0..1000 {
        ann.send("PING").expect("PONG");
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
    for number in 0..PINGS {
        let (first, payload) = client.next_frame();
        assert_eq!((first, &payload[..4]), (PONG, &number.to_be_bytes()[..]));
    }
    sender.join().expect("all were taken");
    client.send_frame(TEXT, b"PING").expect(TEXT, "PONG\n");
}

#[test]
fn claims_of_length_take_no_memory() {
    let broker = TestBroker::with_args(&["--max-line", "1MiB"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let before = broker.resident_kib();
    let claims = [1 << 20, 1 << 32, (1 << 63) - 1];
    let mut clients: Vec<_> = (0..300)
        .map(|n| {
            let mut client = open(&broker);
            client.send(&head(TEXT, claims[n % 3])).send(b"some");
            client
        })
        .collect();
    ann.send("PING").expect("PONG");
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 300 * 100, "{grown} KiB more for 300 connections");
    // A line that is too long is skipped, and the message goes on.
    let client = &mut clients[1];
    let mut writer = client.writer();
    thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            writer.write_all(&chunk).expect("the broker reads on");
        }
    });
    let (_, error) = client.next_frame();
    assert!(error.starts_with(b"ERROR too-long line "), "{error:?}");
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 300 * 100 + 8 * 1024, "{grown} KiB more");
    ann.send("PING").expect("PONG");
}
