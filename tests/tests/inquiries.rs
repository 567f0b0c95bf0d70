//! Promises of "Inquiries": what the broker answers when it is asked about itself.

use serde_json::{Value, json};
use tests::{Asker, TestBroker, eventually};

/// The number that stands before a word of a ledger in the log.
#[track_caller]
fn figure(ledger: &str, word: &str) -> u64 {
    let (before, _) = ledger
        .split_once(&format!(" {word}"))
        .unwrap_or_else(|| panic!("no {word} in {ledger}"));
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().expect("a number before the word")
}

/// The row of the connection that calls itself so.
#[track_caller]
fn row<'a>(who: &'a Value, name: &str) -> &'a Value {
    let rows = who["connections"].as_array().expect("rows");
    rows.iter()
        .find(|row| row["name"] == name)
        .unwrap_or_else(|| panic!("{name} is not in {who}"))
}

fn is_between(value: &Value, least: f64, most: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (least..=most).contains(&number))
}

#[test]
fn an_audit_counts_what_the_ledger_counts() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a a/+").expect("SUBACK a");
    ann.expect("SUBACK a/+");
    bob.send("PUBLISH a 1").expect("PUBACK 1 1");
    bob.send("PUBLISH b 2").expect("PUBACK 2 0");
    bob.send("PUBLISH + 3")
        .expect_error("bad-topic", "publish:3");
    bob.expect("PUBACK 3 0");
    let mut eve = Asker::of(&broker);
    assert_eq!(
        eve.ask("audit"),
        json!({
            "balanced": true, "exact": true,
            "published": 2, "matched": 1, "unmatched": 1, "kept": 0, "refused": 1,
            "copies": 1, "written": 1, "waiting": 0,
            "dropped": eve.ask("audit")["dropped"], "discarded": 0, "withdrawn": 0,
        })
    );
    // The first answers are counted by now, each a message with one copy.
    let audit = eve.ask("audit");
    assert_eq!(audit["published"], 4, "{audit}");
    assert_eq!(audit["copies"], 3, "{audit}");
    eve.client().expect_silence();
    let ledger = broker.ledger();
    for word in ["published", "matched", "copies", "written"] {
        let since = 1;
        let counted = audit[word].as_u64().expect("a number") + since;
        assert_eq!(figure(&ledger, word), counted, "{word} in {ledger}");
    }
    for word in [
        "unmatched",
        "kept",
        "refused",
        "waiting",
        "discarded",
        "withdrawn",
    ] {
        assert_eq!(Some(figure(&ledger, word)), audit[word].as_u64(), "{word}");
    }
}

#[test]
fn the_inquiry_who_tells_of_each_connection_what_it_is_and_does() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("NAME Ann \"the\" \\ Lee")
        .expect("NAMEACK Ann \"the\" \\ Lee");
    ann.send("SUBSCRIBE c b/# $share/g/a")
        .read_until("SUBACK $share/g/a");
    let mut bob = broker.connect();
    bob.send("NAME bob").expect("NAMEACK bob");
    bob.send("PUBLISH c 1").expect("PUBACK 1 1");
    bob.send("PUBLISH d 2").expect("PUBACK 2 0");
    bob.send("PUBLISH # 3")
        .expect_error("bad-topic", "publish:3")
        .expect("PUBACK 3 0");
    ann.expect("MESSAGE c 1");

    let mut eve = Asker::of(&broker);
    let who = eve.ask("who");
    assert_eq!(who["total"], 3, "{who}");
    let ids: Vec<u64> = who["connections"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["id"].as_u64())
        .collect();
    assert!(ids.len() == 3 && ids.is_sorted(), "{ids:?}");

    let row_of_ann = row(&who, "Ann \"the\" \\ Lee");
    assert_eq!(row_of_ann["peer"], ann.local_addr().to_string());
    assert_eq!(row_of_ann["wire"], "line");
    assert_eq!(row_of_ann["subscriptions"], 3);
    assert_eq!(row_of_ann["filters"], json!(["$share/g/a", "b/#", "c"]));
    assert_eq!(row_of_ann["written"], 1);
    assert_eq!(row_of_ann["published"], 0);
    assert_eq!(row_of_ann["waiting"], 0);
    assert_eq!(row_of_ann["lag_s"], Value::Null);
    assert_eq!(row_of_ann["dropped_last_s"], Value::Null);
    assert!(is_between(&row_of_ann["connected_s"], 0.0, 60.0), "{who}");

    let row_of_bob = row(&who, "bob");
    assert_eq!(row_of_bob["subscriptions"], 0);
    assert_eq!(row_of_bob["published"], 2);
    assert_eq!(row_of_bob["refused"], 1);
    assert_eq!(row_of_bob["copies"], 1);
    // NAMEACK and so on: what bob has read is what it was written.
    assert!(is_between(&row_of_bob["bytes"], 40.0, 400.0), "{who}");
    assert!(who["connections"][2]["name"].is_null(), "{who}");
}

