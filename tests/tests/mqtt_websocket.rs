//! Promises of `docs/web.md` on MQTT over WebSocket, by the numbers of the standard and with clients
//! that others wrote.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use tests::frames::{FrameClient, masked};
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet, text, user_property};
use tests::{Browser, Process, TestBroker, foreign};

/// A client of MQTT in a WebSocket.
struct Tunnel {
    frames: FrameClient,
    version: Mqtt,
    /// Of frames that have come, what has not been taken.
    came: Vec<u8>,
}

impl Tunnel {
    #[track_caller]
    fn dial(broker: &TestBroker, version: Mqtt) -> Self {
        Self {
            frames: FrameClient::open(broker.address(), "/mqtt", Some("mqtt")),
            version,
            came: Vec::new(),
        }
    }

    /// Whether its session was there before.
    #[track_caller]
    fn enter(broker: &TestBroker, version: Mqtt, hello: &Hello) -> (Self, bool) {
        let mut client = Self::dial(broker, version);
        client.send(&hello.encode(version));
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        (client, connack[2] == 1)
    }

    #[track_caller]
    fn connect(broker: &TestBroker, version: Mqtt, id: &str) -> Self {
        Self::enter(broker, version, &Hello::new(id)).0
    }

    /// Sends packets as one message.
    fn send(&mut self, packets: &[u8]) -> &mut Self {
        self.frames.send_frame(0x82, packets);
        self
    }

    /// The next packet. Whatever comes has to be binary [MQTT-6.0.0-1].
    #[track_caller]
    fn packet(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = whole(&self.came) {
                let rest = self.came.split_off(len);
                return std::mem::replace(&mut self.came, rest);
            }
            let (first, payload) = self.frames.next_frame();
            assert_eq!(first, 0x82, "{payload:02x?}");
            self.came.extend(payload);
        }
    }

    #[track_caller]
    fn expect(&mut self, packet: &[u8]) -> &mut Self {
        let came = self.packet();
        assert!(came == packet, "expected {packet:02x?}, came {came:02x?}");
        self
    }

    #[track_caller]
    fn subscribe(&mut self, filter: &str, qos: u8) -> &mut Self {
        let packet = subscribe(self.version, filter, qos);
        self.send(&packet);
        let suback = self.packet();
        assert_eq!((suback[0], suback.last()), (0x90, Some(&qos)));
        self
    }

    /// Sends a PUBLISH: first byte, topic, packet identifier, payload.
    fn publish(&mut self, first: u8, topic: &str, id: u16, payload: &[u8]) -> &mut Self {
        let packet = publish(self.version, first, topic, id, payload);
        self.send(&packet)
    }

    /// The next packet, which has to be this PUBLISH.
    #[track_caller]
    fn expect_message(&mut self, first: u8, topic: &str, id: u16, payload: &[u8]) -> &mut Self {
        let packet = publish(self.version, first, topic, id, payload);
        self.expect(&packet)
    }
}

/// How long the first packet is, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for at in 1..5 {
        let byte = bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let end = at + 1 + len;
            return (bytes.len() >= end).then_some(end);
        }
    }
    panic!("no length: {:02x?}", &bytes[..5]);
}

fn subscribe(version: Mqtt, filter: &str, qos: u8) -> Vec<u8> {
    let properties: &[u8] = if version == Mqtt::V5 { &[0] } else { &[] };
    packet(0x82, &[&[0, 9], properties, &text(filter), &[qos]].concat())
}

fn publish(version: Mqtt, first: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if first & 0x06 != 0 {
        body.extend(id.to_be_bytes());
    }
    if version == Mqtt::V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(first, &body)
}

const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

