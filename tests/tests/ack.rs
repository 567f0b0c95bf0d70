//! Promises of `docs/storage.md` about receipts: a publisher chooses how safe a message is before it is told so.

use std::thread;

use rustix::process::Signal;
use tests::mqtt::{Mqtt, MqttClient, packet, text, user_property};
use tests::{TestBroker, TestClient, folder};

/// The level and the sequence number of a receipt, and the rest of it.
#[track_caller]
fn receipt(client: &mut TestClient) -> (String, Option<u64>, String) {
    let line = client.read_line();
    let (attributes, rest) = line.split_once(' ').expect("a word before the verb");
    let attributes = attributes.strip_prefix("@level=").expect("a level");
    let (level, position) = match attributes.split_once(";pos=") {
        Some((level, position)) => (level, Some(position)),
        None => (attributes, None),
    };
    let sequence = position.map(|position| {
        let (epoch, sequence) = position.split_once(':').expect("a position");
        let (store, generation) = epoch.split_once('.').expect("an epoch");
        assert!(store.len() == 4 && generation == "1", "{position}");
        sequence.parse().expect("a number")
    });
    (level.to_owned(), sequence, rest.to_owned())
}

#[track_caller]
fn check(client: &mut TestClient, level: &str, sequence: Option<u64>, rest: &str) {
    let expected = (level.to_owned(), sequence, rest.to_owned());
    assert_eq!(receipt(client), expected);
}

#[test]
fn a_receipt_says_how_safe_its_messages_are_once_the_client_has_asked() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let mut client = broker.connect();
    client.send("@retain PUBLISH a 1").expect("PUBACK 1 0");
    client.send("@retain;ack=disk PUBLISH a 2");
    check(&mut client, "disk", Some(2), "PUBACK 2 0");
    client.send("@retain;ack=os PUBLISH a 3");
    check(&mut client, "os", Some(3), "PUBACK 3 0");
    // It is written to the system in any case.
    client.send("@retain;ack=mem PUBLISH a 4");
    check(&mut client, "os", Some(4), "PUBACK 4 0");
    client.send("@retain PUBLISH a 5");
    check(&mut client, "os", Some(5), "PUBACK 5 0");
    // One that is not kept cannot be safer than the memory of the broker.
    client.send("@ack=disk PUBLISH a 6");
    check(&mut client, "mem", None, "PUBACK 6 0");
    client.send("PUBLISH a 7");
    check(&mut client, "mem", None, "PUBACK 7 0");
    // Clearing is kept, also of what is cleared already.
    for (number, sequence) in [(8, 6), (9, 6)] {
        client.send("@retain;ack=disk PUBLISH a");
        check(
            &mut client,
            "disk",
            Some(sequence),
            &format!("PUBACK {number} 0"),
        );
    }
    // Of several the lowest.
    client
        .send("@retain;ack=disk PUBLISH a 10\n@retain PUBLISH a 11\n@retain;ack=disk PUBLISH a 12");
    let mut last = String::new();
    let mut levels = Vec::new();
    while !last.starts_with("PUBACK 12 ") {
        let (level, _, rest) = receipt(&mut client);
        levels.push(level);
        last = rest;
    }
    assert!(levels.contains(&"os".to_owned()), "{levels:?}");
}

#[test]
fn messages_before_the_first_question_have_a_receipt_of_their_own() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let mut client = broker.connect();
    client.send("PUBLISH a 1\nPUBLISH a 2\n@retain;ack=disk PUBLISH a 3\nPING x");
    client.expect("PUBACK 2 0");
    check(&mut client, "disk", Some(1), "PUBACK 3 0");
    client.expect("PONG x");
}

#[test]
fn messages_that_are_kept_before_the_first_question_are_no_part_of_its_answer() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &["--keep", "#=9"]);
    let mut client = broker.connect();
    client.send("PUBLISH a 1\nPUBLISH a 2\n@ack=disk PUBLISH a 3\nPING x");
    client.expect("PUBACK 2 0");
    check(&mut client, "disk", Some(3), "PUBACK 3 0");
    client.expect("PONG x");
    // In MQTT 5 each message has an answer of its own.
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    let publish = |id, properties: &[u8]| {
        let body = [
            &text("a")[..],
            &[0, id, properties.len() as u8],
            properties,
            b"x",
        ];
        packet(0x32, &body.concat())
    };
    let asking = user_property("ack", "disk");
    client.send(
        &[
            publish(1, &[]),
            publish(2, &asking),
            publish(3, &[]),
            publish(4, &asking),
        ]
        .concat(),
    );
    for (id, sequence) in [(1, None), (2, Some(5)), (3, None), (4, Some(7))] {
        let answer = client.packet();
        assert_eq!(answer[2..4], [0, id]);
        let told = String::from_utf8_lossy(&answer);
        assert_eq!(told.contains("disk"), sequence.is_some(), "{id}: {told}");
        if let Some(sequence) = sequence {
            assert!(told.ends_with(&format!(".1:{sequence}")), "{told}");
        }
    }
}

#[test]
fn without_a_store_every_receipt_says_so() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.send("@retain;ack=disk PUBLISH a 1");
    check(&mut client, "mem", None, "PUBACK 1 0");
}

