//! Promises of docs/mqtt.md: both versions, one room with the line protocol.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet, text, user_property};
use tests::{Asker, TestBroker};

#[test]
fn a_message_crosses_from_any_protocol_to_any_other() {
    let broker = TestBroker::start();
    let mut lines = broker.subscribe("room/#");
    let mut clients =
        BOTH.map(|version| MqttClient::connect(broker.address(), version, &format!("{version:?}")));
    for client in &mut clients {
        client.subscribe("room/+", 0);
    }
    lines
        .send("PUBLISH room/1 from a line")
        .expect("MESSAGE room/1 from a line");
    lines.expect("PUBACK 1 3");
    for client in &mut clients {
        client.expect_message(0, "room/1", "from a line");
    }
    for at in 0..2 {
        clients[at].publish("room/2", "from MQTT");
        for client in &mut clients {
            client.expect_message(0, "room/2", "from MQTT");
        }
        lines.expect("MESSAGE room/2 from MQTT");
    }
}

#[test]
fn bytes_that_come_are_counted_and_the_client_is_known_to_be_awake() {
    let broker = TestBroker::start();
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client.subscribe("t", 0);
    // Since the connection began, and since the client was last heard.
    let ages = || {
        let who = Asker::of(&broker).ask("who t");
        let age = |name: &str| who["connections"][0][name].as_f64().expect("a time");
        (age("connected_s"), age("idle_s"))
    };
    tests::eventually("it counts as idle", || ages().1 >= 0.1);
    client.publish("t", &"x".repeat(10_000)).message();
    let (connected, idle) = ages();
    assert!(connected - idle >= 0.1, "{connected} {idle}");
    let mut curl = broker.connect();
    curl.write("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let figures = curl.read_to_end();
    let bytes = figures
        .lines()
        .find_map(|line| line.strip_prefix("dallal_bytes_read_total "));
    let bytes: u64 = bytes.and_then(|bytes| bytes.parse().ok()).expect("a count");
    assert!(bytes > 10_000, "{bytes}");
}

#[test]
fn payloads_are_any_bytes_both_ways() {
    let broker = TestBroker::start();
    let all: Vec<u8> = (0..=255).collect();
    for version in BOTH {
        let mut client = MqttClient::connect(broker.address(), version, "a");
        client.subscribe("bytes", 1);
        client.publish_as(0x30, "bytes", 0, &all);
        assert_eq!(client.message().payload, all);
        client.publish_as(0x30, "bytes", 0, b"");
        assert_eq!(client.message().payload, b"");
        let mut line = broker.subscribe("bytes");
        client.publish_as(0x30, "bytes", 0, b"a\nb\r\\n");
        line.expect(br"MESSAGE bytes a\nb\r\\n");
        line.send(br"PUBLISH bytes x\ny\\z")
            .expect(br"MESSAGE bytes x\ny\\z");
        assert_eq!(client.message().payload, b"a\nb\r\\n");
        let came = client.message();
        assert_eq!((came.flags, &*came.payload), (0x02, &b"x\ny\\z"[..]));
    }
}

#[test]
fn attributes_are_properties_and_come_back_as_they_were() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe("t");
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client.subscribe("t", 0);
    let properties = [
        &[0x01, 1][..],
        &[0x02, 0, 0, 1, 0],
        &[&[0x03][..], &text("text/plain")].concat(),
        &[&[0x08][..], &text("my reply")].concat(),
        &[&[0x09][..], &text("i;d")].concat(),
        &user_property("unit", "degrees C"),
        &user_property("My Key=%", "v"),
        &user_property("retain", ""),
    ]
    .concat();
    client.publish_with(0x30, "t", 0, &properties, b"21");
    assert_eq!(client.message().properties, properties);
    line.expect(
        r"@utf8;ttl=256;type=text/plain;reply=my\\sreply;id=i\:d;unit=degrees\sC;user=My\sKey%3D%25=v;user=retain= MESSAGE t 21",
    );
    line.send(r"@reply=a/b;id=7;urgent;type=x;ttl=5 PUBLISH t q");
    let came = client.message().properties;
    let expected = [
        &[&[0x08][..], &text("a/b")].concat()[..],
        &[&[0x09][..], &text("7")].concat(),
        &user_property("urgent", ""),
        &[&[0x03][..], &text("x")].concat(),
        &[0x02, 0, 0, 0, 5],
    ]
    .concat();
    assert_eq!(came, expected);
}

#[test]
fn topics_may_hold_spaces_which_a_line_writes_otherwise() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe(r"living\sroom/+");
    for version in BOTH {
        let mut client = MqttClient::connect(broker.address(), version, "a");
        client.subscribe("living room/#", 0);
        client.publish("living room/a lamp", "on");
        client.expect_message(0, "living room/a lamp", "on");
        line.expect(r"MESSAGE living\sroom/a\slamp on");
        line.send(r"PUBLISH living\sroom/x off");
        client.expect_message(0, "living room/x", "off");
        line.expect(r"MESSAGE living\sroom/x off").read_line();
        client.subscribe(r"c:\temp\s", 0);
        client.publish(r"c:\temp\s", "x");
        client.expect_message(0, r"c:\temp\s", "x");
    }
}

#[test]
fn retained_messages_are_the_same_for_all() {
    let broker = TestBroker::start();
    let mut line = broker.connect();
    line.send("@retain PUBLISH lamp on").expect("PUBACK 1 0");
    for version in BOTH {
        let mut client = MqttClient::connect(broker.address(), version, "a");
        client.subscribe("lamp", 0).expect_message(1, "lamp", "on");
        client.publish_as(0x31, "lamp", 0, b"off");
        client.expect_message(0, "lamp", "off");
        let mut late = broker.subscribe("lamp");
        late.expect("@retained MESSAGE lamp off");
        client.publish_as(0x31, "lamp", 0, b"on");
        late.expect("MESSAGE lamp on");
    }
}

