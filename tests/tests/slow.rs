//! Promises of "Slow subscribers": what is dropped is the subscriber's choice, and told in its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::{TestBroker, TestClient};

const OUTBOX_BYTES: usize = 1024 * 1024;
const PAYLOAD_BYTES: usize = 1000;

fn broker(args: &[&str]) -> TestBroker {
    let bytes = OUTBOX_BYTES.to_string();
    let mut all = vec!["--max-line", "65536", "--outbox-bytes", &bytes];
    all.extend(args);
    TestBroker::with_args(&all)
}

/// Subscribes with a choice, and is not going to read for a while.
fn slow(broker: &TestBroker, choice: &str, filter: &str) -> TestClient {
    let mut client = TestClient::connect_with_small_buffer(broker.address());
    client
        .send(format!("@slow={choice} SUBSCRIBE {filter}"))
        .expect(format!("SUBACK {filter}"));
    client
}

/// Publishes the numbers from 1 on, on these topics in turn.
fn publish(broker: &TestBroker, topics: &[&str], count: usize) {
    let mut client = broker.connect();
    let pad = "x".repeat(PAYLOAD_BYTES);
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(32) {
        let frames: String = some
            .iter()
            .map(|n| format!("PUBLISH {} {n} {pad}\n", topics[n % topics.len()]))
            .collect();
        client.write(frames);
        let last = some.last().expect("chunks are not empty");
        client.read_until_prefix(&format!("PUBACK {last} "));
    }
}

/// What came: the topic and number of each message, or a gap.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Message(String, usize),
    Gap(usize),
}

fn came(lines: Vec<String>) -> Vec<Came> {
    let parse = |line: String| {
        if let Some(count) = line.strip_prefix("GAP ") {
            return Came::Gap(count.parse().expect("a number"));
        }
        let mut words = line.split(' ').skip(1);
        let topic = words.next().expect("a topic").to_owned();
        let number = words.next().and_then(|number| number.parse().ok());
        Came::Message(topic, number.expect("a number"))
    };
    lines.into_iter().map(parse).collect()
}

fn missing(came: &[Came]) -> usize {
    let counts = came.iter().map(|each| match each {
        Came::Gap(count) => *count,
        Came::Message(..) => 0,
    });
    counts.sum()
}

/// Every message came or is counted just where it is missing.
#[track_caller]
fn assert_exact(came: &[Came], published: usize) {
    let mut last = 0;
    for each in came {
        match each {
            Came::Gap(count) => last += count,
            Came::Message(_, number) => {
                assert_eq!(*number, last + 1);
                last = *number;
            }
        }
    }
    assert_eq!(last, published);
    assert!(missing(came) > 0, "it was not slow enough");
}

#[test]
fn by_default_the_oldest_are_dropped_and_the_newest_come() {
    let broker = broker(&[]);
    let mut clients = [
        broker.connect_slow("news"),
        slow(&broker, "drop-oldest", "news"),
    ];
    publish(&broker, &["news"], 20_000);
    for client in &mut clients {
        let came = came(client.read_to_fence());
        assert_exact(&came, 20_000);
        assert_eq!(came.last(), Some(&Came::Message("news".into(), 20_000)));
    }
}

#[test]
fn a_client_that_chooses_drop_newest_gets_the_oldest() {
    let broker = broker(&[]);
    let mut client = slow(&broker, "drop-newest", "news");
    publish(&broker, &["news"], 20_000);
    let came = came(client.read_to_fence());
    assert_exact(&came, 20_000);
    let at_once = came
        .iter()
        .take_while(|each| matches!(each, Came::Message(..)));
    assert!(at_once.count() >= OUTBOX_BYTES / (PAYLOAD_BYTES + 20));
    assert!(matches!(came.last(), Some(Came::Gap(_))), "{came:?}");
}

