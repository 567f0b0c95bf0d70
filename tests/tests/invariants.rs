//! Promises of `security.md` that are about all ways at once: what none of them brings, what no file opens, and what
//! belongs to one identity.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tests::certificates::{Authority, Files, Wanted};
use tests::frames::FrameClient;
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient};
use tests::{
    Asker, JwtIssuer, Process, TestBroker, TestClient, UsersFile, client, ended, eventually,
    outcome,
};

/// dora may see a part of `home/#`, and bob everything.
const RULES: &str = "\
allow dora subscribe:narrow share:w history home/#
allow dora inquire
allow bob all
deny dora subscribe home/secret/#
";

fn users() -> UsersFile {
    UsersFile::of(&[("ann", "pw"), ("bob", "pw"), ("dora", "pw")])
}

fn hello(user: &str, id: &str) -> Hello {
    Hello {
        user: Some(user.to_owned()),
        password: Some("pw".to_owned()),
        ..Hello::new(id)
    }
}

#[track_caller]
fn line(broker: &TestBroker, user: &str) -> TestClient {
    let mut client = broker.connect();
    client
        .send(format!("AUTH {user} pw"))
        .expect(format!("AUTHACK {user}"));
    client
}

/// The topics of messages up to the last one.
#[track_caller]
fn topics(client: &mut MqttClient) -> String {
    let mut topics = String::new();
    while !topics.ends_with("home/end\n") {
        topics += &client.message().topic;
        topics.push('\n');
    }
    topics
}

/// The lines up to the one about the last message.
#[track_caller]
fn lines(client: &mut TestClient) -> String {
    let mut lines = String::new();
    while !lines.contains("home/end") {
        lines += &client.read_line();
        lines.push('\n');
    }
    lines
}

#[test]
fn no_way_of_delivery_brings_what_a_client_may_not_see() {
    let (users, folder) = (users(), tempfile::tempdir().expect("a folder"));
    let rules = folder.path().join("home.access");
    fs::write(&rules, RULES).expect("room");
    let broker = TestBroker::with_args(&[
        "--users",
        users.path(),
        "--access",
        rules.to_str().expect("text"),
    ]);
    let mut bob = line(&broker, "bob");
    for (number, topic) in (1..).zip(["home/secret/old", "home/old"]) {
        bob.send(format!("@retain PUBLISH {topic} 1"))
            .expect(format!("PUBACK {number} 0"));
    }
    bob.send("SUBSCRIBE home/secret/gone")
        .expect("SUBACK home/secret/gone");

    let mut plain = line(&broker, "dora");
    plain.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    let mut member = line(&broker, "dora");
    member
        .send("SUBSCRIBE $share/w/home/#")
        .expect("SUBACK $share/w/home/#");
    let mut socket = FrameClient::open(broker.address(), "/ws", Some("line"));
    for (said, answer) in [
        ("AUTH dora pw", "AUTHACK dora\n"),
        ("SUBSCRIBE home/#", "SUBACK home/#\n"),
    ] {
        socket.send_frame(0x81, said.as_bytes());
        assert_eq!(socket.next_frame().1, answer.as_bytes());
    }
    let mut packets = BOTH.map(|version| {
        let id = format!("{version:?}");
        let (mut client, _) = MqttClient::enter(broker.address(), version, &hello("dora", &id));
        assert!(client.ask_to_subscribe("home/#", 1, &[]) < 0x80);
        client
    });
    let mut stream = broker.connect();
    let basic = STANDARD.encode("dora:pw");
    stream.write(format!(
        "GET /topics/home/%23 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Authorization: Basic {basic}\r\n\r\n"
    ));
    stream.read_until_prefix("HTTP/1.1 200");
    let lasting = Hello {
        clean: false,
        properties: Hello::lasting("q").properties,
        ..hello("dora", "q")
    };
    let (mut absent, _) = MqttClient::enter(broker.address(), Mqtt::V5, &lasting);
    assert!(absent.ask_to_subscribe("home/#", 1, &[]) < 0x80);
    absent.leave();

    // By a publish, a will, an answer of the broker, and for a member of a group.
    bob.send("PUBLISH home/secret/x 1")
        .read_until_prefix("PUBACK 3 0");
    bob.send("@reply=home/secret/answer PUBLISH $SYS/request/audit")
        .read_until_prefix("PUBACK 4 ");
    let will = Some(("home/secret/gone".to_owned(), "1".to_owned()));
    MqttClient::enter(
        broker.address(),
        Mqtt::V5,
        &Hello {
            will,
            ..hello("bob", "w")
        },
    )
    .0
    .vanish();
    bob.expect("MESSAGE home/secret/gone 1");
    bob.send("PUBLISH home/end 1").expect("PUBACK 5 7");

    let (mut absent, was_there) = MqttClient::enter(broker.address(), Mqtt::V5, &lasting);
    assert!(was_there);
    let mut websocket = String::new();
    while !websocket.contains("home/end") {
        websocket += &String::from_utf8(socket.next_frame().1).expect("text");
    }
    let [old, new] = &mut packets;
    for (way, came) in [
        ("lines", lines(&mut plain)),
        ("a group", lines(&mut member)),
        ("a WebSocket", websocket),
        ("MQTT 3.1.1", topics(old)),
        ("MQTT 5", topics(new)),
        ("a stream", lines(&mut stream)),
        ("a session", topics(&mut absent)),
    ] {
        assert!(!came.contains("secret"), "{way}: {came}");
    }
    let mut asker = Asker::with(line(&broker, "dora"));
    for question in ["topics", "retained", "filters"] {
        let answer = asker.ask(question).to_string();
        assert!(!answer.contains("secret"), "{question}: {answer}");
    }
}

