//! Promises of "PUBLISH" and "MESSAGE": which clients get a message, and what of it.

use tests::{Random, TestBroker};

#[test]
fn a_message_reaches_the_subscribers_of_its_topic_and_no_other_client() {
    let broker = TestBroker::start();
    let (mut ann, mut bob, mut eve) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    eve.send("SUBSCRIBE sport").expect("SUBACK sport");
    bob.send("PUBLISH news hi").expect("PUBACK 1 1");
    ann.expect("MESSAGE news hi");
    eve.expect_silence();
    bob.expect_silence();
    ann.expect_silence();
}

#[test]
fn a_message_reaches_each_of_a_hundred_subscribers_once() {
    let broker = TestBroker::start();
    let mut subscribers: Vec<_> = (0..100).map(|_| broker.connect()).collect();
    for subscriber in &mut subscribers {
        subscriber.send("SUBSCRIBE news").expect("SUBACK news");
    }
    broker
        .connect()
        .send("PUBLISH news hi")
        .expect("PUBACK 1 100");
    for subscriber in &mut subscribers {
        subscriber.expect("MESSAGE news hi").expect_silence();
    }
}

#[test]
fn a_publisher_that_is_subscribed_gets_its_own_messages() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    let mut came = ann.send("PUBLISH news hi").read_to_fence();
    came.sort();
    assert_eq!(came, ["MESSAGE news hi", "PUBACK 1 1"]);
}

#[test]
fn a_later_subscriber_does_not_get_what_was_published_before() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("PUBLISH news early").expect("PUBACK 1 0");
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.send("PUBLISH news late").expect("PUBACK 2 1");
    ann.expect("MESSAGE news late").expect_silence();
}

#[test]
fn topics_that_differ_in_case_or_slashes_are_different() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    for (n, topic) in ["A", "/a", "a/", "a/a", "aa"].into_iter().enumerate() {
        bob.send(format!("PUBLISH {topic} x"));
        bob.expect(format!("PUBACK {} 0", n + 1));
    }
    ann.expect_silence();
}

#[test]
fn a_topic_may_be_in_any_script() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE اتاق/+").expect("SUBACK اتاق/+");
    broker
        .connect()
        .send("PUBLISH اتاق/گفتگو سلام")
        .expect("PUBACK 1 1");
    ann.expect("MESSAGE اتاق/گفتگو سلام").expect_silence();
}

#[test]
fn a_client_that_has_left_gets_no_copies() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news a/+")
        .expect("SUBACK news")
        .expect("SUBACK a/+");
    ann.send("BYE").expect("BYE").expect_end();
    tests::eventually("the topic has no subscriber", || {
        let exact = bob.send("PUBLISH news x").read_line();
        let wild = bob.send("PUBLISH a/b x").read_line();
        exact.ends_with(" 0") && wild.ends_with(" 0")
    });

    let mut gone = broker.connect();
    gone.send("SUBSCRIBE news").expect("SUBACK news");
    gone.vanish();
    tests::eventually("the topic has no subscriber", || {
        bob.send("PUBLISH news x").read_line().ends_with(" 0")
    });
}

#[test]
fn messages_of_all_sizes_arrive_whole() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE sizes").expect("SUBACK sizes");
    let letters: Vec<u8> = Random::new(1)
        .bytes(3_000_000)
        .into_iter()
        .map(|byte| b'a' + byte % 26)
        .collect();
    let around = [
        256,
        1024,
        2048,
        4096,
        16 * 1024,
        64 * 1024,
        256 * 1024,
        1024 * 1024,
    ];
    let sizes = around
        .into_iter()
        .flat_map(|size| size - 20..size + 3)
        .step_by(2);
    for (n, size) in (1..).zip(sizes.chain([3_000_000])) {
        let payload = &letters[..size];
        bob.send([b"PUBLISH sizes ", payload].concat());
        bob.expect(format!("PUBACK {n} 1"));
        ann.expect([b"MESSAGE sizes ", payload].concat());
    }
    ann.expect_silence();
}

#[test]
fn a_message_may_fill_a_line_of_64_mib() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE big").expect("SUBACK big");
    let mut line = b"PUBLISH big ".to_vec();
    line.resize(64 * 1024 * 1024, b'x');
    bob.send(&line).expect("PUBACK 1 1");
    line[..12].copy_from_slice(b"MESSAGE big ");
    ann.expect(&line).expect_silence();
    line[..12].copy_from_slice(b"PUBLISH big ");
    line.push(b'x');
    bob.send(&line).expect_error("too-long", "publish:2");
    bob.expect("PUBACK 2 0");
    ann.expect_silence();
}

#[test]
fn many_publishers_reach_many_subscribers() {
    let broker = TestBroker::start();
    let mut subscribers: Vec<_> = (0..10).map(|_| broker.connect()).collect();
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        let filter = if n % 2 == 0 { "from/#" } else { "from/3" };
        subscriber
            .send(format!("SUBSCRIBE {filter}"))
            .expect(format!("SUBACK {filter}"));
    }
    std::thread::scope(|scope| {
        for publisher in 0..5 {
            let mut client = broker.connect();
            scope.spawn(move || {
                for n in 1..=100 {
                    client.send(format!("PUBLISH from/{publisher} {n}"));
                    let copies = if publisher == 3 { 10 } else { 5 };
                    client.expect(format!("PUBACK {n} {copies}"));
                }
            });
        }
    });
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        let mut came = subscriber.read_to_fence();
        let publishers: &[usize] = if n % 2 == 0 { &[0, 1, 2, 3, 4] } else { &[3] };
        let mut expected: Vec<String> = publishers
            .iter()
            .flat_map(|each| (1..=100).map(move |n| format!("MESSAGE from/{each} {n}")))
            .collect();
        came.sort();
        expected.sort();
        assert_eq!(came, expected);
    }
}