#[test]
fn a_client_that_chooses_latest_gets_the_newest_of_each_topic() {
    let broker = broker(&[]);
    let mut client = slow(&broker, "latest", "room/+");
    let topics = ["room/a", "room/b", "room/c"];
    publish(&broker, &topics, 20_000);
    let came = came(client.read_to_fence());
    let messages = came.len()
        - came
            .iter()
            .filter(|each| matches!(each, Came::Gap(_)))
            .count();
    assert_eq!(messages + missing(&came), 20_000);
    assert!(missing(&came) > 0, "it was not slow enough");
    for (at, topic) in topics.iter().enumerate() {
        let numbers: Vec<usize> = came
            .iter()
            .filter_map(|each| match each {
                Came::Message(name, number) if name == topic => Some(*number),
                _ => None,
            })
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        let newest = (1..=20_000).rev().find(|n| n % topics.len() == at);
        assert_eq!(numbers.last().copied(), newest);
    }
}

#[test]
fn publishers_wait_for_a_client_that_chooses_block() {
    let broker = broker(&["--max-block", "60s"]);
    let mut client = slow(&broker, "block", "news");
    let mut other = slow(&broker, "drop-newest", "else");
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(&broker, &["news"], 10_000));
        // No other client notices.
        publish(&broker, &["else"], 100);
        let mut came = Vec::new();
        while came.len() < 10_000 {
            came.push(client.read_line());
        }
        publishing.join().expect("it publishes");
        let numbers = self::came(came);
        let all = (1..=10_000).map(|number| Came::Message("news".into(), number));
        assert!(numbers.into_iter().eq(all), "something is missing");
    });
    other.read_to_fence();
    client.expect_silence();
}

#[test]
fn a_client_that_reads_slowly_holds_publishers_for_a_limited_time_and_is_told_what_it_misses() {
    let broker = broker(&[]);
    let mut client = slow(&broker, "block", "news");
    let done = AtomicBool::new(false);
    let came = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut lines = Vec::new();
            // 200 KB a second: at that rate the publisher would be held for a minute and a half.
            while !done.load(Ordering::Relaxed) {
                lines.extend((0..10).map(|_| client.read_line()));
                std::thread::sleep(Duration::from_millis(50));
            }
            lines.extend(client.read_to_fence());
            lines
        });
        let began = Instant::now();
        publish(&broker, &["news"], 20_000);
        done.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
        came(reading.join().expect("it reads"))
    });
    assert_exact(&came, 20_000);
    assert!(came.iter().any(|each| matches!(each, Came::Gap(_))));
}

#[test]
fn publishers_wait_once_for_a_client_that_reads_nothing_and_no_longer_than_max_block() {
    let broker = broker(&["--max-block", "300ms"]);
    let mut client = slow(&broker, "block", "news");
    let began = Instant::now();
    publish(&broker, &["news"], 20_000);
    // Hundreds of batches find the outbox full; one wait each would be minutes.
    assert!(began.elapsed() < Duration::from_secs(60));
    let came = came(client.read_to_fence());
    assert_exact(&came, 20_000);
    let mut scraper = broker.connect();
    scraper.write("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let figures = scraper.read_to_end();
    let figure = |name: &str| -> f64 {
        let mut lines = figures.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("dallal_publish_{name} ")));
        value.and_then(|value| value.parse().ok()).expect(name)
    };
    assert!(figure("waits_total{reason=\"block\"}") >= 1.0, "{figures}");
    assert!(
        figure("wait_seconds_total{reason=\"block\"}") >= 0.3,
        "{figures}"
    );
    assert_eq!(figure("waits_total{reason=\"memory\"}"), 0.0);
    let log = broker.stop().log;
    assert!(log.contains("waited --max-block for connection"), "{log}");
}

