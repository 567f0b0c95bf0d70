//! Promises of `docs/mqtt.md` on topics with spaces: they can be named by every client, and have one name
//! in JSON.

use std::process::Command;

use tests::mqtt::{Mqtt, MqttClient};
use tests::{Process, TestBroker, client, installed};

const NAME: &str = "living room/a lamp";
const SPELLED: &str = r"living\sroom/a\slamp";
const IN_JSON: &str = r#""topic":"living room/a lamp""#;

/// What a program prints that has to succeed.
#[track_caller]
fn output(command: &mut Command) -> String {
    let (status, out, err) = Process::start(command).end();
    assert!(status.success(), "{command:?}: {err}");
    String::from_utf8(out).expect("text")
}

fn curl(broker: &TestBroker, path: &str) -> Command {
    let mut curl = installed("curl", "curl");
    curl.args(["-sS", "--max-time", "60"]);
    curl.arg(format!("http://{}{path}", broker.address()));
    curl
}

/// `client` with these arguments for this broker, over each of its wires.
fn over_each_wire(broker: &TestBroker, words: &[&str]) -> Vec<Command> {
    let at = broker.address();
    let wires = [
        (format!("{at}"), &[][..]),
        (format!("mqtt://{at}"), &["--mqtt", "3.1.1"][..]),
        (format!("mqtt://{at}"), &["--mqtt", "5"][..]),
    ];
    let commands = wires.into_iter().map(|(server, flags)| {
        let mut command = client(&words[..1]);
        command
            .args(["--server", &server])
            .args(flags)
            .args(&words[1..]);
        command
    });
    commands.collect()
}

#[test]
fn a_topic_with_spaces_is_named_by_every_client() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe(SPELLED);
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V3, "m");
    mqtt.subscribe(NAME, 0);
    for topic in [NAME, SPELLED] {
        for mut publish in over_each_wire(&broker, &["publish", topic, "on"]) {
            output(&mut publish);
            line.expect(format!("MESSAGE {SPELLED} on"));
            mqtt.expect_message(0, NAME, "on");
        }
    }
    for path in [
        "/topics/living%20room/a%20lamp",
        "/topics/living%5Csroom/a%5Cslamp",
    ] {
        let receipt = output(curl(&broker, path).args(["-d", "off"]));
        assert_eq!(receipt, format!("{{{IN_JSON},\"copies\":2}}\n"));
        line.expect(format!("MESSAGE {SPELLED} off"));
        mqtt.expect_message(0, NAME, "off");
    }
}

#[test]
fn a_topic_with_spaces_has_one_name_in_json_on_every_wire() {
    let broker = TestBroker::start();
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V3, "m");
    mqtt.publish_as(0x31, NAME, 0, b"on");
    for filter in [NAME, SPELLED, "living room/+"] {
        let words = ["subscribe", "-o", "json", "--count", "1", filter];
        for mut subscribe in over_each_wire(&broker, &words) {
            let out = output(&mut subscribe);
            assert!(out.contains(IN_JSON), "{subscribe:?}: {out}");
        }
    }
    mqtt.publish_as(0x31, "living room/z", 0, b"off");
    let words = [
        "subscribe",
        "-o",
        "json",
        "-T",
        NAME,
        "--count",
        "1",
        "living room/#",
    ];
    for mut subscribe in over_each_wire(&broker, &words) {
        let out = output(&mut subscribe);
        assert!(out.starts_with(r#"{"topic":"living room/z""#), "{out}");
    }
    let mut list = client(&["retained", "ls", "--json", "living room/+"]);
    let out = output(list.args(["--server", &broker.address().to_string()]));
    assert!(out.contains(IN_JSON), "{out}");
    let mut clear = client(&["retained", "rm", "--yes", "living room/z"]);
    output(clear.args(["--server", &broker.address().to_string()]));
    for path in [
        "/topics/living%20room/*?format=json&count=1",
        "/topics/living%20room/a%20lamp?count=1",
        "/api/retained?filter=living%20room/%23",
        "/api/why?topic=living%20room/a%20lamp",
    ] {
        let answer = output(&mut curl(&broker, path));
        assert!(answer.contains(IN_JSON), "{path}: {answer}");
    }
}
