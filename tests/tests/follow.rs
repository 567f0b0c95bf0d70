//! Promises of `docs/storage.md` about followers: a client that follows a filter gets what topics keep once and in order,
//! from where it asks and across the seam between the past and what is new.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use tests::{Asker, RuledBroker, TestBroker, TestClient, eventually, folder};

#[track_caller]
fn publish(client: &mut TestClient, lines: &[&str]) {
    client.send(lines.join("\n"));
    client.send("PING done").read_until("PONG done");
}

/// A line without the store and the generation of its position.
fn short(line: &str) -> String {
    match line.strip_prefix("@pos=") {
        Some(rest) => {
            let (_, rest) = rest.split_once(':').expect("a position");
            format!("@{rest}")
        }
        None => line.to_owned(),
    }
}

#[track_caller]
fn expect_all(client: &mut TestClient, lines: &[&str]) {
    for line in lines {
        assert_eq!(short(&client.read_line()), *line);
    }
}

/// What a follower has been sent, as it should be: numbers in order, and how many are missing between them.
#[derive(Default)]
struct Received {
    last: u64,
    messages: u64,
    missing: u64,
}

impl Received {
    /// Takes a line, with the number of the message as its payload.
    #[track_caller]
    fn take(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("GAP ") {
            self.missing += count.parse::<u64>().expect("a number");
            return;
        }
        let number = line.rsplit(' ').next().and_then(|it| it.parse().ok());
        let number: u64 = number.unwrap_or_else(|| panic!("not a message: {line}"));
        let expected = self.last + self.missing + 1;
        assert_eq!(number, expected, "{} missing before {line}", self.missing);
        self.messages += 1 + self.missing;
        (self.last, self.missing) = (number, 0);
    }
}

/// Messages that are numbers, so long that the buffers of a connection do not hold very many of them.
fn numbers(topic: &str, numbers: RangeInclusive<u64>) -> String {
    let lines = numbers.map(|number| format!("PUBLISH {topic} {:100} {number}\n", '.'));
    lines.collect()
}

#[test]
fn a_follower_gets_the_past_and_then_what_is_new() {
    let folder = folder();
    let flags = ["--keep", "chat/#=100"];
    let in_memory = TestBroker::with_args(&flags);
    for broker in [TestBroker::with_store(folder.path(), &flags), in_memory] {
        check_a_follower(&broker);
    }
}

fn check_a_follower(broker: &TestBroker) {
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    publish(
        &mut bob,
        &["PUBLISH chat/a 1", "PUBLISH chat/b 2", "PUBLISH chat/a 3"],
    );
    ann.send("@last=2 SUBSCRIBE chat/#");
    ann.expect("SUBACK chat/#");
    expect_all(
        &mut ann,
        &["@2;past MESSAGE chat/b 2", "@3;past MESSAGE chat/a 3"],
    );
    let current = ann.read_line();
    assert!(current.starts_with("CURRENT chat/# "), "{current}");
    assert!(current.ends_with(".1:3"), "{current}");
    bob.send("@unit=C PUBLISH chat/c 4").expect("PUBACK 4 1");
    expect_all(&mut ann, &["@4;unit=C MESSAGE chat/c 4"]);
    // It counts as a subscriber.
    let mut asker = Asker::of(broker);
    // What was published is known by topic within a second.
    eventually("it counts", || {
        asker.ask("topics chat/c")["topics"][0]["subscribers"] == 1
    });
    // It is the same from any beginning, and each filter has a past of its own.
    ann.send("@each=1 SUBSCRIBE chat/# chat/a none");
    ann.expect("SUBACK chat/#")
        .expect("SUBACK chat/a")
        .expect("SUBACK none");
    expect_all(
        &mut ann,
        &[
            "@2;past MESSAGE chat/b 2",
            "@3;past MESSAGE chat/a 3",
            "@4;past;unit=C MESSAGE chat/c 4",
        ],
    );
    ann.expect_prefix("CURRENT chat/# ");
    expect_all(&mut ann, &["@3;past MESSAGE chat/a 3"]);
    ann.expect_prefix("CURRENT chat/a ")
        .expect_prefix("CURRENT none ");
    // Two of its filters match: it comes once.
    bob.send("PUBLISH chat/a 5").expect("PUBACK 5 1");
    expect_all(&mut ann, &["@5 MESSAGE chat/a 5"]);
    ann.send("UNSUBSCRIBE chat/#").expect("UNSUBACK chat/#");
    publish(&mut bob, &["PUBLISH chat/b 6", "PUBLISH chat/a 7"]);
    expect_all(&mut ann, &["@7 MESSAGE chat/a 7"]);
    ann.send("UNSUBSCRIBE chat/a").expect("UNSUBACK chat/a");
    bob.send("PUBLISH chat/a 8").expect("PUBACK 8 0");
    ann.expect_silence();
    assert!(broker.ledger().contains("balanced"), "{}", broker.ledger());
}

