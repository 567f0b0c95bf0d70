//! How the terminal client says who it is (`docs/client.md`, "Who you are"), to the real broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tests::{COMMANDS, Process, TestBroker, Tmux, UsersFile, client, eventually};

/// The password of ann, which is to be seen nowhere.
const CANARY: &str = "canary-4711 with \\n a space";

/// The ways to a broker, and what is said beside them.
const WAYS: [(&str, &[&str]); 4] = [
    ("", &[]),
    ("ws://", &[]),
    ("mqtt://", &[]),
    ("", &["--mqtt", "3.1.1"]),
];

/// A broker with users, and files with their secrets.
struct Guarded {
    users: UsersFile,
    /// A token of ann.
    token: String,
    broker: TestBroker,
    folder: TempDir,
}

impl Guarded {
    fn start() -> Self {
        let users = UsersFile::of(&[("bob", "other")]);
        users.run(&["user", "add", "ann", "--groups", "admin"], CANARY);
        let token = users.run(&["token", "add", "ann"], "");
        let broker = TestBroker::with_log(&["--users", users.path()], "trace");
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            users,
            token,
            broker,
            folder,
        }
    }

    /// The same users, whose failures are forgotten.
    fn restart(&mut self) {
        self.broker = TestBroker::with_log(&["--users", self.users.path()], "trace");
    }

    /// A file with this secret.
    fn file(&self, name: &str, secret: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{secret}\n")).expect("room");
        path.display().to_string()
    }

    fn client(&self, scheme: &str, words: &[&str]) -> Command {
        let server = format!("{scheme}{}", self.broker.address());
        let mut client = client(words);
        client.args(["--server", &server]);
        client
    }
}

/// The same as [`tests::ended`] for a command that shows no secret.
#[track_caller]
fn ended(command: &mut Command, code: i32) -> (String, String) {
    let (out, err) = tests::ended(command, code);
    assert!(!(out.clone() + &err).contains("4711"), "{out}{err}");
    (out, err)
}

#[test]
fn a_user_is_let_in_with_a_password_or_a_token_and_refused_with_another_one() {
    let mut guarded = Guarded::start();
    let right = guarded.file("right", CANARY);
    let wrong = guarded.file("wrong", "4711");
    let token = guarded.file("token", &guarded.token);
    for (scheme, flags) in WAYS {
        guarded.restart();
        let publish = || {
            let mut publish = guarded.client(scheme, &["publish", "a", "hello"]);
            publish.args(flags);
            publish
        };
        let with = |words: &[&str], code: i32| ended(publish().args(words), code);
        with(&["--user", "ann", "--password-file", &right], 0);
        with(&["--token-file", &token], 0);
        with(&["--user", "ann", "--token-file", &token], 0);
        let mut by_variable = publish();
        by_variable.env("BROKER_USER", "ann");
        ended(by_variable.env("BROKER_PASSWORD", CANARY), 0);
        ended(publish().env("BROKER_TOKEN", &guarded.token), 0);
        with(&[], 6);
        for (user, file) in [("ann", &wrong), ("eve", &right)] {
            let (_, err) = with(&["--user", user, "--password-file", file], 6);
            assert!(
                err.contains("the user name or the password is wrong")
                    || err.contains("the name or the password is wrong"),
                "{err}"
            );
        }
    }
}

#[test]
fn every_command_says_who_it_is() {
    let guarded = Guarded::start();
    let right = guarded.file("right", CANARY);
    let with = |words: &[&str]| {
        let mut client = guarded.client("", words);
        client.args(["--user", "ann", "--password-file", &right]);
        client
    };
    let reply = Process::start(&mut with(&["reply", "time", "now"]));
    reply.wait_for_complaint("replying on");
    let more: [&[&str]; 3] = [
        &["may", "ann", "publish", "a"],
        &["bench", "--count", "10"],
        &["selftest", "--only", "3.1.2-24", "--mqtt", "5"],
    ];
    for words in COMMANDS.into_iter().chain(more) {
        ended(&mut with(words), 0);
    }
    for scheme in ["ws://", "http://", "mqtt://"] {
        let mut bench = guarded.client(scheme, &["bench", "--count", "10"]);
        ended(bench.args(["--user", "ann", "--password-file", &right]), 0);
        ended(
            guarded
                .client(scheme, &["bench", "--count", "10"])
                .env("BROKER_TOKEN", &guarded.token),
            0,
        );
    }
    let (out, _) = ended(&mut with(&["who", "--json"]), 0);
    assert!(out.contains("\"identity\":\"ann\""), "{out}");
}

#[test]
fn every_command_ends_when_it_is_refused() {
    let mut guarded = Guarded::start();
    for words in [
        &["who"][..],
        &["audit"],
        &["why", "time"],
        &["top", "--once"],
        &["request", "time", ""],
        &["reply", "time", "now"],
        &["chat", "lobby", "--nick", "ann", "--plain"],
        &["record", "a", "--wait-for-broker"],
        &["bench", "--count", "10"],
        &["bench", "--count", "10", "--mqtt", "5"],
        &["selftest", "--only", "3.1.2-24", "--mqtt", "5"],
        &["selftest", "--only", "3.1.2-24", "--mqtt", "3.1.1"],
    ] {
        guarded.restart();
        ended(&mut guarded.client("", words), 6);
        let mut wrong = guarded.client("", words);
        let (_, err) = ended(
            wrong.env("BROKER_USER", "ann").env("BROKER_PASSWORD", "no"),
            6,
        );
        let told = ["password is wrong", "CONNACK"];
        assert!(
            told.iter().any(|told| err.contains(told)),
            "{words:?}: {err}"
        );
    }
}