#[test]
fn a_session_its_queue_and_its_will_stay_with_their_identity() {
    let users = users();
    let broker = TestBroker::with_args(&["--users", users.path()]);
    let mut watcher = line(&broker, "ann");
    watcher.send("SUBSCRIBE gone").expect("SUBACK gone");
    for version in BOTH {
        let mut owned = Hello {
            clean: false,
            properties: Hello::lasting("m").properties,
            will: Some(("gone".to_owned(), "1".to_owned())),
            ..hello("ann", "m")
        };
        let (mut owner, _) = MqttClient::enter(broker.address(), version, &owned);
        owner.subscribe("queued", 1);
        for clean in [true, false] {
            let thief = Hello {
                clean,
                ..hello("bob", "m")
            };
            let (mut thief, was_there) = MqttClient::enter(broker.address(), version, &thief);
            assert!(!was_there);
            thief.expect_silence();
            thief.leave();
        }
        // The connection is there, and its will waits.
        watcher.expect_silence();
        owner.leave();
        watcher
            .send("PUBLISH queued 1")
            .read_until_prefix("PUBACK ");
        // In 3.1.1 it has a session of its own by now.
        let (mut thief, _) = MqttClient::enter(
            broker.address(),
            version,
            &Hello {
                clean: false,
                ..hello("bob", "m")
            },
        );
        thief.expect_silence();
        thief.leave();
        owned.will = None;
        let (mut owner, was_there) = MqttClient::enter(broker.address(), version, &owned);
        assert!(was_there, "{version:?}");
        owner.expect_message(2, "queued", "1");
        owner.leave();
        let (owner, _) = MqttClient::enter(
            broker.address(),
            version,
            &Hello {
                clean: true,
                properties: Vec::new(),
                ..owned
            },
        );
        owner.leave();
    }
}

/// All files that say who may do what, right ones.
struct SecurityFiles {
    folder: TempDir,
    users: UsersFile,
    issuer: JwtIssuer,
    server: Files,
    authority: Authority,
    list: String,
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

impl SecurityFiles {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(
            folder.path().join("home.access"),
            "allow ann publish home/#\nallow @admin admin\n",
        )
        .expect("room");
        let authority = Authority::new();
        let server = authority.sign("broker", &Wanted::HERE);
        Self {
            list: text(&authority.revoke("crl.pem", &[99])),
            users: users(),
            issuer: JwtIssuer::new(),
            folder,
            server,
            authority,
        }
    }

