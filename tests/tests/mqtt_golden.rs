//! Sessions of MQTT, packet by packet: each file in `tests/golden/mqtt` is a case, for every QoS, every
//! acknowledgement and every way to come back.
//!
//! A line beginning with `>` is sent, one beginning with `<` has to come next; `*` is another client that
//! publishes, and has its receipt before the script goes on. `cut` ends the connection without a
//! DISCONNECT, `keep` leaves it open for the next CONNECT to take over. `< nothing` says that what came
//! was all. A script is played for both versions, or for those in its line `versions`.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet};
use tests::{Asker, TestBroker};

/// A session expiry interval of an hour.
const AN_HOUR: [u8; 5] = [0x11, 0, 0, 0x0e, 0x10];

/// Session taken over.
const TAKEN_OVER: u8 = 0x8e;

struct Script<'a> {
    broker: &'a TestBroker,
    asker: &'a mut Asker,
    version: Mqtt,
    client_id: String,
    client: Option<MqttClient>,
    /// The connection that the next takes the session from.
    kept: Option<MqttClient>,
    publisher: MqttClient,
}

impl<'a> Script<'a> {
    fn new(broker: &'a TestBroker, asker: &'a mut Asker, version: Mqtt, name: &str) -> Self {
        Self {
            broker,
            asker,
            version,
            client_id: format!("{name}-{version:?}"),
            client: None,
            kept: None,
            publisher: MqttClient::connect(
                broker.address(),
                Mqtt::V5,
                &format!("to-{name}-{version:?}"),
            ),
        }
    }

    fn play(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["cut"] => self.cut(),
            ["keep"] => self.kept = self.client.take(),
            ["*", "publish", topic, payload, qos] => self.publish(topic, payload, number(qos)),
            [">", "connect", ref how @ ..] => self.connect(how),
            [">", ref what @ ..] => self.send(what),
            ["<", ref what @ ..] => self.expect(what),
            _ => panic!("what does this line mean?"),
        }
    }

    /// Ends the connection, and waits until the broker has found out: what others publish next must not
    /// be sent on it.
    fn cut(&mut self) {
        drop(self.client.take());
        let question = format!("who {}/#", self.client_id);
        tests::eventually("the connection has ended", || {
            let who = self.asker.ask(&question);
            let connections = who["connections"].as_array().expect("a list");
            connections.iter().all(|row| row["away"] == true)
        });
    }

    /// Publishes by another client, and waits for the last acknowledgement.
    fn publish(&mut self, topic: &str, payload: &str, qos: u16) {
        let topic = self.topic(topic);
        let publisher = &mut self.publisher;
        publisher.publish_as(0x30 | (qos as u8) << 1, &topic, 5, payload.as_bytes());
        match qos {
            0 => {
                publisher.expect_silence();
            }
            1 => assert_eq!(publisher.packet()[0], 0x40),
            _ => {
                assert_eq!(publisher.packet()[0], 0x50);
                publisher.send(&[0x62, 2, 0, 5]);
                assert_eq!(publisher.packet()[0], 0x70);
            }
        }
    }

    /// `clean` or `lasting`, and the receive maximum.
    fn connect(&mut self, how: &[&str]) {
        let mut hello = Hello::new(&self.client_id);
        hello.clean = how[0] == "clean";
        if !hello.clean {
            hello.properties.extend(AN_HOUR);
        }
        if let Some(receive_maximum) = how.get(1) {
            hello.properties.push(0x21);
            hello
                .properties
                .extend(number(receive_maximum).to_be_bytes());
        }
        let mut client = MqttClient::dial(self.broker.address(), self.version);
        client.send(&hello.encode(self.version));
        self.client = Some(client);
    }

    fn send(&mut self, what: &[&str]) {
        match *what {
            ["subscribe", filter, qos] => {
                let mut body = vec![0, 9];
                if self.version == Mqtt::V5 {
                    body.push(0);
                }
                body.extend(tests::mqtt::text(&self.topic(filter)));
                body.push(number(qos) as u8);
                self.client().send(&packet(0x82, &body));
            }
            ["publish", qos, id, ref rest @ ..] => {
                let (dup, topic, payload) = message(rest);
                let topic = self.topic(topic);
                let first = 0x30 | (number(qos) as u8) << 1 | u8::from(dup) << 3;
                let id = number(id);
                self.client()
                    .publish_as(first, &topic, id, payload.as_bytes());
            }
            [kind, id] => {
                let ack = acknowledgement(kind, id, None);
                self.client().send(&ack);
            }
            [kind, id, code] => {
                let ack = acknowledgement(kind, id, Some(code));
                self.client().send(&ack);
            }
            _ => panic!("what is to be sent?"),
        }
    }

    fn expect(&mut self, what: &[&str]) {
        let version = self.version;
        match *what {
            ["nothing"] => {
                self.client().expect_silence();
            }
            ["end", code] => {
                let client = self.client.take().expect("a connection");
                expect_end(client, code_of(code));
            }
            ["connack", session] => {
                let connack = self.client().packet();
                assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
                assert_eq!(connack[2] == 1, session == "resumed", "session present");
                if let Some(kept) = self.kept.take() {
                    expect_end(kept, TAKEN_OVER);
                }
            }
            ["suback", qos] => {
                let suback = self.client().packet();
                assert_eq!(suback[0], 0x90, "{suback:02x?}");
                assert_eq!(suback.last(), Some(&(number(qos) as u8)));
            }
            ["publish", qos, ref rest @ ..] => {
                let (id, rest) = match number(qos) {
                    0 => (0, rest),
                    _ => (number(rest[0]), &rest[1..]),
                };
                let (dup, topic, payload) = message(rest);
                let topic = self.topic(topic);
                let came = self.client().message();
                assert_eq!(
                    (came.flags, came.id, &*came.topic, &*came.payload),
                    (
                        (number(qos) as u8) << 1 | u8::from(dup) << 3,
                        id,
                        &*topic,
                        payload.as_bytes()
                    )
                );
            }
            [kind, id] => {
                let ack = acknowledgement(kind, id, None);
                self.client().expect(&ack);
            }
            [kind, id, code] => {
                // 3.1.1 has no codes there.
                let code = (version == Mqtt::V5).then_some(code);
                let ack = acknowledgement(kind, id, code);
                self.client().expect(&ack);
            }
            _ => panic!("what has to come?"),
        }
    }

    fn client(&mut self) -> &mut MqttClient {
        self.client.as_mut().expect("a connection")
    }

    /// Each script has topics of its own, so that all can share a broker.
    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.client_id)
    }
}

