//! Promises of `access.md` about limits: what each identity may have is counted over all wires, what is beyond is refused in
//! the words of each, and nothing that is there ends.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet};
use tests::{Asker, RuledBroker, TestClient, eventually};

/// A broker with users who may do everything within limits.
struct Limited(RuledBroker);

const RIGHTS: &str = "allow everyone all\nallow everyone admin\n";

impl Deref for Limited {
    type Target = RuledBroker;

    fn deref(&self) -> &RuledBroker {
        &self.0
    }
}

impl Limited {
    fn start(limits: &str) -> Self {
        Self::start_with(limits, &[])
    }

    fn start_with(limits: &str, flags: &[&str]) -> Self {
        let rules = format!("{limits}\n{RIGHTS}");
        Self(RuledBroker::start(&["ann", "bob"], &rules, flags))
    }

    /// Has other limits put in force.
    #[track_caller]
    fn reload(&self, limits: &str) {
        self.0.reload(&format!("{limits}\n{RIGHTS}"));
    }

    /// Gives an order over the socket; what is told.
    #[track_caller]
    fn order(&self, words: &[&str]) -> String {
        self.0.order(words, true)
    }

    /// A client of lines that is this user.
    #[track_caller]
    fn line(&self, user: &str) -> TestClient {
        self.0.line(Some(user))
    }

    /// The code by which a CONNECT is answered, all of the answer, and the client.
    fn connect(&self, version: Mqtt, hello: Hello, user: &str) -> (u8, Vec<u8>, MqttClient) {
        let hello = Hello {
            user: Some(user.to_owned()),
            password: Some("pw".to_owned()),
            ..hello
        };
        let mut client = MqttClient::dial(self.broker.address(), version);
        client.send(&hello.encode(version));
        let connack = client.packet();
        let length = connack[1..]
            .iter()
            .take_while(|byte| **byte >= 0x80)
            .count()
            + 1;
        (connack[length + 2], connack, client)
    }

    #[track_caller]
    fn mqtt(&self, version: Mqtt, hello: Hello, user: &str) -> MqttClient {
        let (code, connack, client) = self.connect(version, hello, user);
        assert_eq!(code, 0, "{connack:02x?}");
        client
    }

    /// A CONNECT that is refused because there would be too much; what 5.0 is told.
    #[track_caller]
    fn refused(&self, version: Mqtt, hello: Hello, user: &str) -> String {
        let (code, connack, mut client) = self.connect(version, hello, user);
        let expected = match version {
            Mqtt::V3 => 3,
            Mqtt::V5 => 0x97,
        };
        assert_eq!(code, expected, "{connack:02x?}");
        client.expect_closed();
        String::from_utf8_lossy(&connack).into_owned()
    }

    /// Status and body of a request.
    fn curl(&self, user: &str, words: &[&str], path: &str) -> (u16, String) {
        let (body, status) = self.0.curl(Some(user), words, path);
        (status, body)
    }

    /// A figure of `/metrics`.
    fn figure(&self, name: &str) -> f64 {
        let (_, text) = self.curl("bob", &[], "/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is in {text}"))
            .parse()
            .expect("a number")
    }

    /// The row of a connection of this user.
    fn row(&self, user: &str) -> Value {
        let who = Asker::with(self.line("bob")).ask("who");
        let rows = who["connections"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["identity"] == user);
        row.unwrap_or_else(|| panic!("{user} is in {who}")).clone()
    }
}

