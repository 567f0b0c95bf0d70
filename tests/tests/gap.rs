//! Promises of "GAP", and promise 4 of "What always holds": a client that does not read misses
//! messages, is told how many, and is no burden to other clients.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use tests::{TestBroker, TestClient};

const OUTBOX_BYTES: usize = 65_536;
const PAYLOAD_BYTES: usize = 1000;

fn broker() -> TestBroker {
    let bytes = OUTBOX_BYTES.to_string();
    TestBroker::with_args(&["--max-line", &bytes, "--outbox-bytes", &bytes])
}

/// A subscriber of `news` that is not going to read for a while.
fn slow(broker: &TestBroker) -> TestClient {
    broker.connect_slow("news")
}

/// Sends numbered messages and waits for all receipts now and then.
struct Publisher {
    client: TestClient,
    published: usize,
}

impl Publisher {
    fn new(broker: &TestBroker) -> Self {
        Self {
            client: broker.connect(),
            published: 0,
        }
    }

    fn publish(&mut self, count: usize) {
        let pad = "x".repeat(PAYLOAD_BYTES);
        let numbers = self.published + 1..=self.published + count;
        let frames: Vec<String> = numbers
            .map(|n| format!("PUBLISH news {n} {pad}\n"))
            .collect();
        for some in frames.chunks(64) {
            self.client.write(some.concat());
        }
        self.published += count;
        self.client
            .read_until_prefix(&format!("PUBACK {} ", self.published));
    }
}

/// What a subscriber of numbered messages has seen.
#[derive(Debug, Default)]
struct Tally {
    /// The number of the last message that came or is counted as missing.
    last: usize,
    came: usize,
    missing: usize,
    gaps: usize,
    /// The fewest messages between two gaps.
    shortest_run: Option<usize>,
    run: usize,
}

impl Tally {
    /// Counts a line. Each message has the number that is due, after each GAP too.
    #[track_caller]
    fn add(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("GAP ") {
            let count: usize = count.parse().expect("a number");
            assert!(count > 0, "a GAP of nothing");
            if self.gaps > 0 {
                self.shortest_run = Some(self.shortest_run.map_or(self.run, |n| n.min(self.run)));
            }
            (self.last, self.missing) = (self.last + count, self.missing + count);
            (self.gaps, self.run) = (self.gaps + 1, 0);
            return;
        }
        let number = line
            .strip_prefix("MESSAGE news ")
            .and_then(|rest| rest.split_once(' '));
        let Some((number, pad)) = number else {
            panic!("expected a message or a GAP, came {line:?}");
        };
        assert_eq!(number.parse(), Ok(self.last + 1), "after {self:?}");
        assert_eq!(pad.len(), PAYLOAD_BYTES, "a message was cut");
        (self.last, self.came, self.run) = (self.last + 1, self.came + 1, self.run + 1);
    }

    fn add_all(&mut self, lines: &[String]) {
        for line in lines {
            self.add(line);
        }
    }
}

#[test]
fn a_gap_stands_exactly_where_messages_are_missing_and_counts_them_exactly() {
    let broker = broker();
    let mut slow = slow(&broker);
    let mut publisher = Publisher::new(&broker);
    let mut tally = Tally::default();
    for round in 1..=3 {
        publisher.publish(10_000);
        tally.add_all(&slow.read_to_fence());
        assert_eq!(tally.last, publisher.published, "{tally:?}");
        assert_eq!(tally.came + tally.missing, publisher.published);
        assert!(tally.gaps >= round, "it was not slow enough: {tally:?}");
    }
}

#[test]
fn after_a_gap_the_client_is_subscribed_as_before() {
    let broker = broker();
    let mut slow = slow(&broker);
    let mut publisher = Publisher::new(&broker);
    publisher.publish(10_000);
    slow.read_to_fence();
    for _ in 0..100 {
        publisher.publish(1);
        let number = publisher.published;
        slow.expect_prefix(&format!("MESSAGE news {number} "));
    }
    slow.expect_silence();
}

