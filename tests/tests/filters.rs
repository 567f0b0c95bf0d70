//! Promises of "Filters": which topics a filter matches, and one copy for each client.

use protocol::{Filter, Topic};
use tests::{Random, TestBroker, TestClient};

/// A subscriber and a publisher of one broker, for filter after filter.
struct Pair {
    subscriber: TestClient,
    publisher: TestClient,
    published: u64,
}

impl Pair {
    fn new(broker: &TestBroker) -> Self {
        Self {
            subscriber: broker.connect(),
            publisher: broker.connect(),
            published: 0,
        }
    }

    /// Publishes on `topic`; it has to reach the subscriber as often as `copies` says.
    #[track_caller]
    fn publish(&mut self, topic: &str, copies: u64) {
        self.published += 1;
        let n = self.published;
        self.publisher.send(format!("PUBLISH {topic} {n}"));
        self.publisher.expect(format!("PUBACK {n} {copies}"));
        for _ in 0..copies {
            self.subscriber.expect(format!("MESSAGE {topic} {n}"));
        }
        self.subscriber.expect_silence();
    }

    /// Subscribes before the first message on the topic, and after it.
    #[track_caller]
    fn check(&mut self, filter: &str, topic: &str, matches: bool) {
        let subscribe = format!("SUBSCRIBE {filter}");
        let unsubscribe = format!("UNSUBSCRIBE {filter}");
        for _ in 0..2 {
            self.subscriber
                .send(&subscribe)
                .expect(format!("SUBACK {filter}"));
            self.publish(topic, matches.into());
            self.subscriber
                .send(&unsubscribe)
                .expect(format!("UNSUBACK {filter}"));
            self.publish(topic, 0);
        }
    }
}

#[test]
fn a_filter_without_wildcards_matches_its_own_topic_only() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    for topic in ["a/b", "/a/b", "a/b/", "a//b", "a/b/c", "a", "A/b"] {
        pair.check("a/b", topic, topic == "a/b");
    }
    pair.check("/", "/", true);
    pair.check("$app/x", "$app/x", true);
}

#[test]
fn plus_matches_exactly_one_level() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    for (filter, topic, matches) in [
        ("a/+", "a/b", true),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/+", "a/b/c", false),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/a", true),
        ("+/b", "a/b", true),
        ("+/b", "/b", true),
        ("+/b", "a/a/b", false),
        ("a/+/c", "a//c", true),
        ("a/+/c", "a/b/b/c", false),
        ("+/+/+", "a/b/c", true),
    ] {
        pair.check(filter, topic, matches);
    }
}

#[test]
fn hash_matches_its_level_all_below_and_the_one_above() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    for (filter, topic, matches) in [
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b", true),
        ("a/#", "a/b/c/d", true),
        ("a/#", "ab", false),
        ("a/#", "/a", false),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("+/#", "a", true),
        ("+/b/#", "a/b", true),
        ("+/b/#", "a/c", false),
    ] {
        pair.check(filter, topic, matches);
    }
}

#[test]
fn a_wildcard_in_the_first_level_does_not_see_what_begins_with_a_dollar() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    pair.check("#", "$app/x", false);
    pair.check("+/x", "$app/x", false);
    pair.check("+", "$app", false);
    pair.check("$app/#", "$app/x", true);
    pair.check("$app/+", "$app/x", true);
    pair.check("a/+", "a/$x", true);
    pair.check("a/#", "a/$x", true);
}

#[test]
fn a_client_with_several_filters_that_match_gets_one_copy() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    pair.subscriber
        .send("SUBSCRIBE # a/# a/+ a/b +/b +/#")
        .read_to_fence();
    pair.publish("a/b", 1);
    pair.publish("a", 1);
    pair.subscriber
        .send("UNSUBSCRIBE # a/# a/+ +/#")
        .read_to_fence();
    pair.publish("a/b", 1);
    pair.subscriber
        .send("UNSUBSCRIBE a/b")
        .expect("UNSUBACK a/b");
    pair.publish("a/b", 1);
    pair.subscriber
        .send("UNSUBSCRIBE +/b")
        .expect("UNSUBACK +/b");
    pair.publish("a/b", 0);
}

#[test]
fn a_topic_and_a_filter_may_have_1024_bytes_and_128_levels() {
    let broker = TestBroker::start();
    let mut pair = Pair::new(&broker);
    let (long, deep) = ("x".repeat(1024), "/".repeat(127));
    pair.check(&long, &long, true);
    pair.check(&deep, &deep, true);
    pair.check("#", &deep, true);
    let all_plus = vec!["+"; 128].join("/");
    pair.check(&all_plus, &deep, true);

    let mut ann = broker.connect();
    let longer = "x".repeat(1025);
    ann.send(format!("PUBLISH {longer} x"))
        .expect_error("bad-topic", "publish:1");
    ann.expect("PUBACK 1 0");
    let cut = format!("subscribe:{long}");
    ann.send(format!("SUBSCRIBE {longer}"))
        .expect_error("bad-filter", &cut);
    let deeper = "/".repeat(128);
    ann.send(format!("PUBLISH {deeper} x"))
        .expect_error("bad-topic", "publish:2");
    ann.expect("PUBACK 2 0");
    let subject = format!("subscribe:{deeper}");
    ann.send(format!("SUBSCRIBE {deeper}"))
        .expect_error("bad-filter", &subject);
    ann.expect_silence();
}

