//! Promises about the log: no client decides how long it becomes, and the broker never waits for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::{TestBroker, TestClient, eventually};

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
