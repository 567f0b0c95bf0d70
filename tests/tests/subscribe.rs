//! Promises of "SUBSCRIBE": its answers, their order, and what follows them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tests::TestBroker;

#[test]
fn each_filter_is_answered_in_order_and_as_it_was_spelt() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE b/+ a/# $share/g/x Zoë /");
    ann.expect("SUBACK b/+")
        .expect("SUBACK a/#")
        .expect("SUBACK $share/g/x");
    ann.expect("SUBACK Zoë").expect("SUBACK /").expect_silence();
}

#[test]
fn one_bad_filter_does_not_spoil_the_others() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a b+ c #/d e").expect("SUBACK a");
    ann.expect_error("bad-filter", "subscribe:b+")
        .expect("SUBACK c");
    ann.expect_error("bad-filter", "subscribe:#/d")
        .expect("SUBACK e");
    for (n, topic) in (1..).zip(["a", "c", "e"]) {
        bob.send(format!("PUBLISH {topic} x"))
            .expect(format!("PUBACK {n} 1"));
        ann.expect(format!("MESSAGE {topic} x"));
    }
    ann.expect_silence();
}

#[test]
fn a_subscribe_without_filter_is_refused() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE")
        .expect_error("missing-argument", "line");
    ann.send("SUBSCRIBE ")
        .expect_error("missing-argument", "line");
    ann.expect_silence();
}

#[test]
fn subscribing_again_to_the_same_filter_changes_nothing() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a a")
        .expect("SUBACK a")
        .expect("SUBACK a");
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    bob.send("PUBLISH a x").expect("PUBACK 1 1");
    ann.expect("MESSAGE a x").expect_silence();
    ann.send("UNSUBSCRIBE a").expect("UNSUBACK a");
    bob.send("PUBLISH a x").expect("PUBACK 2 0");
    ann.expect_silence();
}

#[test]
fn a_message_comes_behind_the_suback_of_its_filter() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 16;
                bob.write("PUBLISH busy/topic x\n".repeat(16));
                bob.read_until_prefix(&format!("PUBACK {n} "));
            }
        });
        for n in 0..100 {
            let filter = ["busy/topic", "busy/+", "#", "$share/g/busy/topic"][n % 4];
            let mut ann = broker.connect();
            ann.send(format!("SUBSCRIBE {filter}"))
                .expect(format!("SUBACK {filter}"));
            ann.expect("MESSAGE busy/topic x");
            ann.send("BYE").read_until("BYE");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn every_message_published_after_the_suback_is_delivered() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let mut published = 0;
    for n in 0..200 {
        let filter = ["news/+", "news/today", "#"][n % 3];
        let mut ann = broker.connect();
        ann.send(format!("SUBSCRIBE {filter}"))
            .expect(format!("SUBACK {filter}"));
        published += 1;
        bob.send(format!("PUBLISH news/today {n}"));
        bob.expect_prefix(&format!("PUBACK {published} "));
        ann.expect(format!("MESSAGE news/today {n}"))
            .expect_silence();
    }
}

#[test]
fn a_connection_may_have_as_many_subscriptions_as_the_limit() {
    let broker = TestBroker::with_args(&["--max-subscriptions", "3"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a b/+ c d")
        .expect("SUBACK a")
        .expect("SUBACK b/+")
        .expect("SUBACK c");
    ann.expect_error("too-many", "subscribe:d");
    ann.send("SUBSCRIBE e/#")
        .expect_error("too-many", "subscribe:e/#");
    ann.send("SUBSCRIBE $share/g/f")
        .expect_error("too-many", "subscribe:$share/g/f");
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    bob.send("PUBLISH d x").expect("PUBACK 1 0");
    bob.send("PUBLISH a x").expect("PUBACK 2 1");
    ann.expect("MESSAGE a x");
    ann.send("UNSUBSCRIBE c").expect("UNSUBACK c");
    ann.send("SUBSCRIBE d").expect("SUBACK d");
    bob.send("PUBLISH d x").expect("PUBACK 3 1");
    ann.expect("MESSAGE d x").expect_silence();
    bob.send("SUBSCRIBE a b c")
        .expect("SUBACK a")
        .expect("SUBACK b")
        .expect("SUBACK c");
}

#[test]
fn a_client_may_have_a_thousand_subscriptions() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    let filters: Vec<String> = (0..1000)
        .map(|n| {
            if n % 10 == 0 {
                format!("t/{n}/+")
            } else {
                format!("t/{n}")
            }
        })
        .collect();
    ann.send(format!("SUBSCRIBE {}", filters.join(" ")));
    for filter in &filters {
        ann.expect(format!("SUBACK {filter}"));
    }
    for (n, filter) in (1..).zip(&filters) {
        let topic = filter.replace('+', "x");
        bob.send(format!("PUBLISH {topic} {n}"))
            .expect(format!("PUBACK {n} 1"));
        ann.expect(format!("MESSAGE {topic} {n}"));
    }
    ann.expect_silence();
}
