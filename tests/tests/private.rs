//! Promises of "Topics" on what is for one client: below `$private/` and `$reply/` there are exact names
//! only, on every wire.

use tests::TestBroker;
use tests::mqtt::{BOTH, Mqtt, MqttClient};

/// Filters that would match the topics of several clients.
const REFUSED: [&str; 9] = [
    "$private/#",
    "$private/+",
    "$private/+/lobby",
    "$private/ann/#",
    "$private/ann/lobby/+",
    "$reply/#",
    "$reply/+",
    "$share/g/$private/#",
    "$share/g/$reply/+",
];

/// Filters that match one such topic, or none.
const TAKEN: [&str; 8] = [
    "$private/ann/lobby",
    "$share/g/$private/ann/lobby",
    "$private",
    "$reply/7",
    "$privately/#",
    "a/$private/#",
    "+/ann/lobby",
    "#",
];

#[test]
fn lines_take_exact_names_only() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    for filter in REFUSED {
        ann.send(format!("@slow=latest SUBSCRIBE {filter} other"))
            .expect_error("denied", &format!("subscribe:{filter}"))
            .expect("SUBACK other");
    }
    for filter in TAKEN {
        ann.send(format!("SUBSCRIBE {filter}"))
            .expect(format!("SUBACK {filter}"));
    }
    let mut bob = broker.connect();
    bob.send("PUBLISH $private/eve/lobby secret")
        .expect("PUBACK 1 0");
    ann.send("UNSUBSCRIBE $private/#")
        .expect("UNSUBACK $private/#")
        .expect_silence();
}

#[test]
fn mqtt_takes_exact_names_only() {
    let broker = TestBroker::start();
    for version in BOTH {
        let mut ann = MqttClient::connect(broker.address(), version, "ann");
        let denied = match version {
            Mqtt::V5 => 0x87,
            Mqtt::V3 => 0x80,
        };
        for filter in REFUSED {
            assert_eq!(ann.ask_to_subscribe(filter, 0, &[]), denied, "{filter}");
        }
        for filter in TAKEN {
            ann.subscribe(filter, 0);
        }
        ann.expect_silence();
    }
}

#[test]
fn http_takes_exact_names_only() {
    let broker = TestBroker::start();
    for (path, status) in [
        ("$private/**", "403"),
        ("$private/ann/*", "403"),
        ("$reply/*", "403"),
        ("$private/ann/lobby", "200"),
    ] {
        let mut page = broker.connect();
        page.write(format!(
            "GET /topics/{path}?timeout=1ms HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let answer = page.read_line();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}