#[test]
fn an_identity_has_as_many_connections_as_it_may_over_all_wires() {
    let limited = Limited::start("limit ann connections 2");
    let (mut one, _two) = (
        limited.line("ann"),
        limited.mqtt(Mqtt::V5, Hello::new("m"), "ann"),
    );
    // The connection stays what it was.
    let mut third = limited.broker.connect();
    third.send("SUBSCRIBE a").expect("SUBACK a");
    third.send("AUTH ann pw").expect(
        "ERROR too-many line ann has 2 connections of at most 2 (home.access:1); close one of them first",
    );
    third.send("AUTH").expect("AUTHACK anonymous");
    third
        .send("PUBLISH a 1")
        .expect("MESSAGE a 1")
        .expect("PUBACK 1 1");
    for version in BOTH {
        let told = limited.refused(version, Hello::new("n"), "ann");
        assert_eq!(told.contains("home.access:1"), version == Mqtt::V5);
    }
    let (status, body) = limited.curl("ann", &["-d", "1"], "/topics/a");
    assert_eq!(status, 429, "{body}");
    assert!(
        body.contains("ann has 2 connections of at most 2"),
        "{body}"
    );
    assert_eq!(limited.curl("bob", &["-d", "2"], "/topics/a").0, 200);
    third.expect("MESSAGE a 2");
    // What ends makes room, for each wire.
    one.send("BYE").expect("BYE");
    drop(one);
    eventually("there is room", || {
        limited.curl("ann", &["-d", "3"], "/topics/a").0 == 200
    });
    third.expect("MESSAGE a 3");
    // A request counts while it lasts.
    assert_eq!(limited.curl("ann", &["-d", "4"], "/topics/a").0, 200);
    third.expect("MESSAGE a 4");
    third.send("AUTH ann pw").expect("AUTHACK ann");
    limited.refused(Mqtt::V5, Hello::new("n"), "ann");
    // One that is counted already shows its credential again.
    third.send("AUTH ann pw").expect("AUTHACK ann");
    assert_eq!(
        limited.figure("dallal_limited_total{limit=\"connections\"}"),
        5.0
    );
}

#[test]
fn anonymous_clients_are_counted_once_they_do_something_as_such() {
    let limited = Limited::start("limit anonymous connections 1");
    let mut first = limited.broker.connect();
    first.send("PING").expect("PONG");
    let mut second = limited.broker.connect();
    second.send("AUTH bob wrong").expect_error("auth", "line");
    second.expect_error("too-many", "line");
    second.expect_end();
    let mut third = limited.broker.connect();
    third
        .send("AUTH bob pw\nPING")
        .expect("AUTHACK bob")
        .expect("PONG");
    let mut fourth = limited.broker.connect();
    fourth
        .send("PUBLISH a 1\nPUBLISH a 2")
        .expect_error("too-many", "line");
    fourth.expect_end();
    // A place is free as soon as the first is someone.
    first.send("AUTH ann pw").expect("AUTHACK ann");
    limited.broker.connect().send("PING").expect("PONG");
}

#[test]
fn a_client_that_comes_again_takes_the_place_of_its_earlier_connection() {
    let limited = Limited::start("limit ann connections 1");
    for version in BOTH {
        let mut before = limited.mqtt(version, Hello::new("same"), "ann");
        for _ in 0..5 {
            let next = limited.mqtt(version, Hello::new("same"), "ann");
            before.expect_dismissal(0x8e);
            before = next;
        }
        limited.refused(version, Hello::new("other"), "ann");
        before.leave();
        eventually("its place is free", || {
            let (code, _, client) = limited.connect(version, Hello::new("other"), "ann");
            if code == 0 {
                client.leave();
            }
            code == 0
        });
        eventually("and again", || {
            limited.curl("ann", &["-d", "1"], "/topics/a").0 == 200
        });
    }
}

#[test]
fn sessions_that_outlast_their_connections_are_limited_for_each_identity() {
    let limited = Limited::start("limit ann sessions 1");
    for (version, other) in [(Mqtt::V5, Mqtt::V3), (Mqtt::V3, Mqtt::V5)] {
        let a = limited.mqtt(version, Hello::lasting("a"), "ann");
        limited.refused(other, Hello::lasting("b"), "ann");
        a.leave();
        let told = limited.refused(Mqtt::V5, Hello::lasting("b"), "ann");
        assert!(told.contains("ann has 1 sessions"), "{told}");
        limited.mqtt(other, Hello::new("b"), "ann").leave();
        limited.mqtt(other, Hello::lasting("b"), "bob").leave();
        // The one that is there goes on, and a clean one in its place makes room.
        limited.mqtt(other, Hello::lasting("a"), "ann").leave();
        limited.mqtt(other, Hello::new("a"), "ann").leave();
        limited.mqtt(version, Hello::lasting("b"), "ann").leave();
        limited.order(&["sessions", "rm", "ann/b"]);
    }
}

