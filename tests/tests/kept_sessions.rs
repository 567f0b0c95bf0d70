//! Promises of `docs/storage.md` about sessions of MQTT: what of them outlives the broker.

use std::env;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::mqtt::{Hello, Mqtt, MqttClient, Published, packet};
use tests::{Asker, Process, Random, SmallDisk, TestBroker, eventually, folder, foreign};

const BOTH: [Mqtt; 2] = [Mqtt::V3, Mqtt::V5];

/// First bytes of packets.
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

fn broker(data: &Path) -> TestBroker {
    TestBroker::with_store(data, &[])
}

/// The next broker, after this one was killed.
fn killed(broker: TestBroker, data: &Path) -> TestBroker {
    assert_eq!(broker.stop_by(Signal::KILL).code, None);
    self::broker(data)
}

/// A client whose session outlives its connections, and was there before or not.
#[track_caller]
fn enter(broker: &TestBroker, version: Mqtt, is_known: bool) -> MqttClient {
    let hello = Hello::lasting("ann");
    let (client, known) = MqttClient::enter(broker.address(), version, &hello);
    assert_eq!(known, is_known);
    client
}

/// The client leaves, and the broker has noticed.
#[track_caller]
fn leave(client: MqttClient, broker: &TestBroker) {
    client.leave();
    let mut asker = Asker::of(broker);
    eventually("its session waits for it", || {
        asker.ask("sessions")["sessions"][0]["away"] == true
    });
}

/// An acknowledgement, without a reason.
fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

fn publish(broker: &TestBroker, lines: &[&str]) {
    let mut client = broker.connect();
    for line in lines {
        client.send(line);
    }
    client.send("PING").read_until("PONG");
}

#[track_caller]
fn expect(client: &mut MqttClient, payload: &str, qos: u8) -> Published {
    let message = client.message();
    let text = String::from_utf8_lossy(&message.payload);
    assert_eq!((&*text, message.flags >> 1 & 3), (payload, qos));
    message
}

/// Whether it may have been sent before.
fn is_dup(message: &Published) -> bool {
    message.flags & 8 != 0
}

/// What was acknowledged to its publisher is there, and what the client has acknowledged is not sent again.
#[test]
fn what_waits_for_a_client_that_is_away_outlives_the_broker() {
    for version in BOTH {
        let folder = folder();
        let data = folder.path();
        let first = broker(data);
        let mut ann = enter(&first, version, false);
        ann.subscribe("lamp/#", 1).subscribe("door", 2);
        publish(&first, &["PUBLISH lamp/a 1"]);
        let one = expect(&mut ann, "1", 1);
        ann.send(&ack(0x40, one.id)).expect_silence();
        leave(ann, &first);
        publish(
            &first,
            &["PUBLISH lamp/a 2", "PUBLISH other x", "PUBLISH door 3"],
        );
        let second = killed(first, data);
        second.wait_for_log("1 sessions");
        publish(&second, &["PUBLISH lamp/b 4"]);
        let third = killed(second, data);
        let mut ann = enter(&third, version, true);
        // At QoS 1, as lines are, and for the first time.
        for payload in ["2", "3", "4"] {
            let message = expect(&mut ann, payload, 1);
            assert!(!is_dup(&message), "{message:?}");
            ann.send(&ack(0x40, message.id));
        }
        publish(&third, &["PUBLISH lamp/c 5"]);
        let five = expect(&mut ann, "5", 1);
        ann.expect_silence();
        // It is sent again, with its identifier and the flag for that. So are others, if their acknowledgement came right
        // before the kill.
        let fourth = killed(third, data);
        let mut ann = enter(&fourth, version, true);
        let mut again = ann.message();
        while again.payload != b"5" {
            assert!(is_dup(&again), "{again:?}");
            again = ann.message();
        }
        assert_eq!((again.id, is_dup(&again)), (five.id, true));
    }
}

