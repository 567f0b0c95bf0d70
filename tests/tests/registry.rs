//! Subscriptions in great numbers, and in great haste: they come and go without a message being
//! lost, doubled or out of order for any other client. `measure registry` and `measure topics` tell
//! what that costs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tests::{TestBroker, TestClient};

/// The filters of one SUBSCRIBE.
const AT_ONCE: usize = 100;

/// Subscribes to all of them.
fn subscribe(client: &mut TestClient, filters: &[String]) {
    for some in filters.chunks(AT_ONCE) {
        client.send(format!("SUBSCRIBE {}", some.join(" ")));
        for filter in some {
            client.expect(format!("SUBACK {filter}"));
        }
    }
}

#[test]
fn a_client_with_a_hundred_thousand_subscriptions_leaves_and_no_other_loses_a_message() {
    const FILTERS: usize = 100_000;
    let broker = TestBroker::start();
    let mut leaver = broker.connect();
    let filters: Vec<String> = (0..FILTERS)
        .map(|n| match n % 6 {
            0 => format!("own/{n}/#"),
            3 => format!("own/{n}/+/state"),
            _ => format!("own/{n}/door/state"),
        })
        .collect();
    subscribe(&mut leaver, &filters);
    let (mut ann, mut bob, mut eve) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news own/#")
        .expect("SUBACK news")
        .expect("SUBACK own/#");
    let end = format!("from {} ends after ", leaver.local_addr());
    let gone = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(leaver);
            broker.wait_for_log(&end);
            gone.store(true, Ordering::Release);
        });
        let mut n = 0;
        // It goes on for a while after the end, too.
        let mut left = 100;
        while left > 0 {
            left -= usize::from(gone.load(Ordering::Acquire));
            n += 1;
            bob.send(format!("PUBLISH news {n}"))
                .expect(format!("PUBACK {n} 1"));
            ann.expect(format!("MESSAGE news {n}"));
        }
    });
    ann.send("UNSUBSCRIBE own/#").expect("UNSUBACK own/#");
    let mut published = 0;
    for topic in [0, 1, 3, FILTERS / 2, FILTERS - 1].map(|n| format!("own/{n}/door/state")) {
        published += 1;
        eve.send(format!("PUBLISH {topic}"))
            .expect(format!("PUBACK {published} 0"));
    }
    ann.expect_silence();
}

#[test]
fn clients_come_and_go_all_the_time_and_a_steady_subscriber_gets_every_message_once() {
    const THREADS: usize = 3;
    const CLIENTS: usize = 150;
    const AT_A_TIME: usize = 16;
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news/1 news/+ #")
        .expect("SUBACK news/1")
        .expect("SUBACK news/+")
        .expect("SUBACK #");
    let mut n = 0;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let broker = &broker;
                scope.spawn(move || {
                    for n in 0..CLIENTS {
                        let mut client = broker.connect();
                        client.send(match n % 3 {
                            0 => "SUBSCRIBE news/1".to_owned(),
                            1 => "SUBSCRIBE news/# $share/g/news/1".to_owned(),
                            _ => format!("SUBSCRIBE other/{thread}/{n} other/+/{n}"),
                        });
                        client.read_until_prefix("SUBACK ");
                        match n % 5 {
                            0 => client.vanish(),
                            1 => {
                                client.send("UNSUBSCRIBE news/1 news/# $share/g/news/1\nBYE");
                            }
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            let frames: String = (n..n + AT_A_TIME)
                .map(|n| format!("PUBLISH news/1 {n}\n"))
                .collect();
            bob.write(frames);
            for n in n..n + AT_A_TIME {
                ann.expect(format!("MESSAGE news/1 {n}"));
            }
            n += AT_A_TIME;
            bob.read_until_prefix(&format!("PUBACK {n} "));
        }
    });
    tests::eventually("only the steady one is left", || {
        n += 1;
        let receipt = bob.send("PUBLISH news/1").read_line();
        ann.expect("MESSAGE news/1");
        receipt == format!("PUBACK {n} 1")
    });
    ann.expect_silence();
}

#[test]
fn a_publisher_goes_round_ten_thousand_topics_and_each_message_arrives_once_in_order() {
    const TOPICS: usize = 10_000;
    const ROUNDS: usize = 3;
    const READERS: usize = 3;
    let broker = TestBroker::start();
    let mut everything = broker.connect();
    everything.send("SUBSCRIBE t/+").expect("SUBACK t/+");
    let mut readers: Vec<_> = (0..READERS).map(|_| broker.connect()).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        let own: Vec<String> = (number..TOPICS)
            .step_by(READERS)
            .map(|n| format!("t/{n}"))
            .collect();
        subscribe(reader, &own);
    }
    let mut bob = broker.connect();
    let mut published = 0;
    for round in 0..ROUNDS {
        let numbers: Vec<usize> = (0..TOPICS).collect();
        for some in numbers.chunks(1000) {
            let frames: String = some
                .iter()
                .map(|n| format!("PUBLISH t/{n} {round}\n"))
                .collect();
            bob.write(frames);
            for n in some {
                let message = format!("MESSAGE t/{n} {round}");
                readers[n % READERS].expect(&message);
                everything.expect(&message);
            }
            published += some.len();
            bob.read_until_prefix(&format!("PUBACK {published} "));
        }
    }
    everything.expect_silence();
    for reader in &mut readers {
        reader.expect_silence();
    }
}
