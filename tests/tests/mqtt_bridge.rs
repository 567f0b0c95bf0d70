//! A bridge of mosquitto, as it is set up by default: it gets in, carries messages both ways once, and
//! says whether it is connected.

use tests::{Mosquitto, TestBroker};

use tests::mqtt::{BOTH, Mqtt, MqttClient};

/// The first byte of a PUBLISH at QoS 1, and its flag.
const QOS_1: u8 = 0x32;
const RETAIN: u8 = 1;

const STATE: &str = "$SYS/broker/connection/gateway.upstream/state";

/// A mosquitto with a bridge to this broker, which speaks this version.
fn bridged(broker: &TestBroker, version: &str) -> Mosquitto {
    Mosquitto::start(&format!(
        "allow_anonymous true\n\
         connection upstream\n\
         address {}\n\
         remote_clientid gateway.upstream\n\
         topic up/# out 1\n\
         topic down/# in 1\n\
         topic both/# both 1\n\
         bridge_protocol_version {version}\n",
        broker.address()
    ))
}

/// The messages that come up to the one on `topic`, which are acknowledged.
#[track_caller]
fn messages_to(client: &mut MqttClient, topic: &str) -> Vec<String> {
    let mut came = Vec::new();
    loop {
        let packet = client.packet();
        if packet[0] >> 4 != 3 {
            continue;
        }
        let message = client.read_publish(&packet);
        if message.id > 0 {
            let [high, low] = message.id.to_be_bytes();
            client.send(&[0x40, 2, high, low]);
        }
        came.push(format!(
            "{} {}",
            message.topic,
            String::from_utf8_lossy(&message.payload)
        ));
        if message.topic == topic {
            return came;
        }
    }
}

/// A bridge that speaks this version, to a broker that clients of `ours` watch at both ends.
fn check(version: &str, ours: Mqtt) {
    let broker = TestBroker::start();
    let mut here = MqttClient::connect(broker.address(), ours, "here");
    here.subscribe("$SYS/broker/connection/+/state", 0);
    here.subscribe("#", 1);
    let other = bridged(&broker, version);
    assert_eq!(messages_to(&mut here, STATE), [format!("{STATE} 1")]);

    let mut there = MqttClient::connect(other.address(), ours, "there");
    there.subscribe("#", 1);
    there.publish_as(QOS_1, "up/a", 1, b"from there");
    assert_eq!(messages_to(&mut here, "up/a"), ["up/a from there"]);
    here.publish_as(QOS_1, "both/a", 2, b"from here");
    here.publish_as(QOS_1 | RETAIN, "down/a", 3, b"kept");
    // What goes both ways does not come back.
    assert_eq!(
        messages_to(&mut there, "down/a"),
        ["up/a from there", "both/a from here", "down/a kept"]
    );
    there.publish_as(QOS_1, "up/b", 4, b"from there");
    assert_eq!(
        messages_to(&mut here, "up/b"),
        ["both/a from here", "down/a kept", "up/b from there"]
    );
    // The retain flag came with the message, so mosquitto keeps it too.
    let mut late = MqttClient::connect(other.address(), Mqtt::V3, "late");
    late.subscribe("down/a", 0);
    late.expect_message(RETAIN, "down/a", "kept");

    drop(other);
    assert_eq!(messages_to(&mut here, STATE), [format!("{STATE} 0")]);
    for version in BOTH {
        let mut late = MqttClient::connect(broker.address(), version, "later");
        late.subscribe(STATE, 0);
        late.expect_message(RETAIN, STATE, "0");
    }
}

#[test]
fn a_bridge_of_3_1_carries_messages_both_ways_once() {
    check("mqttv31", Mqtt::V3);
}

#[test]
fn a_bridge_of_3_1_1_carries_messages_both_ways_once() {
    check("mqttv311", Mqtt::V3);
}

#[test]
fn a_bridge_of_5_carries_messages_both_ways_once() {
    check("mqttv50", Mqtt::V5);
}

#[test]
fn a_bridge_may_say_its_state_and_nothing_else_under_sys() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe("$SYS/broker/connection/#");
    for version in BOTH {
        let mut bridge = MqttClient::connect(broker.address(), version, "bridge");
        for topic in [
            "$SYS/broker/connection/state",
            "$SYS/broker/connection//state",
            "$SYS/broker/connection/a",
            "$SYS/a/state",
        ] {
            bridge.publish(topic, "1");
        }
        bridge.publish_as(QOS_1 & 0xf0, "$SYS/broker/connection/a/b/state", 0, b"1");
        bridge.expect_silence();
        line.expect("MESSAGE $SYS/broker/connection/a/b/state 1");
    }
    line.send("PUBLISH $SYS/broker/connection/c/state 1")
        .expect("MESSAGE $SYS/broker/connection/c/state 1")
        .expect("PUBACK 1 1");
}
