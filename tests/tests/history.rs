//! Promises of `docs/storage.md` about the past: what topics keep, and how it is read.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::mqtt::{Mqtt, MqttClient};
use tests::{PATIENCE, RuledBroker, TestBroker, TestClient, folder, outcome};

/// The past that a client is sent, without the store and the generation: `<number> <attributes> <rest>`, and its end.
#[track_caller]
fn past(client: &mut TestClient, asked: &str, filter: &str) -> (Vec<String>, String) {
    client.send(format!("@{asked};until=now SUBSCRIBE {filter}"));
    client.expect(format!("SUBACK {filter}"));
    rest_of_past(client, filter)
}

#[track_caller]
fn rest_of_past(client: &mut TestClient, filter: &str) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let line = client.read_line();
        if let Some(end) = line.strip_prefix(&format!("END {filter} ")) {
            return (lines, end.split_once(':').expect("a position").1.to_owned());
        }
        let rest = line.strip_prefix("@pos=").expect("a message of the past");
        let (position, rest) = rest.split_once(';').expect("more attributes");
        let sequence = position.split_once(':').expect("a position").1;
        let rest = rest.strip_prefix("past").expect("it is of the past");
        lines.push(format!("{sequence}{rest}"));
    }
}

#[track_caller]
fn publish(client: &mut TestClient, lines: &[&str]) {
    client.send(lines.join("\n"));
    client.send("PING done").read_until("PONG done");
}

#[test]
fn the_past_of_topics_that_keep_messages_is_read() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "chat/#=100"]);
    let mut client = broker.connect();
    publish(
        &mut client,
        &[
            "PUBLISH chat/a 1",
            "PUBLISH news 2",
            "PUBLISH chat/b 3",
            "@unit=C PUBLISH chat/a 4",
            "PUBLISH chat/b 5",
        ],
    );
    let all = [
        "1 MESSAGE chat/a 1",
        "2 MESSAGE chat/b 3",
        "3;unit=C MESSAGE chat/a 4",
        "4 MESSAGE chat/b 5",
    ];
    for (asked, filter, expected) in [
        ("since=start", "chat/#", &all[..]),
        ("since=start", "#", &all[..]),
        ("last=2", "chat/+", &all[2..]),
        ("last=100", "chat/#", &all[..]),
        ("each=1", "chat/#", &all[2..]),
        ("last=1", "chat/a", &all[2..3]),
        ("since=1h", "chat/b", &[all[1], all[3]][..]),
        ("since=@1", "chat/#", &all[..]),
        ("since=@9999999999", "chat/#", &[][..]),
        ("since=2020-01-01T00:00:00+01:00", "chat/#", &all[..]),
        ("since=2286-11-20T17:46:39.5Z", "chat/#", &[][..]),
        ("since=start", "news", &[][..]),
        ("since=start", "chat/c", &[][..]),
    ] {
        let (lines, end) = past(&mut client, asked, filter);
        assert_eq!(lines, expected, "{asked} {filter}");
        assert_eq!(end, "4");
    }
    // From a position on.
    client
        .send("@last=1;until=now SUBSCRIBE chat/a")
        .expect("SUBACK chat/a");
    let line = client.read_line();
    let position = line
        .strip_prefix("@pos=")
        .and_then(|it| it.split(';').next());
    let position = position.expect("a position").to_owned();
    client.expect_prefix("END chat/a ");
    let (lines, _) = past(&mut client, &format!("since={position}"), "chat/#");
    assert_eq!(lines, &all[3..]);
    // No subscription is left.
    publish(&mut client, &["PUBLISH chat/a 6"]);
    client.expect_silence();
}

