//! Promises of "Filters" about `$share/<group>/<filter>`: one member of the group each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::{Random, TestBroker, eventually};

#[test]
fn members_of_a_group_take_turns() {
    let broker = TestBroker::start();
    let mut members = [0; 3].map(|_| broker.subscribe("$share/workers/jobs/+"));
    let mut boss = broker.connect();
    for n in 1..=9 {
        boss.send(format!("PUBLISH jobs/x {n}"))
            .expect(format!("PUBACK {n} 1"));
    }
    let mut all = Vec::new();
    for member in &mut members {
        let came = member.read_to_fence();
        assert_eq!(came.len(), 3, "{came:?}");
        all.extend(came);
    }
    all.sort();
    let expected: Vec<String> = (1..=9).map(|n| format!("MESSAGE jobs/x {n}")).collect();
    assert_eq!(all, expected);
}

#[test]
fn members_take_turns_for_messages_that_come_at_once_too() {
    let broker = TestBroker::start();
    let mut members = [0; 4].map(|_| broker.subscribe("$share/workers/jobs"));
    let mut boss = broker.connect();
    let jobs: Vec<String> = (0..1000)
        .map(|n| format!("PUBLISH jobs {n:04}\n"))
        .collect();
    boss.write(jobs.concat());
    boss.read_until_prefix("PUBACK 1000 ");
    let mut all = Vec::new();
    for member in &mut members {
        let came = member.read_to_fence();
        assert!(came.is_sorted(), "each gets its share in order");
        assert_eq!(came.len(), 250);
        all.extend(came);
    }
    all.sort();
    let expected: Vec<String> = (0..1000).map(|n| format!("MESSAGE jobs {n:04}")).collect();
    assert_eq!(all, expected);
}

#[test]
fn each_group_and_each_other_subscriber_gets_its_own_copy() {
    let broker = TestBroker::start();
    let mut one = [
        broker.subscribe("$share/one/jobs"),
        broker.subscribe("$share/one/jobs"),
    ];
    let mut two = broker.subscribe("$share/two/jobs");
    let mut all = broker.subscribe("jobs");
    let mut boss = broker.connect();
    boss.send("PUBLISH jobs x").expect("PUBACK 1 3");
    two.expect("MESSAGE jobs x").expect_silence();
    all.expect("MESSAGE jobs x").expect_silence();
    let came: usize = one
        .iter_mut()
        .map(|member| member.read_to_fence().len())
        .sum();
    assert_eq!(came, 1);
}

#[test]
fn a_member_that_is_also_subscribed_by_itself_gets_one_copy() {
    let broker = TestBroker::start();
    let mut ann = broker.subscribe("$share/g/jobs");
    ann.send("SUBSCRIBE jobs $share/h/#").read_to_fence();
    let mut boss = broker.connect();
    for n in 1..=4 {
        boss.send("PUBLISH jobs x").expect(format!("PUBACK {n} 1"));
        ann.expect("MESSAGE jobs x").expect_silence();
    }
}

#[test]
fn a_member_that_leaves_takes_no_more_turns() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (
        broker.subscribe("$share/g/jobs"),
        broker.subscribe("$share/g/jobs"),
    );
    let mut boss = broker.connect();
    ann.send("UNSUBSCRIBE $share/g/jobs")
        .expect("UNSUBACK $share/g/jobs");
    for n in 1..=4 {
        boss.send("PUBLISH jobs x").expect(format!("PUBACK {n} 1"));
        bob.expect("MESSAGE jobs x");
    }
    ann.expect_silence();
    bob.send("UNSUBSCRIBE $share/g/jobs")
        .expect("UNSUBACK $share/g/jobs");
    boss.send("PUBLISH jobs x").expect("PUBACK 5 0");
}

#[test]
fn an_unsubscribe_of_the_shared_filter_leaves_clients_outside_of_the_group_alone() {
    let broker = TestBroker::start();
    let mut ann = broker.subscribe("jobs");
    ann.send("UNSUBSCRIBE $share/g/jobs")
        .expect("UNSUBACK $share/g/jobs");
    broker.connect().send("PUBLISH jobs x").expect("PUBACK 1 1");
    ann.expect("MESSAGE jobs x").expect_silence();
}

