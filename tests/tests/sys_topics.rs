//! Promises of "$SYS topics": the broker's own figures, as retained messages that change by themselves.

use std::collections::BTreeMap;

use tests::mqtt::{Hello, Mqtt, MqttClient};
use tests::{Asker, TestBroker, TestClient, eventually};

const OFTEN: [&str; 2] = ["--sys-interval", "20ms"];

/// What is retained under `$SYS/broker/`, by topic, to a client that comes now.
fn values(broker: &TestBroker) -> BTreeMap<String, String> {
    let mut client = broker.connect();
    client
        .send("SUBSCRIBE $SYS/broker/#")
        .expect("SUBACK $SYS/broker/#");
    let lines = client.read_to_fence();
    let retained = lines.iter().filter_map(|line| {
        let (topic, value) = line
            .strip_prefix("@retained MESSAGE $SYS/broker/")?
            .split_once(' ')?;
        Some((topic.to_owned(), value.to_owned()))
    });
    retained.collect()
}

/// The next value on this topic, published just now.
#[track_caller]
fn next(client: &mut TestClient, topic: &str) -> String {
    let start = format!("MESSAGE {topic} ");
    let line = client.read_until_prefix(&start);
    line[start.len()..].to_owned()
}

/// A broker with three messages, and its figures when they tell of them. Reading figures takes a
/// subscription, and those that are published meanwhile are messages, too: then another broker is tried.
fn with_three_messages() -> (TestBroker, BTreeMap<String, String>) {
    for _ in 0..20 {
        let broker = TestBroker::with_args(&OFTEN);
        let mut ann = broker.connect();
        ann.send("SUBSCRIBE a b/+").read_to_fence();
        ann.send("PUBLISH a 1").read_to_fence();
        ann.send("PUBLISH c 2").read_to_fence();
        ann.send("@retain PUBLISH d 345").read_to_fence();
        let mut found = BTreeMap::new();
        let published = |found: &BTreeMap<String, String>| {
            let count = found.get("ledger/published");
            count
                .and_then(|count| count.parse::<u64>().ok())
                .unwrap_or(0)
        };
        eventually("all has been published", || {
            found = values(&broker);
            published(&found) >= 3 && found["retained/count"] == "1"
        });
        if published(&found) == 3 {
            return (broker, found);
        }
    }
    panic!("figures were published whenever they were read");
}

#[test]
fn the_figures_have_the_names_that_mqtt_brokers_use_and_some_of_their_own() {
    let (_broker, found) = with_three_messages();
    for (topic, value) in [
        ("publish/messages/received", "3"),
        ("messages/received", "3"),
        ("publish/messages/dropped", "0"),
        ("retained/count", "1"),
        ("ledger/unmatched", "2"),
        ("ledger/refused", "0"),
        ("ledger/dropped", "0"),
        ("ledger/waiting", "0"),
    ] {
        assert_eq!(found[topic], value, "{topic}");
    }
    assert_eq!(
        found["version"],
        format!("dallal version {}", env!("CARGO_PKG_VERSION"))
    );
    assert!(found["uptime"].ends_with(" seconds"), "{}", found["uptime"]);
    assert!(found.contains_key("dropped/full"), "{found:?}");
    for topic in [
        "clients/connected",
        "clients/total",
        "clients/maximum",
        "subscriptions/count",
        "bytes/received",
        "bytes/sent",
        "messages/sent",
        "messages/stored",
        "publish/messages/sent",
        "retained/bytes",
        "memory/max",
    ] {
        let count: u64 = found[topic].parse().expect("a number");
        assert!(count > 0, "{topic}");
    }
    // What ann sent, and what she was sent.
    assert!(
        found["bytes/received"]
            .parse::<u64>()
            .is_ok_and(|count| count > 80),
        "{found:?}"
    );
    let document = format!("{}/../docs/operating.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(document).expect("docs/operating.md can be read");
    for topic in found.keys() {
        let is_told = ["ledger/", "dropped/"]
            .iter()
            .any(|folder| topic.starts_with(folder))
            || topic
                .strip_suffix("/1min")
                .is_some_and(|load| document.contains(&format!("`{load}/")))
            || topic.ends_with("/5min")
            || topic.ends_with("/15min")
            || document.contains(&format!("`{topic}`"));
        assert!(is_told, "docs/operating.md does not tell of {topic}");
    }
}

#[test]
fn figures_that_exporters_of_other_brokers_read_are_there() {
    let broker = TestBroker::with_args(&OFTEN);
    let (mut lasting, _) =
        MqttClient::enter(broker.address(), Mqtt::V5, &Hello::lasting("lasting"));
    lasting.subscribe("a", 1);
    lasting.subscribe("$share/g/b", 1);
    lasting.leave();
    let mut hello = Hello::lasting("short");
    // A second.
    hello.properties = vec![0x11, 0, 0, 0, 1];
    MqttClient::enter(broker.address(), Mqtt::V5, &hello)
        .0
        .vanish();
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V3, "mqtt");
    mqtt.subscribe("x/#", 0);
    let mut ann = broker.connect();
    // 12, 13 and 20 bytes, the second of which waits for the client that is away.
    ann.send("PUBLISH x 1")
        .send("PUBLISH a 12")
        .send("@retain PUBLISH c 3");
    ann.send("BYE").read_to_end();
    // 7 bytes.
    mqtt.publish("x/y", "").expect_message(0, "x", "1");
    mqtt.expect_message(0, "x/y", "");
    let mut found = BTreeMap::new();
    eventually("all has been published", || {
        found = values(&broker);
        found
            .get("clients/expired")
            .is_some_and(|count| count == "1")
            && found["publish/bytes/received"] == "52"
    });
    for (topic, value) in [
        ("publish/bytes/received", 12 + 13 + 20 + 7),
        ("shared_subscriptions/count", 1),
        ("store/messages/count", 2),
        ("clients/expired", 1),
    ] {
        assert_eq!(found[topic], value.to_string(), "{topic}");
    }
    let number = |topic: &str| -> f64 { found[topic].parse().expect("a number") };
    assert_eq!(number("store/messages/count"), number("messages/stored"));
    let stored = number("store/messages/bytes") - number("retained/bytes");
    assert!((13.0..200.0).contains(&stored), "{stored}");
    let sent = number("publish/bytes/sent");
    assert!(sent >= 13.0 && sent < number("bytes/sent"), "{sent}");
    for name in ["messages", "publish", "bytes"] {
        for minutes in [1, 5, 15] {
            assert!(
                number(&format!("load/{name}/received/{minutes}min")) > 0.0,
                "{name}"
            );
            assert!(
                number(&format!("load/{name}/sent/{minutes}min")) > 0.0,
                "{name}"
            );
            assert!(
                number(&format!("load/connections/{minutes}min")) > 0.0,
                "{name}"
            );
        }
    }
    let minute = number("load/messages/received/1min");
    assert!(minute > number("load/messages/received/15min"), "{found:?}");
}

