//! Promises of "why": which clients get the messages of a topic, which nearly would, and why not.

use serde_json::{Value, json};
use tests::mqtt::{BOTH, MqttClient};
use tests::{Asker, TestBroker, TestClient, eventually};

/// A client with this name and these subscriptions.
fn client(broker: &TestBroker, name: &str, filters: &str) -> TestClient {
    let mut client = broker.connect();
    client
        .send(format!("NAME {name}"))
        .expect(format!("NAMEACK {name}"));
    client.send(format!("SUBSCRIBE {filters}")).read_to_fence();
    client
}

/// Filters of a list, each with the names of its holders.
fn holders(answer: &Value, list: &str) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = answer[list].as_array().expect("rows");
    rows.iter()
        .map(|row| {
            let holders = row["holders"].as_array().expect("holders");
            assert_eq!(row["total"], holders.len(), "{row}");
            let names = holders.iter().map(|holder| text(&holder["name"]));
            (text(&row["filter"]), names.collect())
        })
        .collect()
}

fn held(filter: &str, names: &[&str]) -> (String, Vec<String>) {
    let names = names.iter().map(|name| (*name).to_owned());
    (filter.to_owned(), names.collect())
}

#[test]
fn receivers_are_told_with_the_filter_that_matches() {
    let broker = TestBroker::start();
    let ann = client(&broker, "ann", "lamp/+ lamp/kitchen x");
    let _bob = client(&broker, "bob", "lamp/kitchen");
    let _cat = client(&broker, "cat", "$share/g/lamp/#");
    let _dan = client(&broker, "dan", "door");
    let mut eve = Asker::of(&broker);
    let why = eve.ask("why lamp/kitchen");
    assert_eq!(why["topic"], "lamp/kitchen");
    assert_eq!(
        holders(&why, "matching"),
        [
            held("$share/g/lamp/#", &["cat"]),
            held("lamp/+", &["ann"]),
            held("lamp/kitchen", &["ann", "bob"]),
        ]
    );
    assert_eq!(
        (&why["retained"], &why["seen"]),
        (&Value::Null, &Value::Null)
    );
    let holder = &why["matching"][1]["holders"][0];
    assert_eq!(holder["peer"], ann.local_addr().to_string());
    assert_eq!(holder["wire"], "line");
    assert_eq!(holder["limit_bytes"], 64 * 1024 * 1024);
    assert_eq!(holder["is_full"], false);
    assert_eq!(holder["waiting"], 0);
    assert_eq!(holder["dropped"], 0);
    assert_eq!(holder["dropped_here"], Value::Null);
}

#[test]
fn without_a_receiver_those_that_nearly_match_are_told_nearest_first() {
    let broker = TestBroker::start();
    let _letter = client(&broker, "letter", "lamp/kitchn");
    let _case = client(&broker, "case", "Lamp/Kitchen $share/g/LAMP/+");
    let _level = client(&broker, "level", "home/lamp/kitchen lamp/hall lamp");
    let _other = client(&broker, "other", "door/hall lampe/kitchens");
    let why = Asker::of(&broker).ask("why lamp/kitchen");
    assert_eq!(holders(&why, "matching"), []);
    assert_eq!(
        holders(&why, "near"),
        [
            held("$share/g/LAMP/+", &["case"]),
            held("Lamp/Kitchen", &["case"]),
            held("lamp/kitchn", &["letter"]),
            held("home/lamp/kitchen", &["level"]),
            held("lamp", &["level"]),
            held("lamp/hall", &["level"]),
        ]
    );
    let differences: Vec<&str> = why["near"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["difference"].as_str())
        .collect();
    assert_eq!(
        differences,
        ["case", "case", "letter", "level", "level", "level"]
    );
}

#[test]
fn twenty_near_filters_are_shown_and_the_nearest_are_among_them() {
    let broker = TestBroker::start();
    let filters: Vec<String> = (0..100).map(|n| format!("lamp/{n}")).collect();
    let _far = client(&broker, "far", &filters.join(" "));
    let _near = client(&broker, "near", "lamp/kithcen");
    let _more = client(&broker, "more", "lamp/zzz lamp/0");
    let why = Asker::of(&broker).ask("why lamp/kitchen");
    let near = holders(&why, "near");
    assert_eq!(near.len(), 20);
    assert_eq!(near[0], held("lamp/kithcen", &["near"]));
    assert_eq!(near[1], held("lamp/0", &["far", "more"]));
}

#[test]
fn what_is_retained_and_what_was_seen_is_told() {
    let broker = TestBroker::start();
    let mut ann = client(&broker, "ann", "lamp/kitchen");
    ann.send("@retain PUBLISH lamp/kitchen off").read_to_fence();
    let mut eve = Asker::of(&broker);
    let mut why = Value::Null;
    eventually("it has been counted", || {
        why = eve.ask("why lamp/kitchen");
        !why["seen"].is_null()
    });
    assert_eq!(why["retained"]["bytes"], 3);
    assert_eq!(why["seen"]["messages"], 1);
    assert_eq!(why["seen"]["copies"], 1);
    for age in [&why["retained"]["age_s"], &why["seen"]["last_s"]] {
        assert!(
            age.as_f64().is_some_and(|age| (0.0..60.0).contains(&age)),
            "{why}"
        );
    }
}

