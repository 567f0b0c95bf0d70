//! What the greeting, the errors, the help and the documents say to type does run.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use rustix::process::Signal;
use tests::certificates::{Authority, Wanted};
use tests::{Process, TestBroker, client, client_of, installed, program};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Incomplete on purpose, in a sentence about an option.
const NOT_WHOLE: [&str; 2] = ["client subscribe -o json", "client COMMAND --help"];

/// The beginnings of commands that cannot be typed here, with the reasons.
const NOT_HERE: [(&str, &str); 6] = [
    ("sudo ", "it changes the system"),
    ("systemctl ", "it asks the system's own service manager"),
    ("journalctl ", "it reads the system's own journal"),
    ("broker --config household.toml", PLAYED),
    ("broker --config company.toml", PLAYED),
    ("broker --config public-chat.toml", PLAYED),
];

const PLAYED: &str = "the test of this example plays it with its files";

/// The search path with the programs of this workspace in front.
fn path() -> std::ffi::OsString {
    let client = program("client");
    let programs = client.parent().expect("a program is in a folder");
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(env::split_paths(&path));
    env::join_paths(all).expect("no folder has a colon in its name")
}

/// A shell that types this and stops what has not ended by itself in time, with exit code 124.
fn shell(typed: &str, folder: &Path, broker: &str, seconds: &str) -> Command {
    let mut shell = Command::new("timeout");
    shell
        .args(["--kill-after=5", seconds, "sh", "-c", typed])
        .current_dir(folder)
        .env("PATH", path())
        .env("HOME", folder)
        // PowerShell has it.
        .env("PROFILE", folder.join("profile.ps1"))
        .env("XDG_CONFIG_HOME", folder.join(".config"))
        .env("BROKER_URL", broker)
        .env("BROKER_PORT", "0");
    // A broker that is open to all has no users.
    if !typed.contains("--open") {
        shell.env("BROKER_USERS", folder.join("users"));
    }
    shell
}

/// Fails unless the shell and the programs understand the command.
#[track_caller]
fn check(typed: &str, source: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    // A full screen and a question are for people.
    let wants_terminal =
        said.contains("this needs a terminal") || said.contains("no terminal to ask at");
    assert!(
        wants_terminal || !(matches!(code, Some(2 | 126 | 127)) || said.contains("Usage:")),
        "{source} says to type `{typed}`; {code:?}:\n{said}"
    );
}

/// Types all commands, some at a time, each in a folder with the files that it names.
fn check_all(commands: Vec<(String, String)>) {
    installed("jq", "jq");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("broker.sock");
    let socket = socket.to_str().expect("text");
    let broker = TestBroker::with_args(&["--unix", socket]);
    let commands: Vec<_> = commands
        .into_iter()
        .map(|(source, typed)| {
            let typed = typed.replace("/run/dallal/broker.sock", socket);
            // The machine's own users are not changed by a test.
            let typed = typed.replace("/etc/dallal/users", "users");
            let typed = typed.replace("/etc/dallal/tls/", "");
            (source, at_this_broker(&typed, &broker))
        })
        .collect();
    let address = broker.address().to_string();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..4)
            .map(|lane| {
                let (commands, address) = (&commands, &address);
                scope.spawn(move || {
                    for (source, typed) in commands.iter().skip(lane).step_by(4) {
                        let folder = tempfile::tempdir().expect("a folder");
                        prepare(folder.path(), typed);
                        let output = shell(typed, folder.path(), address, "1").output();
                        check(typed, source, &output.expect("a shell"));
                    }
                })
            })
            .collect();
        for lane in lanes {
            lane.join().expect("every command is understood");
        }
    });
}

fn prepare(folder: &Path, typed: &str) {
    for name in [
        ".config/fish/completions",
        ".config/dallal",
        ".local/share/bash-completion/completions",
        ".local/share/man/man1",
        ".zfunc",
    ] {
        fs::create_dir_all(folder.join(name)).expect("an empty folder");
    }
    let servers = "[servers.work]\nurl = \"127.0.0.1:9\"\n[servers.home]\nurl = \"127.0.0.1:9\"\n";
    for (name, text) in [
        (".config/dallal/client.toml", servers),
        ("letter.txt", "a letter\n"),
        ("large.png", "a picture\n"),
        ("app.log", "a line\n"),
        ("Makefile", "all:\n\techo built\n"),
        ("broker.toml", "max-queued = 100\n"),
        ("password.txt", "a password\n"),
        ("users", "user ann\nuser meter-1\n"),
        ("home.access", "allow everyone publish subscribe home/#\n"),
        ("keys.json", "{\"keys\": []}\n"),
        ("security.log", "{\"event\":\"auth_failed\",\"count\":1}\n"),
    ] {
        fs::write(folder.join(name), text).expect("room");
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.join("users"), private).expect("it is ours");
    if typed.contains(".pem") {
        let authority = Authority::new();
        let meter = authority.sign("meter-7", &Wanted::default());
        let server = authority.sign("server", &Wanted::default());
        for (from, name) in [
            (authority.pem(), "ca.pem"),
            (meter.cert, "meter-7.pem"),
            (meter.key, "meter-7-key.pem"),
            (server.cert, "server.pem"),
            (server.key, "server-key.pem"),
            (authority.revoke("revoked.pem", &[99]), "crl.pem"),
        ] {
            fs::copy(from, folder.join(name)).expect("room");
        }
    }
    // `record` would ask before it overwrites it.
    if typed.contains("client play") {
        let recording = "{\"offset_us\":0,\"topic\":\"a\",\"payload\":\"1\"}\n";
        fs::write(folder.join("today.jsonl"), recording).expect("room");
    }
}

