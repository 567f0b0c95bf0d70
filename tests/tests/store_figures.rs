//! Promises of `docs/storage.md` about what a store tells of itself.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::{Asker, SmallDisk, TestBroker, eventually, folder};

fn broker(data: &Path, more: &[&str]) -> TestBroker {
    TestBroker::with_store(data, &[&["--sys-interval", "20ms"], more].concat())
}

/// The status and the body of a page.
fn page(broker: &TestBroker, path: &str) -> (u16, String) {
    let mut client = broker.connect();
    client.write(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
    let answer = client.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// A figure of `/metrics`; none if there is none.
fn figure(broker: &TestBroker, name: &str) -> Option<f64> {
    let (_, text) = page(broker, "/metrics");
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next().map(|value| value.parse().expect("a number"))
}

fn asked(broker: &TestBroker) -> Value {
    Asker::of(broker).ask("broker")["store"].take()
}

/// Waits until a topic of the broker has a value.
fn wait_for_topic(broker: &TestBroker, topic: &str, value: &str) {
    let topic = format!("$SYS/broker/store/{topic}");
    let line = format!("MESSAGE {topic} {value}");
    let mut client = broker.connect();
    client.send(format!("SUBSCRIBE {topic}"));
    client.expect(format!("SUBACK {topic}"));
    while !client.read_line().ends_with(&line) {}
}

#[test]
fn a_broker_without_a_store_has_no_figures_of_one() {
    let broker = TestBroker::start();
    assert_eq!(figure(&broker, "dallal_store_full"), None);
    assert!(asked(&broker).is_null());
    let (status, text) = page(&broker, "/readyz?verbose");
    assert!(status == 200 && !text.contains("store"), "{text}");
}

#[test]
fn figures_tell_what_is_in_the_store_and_how_fast_its_disk_is() {
    let folder = folder();
    let broker = broker(folder.path(), &["--keep", "a/#=10", "--keep-topics", "2"]);
    let before = asked(&broker);
    assert_eq!(before["state"], "ok");
    assert_eq!(
        (&before["segments"], &before["bytes"]),
        (&1.into(), &(64 << 20).into())
    );
    let position = |number: u64| {
        let text = before["next"].as_str().expect("a position");
        Value::from(text.replace(":1", &format!(":{number}")))
    };
    assert_eq!(before["oldest"], position(1));
    assert!(
        before["syncs"]["p50_s"].is_null() && before["syncs"]["count"] == 0,
        "{before}"
    );
    let mut client = broker.connect();
    client.send("PUBLISH a/1 x").send("PUBLISH a/2 y");
    client
        .send("@ack=disk;retain PUBLISH b z")
        .send("PING done");
    client.read_until("PONG done");
    let after = asked(&broker);
    assert_eq!(
        (&after["oldest"], &after["next"]),
        (&position(1), &position(4))
    );
    assert_eq!(after["topics"], 2);
    assert!(after["syncs"]["count"].as_u64() > Some(0), "{after}");
    assert!(
        after["syncs"]["p99_s"].as_f64() >= after["syncs"]["p50_s"].as_f64(),
        "{after}"
    );
    let followers =
        |live, behind, lag| serde_json::json!({"live": live, "behind": behind, "lag": lag});
    assert_eq!(after["followers"], followers(0, 0, 0));
    let mut follower = broker.connect();
    follower
        .send("@since=now SUBSCRIBE a/#")
        .expect("SUBACK a/#");
    follower.expect_prefix("CURRENT a/# ");
    assert_eq!(asked(&broker)["followers"], followers(1, 0, 0));
    client
        .send("PUBLISH a/3 x")
        .expect_prefix("ERROR too-many publish:4");
    assert_eq!(asked(&broker)["refused"]["topics"], 1);
    for (name, value) in [
        ("store_full", 0.0),
        ("store_failing", 0.0),
        ("store_bytes", f64::from(64 << 20)),
        ("store_segments", 1.0),
        ("store_oldest_number", 1.0),
        ("store_next_number", 4.0),
        ("store_topics", 2.0),
        ("store_followers{state=\"live\"}", 1.0),
        ("store_followers{state=\"behind\"}", 0.0),
        ("store_followers_lag", 0.0),
        ("store_receipts_waiting", 0.0),
        ("store_damaged_places", 0.0),
        ("store_refused_total{reason=\"topics\"}", 1.0),
        ("store_refused_total{reason=\"full\"}", 0.0),
    ] {
        assert_eq!(
            figure(&broker, &format!("dallal_{name}")),
            Some(value),
            "{name}"
        );
    }
    assert!(figure(&broker, "dallal_store_sync_seconds_count") > Some(0.0));
    assert!(figure(&broker, "dallal_store_appended_bytes_total") > Some(100.0));
    wait_for_topic(&broker, "state", "ok");
    wait_for_topic(&broker, "refused", "1");
    wait_for_topic(&broker, "followers/live", "1");
    assert_eq!(
        page(&broker, "/readyz?verbose").1.lines().nth(2),
        Some("store: ok")
    );
}

#[test]
fn what_a_start_has_found_damaged_is_told_until_the_next() {
    let folder = folder();
    let first = broker(folder.path(), &[]);
    let mut client = first.connect();
    for value in 1..4 {
        client.send(format!("@retain PUBLISH a/{value} {value}"));
        client.expect_prefix("PUBACK ");
    }
    assert_eq!(first.stop().code, Some(0));
    let segment = folder.path().join("log/00000000000000000001.log");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[150] ^= 1;
    fs::write(&segment, bytes).expect("it is written");
    let second = broker(folder.path(), &[]);
    let damaged = asked(&second)["damaged"].take();
    assert_eq!(
        (&damaged["places"], &damaged["lost"]),
        (&1.into(), &1.into())
    );
    assert_eq!(figure(&second, "dallal_store_damaged_places"), Some(1.0));
    assert_eq!(figure(&second, "dallal_store_lost_changes"), Some(1.0));
    wait_for_topic(&second, "damaged/lost", "1");
}

/// A full disk is told, and is no reason to send clients elsewhere: they can do all but be kept.
#[test]
fn a_full_store_says_so_and_when_it_has_room_again() {
    let folder = folder();
    let disk = SmallDisk::start(folder.path(), &["--sys-interval", "20ms"]);
    let broker = &disk.broker;
    assert_eq!(asked(broker)["state"], "ok");
    let mut client = broker.connect();
    let value = "x".repeat(60_000);
    let mut number = 0;
    loop {
        number += 1;
        client.send(format!("@retain PUBLISH t/{} {value}", number % 100));
        if client.read_line().starts_with("ERROR no-room ") {
            break;
        }
        assert!(number < 2000, "the disk is never full");
    }
    assert_eq!(asked(broker)["state"], "full");
    assert_eq!(figure(broker, "dallal_store_full"), Some(1.0));
    assert_eq!(
        figure(broker, "dallal_store_refused_total{reason=\"full\"}"),
        Some(1.0)
    );
    wait_for_topic(broker, "state", "full");
    let (status, text) = page(broker, "/readyz?verbose");
    assert_eq!(status, 200);
    assert!(
        text.starts_with("ready\n") && text.contains("\nstore: full\n"),
        "{text}"
    );
    disk.make_room();
    // Nothing has to be published for that.
    wait_for_topic(broker, "state", "ok");
    assert_eq!(figure(broker, "dallal_store_full"), Some(0.0));
    let (_, text) = page(broker, "/readyz?verbose");
    assert!(text.contains("\nstore: ok\n"), "{text}");
}

/// There is room for another segment, and not for that and for what is left to others.
#[test]
fn what_is_reserved_to_others_is_no_room() {
    let folder = folder();
    let flags = ["--data-reserve", "10MiB", "--keep", "a=all"];
    let disk = SmallDisk::start(folder.path(), &flags);
    disk.leave(5_000_000);
    let broker = &disk.broker;
    let mut client = broker.connect();
    let value = "x".repeat(60_000);
    let mut number = 0;
    let refused = loop {
        number += 1;
        client.send(format!("PUBLISH a {value}"));
        let answer = client.read_line();
        if !answer.starts_with("PUBACK ") {
            break answer;
        }
        assert!(number < 2000, "the disk is never full");
    };
    assert!(
        refused.starts_with(&format!("ERROR no-room publish:{number} ")),
        "{refused}"
    );
    client.expect_prefix("PUBACK ");
    assert_eq!(asked(broker)["state"], "full");
    broker.wait_for_log("--data-reserve");
    disk.make_room();
    eventually("it has room again", || asked(broker)["state"] == "ok");
    client.send(format!("PUBLISH a {value}"));
    client.expect_prefix("PUBACK ");
    let kept = Asker::of(broker).ask("kept");
    assert_eq!(kept["messages"], number, "{kept}");
}

/// It is broken by taking its folder away: a sync fails then, and what was in doubt cannot be written anew either.
#[test]
fn a_failing_store_makes_the_broker_unready() {
    let folder = folder();
    let broker = broker(folder.path(), &[]);
    assert_eq!(page(&broker, "/readyz").0, 200);
    fs::rename(folder.path().join("log"), folder.path().join("gone")).expect("it is renamed");
    let mut client = broker.connect();
    client.send("@ack=disk;retain PUBLISH a x");
    assert!(client.read_line().starts_with("@level=os;pos="));
    client
        .send("@retain PUBLISH a y")
        .expect_prefix("ERROR store-failed publish:2 ");
    assert_eq!(
        page(&broker, "/readyz"),
        (503, "store failing\n".to_owned())
    );
    let (_, text) = page(&broker, "/readyz?verbose");
    assert!(text.contains("\nstore: failing\n"), "{text}");
    // The watchdog is not told: a broker without its store still serves all the rest.
    assert_eq!(page(&broker, "/healthz").0, 200);
    assert_eq!(figure(&broker, "dallal_store_failing"), Some(1.0));
    assert_eq!(
        figure(&broker, "dallal_store_refused_total{reason=\"failed\"}"),
        Some(1.0)
    );
    assert_eq!(asked(&broker)["state"], "failing");
    eventually("the figures under $SYS tell it", || {
        let mut client = broker.subscribe("$SYS/broker/store/state");
        client
            .read_to_fence()
            .iter()
            .any(|line| line.ends_with(" failing"))
    });
}
