//! Promise 1 and 2 of "What always holds": order of messages, and of answers.

use std::collections::BTreeMap;
use std::thread;

use tests::{TestBroker, TestClient};

const PUBLISHERS: usize = 4;
const TOPICS: usize = 3;

/// Publishes `count` numbered messages, over the topics in turn, in writes of many frames.
fn publish(client: &mut TestClient, publisher: usize, first: usize, count: usize, pad: &str) {
    let frames: Vec<String> = (first..first + count)
        .map(|n| format!("PUBLISH order/{} {publisher} {n} {pad}\n", n % TOPICS))
        .collect();
    for some in frames.chunks(64) {
        client.write(some.concat());
    }
    client.read_until_prefix(&format!("PUBACK {} ", first + count));
}

/// The messages and the missing ones in these lines. Fails if a publisher's messages on a topic
/// do not rise.
fn count(lines: &[String], last: &mut BTreeMap<(String, String), usize>) -> (usize, usize) {
    let (mut came, mut missing) = (0, 0);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["MESSAGE", topic, publisher, n, ..] => {
                let n: usize = n.parse().expect("a number");
                let key = (topic.to_owned(), publisher.to_owned());
                if let Some(before) = last.insert(key, n) {
                    assert!(
                        before < n,
                        "{topic}: {n} after {before} of publisher {publisher}"
                    );
                }
                came += 1;
            }
            ["GAP", n] => missing += n.parse::<usize>().expect("a number"),
            _ => panic!("expected messages, came {line:?}"),
        }
    }
    (came, missing)
}

#[test]
fn messages_of_one_publisher_on_one_topic_keep_their_order() {
    const EACH: usize = 5000;
    let broker = TestBroker::start();
    let mut subscribers: Vec<_> = (0..3).map(|_| broker.connect()).collect();
    for (subscriber, filters) in subscribers
        .iter_mut()
        .zip(["order/#", "order/+", "order/0 #"])
    {
        subscriber
            .send(format!("SUBSCRIBE {filters}"))
            .read_to_fence();
    }
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let mut client = broker.connect();
            scope.spawn(move || publish(&mut client, publisher, 0, EACH, ""));
        }
        for subscriber in &mut subscribers {
            scope.spawn(move || {
                let lines: Vec<String> = (0..PUBLISHERS * EACH)
                    .map(|_| subscriber.read_line())
                    .collect();
                let counted = count(&lines, &mut BTreeMap::new());
                assert_eq!(counted, (PUBLISHERS * EACH, 0));
                subscriber.expect_silence();
            });
        }
    });
}

#[test]
fn publishes_of_all_kinds_keep_their_order() {
    let broker = TestBroker::start();
    let filters = ["news", "#", "news other", "$share/g/news"];
    let mut subscribers = filters.map(|filter| {
        let mut subscriber = broker.connect();
        subscriber
            .send(format!("SUBSCRIBE {filter}"))
            .read_to_fence();
        subscriber
    });
    let mut bob = broker.connect();
    let (mut frames, mut expected) = (String::new(), Vec::new());
    for n in 0..700 {
        let (before, after) = match n % 7 {
            0 | 1 => ("", "\n"),
            2 => ("@retain ", "\n"),
            3 => ("@retained;a=1 ", "\n"),
            4 => ("@a=1 ", "\r\n"),
            5 => ("", "\r\n"),
            // Ends with a CR of its own, so it cannot be passed on as it stands.
            _ => ("", "\r\r\n"),
        };
        let topic = if n % 11 == 0 { "other" } else { "news" };
        frames.push_str(&format!("{before}PUBLISH {topic} {n}{after}"));
        if topic == "news" {
            expected.push(n);
        }
    }
    bob.write(frames).read_until_prefix("PUBACK 700 ");
    for subscriber in &mut subscribers {
        let came: Vec<usize> = subscriber
            .read_to_fence()
            .iter()
            .filter_map(|line| line.split_once("MESSAGE news "))
            .map(|(_, n)| n.trim_end_matches("\\r").parse().expect("a number"))
            .collect();
        assert_eq!(came, expected);
    }
}

#[test]
fn a_gap_takes_messages_out_and_changes_no_order() {
    const EACH: usize = 2000;
    let broker = TestBroker::with_args(&["--max-line", "65536", "--outbox-bytes", "65536"]);
    let mut subscriber = TestClient::connect_with_small_buffer(broker.address());
    subscriber
        .send("SUBSCRIBE order/#")
        .expect("SUBACK order/#");
    let mut publishers: Vec<_> = (0..PUBLISHERS).map(|_| broker.connect()).collect();
    let pad = "x".repeat(1000);
    let mut last = BTreeMap::new();
    for round in 0..3 {
        thread::scope(|scope| {
            for (publisher, client) in publishers.iter_mut().enumerate() {
                let pad = &pad;
                scope.spawn(move || publish(client, publisher, round * EACH, EACH, pad));
            }
        });
        let (came, missing) = count(&subscriber.read_to_fence(), &mut last);
        assert_eq!(came + missing, PUBLISHERS * EACH);
        assert!(
            missing > 0,
            "the subscriber was not slow enough to test anything"
        );
    }
}

#[test]
fn answers_come_in_the_order_of_their_requests() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let mut noise = broker.connect();
    ann.send("SUBSCRIBE noise").expect("SUBACK noise");
    let requests: Vec<String> = (0..1000)
        .map(|n| match n % 5 {
            0 => format!("SUBSCRIBE s/{n} t/{n}\n"),
            1 => format!("PING {n}\n"),
            2 => format!("UNSUBSCRIBE s/{n}\n"),
            3 => format!("SUBSCRIBE +{n}\n"),
            _ => format!("NONSENSE {n}\n"),
        })
        .collect();
    let mut answers = (0..1000).flat_map(|n| match n % 5 {
        0 => vec![format!("SUBACK s/{n}"), format!("SUBACK t/{n}")],
        1 => vec![format!("PONG {n}")],
        2 => vec![format!("UNSUBACK s/{n}")],
        3 => vec![format!("ERROR bad-filter subscribe:+{n} ")],
        _ => vec!["ERROR unknown-verb line ".to_owned()],
    });
    thread::scope(|scope| {
        scope.spawn(move || {
            noise.write("PUBLISH noise x\n".repeat(5000));
            noise.read_until_prefix("PUBACK 5000 ");
        });
        for some in requests.chunks(10) {
            ann.write(some.concat());
        }
        let mut messages = 0;
        while messages < 5000 {
            let line = ann.read_line();
            if line == "MESSAGE noise x" {
                messages += 1;
            } else {
                let answer = answers.next().expect("one answer for each request");
                assert!(
                    line.starts_with(&answer),
                    "expected {answer:?}, came {line:?}"
                );
            }
        }
        for answer in answers {
            ann.expect_prefix(&answer);
        }
        ann.expect_silence();
    });
}