#[test]
fn the_inquiry_who_with_a_filter_tells_of_clients_with_a_subscription_that_overlaps() {
    let broker = TestBroker::start();
    let mut clients = Vec::new();
    for (name, filters) in [
        ("ann", "lamp/kitchen"),
        ("bob", "x lamp/+"),
        ("eve", "#"),
        ("fay", "$share/g/lamp/#"),
        ("gus", "lamps/kitchen"),
        ("hal", "$SYS/#"),
    ] {
        let mut client = broker.connect();
        client
            .send(format!("NAME {name}"))
            .expect(format!("NAMEACK {name}"));
        client.send(format!("SUBSCRIBE {filters}"));
        client.read_to_fence();
        clients.push(client);
    }
    let mut asker = Asker::of(&broker);
    for (filter, expected) in [
        ("lamp/kitchen", &["ann", "bob", "eve", "fay"][..]),
        ("lamp/+", &["ann", "bob", "eve", "fay"]),
        ("lamp/kitchen/left", &["eve", "fay"]),
        ("+/kitchen", &["ann", "bob", "eve", "fay", "gus"]),
        ("$SYS/x", &["hal"]),
        ("$share/other/x", &["bob", "eve"]),
    ] {
        let who = asker.ask(&format!("who {filter}"));
        let names: Vec<&str> = who["connections"]
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|row| row["name"].as_str())
            .collect();
        assert_eq!(names, expected, "{filter}");
        assert_eq!(who["total"], expected.len(), "{filter}");
    }
}

#[test]
fn the_inquiry_who_shows_the_first_ten_filters_and_counts_all() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("NAME ann").expect("NAMEACK ann");
    let filters: Vec<String> = (0..30).map(|n| format!("f/{n:02}")).collect();
    ann.send(format!("SUBSCRIBE {}", filters.join(" ")));
    ann.read_to_fence();
    let who = Asker::of(&broker).ask("who");
    assert_eq!(row(&who, "ann")["subscriptions"], 30);
    assert_eq!(row(&who, "ann")["filters"], json!(filters[..10]));
    ann.send("UNSUBSCRIBE f/00").expect("UNSUBACK f/00");
    let who = Asker::of(&broker).ask("who");
    assert_eq!(row(&who, "ann")["filters"], json!(filters[1..11]));
}

#[test]
fn the_inquiry_who_tells_how_long_a_client_has_been_silent() {
    let broker = TestBroker::start();
    let (mut ann, mut eve) = (broker.connect(), Asker::of(&broker));
    ann.send("NAME ann").expect("NAMEACK ann");
    let idle = |who: &Value| row(who, "ann")["idle_s"].as_f64().expect("a number");
    eventually("ann has been silent for a while", || {
        // The pause after a second, which is not ann's doing, does not count.
        idle(&eve.ask("who")) > 1.2
    });
    ann.send("PUBLISH a 1").expect("PUBACK 1 0");
    assert!(idle(&eve.ask("who")) < 1.2);
}

