//! Promises about where the broker runs: its addresses, and the limits of the machine
//! (`docs/operating.md`).

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tests::{Asker, Process, TestBroker, TestClient, installed, program};

#[test]
fn a_client_of_ipv4_is_shown_as_such_on_a_socket_for_both() {
    let broker = TestBroker::with_args(&["--open", "--listen", "[::]:0"]);
    let port = broker.other_addresses()[0].port();
    let mut client = TestClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    client.send("PING").expect("PONG");
    let peer = client.local_addr().to_string();
    let who = Asker::of(&broker).ask("who");
    assert_eq!(who["connections"][0]["peer"], peer, "{who}");
    client.send("BYE").expect("BYE");
    broker.wait_for_log(&format!("from {peer} ends"));
}

#[test]
fn an_address_of_ipv6_is_understood_with_brackets_and_printed_so_that_it_can_be_pasted() {
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
    let limited = |files: u64| {
        let mut limited = installed("prlimit", "util-linux");
        limited.arg(format!("--nofile={files}:{files}"));
        limited.arg(program("broker")).args(["--port", "0"]);
        Process::start(&mut limited)
    };
    let refused = |files: u64| {
        let (status, _, err) = limited(files).end();
        assert_eq!(status.code(), Some(1), "{err}");
        let text = "raise the limit of open files (ulimit -n) to ";
        let (_, rest) = err.split_once(text).unwrap_or_else(|| panic!("{err}"));
        let least = rest.split(' ').next().unwrap_or_default();
        least.parse::<u64>().expect("a number")
    };
    let least = refused(40);
    assert_eq!(refused(least - 1), least);
    limited(least).wait_for_complaint("at most 1 connections (the limit of open files");
}