/// A message at QoS 2 is not delivered twice, at whichever step the broker is killed.
#[test]
fn the_steps_of_qos_2_towards_a_client_outlive_the_broker() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let mut ann = enter(&first, Mqtt::V5, false);
    ann.subscribe("a", 2);
    let mut bob = MqttClient::connect(first.address(), Mqtt::V5, "bob");
    bob.publish_as(0x34, "a", 7, b"1");
    assert_eq!(bob.packet()[0], PUBREC);
    let sent = expect(&mut ann, "1", 2);
    // It has not said that it has the message.
    let second = killed(first, data);
    let mut ann = enter(&second, Mqtt::V5, true);
    let again = expect(&mut ann, "1", 2);
    assert_eq!((again.id, is_dup(&again)), (sent.id, true));
    ann.send(&ack(PUBREC, sent.id));
    ann.expect(&ack(PUBREL, sent.id));
    // It has, so that only the release comes again.
    let third = killed(second, data);
    let mut ann = enter(&third, Mqtt::V5, true);
    ann.expect(&ack(PUBREL, sent.id));
    ann.send(&ack(PUBCOMP, sent.id)).expect_silence();
    leave(ann, &third);
    let fourth = killed(third, data);
    let mut ann = enter(&fourth, Mqtt::V5, true);
    publish(&fourth, &["PUBLISH a 2"]);
    let mut next = ann.packet();
    // Of a release it is not known at once that it was complete, and a client answers it once more.
    while next == ack(PUBREL, sent.id) {
        next = ann.packet();
    }
    assert_eq!(ann.read_publish(&next).payload, b"2");
}

/// The identifiers that a client uses are known until it has released them, so that what it sends again is one message.
#[test]
fn the_steps_of_qos_2_from_a_client_outlive_the_broker() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let mut ann = enter(&first, Mqtt::V3, false);
    ann.subscribe("a", 1);
    ann.publish_as(0x34, "a", 7, b"1");
    let mut packets = [ann.packet(), ann.packet()];
    packets.sort();
    assert_eq!(packets[1], ack(PUBREC, 7));
    let second = killed(first, data);
    let mut ann = enter(&second, Mqtt::V3, true);
    let one = expect(&mut ann, "1", 1);
    ann.send(&ack(0x40, one.id));
    // DUP: it is the same message.
    ann.publish_as(0x3c, "a", 7, b"1");
    ann.expect(&ack(PUBREC, 7)).expect_silence();
    ann.send(&ack(PUBREL, 7)).expect(&ack(PUBCOMP, 7));
    let third = killed(second, data);
    let mut ann = enter(&third, Mqtt::V3, true);
    ann.publish_as(0x34, "a", 7, b"2");
    let came = [ann.packet(), ann.packet()];
    assert!(came.contains(&ack(PUBREC, 7)), "it is another message");
}

#[test]
fn a_session_that_has_ended_stays_ended() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let mut ann = enter(&first, Mqtt::V5, false);
    ann.subscribe("a", 1).subscribe("b", 1);
    // UNSUBSCRIBE.
    ann.send(b"\xa2\x06\0\x09\0\0\x01a");
    assert_eq!(ann.packet()[0], 0xb0);
    leave(ann, &first);
    publish(&first, &["PUBLISH a 1", "PUBLISH b 2"]);
    let second = killed(first, data);
    let mut ann = enter(&second, Mqtt::V5, true);
    expect(&mut ann, "2", 1);
    ann.expect_silence();
    leave(ann, &second);
    let clean = Hello::new("ann");
    let (client, is_known) = MqttClient::enter(second.address(), Mqtt::V5, &clean);
    assert!(!is_known);
    client.leave();
    let third = killed(second, data);
    enter(&third, Mqtt::V5, false).expect_silence();
}

#[test]
fn a_session_expires_also_while_there_is_no_broker() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let hello = Hello {
        // A session expiry interval of one second.
        properties: vec![0x11, 0, 0, 0, 1],
        ..Hello::lasting("ann")
    };
    let (mut ann, _) = MqttClient::enter(first.address(), Mqtt::V5, &hello);
    ann.subscribe("a", 1);
    leave(ann, &first);
    let second = killed(first, data);
    let mut asker = Asker::of(&second);
    eventually("it has expired", || {
        asker.ask("sessions")["sessions"] == Value::Array(Vec::new())
    });
    enter(&second, Mqtt::V5, false);
}

