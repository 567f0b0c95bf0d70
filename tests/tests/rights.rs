//! Promises of `access.md` and `security.md` about what clients may do: one table on every wire, and reloads of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::process::Stdio;

use serde_json::{Value, json};
use tests::frames::FrameClient;
use tests::mqtt::{self, BOTH, Hello, Mqtt, MqttClient};
use tests::{
    Alg, Asker, JwtIssuer, Process, RuledBroker, TestBroker, TestClient, UsersFile, client,
    eventually, in_seconds, installed,
};

/// The rules of most tests.
const RULES: &str = "\
group family ann
group dash dora
allow everyone subscribe public/#
allow @family publish subscribe retain home/#
allow bob publish subscribe retain home/%u/#
allow bob subscribe home/+/status
allow @dash subscribe:narrow home/#
allow @dash publish retain board
allow @family share:workers jobs/#
allow @family publish jobs/#
deny everyone publish subscribe home/secret/#
allow @family inquire:why
";

/// A broker with [`RULES`] or others.
struct Ruled(RuledBroker);

impl Deref for Ruled {
    type Target = RuledBroker;

    fn deref(&self) -> &RuledBroker {
        &self.0
    }
}

impl Ruled {
    fn start() -> Self {
        Self::start_with(RULES, &[])
    }

    /// With these rules, and these flags besides.
    fn start_with(rules: &str, flags: &[&str]) -> Self {
        Self(RuledBroker::start(&["ann", "bob", "dora"], rules, flags))
    }

    /// Replaces the rules and gives an order; what is told.
    #[track_caller]
    fn order(&self, rules: &str, words: &[&str], succeeds: bool) -> String {
        self.write(rules);
        self.0.order(words, succeeds)
    }

    /// A client of MQTT, if it is let in.
    fn mqtt(&self, version: Mqtt, user: Option<&str>, id: &str) -> Option<MqttClient> {
        let hello = hello(user, id);
        let mut client = MqttClient::dial(self.broker.address(), version);
        client.send(&hello.encode(version));
        (client.packet()[3] == 0).then_some(client)
    }
}

fn hello(user: Option<&str>, id: &str) -> Hello {
    Hello {
        user: user.map(str::to_owned),
        password: user.map(|_| "pw".to_owned()),
        ..Hello::new(id)
    }
}

/// What is asked for in a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Publish,
    Retain,
    Subscribe,
    Will,
}

/// The table: who asks for what on which topic, and whether that is allowed.
const TABLE: [(Option<&str>, Asked, &str, bool); 30] = [
    (None, Asked::Publish, "public/a", false),
    (None, Asked::Publish, "home/a", false),
    (None, Asked::Subscribe, "public/a", true),
    (None, Asked::Subscribe, "public/#", true),
    (None, Asked::Subscribe, "#", false),
    (None, Asked::Subscribe, "home/a", false),
    (None, Asked::Will, "home/a", false),
    (Some("ann"), Asked::Publish, "home/a", true),
    (Some("ann"), Asked::Publish, "home/secret/a", false),
    (Some("ann"), Asked::Publish, "other", false),
    (Some("ann"), Asked::Retain, "home/b", true),
    (Some("ann"), Asked::Retain, "jobs/1", false),
    (Some("ann"), Asked::Publish, "jobs/1", true),
    (Some("ann"), Asked::Subscribe, "home/a", true),
    (Some("ann"), Asked::Subscribe, "home/#", true),
    (Some("ann"), Asked::Subscribe, "home/secret/#", false),
    (Some("ann"), Asked::Subscribe, "home/secret/a", false),
    (Some("ann"), Asked::Subscribe, "#", false),
    (Some("ann"), Asked::Subscribe, "jobs/#", false),
    (Some("ann"), Asked::Subscribe, "$share/workers/jobs/#", true),
    (Some("ann"), Asked::Subscribe, "$share/others/jobs/#", false),
    (Some("ann"), Asked::Will, "home/gone", true),
    (Some("ann"), Asked::Will, "home/secret/gone", false),
    (Some("bob"), Asked::Publish, "home/bob/a", true),
    (Some("bob"), Asked::Publish, "home/ann/a", false),
    (Some("bob"), Asked::Subscribe, "home/+/status", true),
    (Some("bob"), Asked::Subscribe, "home/#", false),
    (Some("dora"), Asked::Subscribe, "#", true),
    (Some("dora"), Asked::Publish, "board", true),
    (Some("dora"), Asked::Publish, "home/a", false),
];