#[test]
fn what_topics_do_not_keep_comes_as_to_any_subscriber() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "chat/#=100"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    publish(
        &mut bob,
        &[
            "@retain PUBLISH news old",
            "@retain PUBLISH chat/a 1",
            "PUBLISH chat/a 2",
        ],
    );
    ann.send("@last=2 SUBSCRIBE #").expect("SUBACK #");
    // In place of the retained message of a topic that keeps all, its past comes.
    let mut lines: Vec<String> = (0..3).map(|_| short(&ann.read_line())).collect();
    lines.sort();
    // Retained messages have numbers of their own.
    let past = ["@3;past MESSAGE chat/a 1", "@4;past MESSAGE chat/a 2"];
    assert_eq!(lines, [past[0], past[1], "@retained MESSAGE news old"]);
    ann.expect_prefix("CURRENT # ");
    bob.send("PUBLISH news new").expect("PUBACK 4 1");
    ann.expect("MESSAGE news new");
    // A plain subscription in place of the other one has no positions.
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let retained = ["@retained MESSAGE chat/a 1", "@retained MESSAGE news old"];
    for line in retained {
        ann.expect(line);
    }
    bob.send("PUBLISH chat/a 3").expect("PUBACK 5 1");
    ann.expect("MESSAGE chat/a 3");
    ann.send("@since=now SUBSCRIBE #").expect("SUBACK #");
    ann.expect_prefix("CURRENT # ");
    bob.send("PUBLISH chat/a 4").expect("PUBACK 6 1");
    // No past comes in the place of what is retained.
    for line in retained {
        ann.expect(line);
    }
    expect_all(&mut ann, &["@6 MESSAGE chat/a 4"]);
    // Another filter that it does not follow matches, too: it comes once.
    ann.send("SUBSCRIBE chat/a")
        .expect("SUBACK chat/a")
        .expect(retained[0]);
    bob.send("PUBLISH chat/a 5").expect("PUBACK 7 1");
    expect_all(&mut ann, &["@7 MESSAGE chat/a 5"]);
    ann.expect_silence();
}

#[test]
fn without_topics_that_keep_messages_a_follower_is_a_subscriber() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    bob.send("@retain PUBLISH a 1").expect("PUBACK 1 0");
    ann.send("@last=5 SUBSCRIBE a").expect("SUBACK a");
    ann.expect("@retained MESSAGE a 1").expect("CURRENT a");
    bob.send("PUBLISH a 2").expect("PUBACK 2 1");
    ann.expect("MESSAGE a 2");
}

#[test]
fn what_does_not_go_with_the_past_is_refused_in_words() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=10"]);
    let mut client = broker.connect();
    for (line, why) in [
        (
            "@last=1 SUBSCRIBE $share/g/a",
            "a shared filter has no past; leave out its group",
        ),
        (
            "@last=1;slow=latest SUBSCRIBE a",
            "nothing is dropped for a client that asks for the past; leave out `slow`",
        ),
        (
            "@last=1;since=now SUBSCRIBE a",
            "only one of `last`, `each` and `since`, once",
        ),
    ] {
        client.send(line);
        let filter = line.rsplit(' ').next().expect("a filter");
        client.expect(format!("ERROR bad-attribute subscribe:{filter} {why}"));
    }
    client
        .send("@last=1 SUBSCRIBE a/#/b")
        .expect_error("bad-filter", "subscribe:a/#/b");
    // Another store.
    client.send("@since=zzzz.1:1 SUBSCRIBE a");
    let suback = client.read_line();
    assert!(suback.starts_with("@incomplete;oldest="), "{suback}");
    client.expect_prefix("CURRENT a ");
}