#[test]
fn what_is_asked_for_and_is_not_there_is_told() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=10"]);
    let mut client = broker.connect();
    publish(&mut client, &["PUBLISH a 1", "PUBLISH a 2"]);
    // Another store, and a number that was never given.
    for position in ["zzzz.1:1", "zzzz.9:99"] {
        client.send(format!("@since={position};until=now SUBSCRIBE a"));
        let suback = client.read_line();
        assert!(suback.starts_with("@incomplete;oldest="), "{suback}");
        assert!(suback.ends_with(".1:1 SUBACK a"), "{suback}");
        let (lines, _) = rest_of_past(&mut client, "a");
        assert_eq!(lines, ["1 MESSAGE a 1", "2 MESSAGE a 2"]);
    }
    for (asked, why) in [
        (
            "last=0;until=now",
            "`last` is a number of messages, 1 to 100000",
        ),
        (
            "each=x;until=now",
            "`each` is a number of messages, 1 to 100000",
        ),
        ("since=yesterday;until=now", "`since` is a position such as"),
        (
            "since=2026-11-29T13:00:00;until=now",
            "`since` is a position such as",
        ),
        (
            "last=1;each=1;until=now",
            "only one of `last`, `each` and `since`, once",
        ),
        ("last=1;until=later", "`until` is now"),
        ("until=now", "`until` comes with `last`, `each` or `since`"),
    ] {
        client.send(format!("@{asked} SUBSCRIBE a"));
        let answer = client.read_line();
        let expected = format!("ERROR bad-attribute subscribe:a {why}");
        assert!(answer.starts_with(&expected), "{answer}");
    }
    client.send("@last=1;until=now SUBSCRIBE $share/g/a");
    client.expect_error("bad-attribute", "subscribe:$share/g/a");
    client.send("@last=1;until=now SUBSCRIBE a/#/b");
    client.expect_error("bad-filter", "subscribe:a/#/b");
}

#[test]
fn without_rules_there_is_no_past() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.send("PUBLISH a 1").expect_prefix("PUBACK");
    client
        .send("@last=1;until=now SUBSCRIBE a")
        .expect("SUBACK a")
        .expect("END a");
    // Memory has no levels.
    let (code, _, complaints) = outcome(&mut TestBroker::command(&["--keep", "a=1,ack=disk"]));
    assert_eq!(code, Some(2));
    assert!(complaints.contains("--data"), "{complaints}");
}

#[test]
fn what_is_kept_outlives_a_stop_and_a_kill_and_limits_hold_again() {
    let folder = folder();
    let rules = ["--keep", "a/#=3", "--keep", "b=all"];
    let first = TestBroker::with_store(folder.path(), &rules);
    let mut client = first.connect();
    for number in 1..=5 {
        publish(
            &mut client,
            &[
                &format!("PUBLISH a/x {number}"),
                &format!("PUBLISH b {number}"),
                &format!("PUBLISH c {number}"),
            ],
        );
    }
    let kept = |broker: &TestBroker, filter: &str| {
        let (lines, _) = past(&mut broker.connect(), "since=start", filter);
        let values = lines
            .iter()
            .map(|line| line.rsplit(' ').next().expect("a value").to_owned());
        values.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (kept(&first, "a/x"), kept(&first, "b")),
        ("3 4 5".into(), "1 2 3 4 5".into())
    );
    assert_eq!(first.stop().code, Some(0));
    let second = TestBroker::with_store(folder.path(), &rules);
    second.wait_for_log("8 messages in 2 topics");
    assert_eq!(
        (kept(&second, "a/x"), kept(&second, "b")),
        ("3 4 5".into(), "1 2 3 4 5".into())
    );
    publish(&mut second.connect(), &["PUBLISH a/x 6", "PUBLISH a/y 7"]);
    assert_eq!(second.stop_by(Signal::KILL).code, None);
    // Other rules: a topic without one keeps nothing, a tighter one drops more.
    let third = TestBroker::with_store(folder.path(), &["--keep", "a/x=2", "--keep", "c=5"]);
    assert_eq!(
        (kept(&third, "a/x"), kept(&third, "a/y"), kept(&third, "b")),
        ("5 6".into(), String::new(), String::new())
    );
    assert_eq!(kept(&third, "c"), "");
}

/// What is published after a kill has another generation, so that no position is given twice.
#[test]
fn positions_tell_the_lives_of_a_store_apart() {
    let folder = folder();
    let positions = |broker: &TestBroker| {
        let mut client = broker.connect();
        publish(&mut client, &["PUBLISH a x"]);
        client
            .send("@since=start;until=now SUBSCRIBE a")
            .expect("SUBACK a");
        let mut all = Vec::new();
        loop {
            let line = client.read_line();
            let Some(rest) = line.strip_prefix("@pos=") else {
                return all;
            };
            let epoch = rest.split(':').next().expect("an epoch");
            all.push(epoch.rsplit('.').next().expect("a generation").to_owned());
        }
    };
    let first = TestBroker::with_store(folder.path(), &["--keep", "a=9"]);
    assert_eq!(positions(&first), ["1"]);
    first.stop();
    let second = TestBroker::with_store(folder.path(), &["--keep", "a=9"]);
    assert_eq!(positions(&second), ["1", "1"]);
    second.stop_by(Signal::KILL);
    let third = TestBroker::with_store(folder.path(), &["--keep", "a=9"]);
    assert_eq!(positions(&third), ["1", "1", "2"]);
}