#[test]
fn what_is_no_filter_is_refused() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    for filter in [
        "a/#/b",
        "#/a",
        "a#",
        "a/b#",
        "a+",
        "+a/b",
        "a/+b",
        "##",
        "a\tb",
        "a\u{7f}",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g/a#",
    ] {
        ann.send(format!("SUBSCRIBE {filter}"));
        ann.expect_error("bad-filter", &format!("subscribe:{filter}"));
        ann.send(format!("UNSUBSCRIBE {filter}"));
        ann.expect_error("bad-filter", &format!("unsubscribe:{filter}"));
    }
    ann.write(b"SUBSCRIBE caf\xe9\n");
    let refusal = ann.next_line().expect("an answer");
    assert!(refusal.starts_with(b"ERROR bad-filter subscribe:caf\xe9 "));
    ann.expect_silence();
}

#[test]
fn what_is_no_topic_is_refused() {
    let broker = TestBroker::start();
    let (mut ann, mut all) = (broker.connect(), broker.connect());
    all.send("SUBSCRIBE #").expect("SUBACK #");
    let topics: [&[u8]; 8] = [
        b"+", b"a/+", b"#", b"a#", b"a\tb", b"a\0", b"caf\xe9", b"a\x7f",
    ];
    for (n, topic) in (1..).zip(topics) {
        ann.send([b"PUBLISH ", topic, b" x"].concat());
        ann.expect_error("bad-topic", &format!("publish:{n}"));
        ann.expect(format!("PUBACK {n} 0"));
    }
    all.expect_silence();
}

/// Publishers, which remember the subscribers of a topic, see every subscription and every leave.
#[test]
fn a_thousand_random_changes_leave_every_client_with_what_it_asked_for() {
    let broker = TestBroker::start();
    let mut random = Random::new(7);
    let mut clients: Vec<(TestClient, Vec<String>)> =
        (0..4).map(|_| (broker.connect(), Vec::new())).collect();
    let mut publishers = [(broker.connect(), 0), (broker.connect(), 0)];
    let level = |random: &mut Random, wild| ["a", "b", "", "+", "#"][random.below(wild)];
    for _ in 0..1000 {
        let (client, filters) = &mut clients[random.below(4)];
        match random.below(8) {
            0 => {
                *client = broker.connect();
                filters.clear();
            }
            1 | 2 if !filters.is_empty() => {
                let filter = filters.swap_remove(random.below(filters.len()));
                client.send(format!("UNSUBSCRIBE {filter}"));
                client.expect(format!("UNSUBACK {filter}"));
            }
            _ => {
                let mut levels = vec![level(&mut random, 4)];
                (0..random.below(2)).for_each(|_| levels.push(level(&mut random, 4)));
                levels.push(level(&mut random, 5));
                let filter = levels.join("/");
                client.send(format!("SUBSCRIBE {filter}"));
                client.expect(format!("SUBACK {filter}"));
                if !filters.contains(&filter) {
                    filters.push(filter);
                }
            }
        }
        let mut levels = vec![level(&mut random, 3), level(&mut random, 3)];
        (0..random.below(3)).for_each(|_| levels.push(level(&mut random, 3)));
        let name = levels.join("/");
        let topic = Topic::parse(&name).expect("a topic");
        let wants = |filter: &String| Filter::parse(filter).is_ok_and(|f| f.matches(topic));
        let wanted: Vec<bool> = clients
            .iter()
            .map(|(_, all)| all.iter().any(wants))
            .collect();
        let copies = wanted.iter().filter(|&&wanted| wanted).count();
        let (publisher, published) = &mut publishers[random.below(2)];
        *published += 1;
        // A client that was dropped may still count for a moment, as long as no client gets less.
        publisher.send(format!("PUBLISH {name} x"));
        publisher.expect_prefix(&format!("PUBACK {published} "));
        let mut came = 0;
        for ((client, filters), wanted) in clients.iter_mut().zip(wanted) {
            let messages = client.read_to_fence();
            assert_eq!(
                messages.len(),
                usize::from(wanted),
                "{filters:?} {name:?} {messages:?}"
            );
            came += messages.len();
        }
        assert_eq!(came, copies);
    }
}