/// The same command for the broker of the test instead of the usual one.
fn at_this_broker(typed: &str, broker: &TestBroker) -> String {
    let port = broker.address().port().to_string();
    let here = format!("localhost:{port}");
    let listening = typed.replace("--listen 127.0.0.1:1883", "--listen 127.0.0.1:0");
    let typed = listening
        .replace("target/release/", "")
        .replace("localhost:1883", &here)
        .replace("1373", &port);
    let mut whole = String::new();
    let mut rest = typed.as_str();
    while let Some((before, behind)) = rest.split_once("localhost") {
        whole.push_str(before);
        whole.push_str(if behind.starts_with(':') {
            "localhost"
        } else {
            &here
        });
        rest = behind;
    }
    whole + rest
}

fn documents() -> Vec<PathBuf> {
    let folders = ["docs", "docs/monitoring"].map(|folder| Path::new(ROOT).join(folder));
    let entries = folders.map(|folder| fs::read_dir(folder).expect("documents"));
    let entries = entries.into_iter().flatten();
    let mut all: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    all.retain(|path| path.extension().is_some_and(|it| it == "md"));
    all.push(Path::new(ROOT).join("README.md"));
    all
}

/// A line that has cargo start a program, as one that starts the program.
fn of_program(line: &str) -> String {
    match line.strip_prefix("cargo run --release --bin ") {
        Some(rest) => rest.replacen(" -- ", " ", 1),
        None => line.to_owned(),
    }
}

/// Whether it can be typed here: cargo and the scripts of this repository are for its developers.
fn is_for_users(line: &str) -> bool {
    if NOT_HERE.iter().any(|(begin, _)| line.starts_with(begin)) {
        return false;
    }
    let first = line.split([' ', '\t']).next().unwrap_or_default();
    !(first.is_empty() || first == "cargo" || first == "#" || first.starts_with("tests/"))
}

#[test]
fn every_command_of_a_document_is_understood() {
    let mut commands = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        let source = path.display().to_string();
        let mut parts = text.split("```");
        // Text and blocks take turns.
        while let (Some(prose), block) = (parts.next(), parts.next()) {
            for code in prose.split('`').skip(1).step_by(2) {
                let code = code.replace("\\|", "|").replace('\n', " ");
                let words = code.split(' ').count();
                if code.starts_with("client ") && words == 2 && !code.contains('-') {
                    commands.push((source.clone(), format!("{code} --help")));
                } else if code.starts_with("client ") && !NOT_WHOLE.contains(&&*code) {
                    commands.push((source.clone(), code));
                }
            }
            let lines = block.and_then(|block| block.strip_prefix("sh\n"));
            let lines = lines.unwrap_or_default().lines();
            commands.extend(
                lines
                    .map(of_program)
                    .filter(|line| is_for_users(line))
                    .map(|line| (source.clone(), line)),
            );
        }
    }
    let count = commands.len();
    assert!(count > 45, "only {count} commands: {commands:?}");
    check_all(commands);
}

#[test]
fn every_command_that_is_not_typed_has_a_reason_and_is_in_a_document() {
    let texts = documents().into_iter().map(fs::read_to_string);
    let texts: Vec<String> = texts.map(|text| text.expect("a document")).collect();
    for (begin, reason) in NOT_HERE {
        assert!(!reason.is_empty());
        let is_typed = |line: &str| line.starts_with(begin);
        let mut lines = texts.iter().flat_map(|text| text.lines());
        assert!(lines.any(is_typed), "no document has {begin:?}");
    }
}