#[test]
fn the_subprotocol_says_that_it_is_mqtt() {
    let broker = TestBroker::start();
    let mut inside = Vec::new();
    // [MQTT-6.0.0-3], [MQTT-6.0.0-4].
    for (path, offered, chosen) in [
        ("/ws", Some("mqtt"), Ok(Some("mqtt"))),
        ("/mqtt", Some("mqtt"), Ok(Some("mqtt"))),
        ("/mqtt", Some("mqttv3.1"), Ok(Some("mqttv3.1"))),
        ("/ws", Some("mqttv3.1, mqtt"), Ok(Some("mqtt"))),
        ("/mqtt", Some("line, mqtt"), Ok(Some("mqtt"))),
        ("/ws", None, Ok(None)),
        ("/mqtt", None, Err("the subprotocol here is mqtt")),
        ("/mqtt", Some("line"), Err("the line protocol is at /ws")),
        ("/ws", Some("mqttv5"), Err("line, mqtt or mqttv3.1")),
        ("/", Some("mqtt"), Ok(Some("mqtt"))),
        ("/", Some("mqttv3.1"), Ok(Some("mqttv3.1"))),
        ("/mqtt/", Some("mqtt"), Ok(Some("mqtt"))),
        ("/ws/", Some("mqtt"), Ok(Some("mqtt"))),
        ("/ws/", None, Ok(None)),
        (
            "/",
            None,
            Err("the subprotocol here is mqtt, mqttv3.1 or line"),
        ),
        (
            "/",
            Some("soap"),
            Err("the subprotocol here is mqtt, mqttv3.1 or line"),
        ),
        ("/mqtt/", None, Err("the subprotocol here is mqtt")),
        ("/ws/", Some("MQTT"), Err("line, mqtt or mqttv3.1")),
    ] {
        let opened = FrameClient::try_open(broker.address(), path, offered);
        match (opened, chosen) {
            (Ok((mut client, name)), Ok(expected)) => {
                assert_eq!(name.as_deref(), expected, "{path} {offered:?}");
                match expected {
                    Some(_) => client
                        .send_frame(0x82, &Hello::new("").encode(Mqtt::V3))
                        .expect(0x82, [0x20, 2, 0, 0]),
                    None => client.send_frame(0x81, b"PING").expect(0x81, "PONG\n"),
                };
                inside.push(client);
            }
            (Err(answer), Err(why)) => {
                assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
                // An operator sees what the page of a browser is not told.
                broker.wait_for_log(why);
            }
            (opened, _) => panic!("{path} {offered:?}: {:?}", opened.map(|(_, name)| name)),
        }
    }
    let mut who = broker.connect();
    let mut five = Tunnel::connect(&broker, Mqtt::V5, "five");
    who.send("SUBSCRIBE answer").expect("SUBACK answer");
    who.send("@reply=answer PUBLISH $SYS/request/who");
    let answer = who.read_until_prefix("MESSAGE answer ");
    for wire in ["mqtt 3.1.1+ws", "mqtt 5.0+ws", "websocket", "line"] {
        assert!(answer.contains(&format!("\"wire\":\"{wire}\"")), "{answer}");
    }
    five.send(&PINGREQ).expect(&PINGRESP);
}

#[test]
fn packets_are_cut_into_frames_in_any_way() {
    // [MQTT-6.0.0-2].
    let broker = TestBroker::start();
    for version in BOTH {
        let payload = vec![b'x'; 70_000];
        let said = [
            Hello::new("cut").encode(version),
            subscribe(version, "a", 1),
            publish(version, 0x32, "a", 7, &payload),
            PINGREQ.to_vec(),
        ]
        .concat();
        let middle = said.len() / 2;
        let in_one = masked(0x82, &said);
        let in_two = [masked(0x82, &said[..middle]), masked(0x82, &said[middle..])].concat();
        let in_fragments = [
            masked(0x02, &said[..1]),
            masked(0x89, b"a ping between"),
            masked(0x00, &said[1..middle]),
            masked(0x00, b""),
            masked(0x80, &said[middle..]),
        ]
        .concat();
        let by_bytes: Vec<u8> = said
            .iter()
            .flat_map(|&byte| masked(0x82, &[byte]))
            .collect();
        for (bytes, has_ping) in [
            (in_one, false),
            (in_two, false),
            (in_fragments, true),
            (by_bytes, false),
        ] {
            let mut client = Tunnel::dial(&broker, version);
            client.frames.send(&bytes);
            if has_ping {
                client.frames.expect(0x8a, "a ping between");
            }
            assert_eq!(client.packet()[0], 0x20);
            assert_eq!(client.packet()[0], 0x90);
            let mut came: Vec<_> = (0..3).map(|_| client.packet()).collect();
            came.sort_by_key(|packet| packet[0]);
            assert_eq!(came[0], publish(version, 0x32, "a", 1, &payload));
            assert_eq!((came[1][0], &came[2][..]), (0x40, &PINGRESP[..]));
        }
    }
}