#[test]
fn much_of_the_past_comes_whole_and_in_order_to_a_client_that_reads_slowly() {
    const MESSAGES: u64 = 30_000;
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "t/#=all"]);
    thread::scope(|scope| {
        for publisher in 0..3 {
            let mut client = broker.connect();
            scope.spawn(move || {
                let lines: String = (0..MESSAGES)
                    .map(|n| {
                        format!(
                            "PUBLISH t/{}/{} {n} {}\n",
                            publisher,
                            n % 10,
                            "x".repeat(n as usize % 100)
                        )
                    })
                    .collect();
                client.write(lines);
                client.send("PING done").read_until("PONG done");
            });
        }
    });
    let mut client = broker.connect();
    client
        .send("@since=start;until=now SUBSCRIBE t/#")
        .expect("SUBACK t/#");
    // It takes nothing for a while.
    thread::sleep(Duration::from_millis(300));
    let (lines, end) = rest_of_past(&mut client, "t/#");
    assert_eq!(end, (3 * MESSAGES).to_string());
    assert_eq!(lines.len() as u64, 3 * MESSAGES);
    let mut next = [0; 3];
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split(' ');
        assert_eq!(words.next().expect("a number").parse(), Ok(at + 1));
        let topic = words.nth(1).expect("a topic");
        let publisher: usize = topic
            .split('/')
            .nth(1)
            .expect("a level")
            .parse()
            .expect("a number");
        let number: u64 = words.next().expect("a payload").parse().expect("a number");
        assert_eq!(number, next[publisher], "{line}");
        next[publisher] += 1;
    }
    // Of few topics, and the newest of many.
    let mut other = broker.connect();
    let (lines, _) = past(&mut other, "last=7", "t/+/3");
    assert_eq!(lines.len(), 7);
    let (lines, _) = past(&mut other, "each=2", "t/#");
    assert_eq!(lines.len(), 60);
}

/// Messages of other wires are kept as they come, with properties as attributes.
#[test]
fn messages_of_mqtt_and_http_are_kept_and_retained_ones_are_kept_once() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "#=100"]);
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client.publish_with(0x32, "m", 1, b"\x03\0\x04text", b"1");
    client.packet();
    client.publish_as(0x33, "m", 2, b"2");
    client.packet();
    let mut http = broker.connect();
    http.write("POST /topics/h?ack=disk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\n3");
    let told = http.read_to_end();
    assert!(told.contains("\"level\":\"disk\""), "{told}");
    let mut lines = broker.connect();
    let (all, _) = past(&mut lines, "since=start", "#");
    let values: Vec<_> = all
        .iter()
        .map(|line| line.split_once([' ', ';']).expect("more").1)
        .collect();
    assert_eq!(
        values,
        ["type=text MESSAGE m 1", "MESSAGE m 2", "MESSAGE h 3"]
    );
    // The retained one comes to a subscriber as ever.
    lines
        .send("SUBSCRIBE m")
        .expect("SUBACK m")
        .expect("@retained MESSAGE m 2");
}

#[test]
fn a_message_whose_time_is_over_is_left_out() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=9"]);
    let mut client = broker.connect();
    publish(
        &mut client,
        &["@ttl=1 PUBLISH a 1", "@ttl=1000 PUBLISH a 2"],
    );
    thread::sleep(Duration::from_millis(1100));
    let (lines, _) = past(&mut client, "since=start", "a");
    let [line] = &lines[..] else {
        panic!("one is left: {lines:?}");
    };
    let seconds = line
        .strip_prefix("2;ttl=")
        .and_then(|it| it.split(' ').next());
    let seconds: u64 = seconds.expect("a time").parse().expect("a number");
    assert!((990..=999).contains(&seconds), "{line}");
}

/// Without a rule for it, a message of a topic is not kept, and its receipt says so; with one it says how safe it is.
#[test]
fn receipts_of_kept_messages_say_how_safe_they_are() {
    let folder = folder();
    let broker =
        TestBroker::with_store(folder.path(), &["--keep", "a=9", "--keep", "d=9,ack=disk"]);
    let mut client = broker.connect();
    client
        .send("@ack=disk PUBLISH a 1")
        .expect_prefix("@level=disk;pos=");
    client.send("PUBLISH a 2").expect_prefix("@level=os;pos=");
    client.send("PUBLISH d 3").expect_prefix("@level=disk;pos=");
    client
        .send("PUBLISH x 4")
        .expect_prefix("@level=mem PUBACK 4 ");
    client.send("PUBLISH d 5\nPUBLISH a 6\nPING x");
    client.expect_prefix("@level=os;pos=").expect("PONG x");
    // A client that has not asked is told as ever, when the rule's level is reached.
    let mut plain = broker.connect();
    plain.send("PUBLISH d 1").expect("PUBACK 1 0");
}