/// It comes once the broker is back, because its client is not.
#[test]
fn the_will_of_a_session_is_published_after_a_kill() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let hello = Hello {
        will: Some(("gone".to_owned(), "ann".to_owned())),
        ..Hello::lasting("ann")
    };
    let mut packet = hello.encode(Mqtt::V5);
    // The will at QoS 1.
    packet[9] |= 0x08;
    let mut ann = MqttClient::dial(first.address(), Mqtt::V5);
    assert_eq!(ann.send(&packet).packet()[0], 0x20);
    let mut bob = enter_as(&first, "bob", false);
    bob.subscribe("gone", 1);
    let second = killed(first, data);
    let mut bob = enter_as(&second, "bob", true);
    let will = bob.message();
    assert_eq!(
        (will.topic.as_str(), &will.payload[..]),
        ("gone", &b"ann"[..])
    );
}

#[track_caller]
fn enter_as(broker: &TestBroker, name: &str, is_known: bool) -> MqttClient {
    let (client, known) = MqttClient::enter(broker.address(), Mqtt::V5, &Hello::lasting(name));
    assert_eq!(known, is_known);
    client
}

/// What waits for it lies in the log alone, in whatever number.
#[test]
fn a_client_that_is_away_for_long_misses_nothing_and_takes_no_memory() {
    const MESSAGES: usize = 50_000;
    let folder = folder();
    let broker = broker(folder.path());
    let mut ann = enter(&broker, Mqtt::V5, false);
    ann.subscribe("a", 1);
    leave(ann, &broker);
    let mut bob = broker.connect();
    let text: String = (0..MESSAGES).map(|n| format!("PUBLISH a {n}\n")).collect();
    bob.write(&text)
        .read_until_prefix(&format!("PUBACK {MESSAGES} "));
    let sessions = Asker::of(&broker).ask("sessions");
    let row = &sessions["sessions"][0];
    assert_eq!(row["waiting"], 0, "{sessions}");
    // Records of the session are among the entries.
    assert!(row["lag"].as_u64() >= Some(MESSAGES as u64), "{sessions}");
    let why = Asker::of(&broker).ask("why a");
    assert_eq!(why["matching"][0]["holders"][0]["from_log"], true, "{why}");
    let mut ann = enter(&broker, Mqtt::V5, true);
    for n in 0..MESSAGES {
        let message = expect(&mut ann, &n.to_string(), 1);
        ann.send(&ack(0x40, message.id));
    }
    ann.expect_silence();
    let ledger = broker.ledger();
    assert!(ledger.starts_with("balanced"), "{ledger}");
}

/// Messages at QoS 0 come to a session while its client is there, and are not kept.
#[test]
fn what_is_not_to_be_acknowledged_is_not_kept_for_a_session() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let mut ann = enter(&first, Mqtt::V5, false);
    ann.subscribe("a", 1).subscribe("b", 0);
    let mut bob = MqttClient::connect(first.address(), Mqtt::V5, "bob");
    bob.publish("a", "0");
    expect(&mut ann, "0", 0);
    publish(&first, &["PUBLISH b 1"]);
    expect(&mut ann, "1", 0);
    leave(ann, &first);
    bob.publish("a", "2").expect_silence();
    publish(&first, &["PUBLISH b 3"]);
    let second = killed(first, data);
    let mut ann = enter(&second, Mqtt::V5, true);
    ann.expect_silence();
    publish(&second, &["PUBLISH b 4"]);
    expect(&mut ann, "4", 0);
}

/// A topic with a rule serves both, and what its rule forgets is there for a session that has not had it.
#[test]
fn a_session_gets_what_a_rule_has_forgotten() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "a=1"]);
    let mut ann = enter(&broker, Mqtt::V5, false);
    ann.subscribe("a", 1);
    leave(ann, &broker);
    publish(&broker, &["PUBLISH a 1", "PUBLISH a 2", "PUBLISH a 3"]);
    let mut cat = broker.connect();
    cat.send("@each=9;until=now SUBSCRIBE a");
    cat.expect("SUBACK a");
    let line = cat.read_line();
    assert!(line.ends_with(";past MESSAGE a 3"), "{line}");
    let mut ann = enter(&broker, Mqtt::V5, true);
    for payload in ["1", "2", "3"] {
        expect(&mut ann, payload, 1);
    }
}