#[test]
fn what_is_no_binary_message_closes_it_and_its_will_is_published() {
    // [MQTT-6.0.0-1].
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE bye").expect("SUBACK bye");
    for version in BOTH {
        let mut hello = Hello::new("texter");
        hello.will = Some(("bye".to_owned(), "x".to_owned()));
        let (mut client, _) = Tunnel::enter(&broker, version, &hello);
        client.frames.send_frame(0x81, &PINGREQ);
        let why = client.frames.expect_close(1003);
        assert!(why.contains("binary"), "{why}");
        ann.expect("MESSAGE bye x");
    }
}

#[test]
fn each_end_has_its_code() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE bye").expect("SUBACK bye");
    for version in BOTH {
        let mut hello = Hello::new("ender");
        hello.will = Some(("bye".to_owned(), "x".to_owned()));
        let dismissed = |client: &mut Tunnel, code: u8| {
            if version == Mqtt::V5 {
                let packet = client.packet();
                assert_eq!((packet[0], packet[2]), (0xe0, code), "{packet:02x?}");
            }
        };
        let (mut client, _) = Tunnel::enter(&broker, version, &hello);
        client.send(&DISCONNECT).frames.expect_close(1000);
        ann.expect_silence();

        // Another client with the same identifier.
        let (mut before, _) = Tunnel::enter(&broker, version, &hello);
        let (mut client, _) = Tunnel::enter(&broker, version, &hello);
        dismissed(&mut before, 0x8e);
        before.frames.expect_close(1000);
        ann.expect("MESSAGE bye x");
        let mut socket = MqttClient::enter(broker.address(), version, &hello).0;
        dismissed(&mut client, 0x8e);
        client.frames.expect_close(1000);
        ann.expect("MESSAGE bye x");
        let (mut client, _) = Tunnel::enter(&broker, version, &hello);
        socket.expect_dismissal(0x8e);
        ann.expect("MESSAGE bye x");

        // A packet that may not come.
        client.send(&[0xf7, 0]);
        dismissed(&mut client, 0x81);
        assert!(!client.frames.expect_close(1002).is_empty());
        ann.expect("MESSAGE bye x");
        let (mut client, _) = Tunnel::enter(&broker, version, &hello);
        client
            .frames
            .send_frame(0x88, b"\x03\xe9")
            .expect_close(1001);
        ann.expect("MESSAGE bye x");
        let (client, _) = Tunnel::enter(&broker, version, &hello);
        client.frames.vanish();
        ann.expect("MESSAGE bye x");
        // What is no CONNECT.
        let mut client = Tunnel::dial(&broker, version);
        client.send(&PINGREQ).frames.expect_close(1002);
    }
    let mut clients = BOTH.map(|version| Tunnel::connect(&broker, version, ""));
    broker.stop();
    for client in &mut clients {
        if client.version == Mqtt::V5 {
            client.expect(&[0xe0, 2, 0x8b, 0]);
        }
        client.frames.expect_close(1001);
    }
}

#[test]
fn a_client_that_sends_no_packets_is_closed_whatever_else_comes() {
    let broker = TestBroker::start();
    let mut hello = Hello::new("quiet");
    hello.keep_alive = 1;
    let (mut client, _) = Tunnel::enter(&broker, Mqtt::V5, &hello);
    let (mut other, _) = Tunnel::enter(
        &broker,
        Mqtt::V5,
        &Hello {
            id: "alive".to_owned(),
            ..hello
        },
    );
    // A ping of WebSocket is no packet [MQTT-3.1.2-22], and neither is a part of one.
    let mut pings = 0;
    loop {
        client.frames.send_frame(0x89, b"").send_frame(0x82, b"");
        other.send(&PINGREQ).expect(&PINGRESP);
        match client.frames.next_frame() {
            (0x8a, _) => pings += 1,
            (0x82, packet) => {
                assert_eq!((packet[0], packet[2]), (0xe0, 0x8d));
                break;
            }
            other => panic!("{other:02x?}"),
        }
    }
    assert!(pings > 10);
    loop {
        match client.frames.next_frame() {
            (0x8a, _) => {}
            (first, payload) => {
                assert_eq!((first, &payload[..2]), (0x88, &1002_u16.to_be_bytes()[..]));
                break;
            }
        }
    }
    other.send(&PINGREQ).expect(&PINGRESP);
}

