//! Promises of "kept" in `docs/protocol.md`: which topics keep messages, and how much.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Asker, RuledBroker, TestBroker, client_of, folder, installed, outcome};

fn broker(data: &Path) -> TestBroker {
    let keep = ["--keep", "chat/#=3", "--keep", "$h/#=9"];
    TestBroker::with_store(data, &[&["--keep-topics", "8"], &keep[..]].concat())
}

/// The lines are of 17 bytes each.
fn publish(broker: &TestBroker) {
    let mut client = broker.connect();
    for line in [
        "chat/b 1", "chat/a 2", "$h/xyz 3", "chat/a 4", "chat/a 5", "chat/a 6",
    ] {
        client.send(format!("PUBLISH {line}"));
    }
    client.send("PUBLISH news 7").send("PING done");
    client.read_until("PONG done");
}

/// The rows without store, generation and age: `<topic> <messages> <bytes> <oldest> <newest>`.
fn rows(answer: &Value) -> Vec<String> {
    let rows = answer["kept"].as_array().expect("a list").iter();
    let number = |position: &Value| {
        let text = position.as_str().expect("a position");
        text.split_once(':').expect("a number").1.to_owned()
    };
    rows.map(|row| {
        let age = row["age_s"].as_f64().expect("an age");
        assert!((0.0..120.0).contains(&age), "{row}");
        let topic = row["topic"].as_str().expect("a topic");
        let (messages, bytes) = (&row["messages"], &row["bytes"]);
        let (oldest, newest) = (number(&row["oldest"]), number(&row["newest"]));
        format!("{topic} {messages} {bytes} {oldest} {newest}")
    })
    .collect()
}

#[test]
fn topics_that_keep_messages_are_listed_with_how_much_they_keep_and_since_when() {
    let folder = folder();
    let first = broker(folder.path());
    publish(&first);
    let expected = ["chat/a 3 51 4 6", "chat/b 1 17 1 1"];
    let mut asker = Asker::of(&first);
    let answer = asker.ask("kept");
    assert_eq!(rows(&answer), expected);
    let figures = ["total", "messages", "bytes", "max_topics"].map(|key| &answer[key]);
    assert_eq!(figures, [&json!(2), &json!(4), &json!(68), &json!(8)]);
    assert_eq!(rows(&asker.ask("kept $h/+")), ["$h/xyz 1 17 3 3"]);
    assert_eq!(rows(&asker.ask("kept +/b")), expected[1..]);
    assert_eq!(asker.ask("kept news")["total"], 0);
    let limited = asker.ask_with(";limit=1", "kept");
    assert_eq!((rows(&limited).len(), &limited["total"]), (1, &json!(2)));
    let mut curl = installed("curl", "curl");
    let url = format!("http://{}/api/kept?filter=chat/b", first.address());
    let (_, page, _) = outcome(curl.args(["-s", &url]));
    assert_eq!(
        rows(&serde_json::from_str(&page).expect("JSON")),
        expected[1..]
    );
    // What an earlier process has kept is known as well, with its age.
    assert_eq!(first.stop_by(Signal::KILL).code, None);
    let second = broker(folder.path());
    assert_eq!(rows(&Asker::of(&second).ask("kept")), expected);
}

#[test]
fn without_rules_no_topic_keeps_messages() {
    let broker = TestBroker::start();
    publish(&broker);
    let empty = json!({"total": 0, "messages": 0, "bytes": 0, "max_topics": 0, "kept": []});
    assert_eq!(Asker::of(&broker).ask("kept"), empty);
}