#[test]
fn nothing_is_missed_and_nothing_comes_twice_where_the_past_meets_what_is_new() {
    const ALL: u64 = 200_000;
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a/#=1000000"]);
    let mut publisher = broker.connect();
    let address = broker.address();
    let follow = |asked: &'static str| {
        thread::spawn(move || {
            let mut client = TestClient::connect(address);
            client.send(asked).expect("SUBACK a/#");
            let (mut received, mut was_current) = (Received::default(), 0);
            while received.last < ALL {
                let line = client.read_line();
                if line.starts_with("CURRENT ") {
                    was_current += 1;
                    continue;
                }
                assert_eq!(was_current == 0, line.contains(";past "), "{line}");
                if received.last == 0 {
                    // It begins where it has asked to.
                    let number: u64 = line
                        .rsplit(' ')
                        .next()
                        .expect("a number")
                        .parse()
                        .expect("one");
                    received.last = number - 1;
                }
                received.take(&line);
            }
            assert_eq!(was_current, 1);
            received.messages
        })
    };
    let mut followers = Vec::new();
    for part in 0..20 {
        let first = part * (ALL / 20) + 1;
        let last = (part + 1) * (ALL / 20);
        publisher.write(numbers("a/x", first..=last));
        let asked = match part % 4 {
            0 => "@since=start SUBSCRIBE a/#",
            1 => "@last=1000 SUBSCRIBE a/#",
            2 => "@since=now SUBSCRIBE a/#",
            _ => "@since=1h SUBSCRIBE a/#",
        };
        if part < 12 {
            followers.push((asked, follow(asked)));
        }
    }
    publisher.read_until_prefix(&format!("PUBACK {ALL} "));
    for (asked, follower) in followers {
        let messages = follower.join().expect("no assertion failed");
        if asked.contains("start") || asked.contains("1h") {
            assert_eq!(messages, ALL, "{asked}");
        }
    }
    assert!(broker.ledger().contains("balanced"), "{}", broker.ledger());
}

#[test]
fn a_follower_that_reads_slowly_falls_behind_and_loses_nothing() {
    const ALL: u64 = 100_000;
    let folder = folder();
    let flags = [
        "--keep",
        "a=1000000",
        "--outbox-bytes",
        "128KiB",
        "--max-line",
        "64KiB",
    ];
    let broker = TestBroker::with_store(folder.path(), &flags);
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    slow.send("@since=now SUBSCRIBE a")
        .expect("SUBACK a")
        .expect_prefix("CURRENT a ");
    let mut publisher = broker.connect();
    for first in (1..=ALL).step_by(1000) {
        publisher.write(numbers("a", first..=first + 999));
    }
    publisher.read_until_prefix(&format!("PUBACK {ALL} "));
    // What it says meanwhile is answered in its turn.
    slow.send("PING between");
    let (mut received, mut ponged) = (Received::default(), false);
    while received.last < ALL {
        match slow.read_line().as_str() {
            "PONG between" => ponged = true,
            line => received.take(line),
        }
    }
    assert!(ponged && received.messages == ALL);
    // It is up to date now.
    publisher.send("PUBLISH a 100001");
    received.take(&slow.read_line());
    assert!(broker.ledger().contains("balanced"), "{}", broker.ledger());
}