#[test]
fn a_gap_is_told_without_anything_else_having_to_happen() {
    let broker = broker();
    let mut slow = slow(&broker);
    let mut publisher = Publisher::new(&broker);
    publisher.publish(10_000);
    let mut tally = Tally::default();
    while tally.last < 10_000 {
        tally.add(&slow.read_line());
    }
    assert!(tally.missing > 0, "it was not slow enough");
}

#[test]
fn others_get_everything_meanwhile() {
    let broker = broker();
    let slow = [slow(&broker), slow(&broker), slow(&broker)];
    let mut quick = broker.connect();
    quick.send("SUBSCRIBE news").expect("SUBACK news");
    let mut publisher = Publisher::new(&broker);
    let mut tally = Tally::default();
    // Each round is less than the quick one's outbox has room for, and it reads all of it.
    for _ in 0..300 {
        publisher.publish(32);
        for _ in 0..32 {
            tally.add(&quick.read_line());
        }
    }
    assert_eq!((tally.came, tally.missing), (publisher.published, 0));
    quick.expect_silence();
    for mut slow in slow {
        let mut tally = Tally::default();
        tally.add_all(&slow.read_to_fence());
        assert_eq!(tally.last, publisher.published);
        assert!(tally.missing > 0, "it was not slow enough: {tally:?}");
    }
}

/// What many get at once is sent to them in another way than what few get.
#[test]
fn of_a_wide_audience_only_the_slow_ones_miss_anything() {
    let broker = broker();
    let slow = [slow(&broker), slow(&broker)];
    let mut quick: Vec<_> = (0..30).map(|_| broker.connect()).collect();
    for client in &mut quick {
        client.send("SUBSCRIBE news").expect("SUBACK news");
    }
    let mut publisher = Publisher::new(&broker);
    let mut tallies: Vec<Tally> = quick.iter().map(|_| Tally::default()).collect();
    for _ in 0..200 {
        // Nearly all that an outbox has room for, so that even a full socket loses nothing.
        publisher.publish(60);
        for (client, tally) in quick.iter_mut().zip(&mut tallies) {
            (0..60).for_each(|_| tally.add(&client.read_line()));
        }
    }
    for (mut client, tally) in quick.into_iter().zip(tallies) {
        assert_eq!((tally.came, tally.missing), (publisher.published, 0));
        client.expect_silence();
        client.send("PUBLISH else x").expect("PUBACK 1 0");
    }
    for mut slow in slow {
        let mut tally = Tally::default();
        tally.add_all(&slow.read_to_fence());
        assert_eq!(tally.last, publisher.published);
        assert!(tally.missing > 0, "it was not slow enough: {tally:?}");
    }
}

#[test]
fn the_outbox_drains_to_half_before_messages_are_taken_again() {
    // More than the kernel takes at once, or every drop would find the outbox empty.
    const LARGE_OUTBOX_BYTES: usize = 8 * 1024 * 1024;
    let bytes = LARGE_OUTBOX_BYTES.to_string();
    let broker = TestBroker::with_args(&["--max-line", "65536", "--outbox-bytes", &bytes]);
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    slow.send("@slow=drop-newest SUBSCRIBE news")
        .expect("SUBACK news");
    let mut publisher = Publisher::new(&broker);
    publisher.publish(20_000);
    let mut tally = Tally::default();
    // It reads half of what is published, so its outbox stays at the brink.
    while tally.gaps < 3 {
        publisher.publish(32);
        (0..16).for_each(|_| tally.add(&slow.read_line()));
    }
    let run = tally.shortest_run.expect("more than one gap");
    let half = LARGE_OUTBOX_BYTES / 2 / (PAYLOAD_BYTES + 25);
    assert!(
        run >= half,
        "only {run} messages between two gaps: {tally:?}"
    );
}