#[test]
fn subscriptions_are_counted_over_connections_and_absent_sessions() {
    let limited = Limited::start("limit ann subscriptions 3\nlimit bob subscription-bytes 600");
    let mut one = limited.line("ann");
    one.send("SUBSCRIBE a b")
        .expect("SUBACK a")
        .expect("SUBACK b");
    let mut session = limited.mqtt(Mqtt::V5, Hello::lasting("s"), "ann");
    session.subscribe("c", 1);
    session.leave();
    let mut other = limited.line("ann");
    other.send("SUBSCRIBE d").expect(
        "ERROR too-many subscribe:d ann has 3 subscriptions of at most 3 (home.access:1); end some, here or on its \
         other connections, or use a wildcard",
    );
    for (version, code) in [(Mqtt::V3, 0x80), (Mqtt::V5, 0x97)] {
        let mut client = limited.mqtt(version, Hello::new("m"), "ann");
        assert_eq!(client.ask_to_subscribe("d", 0, &[]), code);
        client.leave();
    }
    let (status, body) = limited.curl("ann", &["-m", "5"], "/topics/d");
    assert_eq!(status, 429, "{body}");
    // What is there can be asked for again, and nothing of it has ended.
    one.send("SUBSCRIBE a").expect("SUBACK a");
    other.send("PUBLISH b 1").expect("PUBACK 1 1");
    one.expect("MESSAGE b 1");
    // Each way in which one ends makes room for one.
    one.send("UNSUBSCRIBE b").expect("UNSUBACK b");
    other.send("SUBSCRIBE d").expect("SUBACK d");
    other
        .send("SUBSCRIBE e")
        .expect_error("too-many", "subscribe:e");
    limited.order(&["sessions", "rm", "ann/s"]);
    other.send("SUBSCRIBE e").expect("SUBACK e");
    other
        .send("SUBSCRIBE f")
        .expect_error("too-many", "subscribe:f");
    drop(one);
    let mut at = 0;
    eventually("the end of a connection makes room", || {
        at += 1;
        other.send("SUBSCRIBE f");
        other.read_line() == "SUBACK f"
    });
    assert!(at > 0);
    // Those of a client that says who it is belong to that from then on, whatever it has.
    let mut named = limited.broker.connect();
    named
        .send("SUBSCRIBE x y")
        .expect("SUBACK x")
        .expect("SUBACK y");
    named.send("AUTH ann pw").expect("AUTHACK ann");
    other.send("UNSUBSCRIBE d").expect("UNSUBACK d");
    other
        .send("SUBSCRIBE d")
        .expect_error("too-many", "subscribe:d");
    drop(named);
    eventually("they are given back", || {
        other.send("SUBSCRIBE d");
        other.read_line() == "SUBACK d"
    });
    let mut bob = limited.line("bob");
    bob.send("SUBSCRIBE a b")
        .expect("SUBACK a")
        .expect("SUBACK b");
    bob.send("SUBSCRIBE c")
        .expect_error("too-many", "subscribe:c");
    bob.send("UNSUBSCRIBE a").expect("UNSUBACK a");
    bob.send("SUBSCRIBE c").expect("SUBACK c");
}

#[test]
fn retained_messages_count_for_the_identity_that_published_them() {
    let limited = Limited::start("limit ann retained 2\nlimit bob retained-bytes 100");
    let (mut ann, mut bob) = (limited.line("ann"), limited.line("bob"));
    ann.send("@retain PUBLISH a/1 x").expect("PUBACK 1 0");
    ann.send("@retain PUBLISH a/2 x").expect("PUBACK 2 0");
    ann.send("@retain PUBLISH a/3 x").expect(
        "ERROR too-many publish:3 ann has 2 retained messages of at most 2 (home.access:1); clear one with an empty \
         payload, or publish without retaining",
    );
    ann.expect("PUBACK 3 0");
    for version in BOTH {
        let mut client = limited.mqtt(version, Hello::new("m"), "ann");
        client.publish_as(0x33, "a/3", 7, b"x");
        let puback = client.packet();
        let expected: &[u8] = match version {
            Mqtt::V3 => &[0x40, 2, 0, 7],
            Mqtt::V5 => &[0, 7, 0x97],
        };
        assert!(
            puback.windows(expected.len()).any(|part| part == expected),
            "{puback:02x?}"
        );
        client.leave();
    }
    let (status, body) = limited.curl("ann", &["-X", "PUT", "-d", "x"], "/topics/a/3?retain");
    assert_eq!(status, 429, "{body}");
    // Another value of a topic is no other message; one of another client is no longer hers.
    ann.send("@retain PUBLISH a/1 y").expect("PUBACK 4 0");
    bob.send("@retain PUBLISH a/1 z").expect("PUBACK 1 0");
    ann.send("@retain PUBLISH a/3 x").expect("PUBACK 5 0");
    ann.send("@retain PUBLISH a/1 y")
        .expect_error("too-many", "publish:6");
    ann.expect("PUBACK 6 0");
    ann.send("@retain PUBLISH a/2").expect("PUBACK 7 0");
    // A will counts for its client, and without room it is not published.
    let mut watcher = limited.broker.subscribe("will/#");
    for (topic, is_kept) in [("will/1", true), ("will/2", false)] {
        let mut dying = limited.line("ann");
        dying
            .send(format!("@retain WILL {topic} gone"))
            .expect(format!("WILLACK {topic}"));
        dying.vanish();
        if is_kept {
            watcher.expect(format!("MESSAGE {topic} gone"));
        }
    }
    eventually("the second will is refused", || {
        limited.figure("dallal_limited_total{limit=\"retained\"}") == 6.0
    });
    watcher.expect_silence();
    let long = "x".repeat(60);
    bob.send(format!("@retain PUBLISH b/1 {long}"))
        .expect_error("too-many", "publish:2");
    bob.expect("PUBACK 2 0");
    bob.send("@retain PUBLISH a/1").expect("PUBACK 3 0");
    bob.send(format!("@retain PUBLISH b/1 {long}"))
        .expect("PUBACK 4 0");
    bob.send(format!("@retain PUBLISH b/1 {long}"))
        .expect("PUBACK 5 0");
}