#[test]
fn each_filter_has_its_own_choice_and_the_most_careful_holds() {
    let broker = broker(&["--max-block", "0s"]);
    let mut client = slow(&broker, "latest", "#");
    client
        .send("@slow=drop-newest SUBSCRIBE keep/#")
        .expect("SUBACK keep/#");
    publish(&broker, &["keep/a", "flood"], 20_000);
    let came = came(client.read_to_fence());
    let of = |topic: &str| -> Vec<usize> {
        let numbers = came.iter().filter_map(|each| match each {
            Came::Message(name, number) if name == topic => Some(*number),
            _ => None,
        });
        numbers.collect()
    };
    assert_eq!(of("flood").last(), Some(&19_999));
    // The oldest stay: those that came first have no hole.
    let kept = of("keep/a");
    let first = kept
        .iter()
        .zip((2..).step_by(2))
        .take_while(|(n, due)| **n == *due);
    assert!(first.count() > OUTBOX_BYTES / (PAYLOAD_BYTES + 20) / 2);
    assert_eq!(kept.len() + of("flood").len() + missing(&came), 20_000);
}

#[test]
fn a_choice_ends_with_its_subscription_and_a_new_one_takes_its_place() {
    let broker = broker(&[]);
    let mut client = slow(&broker, "drop-newest", "news");
    client.send("SUBSCRIBE news").expect("SUBACK news");
    publish(&broker, &["news"], 20_000);
    let came = came(client.read_to_fence());
    assert_exact(&came, 20_000);
    assert_eq!(came.last(), Some(&Came::Message("news".into(), 20_000)));
}

#[test]
fn an_unknown_choice_is_refused_and_tells_the_known_ones() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("@slow=never SUBSCRIBE a b");
    for filter in ["a", "b"] {
        ann.expect(format!(
            "ERROR bad-attribute subscribe:{filter} `slow` is one of drop-oldest, drop-newest, latest or block"
        ));
    }
    ann.send("@slow SUBSCRIBE a");
    ann.expect_prefix("ERROR bad-attribute subscribe:a ");
    for n in 0..16 {
        ann.send(format!("@slow=latest SUBSCRIBE {n}/#"))
            .expect(format!("SUBACK {n}/#"));
    }
    ann.send("@slow=latest SUBSCRIBE 16/# 17");
    ann.expect_prefix("ERROR too-many subscribe:16/# ");
    ann.expect("SUBACK 17");
    ann.send("SUBSCRIBE 16/#").expect("SUBACK 16/#");
}