#[test]
fn a_member_of_a_group_that_is_away_gets_nothing_while_another_is_connected() {
    let broker = TestBroker::start();
    for version in BOTH {
        let shared = format!("$share/printers/jobs/{version:?}");
        let jobs = &shared["$share/printers/".len()..];
        let (mut away, _) = MqttClient::enter(broker.address(), version, &Hello::lasting("away"));
        let (mut there, _) = MqttClient::enter(broker.address(), version, &Hello::lasting("there"));
        away.subscribe(&shared, 1);
        there.subscribe(&shared, 1);
        away.leave();
        let mut source = MqttClient::connect(broker.address(), version, "source");
        let mut publish = |payload: &str| {
            source.publish_as(0x32, jobs, 1, payload.as_bytes());
            assert_eq!(source.packet()[0], 0x40);
        };
        for number in 0..10 {
            publish(&format!("{number}"));
            assert_eq!(there.message().payload, format!("{number}").as_bytes());
        }
        // While both are away, messages wait for either.
        there.leave();
        let each = ["10", "11", "12", "13"];
        each.iter().for_each(|payload| publish(payload));
        let mut came = Vec::new();
        for id in ["away", "there"] {
            let mut hello = Hello::lasting(id);
            let (mut member, resumed) = MqttClient::enter(broker.address(), version, &hello);
            assert!(resumed);
            member.send(&[0xc0, 0]);
            loop {
                let packet = member.packet();
                match packet[0] >> 4 {
                    3 => {
                        let message = member.read_publish(&packet);
                        let [high, low] = message.id.to_be_bytes();
                        member.send(&[0x40, 2, high, low]);
                        came.push(message);
                    }
                    13 => break,
                    other => panic!("{other}"),
                }
            }
            member.leave();
            hello.clean = true;
            hello.properties.clear();
            MqttClient::enter(broker.address(), version, &hello)
                .0
                .leave();
        }
        let fresh = came.iter().filter(|message| message.flags & 8 == 0);
        let mut fresh: Vec<_> = fresh.map(|message| message.payload.clone()).collect();
        fresh.sort();
        assert_eq!(fresh, each.map(|payload| payload.as_bytes()), "{version:?}");
    }
}

#[test]
fn messages_on_a_topic_arrive_in_order_whatever_their_qos() {
    // Those at QoS 0 came before all others that were read at the same time.
    let broker = TestBroker::start();
    for version in BOTH {
        for granted in [1, 2] {
            let mut panel = MqttClient::connect(broker.address(), version, "panel");
            panel.subscribe("lamp", granted);
            let mut lamp = MqttClient::connect(broker.address(), version, "lamp");
            let mut sent = Vec::new();
            for number in 0..300_u16 {
                let qos = [1, 0, 0, 2, 1, 0][usize::from(number) % 6];
                let mut body = text("lamp");
                if qos > 0 {
                    body.extend((number + 1).to_be_bytes());
                }
                body.extend(&[0][..usize::from(version == Mqtt::V5)]);
                body.extend(format!("{number}").bytes());
                sent.extend(packet(0x30 | qos << 1, &body));
            }
            lamp.send(&sent);
            for number in 0..300 {
                let message = panel.message();
                let payload = String::from_utf8(message.payload).expect("a number");
                assert_eq!(payload, format!("{number}"), "{version:?} {granted}");
            }
        }
    }
}

#[test]
fn a_payload_format_indicator_arrives_as_it_was_sent() {
    // 0 was left out, because it means the same as none: [MQTT-3.3.2-4] asks for it unaltered.
    let broker = TestBroker::start();
    let mut reader = MqttClient::connect(broker.address(), Mqtt::V5, "reader");
    reader.subscribe("#", 0);
    let mut line = broker.subscribe("#");
    let mut writer = MqttClient::connect(broker.address(), Mqtt::V5, "writer");
    for (format, attribute) in [(1, "utf8"), (0, "utf8=0")] {
        let indicator = [1, format];
        // With an acknowledgement: the value must be retained before the next client comes.
        writer.publish_with(0x33, "kept", 1, &indicator, b"x");
        writer.packet();
        let mut late = MqttClient::connect(broker.address(), Mqtt::V5, "late");
        late.subscribe("kept", 0);
        for came in [reader.message(), late.message()] {
            assert_eq!(came.properties, indicator);
        }
        line.expect(format!("@{attribute} MESSAGE kept x"));
        line.send(format!("@{attribute} PUBLISH line x"))
            .expect(format!("@{attribute} MESSAGE line x"));
        line.expect_prefix("PUBACK ");
        assert_eq!(reader.message().properties, indicator);
    }
    line.send("@utf8=2 PUBLISH line x")
        .expect("@utf8=2 MESSAGE line x");
    assert_eq!(reader.message().properties, user_property("utf8", "2"));
}