/// What a client of lines is told.
fn on_lines(client: &mut TestClient, asked: Asked, topic: &str) -> bool {
    let (line, allowed) = match asked {
        Asked::Publish => (format!("PUBLISH {topic} 1"), "PUBACK ".to_owned()),
        Asked::Retain => (format!("@retain PUBLISH {topic} 1"), "PUBACK ".to_owned()),
        Asked::Subscribe => (format!("SUBSCRIBE {topic}"), format!("SUBACK {topic}")),
        Asked::Will => (format!("WILL {topic} 1"), format!("WILLACK {topic}")),
    };
    client.send(line);
    let answer = client.read_line();
    let is_allowed = answer.starts_with(&allowed);
    let code = answer.split(' ').nth(1).unwrap_or_default();
    assert!(is_allowed || ["denied", "auth"].contains(&code), "{answer}");
    if !is_allowed && matches!(asked, Asked::Publish | Asked::Retain) {
        client.expect_prefix("PUBACK ");
    }
    is_allowed
}

fn on_websocket(ruled: &Ruled, user: Option<&str>, asked: Asked, topic: &str) -> bool {
    let mut socket = FrameClient::open(ruled.broker.address(), "/ws", Some("line"));
    let mut ask = |line: &str| {
        socket.send_frame(0x81, line.as_bytes());
        String::from_utf8(socket.next_frame().1).expect("text")
    };
    if let Some(user) = user {
        assert_eq!(ask(&format!("AUTH {user} pw")), format!("AUTHACK {user}\n"));
    }
    let answer = ask(&match asked {
        Asked::Publish => format!("PUBLISH {topic} 1"),
        Asked::Retain => format!("@retain PUBLISH {topic} 1"),
        Asked::Subscribe => format!("SUBSCRIBE {topic}"),
        Asked::Will => format!("WILL {topic} 1"),
    });
    !answer.starts_with("ERROR ")
}

fn on_mqtt(ruled: &Ruled, version: Mqtt, user: Option<&str>, asked: Asked, topic: &str) -> bool {
    if asked == Asked::Will {
        let hello = Hello {
            will: Some((topic.to_owned(), "1".to_owned())),
            ..hello(user, "willing")
        };
        let mut client = MqttClient::dial(ruled.broker.address(), version);
        client.send(&hello.encode(version));
        let code = client.packet()[3];
        let denied = if version == Mqtt::V5 { 0x87 } else { 5 };
        assert!([0, denied].contains(&code), "{code:02x}");
        if code == 0 {
            client.leave();
        }
        return code == 0;
    }
    let mut client = ruled.mqtt(version, user, "table").expect("it is let in");
    match asked {
        Asked::Subscribe => {
            let code = client.ask_to_subscribe(topic, 0, &[]);
            let denied = if version == Mqtt::V5 { 0x87 } else { 0x80 };
            assert!([0, denied].contains(&code), "{code:02x}");
            code == 0
        }
        Asked::Publish | Asked::Retain => {
            let first = if asked == Asked::Retain { 0x33 } else { 0x32 };
            let id = "$SYS/denied/table".to_owned();
            if version == Mqtt::V3 {
                assert_eq!(client.ask_to_subscribe(&id, 0, &[]), 0);
            }
            client.publish_as(first, topic, 7, b"1");
            if version == Mqtt::V5 {
                let puback = client.packet();
                return puback.get(4).is_none_or(|code| *code < 0x80);
            }
            // Acknowledged all the same; the reason comes on a topic of its own, before the answer to a PINGREQ.
            let mut is_allowed = true;
            client.send(&[0xc0, 0]);
            loop {
                let packet = client.packet();
                match packet[0] >> 4 {
                    3 => is_allowed &= client.read_publish(&packet).topic != id,
                    4 => {}
                    _ => break,
                }
            }
            is_allowed
        }
        Asked::Will => unreachable!("it is asked above"),
    }
}