#[test]
fn a_session_goes_on_through_a_socket_or_a_websocket() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    for version in BOTH {
        let hello = Hello::lasting(&format!("mover-{version:?}"));
        let (mut client, was_there) = Tunnel::enter(&broker, version, &hello);
        assert!(!was_there);
        client.subscribe("a", 2).send(&DISCONNECT);
        client.frames.expect_close(1000);
        bob.send("PUBLISH a one").expect_prefix("PUBACK ");
        let (mut socket, was_there) = MqttClient::enter(broker.address(), version, &hello);
        assert!(was_there);
        let came = socket.message();
        assert_eq!((&came.payload[..], came.id), (&b"one"[..], 1));
        // Not acknowledged, so it comes again.
        socket.leave();
        bob.send("PUBLISH a two").expect_prefix("PUBACK ");
        let (mut client, was_there) = Tunnel::enter(&broker, version, &hello);
        assert!(was_there);
        client
            .expect_message(0x3a, "a", 1, b"one")
            .expect_message(0x32, "a", 2, b"two");
        // What WebSocket says goes where the session is now.
        client
            .frames
            .send_frame(0x89, b"there?")
            .expect(0x8a, "there?");
        client.send(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        client.publish(0x34, "a", 9, b"three");
        let mut came = [client.packet(), client.packet()];
        came.sort_by_key(|packet| packet[0]);
        assert_eq!(came[0], publish(version, 0x34, "a", 3, b"three"));
        assert_eq!(came[1][..4], [0x50, 2, 0, 9]);
        client.send(&DISCONNECT);
        client.frames.expect_close(1000);
    }
}

#[test]
fn what_was_pinged_before_connect_is_answered_before_it() {
    let broker = TestBroker::start();
    let hello = Hello::lasting("hasty");
    let (mut client, _) = Tunnel::enter(&broker, Mqtt::V5, &hello);
    client.subscribe("a", 1).send(&DISCONNECT);
    client.frames.expect_close(1000);
    let mut client = Tunnel::dial(&broker, Mqtt::V5);
    let pings = 10_000;
    let mut said = masked(0x89, &[b'x'; 125]).repeat(pings);
    said.extend(masked(0x82, &hello.encode(Mqtt::V5)));
    let mut frames = client.frames.writer();
    let sender = thread::spawn(move || frames.write_all(&said));
    for _ in 0..pings {
        client.frames.expect(0x8a, [b'x'; 125]);
    }
    assert_eq!(client.packet()[0], 0x20);
    let sent = sender.join().expect("no panic");
    sent.expect("the broker reads");
}

#[test]
fn all_get_all_of_ten_thousand_messages_in_order() {
    const MESSAGES: usize = 10_000;
    let broker = TestBroker::start();
    let mut listeners: Vec<_> = BOTH
        .into_iter()
        .flat_map(|version| [0, 1].map(|qos| (version, qos)))
        .map(|(version, qos)| {
            let mut client = Tunnel::connect(&broker, version, "");
            client.subscribe("many", qos);
            (client, qos)
        })
        .collect();
    let mut publisher = Tunnel::connect(&broker, Mqtt::V5, "");
    let reader = thread::spawn(move || {
        for (client, qos) in &mut listeners {
            for n in 0..MESSAGES {
                let id = (n + 1) as u16;
                let payload = n.to_string();
                client.expect_message(0x30 | *qos << 1, "many", id, payload.as_bytes());
                if *qos > 0 {
                    client.send(&[0x40, 2, (id >> 8) as u8, id as u8]);
                }
            }
            client.send(&PINGREQ).expect(&PINGRESP);
        }
    });
    for n in 0..MESSAGES {
        publisher.publish(0x32, "many", 1, n.to_string().as_bytes());
        assert_eq!(publisher.packet()[0], 0x40);
    }
    reader.join().expect("all came, in order");
}