#[test]
fn a_value_that_is_retained_while_a_client_subscribes_comes_once() {
    // A value that was retained between the subscription and the search for retained messages came live
    // and then again as a retained message: under load to every third subscriber.
    let broker = TestBroker::start();
    let stop = AtomicBool::new(false);
    let mut twice = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = MqttClient::connect(broker.address(), Mqtt::V3, "publisher");
            for number in 0.. {
                publisher.publish_as(0x33, "counter", 1, format!("{number}").as_bytes());
                publisher.packet();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for number in 0..300 {
            let version = BOTH[number % 2];
            let mut client = MqttClient::connect(broker.address(), version, "subscriber");
            // Many filters, so that the search for retained messages comes late.
            let mut body = vec![0, 9];
            body.extend(&[0][..usize::from(version == Mqtt::V5)]);
            for other in 0..50 {
                body.extend(text(&format!("other/{other}/#")));
                body.push(0);
            }
            body.extend(text("counter"));
            body.push(0);
            client.send(&packet(0x82, &body));
            let mut came: Vec<u64> = Vec::new();
            while came.len() < 4 {
                let packet = client.packet();
                if packet[0] >> 4 == 3 {
                    let payload = client.read_publish(&packet).payload;
                    let payload = String::from_utf8(payload).expect("a number");
                    came.push(payload.parse().expect("a number"));
                }
            }
            if !came.is_sorted_by(|a, b| a < b) {
                twice.push((version, came));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(twice.is_empty(), "{} of 300: {twice:?}", twice.len());
}

#[test]
fn a_retained_message_is_forgotten_when_it_expires_and_tells_how_long_it_has() {
    let broker = TestBroker::start();
    let mut line = broker.connect();
    line.send("@retain;ttl=0 PUBLISH short x")
        .expect("PUBACK 1 0");
    line.send("@retain;ttl=100 PUBLISH long x")
        .expect("PUBACK 2 0");
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    tests::eventually("a second of the long one has passed", || {
        client.subscribe("long", 0);
        let came = client.message();
        let left = u32::from_be_bytes(came.properties[1..5].try_into().expect("four bytes"));
        assert!((1..=100).contains(&left), "{left}");
        left < 100
    });
    client.subscribe("+", 0);
    assert_eq!(client.message().topic, "long");
    client.expect_silence();
}

#[test]
fn a_session_keeps_what_comes_while_its_client_is_away() {
    for version in BOTH {
        let broker = TestBroker::start();
        let hello = Hello::lasting("sleeper");
        let (mut sleeper, present) = MqttClient::enter(broker.address(), version, &hello);
        assert!(!present);
        sleeper.subscribe("a/#", 1);
        sleeper.vanish();
        let mut line = broker.connect();
        broker.wait_for_log("reset by the client");
        for number in 1..=300 {
            line.send(format!("PUBLISH a/b {number}"))
                .expect(format!("PUBACK {number} 1"));
        }
        let (mut sleeper, present) = MqttClient::enter(broker.address(), version, &hello);
        assert!(present);
        let mut ids = Vec::new();
        for number in 1..=300 {
            let came = sleeper.message();
            assert_eq!(
                (came.flags, came.payload),
                (2, number.to_string().into_bytes())
            );
            ids.push(came.id);
        }
        // Of half of them the client says that they have arrived; the others come again.
        for id in &ids[..150] {
            sleeper.send(&[0x40, 2, (id >> 8) as u8, *id as u8]);
        }
        sleeper.expect_silence();
        sleeper.vanish();
        let (mut sleeper, _) = MqttClient::enter(broker.address(), version, &hello);
        for (number, id) in (151..=300).zip(&ids[150..]) {
            let came = sleeper.message();
            assert_eq!((came.flags, came.id), (0x0a, *id));
            assert_eq!(came.payload, number.to_string().into_bytes());
            sleeper.send(&[0x40, 2, (id >> 8) as u8, *id as u8]);
        }
        sleeper.expect_silence();
        let ledger = broker.ledger();
        assert!(
            ledger.contains("300 copies = 300 written + 0 waiting"),
            "{ledger}"
        );
        let clean = Hello::new("sleeper");
        let (_, present) = MqttClient::enter(broker.address(), version, &clean);
        assert!(!present);
        line.send("PUBLISH a/b x").expect("PUBACK 301 0");
    }
}

#[test]
fn a_session_holds_no_more_than_it_may_and_tells_what_is_missing() {
    for version in BOTH {
        let broker = TestBroker::with_args(&["--max-queued", "10"]);
        let hello = Hello::lasting("sleeper");
        let (mut sleeper, _) = MqttClient::enter(broker.address(), version, &hello);
        sleeper.subscribe("a", 1).subscribe("$SYS/gap/sleeper", 0);
        sleeper.vanish();
        broker.wait_for_log("reset by the client");
        let mut line = broker.connect();
        for number in 1..=15 {
            line.send(format!("PUBLISH a {number}"))
                .expect(format!("PUBACK {number} 1"));
        }
        let (mut sleeper, _) = MqttClient::enter(broker.address(), version, &hello);
        for number in 1..=10 {
            let came = sleeper.message();
            assert_eq!(came.payload, number.to_string().into_bytes());
            sleeper.send(&[0x40, 2, (came.id >> 8) as u8, came.id as u8]);
        }
        sleeper.expect_silence();
        line.send("PUBLISH a 16").expect("PUBACK 16 1");
        if version == Mqtt::V3 {
            sleeper.expect_message(0, "$SYS/gap/sleeper", "5");
        }
        let came = sleeper.message();
        assert_eq!(came.payload, b"16");
        if version == Mqtt::V5 {
            assert_eq!(came.properties, user_property("gap", "5"));
        }
        let ledger = broker.ledger();
        assert!(ledger.contains("5 dropped"), "{ledger}");
    }
}

#[test]
fn a_session_that_outlasts_its_connection_needs_a_place() {
    let flags = ["--max-sessions", "3", "--max-sessions-per-address", "2"];
    let broker = TestBroker::with_args(&flags);
    let enter = |version, hello: &Hello| {
        let mut client = MqttClient::dial(broker.address(), version);
        let connack = client.send(&hello.encode(version)).packet();
        // The code follows the length, the last byte of which is less than 128, and the flags.
        let length = 1 + connack[1..].iter().take_while(|&&byte| byte >= 128).count();
        connack[length + 2]
    };
    assert_eq!(enter(Mqtt::V5, &Hello::lasting("a")), 0);
    assert_eq!(enter(Mqtt::V3, &Hello::lasting("b")), 0);
    assert_eq!(enter(Mqtt::V5, &Hello::lasting("c")), 0x97);
    assert_eq!(enter(Mqtt::V3, &Hello::lasting("c")), 3);
    // One that is there already, and one that ends with its connection.
    assert_eq!(enter(Mqtt::V5, &Hello::lasting("b")), 0);
    assert_eq!(enter(Mqtt::V5, &Hello::new("c")), 0);
    let mut asker = Asker::of(&broker);
    tests::eventually("all are away", || {
        let sessions = asker.ask("sessions");
        let rows = sessions["sessions"].as_array().expect("rows");
        let ids: Vec<_> = rows.iter().map(|row| &row["client_id"]).collect();
        assert_eq!(
            (json!(ids), &sessions["total"]),
            (json!(["a", "b"]), &json!(2))
        );
        rows.iter().all(|row| row["away"] == true)
    });
    // A clean session takes the place of an earlier one and gives it back.
    assert_eq!(enter(Mqtt::V3, &Hello::new("a")), 0);
    assert_eq!(enter(Mqtt::V5, &Hello::lasting("c")), 0);
}

/// Sessions that were left behind would otherwise hold all of the memory for as long as they last.
#[test]
fn what_waits_for_the_absent_leaves_memory_to_those_who_are_there() {
    let limits = [
        "--memory",
        "4MiB",
        "--max-line",
        "1MiB",
        "--outbox-bytes",
        "1MiB",
    ];
    let broker = TestBroker::with_args(&limits);
    for number in 0..10 {
        let hello = Hello::lasting(&format!("absent-{number}"));
        let (mut absent, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
        absent.subscribe("#", 1);
        absent.vanish();
    }
    let mut asker = Asker::of(&broker);
    tests::eventually("all are away", || {
        let sessions = asker.ask("sessions");
        let rows = sessions["sessions"].as_array().expect("rows");
        rows.len() == 10 && rows.iter().all(|row| row["away"] == true)
    });
    let mut line = broker.connect();
    let text = "x".repeat(1000);
    for number in 1..=3000 {
        line.send(format!("PUBLISH news {text}"));
        line.expect(format!("PUBACK {number} 10"));
    }
    let memory = asker.ask("broker")["memory"]["used"].as_u64();
    let used = memory.expect("a number");
    assert!((512 * 1024..=1280 * 1024).contains(&used), "{used} bytes");
    let rows = asker.ask("sessions");
    let rows = rows["sessions"].as_array().expect("rows");
    let kept: Vec<_> = rows.iter().map(|row| row["waiting"].as_u64()).collect();
    assert!(kept.iter().all(|kept| *kept > Some(50)), "{kept:?}");
}

#[test]
fn a_slow_reader_is_told_of_its_loss_with_the_next_message() {
    let broker = TestBroker::with_args(&["--max-line", "100KiB", "--outbox-bytes", "100KiB"]);
    let mut slow = MqttClient::connect(broker.address(), Mqtt::V5, "slow");
    slow.subscribe("a", 0);
    let mut line = broker.connect();
    let long = "x".repeat(50_000);
    // More than the kernel and the outbox take.
    let mut published = 0;
    let dropped = |ledger: &str| !ledger.contains(" 0 dropped");
    while !dropped(&broker.ledger()) {
        for _ in 0..50 {
            published += 1;
            line.send(format!("PUBLISH a {long}"))
                .expect(format!("PUBACK {published} 1"));
        }
    }
    let (mut came, mut told) = (0, 0);
    loop {
        // What comes after all that waited tells what was lost before it.
        slow.send(&[0xc0, 0]);
        loop {
            let bytes = slow.packet();
            if bytes[0] == 0xd0 {
                break;
            }
            came += 1;
            let publish = slow.read_publish(&bytes);
            if publish.properties.starts_with(&[0x26, 0, 3]) {
                let count = String::from_utf8_lossy(&publish.properties[8..]).into_owned();
                told += count.parse::<u64>().expect("a count");
            }
        }
        if came + told == published {
            break;
        }
        assert!(told == 0, "{came} came, {told} are told, of {published}");
        published += 1;
        line.send("PUBLISH a last")
            .expect(format!("PUBACK {published} 1"));
    }
    assert!(told > 0);
}

#[test]
fn a_client_that_connects_again_takes_the_place_of_its_old_connection() {
    for version in BOTH {
        let broker = TestBroker::start();
        let mut first = MqttClient::connect(broker.address(), version, "same");
        let _second = MqttClient::connect(broker.address(), version, "same");
        first.expect_dismissal(0x8e);
    }
}

#[test]
fn a_will_is_published_for_a_client_that_vanishes_and_not_for_one_that_says_goodbye() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe("gone");
    for version in BOTH {
        let hello = Hello {
            will: Some(("gone".to_owned(), format!("{version:?}"))),
            ..Hello::new("mortal")
        };
        MqttClient::enter(broker.address(), version, &hello)
            .0
            .leave();
        line.expect_silence();
        MqttClient::enter(broker.address(), version, &hello)
            .0
            .vanish();
        line.expect(format!("MESSAGE gone {version:?}"));
    }
}

#[test]
fn receipts_say_when_there_is_no_subscriber() {
    let broker = TestBroker::start();
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client
        .publish_as(0x32, "a", 7, b"x")
        .expect(&[0x40, 3, 0, 7, 0x10]);
    client
        .publish_as(0x34, "a", 8, b"x")
        .expect(&[0x50, 3, 0, 8, 0x10]);
    client.send(&[0x62, 2, 0, 8]).expect(&[0x70, 2, 0, 8]);
    let _line = broker.subscribe("a");
    client
        .publish_as(0x32, "a", 7, b"x")
        .expect(&[0x40, 2, 0, 7]);
    let mut old = MqttClient::connect(broker.address(), Mqtt::V3, "b");
    old.publish_as(0x32, "b", 7, b"x").expect(&[0x40, 2, 0, 7]);
}

#[test]
fn what_is_malformed_ends_the_connection_with_the_code_the_standard_names() {
    let broker = TestBroker::with_args(&["--max-line", "10000"]);
    let cases: [(&str, Vec<u8>, u8); 34] = [
        (
            "a length of five bytes",
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 1],
            0x81,
        ),
        (
            "a packet that is too large",
            vec![0x30, 0x80, 0x80, 0x01],
            0x95,
        ),
        ("QoS 3", packet(0x36, &[0, 1, b'a', 0, 1, 0]), 0x81),
        ("DUP at QoS 0", packet(0x38, &[0, 1, b'a', 0]), 0x81),
        ("packet type 0", packet(0x00, &[]), 0x81),
        (
            "flags of SUBSCRIBE",
            packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]),
            0x81,
        ),
        ("flags of PINGREQ", packet(0xc1, &[]), 0x81),
        ("flags of PUBREL", packet(0x60, &[0, 1]), 0x81),
        ("a body of PINGREQ", packet(0xc0, &[0]), 0x81),
        ("a packet for clients", packet(0x20, &[0, 0, 0]), 0x82),
        ("a topic that is cut off", packet(0x30, &[0, 9, b'a']), 0x81),
        (
            "a topic that is not UTF-8",
            packet(0x30, &[0, 1, 0xff, 0]),
            0x81,
        ),
        (
            "a surrogate",
            packet(0x30, &[0, 3, 0xed, 0xa0, 0x80, 0]),
            0x81,
        ),
        ("U+0000 in a topic", packet(0x30, &[0, 1, 0, 0]), 0x81),
        (
            "a wildcard in a topic",
            packet(0x32, &[0, 1, b'#', 0, 1, 0]),
            0x90,
        ),
        (
            "a filter with # before its end",
            packet(0x82, b"\0\x01\0\0\x03#/a\0"),
            0x8f,
        ),
        (
            "a filter with + beside letters",
            packet(0xa2, b"\0\x01\0\0\x02a+"),
            0x8f,
        ),
        (
            "a shared filter without a group",
            packet(0x82, b"\0\x01\0\0\x09$share//a\0"),
            0x8f,
        ),
        ("a length that is padded", vec![0xc0, 0x80, 0], 0x81),
        (
            "a length of properties that is padded",
            packet(0x82, b"\0\x01\x80\0\0\x01a\0"),
            0x81,
        ),
        (
            "a subscription identifier that is padded",
            packet(0x82, b"\0\x01\x03\x0b\x81\0\0\x01a\0"),
            0x81,
        ),
        (
            "a property of CONNECT in a SUBSCRIBE",
            packet(0x82, b"\0\x01\x05\x11\0\0\0\0\0\x01a\0"),
            0x81,
        ),
        (
            "a property of PUBLISH in a PUBACK",
            packet(0x40, b"\0\x01\0\x02\x01\0"),
            0x81,
        ),
        (
            "a property of CONNACK in a DISCONNECT",
            packet(0xe0, b"\0\x02\x24\0"),
            0x81,
        ),
        (
            "a reason string twice",
            packet(0x62, b"\0\x01\0\x06\x1f\0\0\x1f\0\0"),
            0x82,
        ),
        (
            "packet identifier 0",
            packet(0x32, &[0, 1, b'a', 0, 0, 0]),
            0x82,
        ),
        ("no packet identifier", packet(0x32, &[0, 1, b'a']), 0x81),
        (
            "a SUBSCRIBE without filters",
            packet(0x82, &[0, 1, 0]),
            0x82,
        ),
        (
            "QoS 3 in SUBSCRIBE",
            packet(0x82, &[0, 1, 0, 0, 1, b'a', 3]),
            0x82,
        ),
        (
            "retain handling 3",
            packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x30]),
            0x82,
        ),
        (
            "reserved bits in SUBSCRIBE",
            packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x40]),
            0x81,
        ),
        (
            "an UNSUBSCRIBE without filters",
            packet(0xa2, &[0, 1, 0]),
            0x82,
        ),
        (
            "a second CONNECT",
            Hello::new("again").encode(Mqtt::V5),
            0x82,
        ),
        ("AUTH", packet(0xf0, &[0x18, 0]), 0x82),
    ];
    for (what, bytes, code) in cases {
        let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
        client.send(&bytes);
        let came = client.packet();
        assert_eq!((came[0], came[2]), (0xe0, code), "{what}: {came:02x?}");
        client.expect_closed();
        // Cut at any byte it is awaited, not answered.
        let mut slow = MqttClient::connect(broker.address(), Mqtt::V5, "a");
        for byte in &bytes[..bytes.len() - 1] {
            slow.send(&[*byte]);
        }
        drop(slow);
    }
    for (what, bytes) in [
        ("QoS 3", packet(0x36, &[0, 1, b'a', 0, 1])),
        (
            "reserved bits in SUBSCRIBE",
            packet(0x82, &[0, 1, 0, 1, b'a', 4]),
        ),
        ("a body of DISCONNECT", packet(0xe0, &[0])),
        ("AUTH", packet(0xf0, &[])),
        ("a wildcard", packet(0x30, &[0, 1, b'+'])),
        (
            "a filter with + beside letters",
            packet(0x82, b"\0\x01\0\x02a+\0"),
        ),
        ("the same in UNSUBSCRIBE", packet(0xa2, b"\0\x01\0\x02a+")),
        ("no topic", packet(0x30, &[0, 0])),
        ("bytes behind PUBACK", packet(0x40, &[0, 1, 0])),
    ] {
        let mut client = MqttClient::connect(broker.address(), Mqtt::V3, "a");
        client.send(&bytes);
        assert!(client.read_packet().is_err(), "{what}: it is not closed");
    }
}