/// DUP, topic and payload.
fn message<'w>(words: &[&'w str]) -> (bool, &'w str, &'w str) {
    match *words {
        ["dup", topic, payload] => (true, topic, payload),
        [topic, payload] => (false, topic, payload),
        _ => panic!("a message has a topic and a payload"),
    }
}

fn acknowledgement(kind: &str, id: &str, code: Option<&str>) -> Vec<u8> {
    let first = match kind {
        "puback" => 0x40,
        "pubrec" => 0x50,
        "pubrel" => 0x62,
        "pubcomp" => 0x70,
        _ => panic!("no acknowledgement: {kind}"),
    };
    let mut body = number(id).to_be_bytes().to_vec();
    body.extend(code.map(code_of));
    packet(first, &body)
}

fn expect_end(mut client: MqttClient, code: u8) {
    client.expect_dismissal(code);
}

fn number(word: &str) -> u16 {
    word.parse().expect("a number")
}

fn code_of(word: &str) -> u8 {
    let digits = word.strip_prefix("0x").expect("a code, such as 0x82");
    u8::from_str_radix(digits, 16).expect("a code, such as 0x82")
}

/// Plays one file; returns where it failed.
fn failures(broker: &TestBroker, asker: &mut Asker, path: &Path) -> Vec<String> {
    let name = path.file_stem().expect("a file").to_string_lossy();
    let text = fs::read_to_string(path).expect("a script is text");
    let lines = || {
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    };
    let only = lines().find_map(|(_, line)| line.strip_prefix("versions "));
    let mut failures = Vec::new();
    for version in BOTH {
        let number = if version == Mqtt::V3 { "3" } else { "5" };
        if only.is_some_and(|only| !only.split(' ').any(|each| each == number)) {
            continue;
        }
        let mut script = Script::new(broker, asker, version, &name);
        for (at, line) in lines().filter(|(_, line)| !line.starts_with("versions ")) {
            let played = panic::catch_unwind(AssertUnwindSafe(|| script.play(line)));
            if played.is_err() {
                failures.push(format!("{name}.txt:{}: {version:?}: {line}", at + 1));
                break;
            }
        }
    }
    failures
}

#[test]
fn every_script_comes_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/mqtt");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder of the scripts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    // Every QoS with every acknowledgement, and every way to come back.
    assert!(paths.len() > 40, "only {} scripts", paths.len());
    let broker = TestBroker::start();
    let mut asker = Asker::of(&broker);
    let failures: Vec<String> = paths
        .iter()
        .flat_map(|path| failures(&broker, &mut asker, path))
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
