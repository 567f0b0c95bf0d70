//! The terminal client through a WebSocket, as behind a proxy that lets only the web through.

use std::process::Command;

use tests::{Process, TestBroker, client};

fn through_web(broker: &TestBroker, command: &str, args: &[&str]) -> Command {
    let server = format!("ws://{}", broker.address());
    let mut client = client(&[command]);
    client.args(["--server", &server]).args(args);
    client
}

#[test]
fn it_publishes_subscribes_and_asks() {
    let broker = TestBroker::start();
    let mut listener = Process::start(&mut through_web(&broker, "subscribe", &["news/#"]));
    listener.wait_for_complaint("subscribing on");
    let mut publish = Process::start(&mut through_web(&broker, "publish", &["news/a", "hello"]));
    let (status, _, err) = publish.end();
    assert!(status.success(), "{err}");
    listener.expect("news/a: hello");
    let mut ann = broker.connect();
    ann.send("PUBLISH news/b \\xff there").expect("PUBACK 1 1");
    assert!(listener.next_line().starts_with("news/b: "));
    let mut who = Process::start(&mut through_web(&broker, "who", &[]));
    let (status, out, err) = who.end();
    assert!(status.success(), "{err}");
    assert!(String::from_utf8_lossy(&out).contains(" peer "));
}

#[test]
fn it_speaks_mqtt_there_as_well() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    let long = "x".repeat(2_000_000);
    for (path, version) in [
        ("", "5"),
        ("/ws", "3.1.1"),
        ("/mqtt", "5"),
        ("/mqtt", "3.1.1"),
    ] {
        let server = format!("ws://{}{path}", broker.address());
        let through = |command: &str, args: &[&str]| {
            let mut client = client(&[command, "--server", &server, "--mqtt", version]);
            Process::start(client.args(args))
        };
        let mut listener = through("subscribe", &["-q", "2", "news", "many", "-C", "5002"]);
        listener.wait_for_complaint("subscribing on");
        let (status, _, err) = through("publish", &["-q", "2", "news", "hello"]).end();
        assert!(status.success(), "{err}");
        ann.expect("MESSAGE news hello");
        listener.expect("news: hello");
        let mut publish = through("publish", &["-q", "1", "news"]);
        publish.write(&long).end_input();
        assert!(publish.end().0.success());
        assert_eq!(listener.next_line().len(), "news: ".len() + long.len());
        assert_eq!(ann.read_line().len(), "MESSAGE news ".len() + long.len());
        let mut many = through("publish", &["-q", "0", "--lines", "many"]);
        let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
        many.write(&lines).end_input();
        assert!(many.end().0.success());
        let came: String = (0..5000).map(|n| format!("many: {n}\n")).collect();
        assert_eq!(listener.rest(), came);
        let (status, _, err) = through("ping", &["-C", "2"]).end();
        assert!(status.success(), "{err}");
    }
}

#[test]
fn long_messages_and_many_of_them_go_both_ways() {
    let broker = TestBroker::start();
    let args = ["big", "many", "--count", "5001"];
    let mut listener = Process::start(&mut through_web(&broker, "subscribe", &args));
    listener.wait_for_complaint("subscribing on");
    let mut long = Process::start(&mut through_web(&broker, "publish", &["big"]));
    long.write("x".repeat(2_000_000)).end_input();
    assert!(long.end().0.success());
    let mut many = Process::start(&mut through_web(&broker, "publish", &["--lines", "many"]));
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    many.write(lines).end_input();
    assert!(many.end().0.success());
    let out = listener.rest();
    assert_eq!(
        out.len(),
        "big: \n".len()
            + 2_000_000
            + (0..5000)
                .map(|n| format!("many: {n}\n").len())
                .sum::<usize>()
    );
    assert!(out.ends_with("many: 4998\nmany: 4999\n"));
}

#[test]
fn what_is_no_websocket_is_said() {
    let broker = TestBroker::start();
    let server = format!("ws://{}/elsewhere", broker.address());
    let mut lost = Process::start(client(&["ping", "--server"]).arg(server));
    let (status, _, err) = lost.end();
    assert_eq!(status.code(), Some(3));
    assert!(err.contains("404"), "{err}");
}