fn on_http(ruled: &Ruled, user: Option<&str>, asked: Asked, topic: &str) -> Option<bool> {
    let path = format!("/topics/{}", topic.replace('#', "%23"));
    let status = match asked {
        Asked::Publish => ruled.curl(user, &["-d", "1"], &path).1,
        Asked::Retain => ruled.curl(user, &["-d", "1"], &format!("{path}?retain")).1,
        Asked::Subscribe => {
            // A stream has no end, so curl gives up.
            let words = ["-m", "0.3", "-H", "Accept: text/event-stream"];
            ruled.curl(user, &words, &path).1
        }
        Asked::Will => return None,
    };
    let denied = if user.is_none() { 401 } else { 403 };
    assert!([200, denied].contains(&status), "{status} {topic}");
    Some(status == 200)
}

#[test]
fn one_table_holds_on_every_wire() {
    let ruled = Ruled::start();
    for (user, asked, topic, allowed) in TABLE {
        let row = format!("{user:?} {asked:?} {topic}");
        let mut line = ruled.line(user);
        assert_eq!(on_lines(&mut line, asked, topic), allowed, "lines: {row}");
        assert_eq!(
            on_websocket(&ruled, user, asked, topic),
            allowed,
            "WebSocket: {row}"
        );
        for version in [Mqtt::V3, Mqtt::V5] {
            let told = on_mqtt(&ruled, version, user, asked, topic);
            assert_eq!(told, allowed, "{version:?}: {row}");
        }
        if let Some(told) = on_http(&ruled, user, asked, topic) {
            assert_eq!(told, allowed, "HTTP: {row}");
        }
    }
}

/// Invariant: a denial changes nothing.
#[test]
fn a_denial_changes_nothing_and_counts_as_refused() {
    let ruled = Ruled::start();
    let mut ann = ruled.line(Some("ann"));
    ann.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    let mut bob = ruled.line(Some("bob"));
    bob.send("@retain PUBLISH home/ann/x 1")
        .expect_error("denied", "publish:1");
    bob.expect("PUBACK 1 0");
    bob.send("SUBSCRIBE home/#")
        .expect_error("denied", "subscribe:home/#");
    ann.send("PUBLISH home/a 1").expect("MESSAGE home/a 1");
    ann.expect("PUBACK 1 1");
    bob.expect_silence();
    // Nothing was retained.
    let mut late = ruled.line(Some("ann"));
    late.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    late.expect_silence();
    assert!(
        ruled.broker.ledger().contains(" 2 refused"),
        "{}",
        ruled.broker.ledger()
    );
}