#[test]
fn a_client_is_told_of_topics_that_it_may_see_and_only_if_it_may_ask() {
    let folder = folder();
    let data = folder.path().to_str().expect("a path of text");
    let rules = "allow everyone publish #\nallow everyone subscribe chat/a $reply/#\nallow ann inquire:kept\n";
    let flags = ["--data", data, "--keep", "#=9"];
    let ruled = RuledBroker::start(&["ann", "bob"], rules, &flags);
    let mut client = ruled.line(Some("bob"));
    client.send("PUBLISH chat/a 1").send("PUBLISH chat/b 2");
    client.send("PING done").read_until("PONG done");
    client.send("SUBSCRIBE $reply/b").expect("SUBACK $reply/b");
    client.send("@reply=$reply/b PUBLISH $SYS/request/kept");
    client.expect_prefix("ERROR denied publish:3 ");
    let (page, status) = ruled.curl(Some("ann"), &[], "/api/kept");
    assert_eq!(status, 200, "{page}");
    let answer: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(rows(&answer), ["chat/a 1 17 1 1"]);
    assert_eq!(
        (&answer["total"], &answer["messages"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn the_client_lists_them() {
    let folder = folder();
    let broker = broker(folder.path());
    let (code, out, err) = outcome(&mut client_of(&broker, "kept", &[]));
    assert_eq!((code, &*out), (Some(0), ""));
    assert!(err.contains("there is no kept topic"), "{err}");
    publish(&broker);
    let (code, out, err) = outcome(&mut client_of(
        &broker,
        "kept",
        &["chat/#", "--sort", "size"],
    ));
    assert_eq!(code, Some(0), "{err}");
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..4], ["topic", "messages", "size", "age"], "{out}");
    assert!(out.contains("\nchat/a         3  51 B"), "{out}");
    let note = "client: 4 messages in 2 topics, 68 B; the broker keeps those of at most 8 topics\n";
    assert_eq!(err, note);
    let (_, out, _) = outcome(&mut client_of(&broker, "kept", &["$h/#", "--json"]));
    let row: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&row["topic"], &row["messages"]),
        (&json!("$h/xyz"), &json!(1))
    );
}

/// A kept message is matched, with or without a subscriber.
#[test]
fn the_ledger_counts_what_is_kept() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "chat/#=3"]);
    let mut asker = Asker::of(&broker);
    let mut figures = |expected: [u64; 4]| {
        let audit = asker.ask("audit");
        let of = |name: &str| audit[name].as_u64().expect("a number");
        // Each answer to this one before was a message with a subscriber.
        let answers = expected[0];
        let [matched, unmatched, kept] = ["matched", "unmatched", "kept"].map(of);
        assert_eq!(
            [matched - answers, unmatched, kept],
            expected[1..],
            "{audit}"
        );
        assert_eq!(
            (&audit["balanced"], &audit["exact"]),
            (&true.into(), &true.into())
        );
    };
    let mut client = broker.connect();
    let publish = |client: &mut tests::TestClient, lines: &[&str]| {
        client.send(lines.join("\n"));
        client.send("PING done").read_until("PONG done");
    };
    // With a route that is looked up, one that is known, and the same again; with attributes; retained.
    let all = [
        "PUBLISH chat/a 1",
        "PUBLISH chat/a 2",
        "PUBLISH chat/a 3",
        "PUBLISH none 4",
        "PUBLISH chat/a 5",
        "@unit=C PUBLISH chat/a 6",
        "@retain PUBLISH chat/a 7",
        "@retain PUBLISH none 8",
    ];
    publish(&mut client, &all);
    figures([0, 6, 2, 6]);
    // With a follower, a subscriber, and a group.
    let mut follower = broker.connect();
    follower
        .send("@since=now SUBSCRIBE chat/a")
        .expect("SUBACK chat/a")
        .expect_prefix("CURRENT ");
    publish(&mut client, &all[..3]);
    figures([1, 9, 2, 9]);
    let mut subscriber = broker.subscribe("chat/a");
    let mut member = broker.subscribe("$share/g/none");
    publish(&mut client, &all[1..4]);
    figures([2, 12, 2, 11]);
    subscriber.send("BYE").read_until("BYE");
    member.send("BYE").read_until("BYE");
    assert!(
        broker.ledger().contains(" 11 kept, "),
        "{}",
        broker.ledger()
    );
}