#[test]
fn a_user_says_it_again_after_each_reconnect_and_ends_when_it_is_refused() {
    for (scheme, flags) in WAYS {
        let guarded = Guarded::start();
        let right = guarded.file("right", CANARY);
        let mut subscribe = guarded.client(scheme, &["subscribe", "a"]);
        subscribe.args(flags);
        let mut listener =
            Process::start(subscribe.args(["--user", "ann", "--password-file", &right]));
        listener.wait_for_complaint("subscribing on");
        // Its connections end within seconds, and the next one is refused.
        guarded.users.run(&["user", "disable", "ann"], "");
        let (status, _, err) = listener.end();
        assert_eq!(status.code(), Some(6), "{scheme} {flags:?}: {err}");
    }
}

#[test]
fn no_secret_is_in_the_log_or_in_what_others_see_of_a_process() {
    let guarded = Guarded::start();
    let right = guarded.file("right", CANARY);
    for (scheme, flags) in WAYS {
        let mut subscribe = guarded.client(scheme, &["subscribe", "a"]);
        subscribe
            .args(flags)
            .args(["--user", "ann", "--password-file", &right]);
        let listener = Process::start(&mut subscribe);
        listener.wait_for_complaint("subscribing on");
        let line = fs::read(format!("/proc/{}/cmdline", listener.pid())).expect("a process");
        assert!(!String::from_utf8_lossy(&line).contains("4711"));
    }
    let record = guarded.folder.path().join("record.jsonl");
    let record_path = record.display().to_string();
    let words = ["record", "#", "--duration", "200ms", "-o", &record_path];
    let mut command = guarded.client("", &words);
    ended(
        command.args(["--user", "ann", "--password-file", &right]),
        0,
    );
    let recorded = fs::read_to_string(&record).expect("a recording");
    assert!(!recorded.contains("4711"), "{recorded}");
    assert!(!guarded.broker.log().contains("4711"));
}

#[test]
fn what_others_can_see_or_read_is_told_once() {
    let guarded = Guarded::start();
    let address = guarded.broker.address();
    let count = |err: &str, text: &str| err.matches(text).count();
    let url = format!("mqtt://bob:other@{address}");
    for (words, told) in [
        (
            vec!["publish", "a", "b", "-s", &url],
            "all users of this machine can see a password in a URL",
        ),
        (
            vec!["publish", "a", "b", "--user", "bob", "--password", "other"],
            "all users of this machine can see --password",
        ),
    ] {
        let port = address.port().to_string();
        let mut publish = client(&words);
        let (_, err) = ended(publish.args(["-p", &port]), 0);
        assert_eq!(count(&err, told), 1, "{err}");
    }
    // The environment of a process is for its user alone.
    let mut publish = client(&["publish", "a", "b"]);
    let (_, err) = ended(publish.env("BROKER_URL", &url), 0);
    assert_eq!(count(&err, "can see"), 0, "{err}");
    // An address of documentation (RFC 5737) that no machine has.
    let mut publish = client(&["publish", "a", "b", "-s", "192.0.2.1", "--wait", "50ms"]);
    let (_, err) = ended(publish.env("BROKER_TOKEN", "dlt_a_b"), 3);
    assert_eq!(
        count(&err, "can be read on the way to 192.0.2.1:1373; give --tls"),
        1,
        "{err}"
    );
}

#[test]
fn a_server_of_the_configuration_file_has_a_user() {
    let guarded = Guarded::start();
    let folder = guarded.folder.path().join("dallal");
    fs::create_dir(&folder).expect("an empty folder");
    fs::write(folder.join("secret"), CANARY).expect("room");
    let path: PathBuf = folder.join("client.toml");
    let server = format!(
        "[servers.a]\nurl = \"{}\"\nuser = \"ann\"\n",
        guarded.broker.address()
    );
    let mut who = client(&["who", "-c", "a"]);
    who.env("XDG_CONFIG_HOME", guarded.folder.path());
    fs::write(&path, format!("{server}password-file = \"secret\"\n")).expect("room");
    ended(&mut who, 0);
    fs::write(&path, format!("{server}password = '''{CANARY}'''\n")).expect("room");
    for (mode, code) in [(0o644, 2), (0o640, 2), (0o600, 0), (0o400, 0)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a file of ours");
        let (_, err) = ended(&mut who, code);
        assert_eq!(err.contains("chmod 600"), code == 2, "{mode:o}: {err}");
    }
    let mut config = client(&["config"]);
    let (out, _) = ended(config.env("XDG_CONFIG_HOME", guarded.folder.path()), 0);
    assert!(out.contains("with user, password"), "{out}");
    // A flag wins over a key.
    let (_, err) = ended(who.args(["--user", "bob"]), 2);
    assert!(
        err.contains("no terminal to ask at for the password of bob"),
        "{err}"
    );
}

#[test]
fn a_password_is_asked_for_at_a_terminal_and_not_shown() {
    let guarded = Guarded::start();
    let tmux = Tmux::start();
    let mut subscribe = guarded.client("", &["subscribe", "a"]);
    subscribe.args(["--user", "ann"]);
    tmux.open("ann", (80, 24), &subscribe);
    tmux.wait_for("ann", "Password for ann:");
    tmux.write("ann", CANARY).press("ann", "Enter");
    eventually("it subscribes", || {
        let screen = tmux.screen("ann");
        assert!(!screen.concat().contains("4711"), "{screen:?}");
        screen.iter().any(|row| row == "subscribing on a")
    });
}