#[test]
fn a_line_is_as_long_as_its_client_may_send() {
    let limited = Limited::start("limit ann line 1KiB");
    let long = "x".repeat(2000);
    let (mut ann, mut bob) = (limited.line("ann"), limited.line("bob"));
    ann.send(format!("PUBLISH a {long}"))
        .expect_error("too-long", "publish:1");
    ann.expect("PUBACK 1 0");
    bob.send(format!("PUBLISH a {long}")).expect("PUBACK 1 0");
    assert_eq!(limited.curl("ann", &["-d", &long], "/topics/a").0, 413);
    assert_eq!(limited.curl("bob", &["-d", &long], "/topics/a").0, 200);
    let (_, connack, mut client) = limited.connect(Mqtt::V5, Hello::new("m"), "ann");
    // Maximum packet size.
    let announced = [0x27, 0, 0, 4, 0];
    assert!(
        connack.windows(5).any(|part| part == announced),
        "{connack:02x?}"
    );
    client.publish("a", &long);
    client.expect_dismissal(0x95);
    limited.reload("limit ann line 4KiB");
    ann.send(format!("PUBLISH a {long}")).expect("PUBACK 2 0");
    limited.reload("limit ann line 512");
    ann.send(format!("PUBLISH a {}", &long[..600]))
        .expect_error("too-long", "publish:3");
    assert_eq!(limited.figure("dallal_limited_total{limit=\"line\"}"), 4.0);
}

#[test]
fn a_client_without_a_name_says_who_it_is_at_any_length() {
    let limited = Limited::start("limit anonymous line 128");
    let long = "x".repeat(300);
    let mut client = limited.broker.connect();
    client
        .send(format!("AUTH bob {long}\nPUBLISH a {long}"))
        .expect_error("auth", "line")
        .expect_error("too-long", "publish:1");
    client.expect("PUBACK 1 0");
    client.send("AUTH bob pw").expect("AUTHACK bob");
    client
        .send(format!("PUBLISH a {long}"))
        .expect("PUBACK 2 0");
    let mut other = limited.broker.connect();
    other
        .send(format!("PUBLISH a {long}"))
        .expect_error("too-long", "publish:1");
    for version in BOTH {
        let client = limited.mqtt(version, Hello::new(&long), "bob");
        client.leave();
        let mut client = MqttClient::connect(limited.broker.address(), version, "m");
        client.publish("a", &long);
        client.expect_dismissal(0x95);
    }
}