#[test]
fn what_a_limit_has_removed_before_it_was_read_is_told_in_its_place() {
    const ALL: u64 = 100_000;
    let folder = folder();
    let flags = [
        "--keep",
        "a=100",
        "--outbox-bytes",
        "128KiB",
        "--max-line",
        "64KiB",
    ];
    let broker = TestBroker::with_store(folder.path(), &flags);
    let mut publisher = broker.connect();
    publish(&mut publisher, &["PUBLISH a 1", "PUBLISH a 2"]);
    let mut clients: Vec<_> = ["@since=now", "@since=start"]
        .map(|asked| {
            let mut client = TestClient::connect_with_small_buffer(broker.address());
            client
                .send(format!("{asked} SUBSCRIBE a"))
                .expect("SUBACK a");
            (asked, client)
        })
        .into();
    for first in (3..=ALL).step_by(1000) {
        publisher.write(numbers("a", first..=(first + 999).min(ALL)));
    }
    publisher.send("PING done").read_until("PONG done");
    // One that is live is given what comes from the end of the log, whatever the rule has forgotten meanwhile.
    let mut asker = Asker::of(&broker);
    eventually("both are behind", || {
        asker.ask("broker")["store"]["followers"]["behind"] == 2
    });
    for (asked, client) in &mut clients {
        let mut received = Received {
            last: if *asked == "@since=now" { 2 } else { 0 },
            ..Received::default()
        };
        let mut gaps = 0;
        while received.last < ALL {
            let line = client.read_line();
            gaps += u64::from(line.starts_with("GAP "));
            if !line.starts_with("CURRENT ") {
                received.take(&line);
            }
        }
        assert!(gaps > 0, "{asked}");
    }
    assert!(broker.ledger().contains("balanced"), "{}", broker.ledger());
}

#[test]
fn a_follower_goes_on_from_its_position_after_a_kill() {
    let folder = folder();
    let mut position = None;
    let mut received = Received::default();
    for round in 0..6u64 {
        let broker = TestBroker::with_store(folder.path(), &["--keep", "a=100000"]);
        let mut client = broker.connect();
        let asked = position.map_or("start".to_owned(), |it: String| it);
        client
            .send(format!("@since={asked} SUBSCRIBE a"))
            .expect("SUBACK a");
        let first = round * 1000 + 1;
        let mut publisher = broker.connect();
        publisher.write(numbers("a", first..=first + 999));
        publisher.send("PING done").read_until("PONG done");
        // Some of it, or all.
        let until = first + 200 * round - 1;
        let mut last = None;
        while received.last < until || last.is_none() {
            let line = client.read_line();
            if line.starts_with("CURRENT ") {
                last = line.rsplit(' ').next().map(str::to_owned);
                continue;
            }
            received.take(&line);
            let word = line
                .split(' ')
                .next()
                .and_then(|it| it.strip_prefix("@pos="));
            last = word.and_then(|it| it.split(';').next()).map(str::to_owned);
        }
        position = last;
        broker.stop_by(Signal::KILL);
    }
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=100000"]);
    let mut client = broker.connect();
    client.send(format!(
        "@since={} SUBSCRIBE a",
        position.expect("a position")
    ));
    client.expect("SUBACK a");
    while received.last < 6000 {
        received.take(&client.read_line());
    }
    client.expect_prefix("CURRENT a ");
}

#[test]
fn a_follower_gets_what_it_may_see() {
    let folder = folder();
    let data = folder.path().to_str().expect("a path of text").to_owned();
    let rules = "allow everyone publish #\nallow everyone subscribe:narrow a/#\ndeny everyone subscribe a/secret\n";
    let broker = RuledBroker::start(&["ann"], rules, &["--data", &data, "--keep", "#=100"]);
    let (mut ann, mut bob) = (broker.line(Some("ann")), broker.line(Some("ann")));
    publish(
        &mut bob,
        &["PUBLISH a/secret 1", "PUBLISH a/b 2", "PUBLISH b 3"],
    );
    ann.send("@since=start SUBSCRIBE a/#").expect("SUBACK a/#");
    expect_all(&mut ann, &["@2;past MESSAGE a/b 2"]);
    ann.expect_prefix("CURRENT a/# ");
    publish(&mut bob, &["PUBLISH a/secret 4", "PUBLISH a/b 5"]);
    expect_all(&mut ann, &["@5 MESSAGE a/b 5"]);
    ann.send("@last=1 SUBSCRIBE b").expect_prefix("ERROR ");
}