#[test]
fn the_inquiry_who_tells_what_waits_for_a_slow_client_and_what_it_has_lost() {
    let broker = TestBroker::with_args(&["--max-line", "64KiB", "--outbox-bytes", "64KiB"]);
    let mut slow = broker.connect_slow("news");
    slow.send("NAME slow").expect("NAMEACK slow");
    let mut bob = broker.connect();
    let message = format!("PUBLISH news {}\n", "x".repeat(1000));
    for round in 1..=100 {
        bob.write(message.repeat(100));
        bob.read_until_prefix(&format!("PUBACK {} ", round * 100));
    }
    let mut eve = Asker::of(&broker);
    let who = eve.ask("who");
    let slow_row = row(&who, "slow");
    let number = |key: &str| slow_row[key].as_u64().expect("a number");
    let dropped: u64 = slow_row["dropped"]
        .as_object()
        .expect("reasons")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(dropped > 0 && number("waiting") > 0, "{slow_row}");
    assert_eq!(number("written") + number("waiting") + dropped, 10_000);
    assert!(number("waiting_bytes") <= 64 * 1024, "{slow_row}");
    assert!(number("waiting_bytes") > 1000, "{slow_row}");
    assert!(is_between(&slow_row["lag_s"], 0.0, 60.0), "{slow_row}");
    assert!(is_between(&slow_row["dropped_last_s"], 0.0, 60.0));

    let audit = eve.ask("audit");
    assert_eq!(audit["balanced"], true, "{audit}");
    assert!(audit["waiting"].as_u64() > Some(0), "{audit}");
    slow.read_to_fence();
    let who = eve.ask("who");
    let slow_row = row(&who, "slow");
    assert_eq!(slow_row["waiting"], 0);
    assert_eq!(slow_row["waiting_bytes"], 0);
    assert_eq!(slow_row["lag_s"], Value::Null);
}

#[test]
fn an_audit_in_the_middle_of_a_flood_balances() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news/#").expect("SUBACK news/#");
    let mut eve = Asker::of(&broker);
    std::thread::scope(|scope| {
        let mut done = Vec::new();
        for number in 0..2 {
            let mut bob = broker.connect();
            done.push(scope.spawn(move || {
                let lines = format!("PUBLISH news/{number} x\nPUBLISH olds x\n").repeat(500);
                for round in 1..=200 {
                    bob.write(&lines);
                    bob.read_until_prefix(&format!("PUBACK {} ", round * 1000));
                }
            }));
        }
        scope.spawn(|| {
            for _ in 0..200_000 {
                ann.next_line();
            }
        });
        let mut audits = 0;
        while !done.iter().all(|thread| thread.is_finished()) {
            let audit = eve.ask("audit");
            let of = |key: &str| audit[key].as_u64().expect("a number");
            let dropped: u64 = audit["dropped"]
                .as_object()
                .expect("reasons")
                .values()
                .filter_map(Value::as_u64)
                .sum();
            if audit["exact"] == true {
                audits += 1;
                assert_eq!(audit["balanced"], true, "{audit}");
                assert_eq!(of("published"), of("matched") + of("unmatched"), "{audit}");
                let whereabouts = of("written") + of("waiting") + of("discarded") + of("withdrawn");
                assert_eq!(of("copies"), whereabouts + dropped, "{audit}");
            }
        }
        assert!(audits > 0, "no audit came into the flood");
    });
}

#[test]
fn a_list_has_no_more_rows_than_asked_for_and_tells_of_the_rest() {
    let broker = TestBroker::start();
    let mut clients: Vec<_> = (0..20).map(|_| broker.connect()).collect();
    // Accepted is not yet served.
    clients
        .iter_mut()
        .for_each(|client| drop(client.read_to_fence()));
    let mut eve = Asker::of(&broker);
    let rows = |who: &Value| who["connections"].as_array().map_or(0, Vec::len);
    let who = eve.ask_with(";limit=3", "who");
    assert_eq!((rows(&who), &who["total"]), (3, &json!(clients.len() + 1)));
    let who = eve.ask_with(";limit=100000", "who");
    assert_eq!((rows(&who), &who["total"]), (21, &json!(21)));
}

#[test]
fn an_answer_is_no_longer_than_a_line_may_be() {
    let broker = TestBroker::with_args(&["--max-line", "3000"]);
    let _clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = broker.connect();
            client.send("NAME \\\"\\\"\\\"").read_to_fence();
            client
        })
        .collect();
    let mut eve = Asker::of(&broker);
    let who = eve.ask("who");
    let rows = who["connections"].as_array().map_or(0, Vec::len);
    assert!((2..50).contains(&rows), "{rows} rows");
    assert_eq!(who["total"], 51);
}

