//! Promises of `client.md`: every command of the client reaches a broker by the path of its socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;
use tests::{Process, TestBroker, client, program};

/// A broker with a socket in a folder of its own.
struct BrokerAtPath {
    broker: TestBroker,
    path: String,
    folder: TempDir,
}

fn broker_at_path(flags: &[&str]) -> BrokerAtPath {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broker.sock");
    let path = path.to_str().expect("text").to_owned();
    let broker = TestBroker::with_args(&[&["--unix", &*path], flags].concat());
    BrokerAtPath {
        broker,
        path,
        folder,
    }
}

impl BrokerAtPath {
    /// The client, for the path behind this scheme.
    fn client(&self, scheme: &str, arguments: &str) -> Command {
        let mut words = arguments.split(' ');
        let mut client = client(&[words.next().expect("a command")]);
        client.args(["-s", &format!("{scheme}:{}", self.path)]);
        client.args(words);
        client
    }

    /// Runs a command that has to succeed; what it printed.
    #[track_caller]
    fn printed(&self, scheme: &str, arguments: &str) -> String {
        let (status, out, err) = Process::start(&mut self.client(scheme, arguments)).end();
        assert!(status.success(), "{scheme} {arguments}: {err}");
        String::from_utf8(out).expect("text")
    }
}

/// Each with the options that belong to it.
const WIRES: [(&str, &str); 7] = [
    ("unix", ""),
    ("unix", " --mqtt 5"),
    ("unix", " --mqtt 3.1.1"),
    ("mqtt+unix", ""),
    ("mqtt+unix", " --mqtt 3.1.1"),
    ("ws+unix", ""),
    ("ws+unix", " --mqtt 5"),
];

#[test]
fn all_wires_of_the_client_meet_in_one_topic() {
    let at = broker_at_path(&[]);
    let mut ann = at.broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    let mut subscribers = WIRES.map(|(scheme, options)| {
        let subscribe = format!("subscribe news{options}");
        let subscriber = Process::start(&mut at.client(scheme, &subscribe));
        subscriber.wait_for_complaint("subscribing on");
        subscriber
    });
    for (number, (scheme, options)) in WIRES.iter().enumerate() {
        let publish = format!("publish news {number}{options}");
        at.printed(scheme, &publish);
        ann.expect(format!("MESSAGE news {number}"));
        for subscriber in &mut subscribers {
            subscriber.expect(&format!("news: {number}"));
        }
    }
    // Over TCP, into the same topic.
    ann.send("PUBLISH news hello").expect("MESSAGE news hello");
    for subscriber in &mut subscribers {
        subscriber.expect("news: hello");
    }
}

#[test]
fn all_commands_take_a_path() {
    let at = broker_at_path(&[]);
    let echo = Process::start(&mut at.client("unix", "reply echo --exec cat"));
    echo.wait_for_complaint("replying on");
    assert_eq!(at.printed("unix", "request echo hello"), "hello\n");
    at.printed("ws+unix", "publish -r attic 21.5");
    assert!(at.printed("unix", "retained ls").contains("attic"));
    assert!(at.printed("unix", "who").contains(" unix:"));
    assert!(at.printed("unix", "top --once").contains(" unix:"));
    for command in [
        "audit",
        "sessions",
        "topics",
        "filters",
        "why echo",
        "ping -C 1",
    ] {
        at.printed("unix", command);
    }
    at.printed("mqtt+unix", "ping -C 1");
    at.printed("unix", "selftest --only 3.12");
    let recording = at.folder.path().join("a.jsonl");
    let recording = recording.to_str().expect("text");
    at.printed("unix", &format!("record attic -C 1 -o {recording}"));
    at.printed("unix", &format!("play {recording} --topic-prefix again/"));
    assert!(at.printed("unix", "topics").contains("again/attic"));
    let mut chat = Process::start(&mut at.client("unix", "chat lobby --nick ann"));
    chat.wait_for_line("* you are ann in lobby");
}

#[test]
fn each_wire_is_measured_at_a_path_and_loses_nothing() {
    let at = broker_at_path(&[]);
    for scheme in ["unix", "mqtt+unix", "ws+unix", "http+unix"] {
        for (load, key, expected) in [
            ("--count 2001 --subs 2 --size 16", "delivered", 4002),
            ("--count 50 --request", "round_trips", 50),
            ("--idle 20", "connected", 20),
        ] {
            let out = at.printed(scheme, &format!("bench {load} --json"));
            let figures: Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(figures[key], expected, "{scheme} {load}: {out}");
            assert_eq!(figures["lost"], 0, "{scheme} {load}: {out}");
        }
    }
}

#[test]
fn a_user_without_permission_is_told_to_ask_the_operator() {
    let at = broker_at_path(&["--unix-mode", "000"]);
    // The permissions of files do not bind root, so another user runs a copy of the program, in a
    // folder that it can reach.
    let copy = at.folder.path().join("client");
    fs::copy(program("client"), &copy).expect("room");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(at.folder.path(), open).expect("an own folder");
    let mut command = Command::new(copy);
    command
        .args(["publish", "news", "x", "-s", &format!("unix:{}", at.path)])
        .env("XDG_CONFIG_HOME", "/nonexistent");
    if geteuid().is_root() {
        command.uid(65_534);
    }
    let (status, _, err) = Process::start(&mut command).end();
    assert_eq!(status.code(), Some(3), "{err}");
    let expected = "(permission denied); the permissions of the socket and of its folders are for \
                    other users: ask the operator of the broker\n";
    assert!(err.ends_with(expected), "{err}");
}