#[test]
fn answers_keep_their_order_while_receipts_wait_for_the_disk() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let mut client = broker.connect();
    client.send("@retain;ack=disk PUBLISH a 1\nPING 1\n@ack=no PUBLISH a x\n@retain;ack=disk PUBLISH a 2\nSUBSCRIBE a\nPING 2");
    check(&mut client, "disk", Some(1), "PUBACK 1 0");
    client.expect("PONG 1");
    client.expect("ERROR bad-attribute publish:2 `ack` is one of mem, os or disk");
    check(&mut client, "disk", Some(2), "PUBACK 3 0");
    client
        .expect("SUBACK a")
        .expect("@retained MESSAGE a 2")
        .expect("PONG 2");
    client.send("@retain;ack=disk PUBLISH a 3\nUNSUBSCRIBE a\n@retain;ack=disk PUBLISH a 4\nBYE");
    client.expect("MESSAGE a 3");
    check(&mut client, "disk", Some(3), "PUBACK 4 1");
    client.expect("UNSUBACK a");
    check(&mut client, "disk", Some(4), "PUBACK 5 0");
    client.expect("BYE").expect_end();
}

#[test]
fn a_publisher_that_ends_its_side_still_gets_its_receipts() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    for number in 1..=20 {
        let mut client = broker.connect();
        client.send(format!("@retain;ack=disk PUBLISH a {number}"));
        client.half_close();
        check(&mut client, "disk", Some(number), "PUBACK 1 0");
        client.expect_end();
    }
}

/// Each of many clients publishes without a pause, and all of what it is told adds up.
#[test]
fn all_messages_of_many_publishers_have_receipts() {
    const MESSAGES: u64 = 500;
    let folder = folder();
    // Whether they ask or the operator has chosen it for all.
    for (more, attribute) in [(&[][..], ";ack=disk"), (&["--ack", "disk"], "")] {
        let broker =
            TestBroker::with_store(&folder.path().join(format!("data{}", more.len())), more);
        thread::scope(|scope| {
            for number in 0..16 {
                let mut client = broker.connect();
                scope.spawn(move || {
                    let line = format!("@retain{attribute} PUBLISH t/{number} x\n");
                    client.write(line.repeat(MESSAGES as usize));
                    let mut answered = 0;
                    while answered < MESSAGES {
                        let line = client.read_line();
                        let rest = line.rsplit_once("PUBACK ").expect("a receipt").1;
                        assert_eq!(line.contains("@level=disk;pos="), !attribute.is_empty());
                        let now = rest.split(' ').next().expect("a number");
                        let now = now.parse().expect("a number");
                        assert!(now > answered, "{line}");
                        answered = now;
                    }
                });
            }
        });
        assert_eq!(broker.stop_by(Signal::KILL).code, None);
    }
}

#[test]
fn mqtt_5_asks_and_is_told_by_user_properties() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    // PUBACK of QoS 1 and PUBREC of QoS 2, with the code that there are no subscribers.
    for (flags, kind, sequence) in [(0x33, 0x40, 1), (0x35, 0x50, 2)] {
        client.publish_with(flags, "lamp", 7, &user_property("ack", "disk"), b"on");
        let answer = client.packet();
        let told = String::from_utf8_lossy(&answer);
        assert!(
            answer[0] == kind && answer[2..5] == [0, 7, 0x10],
            "{answer:02x?}"
        );
        for part in [text("level"), text("disk"), text("pos")] {
            let part = String::from_utf8_lossy(&part);
            assert!(told.contains(&*part), "{told}");
        }
        assert!(told.ends_with(&format!(".1:{sequence}")), "{told}");
    }
    // One that does not ask is not told.
    client.publish_as(0x33, "lamp", 8, b"off");
    client.expect(&[0x40, 3, 0, 8, 0x10]);
    client.publish_with(0x33, "lamp", 9, &user_property("ack", "most"), b"x");
    let refused = client.packet();
    assert_eq!(refused[2..5], [0, 9, 0x83]);
    assert!(String::from_utf8_lossy(&refused).contains("`ack` is one of"));
    // It does not travel.
    let mut reader = MqttClient::connect(broker.address(), Mqtt::V5, "b");
    client.publish_with(0x33, "lamp", 10, &user_property("ack", "os"), b"on");
    client.packet();
    reader.subscribe("lamp", 0);
    let message = reader.message();
    assert_eq!(
        (message.payload.as_slice(), message.properties.len()),
        (&b"on"[..], 0)
    );
    reader.leave();
    client.send(&packet(0xe0, &[]));
}

#[test]
fn http_answers_when_the_level_is_reached_and_says_it() {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let post = |query: &str| {
        let mut client = broker.connect();
        client.write(format!("POST /topics/lamp?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\non"));
        client.read_to_end()
    };
    let told = post("retain&ack=disk");
    for part in [
        "HTTP/1.1 200 OK",
        "\r\ndallal-level: disk\r\n",
        ".1:1\r\n",
        "\"level\":\"disk\",\"position\":\"",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = post("ack=disk");
    assert!(
        told.contains("\r\ndallal-level: mem\r\n") && !told.contains("position"),
        "{told}"
    );
    let told = post("retain");
    assert!(
        told.contains("HTTP/1.1 200 OK") && !told.contains("level"),
        "{told}"
    );
    let told = post("retain&ack=paper");
    assert!(
        told.contains("HTTP/1.1 400") && told.contains("`ack` is one of"),
        "{told}"
    );
}