#[test]
fn a_lower_limit_ends_nothing_and_a_later_one_finds_what_is_there() {
    let limited = Limited::start("");
    let mut present: Vec<TestClient> = (0..3).map(|_| limited.line("ann")).collect();
    for (at, client) in present.iter_mut().enumerate() {
        client
            .send(format!("SUBSCRIBE s/{at}"))
            .expect(format!("SUBACK s/{at}"));
        client
            .send(format!("@retain PUBLISH r/{at} x"))
            .expect("PUBACK 1 0");
    }
    limited.reload("limit ann connections 3 subscriptions 3 retained 3");
    limited.refused(Mqtt::V5, Hello::new("m"), "ann");
    present[0]
        .send("SUBSCRIBE more")
        .expect_error("too-many", "subscribe:more");
    present[0]
        .send("@retain PUBLISH more x")
        .expect_error("too-many", "publish:2");
    present[0].expect("PUBACK 2 0");
    limited.reload("limit ann connections 1 subscriptions 1 retained 1");
    for (at, client) in present.iter_mut().enumerate() {
        client.send("PING").expect("PONG");
        limited
            .line("bob")
            .send(format!("PUBLISH s/{at} here"))
            .expect("PUBACK 1 1");
        client.expect(format!("MESSAGE s/{at} here"));
        client.send(format!("@retain PUBLISH r/{at} y"));
        client.read_until_prefix("PUBACK");
    }
    // Two of three leave, and only then one may come.
    present.truncate(1);
    limited.refused(Mqtt::V5, Hello::new("m"), "ann");
    present.clear();
    eventually("there is room", || {
        let (code, _, _client) = limited.connect(Mqtt::V5, Hello::new("m"), "ann");
        code == 0
    });
    limited.reload("limit ann connections 5");
    let _more: Vec<TestClient> = (0..4).map(|_| limited.line("ann")).collect();
}

/// How long it takes until a client has got this many messages.
fn time_for(subscriber: &mut TestClient, messages: usize, begin: Instant) -> Duration {
    for number in 0..messages {
        subscriber.expect(format!("MESSAGE r {number}"));
    }
    begin.elapsed()
}

#[test]
fn a_client_over_its_rate_is_not_read_from_and_nothing_is_lost() {
    let limited = Limited::start("limit ann publish 20/s");
    let mut subscriber = limited.line("bob");
    subscriber.send("SUBSCRIBE r").expect("SUBACK r");
    let (mut ann, mut other) = (limited.line("ann"), limited.line("ann"));
    let lines: String = (0..60)
        .map(|number| format!("PUBLISH r {number}\n"))
        .collect();
    let begin = Instant::now();
    let (first, second) = lines.split_at(lines.find("PUBLISH r 30\n").expect("it is there"));
    ann.write(first);
    // The answer says that the first half was read, so the second is a read of its own.
    ann.send("PING").read_until("PONG");
    ann.write(second);
    let last = time_for(&mut subscriber, 60, begin);
    ann.read_until_prefix("PUBACK 60 ");
    // 20 at once, the rest at 20 a second; what came with one read is paid for after it.
    ann.send("PING").expect("PONG");
    let all = begin.elapsed();
    let enough = Duration::from_millis(1900);
    assert!(all >= enough && last < all, "{last:?} {all:?}");
    let row = limited.row("ann");
    assert!(
        row["throttled_s"].as_f64().expect("it has rested") > 1.0,
        "{row}"
    );
    assert!(limited.row("bob").get("throttled_s").is_none());
    assert!(limited.figure("dallal_throttled_seconds_total") > 1.0);
    assert_eq!(limited.figure("dallal_throttled_clients"), 0.0);
    // Both connections have one rate together.
    let begin = Instant::now();
    for _ in 0..2 {
        for client in [&mut ann, &mut other] {
            client.write("PUBLISH r x\n".repeat(20));
        }
        for client in [&mut ann, &mut other] {
            client.send("PING").read_until("PONG");
        }
    }
    // Those before may have come with the messages, so that they were answered before the rest.
    for client in [&mut ann, &mut other] {
        client.send("PING").expect("PONG");
    }
    let enough = Duration::from_millis(2900);
    assert!(begin.elapsed() >= enough, "{:?}", begin.elapsed());
}