#[test]
fn a_slow_reader_is_sent_whole_frames_and_told_what_is_missing() {
    let broker = TestBroker::with_args(&["--outbox-bytes", "512KiB", "--max-line", "64KiB"]);
    let mut bob = broker.connect();
    let mut slow = Tunnel::connect(&broker, Mqtt::V5, "slow");
    slow.subscribe("big", 0);
    let payload = "x".repeat(60_000);
    let sent: u64 = 1000;
    for _ in 0..sent {
        bob.send(format!("PUBLISH big {payload}"))
            .expect_prefix("PUBACK ");
    }
    bob.send("PUBLISH big last").expect_prefix("PUBACK ");
    let whole = publish(Mqtt::V5, 0x30, "big", 0, payload.as_bytes());
    let (mut came, mut told) = (0, 0);
    let mut packet = slow.packet();
    while !packet.ends_with(b"last") {
        assert_eq!(packet, whole);
        came += 1;
        packet = slow.packet();
    }
    assert!(came < sent, "the outbox was too large for this test");
    // The next message tells what was lost before it.
    while came + told < sent {
        bob.send("PUBLISH big x").expect_prefix("PUBACK ");
        packet = slow.packet();
        let gap = user_property("gap", &(sent - came).to_string());
        if let Some(at) = memchr::memmem::find(&packet, &gap) {
            assert_eq!(at, 2 + 2 + "big".len() + 1);
            told = sent - came;
        }
    }
}

/// What a client of another library does: every QoS, a long payload.
const PAHO: &str = r#"
import sys, threading
import paho.mqtt.client as mqtt
long = b"x" * 1_000_000
for version in (mqtt.MQTTv311, mqtt.MQTTv5):
    for qos in (0, 1, 2):
        done = threading.Event()
        def on_message(client, userdata, message):
            print(version, message.topic, len(message.payload), message.qos)
            if message.topic == "paho/long":
                done.set()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets", protocol=version)
        client.ws_set_options(path=sys.argv[3])
        client.on_message = on_message
        client.on_connect = lambda client, *args: client.subscribe("paho/#", qos)
        def on_subscribe(client, *args):
            client.publish("paho/short", "hello", qos)
            client.publish("paho/long", long, qos)
        client.on_subscribe = on_subscribe
        client.connect(sys.argv[1], int(sys.argv[2]))
        client.loop_start()
        assert done.wait(9)
        client.disconnect()
        client.loop_stop()
"#;

/// A script and where the broker is.
fn with_place(broker: &TestBroker, script: impl Fn(&[&str]) -> Command, args: &[&str]) -> Process {
    let address = broker.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let all = [&[&host[..], &port], args].concat();
    Process::start(&mut script(&all))
}

#[test]
fn paho_works_through_a_websocket_as_it_is() {
    let broker = TestBroker::start();
    for path in ["/mqtt", "/ws"] {
        let mut paho = with_place(&broker, |args| foreign::python(PAHO, args), &[path]);
        for version in [4, 5] {
            for qos in [0, 1, 2] {
                paho.expect(&format!("{version} paho/short 5 {qos}"));
                paho.expect(&format!("{version} paho/long 1000000 {qos}"));
            }
        }
        let (status, _, err) = paho.end();
        assert!(status.success(), "{err}");
    }
}

/// A session that loses its connection and goes on, and a will.
const MQTT_JS: &str = r#"
const mqtt = require("mqtt");
const [host, port] = process.argv.slice(-2);
const url = `ws://${host}:${port}/mqtt`;
async function run(protocolVersion) {
  const name = `js-${protocolVersion}`;
  const properties = protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined;
  const publisher = await mqtt.connectAsync(url, { protocolVersion });
  const client = await mqtt.connectAsync(url, {
    protocolVersion, clientId: name, clean: false, properties, reconnectPeriod: 300,
    will: { topic: `${name}/will`, payload: "gone", qos: 1 },
  });
  const came = [];
  client.on("message", (topic, payload) => came.push(payload.toString()));
  await client.subscribeAsync(`${name}/session`, { qos: 2 });
  await publisher.subscribeAsync(`${name}/will`, { qos: 1 });
  const will = new Promise((done) => publisher.once("message", (topic, payload) => done(payload.toString())));
  await publisher.publishAsync(`${name}/session`, "before", { qos: 2 });
  const again = new Promise((done) => client.once("connect", (connack) => done(connack.sessionPresent)));
  client.stream.destroy();
  console.log(name, await will);
  await publisher.publishAsync(`${name}/session`, "meanwhile", { qos: 2 });
  console.log(name, await again);
  await publisher.publishAsync(`${name}/session`, "after", { qos: 2 });
  while (came.length < 3) await new Promise((done) => client.once("message", done));
  console.log(name, came.join(" "));
  await client.endAsync();
  await publisher.endAsync();
}
run(4).then(() => run(5));
"#;

