//! What messages weigh that are kept for MQTT clients that are away: published at QoS 1, to one session
//! and to ten at a time, in the default number that a session may have.

use std::io;

use tests::TestBroker;
use tests::mqtt::{Hello, Mqtt, MqttClient};

use crate::stdout::say;

const MESSAGES: usize = 100_000;

/// How many are published before their acknowledgements are waited for.
const AT_ONCE: usize = 500;

const TOPIC: &str = "home/50/50/50";

pub(crate) fn measure() -> io::Result<bool> {
    say(format_args!(
        "{MESSAGES} messages at QoS 1 on `{TOPIC}`, kept for sessions whose clients are away"
    ));
    for size in [16, 128, 1024] {
        for sessions in [1, 10] {
            // As many as there are, however long.
            let broker = TestBroker::with_args(&["--outbox-bytes", "1GiB"]);
            for number in 0..sessions {
                let hello = Hello::lasting(&format!("away-{number}"));
                let (mut client, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
                client.subscribe(TOPIC, 1);
                client.leave();
            }
            let mut publisher = MqttClient::connect(broker.address(), Mqtt::V3, "publisher");
            let payload = vec![b'x'; size];
            // A busy publisher takes memory by itself, also for messages that no session keeps.
            publish(&mut publisher, "elsewhere/1/2", &payload, 10 * AT_ONCE);
            let before = broker.resident_kib();
            publish(&mut publisher, TOPIC, &payload, MESSAGES);
            let grown = broker.resident_kib().saturating_sub(before) as f64 * 1024.0;
            let each = grown / (MESSAGES * sessions) as f64;
            say(format_args!(
                "{size:>5} bytes, {sessions:>2} sessions: {each:>6.0} bytes of resident memory for each kept message"
            ));
        }
    }
    Ok(true)
}

fn publish(client: &mut MqttClient, topic: &str, payload: &[u8], count: usize) {
    for _ in 0..count / AT_ONCE {
        let packets: Vec<u8> = (1..=AT_ONCE as u16)
            .flat_map(|id| {
                let id = id.to_be_bytes();
                let body = [&tests::mqtt::text(topic)[..], &id, payload].concat();
                tests::mqtt::packet(0x32, &body)
            })
            .collect();
        client.send(&packets);
        for _ in 0..AT_ONCE {
            client.packet();
        }
    }
}