/// The log is no longer than it may be, also for a client that stays away for ever, and that is told.
#[test]
fn what_a_limit_removes_before_a_session_had_it_is_told() {
    const MESSAGES: u64 = 5000;
    let folder = folder();
    let data = folder.path();
    let flags = ["--keep-total", "130MiB"];
    let first = TestBroker::with_store(data, &flags);
    let mut ann = enter(&first, Mqtt::V5, false);
    ann.subscribe("a", 1);
    publish(&first, &["PUBLISH a 1"]);
    expect(&mut ann, "1", 1);
    assert_eq!(first.stop_by(Signal::KILL).code, None);
    let second = TestBroker::with_store(data, &flags);
    let mut bob = second.connect();
    let line = format!("PUBLISH a {}\n", "x".repeat(60_000));
    for number in 1..=MESSAGES {
        bob.write(&line).expect(format!("PUBACK {number} 1"));
    }
    // The second process has its own segments behind it.
    let oldest = data.join("log/00000000000000000001.log");
    eventually("the oldest messages are removed", || !oldest.exists());
    let mut ann = enter(&second, Mqtt::V5, true);
    let first = ann.message();
    let text = String::from_utf8_lossy(&first.properties).into_owned();
    let (_, count) = text.split_once("gap").expect("a user property");
    let missing: u64 = count[2..].parse().expect("a number");
    ann.send(&ack(0x40, first.id));
    // The one from before was in flight, and is missing as well.
    for _ in 1..=MESSAGES - missing {
        let message = ann.message();
        ann.send(&ack(0x40, message.id));
    }
    ann.expect_silence();
}

/// Two filters and a change of one of them: nothing is lost and nothing comes twice.
#[test]
fn subscriptions_may_change_while_messages_wait() {
    let folder = folder();
    let data = folder.path();
    let first = broker(data);
    let mut ann = enter(&first, Mqtt::V5, false);
    ann.subscribe("a/+", 1);
    publish(&first, &["PUBLISH a/b 1"]);
    expect(&mut ann, "1", 1);
    // The window is open: it comes, and is not acknowledged either.
    ann.subscribe("a/#", 2).subscribe("a/+", 0);
    publish(&first, &["PUBLISH a/b 2", "PUBLISH a/b/c 3"]);
    expect(&mut ann, "2", 1);
    expect(&mut ann, "3", 1);
    let second = killed(first, data);
    let mut ann = enter(&second, Mqtt::V5, true);
    for payload in ["1", "2", "3"] {
        expect(&mut ann, payload, 1);
    }
    ann.expect_silence();
}

#[test]
fn a_full_disk_refuses_sessions_that_it_cannot_keep() {
    let folder = folder();
    let disk = SmallDisk::start(folder.path(), &[]);
    let mut ann = enter(&disk.broker, Mqtt::V5, false);
    ann.subscribe("a", 1);
    leave(ann, &disk.broker);
    let mut client = disk.broker.connect();
    let value = "x".repeat(60_000);
    let mut number = 0;
    loop {
        number += 1;
        client.send(format!("PUBLISH a {value}"));
        let answer = client.read_line();
        if answer.starts_with("ERROR no-room ") {
            break;
        }
        assert!(number < 2000, "the disk is never full");
    }
    let mut other = MqttClient::dial(disk.broker.address(), Mqtt::V3);
    other.send(&Hello::lasting("bob").encode(Mqtt::V3));
    // Server unavailable.
    other.expect(&[0x20, 2, 0, 3]).expect_closed();
    // One that ends with its connection is welcome, and what nothing is kept for comes.
    let mut clean = MqttClient::connect(disk.broker.address(), Mqtt::V5, "clean");
    clean.subscribe("b", 1);
    publish(&disk.broker, &["PUBLISH b 1"]);
    expect(&mut clean, "1", 1);
    disk.make_room();
    client.expect_prefix(&format!("PUBACK {number} 0"));
    client.send("PUBLISH a 2").expect_prefix("PUBACK ");
    enter_as(&disk.broker, "bob", false);
    // All that was not refused is there.
    let mut ann = enter(&disk.broker, Mqtt::V5, true);
    for _ in 1..number {
        let message = expect(&mut ann, &value, 1);
        ann.send(&ack(0x40, message.id));
    }
    expect(&mut ann, "2", 1);
}

