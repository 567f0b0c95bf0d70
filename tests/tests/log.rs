//! Promises about the log: no client decides how long it becomes, and the broker never waits for it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{Process, TestBroker, TestClient, eventually};

/// Lines that one place of the broker logs at once.
const BURST: usize = 1000;

#[test]
fn a_client_that_changes_its_name_again_and_again_is_logged_once() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let names: String = (0..2000).map(|n| format!("NAME {n}\n")).collect();
    ann.write(names);
    ann.read_until_prefix("NAMEACK 1999");
    ann.send("BYE").expect("BYE").expect_end();
    let log = broker.stop().log;
    assert_eq!(log.matches(" is called ").count(), 1, "{log}");
    assert!(log.contains(" is called \"0\""), "{log}");
    assert!(log.contains("(\"1999\") from 127.0.0.1"), "{log}");
}

#[test]
fn health_checks_and_connections_without_a_word_are_for_the_debug_log() {
    let visit = |broker: &TestBroker| {
        drop(broker.connect());
        let mut probe = broker.connect();
        probe.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        probe.write("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
        probe.read_to_end();
        let mut reader = broker.connect();
        reader.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        reader.write("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
        reader.read_to_end();
    };
    let broker = TestBroker::start();
    visit(&broker);
    let log = broker.stop().log;
    assert_eq!(log.matches("connection ").count(), 1, "{log}");
    assert_eq!(log.matches(" ends after ").count(), 1, "{log}");
    let broker = TestBroker::with_log(&[], "debug");
    visit(&broker);
    let log = broker.stop().log;
    assert_eq!(log.matches(" begins").count(), 3, "{log}");
    assert_eq!(log.matches(" ends after ").count(), 3, "{log}");
}

#[test]
fn of_connections_in_large_numbers_some_are_logged_and_the_others_counted() {
    let broker = TestBroker::start();
    let began = Instant::now();
    for _ in 0..BURST + 500 {
        let mut client = TcpStream::connect(broker.address()).expect("it listens");
        client.write_all(b"BYE\n").expect("it is open");
        client.read_to_end(&mut Vec::new()).expect("it is closed");
    }
    // One more line follows each tenth of a second.
    let most = BURST + 10 * (began.elapsed().as_secs() as usize + 1);
    let log = broker.stop().log;
    let ends = log.matches(" ends after ").count();
    assert!((BURST..=most).contains(&ends), "{ends} of at most {most}");
    let left_out = BURST + 500 - ends;
    if left_out > 0 {
        let told: usize = log
            .lines()
            .filter(|line| line.contains(" more lines of broker::net::connection:"))
            .filter_map(|line| {
                line.split_once("] ")?
                    .1
                    .split(' ')
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum();
        assert_eq!(told, left_out, "{log}");
    }
}

/// Lines that no reader takes fill the pipe, and then the buffer of the broker.
#[test]
fn a_log_that_is_not_read_delays_neither_clients_nor_the_end() {
    let mut broker = Unread::start();
    for _ in 0..800 {
        let mut client = TestClient::connect(broker.address);
        client.write("nonsense\nPING\n");
        client.expect_error("unknown-verb", "line").expect("PONG");
    }
    let asked = Instant::now();
    let pid = Pid::from_child(&broker.process);
    kill_process(pid, Signal::TERM).expect("it runs");
    let mut status = None;
    eventually("it ends", || {
        status = broker.process.try_wait().expect("it was started");
        status.is_some()
    });
    assert!(asked.elapsed() < Duration::from_secs(8), "it ends late");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn in_json_each_line_is_an_object_whatever_a_client_is_called() {
    let mut broker = TestBroker::command(&["--port", "0", "--log-format", "json"]);
    let mut broker = Process::start(broker.env("RUST_LOG", "debug").env("BROKER_NAME", "/a\"/b"));
    broker.wait_for_complaint("listens on");
    let mut ann = TestClient::connect(address_in(&broker.complaints()));
    ann.write(b"NAME \xff\x1b[2J\nNAME \"}\\\\\xe2\x80\xa8\nNAME {\"a\":\xc2\x9b\r\n");
    ann.write(
        (0..2 * BURST)
            .map(|n| format!("NAME \"{n}\n"))
            .collect::<String>(),
    );
    ann.read_until_prefix(&format!("NAMEACK \"{}", 2 * BURST - 1));
    broker.signal(Signal::TERM);
    let (status, _, log) = broker.end();
    assert!(status.success(), "{log}");
    let lines = objects(&log);
    for line in &lines {
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["level", "message", "target", "time"], "{line}");
        let time = line["time"].as_str().expect("a text");
        let form: String = time
            .chars()
            .map(|it| if it.is_ascii_digit() { '0' } else { it })
            .collect();
        assert_eq!(form, "0000-00-00T00:00:00.000Z", "{line}");
    }
    for (level, target, text) in [
        ("info", "broker", "listens on 127.0.0.1:"),
        ("warn", "broker", "BROKER_NAME=\"/a\\\"/b\" is passed over"),
        ("info", "broker", "listening on "),
        ("info", "broker::wire::line::settings", " is called "),
        (
            "warn",
            "broker::program::logging",
            " are left out: there were too many",
        ),
    ] {
        let is_it = |line: &&Value| {
            line["message"]
                .as_str()
                .is_some_and(|message| message.contains(text))
                && line["level"] == level
                && line["target"] == target
        };
        assert!(
            lines.iter().any(|line| is_it(&line)),
            "{level} {target} {text}: {log}"
        );
    }
}

#[test]
fn a_log_that_the_journal_reads_has_no_times() {
    let first_of_the_log = |stream: &str, args: &[&str]| {
        let (reader, writer) = io::pipe().expect("a pipe");
        let stat = fstat(&writer).expect("a pipe has a number");
        let stream = stream.replace('=', &format!("{}:{}", stat.st_dev, stat.st_ino));
        let mut command = TestBroker::command(&[&["--port", "0"], args].concat());
        let command = command.stderr(writer).env("JOURNAL_STREAM", stream);
        let mut process = command.stdin(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on "));
        process.kill().expect("it runs");
        process.wait().expect("it was started");
        line.expect("it says where it listens")
    };
    let line = first_of_the_log("=", &[]);
    assert!(line.starts_with("[INFO  broker] "), "{line}");
    for other in ["", "1:2", "=0", "0="] {
        let line = first_of_the_log(other, &[]);
        assert!(
            line.starts_with("[20") && line.contains("Z INFO  "),
            "{other}: {line}"
        );
    }
    let line = first_of_the_log("=", &["--log-format", "json"]);
    assert!(line.contains("\"time\":\"20"), "{line}");
}

#[test]
fn a_log_file_is_opened_anew_on_sighup_and_no_line_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, old) = (
        folder.path().join("broker.log"),
        folder.path().join("broker.log.1"),
    );
    fs::write(&file, "a line of before\n").expect("it can be written");
    let (mut broker, address) = with_log_file(&file);
    let mut ann = TestClient::connect(address);
    ann.send("NAME ann").expect("NAMEACK ann");
    wait_for_text(&file, "is called \"ann\"");
    assert!(
        text(&file).starts_with("a line of before\ndallal "),
        "it is appended to"
    );
    fs::rename(&file, &old).expect("it can be moved");
    broker.signal(Signal::HUP);
    wait_for_text(&file, "reload: applied");
    assert!(text(&file).lines().count() == 1, "{}", text(&file));
    let mode = file.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");

    // Where there is no folder any more, the open file goes on.
    let moved = folder.path().with_extension("moved");
    fs::rename(folder.path(), &moved).expect("it can be moved");
    broker.signal(Signal::HUP);
    let file = moved.join("broker.log");
    wait_for_text(
        &file,
        "WARN  broker::program::logging] the log goes on in the old file: ",
    );
    ann.send("BYE").expect("BYE").expect_end();
    broker.signal(Signal::TERM);
    let (status, _, errors) = broker.end();
    assert!(status.success() && errors.is_empty(), "{errors}");
    assert!(
        text(&file).contains("(\"ann\") from 127.0.0.1"),
        "{}",
        text(&file)
    );
    assert!(text(&file).contains("ledger balanced"), "{}", text(&file));
    fs::remove_dir_all(moved).expect("it can be removed");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_with_what_to_do() {
    for file in ["/nowhere/broker.log", "/tmp"] {
        let (status, _, errors) = Process::start(&mut TestBroker::command(&[
            "--port",
            "0",
            "--log-file",
            file,
        ]))
        .end();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.starts_with(&format!("broker: the log file {file} cannot be opened: ")));
        assert!(errors.ends_with("or give another --log-file\n"), "{errors}");
    }
}

#[test]
fn why_it_does_not_start_stands_in_the_log_file_and_on_standard_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.log");
    let other = TestBroker::start();
    let port = other.address().port().to_string();
    let args = ["--port", &port, "--log-file", file.to_str().expect("UTF-8")];
    let (status, _, errors) = Process::start(&mut TestBroker::command(&args)).end();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("broker: "), "{errors}");
    assert!(text(&file).ends_with(&errors), "{}", text(&file));
}

/// The limit of a file's size stands for a full disk: a write fails, and the one before it is cut short.
#[test]
fn lines_that_do_not_fit_on_the_disk_are_counted_and_none_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, old) = (
        folder.path().join("broker.log"),
        folder.path().join("broker.log.1"),
    );
    let args = [
        "--log-format",
        "json",
        "--log-file",
        file.to_str().expect("UTF-8"),
    ];
    let broker = TestBroker::command(&[&["--port", "0"], &args[..]].concat());
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "bash"]);
    limited
        .arg(broker.get_program())
        .args(broker.get_args())
        .env("RUST_LOG", "debug");
    let mut broker = Process::start(&mut limited);
    wait_for_text(&file, "listening on ");
    let mut ann = TestClient::connect(address_in(&text(&file)));
    let names = 800;
    ann.write(
        (0..names)
            .map(|n| format!("NAME {n}\n"))
            .collect::<String>(),
    );
    ann.read_until_prefix(&format!("NAMEACK {}", names - 1));
    broker.wait_for_complaint("cannot be written to ");
    fs::rename(&file, &old).expect("it can be moved");
    broker.signal(Signal::HUP);
    wait_for_text(&file, "reload: applied");
    ann.send("BYE").expect("BYE").expect_end();
    broker.signal(Signal::TERM);
    let (status, _, errors) = broker.end();
    assert!(status.success(), "{errors}");
    assert_eq!(errors.lines().count(), 1, "it is told once: {errors}");

    let is_name = |line: &&Value| {
        line["message"]
            .as_str()
            .is_some_and(|it| it.contains(" is called "))
    };
    let written = objects(&text(&old)).iter().filter(is_name).count();
    assert!((1..names).contains(&written), "{written}");
    let log = text(&file);
    let told = format!(
        "\"{} lines of the log are left out: they could not be written\"",
        names - written
    );
    assert!(log.contains(&told), "{told}: {log}");
    assert_eq!(objects(&log).iter().filter(is_name).count(), 0, "{log}");
}

