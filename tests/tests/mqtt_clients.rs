//! Clients of MQTT that others wrote: what they do every day works here.

use std::process::Command;

use tests::{Process, TestBroker, client_of, foreign};

/// A Python script with paho-mqtt, which is given host and port.
fn python(broker: &TestBroker, script: &str) -> Command {
    let (host, port) = place(broker);
    foreign::python(script, &[&host, &port])
}

/// A script for node with MQTT.js, which is given host and port.
fn node(broker: &TestBroker, script: &str) -> Command {
    let (host, port) = place(broker);
    foreign::node(script, &[&host, &port])
}

fn place(broker: &TestBroker) -> (String, String) {
    let address = broker.address();
    (address.ip().to_string(), address.port().to_string())
}

fn mosquitto(broker: &TestBroker, name: &str, args: &[&str]) -> Command {
    let mut command = foreign::mosquitto(name, broker.address());
    command.args(args);
    command
}

/// The chat of a tutorial: what is typed goes to the room as JSON, what others say is printed. The keys of
/// the nick and the text are given; tutorials differ in them.
const CHAT: &str = r#"
import json, sys
import paho.mqtt.client as mqtt
room = "chatroom"
nick, text = sys.argv[3:]
def on_message(client, userdata, message):
    said = json.loads(message.payload)
    if nick in said:
        print(f"{said[nick]}: {said[text]}")
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_message = on_message
client.on_connect = lambda *args: client.subscribe(room)
client.on_subscribe = lambda *args: print("ready")
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_start()
for line in sys.stdin:
    client.publish(room, json.dumps({nick: "paho", text: line.strip()}))
client.disconnect()
"#;

#[test]
fn the_chats_of_tutorials_meet_our_own_in_one_room() {
    let broker = TestBroker::start();
    let (host, port) = place(&broker);
    let chats = [["nick", "message"], ["user", "say"]];
    let mut pahos = chats.map(|[nick, text]| {
        let args = [&host, &port, nick, text];
        Process::start(&mut foreign::python(CHAT, &args))
    });
    for paho in &mut pahos {
        paho.expect("ready");
    }
    let mut chat = client_of(&broker, "chat", &["chatroom", "--nick", "ann", "--plain"]);
    let mut chat = Process::start(&mut chat);
    while !chat.next_line().starts_with("* you are ann") {}
    chat.write("hello from a terminal\n");
    for paho in &mut pahos {
        paho.expect("ann: hello from a terminal");
    }
    for paho in &mut pahos {
        paho.write("hello from a script\n");
        paho.expect("paho: hello from a script");
        while chat.next_line() != "paho: hello from a script" {}
    }
    let mut line = broker.connect();
    line.send(r#"PUBLISH chatroom {"nick":"nc","message":"and from netcat"}"#);
    pahos[0].expect("nc: and from netcat");
    while chat.next_line() != "nc: and from netcat" {}
}

/// Another tutorial: a login, a port of its own, plain text.
const LOGIN: &str = r#"
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.username_pw_set("admin", "password")
client.on_message = lambda client, userdata, message: print(message.payload.decode())
client.on_connect = lambda client, userdata, flags, code, properties: client.subscribe("chat", qos=2)
client.on_subscribe = lambda *args: client.publish("chat", "here I am", qos=2)
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
"#;

#[test]
fn a_login_is_taken_on_a_port_of_its_own() {
    // The port that the tutorial names may be taken here; any other is as good.
    let broker = TestBroker::with_args(&["--listen", "127.0.0.1:0"]);
    let other = broker.other_addresses()[0];
    let mut script = foreign::python(LOGIN, &["127.0.0.1", &other.port().to_string()]);
    let mut paho = Process::start(&mut script);
    paho.expect("here I am");
    broker.wait_for_log(
        "comes with a user name or a password, which this broker checks only if it knows users",
    );
    let mut line = broker.connect();
    line.send("PUBLISH chat hello").expect("PUBACK 1 1");
    paho.expect("hello");
}

/// Everything that paho-mqtt does with a message of MQTT 5.
const PAHO_5: &str = r#"
import sys, threading
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
done = threading.Event()
def on_message(client, userdata, message):
    p = message.properties
    print(message.topic, message.payload.decode(), message.qos, message.retain, p.ContentType,
          p.ResponseTopic, p.CorrelationData.decode(), p.MessageExpiryInterval, p.UserProperty,
          p.SubscriptionIdentifier)
    done.set()
def on_connect(client, userdata, flags, code, properties):
    options = SubscribeOptions(qos=2, retainAsPublished=True)
    wishes = Properties(PacketTypes.SUBSCRIBE)
    wishes.SubscriptionIdentifier = 77
    client.subscribe("a/+", options=options, properties=wishes)
def on_subscribe(client, userdata, mid, codes, properties):
    p = Properties(PacketTypes.PUBLISH)
    p.ContentType, p.ResponseTopic, p.CorrelationData = "text/plain", "an swer", b"7"
    p.MessageExpiryInterval = 60
    p.UserProperty = [("Key One", "1"), ("two", "2")]
    client.publish("a/b c", "hello", qos=2, retain=True, properties=p)
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "five", protocol=mqtt.MQTTv5)
client.on_message, client.on_connect, client.on_subscribe = on_message, on_connect, on_subscribe
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_start()
done.wait(9)
client.disconnect()
"#;