/// Two clients with sessions that outlive their connections, one of which publishes numbers at QoS 1 and 2 and the other
/// takes them. Each line of input is a port at which the broker is now; the last is `end`. Then everything that was
/// acknowledged has to have come, in order, and at QoS 2 once.
const PAHO: &str = r#"
import collections, sys, threading, time
import paho.mqtt.client as mqtt
V2 = mqtt.CallbackAPIVersion.VERSION2
came = {1: [], 2: []}
acked = {1: set(), 2: set()}
number = {1: 0, 2: 0}
waiting = {}
def on_message(client, userdata, message):
    came[int(message.topic[-1])].append(int(message.payload))
class Client(mqtt.Client):
    # Where a connection ends before its CONNACK, paho would send a PUBLISH again behind its PUBREL.
    def _messages_reconnect_reset_out(self):
        for message in self._out_messages.values():
            if message.state == mqtt.mqtt_ms_resend_pubrel:
                message.state = mqtt.mqtt_ms_wait_for_pubcomp
        super()._messages_reconnect_reset_out()
def client(name):
    return Client(V2, client_id=name, clean_session=False, reconnect_on_failure=False)
sub = client("sub")
subscribed = threading.Event()
sub.on_subscribe = lambda *args: subscribed.set()
sub.on_message = on_message
pub = client("pub")
pub.max_inflight_messages_set(20)
def join(port):
    for client in (sub, pub):
        client.connect("127.0.0.1", port)
        client.loop_start()
def leave():
    for client in (sub, pub):
        client.loop_stop()
def on_publish(client, userdata, mid, reason, properties):
    # It may come before the identifier is noted.
    while mid not in waiting:
        time.sleep(0.001)
    qos, sent = waiting.pop(mid)
    acked[qos].add(sent)
pub.on_publish = on_publish
first = True
for line in sys.stdin:
    if line.strip() == "end":
        break
    leave()
    join(int(line))
    if first:
        sub.subscribe([("n/1", 1), ("n/2", 2)])
        subscribed.wait()
        first = False
    print("joined", flush=True)
    end = time.monotonic() + 0.6
    while time.monotonic() < end and pub.is_connected() or not waiting:
        if len(waiting) < 20:
            for qos in (1, 2):
                number[qos] += 1
                waiting[pub.publish(f"n/{qos}", number[qos], qos).mid] = (qos, number[qos])
        else:
            time.sleep(0.001)
end = time.monotonic() + 30
while time.monotonic() < end:
    if not waiting and all(acked[qos] <= set(came[qos]) for qos in (1, 2)):
        break
    time.sleep(0.05)
for qos in (1, 2):
    missing = sorted(acked[qos] - set(came[qos]))
    print(f"QoS {qos}: {len(acked[qos])} acknowledged, {len(missing)} missing {missing[:5]}")
doubled = [n for n, count in collections.Counter(came[2]).items() if count > 1]
print(f"doubled at QoS 2: {doubled[:9]}", "in order" if sorted(came[2]) == came[2] else "out of order")
print(f"not acknowledged: {len(waiting)}")
"#;

/// Fifty kills, or as many as the environment variable STORE_KILLS says.
#[test]
fn a_paho_client_loses_nothing_that_was_acknowledged_under_kills() {
    let kills = env::var("STORE_KILLS").map_or(50, |kills| kills.parse().expect("a number"));
    let folder = folder();
    let mut random = Random::new(17);
    let mut paho = Process::start(&mut foreign::python(PAHO, &[]));
    let mut join = |broker: &TestBroker| {
        paho.write(format!("{}\n", broker.address().port()));
        paho.expect("joined");
    };
    for _ in 0..kills {
        let broker = broker(folder.path());
        join(&broker);
        thread::sleep(Duration::from_millis(random.below(200) as u64));
        assert_eq!(broker.stop_by(Signal::KILL).code, None);
    }
    let broker = broker(folder.path());
    join(&broker);
    paho.write("end\n");
    let text = paho.rest();
    assert!(
        text.contains("QoS 1: ") && !text.contains("QoS 1: 0 "),
        "{text}"
    );
    assert_eq!(text.matches(", 0 missing").count(), 2, "{text}");
    assert!(text.contains("doubled at QoS 2: [] in order"), "{text}");
    assert!(text.contains("not acknowledged: 0"), "{text}");
}
