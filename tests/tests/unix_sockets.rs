//! Promises of `operating.md`: Unix sockets, with all protocols and permissions of files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use tests::{Process, TestBroker, foreign, installed};

fn broker_at(path: &Path) -> TestBroker {
    TestBroker::with_args(&["--unix", path.to_str().expect("text")])
}

fn netcat(path: &Path) -> Process {
    let mut command = installed("nc", "netcat-openbsd");
    Process::start(command.args(["-N", "-U"]).arg(path))
}

/// The name of the user that runs the tests, as the system knows it.
fn user() -> String {
    let out = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(out.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho", transport="unix", protocol=mqtt.MQTTv5)
client.on_message = lambda client, data, message: print(message.payload.decode(), flush=True)
client.on_subscribe = lambda *rest: print("subscribed", flush=True)
client.connect(sys.argv[1])
client.subscribe("news", qos=1)
client.loop_forever()
"#;

#[test]
fn all_protocols_meet_on_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broker.sock");
    let broker = broker_at(&path);
    broker.wait_for_log(&format!("listening on unix:{}", path.display()));
    let socket = path.to_str().expect("text");
    let mut lines = netcat(&path);
    lines.write("SUBSCRIBE news\n").expect("SUBACK news");
    let mut mqtt = Process::start(&mut foreign::python(PAHO, &[socket]));
    mqtt.expect("subscribed");
    let mut events = installed("curl", "curl");
    events.args([
        "-sN",
        "--unix-socket",
        socket,
        "http://localhost/topics/news",
    ]);
    let mut events = Process::start(&mut events);
    let peers = || {
        let answer = curl(socket, &["http://localhost/api/clients"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let rows = answer["connections"].as_array().expect("rows").clone();
        rows.into_iter()
            .map(|row| row["peer"].clone())
            .collect::<Vec<_>>()
    };
    let own = format!("unix:{}", user());
    tests::eventually("all are connected", || {
        peers().iter().filter(|peer| **peer == *own).count() == 4
    });
    // The first event says that the subscription has begun.
    tests::eventually("the stream is subscribed", || {
        curl(socket, &["http://localhost/api/filters"]).contains("\"subscribers\":3")
    });
    // Over TCP, into the same topic.
    broker
        .connect()
        .send("PUBLISH news hello")
        .expect_prefix("PUBACK");
    lines.expect("MESSAGE news hello");
    mqtt.expect("hello");
    events.wait_for_line("hello");
    let answer = curl(socket, &["http://localhost/topics/news", "-d", "again"]);
    assert!(answer.contains('3'), "{answer}");
    lines.expect("MESSAGE news again");
    mqtt.expect("again");
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.log.contains(&format!("from {own} ends after")),
        "{}",
        ended.log
    );
    assert!(!path.exists(), "the file is removed");
}

fn curl(socket: &str, args: &[&str]) -> String {
    let mut command = installed("curl", "curl");
    command.args(["-s", "--unix-socket", socket]).args(args);
    let out = command.output().expect("curl runs");
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn the_file_of_a_killed_broker_is_replaced_and_that_of_a_running_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broker.sock");
    drop(UnixListener::bind(&path).expect("the path is free"));
    let broker = broker_at(&path);
    let file = fs::metadata(&path).expect("it is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    netcat(&path).write("PING x\n").expect("PONG x");
    let socket = path.to_str().expect("text");
    let refused = TestBroker::command(&["--unix", socket]).output();
    let refused = refused.expect("the broker runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains(&format!("unix:{socket} is taken; stop")),
        "{said}"
    );
    // It has not taken the place of the first.
    netcat(&path).write("PING x\n").expect("PONG x");
    drop(broker);
}

#[test]
fn what_cannot_be_a_socket_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.txt");
    fs::write(&file, "text").expect("a file");
    let long = folder.path().join("x".repeat(120));
    let nowhere = folder.path().join("missing/broker.sock");
    for (path, said) in [
        (&file, "a file that is no socket is there"),
        (&long, "too long"),
        (&nowhere, "the folder of unix:"),
    ] {
        let path = path.to_str().expect("text");
        let out = TestBroker::command(&["--unix", path]).output();
        let out = out.expect("the broker runs");
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{log}");
        assert!(log.contains(said), "{log}");
    }
    assert_eq!(fs::read(&file).expect("it stays"), b"text");
    for (flag, value, said) in [
        ("--unix-mode", "999", "from 000 to 777"),
        (
            "--unix-owner",
            "no-such-user",
            "there is no user \"no-such-user\"",
        ),
        (
            "--unix-owner",
            ":no-such-group",
            "there is no group \"no-such-group\"",
        ),
    ] {
        let out = TestBroker::command(&[flag, value]).output();
        let out = out.expect("the broker runs");
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{log}");
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn a_service_has_a_socket_in_its_folder_with_the_permissions_that_are_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broker.sock");
    let start = |flags: &[&str]| {
        let mut command = TestBroker::command(flags);
        Process::start(command.env("RUNTIME_DIRECTORY", folder.path()))
    };
    let broker = start(&["--unix-mode", "600"]);
    broker.wait_for_complaint("listening on unix:");
    let file = fs::metadata(&path).expect("it is there");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    drop(broker);
    fs::remove_file(&path).expect("the killed broker leaves it");
    let other = folder.path().join("other.sock");
    let broker = start(&["--unix", other.to_str().expect("text")]);
    broker.wait_for_complaint("listening on unix:");
    assert!(other.exists() && !path.exists());
}