#[test]
fn paho_gets_back_every_property_it_sent() {
    let broker = TestBroker::start();
    let mut paho = Process::start(&mut python(&broker, PAHO_5));
    paho.expect("a/b c hello 2 True text/plain an swer 7 60 [('Key One', '1'), ('two', '2')] [77]");
}

const MQTT_JS: &str = r#"
const mqtt = require("mqtt");
const [host, port] = process.argv.slice(-2);
for (const protocolVersion of [4, 5]) {
  const client = mqtt.connect({ host, port: Number(port), protocolVersion });
  client.on("connect", () => client.subscribe("js/#", { qos: 2 }, () =>
    client.publish(`js/${protocolVersion}`, "hello", { qos: 2 }, () => {})));
  client.on("message", (topic, payload) => {
    if (topic !== `js/${protocolVersion}`) return;
    console.log(topic, payload.toString());
    client.end();
  });
}
"#;

#[test]
fn mqtt_js_speaks_both_versions() {
    let broker = TestBroker::start();
    let rest = Process::start(&mut node(&broker, MQTT_JS)).rest();
    let mut lines: Vec<&str> = rest.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["js/4 hello", "js/5 hello"]);
}

#[test]
fn mosquitto_s_own_clients_do_all_they_can() {
    let broker = TestBroker::start();
    for version in ["311", "5"] {
        for qos in ["0", "1", "2"] {
            let args = ["-V", version, "-q", qos, "-t", "a/#", "-C", "2", "-v", "-d"];
            let mut subscriber = Process::start(&mut mosquitto(&broker, "mosquitto_sub", &args));
            while !subscriber.next_line().contains("received SUBACK") {}
            for text in ["one", "two"] {
                let args = ["-V", version, "-q", qos, "-t", "a/b", "-m", text];
                let sent = mosquitto(&broker, "mosquitto_pub", &args).status();
                assert!(sent.expect("it runs").success());
            }
            let rest = subscriber.rest();
            for text in ["a/b one", "a/b two"] {
                assert!(
                    rest.lines().any(|line| line == text),
                    "{version} {qos}: {rest}"
                );
            }
        }
    }
}

#[test]
fn mosquitto_rr_asks_and_a_line_answers() {
    let broker = TestBroker::start();
    let mut line = broker.connect();
    line.send("SUBSCRIBE time").expect("SUBACK time");
    let args = [
        "-V",
        "5",
        "-t",
        "time",
        "-e",
        "answers/1",
        "-m",
        "what time is it?",
    ];
    let mut asker = Process::start(&mut mosquitto(&broker, "mosquitto_rr", &args));
    let question = line.read_line();
    assert!(question.starts_with("@reply=answers/1"), "{question}");
    assert!(
        question.ends_with(" MESSAGE time what time is it?"),
        "{question}"
    );
    line.send("PUBLISH answers/1 noon").expect("PUBACK 1 1");
    asker.expect("noon");
}
