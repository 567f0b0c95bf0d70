//! Promises about where the broker runs: its addresses, and the limits of the machine
//! (`docs/operating.md`).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use tests::{Asker, Process, TestBroker, TestClient, installed, program};

/// Skips a test on a machine without IPv6.
fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn a_client_of_ipv4_is_shown_as_such_on_a_socket_for_both() {
    if !has_ipv6() {
        return;
    }
    let broker = TestBroker::with_args(&["--listen", "[::]:0"]);
    let port = broker.other_addresses()[0].port();
    let mut client = TestClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    client.send("PING").expect("PONG");
    let peer = client.local_addr().to_string();
    let who = Asker::of(&broker).ask("who");
    assert_eq!(who["connections"][0]["peer"], peer, "{who}");
    broker.wait_for_log(&format!("from {peer} begins"));
}

#[test]
fn an_address_of_ipv6_is_understood_with_brackets_and_printed_so_that_it_can_be_pasted() {
    if !has_ipv6() {
        return;
    }
    let mut command = Command::new(program("broker"));
    let process = Process::start(command.args(["--host", "[::1]", "--port", "0"]));
    process.wait_for_complaint("what goes on\n");
    let log = process.complaints();
    let (_, address) = log.split_once(" listens on ").expect("the first line");
    let address: SocketAddr = address
        .lines()
        .next()
        .unwrap_or_default()
        .parse()
        .expect("an address");
    assert!(log.contains(&format!("http://{address}/")), "{log}");
    assert!(log.contains(&format!("nc ::1 {}", address.port())), "{log}");
    TestClient::connect(address).send("PING").expect("PONG");
}

#[test]
fn with_too_few_open_files_it_says_so_and_does_not_start() {
    for (files, starts) in [(40, false), (64, false), (65, true)] {
        let mut limited = installed("prlimit", "util-linux");
        limited.arg(format!("--nofile={files}:{files}"));
        limited.arg(program("broker")).args(["--port", "0"]);
        let mut process = Process::start(&mut limited);
        if starts {
            process.wait_for_complaint("at most 1 connections (the limit of open files");
            continue;
        }
        let (status, _, err) = process.end();
        assert_eq!(status.code(), Some(1), "{err}");
        assert!(
            err.contains("raise the limit of open files (ulimit -n) to 65"),
            "{err}"
        );
    }
}
