//! Promises of "PUBLISH" about `@retain`: the last value of a topic.

use protocol::{RETAINED, Reply};
use tests::{Asker, TestBroker, TestClient, eventually};

/// Subscribes a new client; what it gets between its SUBACK and a fence.
fn retained_for(broker: &TestBroker, filter: &str) -> Vec<String> {
    let mut client = broker.connect();
    client
        .send(format!("SUBSCRIBE {filter}"))
        .expect(format!("SUBACK {filter}"));
    client.read_to_fence()
}

#[track_caller]
fn keep(client: &mut TestClient, topic: &str, value: &str) {
    client.send(format!("@retain PUBLISH {topic} {value}"));
    client.expect_prefix("PUBACK ");
}

#[test]
fn a_later_subscriber_gets_the_last_value() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    keep(&mut ann, "lamp", "on");
    keep(&mut ann, "lamp", "off");
    assert_eq!(
        retained_for(&broker, "lamp"),
        ["@retained MESSAGE lamp off"]
    );
    assert_eq!(retained_for(&broker, "+"), ["@retained MESSAGE lamp off"]);
    assert!(retained_for(&broker, "lamps").is_empty());
}

#[test]
fn an_earlier_subscriber_gets_it_like_any_message() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("SUBSCRIBE lamp").expect("SUBACK lamp");
    ann.send("@retain PUBLISH lamp on").expect("PUBACK 1 1");
    bob.expect("MESSAGE lamp on").expect_silence();
}

#[test]
fn a_message_without_retain_does_not_replace_the_retained_one() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    keep(&mut ann, "lamp", "on");
    ann.send("PUBLISH lamp flicker").expect("PUBACK 2 0");
    ann.send("PUBLISH lamp").expect("PUBACK 3 0");
    assert_eq!(retained_for(&broker, "lamp"), ["@retained MESSAGE lamp on"]);
}

#[test]
fn an_empty_payload_clears_the_value() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("SUBSCRIBE lamp").expect("SUBACK lamp");
    keep(&mut ann, "lamp", "on");
    ann.send("@retain PUBLISH lamp").expect("PUBACK 2 1");
    assert!(retained_for(&broker, "lamp").is_empty());
    bob.expect("MESSAGE lamp on")
        .expect("MESSAGE lamp")
        .expect_silence();
    keep(&mut ann, "lamp", "again");
    assert_eq!(
        retained_for(&broker, "lamp"),
        ["@retained MESSAGE lamp again"]
    );
}

#[test]
fn retained_messages_come_in_the_order_of_their_topics() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    for topic in ["room/c", "room/a", "room", "room/b/x", "hall", "room/b"] {
        keep(&mut ann, topic, "1");
    }
    let expected = ["room", "room/a", "room/b", "room/b/x", "room/c"];
    let expected = expected.map(|topic| format!("@retained MESSAGE {topic} 1"));
    assert_eq!(retained_for(&broker, "room/#"), expected);
}

#[test]
fn each_filter_of_a_subscribe_is_followed_by_its_own_values() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    keep(&mut ann, "a", "1");
    keep(&mut ann, "b", "2");
    let mut bob = broker.connect();
    bob.send("SUBSCRIBE b c a");
    bob.expect("SUBACK b").expect("@retained MESSAGE b 2");
    bob.expect("SUBACK c");
    bob.expect("SUBACK a")
        .expect("@retained MESSAGE a 1")
        .expect_silence();
}

#[test]
fn subscribing_again_sends_the_retained_messages_again() {
    let broker = TestBroker::start();
    keep(&mut broker.connect(), "lamp", "on");
    let mut ann = broker.connect();
    for _ in 0..2 {
        ann.send("SUBSCRIBE lamp").expect("SUBACK lamp");
        ann.expect("@retained MESSAGE lamp on").expect_silence();
    }
}

