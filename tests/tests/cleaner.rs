//! Promises of `docs/storage.md` on the length of the log: what topics do not keep any more does not stay for long, and
//! what they keep stays, however much others publish.

use std::path::Path;

use rustix::process::Signal;
use tests::{Asker, TestBroker, TestClient, eventually, folder, outcome};

/// Messages that are written at once: a megabyte.
const AT_ONCE: usize = 1000;

const RULES: [&str; 4] = ["--keep", "rare/#=3", "--keep", "#=20"];

/// Publishes on topics of which each keeps twenty messages.
fn publish(client: &mut TestClient, megabytes: usize) {
    let payload = "x".repeat(1000);
    for _ in 0..megabytes {
        let lines = (0..AT_ONCE).map(|n| format!("PUBLISH busy/{} {payload}\n", n % 7));
        client.write(lines.collect::<String>());
    }
    client.send("PING done").read_until("PONG done");
}

#[track_caller]
fn expect_rare(broker: &TestBroker, expected: &[&str]) {
    let mut client = broker.connect();
    client.send("@since=start;until=now SUBSCRIBE rare/#");
    client.expect("SUBACK rare/#");
    for message in expected {
        let line = client.read_line();
        assert!(line.ends_with(&format!(" MESSAGE {message}")), "{line}");
    }
    client.expect_prefix("END rare/# ");
}

fn bytes(broker: &TestBroker) -> u64 {
    let answer = Asker::of(broker).ask("broker");
    answer["store"]["bytes"].as_u64().expect("a number")
}

#[test]
fn in_memory_a_rare_message_stays_whatever_others_publish() {
    let flags = [&RULES[..], &["--keep-total", "32MiB"]].concat();
    let broker = TestBroker::with_args(&flags);
    let mut client = broker.connect();
    client.send("PUBLISH rare/a 1");
    publish(&mut client, 50);
    client.send("PUBLISH rare/b 2");
    publish(&mut client, 50);
    expect_rare(&broker, &["rare/a 1", "rare/b 2"]);
    assert!(bytes(&broker) <= 40 << 20, "{}", bytes(&broker));
}

#[test]
fn a_rare_message_is_found_in_a_segment_that_was_written_anew() {
    let folder = folder();
    let start = || TestBroker::with_store(folder.path(), &RULES);
    let broker = start();
    let mut client = broker.connect();
    for round in 1..=7 {
        client.send(format!("PUBLISH rare/a {round}"));
        publish(&mut client, 100);
    }
    let kept = ["rare/a 5", "rare/a 6", "rare/a 7"];
    // What is behind the last snapshot but one stays, and two segments.
    eventually("much of the log is gone", || bytes(&broker) <= 480 << 20);
    expect_rare(&broker, &kept);
    assert_eq!(broker.stop_by(Signal::KILL).code, None);
    check(folder.path());
    let broker = start();
    expect_rare(&broker, &kept);
    // What limits have removed does not come back.
    let mut client = broker.connect();
    client.send("@since=start;until=now SUBSCRIBE busy/1");
    client.expect("SUBACK busy/1");
    for _ in 0..20 {
        assert!(client.read_line().contains(" MESSAGE busy/1 x"));
    }
    client.expect_prefix("END busy/1 ");
}

fn check(data: &Path) {
    let path = data.to_str().expect("text");
    let (code, told, _) = outcome(&mut TestBroker::bare(&["store", "check", path]));
    assert_eq!(code, Some(0), "{told}");
}
