//! Promises of "PUBLISH" about PUBACK: what is answered, and how often.

use tests::{TestBroker, TestClient};

/// The numbers of a PUBACK.
fn puback(line: &str) -> Option<(u64, u64)> {
    let (answered, copies) = line.strip_prefix("PUBACK ")?.split_once(' ')?;
    Some((answered.parse().ok()?, copies.parse().ok()?))
}

/// Reads PUBACKs until `last` are answered; how many came, and the copies they tell of.
#[track_caller]
fn receipts(client: &mut TestClient, last: u64) -> (usize, u64) {
    let (mut count, mut sum, mut seen) = (0, 0, 0);
    while seen < last {
        let line = client.read_line();
        let Some((answered, copies)) = puback(&line) else {
            panic!("expected a PUBACK, came {line:?}");
        };
        assert!(answered > seen, "PUBACK {answered} after {seen}");
        (count, sum, seen) = (count + 1, sum + copies, answered);
    }
    assert_eq!(seen, last, "more is answered than was published");
    (count, sum)
}

#[test]
fn a_publisher_that_waits_for_each_answer_gets_an_exact_receipt_for_each_message() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PUBLISH news 1").expect("PUBACK 1 0");
    let mut listeners = Vec::new();
    for n in 1..=3 {
        let mut listener = broker.connect();
        listener.send("SUBSCRIBE news").expect("SUBACK news");
        listeners.push(listener);
        ann.send("PUBLISH news x")
            .expect(format!("PUBACK {} {n}", n + 1));
    }
    ann.send("PUBLISH sport x").expect("PUBACK 5 0");
    let mut first = listeners.swap_remove(0);
    first.send("UNSUBSCRIBE news").read_until("UNSUBACK news");
    ann.send("PUBLISH news x")
        .expect("PUBACK 6 2")
        .expect_silence();
}

#[test]
fn a_publisher_that_sends_many_at_once_gets_few_receipts_for_all_of_them() {
    let broker = TestBroker::start();
    let (mut ann, mut bob, mut eve) = (broker.connect(), broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.send("SUBSCRIBE news sport")
        .expect("SUBACK news")
        .expect("SUBACK sport");
    eve.write("PUBLISH news hi\nPUBLISH sport hi\n".repeat(1000));
    let (count, copies) = receipts(&mut eve, 2000);
    assert_eq!(copies, 3000);
    assert!(count < 1000, "{count} receipts for 2000 messages");
    assert_eq!(ann.read_to_fence().len(), 1000);
    assert_eq!(bob.read_to_fence().len(), 2000);
    eve.expect_silence();
}

#[test]
fn a_refused_publish_counts_and_its_error_stands_before_its_receipt() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE ok").expect("SUBACK ok");
    let mut bob = broker.connect();
    bob.write("PUBLISH ok 1\nPUBLISH not+ok 2\nPUBLISH ok 3\nPUBLISH\n".repeat(100));
    let (mut answered, mut copies, mut refused) = (0, 0, Vec::new());
    while answered < 400 {
        let line = bob.read_line();
        if let Some((n, more)) = puback(&line) {
            (answered, copies) = (n, copies + more);
            continue;
        }
        let number = line
            .strip_prefix("ERROR ")
            .and_then(|rest| rest.split_once(" publish:"))
            .and_then(|(_, rest)| rest.split_once(' '))
            .and_then(|(number, _)| number.parse().ok());
        let number: u64 = number.expect("only errors of publishes and PUBACKs come");
        assert!(
            number > answered,
            "ERROR publish:{number} after PUBACK {answered}"
        );
        refused.push(number);
    }
    let even: Vec<u64> = (1..=200).map(|n| 2 * n).collect();
    assert_eq!(refused, even);
    assert_eq!(copies, 200);
    assert_eq!(ann.read_to_fence().len(), 200);
}

#[test]
fn a_batch_of_refused_publishes_is_answered_too() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("PUBLISH a+ x")
        .expect_error("bad-topic", "publish:1");
    ann.expect("PUBACK 1 0").expect_silence();
    ann.send("PUBLISH a x")
        .expect("PUBACK 2 0")
        .expect_silence();
}

#[test]
fn a_publisher_that_does_not_read_its_receipts_can_go_on() {
    const PUBLISHES: u64 = 10_000;
    let broker = TestBroker::with_args(&["--max-line", "65536", "--outbox-bytes", "65536"]);
    let mut ann = broker.connect();
    let mut bob = TestClient::connect_with_small_buffer(broker.address());
    bob.send("SUBSCRIBE flood").expect("SUBACK flood");
    ann.send("SUBSCRIBE counted").expect("SUBACK counted");
    // Fills all that the kernel and the broker hold for bob.
    let flood = format!("PUBLISH flood {}\n", "x".repeat(10_000));
    ann.write(flood.repeat(1000))
        .read_until_prefix("PUBACK 1000 ");
    for _ in 0..PUBLISHES {
        bob.send("PUBLISH counted x");
        ann.expect("MESSAGE counted x");
    }
    let (mut receipts, mut answered, mut copies) = (0, 0, 0);
    for line in bob.read_to_fence() {
        if let Some((n, more)) = puback(&line) {
            assert!(n > answered, "PUBACK {n} after {answered}");
            (receipts, answered, copies) = (receipts + 1, n, copies + more);
        }
    }
    assert_eq!((answered, copies), (PUBLISHES, PUBLISHES));
    assert!(
        receipts < 100,
        "{receipts} receipts waited in a full outbox"
    );
}
