//! Promises of `operating.md`: sockets that a service manager has opened, passed as systemd passes them.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tests::{Process, TestClient, eventually, installed, program};

/// systemd's own program for it, which opens these and starts the broker at the first connection.
fn activated(listen: &[&str], flags: &[&str]) -> Process {
    let mut command: Command = installed("systemd-socket-activate", "systemd");
    for address in listen {
        command.args(["-l", address]);
    }
    let process = Process::start(command.arg(program("broker")).args(flags));
    process.wait_for_complaint(&format!("as {}.", listen.len() + 2));
    process
}

/// Nothing else of this machine is at these addresses.
const FIRST: &str = "127.0.0.77:13731";
const SECOND: &str = "127.0.0.77:13732";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

#[test]
fn passed_sockets_take_the_place_of_host_and_port_and_the_files_of_others_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("activated.sock");
    let text = path.to_str().expect("text");
    // The default address is not listened on, where another broker may be.
    let mut broker = activated(
        &[FIRST, text],
        &["--open", "--room", &format!("{SECOND}=lobby")],
    );
    let mut ann = TestClient::connect(at(FIRST));
    ann.send("SUBSCRIBE lobby").expect("SUBACK lobby");
    let mut bob = TestClient::connect(at(SECOND));
    bob.send("bob").send("hello");
    eventually("hello is heard", || ann.read_line().contains("hello"));
    assert!(UnixStream::connect(&path).is_ok());
    let log = broker.complaints();
    assert!(log.contains(&format!("listens on {FIRST}\n")), "{log}");
    assert!(log.contains(&format!("also on unix:{text}\n")), "{log}");
    // A reload leaves them as they are.
    broker.signal(Signal::HUP);
    broker.wait_for_complaint("reload: applied, changes: 0");
    TestClient::connect(at(FIRST)).send("PING").expect("PONG");
    broker.signal(Signal::TERM);
    let (status, _, log) = broker.end();
    assert!(status.success(), "{log}");
    assert!(Path::new(&path).exists(), "it is the service manager's");
}

#[test]
fn what_is_passed_at_a_configured_address_is_used_for_it() {
    const ROOM: &str = "127.0.0.78:13731";
    const WIRES: &str = "127.0.0.78:13732";
    let flags = [
        "--host",
        "127.0.0.78",
        "--port",
        "13732",
        "--open",
        "--room",
        &format!("{ROOM}=lobby"),
    ];
    let mut broker = activated(&[ROOM, WIRES], &flags);
    let mut bob = TestClient::connect(at(ROOM));
    bob.send("bob");
    let mut ann = TestClient::connect(at(WIRES));
    ann.send("SUBSCRIBE lobby").expect("SUBACK lobby");
    bob.send("hello");
    eventually("hello is heard", || ann.read_line().contains("hello"));
    broker.signal(Signal::TERM);
    assert!(broker.end().0.success());
}

#[test]
fn what_a_service_manager_keeps_stays_its_own_after_a_restart_by_order() {
    const WIRES: &str = "127.0.0.79:13731";
    let folder = tempfile::tempdir().expect("a folder");
    let [path, configured] = ["activated.sock", "configured.sock"].map(|it| folder.path().join(it));
    let listen = [
        WIRES,
        path.to_str().expect("text"),
        configured.to_str().expect("text"),
    ];
    // With the default host and port, at which nothing is listened on.
    let mut broker = activated(&listen, &["--unix", listen[2]]);
    TestClient::connect(at(WIRES)).send("PING").expect("PONG");
    let restart = || {
        let mut order = installed("curl", "curl");
        order.args(["-s", "-XPOST", "--unix-socket", listen[1]]);
        let answer = order.arg("http://localhost/api/restart").output();
        let answer = answer.expect("curl runs").stdout;
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        i32::try_from(answer["pid"].as_i64().expect("a number")).expect("a number")
    };
    restart();
    // The second gets from the first what that has got.
    let last = restart();
    TestClient::connect(at(WIRES)).send("PING").expect("PONG");
    for path in &listen[1..] {
        assert!(UnixStream::connect(path).is_ok());
    }
    let last = rustix::process::Pid::from_raw(last).expect("a process");
    rustix::process::kill_process(last, Signal::TERM).expect("it runs");
    let (status, _, log) = broker.end();
    assert!(status.success(), "{log}");
    for path in [path, configured] {
        assert!(path.exists(), "it is the service manager's");
    }
}

#[test]
fn a_socket_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("datagrams.sock");
    let mut command: Command = installed("systemd-socket-activate", "systemd");
    command.args(["-d", "-l", path.to_str().expect("text")]);
    let broker = Process::start(command.arg(program("broker")));
    broker.wait_for_complaint("as 3.");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    socket.send_to(b"x", &path).expect("it is there");
    broker.wait_for_complaint("broker: socket 0 of LISTEN_FDS cannot be used");
}