#[test]
fn a_subscriber_is_sent_what_changes_and_nothing_else() {
    let broker = TestBroker::with_args(&OFTEN);
    let mut ann = broker.connect();
    // There is a first value of everything, however early a client subscribes.
    ann.send("SUBSCRIBE $SYS/broker/version")
        .expect("SUBACK $SYS/broker/version");
    ann.read_until_prefix("@retained MESSAGE $SYS/broker/version dallal");
    ann.send("SUBSCRIBE $SYS/broker/clients/connected")
        .read_to_fence();
    for round in 0..3 {
        let mut bob = broker.connect();
        bob.expect_silence();
        assert_eq!(
            next(&mut ann, "$SYS/broker/clients/connected"),
            "2",
            "{round}"
        );
        drop(bob);
        assert_eq!(
            next(&mut ann, "$SYS/broker/clients/connected"),
            "1",
            "{round}"
        );
    }
    ann.expect_silence();
}

#[test]
fn time_goes_by() {
    let broker = TestBroker::with_args(&OFTEN);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE $SYS/+/uptime")
        .expect("SUBACK $SYS/+/uptime");
    let first = next(&mut ann, "$SYS/broker/uptime");
    let second = next(&mut ann, "$SYS/broker/uptime");
    let seconds = |text: &str| -> u64 {
        let number = text.strip_suffix(" seconds").expect("seconds");
        number.parse().expect("a number")
    };
    assert!(seconds(&first) < seconds(&second), "{first}, {second}");
}

#[test]
fn a_wildcard_in_the_first_level_never_sees_them() {
    let broker = TestBroker::with_args(&OFTEN);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE # +/broker/uptime").read_to_fence();
    bob.send("SUBSCRIBE $SYS/broker/uptime")
        .expect("SUBACK $SYS/broker/uptime");
    next(&mut bob, "$SYS/broker/uptime");
    ann.expect_silence();
}

#[test]
fn they_take_no_room_from_what_clients_retain() {
    let broker = TestBroker::with_args(&[&OFTEN[..], &["--max-retained", "1"]].concat());
    eventually("they are there", || values(&broker).len() > 20);
    let mut ann = broker.connect();
    ann.send("@retain PUBLISH a 1").expect("PUBACK 1 0");
    ann.send("@retain PUBLISH b 1")
        .expect_error("too-many", "publish:2");
    let mut eve = Asker::of(&broker);
    assert_eq!(eve.ask("broker")["retained"]["count"], 1);
    assert_eq!(eve.ask("retained")["total"], 1);
    assert!(eve.ask("retained $SYS/#")["total"].as_u64() > Some(20));
}

#[test]
fn without_subscribers_the_ledger_does_not_move_and_with_them_it_balances() {
    let broker = TestBroker::with_args(&OFTEN);
    let mut eve = Asker::of(&broker);
    // A second later they have been published fifty times.
    eventually("a second has gone by", || {
        eve.ask("broker")["uptime_s"].as_f64() > Some(1.0)
    });
    let before = eve.ask("audit");
    let after = eve.ask("audit");
    let of = |audit: &serde_json::Value, key: &str| audit[key].as_u64().expect("a number");
    // The questions are the only messages, the last not counted yet.
    assert_eq!(of(&after, "published"), of(&before, "published") + 1);
    assert_eq!(of(&after, "copies"), of(&after, "published"), "{after}");
    assert_eq!(of(&after, "unmatched"), 0, "{after}");
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE $SYS/#").expect("SUBACK $SYS/#");
    for _ in 0..30 {
        ann.read_until_prefix("MESSAGE $SYS/broker/");
    }
    for _ in 0..10 {
        let audit = eve.ask("audit");
        assert_eq!(
            (&audit["balanced"], &audit["exact"]),
            (&true.into(), &true.into()),
            "{audit}"
        );
        assert_eq!(of(&audit, "unmatched"), 0, "{audit}");
    }
    let found = values(&broker);
    assert!(
        found["ledger/matched"]
            .parse::<u64>()
            .is_ok_and(|count| count > 10),
        "{found:?}"
    );
}

#[test]
fn they_can_be_done_without() {
    let broker = TestBroker::with_args(&["--sys-interval", "0s"]);
    assert_eq!(values(&broker), BTreeMap::new());
}