#[test]
fn the_broker_tells_how_it_is() {
    let broker = TestBroker::with_args(&[
        "--max-connections",
        "77",
        "--max-retained",
        "9",
        "--memory",
        "128MiB",
    ]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a b/+").read_to_fence();
    ann.send("@retain PUBLISH x 12345").expect("PUBACK 1 0");
    let answer = Asker::of(&broker).ask("broker");
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer["connections"], 2);
    assert_eq!(answer["max_connections"], 77);
    assert_eq!(answer["subscriptions"], 3);
    assert_eq!(answer["memory"]["max"], 128 * 1024 * 1024);
    assert!(answer["memory"]["used"].is_u64(), "{answer}");
    assert_eq!(answer["retained"]["count"], 1);
    assert_eq!(answer["retained"]["max_count"], 9);
    assert!(is_between(&answer["uptime_s"], 0.0, 60.0), "{answer}");
}

#[test]
fn an_inquiry_whose_answer_has_no_subscriber_is_an_unmatched_message() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("@reply=nobody PUBLISH $SYS/request/audit")
        .expect("PUBACK 1 0");
    let audit = Asker::of(&broker).ask("audit");
    assert_eq!(audit["unmatched"], 1, "{audit}");
}

#[test]
fn a_bad_question_is_refused_with_what_to_do() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE r").expect("SUBACK r");
    let mut asked = 0;
    for (question, code, word) in [
        ("PUBLISH $SYS/request/who", "missing-argument", "@reply="),
        ("@reply PUBLISH $SYS/request/who", "bad-topic", "reply"),
        ("@reply=a/+ PUBLISH $SYS/request/who", "bad-topic", "reply"),
        (
            "@reply=$SYS/x PUBLISH $SYS/request/who",
            "denied",
            "$reply/",
        ),
        ("@reply=r PUBLISH $SYS/request/whom", "denied", "audit"),
        ("@reply=r PUBLISH $SYS/request/", "denied", "who"),
        ("@reply=r PUBLISH $SYS/request", "denied", "$SYS/request/"),
        ("@reply=r PUBLISH $SYS/broker/uptime 1", "denied", "only"),
        ("@reply=r PUBLISH $SYS/request/who a/#/b", "bad-filter", "#"),
        (
            "@reply=r PUBLISH $SYS/request/who a b",
            "bad-filter",
            "space",
        ),
        (
            "@reply=r;limit=0 PUBLISH $SYS/request/who",
            "bad-attribute",
            "1 to 100000",
        ),
        (
            "@reply=r;limit=100001 PUBLISH $SYS/request/who",
            "bad-attribute",
            "1 to",
        ),
        (
            "@reply=r;limit=x PUBLISH $SYS/request/who",
            "bad-attribute",
            "number",
        ),
    ] {
        asked += 1;
        ann.send(question);
        let line = ann.read_line();
        let start = format!("ERROR {code} publish:{asked} ");
        assert!(line.starts_with(&start), "{question}: {line}");
        assert!(line.contains(word), "{question}: {line}");
        ann.expect(format!("PUBACK {asked} 0"));
    }
    ann.expect_silence();
    ann.send("@reply=r PUBLISH $SYS/request/audit");
    ann.expect_prefix("MESSAGE r {\"balanced\":true");
    ann.expect(format!("PUBACK {} 1", asked + 1));
}

#[test]
fn an_answer_comes_behind_what_was_published_before_the_question() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE r a").read_to_fence();
    ann.write("PUBLISH a 1\n@reply=r PUBLISH $SYS/request/audit\nPUBLISH a 2\n");
    ann.expect("MESSAGE a 1").expect("PUBACK 1 1");
    let audit = ann.read_line();
    assert!(audit.contains("\"published\":1,"), "{audit}");
    ann.expect("MESSAGE a 2").expect("PUBACK 3 2");
}

/// The rows of a list by one of their fields.
fn by<'a>(answer: &'a Value, list: &str, key: &str) -> Vec<(&'a str, &'a Value)> {
    let rows = answer[list].as_array().expect("rows");
    rows.iter()
        .map(|row| (row[key].as_str().expect("a text"), row))
        .collect()
}