#[test]
fn a_connect_that_is_malformed_is_refused_with_the_code_the_standard_names() {
    let broker = TestBroker::start();
    let hello = |id: &str, properties: &[u8]| Hello {
        properties: properties.to_vec(),
        ..Hello::new(id)
    };
    let with_will = |topic: &str| Hello {
        will: Some((topic.into(), "gone".into())),
        ..Hello::new("a")
    };
    let mut not_utf8 = Hello::new("a").encode(Mqtt::V5);
    *not_utf8.last_mut().expect("the client identifier") = 0xff;
    for (what, bytes, code) in [
        ("an identifier that is not UTF-8", not_utf8, 0x81),
        (
            "a will with a wildcard",
            with_will("a/#").encode(Mqtt::V5),
            0x90,
        ),
        (
            "a will without a topic",
            with_will("").encode(Mqtt::V5),
            0x90,
        ),
        (
            "a will to a topic that is not taken here",
            with_will("a\tb").encode(Mqtt::V5),
            0x90,
        ),
        (
            "a property of a will",
            hello("a", &[0x18, 0, 0, 0, 1]).encode(Mqtt::V5),
            0x81,
        ),
        (
            "a property twice",
            hello("a", &[0x21, 0, 1, 0x21, 0, 1]).encode(Mqtt::V5),
            0x82,
        ),
        (
            "receive maximum 0",
            hello("a", &[0x21, 0, 0]).encode(Mqtt::V5),
            0x82,
        ),
        (
            "an identifier that is too long here",
            hello(&"i".repeat(1025), &[]).encode(Mqtt::V5),
            0x85,
        ),
        (
            "a will that only the broker may publish",
            with_will("$SYS/x").encode(Mqtt::V5),
            0x87,
        ),
        (
            "a maximum that no CONNACK fits in",
            hello("a", &[0x27, 0, 0, 0, 10]).encode(Mqtt::V5),
            0x95,
        ),
        (
            "a maximum that the assigned identifier does not fit in",
            hello("", &[0x27, 0, 0, 0, 30]).encode(Mqtt::V5),
            0x95,
        ),
    ] {
        let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
        client.send(&bytes);
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, code), "{what}");
        client.expect_closed();
    }
    let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
    client.send(&hello("a", &[0x27, 0, 0, 0, 2]).encode(Mqtt::V5));
    client.expect_closed();
}