/// Without a folder it is kept as long as the process runs, and no longer than there may be of it.
#[test]
fn in_memory_messages_are_kept_up_to_a_limit() {
    let flags = ["--keep", "a/#=all", "--keep-total", "16MiB"];
    let broker = TestBroker::with_args(&flags);
    let mut client = broker.connect();
    client.send("@ack=disk PUBLISH a/0 0");
    let receipt = client.read_line();
    assert!(
        receipt.starts_with("@level=mem;pos=") && receipt.ends_with(".1:1 PUBACK 1 0"),
        "{receipt}"
    );
    let payload = "x".repeat(1000);
    let last = 100_000;
    for first in (1..=last).step_by(1000) {
        let lines = (first..first + 1000).map(|n| format!("PUBLISH a/{} {payload} {n}\n", n % 7));
        client.write(lines.collect::<String>());
    }
    client.send("PING done").read_until("PONG done");
    let (lines, _) = past(&mut client, "last=2", "a/#");
    for (line, number) in lines.iter().zip(last - 1..) {
        assert!(line.ends_with(&format!(" {number}")), "{line}");
    }
    // It is looked about ten times a second whether there is too much.
    let start = Instant::now();
    loop {
        client.send("@since=start;until=now SUBSCRIBE a/#");
        // With a GAP where messages are removed while they are read.
        let mut bytes = 0;
        loop {
            let line = client.read_line();
            if line.starts_with("END ") {
                break;
            }
            bytes += line.len();
        }
        if bytes < 24 << 20 {
            assert!(bytes > 4 << 20, "{bytes}");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{bytes} bytes are kept");
        // Its receipt begins with the level, because the client has asked for one.
        client.send(format!("PUBLISH a/0 {payload}"));
        client.send("PING done").read_until("PONG done");
    }
    broker.stop_by(Signal::KILL);
    let broker = TestBroker::with_args(&flags);
    let (lines, _) = past(&mut broker.connect(), "since=start", "a/#");
    assert_eq!(lines, [""; 0]);
}

/// A client sees of the past what it may subscribe to.
#[test]
fn a_message_that_cannot_be_kept_is_refused_whether_it_has_attributes_or_not() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a/#=10", "--keep-topics", "1"]);
    let mut subscriber = broker.subscribe("#");
    let mut client = broker.connect();
    client.send("PUBLISH a/1 x").expect("PUBACK 1 1");
    for (number, line) in [(2, "PUBLISH a/2 x"), (3, "@ack=os PUBLISH a/2 x")] {
        client.send(line);
        client.expect(format!(
            "ERROR too-many publish:{number} as many topics keep messages as --keep-topics allows; nothing was published"
        ));
        client.read_until_prefix(&format!("PUBACK {number} 0"));
    }
    let line = subscriber.read_line();
    assert!(line.ends_with("MESSAGE a/1 x"), "{line}");
    subscriber.expect_silence();
}

#[test]
fn the_past_is_read_by_those_who_may_subscribe() {
    let folder = folder();
    let data = folder.path().to_str().expect("a path of text").to_owned();
    let rules = "allow everyone publish #\nallow everyone subscribe:narrow open/#\n";
    let broker = RuledBroker::start(&["ann"], rules, &["--data", &data, "--keep", "#=100"]);
    let mut client = broker.line(Some("ann"));
    publish(
        &mut client,
        &["PUBLISH open/a 1", "PUBLISH secret/a 2", "PUBLISH open/b 3"],
    );
    let (lines, _) = past(&mut client, "since=start", "open/#");
    let expected = ["1 MESSAGE open/a 1", "3 MESSAGE open/b 3"];
    assert_eq!(lines, expected);
    let (narrowed, _) = past(&mut client, "since=start", "#");
    assert_eq!(narrowed, expected);
    client.send("@since=start;until=now SUBSCRIBE secret/a");
    client.expect_prefix("ERROR ");
}