#[test]
fn a_member_whose_outbox_is_full_is_passed_over_and_nothing_is_lost() {
    let broker = TestBroker::with_args(&["--max-line", "65536", "--outbox-bytes", "65536"]);
    let mut slow = broker.connect_slow("$share/g/jobs");
    let mut quick = broker.subscribe("$share/g/jobs");
    let mut boss = broker.connect();
    let job = format!("PUBLISH jobs {}\n", "x".repeat(1000));
    let (mut published, mut taken, mut most) = (0, 0, 0);
    // Until the slow one is passed over for good, and a while longer.
    while most < 20 {
        boss.write(job.repeat(16));
        published += 16;
        boss.read_until_prefix(&format!("PUBACK {published} "));
        let came = quick.read_to_fence();
        assert!(came.iter().all(|line| line.starts_with("MESSAGE jobs ")));
        taken += came.len();
        most += usize::from(came.len() == 16);
        assert!(published < 100_000, "the slow member is never passed over");
    }
    let left = slow.read_to_fence();
    assert!(
        left.iter().all(|line| line.starts_with("MESSAGE jobs ")),
        "no GAP"
    );
    assert_eq!(taken + left.len(), published);
}

/// What waits in the outbox of a member that is cut off is not lost: it has not been on the wire.
#[test]
fn what_waits_for_a_member_that_is_gone_goes_to_the_others() {
    let broker = TestBroker::start();
    let mut gone = broker.connect_slow("$share/g/jobs/#");
    let mut boss = broker.connect();
    let pad = "x".repeat(1000);
    let jobs: String = (0..8000)
        .map(|n| format!("PUBLISH jobs/{} {n} {pad}\n", n % 3))
        .collect();
    boss.write(jobs).read_until_prefix("PUBACK 8000 ");
    let mut stays = broker.subscribe("$share/g/jobs/#");
    let (mut numbers, mut came) = (Vec::new(), 0);
    while came < 100 {
        gone.expect_prefix(&format!("MESSAGE jobs/{} {came} ", came % 3));
        came += 1;
    }
    gone.vanish();
    broker.wait_for_log(" ends after ");
    for line in stays.read_to_fence() {
        let number = line.split(' ').nth(2).expect("a number");
        numbers.push(number.parse::<usize>().expect("a number"));
    }
    // All from the first on that had not left whole.
    let first = numbers.first().copied().expect("some have waited");
    assert!(first >= came, "{first} came twice");
    assert!(numbers.iter().copied().eq(first..8000), "some are missing");
    let ledger = broker.ledger();
    assert!(
        ledger.contains("8000 copies = 8000 written + 0 waiting + 0 dropped + 0 discarded"),
        "{ledger}"
    );
}

/// How members leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    ByBye,
    /// Some by BYE, others cut off with messages on the wire.
    Killed,
}

/// What a group has got.
struct Got {
    /// How often each message came.
    counts: Vec<u8>,
    /// How many messages each killed member has read, by its name.
    killed: Vec<(String, u64)>,
}

impl Got {
    fn count(&mut self, lines: &[String]) {
        // The broker asks a client that has been silent for long.
        for line in lines.iter().filter(|line| *line != "PING") {
            let number = line
                .strip_prefix("MESSAGE jobs ")
                .expect("a message and no GAP");
            self.counts[number.parse::<usize>().expect("a number")] += 1;
        }
    }

    fn times(&self, is_so: impl Fn(u8) -> bool) -> usize {
        self.counts.iter().filter(|&&count| is_so(count)).count()
    }
}