/// What a stream of events or lines has, without the sizes of chunks and without the store and the generation.
#[track_caller]
fn expect_stream(client: &mut TestClient, expected: &[&str]) {
    for expected in expected {
        let mut line = http_line(client);
        while line.is_empty() || line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            line = http_line(client);
        }
        let store = line.find(".1:").map(|at| at - 4..at + 3);
        store
            .into_iter()
            .for_each(|store| line.replace_range(store, "@"));
        assert_eq!(line, *expected);
    }
}

/// A line without the carriage return that HTTP ends it with.
#[track_caller]
fn http_line(client: &mut TestClient) -> String {
    let line = client.read_line();
    line.strip_suffix('\r').map_or(line.clone(), str::to_owned)
}

#[track_caller]
fn stream(broker: &TestBroker, path: &str, header: &str) -> TestClient {
    let mut client = broker.connect();
    client.write(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"
    ));
    assert_eq!(http_line(&mut client), "HTTP/1.1 200 OK");
    while !http_line(&mut client).is_empty() {}
    client
}

#[test]
fn a_stream_of_events_goes_on_from_the_last_that_its_client_has_received() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "chat/#=100"]);
    let mut bob = broker.connect();
    publish(&mut bob, &["PUBLISH chat/a 1", "PUBLISH chat/a 2"]);
    let mut ann = stream(&broker, "/topics/**?last=1", "");
    expect_stream(
        &mut ann,
        &[
            ": subscribed",
            "id: @2",
            r#"data: {"topic":"chat/a","payload":"2","attributes":{"past":true,"pos":"@2"}}"#,
            "event: current",
            "id: @2",
            r#"data: {"position":"@2"}"#,
        ],
    );
    // What is not kept has no position to go on from.
    publish(&mut bob, &["PUBLISH news x", "PUBLISH chat/a 3"]);
    let three = [
        "id: @3",
        r#"data: {"topic":"chat/a","payload":"3","attributes":{"pos":"@3"}}"#,
    ];
    let mut lines: Vec<_> = [r#"data: {"topic":"news","payload":"x"}"#].into();
    lines.extend(three);
    // It comes on another way than what is kept.
    let mut received = Vec::new();
    while received.len() < 3 {
        let line = ann.read_line();
        if line.starts_with("id:") || line.starts_with("data:") {
            received.push(line.contains("news"));
        }
    }
    assert_eq!(received.iter().filter(|is_news| **is_news).count(), 1);
    let (_, end) = past_of(&mut bob, "chat/a");
    drop(ann);
    publish(&mut bob, &["PUBLISH chat/a 4"]);
    // It wins over what is in the address, which an EventSource asks for again.
    let header = format!("Last-Event-ID: {end}\r\n");
    let mut ann = stream(&broker, "/topics/chat/**?last=1", &header);
    expect_stream(
        &mut ann,
        &[
            ": subscribed",
            "id: @4",
            r#"data: {"topic":"chat/a","payload":"4","attributes":{"past":true,"pos":"@4"}}"#,
            "event: current",
        ],
    );
    // That of another store, and one without a position.
    let mut other = stream(
        &broker,
        "/topics/chat/**?since=now",
        "Last-Event-ID: zzzz.1:1\r\n",
    );
    expect_stream(
        &mut other,
        &[
            ": subscribed",
            "event: incomplete",
            r#"data: {"oldest":"@1"}"#,
            "id: @1",
        ],
    );
    let mut other = stream(
        &broker,
        "/topics/chat/**?since=now",
        "Last-Event-ID: 1-1\r\n",
    );
    expect_stream(
        &mut other,
        &[
            ": subscribed",
            "event: gap",
            r#"data: {"count":null,"since":"1-1"}"#,
            "event: current",
            "id: @4",
        ],
    );
}