/// What a program prints on standard output.
fn printed(args: &[&str]) -> String {
    let output = client(args).output().expect("the client starts");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_example_of_a_help_is_understood() {
    let help = printed(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect("a list");
    let list = list.lines().take_while(|line| !line.is_empty());
    let mut pages: Vec<Vec<&str>> = list
        .filter_map(|line| Some(vec![line.strip_prefix("  ")?.split(' ').next()?]))
        .filter(|page| !page[0].is_empty())
        .collect();
    pages.extend([vec![], vec!["retained", "ls"], vec!["retained", "rm"]]);
    pages.push(vec!["sessions", "rm"]);
    let mut commands = Vec::new();
    for mut page in pages {
        page.push("--help");
        let help = printed(&page);
        let (_, examples) = help.split_once("Examples:\n").expect("examples");
        for line in examples.lines().take_while(|line| line.starts_with("  ")) {
            // The explanation is behind two spaces.
            let typed = line.trim_start().split("  ").next().unwrap_or_default();
            commands.push((format!("client {}", page.join(" ")), typed.to_owned()));
        }
    }
    let count = commands.len();
    assert!(count > 50, "only {count} commands: {commands:?}");
    check_all(commands);
}

/// The command behind the label in the greeting.
fn greeted(log: &str, label: &str) -> String {
    let line = log
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(label));
    let line = line.expect("a line of the greeting").trim_start();
    line.split("   ").next().unwrap_or_default().to_owned()
}

#[test]
fn every_command_of_the_greeting_does_what_it_promises() {
    let broker = TestBroker::start();
    broker.wait_for_log("a chat room");
    let log = broker.log();
    let folder = tempfile::tempdir().expect("a folder");
    let run = |typed: &str| {
        // The greeting names the server itself.
        let mut shell = shell(typed, folder.path(), "127.0.0.1:9", "4");
        let output = shell.env("PATH", env::var_os("PATH").unwrap_or_default());
        output.output().expect("a shell")
    };
    let netcat = greeted(&log, "netcat:");
    let output = run(&format!("printf 'SUBSCRIBE news\\n' | {netcat}"));
    assert_eq!(output.stdout, b"SUBACK news\n", "{netcat}");
    let client = greeted(&log, "client:");
    let output = run(&client);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "subscribing on news\n", "{client}");
    let browser = greeted(&log, "browser:");
    let output = run(&format!("curl -s {browser}"));
    assert!(output.stdout.starts_with(b"<!"), "{browser}: {output:?}");
}

#[test]
fn a_broker_from_the_search_path_names_the_client_there() {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec broker --port 0"])
        .env("PATH", path());
    let mut broker = Process::start(&mut shell);
    broker.wait_for_complaint("a chat room");
    let client = greeted(&broker.complaints(), "client:");
    assert!(
        client.starts_with("client subscribe --server 127.0.0.1:"),
        "{client}"
    );
    broker.signal(Signal::TERM);
    broker.end();
}

/// The command that a message suggests.
#[track_caller]
fn suggested(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).expect("text");
    let (_, command) = said
        .split_once("type: ")
        .unwrap_or_else(|| panic!("{said}"));
    command.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn every_command_of_a_message_is_for_the_same_server_and_the_same_topic() {
    let broker = TestBroker::start();
    let folder = tempfile::tempdir().expect("a folder");
    let start = |typed: &str| Process::start(&mut shell(typed, folder.path(), "127.0.0.1:9", "20"));
    for topic in ["news", "$odd/it's;#1&more"].map(|topic| topic.replace('#', "")) {
        let run = |command: &str, args: &[&str]| {
            let output = client_of(&broker, command, args).output();
            output.expect("the client starts")
        };
        let mqtt = run("publish", &["--mqtt", "5", &topic, "x"]);
        for output in [run("publish", &[&topic, "x"]), run("why", &[&topic]), mqtt] {
            let mut listener = start(&suggested(&output));
            listener.wait_for_complaint("subscribing on");
            let again = run("publish", &[&topic, "x"]);
            assert_eq!(String::from_utf8_lossy(&again.stderr), "", "{topic}");
            listener.signal(Signal::TERM);
            listener.end();
        }
        let unanswered = run("request", &[&topic, "?"]);
        let mut responder = start(&suggested(&unanswered));
        responder.wait_for_complaint("replying on");
        let answered = run("request", &[&topic, "?"]);
        assert_eq!(answered.stdout, b"TEXT\n", "{topic}");
        responder.signal(Signal::TERM);
        responder.end();
        let mut silent = broker.subscribe(&topic);
        let unanswered = run("request", &["--wait", "50ms", &topic, "?"]);
        let listed = shell(&suggested(&unanswered), folder.path(), "127.0.0.1:9", "20").output();
        let listed = String::from_utf8(listed.expect("a shell").stdout).expect("text");
        assert_eq!(listed.lines().count(), 2, "{listed}");
        silent.send("BYE");
    }
}

#[test]
fn the_options_of_a_command_may_stand_before_it() {
    let broker = TestBroker::start();
    let server = broker.address().to_string();
    let output = client(&["-s", &server, "publish", "news", "x"]).output();
    let output = output.expect("the client starts");
    assert_eq!(output.stdout, b"your message published successfully\n");
    let output = client(&["-q", "2", "who"])
        .output()
        .expect("the client starts");
    assert_eq!(output.status.code(), Some(2), "who has no such option");
}