/// Four publishers, each with this many messages, and a group of four: one that stays and three that
/// come, read a little, and leave.
fn come_and_go(broker: &TestBroker, each: usize, leaving: Leaving) -> Got {
    const PUBLISHERS: usize = 4;
    const AT_ONCE: usize = 500;
    // Of more ends, the log leaves some out.
    const MEMBERS: usize = 900;
    let got = Mutex::new(Got {
        counts: vec![0; PUBLISHERS * each],
        killed: Vec::new(),
    });
    let got_now = || got.lock().expect("no thread panics with it");
    let (left, names) = (AtomicUsize::new(PUBLISHERS), AtomicUsize::new(0));
    let mut last = broker.subscribe("$share/g/jobs");
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (mut boss, left) = (broker.connect(), &left);
            scope.spawn(move || {
                for first in (0..each).step_by(AT_ONCE) {
                    let jobs: String = (first..first + AT_ONCE)
                        .map(|n| format!("PUBLISH jobs {}\n", publisher * each + n))
                        .collect();
                    boss.write(jobs);
                    boss.read_until_prefix(&format!("PUBACK {} ", first + AT_ONCE));
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for number in 0..3 {
            let (broker, left, names, got_now) = (&broker, &left, &names, &got_now);
            scope.spawn(move || {
                let mut random = Random::new(number + 1);
                while left.load(Ordering::SeqCst) > 0 && names.load(Ordering::SeqCst) < MEMBERS {
                    let mut member = broker.subscribe("$share/g/jobs");
                    // An address may be another's soon.
                    let name = format!("member {}", names.fetch_add(1, Ordering::SeqCst));
                    let mut lines = member
                        .send(format!("NAME {name}"))
                        .read_until(&format!("NAMEACK {name}"));
                    for _ in 0..=random.below(20) {
                        lines.extend(member.read_to_fence());
                    }
                    if leaving == Leaving::Killed && random.below(2) == 0 {
                        got_now().killed.push((name, lines.len() as u64));
                        member.vanish();
                    } else {
                        lines.extend(member.send("BYE").read_until("BYE"));
                    }
                    got_now().count(&lines);
                }
            });
        }
    });
    let mut got = got.into_inner().expect("no thread panicked");
    // The messages of a client that was killed have gone to others by then.
    eventually("all but the last have ended", || {
        broker.connections() == Some(1)
    });
    got.count(&last.read_to_fence());
    got
}

#[test]
fn a_group_whose_members_come_and_go_by_bye_loses_and_doubles_nothing() {
    let broker = TestBroker::start();
    let got = come_and_go(&broker, 250_000, Leaving::ByBye);
    let ledger = broker.ledger();
    assert_eq!(got.times(|count| count != 1), 0, "{ledger}");
    let all =
        "1000000 copies = 1000000 written + 0 waiting + 0 dropped + 0 discarded + 0 withdrawn";
    assert!(ledger.contains(all), "{ledger}");
}

/// A message that had left when its member was killed may be lost. Every other comes, none twice.
#[test]
fn of_a_group_whose_members_are_killed_only_what_was_on_the_wire_is_lost() {
    let broker = TestBroker::start();
    let got = come_and_go(&broker, 50_000, Leaving::Killed);
    let ledger = broker.ledger();
    let all = "200000 copies = 200000 written + 0 waiting + 0 dropped + 0 discarded + 0 withdrawn";
    assert!(ledger.contains(all), "{ledger}");
    assert_eq!(got.times(|count| count > 1), 0, "{ledger}");
    for (name, _) in &got.killed {
        broker.wait_for_log(&format!("({name:?}) from "));
    }
    let log = broker.log();
    let on_the_wire: u64 = got
        .killed
        .iter()
        .map(|(name, read)| {
            let end = log
                .lines()
                .find(|line| {
                    line.contains(&format!("({name:?}) ")) && line.contains(" ends after ")
                })
                .expect("its end is logged");
            let written = end.split_once(" delivered").and_then(|(before, _)| {
                let (_, number) = before.rsplit_once(' ')?;
                number.parse::<u64>().ok()
            });
            written.expect("it says how many were delivered") - read
        })
        .sum();
    assert!(
        on_the_wire > 0,
        "no client was killed with anything on the wire"
    );
    assert_eq!(
        got.times(|count| count == 0) as u64,
        on_the_wire,
        "{ledger}"
    );
}
