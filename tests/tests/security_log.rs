//! Promises of `operating.md` about the security log: each event once, with its fields, in a file that is bounded, never
//! waited for, and has no secret in it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::certificates::{Authority, Wanted};
use tests::mqtt::{Hello, Mqtt, MqttClient};
use tests::{
    Alg, JwtIssuer, Process, TestBroker, TestClient, TlsOffer, UsersFile, ended, eventually,
    in_seconds, program,
};

/// A security log in a folder of its own.
struct Events {
    folder: TempDir,
}

impl Events {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("security.log")
    }

    fn flags(&self, others: &[&str]) -> Vec<String> {
        let file = self.file().into_os_string().into_string().expect("text");
        let own = ["--security-log".to_owned(), file];
        own.into_iter()
            .chain(others.iter().map(|flag| (*flag).to_owned()))
            .collect()
    }

    #[track_caller]
    fn broker(&self, others: &[&str]) -> TestBroker {
        let flags = self.flags(others);
        TestBroker::with_args(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// All events so far.
    #[track_caller]
    fn all(&self) -> Vec<Value> {
        events(&self.file())
    }

    /// Waits for this number of events of one kind, and returns all of that kind.
    #[track_caller]
    fn wait(&self, event: &str, number: usize) -> Vec<Value> {
        eventually(&format!("there are {number} {event}"), || {
            of(&self.all(), event).len() >= number
        });
        of(&self.all(), event)
    }
}

#[track_caller]
fn events(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // A line that is being written has no end yet.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

fn of(events: &[Value], event: &str) -> Vec<Value> {
    let found = events.iter().filter(|each| each["event"] == event);
    found.cloned().collect()
}

/// Fails unless the event has these fields, among others.
#[track_caller]
fn check(event: &Value, fields: &Value) {
    let fields = fields.as_object().expect("an object");
    for (key, value) in fields {
        assert_eq!(&event[key], value, "{key} of {event}");
    }
    let time = event["time"].as_str().expect("a time");
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
}

fn users() -> UsersFile {
    UsersFile::of(&[("ann", "right"), ("bob", "other")])
}

fn hello(user: &str, password: &str) -> Hello {
    Hello {
        user: Some(user.to_owned()),
        password: Some(password.to_owned()),
        ..Hello::lasting("meter")
    }
}

#[track_caller]
fn request(broker: &TestBroker, head: &str) -> String {
    let mut stream = TcpStream::connect(broker.address()).expect("it listens");
    let head = format!("{head}Host: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn what_clients_show_is_in_the_security_log_with_what_came_of_it() {
    let (events, users, issuer) = (Events::new(), users(), JwtIssuer::new());
    let token = users.run(&["token", "add", "bob"], "");
    let over = users.run(&["token", "add", "bob", "--expires", "1h"], "");
    let text = fs::read_to_string(users.path()).expect("it is ours");
    let (before, end) = text.split_once("expires=").expect("one that ends");
    // It has ended long ago.
    let after = end.trim_start_matches(|letter: char| !letter.is_whitespace());
    fs::write(
        users.path(),
        format!("{before}expires=2020-01-01T00:00:00Z{after}"),
    )
    .expect("room");
    let broker = events.broker(&["--users", users.path(), "--jwt-keys", &issuer.path()]);
    let say = |words: &str, answer: &str| {
        let mut client = broker.connect();
        client.send(format!("AUTH {words}")).expect_prefix(answer);
    };
    say("ann right", "AUTHACK ann");
    say(&issuer.token_of(Alg::Es256, "carl"), "AUTHACK carl");
    let answer = request(
        &broker,
        &format!("GET /api/broker HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"),
    );
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let ok = events.wait("auth_ok", 3);
    for (event, name, kind, wire) in [
        (&ok[0], "ann", "password", "line"),
        (&ok[1], "carl", "jwt", "line"),
        (&ok[2], "bob", "token", "http"),
    ] {
        check(
            event,
            &json!({"identity": name, "kind": kind, "wire": wire, "address": "127.0.0.1", "count": 1}),
        );
        assert!(event["connection"].is_u64() && event["reason"].is_null());
    }
    // What has no delay, and then what has.
    let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
    client.send(&Hello::new("x").encode(Mqtt::V5));
    assert_eq!(client.packet()[3], 0x87);
    say(&over, "ERROR auth");
    say("ann wrong", "ERROR auth");
    say("eve hunter2", "ERROR auth");
    let claims = json!({"sub": "ann", "exp": in_seconds(-60)});
    say(&issuer.token(Alg::Es256, &claims), "ERROR auth");
    let failed = events.wait("auth_failed", 5);
    for (event, name, kind, wire, reason) in [
        (
            &failed[0],
            None,
            "none",
            "mqtt",
            "it has not said who it is",
        ),
        (
            &failed[1],
            Some("bob"),
            "token",
            "line",
            "this token has ended; ask for a new one",
        ),
        (
            &failed[2],
            Some("ann"),
            "password",
            "line",
            "the password is wrong",
        ),
        (
            &failed[3],
            None,
            "password",
            "line",
            "there is no such user",
        ),
        (
            &failed[4],
            None,
            "jwt",
            "line",
            "this token has ended; ask for a new one",
        ),
    ] {
        check(
            event,
            &json!({"identity": name, "kind": kind, "wire": wire, "reason": reason, "count": 1}),
        );
    }
    drop(broker);
    let text = fs::read_to_string(events.file()).expect("text");
    for secret in ["right", "hunter2", &*token, &over, "eyJ"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[test]
fn certificates_of_clients_are_in_the_security_log() {
    let (events, server, clients) = (Events::new(), Authority::new(), Authority::new());
    let files = server.sign("broker", &Wanted::HERE);
    let ca = clients.pem();
    let flags = [
        &files.flags()[..],
        &["--client-ca", ca.to_str().expect("text")],
    ]
    .concat();
    let broker = events.broker(&flags);
    let wanted = Wanted {
        common_name: "meter-7",
        for_client: true,
        ..Wanted::default()
    };
    for (authority, number) in [(&clients, 1), (&server, 2)] {
        let own = authority.sign(&format!("client{number}"), &wanted);
        let offer = TlsOffer::with(&server.pem(), Some(&own), &[], false);
        if let Ok(mut client) = offer.try_connect(broker.address(), "localhost") {
            let _ = client.try_send("PING");
            let _ = client.try_line();
        }
    }
    let ok = events.wait("auth_ok", 1);
    check(
        &ok[0],
        &json!({"identity": "meter-7", "kind": "certificate", "wire": "line"}),
    );
    let failed = events.wait("auth_failed", 1);
    check(
        &failed[0],
        &json!({"identity": null, "kind": "certificate",
                "reason": "its certificate is of no CA in --client-ca"}),
    );
    let other = server.sign(
        "other",
        &Wanted {
            serial: 8,
            ..Wanted::HERE
        },
    );
    files.replace_by(&other);
    let changed = events.wait("certificates_changed", 1);
    assert!(changed[0]["file"] == json!(files.cert) && changed[0]["ends"].is_string());
    fs::write(&files.cert, "nothing").expect("it is ours");
    let refused = events.wait("certificates_refused", 1);
    assert!(refused[0]["errors"][0].is_string(), "{}", refused[0]);
}

#[test]
fn the_first_denial_of_a_kind_is_in_the_security_log_and_then_their_number() {
    let (events, users) = (Events::new(), users());
    let access = events.folder.path().join("home.access");
    fs::write(
        &access,
        "allow known publish subscribe #\ndeny ann publish secret/#\n",
    )
    .expect("room");
    let flags = [
        "--users",
        users.path(),
        "--access",
        access.to_str().expect("text"),
    ];
    let broker = events.broker(&flags);
    let mut ann = broker.connect();
    ann.send("AUTH ann right").expect("AUTHACK ann");
    // What turns the direction of a text or commands a terminal is a topic like others.
    for number in 0..20 {
        ann.send(format!("PUBLISH secret/\u{202e}\u{9b}\"{number} 1"));
        ann.read_until_prefix("PUBACK");
    }
    let mut guest = broker.connect();
    guest.send("SUBSCRIBE home").expect_prefix("ERROR auth");
    let denied = events.wait("denied", 2);
    let rule = denied[0]["rule"].as_str().expect("a rule");
    assert!(
        rule.starts_with("home.access:2: deny ann publish secret/#"),
        "{rule}"
    );
    check(
        &denied[0],
        &json!({"identity": "ann", "kind": "password", "right": "publish",
                "object": "secret/\u{202e}\u{9b}\"0", "address": "127.0.0.1", "count": 1}),
    );
    check(
        &denied[1],
        &json!({"identity": "anonymous", "kind": "none", "right": "subscribe", "object": "home",
                "rule": null, "count": 1}),
    );
    drop((ann, guest));
    let metrics = request(&broker, "GET /metrics HTTP/1.1\r\n");
    assert!(metrics.starts_with("HTTP/1.1 401"), "{metrics}");
    broker.stop();
    let last = of(&events.all(), "denied");
    check(
        last.last().expect("a count"),
        &json!({"identity": "ann", "right": "publish", "count": 19}),
    );
    let text = fs::read_to_string(events.file()).expect("text");
    assert!(text.contains("secret/\\u202e\\u009b\\\"0"), "{text}");
    assert!(
        text.chars()
            .all(|letter| letter == '\n' || protocol::is_harmless(letter))
    );
}

#[test]
fn a_right_credential_of_an_identity_that_has_too_much_is_a_failure_with_the_limit() {
    let (events, users) = (Events::new(), users());
    let access = events.folder.path().join("home.access");
    fs::write(&access, "allow known publish #\nlimit ann connections 1\n").expect("room");
    let rules = access.to_str().expect("text");
    let broker = events.broker(&["--users", users.path(), "--access", rules]);
    let mut ann = broker.connect();
    ann.send("AUTH ann right").expect("AUTHACK ann");
    let mut more = broker.connect();
    more.send("AUTH ann right").expect_prefix("ERROR ");
    let failed = &events.wait("auth_failed", 1)[0];
    check(
        failed,
        &json!({"identity": "ann", "kind": "password", "wire": "line"}),
    );
    let reason = failed["reason"].as_str().expect("text");
    assert!(reason.contains("connections"), "{reason}");
    broker.stop();
    assert_eq!(of(&events.all(), "auth_ok").len(), 1);
}

#[test]
fn a_session_that_another_connection_takes_over_is_in_the_security_log() {
    let (events, users) = (Events::new(), users());
    let broker = events.broker(&["--users", users.path()]);
    let enter = || MqttClient::enter(broker.address(), Mqtt::V5, &hello("ann", "right")).0;
    let (mut first, second) = (enter(), enter());
    first.expect_dismissal(0x8e);
    // Another identity takes nothing over.
    let bob = MqttClient::enter(broker.address(), Mqtt::V5, &hello("bob", "other")).0;
    let third = enter();
    let taken = events.wait("session_taken_over", 2);
    assert_eq!(taken.len(), 2);
    let ok = events.wait("auth_ok", 4);
    check(
        &taken[0],
        &json!({"identity": "ann", "client_id": "meter", "address": "127.0.0.1", "wire": "mqtt",
                "connection": ok[1]["connection"], "from_connection": ok[0]["connection"],
                "from_address": "127.0.0.1"}),
    );
    assert_eq!(taken[1]["from_connection"], ok[1]["connection"]);
    drop((second, third, bob));
}

/// A broker with an operator's socket and a configuration file that names the log.
fn operated(events: &Events, users: &UsersFile, more: &str) -> TestBroker {
    configure(events, more);
    let path = |name: &str| events.folder.path().join(name);
    let broker = TestBroker::with_args(&[
        "--users",
        users.path(),
        "--unix",
        path("broker.sock").to_str().expect("text"),
        "--config",
        path("broker.toml").to_str().expect("text"),
    ]);
    broker.wait_for_log("listening on unix:");
    broker
}

fn configure(events: &Events, more: &str) {
    let path = events.folder.path().join("broker.toml");
    let own = format!("security-log = {:?}\n", events.file());
    fs::write(path, format!("{own}{more}")).expect("room");
}

/// Gives an order over the operator's socket.
#[track_caller]
fn order(events: &Events, words: &[&str], code: i32) {
    let socket = format!(
        "unix:{}",
        events.folder.path().join("broker.sock").display()
    );
    let mut client = Command::new(program("client"));
    client.args(words).args(["--server", &socket]);
    ended(&mut client, code);
}

#[test]
fn orders_are_in_the_security_log_with_the_client_that_gave_them() {
    let (events, users) = (Events::new(), users());
    let broker = operated(&events, &users, "");
    order(&events, &["reload", "--dry"], 0);
    configure(&events, "max-subscriptions = 7\n");
    order(&events, &["reload"], 0);
    configure(&events, "max-subscriptions = 7\nnonsense = 1\n");
    order(&events, &["reload"], 1);
    let reloads = events.wait("reload", 2);
    let name = reloads[0]["identity"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("unix:"), "{name}");
    let giver = json!({"by": "client", "identity": name, "kind": "peer", "address": name});
    for reload in &reloads {
        check(reload, &giver);
    }
    check(&reloads[0], &json!({"applied": true, "errors": []}));
    let change = &reloads[0]["changes"][0];
    assert_eq!(
        (&change["key"], &change["to"]),
        (&json!("max-subscriptions"), &json!("7"))
    );
    check(&reloads[1], &json!({"applied": false}));
    assert!(
        reloads[1]["errors"][0]
            .as_str()
            .is_some_and(|why| why.contains("nonsense"))
    );

    let mut ann = broker.connect();
    ann.send("AUTH ann right").expect("AUTHACK ann");
    ann.send("NAME phone").expect("NAMEACK phone");
    order(&events, &["kick", "phone"], 0);
    let meter = MqttClient::enter(broker.address(), Mqtt::V5, &hello("ann", "right")).0;
    order(&events, &["sessions", "rm", "meter"], 0);
    let kick = &events.wait("kick", 1)[0];
    check(kick, &giver);
    assert_eq!(
        (
            &kick["kicked"][0]["name"],
            kick["kicked"].as_array().map(Vec::len)
        ),
        (&json!("phone"), Some(1))
    );
    let end = &events.wait("session_ended", 1)[0];
    check(end, &giver);
    check(end, &json!({"client_id": "meter"}));
    drop(meter);

    configure(&events, "");
    broker.signal(Signal::HUP);
    let reload = &events.wait("reload", 3)[2];
    check(
        reload,
        &json!({"by": "process", "applied": true, "identity": null}),
    );
    order(&events, &["drain", "20s"], 0);
    let drain = &events.wait("drain", 1)[0];
    check(drain, &giver);
    check(drain, &json!({"seconds": 20}));
}

#[test]
fn changes_of_users_tokens_and_keys_are_in_the_security_log_and_whom_they_end() {
    let (events, users, issuer) = (Events::new(), users(), JwtIssuer::new());
    let broker = events.broker(&["--users", users.path(), "--jwt-keys", &issuer.path()]);
    let mut bob = broker.connect();
    bob.send("AUTH bob other").expect("AUTHACK bob");
    users.run(&["user", "disable", "bob"], "");
    let first = &events.wait("users_changed", 1)[0];
    check(
        first,
        &json!({"changes": [{"what": "user", "name": "bob", "change": "disabled"}], "total": 1}),
    );
    let over = &events.wait("auth_ended", 1)[0];
    check(
        over,
        &json!({"identity": "bob", "kind": "password", "address": "127.0.0.1"}),
    );
    let token = users.run(&["token", "add", "ann"], "");
    let id = token.split('_').nth(1).expect("an id");
    let second = &events.wait("users_changed", 2)[1];
    check(
        second,
        &json!({"changes": [{"what": "token", "name": id, "owner": "ann", "change": "added"}]}),
    );
    issuer.publish(&[Alg::Es256]);
    let keys = &events.wait("keys_changed", 1)[0];
    check(
        keys,
        &json!({"from": "3 keys of JWT", "to": "1 keys of JWT"}),
    );
    assert!(
        !fs::read_to_string(events.file())
            .expect("text")
            .contains(&token)
    );
}

#[test]
fn a_flood_of_wrong_credentials_is_a_few_lines_and_a_count() {
    let (events, users) = (Events::new(), users());
    let broker = events.broker(&["--users", users.path()]);
    let number = 300;
    for _ in 0..number {
        let mut client = MqttClient::dial(broker.address(), Mqtt::V3);
        client.send(&Hello::new("x").encode(Mqtt::V3));
        assert_eq!(client.packet()[3], 5);
    }
    // They come at once, before the first has been found wrong.
    let wrong = format!("AUTH dlt_abcd_{}\n", "A".repeat(43));
    let mut guessers: Vec<TestClient> = (0..20).map(|_| broker.connect()).collect();
    for guesser in &mut guessers {
        guesser.write(&wrong);
    }
    eventually("all are refused", || {
        let failed = of(&events.all(), "auth_failed");
        failed.iter().filter(|each| each["kind"] == "token").count() >= 5
    });
    for guesser in &mut guessers {
        guesser.write("BYE\n");
    }
    broker.stop();
    let failed = of(&events.all(), "auth_failed");
    let counted = |kind: &str| {
        let of_kind = failed.iter().filter(|each| each["kind"] == kind);
        let counts: Vec<u64> = of_kind.filter_map(|each| each["count"].as_u64()).collect();
        (counts.len(), counts.iter().sum::<u64>())
    };
    assert_eq!(counted("none"), (6, number));
    let (lines, tokens) = counted("token");
    assert!(
        (5..=6).contains(&lines) && (5..=20).contains(&tokens),
        "{failed:?}"
    );
}

#[test]
fn a_security_log_is_opened_anew_on_sighup_and_no_event_is_lost() {
    let (events, users) = (Events::new(), users());
    let broker = events.broker(&["--users", users.path()]);
    let auth = || {
        broker
            .connect()
            .send("AUTH ann right")
            .expect("AUTHACK ann");
    };
    let old = events.folder.path().join("security.log.1");
    auth();
    events.wait("auth_ok", 1);
    let mode = events
        .file()
        .metadata()
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777;
    assert_eq!((mode & !0o640, mode & 0o600), (0, 0o600), "{mode:o}");
    fs::rename(events.file(), &old).expect("it can be moved");
    broker.signal(Signal::HUP);
    let reload = events.wait("reload", 1);
    check(
        &reload[0],
        &json!({"by": "process", "applied": true, "changes": []}),
    );
    auth();
    events.wait("auth_ok", 1);
    assert_eq!(self::events(&old).len(), 1);
    // Also where the reload itself fails, and where there is no folder any more.
    let moved = events.folder.path().with_extension("moved");
    fs::rename(events.folder.path(), &moved).expect("it can be moved");
    broker.signal(Signal::HUP);
    broker.wait_for_log("the old file goes on");
    auth();
    let log = broker.stop().log;
    assert!(self::events(&moved.join("security.log")).len() >= 2);
    assert!(log.contains("cannot be opened"), "{log}");
    fs::remove_dir_all(moved).expect("it can be removed");
}

#[test]
fn a_reload_changes_the_security_log_or_refuses_one_that_cannot_be_opened() {
    let (events, users) = (Events::new(), users());
    let broker = operated(&events, &users, "");
    let path = events.folder.path().join("broker.toml");
    fs::write(&path, "security-log = \"/nowhere/security.log\"\n").expect("room");
    order(&events, &["reload"], 1);
    let refused = &events.wait("reload", 1)[0];
    let why = refused["errors"][0].as_str().expect("text");
    assert!(why.ends_with("or give another --security-log"), "{why}");
    let other = events.folder.path().join("other.log");
    fs::write(&path, format!("security-log = {other:?}\n")).expect("room");
    order(&events, &["reload"], 0);
    eventually("the other has it", || self::events(&other).len() == 1);
    let reload = &self::events(&other)[0];
    assert_eq!(reload["changes"][0]["key"], "security-log", "{reload}");
    fs::write(&path, "").expect("room");
    order(&events, &["reload"], 0);
    broker
        .connect()
        .send("AUTH ann right")
        .expect("AUTHACK ann");
    broker.stop();
    assert_eq!((self::events(&other).len(), events.all().len()), (1, 1));
}

#[test]
fn a_security_log_that_cannot_be_opened_is_told_with_what_to_do() {
    for file in ["/nowhere/security.log", "/tmp"] {
        let args = ["--port", "0", "--security-log", file];
        let (status, _, errors) = Process::start(&mut TestBroker::command(&args)).end();
        assert_eq!(status.code(), Some(1), "{errors}");
        let begin = format!("broker: the security log {file} cannot be opened: ");
        assert!(errors.starts_with(&begin), "{errors}");
        assert!(
            errors.ends_with("or give another --security-log\n"),
            "{errors}"
        );
    }
}

/// `/dev/full` is a disk without room: it can be opened, and takes nothing.
#[test]
fn a_full_disk_neither_ends_nor_delays_the_broker_and_what_waits_is_written_later() {
    let (events, users) = (Events::new(), users());
    symlink("/dev/full", events.file()).expect("a link");
    let broker = events.broker(&["--users", users.path()]);
    let token = users.run(&["token", "add", "ann"], "");
    let mut ann = broker.connect();
    eventually("the token is known", || {
        ann.send(format!("AUTH {token}"));
        ann.read_line().starts_with("AUTHACK")
    });
    broker.wait_for_log("the security log cannot be written to");
    for number in 0..10 {
        ann.send(format!("PING {number}"))
            .expect(format!("PONG {number}"));
    }
    let real = events.folder.path().join("real.log");
    fs::remove_file(events.file()).expect("it is ours");
    symlink(&real, events.file()).expect("a link");
    broker.signal(Signal::HUP);
    eventually("what waited is there", || {
        !of(&self::events(&real), "auth_ok").is_empty()
    });
    ann.send("BYE").expect("BYE");
    let log = broker.stop().log;
    assert_eq!(log.matches("cannot be written to").count(), 1, "{log}");
    assert_eq!(log.matches("is written again").count(), 0, "{log}");
}

/// The limit of a file's size stands for a disk that is full in the middle of a line.
#[test]
fn no_line_of_the_security_log_is_cut_by_a_disk_that_fills_up() {
    let (events, users) = (Events::new(), users());
    let flags = events.flags(&["--users", users.path(), "--port", "0"]);
    let broker = TestBroker::command(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -S -f 1; exec \"$@\"", "bash"]);
    limited.arg(broker.get_program()).args(broker.get_args());
    let broker = Process::start(&mut limited);
    broker.wait_for_complaint(" listens on ");
    let log = broker.complaints();
    let (_, rest) = log.split_once(" listens on ").expect("it greets");
    let address = rest
        .lines()
        .next()
        .and_then(|it| it.parse().ok())
        .expect("an address");
    let mut kept = Vec::new();
    for number in 0..30 {
        let mut mqtt = MqttClient::dial(address, Mqtt::V5);
        mqtt.send(&hello("ann", "right").encode(Mqtt::V5));
        assert_eq!(mqtt.packet()[3], 0, "{number}");
        kept.push(mqtt);
    }
    broker.wait_for_complaint("the security log cannot be written to");
    // There is room again.
    let pid = broker.pid().to_string();
    let mut raise = Command::new("prlimit");
    ended(raise.args(["--pid", &pid, "--fsize=unlimited"]), 0);
    broker.wait_for_complaint("is written again");
    broker.signal(Signal::TERM);
    let mut broker = broker;
    let (status, _, log) = broker.end();
    assert!(status.success(), "{log}");
    let all = events.all();
    for (event, number) in [("auth_ok", 30), ("session_taken_over", 29)] {
        let counts = of(&all, event).into_iter();
        let sum: u64 = counts.filter_map(|each| each["count"].as_u64()).sum();
        assert_eq!(sum, number, "{event}: {all:?}");
    }
    // A client that takes over a session again and again does not fill the disk.
    assert!(of(&all, "session_taken_over").len() <= 6, "{all:?}");
}