#[test]
fn bytes_have_a_rate_whatever_they_say() {
    let limited = Limited::start("limit ann bytes 10KiB/s");
    let mut ann = limited.line("ann");
    let begin = Instant::now();
    for _ in 0..5 {
        ann.write(format!("PING {}\n", "x".repeat(1000)).repeat(6));
        for _ in 0..6 {
            ann.expect_prefix("PONG xxx");
        }
    }
    // 30 KiB, of which 10 come at once and the last rest is not waited for.
    assert!(
        begin.elapsed() >= Duration::from_millis(1200),
        "{:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    for _ in 0..3 {
        let body = "x".repeat(10_000);
        assert_eq!(limited.curl("ann", &["-d", &body], "/topics/a").0, 200);
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_higher_rate_ends_the_rests_that_a_lower_one_began() {
    let limited = Limited::start("limit ann publish 1/s");
    let mut ann = limited.line("ann");
    // A debt of minutes.
    ann.write("PUBLISH r x\n".repeat(300));
    eventually("it rests", || {
        limited.figure("dallal_throttled_clients") == 1.0
    });
    let begin = Instant::now();
    // Another reload, or a lower rate, is no reason.
    limited.reload("limit ann publish 1/s\nlimit bob sessions 7");
    limited.reload("limit ann publish 1000/s");
    ann.send("PING done").read_until("PONG done");
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    eventually("it rests no longer", || {
        limited.figure("dallal_throttled_clients") == 0.0
    });
}

#[test]
fn a_rest_is_no_silence_and_ends_at_once_when_the_connection_is_to_end() {
    let limited = Limited::start("limit ann publish 10/s");
    for version in BOTH {
        let hello = Hello {
            keep_alive: 1,
            ..Hello::new("m")
        };
        let mut client = limited.mqtt(version, hello, "ann");
        // Longer than one and a half times the keep alive.
        let publish = packet(0x30, b"\0\x01rx");
        let publish = match version {
            Mqtt::V3 => publish,
            Mqtt::V5 => packet(0x30, b"\0\x01r\0x"),
        };
        let begin = Instant::now();
        client.send(&publish.repeat(40));
        eventually("it rests", || {
            limited.figure("dallal_throttled_clients") == 1.0
        });
        client.send(&[0xc0, 0]).expect(&[0xd0, 0]);
        assert!(
            begin.elapsed() >= Duration::from_millis(2500),
            "{:?}",
            begin.elapsed()
        );
        client.leave();
    }
    // A debt of minutes.
    let mut ann = limited.line("ann");
    ann.write("PUBLISH r x\n".repeat(3000));
    eventually("it rests", || {
        limited.figure("dallal_throttled_clients") == 1.0
    });
    let begin = Instant::now();
    limited.order(&["kick", &format!("#{}", limited.row("ann")["id"])]);
    ann.read_until("BYE");
    let mut again = limited.line("ann");
    again.send("PUBLISH r x").expect("PUBACK 1 0");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    eventually("it rests", || {
        limited.figure("dallal_throttled_clients") == 1.0
    });
    limited.broker.signal(Signal::TERM);
    again.read_until("BYE");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    let proxy = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let limited = Limited::start_with("limit address connections 2", &["--proxy", "127.0.0.2"]);
    let come = |from: &str| {
        let mut client = TestClient::connect_from(proxy, limited.broker.address());
        client.write(format!("PROXY TCP4 {from} 192.0.2.1 4711 1373\r\nPING\n"));
        client
    };
    let mut both = [come("203.0.113.7"), come("203.0.113.7")];
    for client in &mut both {
        client.expect("PONG");
    }
    come("203.0.113.7").expect(
        "ERROR busy line 2 connections from this address are open of at most 2 (home.access:1); try again later",
    );
    come("203.0.113.8").expect("PONG");
    limited.reload("limit address connections 3");
    come("203.0.113.7").expect("PONG");
    assert_eq!(
        limited.figure("dallal_limited_total{limit=\"connections\"}"),
        1.0
    );
}

#[test]
fn an_address_fails_as_often_as_it_may() {
    let limited = Limited::start("limit address attempts 2/min");
    let mut ann = limited.line("ann");
    let mut guesser = limited.broker.connect();
    for _ in 0..2 {
        guesser.send("AUTH bob wrong").expect_error("auth", "line");
    }
    for secret in ["wrong", "pw"] {
        guesser.send(format!("AUTH bob {secret}")).expect(
            "ERROR too-many line too many credentials from this address were wrong; try again in some minutes",
        );
    }
    for version in BOTH {
        limited.refused(version, Hello::new("m"), "bob");
    }
    assert_eq!(limited.curl("bob", &["-d", "1"], "/topics/a").0, 429);
    // A user that was right from there is asked still.
    ann.send("AUTH ann pw").expect("AUTHACK ann");
    assert_eq!(limited.curl("ann", &["-d", "1"], "/topics/a").0, 200);
}
