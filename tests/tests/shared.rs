//! Promises of "Filters" about `$share/<group>/<filter>`: one member of the group each.

use tests::{TestBroker, TestClient};

fn member(broker: &TestBroker, filter: &str) -> TestClient {
    let mut client = broker.connect();
    client
        .send(format!("SUBSCRIBE {filter}"))
        .expect(format!("SUBACK {filter}"));
    client
}

#[test]
fn members_of_a_group_take_turns() {
    let broker = TestBroker::start();
    let mut members = [0; 3].map(|_| member(&broker, "$share/workers/jobs/+"));
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
    let mut members = [0; 4].map(|_| member(&broker, "$share/workers/jobs"));
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
        member(&broker, "$share/one/jobs"),
        member(&broker, "$share/one/jobs"),
    ];
    let mut two = member(&broker, "$share/two/jobs");
    let mut all = member(&broker, "jobs");
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
    let mut ann = member(&broker, "$share/g/jobs");
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
        member(&broker, "$share/g/jobs"),
        member(&broker, "$share/g/jobs"),
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
fn who_is_in_no_group_is_not_touched_by_an_unsubscribe_of_the_shared_filter() {
    let broker = TestBroker::start();
    let mut ann = member(&broker, "jobs");
    ann.send("UNSUBSCRIBE $share/g/jobs")
        .expect("UNSUBACK $share/g/jobs");
    broker.connect().send("PUBLISH jobs x").expect("PUBACK 1 1");
    ann.expect("MESSAGE jobs x").expect_silence();
}

#[test]
fn a_member_whose_outbox_is_full_is_passed_over_and_nothing_is_lost() {
    let broker = TestBroker::with_args(&["--max-line", "65536", "--outbox-bytes", "65536"]);
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    slow.send("SUBSCRIBE $share/g/jobs")
        .expect("SUBACK $share/g/jobs");
    let mut quick = member(&broker, "$share/g/jobs");
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
