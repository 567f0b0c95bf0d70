//! Promises of `client.md`: an operator gives orders to a running broker with the client.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tests::{Process, TestBroker, client};

/// A broker with a socket and a configuration file.
struct Operated {
    broker: TestBroker,
    folder: TempDir,
}

/// What became of a command.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Operated {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name| folder.path().join(name).display().to_string();
        fs::write(path("broker.toml"), config).expect("room");
        let (socket, file) = (path("broker.sock"), path("broker.toml"));
        let broker = TestBroker::with_args(&["--unix", &socket, "--config", &file]);
        Self { broker, folder }
    }

    fn configure(&self, config: &str) {
        fs::write(self.folder.path().join("broker.toml"), config).expect("room");
    }

    /// Runs the client over the socket.
    fn client(&self, arguments: &str) -> Ended {
        let mut words = arguments.split(' ');
        let mut client = client(&[words.next().expect("a command")]);
        let socket = self.folder.path().join("broker.sock");
        client.args(words);
        client.args(["-s", &format!("unix:{}", socket.display())]);
        ended(&mut client)
    }
}

fn ended(command: &mut Command) -> Ended {
    let (status, out, err) = Process::start(command).end();
    Ended {
        code: status.code(),
        out: String::from_utf8(out).expect("text"),
        err,
    }
}

impl Ended {
    #[track_caller]
    fn expect(&self, code: i32, out: &str, err: &str) {
        let Self {
            code: own_code,
            out: own_out,
            err: own_err,
        } = self;
        assert_eq!((*own_code, &**own_out), (Some(code), out), "{own_err}");
        assert!(own_err.contains(err), "{err:?} in {own_err}");
    }
}

#[test]
fn a_reload_is_shown_then_made_then_there_is_nothing_to_do() {
    let at = Operated::start("max-subscriptions = 1\n");
    let mut ann = at.broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    at.configure("max-subscriptions = 2\n");
    let dry = at.client("reload --dry");
    assert!(
        dry.out.starts_with("max-subscriptions: 1 -> 2 ("),
        "{}",
        dry.out
    );
    dry.expect(
        0,
        &dry.out,
        "client: 1 change, none of them made; leave out --dry",
    );
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    at.client("reload")
        .expect(0, &dry.out, "client: 1 change in force\n");
    ann.send("SUBSCRIBE b").expect("SUBACK b");
    at.client("reload")
        .expect(0, "", "client: the configuration is the one in force\n");
}

#[test]
fn a_reload_with_mistakes_names_their_places_and_fails() {
    let at = Operated::start("");
    at.configure("max-lin = \"1MiB\"\nping-interval = \"soon\"\n");
    for command in ["reload", "reload --dry"] {
        let ended = at.client(command);
        ended.expect(1, "", "client: nothing was changed, because of 2 errors");
        let lines: Vec<_> = ended.err.lines().collect();
        assert!(lines[0].contains("broker.toml:1:"), "{}", ended.err);
        assert!(lines[1].contains("broker.toml:2:"), "{}", ended.err);
        let told = at.client(&format!("{command} --json"));
        assert!(told.out.starts_with(r#"{"applied":false,"#), "{}", told.out);
    }
}

#[test]
fn clients_are_kicked_by_name_or_number() {
    let at = Operated::start("");
    let mut both = [at.broker.connect(), at.broker.connect()];
    for client in &mut both {
        client.send("NAME ann").expect("NAMEACK ann");
    }
    let ended = at.client("kick ann");
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 2));
    let is_told = |line: &str| line.starts_with("closed #") && line.contains(" ann (127.0.0.1:");
    assert!(ended.out.lines().all(is_told), "{}", ended.out);
    for client in &mut both {
        client.read_until("BYE");
    }
    let mut bob = at.broker.connect();
    bob.send("SUBSCRIBE a").expect("SUBACK a");
    let who = at.client("who a --json").out;
    let (_, number) = who.split_once("\"id\":").expect("a number");
    let number = number.split(',').next().expect("digits").to_owned();
    let ended = at.client(&format!("kick #{number}"));
    assert!(
        ended
            .out
            .starts_with(&format!("closed #{number} - (127.0.0.1:")),
        "{}",
        ended.out
    );
    bob.read_until("BYE");
    for unknown in ["ann", "#999"] {
        let ended = at.client(&format!("kick {unknown}"));
        ended.expect(1, "", "(not-done publish:1)\n");
    }
}

#[test]
fn a_session_ends_with_what_waits_in_it() {
    let at = Operated::start("");
    let subscribe = at.client("subscribe jobs --mqtt 5 -i meter-7 -x 1h -W 100ms");
    assert_eq!(subscribe.code, Some(124), "{}", subscribe.err);
    at.client("publish jobs one");
    assert!(at.client("sessions").out.contains("meter-7"));
    let ended = at.client("sessions rm meter-7");
    ended.expect(0, "ended the session meter-7; dropped 1 message\n", "");
    assert!(!at.client("sessions").out.contains("meter-7"));
    at.client("sessions rm meter-7")
        .expect(1, "", "(not-done publish:1)\n");
}

#[test]
fn a_broker_that_drains_ends_once_its_clients_have_left() {
    let at = Operated::start("");
    let mut ann = at.broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    let ended = at.client("drain 60");
    let said = "draining: 2 connections may take 1m to leave, then the broker ends\n";
    ended.expect(0, said, "");
    drop(ann);
    at.broker.wait_for_log("stopped; ");
    assert_eq!(at.broker.stop().code, Some(0));
}

#[test]
fn a_restart_tells_which_process_serves_and_why_there_is_none() {
    let at = Operated::start("");
    at.configure("max-lin = 1\n");
    at.client("restart").expect(1, "", "(not-done publish:1)\n");
    at.configure("");
    let ended = at.client("restart");
    let number = ended.out.strip_prefix("process ");
    let number = number.and_then(|rest| rest.strip_suffix(" serves now\n"));
    assert!(
        number.is_some_and(|it| it.parse::<u32>().is_ok()),
        "{}",
        ended.out
    );
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    at.broker.wait_for_log("stopped; ");
    assert_eq!(at.client("publish news hello").code, Some(0));
    // What it says goes where the first process wrote to.
    assert_eq!(at.client("drain 0").code, Some(0));
    assert_eq!(at.broker.stop().code, Some(0));
}

#[test]
fn over_tcp_no_order_is_taken() {
    let broker = TestBroker::start();
    let address = broker.address().to_string();
    for order in [
        &["reload"][..],
        &["drain"],
        &["restart"],
        &["kick", "ann"],
        &["sessions", "rm", "meter-7"],
    ] {
        let ended = ended(client(order).args(["-s", &address]));
        ended.expect(4, "", "over a Unix socket");
    }
}