/// A broker that logs to this file, ready, and its address.
#[track_caller]
fn with_log_file(file: &Path) -> (Process, SocketAddr) {
    let path = file.to_str().expect("UTF-8");
    let args = ["--port", "0", "--log-file", path];
    let process = Process::start(&mut TestBroker::command(&args));
    wait_for_text(file, "listening on ");
    (process, address_in(&text(file)))
}

/// The address in the broker's greeting.
#[track_caller]
fn address_in(log: &str) -> SocketAddr {
    let (_, rest) = log.split_once(" listens on ").expect("it greets");
    let end = rest.find(['\n', '\\']).expect("the greeting goes on");
    rest[..end].parse().expect("an address")
}

#[track_caller]
fn objects(log: &str) -> Vec<Value> {
    let lines = log.lines();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    lines.map(parse).collect()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[track_caller]
fn wait_for_text(file: &Path, wanted: &str) {
    eventually(&format!("{} has {wanted:?}", file.display()), || {
        text(file).contains(wanted)
    });
}

/// A broker of whose log only the first line is read. Dropping it kills it.
struct Unread {
    process: Child,
    address: SocketAddr,
    _log: BufReader<std::process::ChildStderr>,
}

impl Unread {
    fn start() -> Self {
        let mut command: Command = TestBroker::command(&[]);
        command.env("RUST_LOG", "debug").stdin(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is a pipe"));
        let mut first = String::new();
        log.read_line(&mut first).expect("it says where it listens");
        let address = first.trim().rsplit(' ').next();
        Self {
            address: address.and_then(|it| it.parse().ok()).expect("an address"),
            process,
            _log: log,
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
