//! Connections cut at random points: QoS 1 loses nothing, QoS 2 neither loses nor doubles anything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;

use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet, text};
use tests::{Random, TestBroker};

/// Messages of each flow; there are four.
const MESSAGES: u32 = 25_000;

/// How many messages are sent before an answer is waited for.
const WINDOW: u32 = 200;

/// A publisher that sends on until every message has been acknowledged, whatever becomes of its
/// connections.
fn publish(address: SocketAddr, version: Mqtt, qos: u8, topic: &str, mut random: Random) {
    let hello = Hello::lasting(&format!("{topic}-publisher"));
    // Numbers of messages that are on their way, by packet identifier: sent, or received by the broker.
    let mut sent: HashMap<u16, u32> = HashMap::new();
    let mut released: Vec<u16> = Vec::new();
    let mut next = 0;
    while next < MESSAGES || !sent.is_empty() || !released.is_empty() {
        let (mut client, _) = MqttClient::enter(address, version, &hello);
        let mut again: Vec<_> = sent.iter().map(|(id, number)| (*number, *id)).collect();
        again.sort_unstable();
        for (number, id) in again {
            let first = 0x38 | qos << 1;
            client.publish_as(first, topic, id, number.to_string().as_bytes());
        }
        for id in &released {
            client.send(&[0x62, 2, (id >> 8) as u8, *id as u8]);
        }
        let mut left = 1 + random.below(500);
        while left > 0 && (next < MESSAGES || !sent.is_empty() || !released.is_empty()) {
            let mut bytes = Vec::new();
            while next < MESSAGES && sent.len() + released.len() < WINDOW as usize {
                let id = (next % 60_000 + 1) as u16;
                let mut body = text(topic);
                body.extend(id.to_be_bytes());
                if version == Mqtt::V5 {
                    body.push(0);
                }
                body.extend(next.to_string().bytes());
                bytes.extend(packet(0x30 | qos << 1, &body));
                sent.insert(id, next);
                next += 1;
            }
            client.send(&bytes);
            let answer = client.packet();
            let id = u16::from_be_bytes([answer[2], answer[3]]);
            match answer[0] {
                0x40 => {
                    sent.remove(&id);
                }
                0x50 => {
                    if sent.remove(&id).is_some() {
                        released.push(id);
                    }
                    client.send(&[0x62, 2, answer[2], answer[3]]);
                }
                0x70 => released.retain(|each| *each != id),
                other => panic!("an answer that was not asked for: {other:02x}"),
            }
            left -= 1;
        }
        client.vanish();
    }
}

/// A subscriber that is cut off again and again until it has every number; how often each came.
fn subscribe(address: SocketAddr, version: Mqtt, qos: u8, topic: &str, mut random: Random) {
    let hello = Hello::lasting(&format!("{topic}-subscriber"));
    let mut came = vec![0u32; MESSAGES as usize];
    let mut last_new = None;
    let mut missing = MESSAGES;
    // QoS 2: received and not released.
    let mut held: HashMap<u16, ()> = HashMap::new();
    while missing > 0 {
        let (mut client, _) = MqttClient::enter(address, version, &hello);
        let mut left = 1 + random.below(300);
        while left > 0 && missing > 0 {
            let bytes = client.packet();
            match bytes[0] >> 4 {
                3 => {
                    let publish = client.read_publish(&bytes);
                    let number: u32 = String::from_utf8_lossy(&publish.payload)
                        .parse()
                        .expect("a number");
                    let [high, low] = publish.id.to_be_bytes();
                    let is_new = qos == 1 || held.insert(publish.id, ()).is_none();
                    if is_new {
                        let count = &mut came[number as usize];
                        *count += 1;
                        if *count == 1 {
                            missing -= 1;
                            assert!(last_new < Some(number), "{topic}: {number} out of order");
                            last_new = Some(number);
                        }
                    }
                    client.send(&[if qos == 1 { 0x40 } else { 0x50 }, 2, high, low]);
                }
                6 => {
                    held.remove(&u16::from_be_bytes([bytes[2], bytes[3]]));
                    client.send(&[0x70, 2, bytes[2], bytes[3]]);
                }
                other => panic!("a packet that was not asked for: {other}"),
            }
            left -= 1;
        }
        client.vanish();
    }
    if qos == 2 {
        let doubled = came.iter().filter(|count| **count > 1).count();
        assert_eq!(doubled, 0, "{topic}: some came more than once");
    }
}

#[test]
fn connections_cut_anywhere_lose_nothing_and_double_nothing() {
    let broker = TestBroker::start();
    let address = broker.address();
    thread::scope(|scope| {
        for (number, (version, qos)) in BOTH
            .into_iter()
            .flat_map(|version| [(version, 1), (version, 2)])
            .enumerate()
        {
            let topic = format!("{version:?}-{qos}");
            let hello = Hello::lasting(&format!("{topic}-subscriber"));
            let (mut subscriber, _) = MqttClient::enter(address, version, &hello);
            subscriber.subscribe(&topic, qos);
            subscriber.vanish();
            let seed = 10 * number as u64;
            let name = topic.clone();
            scope.spawn(move || publish(address, version, qos, &name, Random::new(seed + 1)));
            scope.spawn(move || subscribe(address, version, qos, &topic, Random::new(seed + 2)));
        }
    });
}
