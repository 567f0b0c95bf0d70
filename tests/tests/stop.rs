//! Promises about the end of the broker: an unasked BYE behind everything that waits, and exit
//! code 0; and about its beginning where it cannot begin.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use tests::{Process, TestBroker, TestClient};

#[test]
fn a_broker_that_is_asked_to_stop_says_bye_to_all_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let broker = TestBroker::start();
        let mut clients: Vec<_> = (0..20).map(|_| broker.connect()).collect();
        for client in &mut clients {
            client.send("SUBSCRIBE news").expect("SUBACK news");
        }
        let mut mid_line = broker.connect();
        mid_line.write("PING\nPUBLISH news ha").expect("PONG");
        let ended = broker.stop_by(signal);
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.took < Duration::from_secs(4), "took {:?}", ended.took);
        for client in clients.iter_mut().chain([&mut mid_line]) {
            client.expect("BYE").expect_end();
        }
    }
}

#[test]
fn a_terminal_that_is_closed_does_not_stop_it() {
    let broker = TestBroker::start();
    let mut ann = broker.subscribe("news");
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload: applied, changes: 0");
    broker
        .connect()
        .send("PUBLISH news hi")
        .expect("PUBACK 1 1");
    ann.expect("MESSAGE news hi");
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_broker_without_clients_stops_as_well() {
    let broker = TestBroker::start();
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.took < Duration::from_secs(4), "took {:?}", ended.took);
}

#[test]
fn everything_that_waits_is_sent_before_the_bye() {
    let broker = TestBroker::start();
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    let mut bob = broker.connect();
    slow.send("SUBSCRIBE news").expect("SUBACK news");
    // More than the kernel keeps for a client that does not read.
    let payload = "x".repeat(10_000);
    bob.write(format!("PUBLISH news {payload}\n").repeat(2000));
    bob.read_until_prefix("PUBACK 2000 ");
    broker.signal(Signal::TERM);
    bob.expect("BYE").expect_end();
    for _ in 0..2000 {
        slow.expect(format!("MESSAGE news {payload}"));
    }
    slow.expect("BYE").expect_end();
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_client_that_does_not_read_delays_the_end_for_five_seconds_at_most() {
    let broker = TestBroker::start();
    let mut slow = TestClient::connect_with_small_buffer(broker.address());
    let (mut bob, mut ann) = (broker.connect(), broker.connect());
    slow.send("SUBSCRIBE news").expect("SUBACK news");
    bob.write(format!("PUBLISH news {}\n", "x".repeat(10_000)).repeat(2000));
    bob.read_until_prefix("PUBACK 2000 ");
    ann.send("PING").expect("PONG");
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.took < Duration::from_secs(8), "took {:?}", ended.took);
    ann.expect("BYE").expect_end();
    bob.expect("BYE").expect_end();
}

#[test]
fn a_broker_that_has_stopped_takes_no_connections_and_leaves_its_port() {
    let broker = TestBroker::start();
    let (address, mut ann) = (broker.address(), broker.connect());
    ann.send("PING").expect("PONG");
    broker.stop();
    assert!(TcpStream::connect(address).is_err());
    // Ann's end of the old connection still exists, and does not keep the port.
    let again = TestBroker::with_args(&["--port", &address.port().to_string()]);
    again.connect().send("PING").expect("PONG");
    ann.expect("BYE").expect_end();
}

#[test]
fn a_port_that_is_taken_is_told_in_one_line() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let mut second = Process::start(&mut TestBroker::command(&["--port", &port]));
    let (status, out, err) = second.end();
    assert_eq!(status.code(), Some(1), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains(&port), "it names the port: {err}");
    assert!(out.is_empty());
    broker.connect().send("PING").expect("PONG");
}

#[test]
fn two_brokers_run_side_by_side() {
    let (one, two) = (TestBroker::start(), TestBroker::start());
    let (mut ann, mut bob) = (one.connect(), two.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.send("PUBLISH news hi").expect("PUBACK 1 0");
    assert_eq!(one.stop().code, Some(0));
    ann.expect("BYE").expect_end();
    bob.send("PUBLISH news hi").expect("PUBACK 2 0");
}

#[test]
fn the_first_line_says_where_it_listens_and_the_next_how_to_talk_to_it() {
    let broker = TestBroker::start();
    broker.connect().send("PING").expect("PONG");
    let log = broker.log();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "dallal {} listens on {}",
            env!("CARGO_PKG_VERSION"),
            broker.address()
        )
    );
    let port = broker.address().port().to_string();
    assert!(lines[1].contains("nc") && lines[1].contains(&port), "{log}");
    assert!(lines[2].contains("client"), "{log}");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for args in [
        &["--max-line", "1000", "--outbox-bytes", "999"][..],
        &["--ping-interval", "soon"],
        &["--max-connections", "many"],
        &["--max-connections", "0"],
        &["--no-such-flag"],
    ] {
        let (status, _, err) = Process::start(&mut TestBroker::command(args)).end();
        assert!(
            !status.success() && status.code().is_some(),
            "{args:?}: {status}"
        );
        assert!(
            err.contains(args[args.len().saturating_sub(2)]),
            "it names {args:?}: {err}"
        );
    }
}