/// The past of a filter, as lines, and the position at its end.
fn past_of(client: &mut TestClient, filter: &str) -> (Vec<String>, String) {
    client.send(format!("@since=start;until=now SUBSCRIBE {filter}"));
    let mut lines = Vec::new();
    loop {
        let line = client.read_line();
        if let Some(end) = line.strip_prefix(&format!("END {filter} ")) {
            return (lines, end.to_owned());
        }
        lines.push(line);
    }
}

#[test]
fn other_forms_of_a_stream_bring_the_past_and_end_after_a_number_of_messages() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=100"]);
    let mut bob = broker.connect();
    publish(&mut bob, &["PUBLISH a 1", "PUBLISH a 2", "PUBLISH a 3"]);
    let mut json = stream(&broker, "/topics/a?last=1&format=json", "");
    expect_stream(
        &mut json,
        &[
            r#"{"topic":"a","payload":"3","attributes":{"past":true,"pos":"@3"}}"#,
            r#"{"current":{"position":"@3"}}"#,
        ],
    );
    let mut raw = stream(&broker, "/topics/a?since=start&format=raw&count=4", "");
    publish(&mut bob, &["PUBLISH a 4", "PUBLISH a 5"]);
    expect_stream(
        &mut json,
        &[r#"{"topic":"a","payload":"4","attributes":{"pos":"@4"}}"#],
    );
    let rest = raw.read_to_end();
    let payloads: Vec<_> = rest.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(payloads, ["1\n", "2\n", "3\n", "4\n", ""]);
}

#[test]
fn a_position_behind_which_a_limit_has_removed_messages_is_told() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=2", "--keep", "b=all"]);
    let mut client = broker.connect();
    publish(
        &mut client,
        &["PUBLISH a 1", "PUBLISH b 2", "PUBLISH a 3", "PUBLISH a 4"],
    );
    let (_, end) = past_of(&mut client, "a");
    let store = end.split(':').next().expect("a position").to_owned();
    for (filter, position, is_complete) in [
        ("a", 0, false),
        ("a", 1, true),
        ("+", 0, false),
        ("b", 0, true),
        ("c", 3, false),
    ] {
        client.send(format!(
            "@since={store}:{position};until=now SUBSCRIBE {filter}"
        ));
        let suback = client.read_line();
        assert_eq!(
            suback == format!("SUBACK {filter}"),
            is_complete,
            "{suback}"
        );
        let oldest = format!("@incomplete;oldest={store}:");
        assert_eq!(
            suback.starts_with(&oldest),
            !is_complete && filter != "c",
            "{suback}"
        );
        client.read_until_prefix(&format!("END {filter} "));
    }
    client.send(format!("@since={store}:1 SUBSCRIBE c"));
    client
        .expect("@incomplete SUBACK c")
        .expect_prefix("CURRENT c ");
    // A broker that keeps nothing.
    let without_store = TestBroker::start();
    let mut other = without_store.connect();
    other.send(format!("@since={end} SUBSCRIBE a"));
    other.expect("@incomplete SUBACK a").expect("CURRENT a");
}

/// The message that is being retained comes as the retained one or from the log.
#[test]
fn a_follower_from_now_on_gets_each_message_of_a_topic_that_is_retained_and_kept_once() {
    const ROUNDS: usize = 500;
    let broker = TestBroker::with_args(&["--keep", "a=all"]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = broker.connect();
            for number in 1.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                publisher.send(format!("@retain PUBLISH a {number}"));
                publisher.expect_prefix(&format!("PUBACK {number} "));
            }
        });
        let look = || {
            let mut client = broker.connect();
            client.send("@since=now SUBSCRIBE a").expect("SUBACK a");
            let mut last = None;
            let mut received = 0;
            while received < 4 {
                let line = client.read_line();
                if line.starts_with("CURRENT ") {
                    continue;
                }
                let number: u64 = line.rsplit(' ').next()?.parse().ok()?;
                if last.is_some_and(|last| number != last + 1) {
                    return None;
                }
                last = Some(number);
                received += 1;
            }
            last
        };
        let found = (0..ROUNDS).all(|_| look().is_some());
        is_over.store(true, Ordering::Relaxed);
        assert!(found, "a message is missing, or has come twice");
    });
}
