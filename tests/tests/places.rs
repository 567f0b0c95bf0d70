//! Promises about the places of connections: who says nothing keeps none that another needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tests::{TestBroker, eventually};

#[test]
fn clients_that_say_nothing_lose_their_places_where_these_are_scarce() {
    let broker = TestBroker::with_args(&["--max-connections", "40", "--ping-interval", "1s"]);
    let dial = || TcpStream::connect(broker.address()).expect("it listens");
    let began = Instant::now();
    let mut spoken = broker.connect();
    spoken.send("SUBSCRIBE news").expect("SUBACK news");
    // A long first line that takes its time, and one that takes too long.
    let (mut steady, mut slow) = (dial(), dial());
    let _silent: Vec<_> = (0..37).map(|_| dial()).collect();
    eventually("the broker is full", || broker.connections().is_none());
    steady.write_all(b"PUBLISH news ").expect("it is open");
    slow.write_all(b"PUBLISH news ").expect("it is open");
    while broker.connections().is_none() && began.elapsed() < Duration::from_secs(20) {
        steady.write_all(&[b'x'; 8192]).expect("it is open");
        let _ = slow.write_all(b"x");
        thread::sleep(Duration::from_millis(250));
    }
    assert!(
        began.elapsed() >= Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    // Those that came first are gone; below three quarters of all places the others may stay.
    eventually("places are plenty again", || {
        broker.connections().is_some_and(|open| open < 30)
    });
    let mut end = [0; 10];
    assert!(matches!(slow.read(&mut end), Ok(0) | Err(_)));
    steady.write_all(b"\n").expect("it is open");
    spoken.read_until_prefix("MESSAGE news xxx");
}

#[test]
fn where_places_are_plenty_silence_is_no_fault() {
    let broker = TestBroker::with_args(&["--max-connections", "8", "--ping-interval", "1s"]);
    // With the connection that asks for their number there are five, and from six on places are scarce.
    let _silent: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(broker.address()).expect("it listens"))
        .collect();
    thread::sleep(Duration::from_secs(12));
    assert_eq!(broker.connections(), Some(4));
}

#[test]
fn a_line_without_a_verb_is_refused_at_64_kib_and_a_publish_is_not() {
    let broker = TestBroker::start();
    let mut ann = broker.subscribe("news");
    let mut bob = broker.connect();
    // No request of HTTP begins so.
    bob.write(format!("@{}", "x".repeat(70_000)));
    bob.expect_error("too-long", "line");
    bob.write("x".repeat(70_000))
        .write("\nPING\n")
        .expect("PONG");
    let text = "x".repeat(200_000);
    bob.write(format!("@k={} PUBLISH news {text}\n", "v".repeat(200)));
    bob.expect("PUBACK 1 1");
    ann.read_until_prefix("@k=vvv");
    let mut eve = broker.connect();
    eve.write(format!("PUBLISH news {text}\n"))
        .expect("PUBACK 1 1");
}

#[test]
fn subscriptions_count_to_the_memory_of_all() {
    let limits = [
        "--memory",
        "1MiB",
        "--max-line",
        "100KiB",
        "--outbox-bytes",
        "100KiB",
    ];
    let broker = TestBroker::with_args(&limits);
    let mut greedy = broker.connect();
    let mut served = 0;
    loop {
        let answer = greedy.send(format!("SUBSCRIBE topic/{served}")).read_line();
        if !answer.starts_with("SUBACK ") {
            assert!(
                answer.starts_with("ERROR too-many subscribe:topic/"),
                "{answer}"
            );
            break;
        }
        served += 1;
    }
    assert!((1500..2500).contains(&served), "{served} subscriptions");
    greedy
        .send("UNSUBSCRIBE topic/0")
        .expect("UNSUBACK topic/0");
    greedy.send("SUBSCRIBE topic/0").expect("SUBACK topic/0");
    drop(greedy);
    eventually("their memory is free again", || {
        let mut other = broker.connect();
        let answer = other.send("SUBSCRIBE topic/1").read_line();
        answer == "SUBACK topic/1"
    });
}