#[test]
fn an_answer_that_is_longer_than_the_client_takes_is_not_sent() {
    let broker = TestBroker::start();
    let hello = Hello {
        properties: vec![0x27, 0, 0, 0, 40],
        ..Hello::new("a")
    };
    let filters = |count: usize| [&[0, 1, 0][..], &b"\0\x01a\0".repeat(count)].concat();
    let (mut client, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
    client.send(&packet(0x82, &filters(32)));
    assert_eq!(client.packet().len(), 37);
    client.send(&packet(0x82, &filters(40)));
    client.expect_dismissal(0x95);
}

#[test]
fn an_acknowledgement_of_another_kind_than_is_due_ends_the_connection() {
    const PUBACK: u8 = 0x40;
    const PUBREC: u8 = 0x50;
    const PUBCOMP: u8 = 0x70;
    let broker = TestBroker::start();
    for version in BOTH {
        let flows: [(u8, &[u8], u8); 5] = [
            (1, &[], PUBREC),
            (1, &[], PUBCOMP),
            (2, &[], PUBACK),
            (2, &[], PUBCOMP),
            (2, &[PUBREC, PUBREC], PUBACK),
        ];
        for (qos, before, last) in flows {
            let mut client = MqttClient::connect(broker.address(), version, "a");
            client.subscribe("t", qos).publish_as(0x34, "t", 7, b"x");
            // Its own message and the PUBREC for that come in any order.
            let came = [client.packet(), client.packet()];
            let publish = came.iter().find(|bytes| bytes[0] >> 4 == 3);
            let message = client.read_publish(publish.expect("the message has come"));
            let id = message.id.to_be_bytes();
            for kind in before {
                client.send(&packet(*kind, &id)).expect(&packet(0x62, &id));
            }
            client.send(&packet(last, &id));
            client.expect_dismissal(0x82);
        }
    }
}

#[test]
fn properties_that_may_not_be_there_end_the_connection_with_the_code_the_standard_names() {
    let broker = TestBroker::start();
    let alias = |number: u16| [&[0x23][..], &number.to_be_bytes()].concat();
    for (what, topic, properties, code) in [
        ("a server's property", "a", vec![0x24, 1], 0x81),
        ("one that is cut off", "a", vec![0x02, 0, 0], 0x81),
        ("twice the same", "a", vec![0x01, 0, 0x01, 0], 0x82),
        ("a format of 2", "a", vec![0x01, 2], 0x82),
        ("an unknown property", "a", vec![0x7f, 0], 0x81),
        ("a subscription identifier", "a", vec![0x0b, 1], 0x82),
        ("alias 0", "a", alias(0), 0x94),
        ("an alias too many", "a", alias(257), 0x94),
        ("an alias that stands for nothing", "", alias(3), 0x82),
        ("no topic", "", user_property("a", "b"), 0x82),
        (
            "a response topic with a wildcard",
            "a",
            [&[0x08][..], &text("a/#")].concat(),
            0x82,
        ),
        ("U+0000", "a", user_property("a", "\0"), 0x81),
    ] {
        let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
        client.publish_with(0x30, topic, 0, &properties, b"");
        let came = client.packet();
        assert_eq!((came[0], came[2]), (0xe0, code), "{what}: {came:02x?}");
        client.expect_closed();
    }
}

#[test]
fn what_a_client_may_not_publish_is_told_and_the_connection_stays() {
    let broker = TestBroker::with_args(&["--max-retained", "1"]);
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client
        .publish_as(0x33, "a", 1, b"x")
        .expect(&[0x40, 3, 0, 1, 0x10]);
    for (first, topic, code) in [
        (0x32, "$SYS/x", 0x87),
        (0x33, "b", 0x97),
        (0x34, "a\tb", 0x90),
    ] {
        client.publish_as(first, topic, 2, b"x");
        let refused = client.packet();
        let kind = if first == 0x34 { 0x50 } else { 0x40 };
        assert_eq!(
            (refused[0], refused[4]),
            (kind, code),
            "{topic}: {refused:02x?}"
        );
    }
    assert_eq!(client.ask_to_subscribe("a\tb", 0, &[]), 0x8f);
    client.expect_silence();
    let mut old = MqttClient::connect(broker.address(), Mqtt::V3, "b");
    assert_eq!(old.ask_to_subscribe("a\tb", 0, &[]), 0x80);
    assert_eq!(old.ask_to_subscribe("$share/g", 0, &[]), 0x80);
    old.publish_as(0x32, "$SYS/x", 2, b"x")
        .expect(&[0x40, 2, 0, 2]);
}

#[test]
fn the_broker_answers_what_it_is_asked_with_a_response_topic() {
    let broker = TestBroker::start();
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "asker");
    client.subscribe("my answers", 0);
    let reply = [&[0x08][..], &text("my answers")].concat();
    let asked = [&reply[..], &[0x09], &text("no 1")].concat();
    client.publish_with(0x32, "$SYS/request/audit", 1, &asked, b"");
    let answer = client.message();
    assert_eq!(answer.topic, "my answers");
    assert_eq!(answer.properties, [&[0x09][..], &text("no 1")].concat());
    let audit = String::from_utf8(answer.payload).expect("JSON");
    assert!(audit.starts_with(r#"{"balanced":true,"#), "{audit}");
    client.expect(&[0x40, 2, 0, 1]);
    // At QoS 0 as well, and with an argument.
    let few = [&reply[..], &user_property("limit", "1")].concat();
    client.publish_with(0x30, "$SYS/request/who", 0, &few, b"my answers");
    let who = String::from_utf8(client.message().payload).expect("JSON");
    assert!(who.contains(r#""name":"asker""#), "{who}");
    for (topic, properties, code) in [
        ("$SYS/request/audit", &[][..], 0x83),
        ("$SYS/request/everything", &reply, 0x87),
        ("$SYS/request/why", &reply, 0x83),
    ] {
        client.publish_with(0x34, topic, 2, properties, b"");
        let refused = client.packet();
        assert_eq!((refused[0], refused[4]), (0x50, code), "{topic}");
        // It says what to do.
        assert!(refused.len() > 30, "{refused:02x?}");
    }
    let mut old = MqttClient::connect(broker.address(), Mqtt::V3, "b");
    old.publish_as(0x32, "$SYS/request/audit", 2, b"")
        .expect(&[0x40, 2, 0, 2]);
}

#[test]
fn a_session_whose_client_is_away_is_no_connection() {
    let broker = TestBroker::with_args(&["--sys-interval", "20ms"]);
    let mut watcher = MqttClient::connect(broker.address(), Mqtt::V3, "watcher");
    watcher.subscribe("$SYS/broker/clients/+", 0);
    let mut values = BTreeMap::new();
    let mut shows = |expected: [(&str, &str); 3]| {
        let expected: BTreeMap<_, _> = expected
            .map(|(name, value)| {
                (
                    format!("$SYS/broker/clients/{name}"),
                    value.as_bytes().to_vec(),
                )
            })
            .into();
        while !expected
            .iter()
            .all(|(name, value)| values.get(name) == Some(value))
        {
            let came = watcher.message();
            values.insert(came.topic, came.payload);
        }
    };
    let mut asker = Asker::of(&broker);
    let hello = Hello::lasting("sleeper");
    let (mut sleeper, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
    sleeper.subscribe("t", 1);
    sleeper.vanish();
    shows([("connected", "2"), ("disconnected", "1"), ("total", "3")]);
    let who = asker.ask("who t");
    assert_eq!(
        (&who["total"], &who["connections"][0]["away"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(asker.ask("broker")["connections"], 2);
    // Its session is one with the connection that it comes back by.
    let (_sleeper, _) = MqttClient::enter(broker.address(), Mqtt::V3, &hello);
    shows([("connected", "3"), ("disconnected", "0"), ("total", "3")]);
    let who = asker.ask("who t");
    let row = &who["connections"][0];
    assert_eq!(
        (&who["total"], &row["away"], &row["id"]),
        (&json!(1), &json!(false), &json!(4))
    );
    assert_eq!(
        (&row["wire"], &row["name"]),
        (&json!("mqtt 3.1.1"), &json!("sleeper"))
    );
    assert_eq!(asker.ask("who")["total"], 3);
}

#[test]
fn a_group_is_shared_by_all_protocols() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe("$share/g/job");
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client.subscribe("$share/g/job", 1);
    let mut publisher = broker.connect();
    for number in 1..=10 {
        publisher
            .send(format!("PUBLISH job {number}"))
            .expect(format!("PUBACK {number} 1"));
    }
    let mut came = line.read_to_fence().len();
    // What the client leaves behind unacknowledged goes to the other.
    assert_eq!(came, 5);
    for _ in 0..5 {
        client.message();
    }
    client.vanish();
    broker.wait_for_log("reset by the client");
    came += line.read_to_fence().len();
    assert_eq!(came, 10);
}

#[test]
fn a_client_that_is_silent_for_too_long_is_closed() {
    let broker = TestBroker::start();
    for version in BOTH {
        let hello = Hello {
            keep_alive: 1,
            ..Hello::new("silent")
        };
        let (mut client, _) = MqttClient::enter(broker.address(), version, &hello);
        client.expect_dismissal(0x8d);
    }
}

#[test]
fn a_long_packet_that_keeps_coming_is_waited_for() {
    // Inside a PUBLISH no PINGREQ can be sent: a camera with a slow line was closed for ever.
    let broker = TestBroker::start();
    for version in BOTH {
        let hello = Hello {
            keep_alive: 1,
            ..Hello::new("camera")
        };
        let (mut camera, _) = MqttClient::enter(broker.address(), version, &hello);
        let mut body = [&text("camera/1")[..], &[0, 7]].concat();
        body.extend(&[0][..usize::from(version == Mqtt::V5)]);
        body.extend([b'x'; 20_000]);
        for piece in packet(0x32, &body).chunks(2000) {
            camera.send(piece);
            thread::sleep(Duration::from_millis(250));
        }
        assert_eq!(
            camera.packet()[..4],
            [0x40, if version == Mqtt::V5 { 3 } else { 2 }, 0, 7]
        );
        // A byte now and then is no progress.
        camera.send(&[0x30, 0x7f]);
        for _ in 0..9 {
            camera.send(b"x");
            thread::sleep(Duration::from_millis(200));
        }
        camera.expect_dismissal(0x8d);
    }
}

#[test]
fn nothing_of_a_packet_longer_than_the_client_takes_is_sent() {
    let broker = TestBroker::start();
    let hello = Hello {
        properties: vec![0x27, 0, 0, 0, 100],
        ..Hello::new("small")
    };
    let (mut client, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
    client.subscribe("a", 1);
    let mut line = broker.connect();
    line.send(format!("PUBLISH a {}", "x".repeat(200)))
        .expect("PUBACK 1 1");
    line.send("PUBLISH a short").expect("PUBACK 2 1");
    assert_eq!(client.message().payload, b"short");
}

#[test]
fn the_ledger_tells_what_waits_in_sessions() {
    let broker = TestBroker::start();
    let (mut sleeper, _) =
        MqttClient::enter(broker.address(), Mqtt::V5, &Hello::lasting("sleeper"));
    sleeper.subscribe("a", 2);
    sleeper.vanish();
    broker.wait_for_log("reset by the client");
    let mut client = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    client
        .publish_as(0x34, "a", 1, b"x")
        .expect(&[0x50, 2, 0, 1]);
    client.publish("a", "at most once, and nobody there");
    client.expect_silence();
    let ledger = broker.ledger();
    assert!(
        ledger.contains("2 copies = 0 written + 1 waiting"),
        "{ledger}"
    );
    assert!(ledger.contains("1 discarded"), "{ledger}");
}

/// A CONNECT with a session that ends two seconds after its connection, and a will that waits this many seconds.
fn brief(will_delay: u8) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, 0x04, 0, 0, 5, 0x11, 0, 0, 0, 2]);
    body.extend(text("brief"));
    body.extend([5, 0x18, 0, 0, 0, will_delay]);
    body.extend(text("gone"));
    body.extend(text("brief"));
    packet(0x10, &body)
}

#[test]
fn a_session_ends_when_its_time_is_over_and_the_will_waits_no_longer_than_that() {
    let broker = TestBroker::start();
    let mut line = broker.subscribe("gone");
    let enter = |delay| {
        let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
        client.send(&brief(delay));
        let connack = client.packet();
        assert_eq!(connack[3], 0, "{connack:02x?}");
        (client, connack[2] == 1)
    };
    // A client that comes back in time is not gone.
    let (mut client, _) = enter(1);
    client.subscribe("a", 1);
    client.vanish();
    let (client, present) = enter(1);
    assert!(present);
    line.expect_silence();
    client.vanish();
    line.expect("MESSAGE gone brief");
    let (client, present) = enter(100);
    assert!(present, "only the will was due");
    line.send("PUBLISH a x").expect("PUBACK 1 1");
    client.vanish();
    line.expect("MESSAGE gone brief");
    line.send("PUBLISH a x").expect("PUBACK 2 0");
    let (_, present) = enter(1);
    assert!(!present);
}

#[test]
fn many_connections_with_one_client_identifier_take_turns() {
    let broker = TestBroker::start();
    let address = broker.address();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let version = BOTH[number % 2];
                for turn in 0..30 {
                    let hello = match turn % 3 {
                        0 => Hello::new("same"),
                        _ => Hello::lasting("same"),
                    };
                    let mut client = MqttClient::dial(address, version);
                    client.send(&hello.encode(version));
                    let mut subscribe = vec![0, 9];
                    if version == Mqtt::V5 {
                        subscribe.push(0);
                    }
                    subscribe.extend(text("a"));
                    subscribe.push(1);
                    client.send(&packet(0x82, &subscribe));
                    client.publish_as(0x32, "a", 1, b"x");
                    // Others may have taken its place at any time.
                    let first = client.read_packet();
                    assert!(
                        first.as_ref().is_ok_and(|bytes| bytes[0] == 0x20),
                        "no CONNACK: {first:?}"
                    );
                    while turn % 2 == 0 && client.read_packet().is_ok_and(|bytes| bytes[0] != 0x40)
                    {
                    }
                }
            });
        }
    });
    let (mut last, _) = MqttClient::enter(address, Mqtt::V5, &Hello::new("same"));
    last.expect_silence();
}