#[test]
fn mqtt_js_comes_back_to_its_session() {
    let broker = TestBroker::start();
    let mut js = with_place(&broker, |args| foreign::node(MQTT_JS, args), &[]);
    for version in [4, 5] {
        js.expect(&format!("js-{version} gone"));
        js.expect(&format!("js-{version} true"));
        js.expect(&format!("js-{version} before meanwhile after"));
    }
    let (status, _, err) = js.end();
    assert!(status.success(), "{err}");
}

/// Many subscribers in one process.
const MQTT_JS_FAN: &str = r#"
const mqtt = require("mqtt");
const [host, port] = process.argv.slice(-2);
const url = `ws://${host}:${port}/mqtt`;
const messages = 10000;
(async () => {
  const all = [];
  for (let n = 0; n < 6; n++) {
    const client = await mqtt.connectAsync(url, { protocolVersion: n % 2 ? 5 : 4 });
    let next = 0;
    all.push(new Promise((done, fail) => client.on("message", (topic, payload) => {
      if (Number(payload.toString()) !== next) fail(new Error(`${payload} instead of ${next}`));
      if (++next === messages) { client.end(); done(next); }
    })));
    await client.subscribeAsync("fan", { qos: n % 3 });
  }
  const publisher = await mqtt.connectAsync(url);
  for (let n = 0; n < messages; n++) publisher.publish("fan", String(n), { qos: 1 });
  console.log((await Promise.all(all)).join(" "));
  publisher.end(true);
})();
"#;

#[test]
fn many_clients_of_mqtt_js_get_all_in_order() {
    let broker = TestBroker::start();
    let mut js = with_place(&broker, |args| foreign::node(MQTT_JS_FAN, args), &[]);
    js.expect("10000 10000 10000 10000 10000 10000");
}

/// A page of some other site, with MQTT.js in it as its package has it for browsers.
fn serve_page(listener: &TcpListener) {
    let script = fs::read(foreign::node_package("mqtt/dist/mqtt.min.js")).expect("a file");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a browser");
        let mut request = BufReader::new(&stream);
        let mut first = String::new();
        request.read_line(&mut first).expect("a request");
        let mut line = String::from(" ");
        while !line.trim().is_empty() {
            line.clear();
            request.read_line(&mut line).expect("a header");
        }
        let (kind, body) = match first.split(' ').nth(1) {
            Some("/mqtt.min.js") => ("text/javascript", &script[..]),
            _ => (
                "text/html",
                &b"<title>A page</title><script src=mqtt.min.js></script>"[..],
            ),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // A browser may leave before it has taken everything.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    }
}

#[test]
fn mqtt_js_works_in_a_page_of_an_allowed_site() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let site = format!("http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || serve_page(&listener));
    let allowing = TestBroker::with_args(&["--allow-origin", &site]);
    let refusing = TestBroker::start();
    let browser = Browser::start();
    let mut page = browser.open(&format!("{site}/"));
    page.wait_for("typeof mqtt === 'object'");
    let connect = |broker: &TestBroker, version: u8| {
        format!(
            "mqtt.connect('ws://{}/mqtt', {{ protocolVersion: {version}, reconnectPeriod: 0 }})",
            broker.address()
        )
    };
    let mut ann = allowing.connect();
    ann.send("SUBSCRIBE page/#").expect("SUBACK page/#");
    for version in [4, 5] {
        page.eval(&format!(
            "window.came = []; window.client = {}; \
             client.on('message', (topic, payload) => came.push(topic + ' ' + payload)); \
             client.on('connect', () => client.subscribe('page/#', {{ qos: 1 }}, () => \
               client.publish('page/out', 'from a browser', {{ qos: 2 }}))); 1",
            connect(&allowing, version)
        ));
        ann.expect("MESSAGE page/out from a browser");
        page.wait_for("came.join() === 'page/out from a browser'");
        let mut bob = allowing.connect();
        bob.send("PUBLISH page/in welcome").expect("PUBACK 1 2");
        ann.expect("MESSAGE page/in welcome");
        page.wait_for("came[1] === 'page/in welcome'");
        page.eval("client.endAsync().then(() => 1)");
    }
    let refused = page.eval(&format!(
        "new Promise((done) => {{ const client = {}; \
         client.on('connect', () => done('connected')); client.on('close', () => done('closed')) }})",
        connect(&refusing, 5)
    ));
    assert_eq!(refused, "closed");
}