#[test]
fn a_full_outbox_is_told_and_what_it_dropped_on_this_topic() {
    let broker = TestBroker::with_args(&["--max-line", "64KiB", "--outbox-bytes", "64KiB"]);
    let mut slow = broker.connect_slow("lamp/#");
    slow.send("NAME slow").expect("NAMEACK slow");
    let mut bob = broker.connect();
    let kitchen = format!("@a=1 PUBLISH lamp/kitchen {}\n", "x".repeat(1000));
    let hall = format!("PUBLISH lamp/hall {}\n", "x".repeat(1000));
    for round in 1..=100 {
        bob.write(kitchen.repeat(60) + &hall.repeat(40));
        bob.read_until_prefix(&format!("PUBACK {} ", round * 100));
    }
    let mut eve = Asker::of(&broker);
    let why = eve.ask("why lamp/kitchen");
    let holder = &why["matching"][0]["holders"][0];
    assert_eq!(holder["name"], "slow");
    assert_eq!(holder["is_full"], true, "{holder}");
    assert_eq!(holder["limit_bytes"], 64 * 1024);
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!(number(&holder["waiting_bytes"]) > 1000, "{holder}");
    let (dropped, here) = (&holder["dropped"], &holder["dropped_here"]);
    let other = eve.ask("why lamp/hall");
    let there = &other["matching"][0]["holders"][0]["dropped_here"];
    for (on, most) in [(here, 6000), (there, 4000)] {
        let at_least = number(&on["at_least"]);
        assert!((10..=most).contains(&at_least), "{on}");
        assert!(on["last_s"].as_f64().is_some_and(|age| age < 60.0), "{on}");
    }
    assert!(number(&here["at_least"]) + number(&there["at_least"]) <= number(dropped));
    // A topic of which nothing was dropped.
    let none = eve.ask("why lamp/door");
    assert_eq!(
        none["matching"][0]["holders"][0]["dropped_here"],
        Value::Null
    );

    slow.read_to_fence();
    let why = eve.ask("why lamp/kitchen");
    let holder = &why["matching"][0]["holders"][0];
    assert_eq!(holder["is_full"], false, "{holder}");
    assert!(!holder["dropped_here"].is_null(), "{holder}");
}

#[test]
fn holders_are_no_more_than_asked_for() {
    let broker = TestBroker::start();
    let _clients: Vec<_> = (0..10).map(|_| client(&broker, "one", "a b/a")).collect();
    let mut eve = Asker::of(&broker);
    let why = eve.ask_with(";limit=3", "why a");
    let matching = &why["matching"][0];
    assert_eq!(
        (
            matching["holders"].as_array().map(Vec::len),
            &matching["total"]
        ),
        (Some(3), &json!(10))
    );
    let why = eve.ask_with(";limit=3", "why b/c");
    let near = &why["near"][0];
    assert_eq!(
        (near["holders"].as_array().map(Vec::len), &near["total"]),
        (Some(3), &json!(10))
    );
}

#[test]
fn the_answer_is_found_among_very_many_filters() {
    let broker = TestBroker::start();
    let mut many: Vec<_> = (0..2)
        .map(|half| {
            let mut client = broker.connect();
            for first in (0..50_000).step_by(1000) {
                let filters: Vec<String> = (first..first + 1000)
                    .map(|n| format!("home/{half}/sensor/{n}"))
                    .collect();
                client.send(format!("SUBSCRIBE {}", filters.join(" ")));
            }
            client.read_to_fence();
            client
        })
        .collect();
    let _ann = client(&broker, "ann", "home/kitchn/lamp");
    let mut eve = Asker::of(&broker);
    let why = eve.ask("why home/kitchen/lamp");
    assert_eq!(holders(&why, "near"), [held("home/kitchn/lamp", &["ann"])]);
    let filters = eve.ask_with(";limit=2", "filters");
    assert_eq!(filters["total"], 100_002);
    many[0].expect_silence();
}

#[test]
fn a_bad_topic_is_refused() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("@reply=r PUBLISH $SYS/request/why")
        .expect_error("missing-argument", "publish:1")
        .expect("PUBACK 1 0");
    ann.send("@reply=r PUBLISH $SYS/request/why a/+")
        .expect_error("bad-topic", "publish:2")
        .expect("PUBACK 2 0");
}

#[test]
fn what_a_client_published_is_known_when_it_has_left() {
    let broker = TestBroker::start();
    let seen =
        |topic: &str| Asker::of(&broker).ask(&format!("why {topic}"))["seen"]["messages"].clone();
    for (number, version) in BOTH.into_iter().enumerate() {
        let topic = format!("mqtt/{number}");
        let mut publisher = MqttClient::connect(broker.address(), version, "publisher");
        publisher.publish(&topic, "x");
        publisher.leave();
        eventually("it has left", || {
            broker.log().matches("the client said BYE").count() > number
        });
        assert_eq!(seen(&topic), 1, "{topic}");
    }
    let mut page = broker.connect();
    page.write(
        "POST /topics/http HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    );
    page.read_to_end();
    eventually("it has left", || {
        broker.log().contains("the last answer was sent")
    });
    assert_eq!(seen("http"), 1);
    // The first batch of a client is counted at once, and later ones are when it pauses.
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    ann.send("PUBLISH line x").expect("PUBACK 1 0");
    ann.send("BYE").expect("BYE").expect_end();
    eventually("it has left", || {
        broker.log().matches("the client said BYE").count() > 2
    });
    assert_eq!(seen("line"), 1);
}