#[test]
fn a_message_that_does_not_fit_is_dropped_whole() {
    let broker = broker();
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    slow.send("SUBSCRIBE news").expect("SUBACK news");
    let mut bob = broker.connect();
    let sizes = [10, 60_000, 100, 30_000, 1, 5000];
    let payload = |n: usize| format!("{n} {} {n}", "x".repeat(sizes[n % sizes.len()]));
    const PUBLISHED: usize = 3000;
    for n in 0..PUBLISHED {
        bob.send(format!("PUBLISH news {}", payload(n)));
    }
    bob.read_until_prefix(&format!("PUBACK {PUBLISHED} "));
    let (mut next, mut missing) = (0, 0);
    for line in slow.read_to_fence() {
        if let Some(count) = line.strip_prefix("GAP ") {
            let count: usize = count.parse().expect("a number");
            (next, missing) = (next + count, missing + count);
        } else {
            assert_eq!(line, format!("MESSAGE news {}", payload(next)));
            next += 1;
        }
    }
    assert_eq!(next, PUBLISHED);
    assert!(missing > 0, "it was not slow enough");
}

#[test]
fn the_broker_holds_no_more_for_a_slow_client_than_its_outbox() {
    let bytes = (1024 * 1024).to_string();
    let broker = TestBroker::with_args(&["--max-line", &bytes, "--outbox-bytes", &bytes]);
    let mut publisher = Publisher::new(&broker);
    publisher.publish(1000);
    let before = broker.resident_kib();
    let slow: Vec<_> = (0..8).map(|_| slow(&broker)).collect();
    publisher.publish(60_000);
    let grown = broker.resident_kib().saturating_sub(before);
    // Eight outboxes, and as much again for the pages around them.
    assert!(
        grown < 16 * 1024,
        "{grown} KiB for 8 clients of 1024 KiB each"
    );
    drop(slow);
}

/// A read of the broker may bring many times what an outbox may hold, all for one client. It was
/// kept whole when the outbox was empty at that moment.
#[test]
fn a_small_outbox_is_not_filled_beyond_its_limit_by_what_comes_at_once() {
    const CLIENTS: usize = 100;
    let broker = TestBroker::with_args(&["--max-line", "4096", "--outbox-bytes", "4096"]);
    let slow: Vec<_> = (0..CLIENTS)
        .map(|n| broker.connect_slow(&format!("news/{n}")))
        .collect();
    let mut bob = broker.connect();
    let mut published = 0;
    let mut publish = |topic: String, rounds: usize| {
        let at_once = format!("PUBLISH {topic} {}\n", "x".repeat(900)).repeat(70);
        for _ in 0..rounds {
            bob.write(&at_once);
            published += 70;
            bob.read_until_prefix(&format!("PUBACK {published} "));
        }
    };
    publish("elsewhere".to_owned(), 100);
    let before = broker.resident_kib();
    (0..CLIENTS).for_each(|n| publish(format!("news/{n}"), 60));
    let grown = broker.resident_kib().saturating_sub(before);
    let allowed = CLIENTS as u64 * 16 + 1024;
    assert!(
        grown < allowed,
        "{grown} KiB for {CLIENTS} clients of 4 KiB each"
    );
    drop(slow);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read_from_and_no_other_notices() {
    let broker = broker();
    let mut ann = TestClient::connect_with_small_buffer(broker.address());
    let before = broker.resident_kib();
    let mut writer = ann.writer();
    writer
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("an open connection");
    let ping = format!("PING {}\n", "x".repeat(1000));
    let mut written = 0;
    // Until the broker takes no more; all that waits then, waits in the two kernels' buffers.
    let left = 'full: loop {
        let mut rest = ping.as_bytes();
        while !rest.is_empty() {
            match writer.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(err) if err.kind() == ErrorKind::WouldBlock => break 'full rest,
                Err(err) => panic!("the connection broke: {err}"),
            }
        }
        written += 1;
        assert!(written < 200_000, "the broker reads on and on");
    };
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(
        grown < 8 * 1024,
        "{grown} KiB for a client that does not read"
    );

    let (mut bob, mut eve) = (broker.connect(), broker.connect());
    eve.send("SUBSCRIBE news").expect("SUBACK news");
    for n in 1..=100 {
        bob.send(format!("PUBLISH news {n}"))
            .expect(format!("PUBACK {n} 1"));
        eve.expect(format!("MESSAGE news {n}"));
    }

    let answer = ping.replace("PING", "PONG");
    for _ in 0..written {
        ann.expect(answer.trim_end());
    }
    ann.write(left).expect(answer.trim_end()).expect_silence();
}
