//! Many at once: what holds for three clients holds for thousands, and for those that vanish.

use std::thread;
use std::time::Duration;

use tests::{TestBroker, TestClient};

const THREADS: usize = 8;

#[test]
fn a_thousand_clients_get_the_same_message() {
    let broker = TestBroker::start();
    let mut clients: Vec<TestClient> = thread::scope(|scope| {
        let connect = || -> Vec<TestClient> {
            let mut some: Vec<_> = (0..1000 / THREADS).map(|_| broker.connect()).collect();
            for client in &mut some {
                client.send("SUBSCRIBE news");
            }
            some
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connect)).collect();
        let each = threads
            .into_iter()
            .map(|one| one.join().expect("all connect"));
        each.flatten().collect()
    });
    for client in &mut clients {
        client.expect("SUBACK news");
    }
    let mut bob = broker.connect();
    bob.send("PUBLISH news to all of you")
        .expect("PUBACK 1 1000");
    for client in &mut clients {
        client.expect("MESSAGE news to all of you").expect_silence();
    }
    bob.send("PUBLISH news and again").expect("PUBACK 2 1000");
    for client in &mut clients {
        client.expect("MESSAGE news and again");
    }
    // All leave at once; none is forgotten, none is kept.
    drop(clients);
    tests::eventually("all are gone", || {
        bob.send("PUBLISH news anybody?")
            .read_line()
            .ends_with(" 0")
    });
}

#[test]
fn two_thousand_that_vanish_inside_a_line_do_not_disturb_the_others() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    thread::scope(|scope| {
        for thread in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                for n in 0..500 {
                    let mut client = broker.connect();
                    client.write("PUBLISH cut off by the end of the conn");
                    if (n + thread) % 2 == 0 {
                        client.vanish();
                    }
                }
            });
        }
        for n in 1..=300 {
            bob.send(format!("PUBLISH news {n}"))
                .expect(format!("PUBACK {n} 1"));
            ann.expect(format!("MESSAGE news {n}"));
        }
    });
    ann.expect_silence();
    // Those that came first are served first, so this one's answer comes after all of them.
    broker.connect().send("PING").expect("PONG");
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
    ann.expect("BYE").expect_end();
}

#[test]
fn nothing_of_a_frame_is_delivered_whose_publisher_died_inside_it() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    let long = "x".repeat(300_000);
    for (n, cut) in ["P", "PUBLISH", "PUBLISH news", "PUBLISH news half", &long]
        .iter()
        .enumerate()
    {
        let mut orderly = broker.connect();
        orderly
            .write(format!("PUBLISH news {n}\n{cut}"))
            .half_close();
        orderly.expect("PUBACK 1 1");
        // The answer to the line that was cut off would stand here.
        orderly.expect_end();
        ann.expect(format!("MESSAGE news {n}"));

        let mut sudden = broker.connect();
        sudden.send("PUBLISH news whole").expect("PUBACK 1 1");
        sudden.write(format!("PUBLISH news {cut}"));
        sudden.vanish();
        ann.expect("MESSAGE news whole");
    }
    ann.expect_silence();
    assert_eq!(broker.stop().code, Some(0));
    ann.expect("BYE").expect_end();
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let come_and_go = || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..250 {
                        let mut client = broker.connect();
                        client
                            .send(format!("SUBSCRIBE news a/{n} b/{n}/#"))
                            .read_to_fence();
                    }
                });
            }
        });
    };
    come_and_go();
    let before = broker.resident_kib();
    for _ in 0..3 {
        come_and_go();
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB are left of 3000 clients");
    tests::eventually("all are gone", || {
        bob.send("PUBLISH news x").read_line().ends_with(" 0")
    });
}
