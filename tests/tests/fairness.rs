//! Promise 4 of "What always holds", as publishers see it: one that sends as fast as it can takes
//! nothing from the others. How little they notice, `measure fairness` tells.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tests::{TestBroker, TestClient};

/// How many frames of the flood are sent at once.
const AT_ONCE: usize = 100;

/// How many messages the quiet pair exchanges.
const QUIET: usize = 500;

/// Publishes `loud <n>` as fast as the broker takes it until `done`, and waits for the receipt of
/// all; returns how many.
fn flood(client: &mut TestClient, published: &AtomicUsize, done: &AtomicBool) -> usize {
    let pad = "x".repeat(1000);
    let mut writer = client.writer();
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let frames: String = (count..count + AT_ONCE)
            .map(|n| format!("PUBLISH loud {n} {pad}\n"))
            .collect();
        writer
            .write_all(frames.as_bytes())
            .expect("the broker reads on");
        count += AT_ONCE;
        published.store(count, Ordering::Relaxed);
    }
    client.read_until_prefix(&format!("PUBACK {count} "));
    count
}

/// What a subscriber of the flood has seen.
#[derive(Debug, Default)]
struct Heard {
    loud: Numbers,
    quiet: Numbers,
    missing: usize,
}

/// Messages that are numbered from 0.
#[derive(Debug, Default)]
struct Numbers {
    came: usize,
    next: usize,
}

impl Heard {
    /// Reads until the answer to `PING end`. The numbers of each kind rise, and by one as long as
    /// nothing is missing.
    #[track_caller]
    fn read(client: &mut TestClient) -> Self {
        let mut heard = Self::default();
        loop {
            let line = client.read_line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["PONG", "end"] => return heard,
                ["GAP", count] => heard.missing += count.parse::<usize>().expect("a number"),
                ["MESSAGE", "loud", number, ..] => heard.loud.add(number, heard.missing),
                ["MESSAGE", "quiet", number] => heard.quiet.add(number, heard.missing),
                _ => panic!("came {line:?}"),
            }
        }
    }

    fn total(&self) -> usize {
        self.loud.came + self.quiet.came + self.missing
    }
}

impl Numbers {
    fn add(&mut self, number: &str, missing: usize) {
        let number: usize = number.parse().expect("a number");
        let due = number == self.next || (missing > 0 && number > self.next);
        assert!(due, "{number} came, {} was due", self.next);
        (self.came, self.next) = (self.came + 1, number + 1);
    }
}

#[test]
fn beside_a_publisher_at_full_speed_every_message_of_another_arrives_at_once() {
    let broker = TestBroker::start();
    let (mut loud, mut listener) = (broker.connect(), broker.connect());
    listener.send("SUBSCRIBE loud").expect("SUBACK loud");
    let mut end = listener.writer();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE quiet").expect("SUBACK quiet");
    let (published, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&mut loud, &published, &done));
        let hearing = scope.spawn(move || Heard::read(&mut listener));
        tests::eventually("the flood begins", || published.load(Ordering::Relaxed) > 0);
        let before = published.load(Ordering::Relaxed);
        for n in 1..=QUIET {
            bob.send(format!("PUBLISH quiet {n}"))
                .expect(format!("PUBACK {n} 1"));
            ann.expect(format!("MESSAGE quiet {n}"));
        }
        ann.expect_silence();
        // All of that came while the flood went on.
        tests::eventually("the flood goes on", || {
            published.load(Ordering::Relaxed) > before
        });
        done.store(true, Ordering::Relaxed);
        let published = flooding.join().expect("the flood ends");
        end.write_all(b"PING end\n").expect("an open connection");
        let heard = hearing.join().expect("all of it is heard");
        assert_eq!(heard.total(), published, "{heard:?}");
    });
}

#[test]
fn a_quiet_message_reaches_a_subscriber_of_a_flood_in_its_order() {
    let broker = TestBroker::start();
    let (mut loud, mut ann, mut bob) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE loud quiet")
        .expect("SUBACK loud")
        .expect("SUBACK quiet");
    let mut end = ann.writer();
    let (published, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&mut loud, &published, &done));
        let hearing = scope.spawn(move || Heard::read(&mut ann));
        tests::eventually("the flood begins", || published.load(Ordering::Relaxed) > 0);
        for n in 0..QUIET {
            bob.send(format!("PUBLISH quiet {n}"))
                .expect(format!("PUBACK {} 1", n + 1));
        }
        done.store(true, Ordering::Relaxed);
        let published = flooding.join().expect("the flood ends") + QUIET;
        end.write_all(b"PING end\n").expect("an open connection");
        let heard = hearing.join().expect("all of it is heard");
        assert_eq!(heard.total(), published, "{heard:?}");
        if heard.missing == 0 {
            assert_eq!(heard.quiet.came, QUIET, "{heard:?}");
        }
    });
}
