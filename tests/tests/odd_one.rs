//! Promise 4 of "What always holds", in a crowd: one of many subscribers that stalls, trickles or
//! vanishes takes nothing from the others, and its own account is exact. How little the others
//! notice, `measure one-of` tells.

use tests::{TestBroker, TestClient};

const OTHERS: usize = 97;
const OUTBOX_BYTES: &str = "65536";

/// Published to the odd ones alone: more than the two kernels and an outbox hold for each.
const FILLING: usize = 10_000;
const FILLING_BYTES: usize = 1000;

const ROUNDS: usize = 100;
const EACH_ROUND: usize = 4;

/// What an odd one has been sent, and what it has been told is missing.
#[derive(Debug, Default)]
struct Account {
    came: usize,
    missing: usize,
}

impl Account {
    fn add(&mut self, line: &str) {
        match line.strip_prefix("GAP ") {
            Some(count) => self.missing += count.parse::<usize>().expect("a number"),
            None => {
                assert!(line.starts_with("MESSAGE "), "came {line:?}");
                self.came += 1;
            }
        }
    }
}

/// What the broker has written to its log of a connection that has ended: how many messages were
/// delivered, dropped and discarded.
fn tally(log: &str, address: &str) -> [usize; 3] {
    let about = format!("from {address} ends after ");
    let line = log.lines().find(|line| line.contains(&about));
    let line = line.unwrap_or_else(|| panic!("nothing is said of {address}:\n{log}"));
    ["delivered", "dropped", "discarded"].map(|what| {
        let number = line.split(&format!(" {what}")).next();
        let number = number.and_then(|before| before.rsplit(' ').next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("nothing is said of {what}: {line:?}"))
    })
}

#[test]
fn one_of_a_hundred_that_stalls_trickles_or_vanishes_costs_the_others_nothing() {
    let broker =
        TestBroker::with_args(&["--max-line", OUTBOX_BYTES, "--outbox-bytes", OUTBOX_BYTES]);
    let mut others: Vec<_> = (0..OTHERS).map(|_| broker.connect()).collect();
    for other in &mut others {
        other.send("SUBSCRIBE news").expect("SUBACK news");
    }
    let odd_one = || {
        let mut client = TestClient::connect_with_small_buffer(broker.address());
        client
            .send("SUBSCRIBE news odd")
            .expect("SUBACK news")
            .expect("SUBACK odd");
        client
    };
    let (mut stalled, mut trickling, vanishing) = (odd_one(), odd_one(), odd_one());
    let vanishing_address = vanishing.local_addr().to_string();
    let mut vanishing = Some(vanishing);

    let mut bob = broker.connect();
    let filling = format!("PUBLISH odd {}\n", "x".repeat(FILLING_BYTES)).repeat(50);
    for _ in 0..FILLING / 50 {
        bob.write(&filling);
    }
    bob.read_until_prefix(&format!("PUBACK {FILLING} "));

    // What was published while the one that vanishes was there, at least and at most.
    let (mut at_least, mut at_most) = (FILLING, FILLING);
    let mut published = FILLING;
    let mut trickled = Account::default();
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            at_least = published;
            vanishing.take().map_or_else(|| {}, TestClient::vanish);
        }
        for n in 0..EACH_ROUND {
            bob.send(format!("PUBLISH news {round} {n}"));
            published += 1;
            let receipt = bob.read_until_prefix(&format!("PUBACK {published} "));
            let copies = receipt
                .rsplit(' ')
                .next()
                .and_then(|word| word.parse().ok());
            assert!(
                copies == Some(OTHERS + 2) || copies == Some(OTHERS + 3),
                "{receipt}"
            );
            if copies == Some(OTHERS + 3) {
                at_most = published;
            }
        }
        for other in &mut others {
            for n in 0..EACH_ROUND {
                other.expect(format!("MESSAGE news {round} {n}"));
            }
        }
        trickled.add(&trickling.read_line());
    }
    for other in &mut others {
        other.expect_silence();
    }

    for (client, mut account) in [
        (&mut stalled, Account::default()),
        (&mut trickling, trickled),
    ] {
        for line in client.read_to_fence() {
            account.add(&line);
        }
        assert_eq!(account.came + account.missing, published, "{account:?}");
        assert!(account.missing > 0, "it was not slow enough: {account:?}");
    }
    broker.wait_for_log(&format!("from {vanishing_address} ends after "));
    let tally = tally(&broker.log(), &vanishing_address);
    let sum: usize = tally.iter().sum();
    assert!(
        (at_least..=at_most).contains(&sum),
        "{tally:?} is {sum}, and {at_least} to {at_most} were published"
    );
}