    /// Each flag with its file.
    fn flags(&self) -> [(&'static str, String); 7] {
        [
            ("users", self.users.path().to_owned()),
            ("access", text(&self.folder.path().join("home.access"))),
            ("jwt-keys", self.issuer.path()),
            ("tls-cert", text(&self.server.cert)),
            ("tls-key", text(&self.server.key)),
            ("client-ca", text(&self.authority.pem())),
            ("client-crl", self.list.clone()),
        ]
    }

    /// Calls this with each file in each state in which it cannot be read.
    fn broken(&self, mut try_it: impl FnMut(&str)) {
        for (flag, path) in self.flags() {
            let good = fs::read(&path).expect("a file");
            let mode = fs::metadata(&path).expect("a file").permissions();
            for state in ["is missing", "is nonsense", "is a folder"] {
                fs::remove_file(&path).expect("it is ours");
                match state {
                    "is missing" => {}
                    "is nonsense" => fs::write(&path, "nonsense\n").expect("room"),
                    _ => fs::create_dir(&path).expect("room"),
                }
                if state == "is nonsense" {
                    fs::set_permissions(&path, mode.clone()).expect("it is ours");
                }
                try_it(&format!("{flag} {state}"));
                let _ = fs::remove_dir(&path);
                fs::write(&path, &good).expect("room");
                fs::set_permissions(&path, mode.clone()).expect("it is ours");
            }
        }
    }
}

#[test]
fn a_security_file_that_cannot_be_read_opens_nothing_at_the_start() {
    let files = SecurityFiles::new();
    let flags = files.flags().into_iter();
    let words: Vec<String> = flags
        .flat_map(|(flag, path)| [format!("--{flag}"), path])
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    TestBroker::with_args(&words).stop();
    files.broken(|what| {
        // One that starts would not end.
        let (status, _, err) = Process::start(&mut TestBroker::command(&words)).end();
        assert_eq!(status.code(), Some(2), "{what}: {err}");
        assert!(!err.contains("listens on"), "{what}: {err}");
    });
}

#[test]
fn a_security_file_that_cannot_be_read_changes_nothing_at_a_reload() {
    let files = SecurityFiles::new();
    let config = files.folder.path().join("broker.toml");
    let keys = files
        .flags()
        .map(|(flag, path)| format!("{flag} = {path:?}\n"));
    fs::write(&config, keys.concat()).expect("room");
    let socket = text(&files.folder.path().join("broker.sock"));
    let broker = TestBroker::with_args(&["--unix", &socket, "--config", &text(&config)]);
    let reload = |code| {
        ended(
            &mut client(&["reload", "-s", &format!("unix:{socket}")]),
            code,
        );
    };
    reload(0);
    files.broken(|what| {
        reload(1);
        let mut guest = broker.connect();
        guest
            .send("PUBLISH home/a 1")
            .expect_prefix("ERROR auth publish:1 anonymous may not");
        let mut bob = broker.connect();
        bob.send("AUTH bob pw").expect_prefix("AUTHACK bob");
        bob.send("PUBLISH home/a 1")
            .expect_prefix("ERROR denied publish:1 bob may not");
        let mut ann = line(&broker, "ann");
        ann.send("PUBLISH home/a 1").expect("PUBACK 1 0");
        assert!(!what.is_empty());
    });
    eventually("all is as it was", || {
        let (code, ..) = outcome(&mut client(&["reload", "-s", &format!("unix:{socket}")]));
        code == Some(0)
    });
}

/// A mistake in a certificate once hid those in the files of users and rules.
#[test]
fn the_mistakes_in_all_security_files_are_told_at_once() {
    let files = SecurityFiles::new();
    let config = files.folder.path().join("broker.toml");
    let socket = text(&files.folder.path().join("broker.sock"));
    let keys = files.flags();
    let lines = keys
        .iter()
        .map(|(flag, path)| format!("{flag} = {path:?}\n"));
    fs::write(&config, lines.collect::<String>()).expect("room");
    let words = ["--unix", &socket, "--config", &text(&config)];
    let _broker = TestBroker::with_args(&words);
    let broken = [
        "users",
        "access",
        "jwt-keys",
        "tls-cert",
        "client-ca",
        "client-crl",
    ];
    let broken = keys.iter().filter(|(flag, _)| broken.contains(flag));
    let paths: Vec<&String> = broken.map(|(_, path)| path).collect();
    assert_eq!(paths.len(), 6);
    for path in &paths {
        fs::write(path, "nonsense\n").expect("room");
    }
    let (_, reloaded) = ended(&mut client(&["reload", "-s", &format!("unix:{socket}")]), 1);
    let start = ["--config", &text(&config)];
    let (_, started) = ended(&mut TestBroker::command(&start), 2);
    let check = [&start[..], &["--check"]].concat();
    let (_, checked) = ended(&mut TestBroker::command(&check), 2);
    for (told, when) in [(reloaded, "reload"), (started, "start"), (checked, "check")] {
        for path in &paths {
            assert!(told.contains(*path), "{path} at a {when}: {told}");
        }
    }
}

#[test]
fn what_is_no_mistake_and_perhaps_not_meant_is_told_by_a_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("empty.access");
    fs::write(&rules, "").expect("room");
    let check = ["--access", &text(&rules), "--check"];
    let (code, out, err) = outcome(&mut TestBroker::command(&check));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("the configuration is valid"), "{out}");
    assert!(
        err.starts_with("warning: ") && err.contains("has no rule"),
        "{err}"
    );
}

#[test]
fn a_change_of_users_and_certificates_ends_only_the_connections_that_it_names() {
    let files = SecurityFiles::new();
    let (cert, key) = (text(&files.server.cert), text(&files.server.key));
    let flags = [
        "--users",
        files.users.path(),
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let broker = TestBroker::with_args(&flags);
    let (mut ann, mut bob, mut guest) =
        (line(&broker, "ann"), line(&broker, "bob"), broker.connect());
    guest.send("PING").expect("PONG");
    let other = files.authority.sign(
        "other",
        &Wanted {
            serial: 8,
            ..Wanted::HERE
        },
    );
    files.server.replace_by(&other);
    broker.wait_for_log("TLS: the files have changed");
    for client in [&mut ann, &mut bob, &mut guest] {
        client.send("PING").expect("PONG");
    }
    let path = files.users.path();
    let mode = fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    files.users.run(&["user", "rm", "bob"], "");
    bob.expect_prefix("ERROR auth line ");
    bob.expect("BYE");
    bob.expect_end();
    for client in [&mut ann, &mut guest] {
        client.send("PING").expect("PONG");
    }
}