/// A stream of HTTP with a choice that is not going to read for a while.
fn slow_stream(broker: &TestBroker, choice: &str, path: &str) -> TestClient {
    let mut client = TestClient::connect_with_small_buffer(broker.address());
    client.write(format!(
        "GET /topics/{path}&slow={choice} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ));
    client.expect("HTTP/1.1 200 OK\r");
    client.read_until("\r");
    client
}

/// Reads from a stream of JSON until this many messages have come or are told to be missing.
#[track_caller]
fn came_in_stream(client: &mut TestClient, published: usize) -> Vec<Came> {
    let (mut came, mut count) = (Vec::new(), 0);
    while count < published {
        let line = client.read_line();
        let json = line.strip_prefix("data: ").unwrap_or(&line);
        let Ok(object) = serde_json::from_str::<serde_json::Value>(json) else {
            continue;
        };
        let number = |member: &str| object[member].as_u64().map(|number| number as usize);
        if let Some(missing) = number("gap").or(number("count")) {
            count += missing;
            came.push(Came::Gap(missing));
        } else if let (Some(topic), Some(payload)) =
            (object["topic"].as_str(), object["payload"].as_str())
        {
            let number = payload
                .split(' ')
                .next()
                .and_then(|digits| digits.parse().ok());
            count += 1;
            came.push(Came::Message(topic.to_owned(), number.expect("a number")));
        }
    }
    assert_eq!(count, published);
    came
}

const FORMS: [&str; 2] = ["json", "sse"];

#[test]
fn a_stream_of_http_chooses_as_well_what_it_loses() {
    let broker = broker(&[]);
    for form in FORMS {
        for (choice, has_last) in [("drop-oldest", true), ("drop-newest", false)] {
            let path = format!("news/**?format={form}");
            let mut client = slow_stream(&broker, choice, &path);
            publish(&broker, &["news/a", "news/b"], 20_000);
            let came = came_in_stream(&mut client, 20_000);
            assert_exact(&came, 20_000);
            let is_last = matches!(came.last(), Some(Came::Message(_, 20_000)));
            assert_eq!(is_last, has_last, "{form} {choice}");
        }
    }
}

#[test]
fn a_stream_of_http_can_have_the_newest_of_each_topic() {
    let broker = broker(&[]);
    // The quotation mark is spelt otherwise in JSON.
    let topics = ["room/a", "room/\"b", "room/c"];
    for form in FORMS {
        let path = format!("room/*?format={form}");
        let mut client = slow_stream(&broker, "latest", &path);
        publish(&broker, &topics, 20_000);
        let came = came_in_stream(&mut client, 20_000);
        assert!(missing(&came) > 0, "it was not slow enough");
        for (at, topic) in topics.iter().enumerate() {
            let last = came.iter().rev().find_map(|each| match each {
                Came::Message(name, number) if name == topic => Some(*number),
                _ => None,
            });
            assert_eq!(last, (1..=20_000).rev().find(|n| n % topics.len() == at));
        }
    }
    // Of payloads that were replaced there is no report: the client asks for the newest alone.
    let mut client = slow_stream(&broker, "latest", "one?format=raw");
    publish(&broker, &["one"], 20_000);
    client.read_until_prefix("20000 ");
    let mut refused = broker.connect();
    refused.write("GET /topics/**?format=raw&slow=latest HTTP/1.1\r\nHost: localhost\r\n\r\n");
    refused.expect("HTTP/1.1 400 Bad Request\r");
    let mut refused = broker.connect();
    refused.write("GET /topics/a?slow=never HTTP/1.1\r\nHost: localhost\r\n\r\n");
    refused.expect("HTTP/1.1 400 Bad Request\r");
    let why = refused.read_to_end();
    assert!(why.contains("one of drop-oldest, drop-newest"), "{why}");
}

#[test]
fn a_stream_of_payloads_ends_in_error_where_messages_are_missing() {
    let broker = broker(&[]);
    for choice in ["drop-oldest", "drop-newest"] {
        let mut client = slow_stream(&broker, choice, "news?format=raw");
        publish(&broker, &["news"], 20_000);
        // Chunks of one payload each, in order from the first, and then what is no chunk.
        let mut last = 0;
        let gap = loop {
            let size = client.read_line();
            let size = size.trim_end_matches('\r');
            if u32::from_str_radix(size, 16).is_err() {
                break size.to_owned();
            }
            let payload = client.read_line();
            let number = payload
                .split(' ')
                .next()
                .and_then(|digits| digits.parse().ok());
            assert_eq!(number, Some(last + 1), "{payload}");
            client.expect("\r");
            last += 1;
        };
        let count = gap.strip_prefix("messages missing here: ");
        let count: Option<usize> = count.and_then(|digits| digits.parse().ok());
        assert!(
            count.is_some_and(|count| count > 0 && last + count <= 20_000),
            "{gap}"
        );
    }
}

#[test]
fn publishers_wait_for_a_stream_of_http_that_chooses_block() {
    let broker = broker(&["--max-block", "60s"]);
    for form in FORMS {
        let mut client = slow_stream(&broker, "block", &format!("news?format={form}"));
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| publish(&broker, &["news"], 10_000));
            let came = came_in_stream(&mut client, 10_000);
            publishing.join().expect("it publishes");
            let all = (1..=10_000).map(|number| Came::Message("news".into(), number));
            assert!(came.into_iter().eq(all), "something is missing");
        });
    }
}