#[test]
fn topics_tell_what_was_published_on_each() {
    let broker = TestBroker::start();
    let (mut ann, mut bob, mut cat) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE lamp/# $share/g/lamp/hall $share/h/lamp/hall")
        .read_to_fence();
    cat.send("SUBSCRIBE lamp/hall $share/h/lamp/hall")
        .read_to_fence();
    bob.write("PUBLISH lamp/hall 1\n".repeat(7) + &"PUBLISH door x\n".repeat(3));
    bob.write("@retain PUBLISH lamp/kitchen on\\n\nPUBLISH lamp/hall 8\n");
    bob.read_until_prefix("PUBACK 12 ");
    let mut eve = Asker::of(&broker);
    // Bob has been busy for less than a second: he hands the rest in when he pauses.
    let mut topics = Value::Null;
    eventually("all has been counted", || {
        topics = eve.ask("topics");
        let rows = by(&topics, "topics", "topic");
        rows.iter()
            .filter_map(|(_, row)| row["messages"].as_u64())
            .sum::<u64>()
            == 12
    });
    let rows = by(&topics, "topics", "topic");
    let expected = [
        ("door", 3, 0, 0, Value::Null),
        // Two plain subscribers, which get a copy each, and so nothing as members of groups.
        ("lamp/hall", 8, 16, 4, Value::Null),
        ("lamp/kitchen", 1, 1, 1, json!(3)),
    ];
    assert_eq!(topics["total"], 3);
    assert_eq!(topics["forgotten"], 0);
    assert_eq!(rows.len(), 3);
    for ((name, row), (topic, messages, copies, subscribers, retained)) in rows.iter().zip(expected)
    {
        assert_eq!(*name, topic);
        assert_eq!(row["messages"], messages, "{row}");
        assert_eq!(row["copies"], copies, "{row}");
        assert_eq!(row["subscribers"], subscribers, "{row}");
        assert_eq!(row["retained"], retained, "{row}");
        assert!(is_between(&row["last_s"], 0.0, 60.0), "{row}");
        assert!(is_between(&row["rate"], 0.1, 8.0), "{row}");
    }
    let lamps = eve.ask_with(";limit=1", "topics lamp/+");
    assert_eq!(lamps["total"], 2);
    assert_eq!(by(&lamps, "topics", "topic").len(), 1);
    // Topics under $ are found by name only, as always.
    let replies = eve.ask("topics $reply/#");
    let topic = replies["topics"][0]["topic"].as_str().expect("a topic");
    assert!(topic.starts_with("$reply/asker"), "{topic}");
}

#[test]
fn a_copy_for_a_member_of_a_group_counts_on_its_topic() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE $share/g/a $share/h/a").read_to_fence();
    bob.write("PUBLISH a 1\nPUBLISH a 2\n")
        .read_until_prefix("PUBACK 2 2");
    let mut eve = Asker::of(&broker);
    let mut topics = Value::Null;
    eventually("both have been counted", || {
        topics = eve.ask("topics a");
        topics["topics"][0]["messages"] == 2
    });
    assert_eq!(topics["topics"][0]["copies"], 2, "{topics}");
    assert_eq!(topics["topics"][0]["subscribers"], 2, "{topics}");
}

#[test]
fn filters_tell_their_subscribers_and_what_matched() {
    let broker = TestBroker::start();
    let (mut ann, mut bob, mut cat) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a/b a/+ x").read_to_fence();
    bob.send("SUBSCRIBE a/+ $share/g/a/b").read_to_fence();
    cat.write("PUBLISH a/b 1\nPUBLISH a/c 2\nPUBLISH a/b 3\n");
    cat.read_until_prefix("PUBACK 3 ");
    cat.send("BYE").expect("BYE").expect_end();
    let mut eve = Asker::of(&broker);
    let figures = |filters: &Value| -> Vec<(String, u64, u64)> {
        let rows = filters["filters"].as_array().expect("rows");
        let number = |row: &Value, key: &str| row[key].as_u64().expect("a number");
        rows.iter()
            .map(|row| {
                let filter = row["filter"].as_str().expect("a text").to_owned();
                (filter, number(row, "subscribers"), number(row, "messages"))
            })
            .filter(|(filter, ..)| !filter.starts_with("$reply"))
            .collect()
    };
    let row = |filter: &str, subscribers, messages| (filter.to_owned(), subscribers, messages);
    // A client that leaves adds its counts to the table, a moment after its last line was sent.
    let mut filters = Value::Null;
    eventually("all has been counted", || {
        filters = eve.ask("filters");
        filters["filters"][2]["messages"] == 3
    });
    assert_eq!(
        figures(&filters),
        [
            row("$share/g/a/b", 1, 2),
            row("a/+", 2, 3),
            row("a/b", 1, 2),
            row("x", 1, 0),
        ]
    );
    assert_eq!(filters["total"], 5);
    let some = eve.ask_with(";limit=2", "filters a/b");
    assert_eq!(
        figures(&some),
        [row("$share/g/a/b", 1, 2), row("a/+", 2, 3)]
    );
    assert_eq!(some["total"], 3);

    // A subscriber that comes after the last has left begins anew.
    ann.send("UNSUBSCRIBE a/b a/+").read_to_fence();
    ann.send("SUBSCRIBE a/b").read_to_fence();
    assert_eq!(
        figures(&eve.ask("filters a/b")),
        [
            row("$share/g/a/b", 1, 2),
            row("a/+", 1, 3),
            row("a/b", 1, 0)
        ]
    );
}

