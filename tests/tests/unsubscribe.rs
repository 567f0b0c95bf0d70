//! Promises of "UNSUBSCRIBE": its answers, and that nothing follows them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tests::TestBroker;

#[test]
fn each_filter_is_answered_in_order_whether_it_was_subscribed_or_not() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a b/+")
        .expect("SUBACK a")
        .expect("SUBACK b/+");
    ann.send("UNSUBSCRIBE b/+ never a+ a a")
        .expect("UNSUBACK b/+")
        .expect("UNSUBACK never");
    ann.expect_error("bad-filter", "unsubscribe:a+");
    ann.expect("UNSUBACK a")
        .expect("UNSUBACK a")
        .expect_silence();
    ann.send("UNSUBSCRIBE")
        .expect_error("missing-argument", "line");
}

#[test]
fn only_the_filter_as_it_was_spelt_is_taken_away() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE a/+").expect("SUBACK a/+");
    ann.send("UNSUBSCRIBE a/b a/# # $share/g/a/+")
        .read_to_fence();
    bob.send("PUBLISH a/b x").expect("PUBACK 1 1");
    ann.expect("MESSAGE a/b x");
    ann.send("UNSUBSCRIBE a/+").expect("UNSUBACK a/+");
    bob.send("PUBLISH a/b x").expect("PUBACK 2 0");
    ann.expect_silence();
}

#[test]
fn what_one_client_takes_away_others_keep() {
    let broker = TestBroker::start();
    let (mut ann, mut bob, mut eve) = (broker.connect(), broker.connect(), broker.connect());
    for client in [&mut ann, &mut eve] {
        client
            .send("SUBSCRIBE a b/#")
            .expect("SUBACK a")
            .expect("SUBACK b/#");
    }
    ann.send("UNSUBSCRIBE a b/#")
        .expect("UNSUBACK a")
        .expect("UNSUBACK b/#");
    bob.send("PUBLISH a x").expect("PUBACK 1 1");
    bob.send("PUBLISH b x").expect("PUBACK 2 1");
    eve.expect("MESSAGE a x")
        .expect("MESSAGE b x")
        .expect_silence();
    ann.expect_silence();
}

#[test]
fn nothing_for_a_filter_follows_its_unsuback() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    // Clients that connected first are delivered to first, which gives the one under test the time to
    // take back its subscription between the look-up of a message's way and its delivery.
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let mut client = broker.connect();
            client.send("SUBSCRIBE busy/#").expect("SUBACK busy/#");
            client
        })
        .collect();
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
        let _stop = OnDrop(stop);
        let mut ann = broker.connect();
        for n in 0..1000 {
            let filter = ["busy/topic", "busy/+", "#", "$share/g/busy/topic"][n % 4];
            ann.send(format!("SUBSCRIBE {filter}"))
                .expect(format!("SUBACK {filter}"));
            ann.expect("MESSAGE busy/topic x");
            ann.send(format!("UNSUBSCRIBE {filter}"));
            ann.read_until(&format!("UNSUBACK {filter}"));
            ann.expect_silence();
        }
    });
    drop(crowd);
}

/// Ends the other thread also when this one fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