/// Invariant: no message reaches a subscriber that may not see its topic, by any way.
#[test]
fn what_a_client_may_not_see_is_left_out_of_what_it_gets() {
    let ruled = Ruled::start();
    let mut ann = ruled.line(Some("ann"));
    let mut dora = ruled.line(Some("dora"));
    ann.send("@retain PUBLISH home/kept 1").expect("PUBACK 1 0");
    // The rules deny a part of the first filter, and all but a part of the second.
    ann.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    ann.expect("@retained MESSAGE home/kept 1");
    dora.send("SUBSCRIBE #").expect("SUBACK #");
    dora.expect("@retained MESSAGE home/kept 1");
    let open = ruled.line(Some("ann"));
    drop(open);
    dora.send("PUBLISH board 1").expect("PUBACK 1 0");
    // With other rules messages come there; what dora has subscribed to is sieved still.
    ruled.reload(
        &RULES
            .replace("deny everyone publish", "deny everyone -bob publish")
            .replace(
                "allow bob publish subscribe retain home/%u/#",
                "allow bob publish subscribe retain home/#",
            ),
    );
    let mut bob = ruled.line(Some("bob"));
    bob.send("@retain PUBLISH home/secret/x 1")
        .expect("PUBACK 1 0");
    bob.send("PUBLISH home/secret/x 2").expect("PUBACK 2 0");
    bob.send("PUBLISH home/y 3").expect("PUBACK 3 2");
    ann.expect("MESSAGE home/y 3");
    dora.expect("MESSAGE home/y 3");
    let mut late = ruled.line(Some("dora"));
    late.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    late.expect("@retained MESSAGE home/kept 1");
    late.expect_silence();
    // Neither is it in an answer.
    let mut asker = Asker::with(ruled.line(Some("ann")));
    let why = asker.ask("why home/secret/x");
    assert!(why["retained"].is_null() && why["seen"].is_null(), "{why}");
}

/// Invariant: after a reload nothing is done or delivered by the rules before.
#[test]
fn nothing_is_delivered_by_rules_that_were_replaced() {
    let ruled = Ruled::start();
    let address = ruled.broker.address();
    let mut ann = ruled.line(Some("ann"));
    ann.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    let (mut meter, _) = MqttClient::enter(address, Mqtt::V5, &hello(Some("ann"), "m5"));
    meter.subscribe("home/#", 0);
    let (mut old, _) = MqttClient::enter(address, Mqtt::V3, &hello(Some("ann"), "m3"));
    old.subscribe("home/#", 0);
    let mut curl = installed("curl", "curl");
    curl.args(["-sN", "-u", "ann:pw"])
        .arg(format!("http://{address}/topics/home/%23"))
        .stdout(Stdio::piped());
    let mut stream = curl.spawn().expect("curl runs");
    let mut events = BufReader::new(stream.stdout.take().expect("a pipe"));
    let mut bob = ruled.line(Some("bob"));
    eventually("all four are subscribed", || {
        bob.send("PUBLISH home/bob/x 1");
        let answer = bob.read_line();
        answer.ends_with(" 4")
    });
    let told = ruled.order(RULES, &["reload", "--dry"], true);
    assert!(!told.contains("ann loses"), "{told}");
    let fewer = RULES.replace(
        "allow @family publish subscribe retain home/#",
        "allow @family publish subscribe retain home/ann/#",
    );
    let told = ruled.order(&fewer, &["reload", "--dry"], true);
    assert!(
        told.contains("ann loses") && told.contains("home/#"),
        "{told}"
    );
    // A dry one changes nothing.
    bob.send("PUBLISH home/bob/x 2");
    assert!(bob.read_line().ends_with(" 4"));
    ruled.reload(&fewer);
    bob.send("PUBLISH home/bob/x 3");
    assert!(bob.read_line().ends_with(" 0"));
    ann.read_until_prefix("ERROR denied subscribe:home/# ann may not subscribe to home/#");
    ann.expect_silence();
    meter_is_sent_away(&mut meter, 0x98);
    meter_is_sent_away(&mut old, 0);
    let mut last = String::new();
    while events.read_line(&mut last).expect("text") > 0 {}
    assert!(!last.contains("\"payload\":\"3\""), "{last}");
    let _ = stream.wait();
    ann.send("PUBLISH home/a 1")
        .expect_error("denied", "publish:1");
    ann.expect("PUBACK 1 0");
    // With the rules the right is back on the same connection.
    ruled.reload(RULES);
    ann.send("PUBLISH home/a 1").expect("PUBACK 2 0");
}