#[test]
fn an_inquiry_while_others_publish_soon_sees_what_they_published() {
    let broker = TestBroker::start();
    let (mut ann, mut eve) = (broker.connect(), Asker::of(&broker));
    let mut published = 0;
    // Never a pause, and never the time to hand in by itself: only asking helps.
    for _ in 0..50 {
        ann.write("PUBLISH a 1\nPUBLISH b 2\n");
        published += 2;
        ann.read_until_prefix(&format!("PUBACK {published} "));
        let topics = eve.ask("topics");
        let seen: u64 = by(&topics, "topics", "topic")
            .iter()
            .filter_map(|(_, row)| row["messages"].as_u64())
            .sum();
        assert!(seen + 2 >= published, "{seen} of {published}");
    }
}

#[test]
fn retained_tells_what_is_kept_how_long_it_is_and_how_old() {
    let broker = TestBroker::with_args(&["--max-retained", "10", "--max-retained-bytes", "1000"]);
    let mut ann = broker.connect();
    let messages = [
        ("a/b", "12345"),
        ("a/c", "\\n\\\\"),
        ("b", "x"),
        ("$h/x", "yy"),
        ("gone", "1"),
    ];
    for (number, (topic, payload)) in messages.iter().enumerate() {
        ann.send(format!("@retain PUBLISH {topic} {payload}"));
        ann.expect(format!("PUBACK {} 0", number + 1));
    }
    ann.send("@retain PUBLISH gone").expect("PUBACK 6 0");
    let mut eve = Asker::of(&broker);
    let kept = eve.ask("retained");
    let sizes: Vec<(&str, &Value)> = by(&kept, "retained", "topic")
        .into_iter()
        .map(|(topic, row)| (topic, &row["bytes"]))
        .collect();
    assert_eq!(
        sizes,
        [("a/b", &json!(5)), ("a/c", &json!(2)), ("b", &json!(1))]
    );
    assert_eq!(kept["total"], 3);
    assert_eq!(
        (&kept["max_count"], &kept["max_bytes"]),
        (&json!(10), &json!(1000))
    );
    assert!(kept["bytes"].as_u64() > Some(20), "{kept}");
    assert!(
        is_between(&kept["retained"][0]["age_s"], 0.0, 60.0),
        "{kept}"
    );
    let some = eve.ask_with(";limit=1", "retained a/#");
    assert_eq!(
        (&some["total"], &some["retained"][0]["topic"]),
        (&json!(2), &json!("a/b"))
    );
    assert_eq!(eve.ask("retained $h/+")["retained"][0]["bytes"], 2);
}

#[test]
fn ten_thousand_retained_messages_are_listed_in_order() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let lines: String = (0..10_000)
        .map(|number| format!("@retain PUBLISH r/{number:04} {number}\n"))
        .collect();
    ann.write(lines).read_until_prefix("PUBACK 10000 ");
    let answer = Asker::of(&broker).ask_with(";limit=20000", "retained r/#");
    let names: Vec<&str> = by(&answer, "retained", "topic")
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(names.len(), 10_000);
    assert!(names.is_sorted(), "not in order");
    assert_eq!(answer["total"], 10_000);
}
