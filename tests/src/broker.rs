//! The real broker program, on a port of its own.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::process::{Process, outcome};
use crate::{TestClient, program};

/// A running broker. Dropping it kills it, and fails the test if one of its threads panicked or
/// its ledger does not balance: some message is unaccounted for.
#[derive(Debug)]
pub struct TestBroker {
    process: Process,
    address: SocketAddr,
    ending: Option<ExitStatus>,
}

/// The text before each ledger in the log.
const LEDGER: &str = "] ledger ";

/// How a broker ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All that stood on its standard error.
    pub log: String,
    /// From the signal to the end.
    pub took: Duration,
}

impl TestBroker {
    /// A broker with everything as it is by default.
    #[track_caller]
    pub fn start() -> Self {
        Self::with_args(&[])
    }

    /// A broker with these flags. Without `--port` it takes any that is free.
    #[track_caller]
    pub fn with_args(args: &[&str]) -> Self {
        Self::of(&mut Self::command(args))
    }

    /// The same, with a store in this folder.
    #[track_caller]
    pub fn with_store(data: &Path, more: &[&str]) -> Self {
        let data = data.to_str().expect("a path of text");
        Self::with_args(&[&["--data", data], more].concat())
    }

    /// A broker with these levels of the log.
    #[track_caller]
    pub fn with_log(args: &[&str], levels: &str) -> Self {
        Self::of(Self::command(args).env("RUST_LOG", levels))
    }

    /// The same for this command, made by [`TestBroker::command`].
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        allow_many_files();
        let process = Process::start(command);
        process.wait_for_complaint("\n");
        let log = process.complaints();
        let first = log.lines().next().unwrap_or_default();
        let address = first
            .strip_prefix("dallal ")
            .and_then(|rest| rest.split_once(" listens on "))
            .and_then(|(_, address)| address.parse().ok());
        let Some(address) = address else {
            panic!("the broker does not begin with the address it listens on:\n{log}");
        };
        Self {
            process,
            address,
            ending: None,
        }
    }

    /// How the program is called with these flags.
    pub fn command(args: &[&str]) -> Command {
        let mut command = Self::bare(&[]);
        if !args.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command.args(["--host", "127.0.0.1"]).args(args);
        command
    }

    /// Has these flags checked: they are right, or refused with a complaint that has these words.
    #[track_caller]
    pub fn check(flags: &[&str], refused: Option<&str>) {
        let words = [&["--port", "0", "--check"], flags].concat();
        let (code, _, complaints) = outcome(&mut Self::bare(&words));
        assert_eq!(
            code,
            Some(refused.map_or(0, |_| 2)),
            "{flags:?}: {complaints}"
        );
        assert!(
            complaints.contains(refused.unwrap_or_default()),
            "{flags:?}: {complaints}"
        );
    }

    /// The program with these words, such as `user add ann`, and with none of the tester's own settings.
    pub fn bare(words: &[&str]) -> Command {
        let mut command = Command::new(program("broker"));
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("BROKER_")) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").args(words);
        command
    }

    /// A new connection to it.
    #[track_caller]
    pub fn connect(&self) -> TestClient {
        TestClient::connect(self.address)
    }

    /// A new connection that is subscribed.
    #[track_caller]
    pub fn subscribe(&self, filter: &str) -> TestClient {
        let mut client = self.connect();
        subscribe(&mut client, filter);
        client
    }

    /// The same for one that, reading nothing, is slow soon.
    #[track_caller]
    pub fn connect_slow(&self, filter: &str) -> TestClient {
        let mut client = TestClient::connect_with_small_buffer(self.address);
        subscribe(&mut client, filter);
        client
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its first room for raw text is.
    #[track_caller]
    pub fn room_address(&self) -> SocketAddr {
        self.wait_for_log("listening on ");
        let log = self.log();
        let mut rooms = log
            .lines()
            .filter_map(|line| line.trim().strip_prefix("room "));
        let room = rooms.next().and_then(|room| room.split([' ', ',']).nth(2));
        room.and_then(|address| address.parse().ok())
            .expect("it has a room")
    }

    /// Where it listens besides, as `--listen` asks for.
    #[track_caller]
    pub fn other_addresses(&self) -> Vec<SocketAddr> {
        self.wait_for_log("listening on ");
        let log = self.log();
        let others = log
            .lines()
            .filter_map(|line| line.trim().strip_prefix("also on "));
        others.filter_map(|address| address.parse().ok()).collect()
    }

    /// Waits until it has written `text` to its log.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        self.process.wait_for_complaint(text);
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        self.process.complaints()
    }

    /// The memory it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.pid());
        let status = fs::read_to_string(path).expect("a running process has a status");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
            .and_then(|number| number.trim().parse().ok())
            .expect("the status has a line VmRSS")
    }

    /// Its number as a process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal and goes on.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How many connections it has now; none if it is full. The question makes no messages.
    #[track_caller]
    pub fn connections(&self) -> Option<usize> {
        let mut client = self.connect();
        client.write("GET /api/broker HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = client.read_to_end();
        let with_this = answer
            .split_once("\"connections\":")
            .and_then(|(_, rest)| rest.split(',').next()?.trim().parse::<usize>().ok());
        with_this.map(|number| number - 1)
    }

    /// What became of all messages, as the broker adds it up now: one line that begins with
    /// `balanced` or does not.
    #[track_caller]
    pub fn ledger(&self) -> String {
        let ledgers = |log: &str| log.matches(LEDGER).count();
        let before = ledgers(&self.log());
        self.signal(Signal::USR1);
        self.process
            .wait_for_complaints(|log| ledgers(log) > before && log.ends_with('\n'));
        last_ledger(&self.log())
    }

    /// Sends it SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.stop_by(Signal::TERM)
    }

    /// Sends it a signal and waits for its end.
    #[track_caller]
    pub fn stop_by(mut self, signal: Signal) -> Ended {
        let asked = Instant::now();
        self.signal(signal);
        let (status, _, log) = self.process.end();
        self.ending = Some(status);
        Ended {
            code: status.code(),
            log,
            took: asked.elapsed(),
        }
    }
}

impl Drop for TestBroker {
    #[allow(
        clippy::print_stderr,
        reason = "what the broker had to say belongs to the report of a test that failed"
    )]
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            eprintln!("--- log of the broker at {} ---\n{log}", self.address);
        } else {
            let ledger = match self.ending {
                None => self.ledger(),
                Some(status) if status.success() => last_ledger(&self.log()),
                // Killed, it has not told.
                Some(_) => "balanced".to_owned(),
            };
            assert!(
                ledger.starts_with("balanced"),
                "a message is unaccounted for: {ledger}"
            );
            let log = self.log();
            let bug = log.contains("panicked at") || log.contains("a bug of the broker");
            assert!(!bug, "a thread of the broker panicked:\n{log}");
        }
    }
}

fn last_ledger(log: &str) -> String {
    let last = log.rsplit(LEDGER).next().unwrap_or_default();
    last.lines().next().unwrap_or_default().to_owned()
}

/// A thousand connections have a thousand ends on each side.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("a process may use its own limit up");
}

#[track_caller]
fn subscribe(client: &mut TestClient, filter: &str) {
    client
        .send(format!("SUBSCRIBE {filter}"))
        .expect(format!("SUBACK {filter}"));
}
