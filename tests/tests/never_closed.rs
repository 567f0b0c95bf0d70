//! Promise 3 of "What always holds": no mistake, silence or slowness ends a connection.

use std::io::Write;
use std::thread;

use tests::{Random, TestBroker, TestClient};

/// Sends all of it while the answers are read; each has to begin with one of `answers`.
fn flood(broker: &TestBroker, bytes: &[u8], answers: &[&str]) -> usize {
    let mut client = broker.connect();
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).expect("the broker reads on");
            writer
                .write_all(b"\nPING the end\n")
                .expect("the broker reads on");
        });
        let came = client.read_until("PONG the end");
        for line in &came {
            let known = answers.iter().any(|start| line.starts_with(start));
            assert!(known, "came {line:?}");
        }
        client.expect_silence();
        came.len()
    })
}

#[test]
fn ten_thousand_mistakes_do_not_end_a_connection() {
    let broker = TestBroker::start();
    let mistakes = [
        "NONSENSE",
        "PUBLISH",
        "PUBLISH a+ x",
        "PUBLISH  ",
        "SUBSCRIBE",
        "SUBSCRIBE ##",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE a+",
        "@;; PUBLISH a",
        "@",
        "MESSAGE a b",
        "GAP 7",
        "HELP nonsense",
        "PUBLISH $SYS/x y",
        " ",
        "ERROR a b c",
    ];
    let lines = format!("{}\n", mistakes.join("\n")).repeat(700);
    let came = flood(&broker, lines.as_bytes(), &["ERROR ", "PUBACK "]);
    assert!(came >= 700 * mistakes.len(), "{came} answers");
}

#[test]
fn a_flood_of_garbage_does_not_end_a_connection() {
    let broker = TestBroker::with_args(&["--max-line", "65536"]);
    let mut ann = broker.connect();
    let mut random = Random::new(11);
    for _ in 0..4 {
        // The first byte decides the wire; all others are as they come.
        let mut garbage = b"g".to_vec();
        garbage.extend(random.bytes(500_000));
        flood(&broker, &garbage, &["ERROR "]);
    }
    ann.send("PING").expect("PONG");
}

#[test]
fn a_flood_of_zeros_does_not_end_a_connection() {
    let broker = TestBroker::with_args(&["--max-line", "1000"]);
    let zeros = [&b"x"[..], &vec![0; 5_000_000]].concat();
    assert_eq!(flood(&broker, &zeros, &["ERROR too-long line "]), 1);
}

#[test]
fn pieces_of_frames_in_random_order_do_not_end_a_connection() {
    let broker = TestBroker::with_args(&["--max-line", "300"]);
    let pieces: [&[u8]; 20] = [
        b"PUBLISH ",
        b"SUBSCRIBE ",
        b"PING ",
        b"PONG ",
        b"HELP ",
        b"UNSUBSCRIBE ",
        b"@",
        b"retain",
        b";",
        b"=",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"a/b",
        b"+",
        b"#",
        b"$share/g/",
        b"\\",
        b"\xff",
    ];
    let mut random = Random::new(5);
    let answers = [
        "ERROR ",
        "PUBACK ",
        "SUBACK ",
        "UNSUBACK ",
        "PONG",
        "HELP ",
        "MESSAGE ",
        "@",
    ];
    for _ in 0..4 {
        let mut soup = b"PING".to_vec();
        for _ in 0..30_000 {
            soup.extend_from_slice(pieces[random.below(pieces.len())]);
        }
        assert!(flood(&broker, &soup, &answers) > 100);
    }
}

#[test]
fn silence_does_not_end_a_connection() {
    let broker = TestBroker::with_args(&["--ping-interval", "50ms"]);
    let (mut unheard, mut silent) = (broker.connect(), broker.connect());
    silent.send("PING").expect("PONG");
    let mut mid_line = broker.connect();
    mid_line.write("PING mid");
    let (mut waits, mut listener) = (broker.connect(), broker.connect());
    listener.send("SUBSCRIBE news").expect("SUBACK news");
    // While one waits for two PINGs, the others are silent for many intervals.
    for _ in 0..2 {
        waits.send("PONG").expect_prefix("PING");
    }
    broker.wait_for_log("is stale");
    waits.send("PUBLISH news hi");
    assert_eq!(waits.read_until_prefix("PUBACK"), "PUBACK 1 1");
    listener.read_until("MESSAGE news hi");
    mid_line.write("dle\n").read_until("PONG middle");
    silent.send("PING").read_until("PONG");
    unheard.send("PING").expect("PONG");
}

#[test]
fn slowness_does_not_end_a_connection() {
    let bytes = "65536";
    let args = [
        "--max-line",
        bytes,
        "--outbox-bytes",
        bytes,
        "--ping-interval",
        "50ms",
    ];
    let broker = TestBroker::with_args(&args);
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    slow.send("SUBSCRIBE news").expect("SUBACK news");
    let mut bob = broker.connect();
    let frame = format!("PUBLISH news {}\n", "x".repeat(50_000));
    for round in 1..=20 {
        bob.write(frame.repeat(20));
        bob.read_until_prefix(&format!("PUBACK {} ", round * 20));
    }
    broker.wait_for_log("is stale");
    let came = slow.read_to_fence();
    assert!(
        came.iter().any(|line| line.starts_with("GAP ")),
        "it was not slow enough"
    );
    bob.send("PUBLISH news now");
    slow.read_until("MESSAGE news now");
}