#[test]
fn subscribing_again_while_retained_messages_are_on_their_way_sends_them_once() {
    const TOPICS: usize = 20_000;
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let text = "x".repeat(1000);
    let values: String = (0..TOPICS)
        .map(|n| format!("@retain PUBLISH sensor/{n} {text}\n"))
        .collect();
    ann.write(values);
    ann.read_until_prefix(&format!("PUBACK {TOPICS} "));
    let mut greedy = TestClient::connect_with_small_buffer(broker.address());
    greedy.write(format!("NAME greedy\n{}", "SUBSCRIBE #\n".repeat(300)));
    let mut asker = Asker::of(&broker);
    eventually("all 300 are handled", || {
        let answer = asker.ask("who");
        let clients = answer["connections"].as_array().expect("a list");
        let record = clients.iter().find(|client| client["name"] == "greedy");
        record.is_some_and(|record| {
            let copies = record["copies"].as_u64().expect("a number");
            assert!(copies <= 2 * TOPICS as u64, "{copies} copies");
            copies >= TOPICS as u64 && record["idle_s"].as_f64() > Some(1.0)
        })
    });
}

#[test]
fn a_shared_filter_gets_no_retained_messages() {
    let broker = TestBroker::start();
    keep(&mut broker.connect(), "lamp", "on");
    assert!(retained_for(&broker, "$share/g/lamp").is_empty());
}

#[test]
fn a_wildcard_in_the_first_level_does_not_see_retained_messages_that_begin_with_a_dollar() {
    let broker = TestBroker::start();
    keep(&mut broker.connect(), "$app/x", "1");
    assert!(retained_for(&broker, "#").is_empty());
    assert_eq!(
        retained_for(&broker, "$app/#"),
        ["@retained MESSAGE $app/x 1"]
    );
}

#[test]
fn a_retained_message_keeps_its_attributes() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("@unit=C;retain PUBLISH heat 21")
        .expect("PUBACK 1 0");
    let came = retained_for(&broker, "heat");
    let Ok(Reply::Message { attributes, .. }) = Reply::decode(came[0].as_bytes()) else {
        panic!("expected a message, came {came:?}");
    };
    let items: Vec<_> = attributes.iter().collect();
    assert_eq!(items.len(), 2);
    assert!(items.contains(&("unit", Some(b"C".into()))));
    assert!(items.contains(&(RETAINED, None)));
}

#[test]
fn retained_messages_outlive_their_publisher() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    keep(&mut ann, "lamp", "on");
    ann.send("BYE").expect("BYE").expect_end();
    assert_eq!(retained_for(&broker, "lamp"), ["@retained MESSAGE lamp on"]);
}

#[test]
fn a_value_that_is_large_or_holds_any_bytes_is_kept_whole() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    let value = [&[0, 255, b'\\', b'n', b'\t'][..], &[b'x'; 200_000]].concat();
    ann.send([b"@retain PUBLISH blob ", &value[..]].concat())
        .expect("PUBACK 1 0");
    bob.send("SUBSCRIBE blob").expect("SUBACK blob");
    bob.expect([b"@retained MESSAGE blob ", &value[..]].concat())
        .expect_silence();
}

#[test]
fn over_the_limit_a_new_topic_is_refused_and_a_retained_one_can_be_replaced() {
    let broker = TestBroker::with_args(&["--max-retained", "2"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("SUBSCRIBE +").expect("SUBACK +");
    keep(&mut ann, "a", "1");
    keep(&mut ann, "b", "1");
    bob.expect("MESSAGE a 1").expect("MESSAGE b 1");
    ann.send("@retain PUBLISH c 1")
        .expect_error("too-many", "publish:3");
    ann.expect("PUBACK 3 0");
    bob.expect_silence();
    keep(&mut ann, "b", "2");
    ann.send("PUBLISH c 2").expect("PUBACK 5 1");
    ann.send("@retain PUBLISH a").expect("PUBACK 6 1");
    keep(&mut ann, "c", "3");
    assert_eq!(
        retained_for(&broker, "+"),
        ["@retained MESSAGE b 2", "@retained MESSAGE c 3"]
    );
}

#[test]
fn over_the_limit_of_bytes_a_value_is_refused() {
    let broker = TestBroker::with_args(&["--max-retained-bytes", "10000"]);
    let mut ann = broker.connect();
    let large = "x".repeat(6000);
    keep(&mut ann, "a", &large);
    ann.send(format!("@retain PUBLISH b {large}"))
        .expect_error("too-many", "publish:2");
    ann.expect("PUBACK 2 0");
    keep(&mut ann, "a", "small");
    keep(&mut ann, "b", &large);
    assert_eq!(retained_for(&broker, "#").len(), 2);
}