/// A reload once said that nothing had changed where the rules were other ones for clients that were not connected.
#[test]
fn a_reload_tells_other_rules_also_if_no_client_that_they_are_about_is_connected() {
    let ruled = Ruled::start();
    let more = format!("{RULES}allow bob publish board\nallow @admin inquire:broker\n");
    let line = "the rules lose nothing -> \
                the rules gain allow @admin inquire:broker, allow bob publish board (";
    for words in [&["reload", "--dry"][..], &["reload"]] {
        let told = ruled.order(&more, words, true);
        assert!(told.contains(line), "{told}");
    }
    let words = [
        "--unix-socket",
        &ruled.path("broker.sock").display().to_string(),
    ];
    let (figures, _) = ruled.curl(None, &words, "/metrics");
    let number = figures
        .lines()
        .find_map(|line| line.strip_prefix("dallal_access_number "));
    assert!(number.is_some_and(|number| number != "0"), "{figures}");
    // The order of lines means nothing.
    let lines: Vec<&str> = more.lines().rev().collect();
    let told = ruled.reload(&lines.join("\n"));
    assert!(told.contains("is the one in force"), "{told}");
}

/// A reload once ended the subscription of `client subscribe` over lines in silence: the broker said so, and the program
/// went on as if no message came.
#[test]
fn a_terminal_client_tells_that_a_reload_has_ended_its_subscription() {
    let ruled = Ruled::start();
    let secret = ruled.path("secret");
    fs::write(&secret, "pw\n").expect("room");
    let subscribers = ["", "ws://", "mqtt://"].map(|scheme| {
        let server = format!("{scheme}{}", ruled.broker.address());
        let mut subscriber = client(&["subscribe", "home/#", "--user", "ann", "--server", &server]);
        subscriber.arg("--password-file").arg(&secret);
        let subscriber = Process::start(&mut subscriber);
        subscriber.wait_for_complaint("subscribing on home/#");
        subscriber
    });
    ruled.reload(&RULES.replace("allow @family publish subscribe retain home/#", ""));
    for mut subscriber in subscribers {
        let (status, _, complaint) = subscriber.end();
        assert_eq!(status.code(), Some(4), "{complaint}");
        assert!(complaint.contains("denied subscribe:home/#"), "{complaint}");
        assert!(!complaint.contains("is full"), "{complaint}");
    }
}

/// What waits in a session, and what was sent and not acknowledged, is not sent by other rules.
#[test]
fn what_waits_for_an_absent_client_needs_its_right_when_the_client_comes_back() {
    let ruled = Ruled::start();
    let fewer = RULES.replace(
        "allow @family publish subscribe retain home/#",
        "allow @family inquire:audit\nallow @family publish subscribe retain home/ann/#",
    );
    for (version, id) in BOTH.into_iter().zip(["one", "two"]) {
        ruled.reload(RULES);
        let enter = || {
            let hello = Hello {
                properties: Hello::lasting(id).properties,
                clean: false,
                ..hello(Some("ann"), id)
            };
            MqttClient::enter(ruled.broker.address(), version, &hello)
        };
        let (mut meter, _) = enter();
        meter.subscribe("home/#", 1);
        let mut bob = ruled.line(Some("bob"));
        bob.send("PUBLISH home/bob/x 1").expect("PUBACK 1 1");
        meter.expect_message(2, "home/bob/x", "1");
        meter.vanish();
        bob.send("PUBLISH home/bob/x 2").expect("PUBACK 2 1");
        let mut ann = ruled.line(Some("ann"));
        ann.send("PUBLISH home/ann/x 3").expect("PUBACK 1 1");
        eventually("the client is absent", || {
            let answer = Asker::with(ruled.line(Some("ann"))).ask("sessions");
            let sessions = answer["sessions"].as_array().cloned();
            sessions.is_some_and(|rows| {
                rows.iter()
                    .any(|row| row["client_id"] == id && row["away"] == true)
            })
        });
        ruled.reload(&fewer);
        let (mut meter, was_there) = enter();
        assert!(was_there);
        let came = meter.message();
        assert_eq!((&*came.topic, &*came.payload), ("home/ann/x", &b"3"[..]));
        meter.expect_silence();
    }
    let audit = Asker::with(ruled.line(Some("ann"))).ask("audit");
    assert_eq!(audit["balanced"], true, "{audit}");
}