#[test]
fn all_topics_of_a_rule_keep_no_more_than_their_total() {
    let folder = folder();
    // A line such as `MESSAGE t/a 1` has 14 bytes.
    let rules = ["--keep", "t/#=10,total=42B", "--keep", "u=all"];
    let first = TestBroker::with_store(folder.path(), &rules);
    let mut client = first.connect();
    for line in [
        "PUBLISH t/a 1",
        "PUBLISH u 2",
        "PUBLISH t/b 3",
        "PUBLISH t/a 4",
        "PUBLISH t/c 5",
    ] {
        publish(&mut client, &[line]);
    }
    let left = [
        "2 MESSAGE u 2",
        "3 MESSAGE t/b 3",
        "4 MESSAGE t/a 4",
        "5 MESSAGE t/c 5",
    ];
    assert_eq!(past(&mut client, "since=start", "#").0, left);
    assert_eq!(first.stop_by(Signal::KILL).code, None);
    // What was removed does not come back, and what comes now removes more.
    let second = TestBroker::with_store(folder.path(), &rules);
    let mut client = second.connect();
    assert_eq!(past(&mut client, "since=start", "#").0, left);
    publish(&mut client, &["PUBLISH t/a 6"]);
    let (lines, _) = past(&mut client, "since=start", "t/#");
    assert_eq!(lines, [&left[2..], &["6 MESSAGE t/a 6"]].concat());
}

#[test]
fn more_messages_than_history_max_are_not_asked_for_by_number() {
    let folder = folder();
    let file = folder.path().join("broker.toml");
    let configure = |most| fs::write(&file, format!("history-max = {most}")).expect("a file");
    configure(2);
    let broker = TestBroker::with_args(&[
        "--keep",
        "a=9",
        "--config",
        file.to_str().expect("a path of text"),
    ]);
    let mut client = broker.connect();
    publish(&mut client, &["PUBLISH a 1", "PUBLISH a 2", "PUBLISH a 3"]);
    for key in ["last", "each"] {
        let (lines, _) = past(&mut client, &format!("{key}=2"), "a");
        assert_eq!(lines, ["2 MESSAGE a 2", "3 MESSAGE a 3"]);
        client.send(format!("@{key}=3 SUBSCRIBE a")).expect(format!(
            "ERROR bad-attribute subscribe:a `{key}` is a number of messages, 1 to 2"
        ));
    }
    let mut http = broker.connect();
    http.write(
        "GET /topics/a?last=3&poll=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    let told = http.read_to_end();
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    assert!(told.contains("1 to 2"), "{told}");
    // What is not asked for by number is not limited by it, and a reload changes it.
    assert_eq!(past(&mut client, "since=start", "a").0.len(), 3);
    configure(3);
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload: applied");
    let (lines, _) = past(&mut client, "last=3", "a");
    assert_eq!(lines.len(), 3);
}

#[test]
fn http_answers_with_the_past() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "chat/#=9"]);
    let mut client = broker.connect();
    publish(
        &mut client,
        &[
            "PUBLISH chat/a 1",
            "@unit=C PUBLISH chat/b 2",
            "PUBLISH chat/a 3",
        ],
    );
    let get = |path: &str| {
        let mut http = broker.connect();
        http.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        http.read_to_end()
    };
    let told = get("/topics/chat/**?last=2&poll=1");
    assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
    assert!(told.contains("application/x-ndjson"), "{told}");
    let messages: Vec<_> = told.lines().filter(|line| line.starts_with('{')).collect();
    let [two, three] = &messages[..] else {
        panic!("two messages: {told}");
    };
    for part in ["\"topic\":\"chat/b\"", "\"2\"", "unit", ".1:2\""] {
        assert!(two.contains(part), "{two}");
    }
    assert!(
        three.contains("\"3\"") && three.contains(".1:3\""),
        "{three}"
    );
    let told = get("/topics/chat/a?since=2020-01-01T00:00:00%2B01:00&poll=1&format=raw");
    assert!(
        told.contains("\r\n1\n\r\n") && told.contains("\r\n3\n\r\n"),
        "{told}"
    );
    for (query, why) in [
        ("last=2&slow=latest", "leave out slow"),
        ("poll=1", "poll comes with last, each or since"),
        ("last=0&poll=1", "`last` is a number"),
        ("last=1&each=1&poll=1", "only one of"),
        ("last=1&poll=2", "poll is 1"),
    ] {
        let told = get(&format!("/topics/chat/a?{query}"));
        assert!(
            told.starts_with("HTTP/1.1 400") && told.contains(why),
            "{told}"
        );
    }
}