/// What a token leaves of the rights holds for subscriptions that were made before: by other rules, with another
/// token, or by the client whose session is resumed.
#[test]
fn a_token_narrows_subscriptions_that_were_made_before() {
    let issuer = JwtIssuer::new();
    let rules = "allow everyone publish #\nallow known subscribe:narrow #\n";
    let ruled = Ruled::start_with(rules, &["--jwt-keys", &issuer.path()]);
    let token = |claim: Value| {
        let claims = json!({"sub": "m1", "exp": in_seconds(600), "dallal": claim});
        issuer.token(Alg::Es256, &claims)
    };
    let (wide, narrow) = (
        token(json!({"subscribe": ["#"]})),
        token(json!({"subscribe": ["a/#"]})),
    );
    let mut publisher = ruled.line(None);
    let mut published = 0;
    let mut copies = |topic: &str| {
        published += 1;
        publisher.send(format!("PUBLISH {topic} x"));
        let answer = publisher.read_line();
        let copies = answer.strip_prefix(&format!("PUBACK {published} "));
        copies.unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    // A part of what it asks for, also after a reload.
    let mut client = ruled.line(None);
    client.send(format!("AUTH {narrow}")).expect("AUTHACK m1");
    client.send("SUBSCRIBE #").expect("SUBACK #");
    assert_eq!((copies("b/x"), copies("a/x")), ("0".into(), "1".into()));
    client.expect("MESSAGE a/x x");
    ruled.reload(&format!("{rules}allow everyone publish $x/#\n"));
    assert_eq!((copies("b/x"), copies("a/x")), ("0".into(), "1".into()));
    client.expect("MESSAGE a/x x").expect_silence();
    drop(client);
    // Another token of the same client.
    let mut client = ruled.line(None);
    client.send(format!("AUTH {wide}")).expect("AUTHACK m1");
    client.send("SUBSCRIBE b/#").expect("SUBACK b/#");
    client.send(format!("AUTH {narrow}"));
    client
        .expect_error("denied", "subscribe:b/#")
        .expect("AUTHACK m1");
    assert_eq!(copies("b/x"), "0");
    client.expect_silence();
    // A session that was made with it.
    let enter = |token: &str| {
        let hello = Hello {
            user: Some("m1".to_owned()),
            password: Some(token.to_owned()),
            ..Hello::lasting("m1")
        };
        MqttClient::enter(ruled.broker.address(), Mqtt::V5, &hello)
    };
    let (mut meter, _) = enter(&wide);
    meter.subscribe("b/#", 1);
    meter.vanish();
    assert_eq!(copies("b/x"), "1");
    let (mut meter, was_there) = enter(&narrow);
    assert!(was_there);
    meter.expect_silence();
    assert_eq!(copies("b/x"), "0");
}

#[test]
fn members_of_a_room_stay_over_a_reload_and_the_next_text_is_under_its_rules() {
    let rules = format!("{RULES}allow ann publish subscribe lobby lobby/#\nallow known nick %u\n");
    let ruled = Ruled::start_with(&rules, &["--room", "0=lobby"]);
    let mut ann = ruled.line(Some("ann"));
    ann.send("SUBSCRIBE lobby/#").expect("SUBACK lobby/#");
    let room = ruled.broker.room_address();
    let [mut carl, mut dan] = ["carl", "dan"].map(|nick| {
        let mut member = TestClient::connect(room);
        member.send(nick);
        ann.read_until_prefix(&format!("MESSAGE lobby/$who/{nick} {{"));
        member
    });
    // Another rule, which is not about the room.
    ruled.reload(&format!("{rules}allow bob publish other\n"));
    ann.send("PUBLISH lobby hi");
    carl.read_until("hi");
    dan.read_until("hi");
    dan.vanish();
    ann.read_until("MESSAGE lobby/$who/dan");
    ruled.reload(&format!("{rules}deny everyone -ann publish lobby\n"));
    carl.send("hello").expect_prefix("* room:");
}

/// The connection ends, with this code if it is one of MQTT 5.
#[track_caller]
fn meter_is_sent_away(client: &mut MqttClient, code: u8) {
    loop {
        match client.read_packet() {
            Ok(packet) if packet[0] >> 4 == 3 => {
                assert_ne!(client.read_publish(&packet).payload, b"3");
            }
            Ok(packet) => assert_eq!((packet[0], packet[2]), (0xe0, code), "{packet:02x?}"),
            Err(_) => return,
        }
    }
}

/// Invariant: failed reading of rules never opens anything.
#[test]
fn rules_with_a_mistake_stay_what_they_were() {
    let ruled = Ruled::start();
    let told = ruled.order("allow everyone publsh #\n", &["reload"], false);
    assert!(told.contains("home.access:1:16"), "{told}");
    let mut ann = ruled.line(Some("ann"));
    ann.send("PUBLISH other 1")
        .expect_error("denied", "publish:1");
    ann.expect("PUBACK 1 0");
    ann.send("PUBLISH home/a 1").expect("PUBACK 2 0");
    let wrong = ruled.path("wrong.access");
    fs::write(&wrong, "allow\n").expect("room");
    let mut broker = TestBroker::command(&["--access", wrong.to_str().expect("text")]);
    let output = broker.output().expect("it is built");
    assert_eq!(output.status.code(), Some(2));
}

/// Invariant: a failed credential never leads to service as another, or as anonymous, in CONNECT and HTTP.
#[test]
fn a_failed_credential_is_not_served_as_anonymous() {
    let ruled = Ruled::start();
    let words = ["-u", "ann:wrong", "-m", "0.3"];
    let (_, status) = ruled.curl(None, &words, "/topics/public/a");
    assert_eq!(status, 401);
    let hello = Hello {
        password: Some("wrong".to_owned()),
        ..hello(Some("ann"), "meter")
    };
    for (version, code) in [(Mqtt::V3, 4), (Mqtt::V5, 0x86)] {
        let mut client = MqttClient::dial(ruled.broker.address(), version);
        client.send(&hello.encode(version));
        assert_eq!(client.packet()[3], code);
    }
}

#[test]
fn a_will_needs_its_right_when_it_is_published() {
    let ruled = Ruled::start();
    let mut dora = ruled.line(Some("dora"));
    dora.send("SUBSCRIBE #").expect("SUBACK #");
    let (address, will) = (
        ruled.broker.address(),
        Some(("home/gone".to_owned(), "1".to_owned())),
    );
    let connect = || {
        let hello = Hello {
            will: will.clone(),
            ..hello(Some("ann"), "willing")
        };
        MqttClient::enter(address, Mqtt::V5, &hello).0
    };
    connect().vanish();
    dora.expect("MESSAGE home/gone 1");
    let client = connect();
    ruled.reload(&RULES.replace("allow @family publish subscribe", "allow @family subscribe"));
    client.vanish();
    ruled.broker.wait_for_log("connection");
    eventually("it is gone", || {
        ruled.broker.connections().is_none_or(|it| it <= 1)
    });
    dora.expect_silence();
}

#[test]
fn to_slow_down_publishers_is_a_right_of_its_own() {
    let ruled = Ruled::start();
    let mut ann = ruled.line(Some("ann"));
    let block = "@slow=block SUBSCRIBE home/a";
    ann.send(block).expect_error("denied", "subscribe:home/a");
    let path = "/topics/home/a?slow=block";
    assert_eq!(ruled.curl(Some("ann"), &["-m", "0.3"], path).1, 403);
    ruled.reload(&format!("{RULES}allow ann block\n"));
    ann.send(block).expect("SUBACK home/a");
    assert_eq!(ruled.curl(Some("ann"), &["-m", "0.3"], path).1, 200);
}

#[test]
fn orders_over_the_network_need_the_right_admin() {
    let ruled = Ruled::start();
    for (user, denied) in [(Some("ann"), 403), (None, 401)] {
        let (text, status) = ruled.curl(user, &["-X", "POST"], "/api/reload?dry");
        assert_eq!(status, denied, "{text}");
        let mut client = ruled.mqtt(Mqtt::V5, user, "m1").expect("it is let in");
        let reply = [&[8][..], &mqtt::text("$reply/1")].concat();
        client.publish_with(0x32, "$SYS/request/reload", 7, &reply, b"dry");
        // Its reason is text, so the code is nowhere else.
        assert!(client.packet().contains(&0x87), "{user:?}");
    }
    ruled.reload(&format!("{RULES}allow ann admin\n"));
    let (text, status) = ruled.curl(Some("ann"), &["-X", "POST"], "/api/reload?dry");
    assert_eq!(status, 200, "{text}");
}

/// A client of MQTT was refused if all its rules had its client identifier, as the client that says nothing is.
#[test]
fn a_client_is_shut_out_only_if_no_rule_allows_it_something() {
    let ruled = Ruled::start();
    ruled.reload("allow ann publish dev/%c/#\n");
    for version in [Mqtt::V3, Mqtt::V5] {
        for (user, is_in) in [(Some("ann"), true), (Some("bob"), false), (None, false)] {
            let client = ruled.mqtt(version, user, "m1");
            assert_eq!(client.is_some(), is_in, "{version:?} {user:?}");
        }
    }
    // A client that is known is not told to say who it is.
    for (user, status) in [(Some("bob"), 403), (None, 401)] {
        let (text, given) = ruled.curl(user, &[], "/metrics");
        assert_eq!(given, status, "{text}");
        assert_eq!(
            text.contains("no rule of this broker allows bob"),
            user.is_some()
        );
    }
}

#[test]
fn a_room_acts_in_its_topic_unless_a_rule_denies_it() {
    let users = UsersFile::of(&[("ann", "pw")]);
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.access");
    for (text, is_heard) in [
        ("allow ann subscribe lobby\n", true),
        (
            "allow ann subscribe lobby\ndeny everyone -ann publish lobby\n",
            false,
        ),
    ] {
        fs::write(&rules, text).expect("room");
        let rules = rules.to_str().expect("text");
        let flags = [
            "--users",
            users.path(),
            "--access",
            rules,
            "--room",
            "0=lobby",
        ];
        let broker = TestBroker::with_args(&flags);
        let mut ann = broker.connect();
        ann.send("AUTH ann pw").expect("AUTHACK ann");
        ann.send("SUBSCRIBE lobby").expect("SUBACK lobby");
        let mut member = TestClient::connect(broker.room_address());
        member.send("carl").send("hello");
        match is_heard {
            true => {
                ann.expect_prefix("MESSAGE lobby {\"nick\":\"carl\"");
            }
            false => {
                member.expect_prefix("* room:");
                ann.expect_silence();
            }
        }
    }
}

#[test]
fn the_first_denial_of_a_kind_is_in_the_log_with_its_rule() {
    let ruled = Ruled::start();
    let mut ann = ruled.line(Some("ann"));
    for number in 1..=3 {
        ann.send(format!("PUBLISH home/secret/{number} 1"));
        // The client is told where the rule is, and not what it says of others.
        ann.expect(format!(
            "ERROR denied publish:{number} ann may not publish to home/secret/{number} (home.access:11)"
        ));
        ann.expect(format!("PUBACK {number} 0"));
    }
    let text = "ann may not publish to home/secret/1 (home.access:11: deny everyone publish subscribe home/secret/#)";
    ruled.broker.wait_for_log(text);
    assert_eq!(ruled.broker.log().matches("ann may not publish").count(), 1);
    let mut asker = Asker::with(ruled.line(Some("ann")));
    let why = asker.ask("why home/secret/3");
    assert_eq!(
        why["denied"],
        serde_json::json!([]),
        "what it may not see: {why}"
    );
}
