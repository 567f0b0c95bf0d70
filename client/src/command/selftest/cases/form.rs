//! The form of packets: text, lengths, flags and types. Chapters 1.5, 2, 4.8 and 4.13.

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, same};
use super::super::packet::{AckStep, Packet, TestMessage};
use super::super::property::{Properties, PropertyName};
use super::super::test_client::{Received, TestClient};
use super::super::writer::FieldWriter;
use super::connect::NOT_UTF8;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "1.5.3-1",
        "1.5.4-1",
        "text that is not UTF-8 ends the connection",
        not_utf8,
    ),
    Case::both(
        "1.5.3-2",
        "1.5.4-2",
        "text with a null character ends the connection",
        null,
    ),
    Case::both(
        "1.5.3-3",
        "1.5.4-3",
        "the letter U+FEFF in a topic stays there",
        feff,
    ),
    Case::v5(
        "1.5.5-1",
        "lengths and subscription identifiers take as few bytes as they can",
        short_lengths,
    ),
    Case::v5(
        "1.5.5-1",
        "an integer in more bytes than it needs ends the connection",
        padded,
    ),
    Case::v5(
        "1.5.7-1",
        "a user property that is not UTF-8 ends the connection",
        pair_not_utf8,
    ),
    Case::both(
        "2.2.2-1",
        "2.1.3-1",
        "the flags of all packets are as the standard lists them",
        flags_of_all,
    ),
    Case::both(
        "2.2.2-2",
        "4.13.1-1",
        "a packet with other flags than the standard lists ends the connection",
        wrong_flags,
    ),
    Case::v5(
        "2.2.2-1",
        "packets without properties say that they have none",
        flags_of_all,
    ),
    Case::both(
        "4.8.0-1",
        "4.13.1-1",
        "a packet of a type that is none ends the connection",
        unknown_types,
    ),
    Case::both(
        "4.8.0-1",
        "4.13.1-1",
        "a packet that only servers send ends the connection",
        types_of_servers,
    ),
    Case::both(
        "4.8.0-1",
        "4.13.1-1",
        "a length of five bytes ends the connection",
        long_length,
    ),
    Case::both(
        "4.8.0-1",
        "4.13.1-1",
        "a packet that ends before its fields do ends the connection",
        cut_off,
    ),
    Case::v5(
        "4.13.1-1",
        "a PUBLISH with a property that does not belong there ends the connection",
        wrong_properties,
    ),
    Case::v5(
        "4.13.1-1",
        "a property in a packet of another kind than it belongs to ends the connection",
        misplaced_properties,
    ),
    Case::both(
        "4.8.0-1",
        "4.13.1-1",
        "an acknowledgement of another kind than is due ends the connection",
        out_of_turn,
    ),
    Case::v5(
        "4.13.1-1",
        "properties that are longer than they say end the connection",
        wrong_property_length,
    ),
    Case::v5(
        "4.13.2-1",
        "after a DISCONNECT of the server the connection is closed",
        closed_after_disconnect,
    ),
];

fn subscribe_to(context: &TestContext<'_>, filter: &[u8]) -> Vec<u8> {
    let rest = [&encode::field(filter)[..], &[0]].concat();
    encode::with_id(context.version, 0x82, 1, &rest)
}

fn not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        context.expect_fatal(&encode::publish(context.version, bad, b""))?;
        context.expect_fatal(&subscribe_to(context, bad))?;
    }
    Ok(())
}

fn null(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::publish(context.version, b"a\0b", b""))?;
    context.expect_fatal(&subscribe_to(context, b"a\0b"))?;
    let mut connect = context.connect_packet("c");
    connect.id.push(0);
    context.expect_refused(&connect.encode())
}

fn feff(context: &TestContext<'_>) -> Checked {
    let (with, without) = (context.topic("\u{feff}a\u{feff}"), context.topic("a"));
    let (mut subscriber, mut publisher) = context.pair(&with, 0)?;
    publisher.publish(&TestMessage::new(&without, "without").qos(1))?;
    publisher.publish(&TestMessage::new(&with, "with").qos(1))?;
    same("the topic", subscriber.take("with")?.topic, with)
}

fn short_lengths(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
    // Packet lengths around each limit of the length encoding.
    let rest = 2 + topic.len() + 1;
    for length in [127, 128, 16383, 16384] {
        let payload = "x".repeat(length - rest);
        publisher.publish(&TestMessage::new(&topic, &payload))?;
        subscriber.take(&payload)?;
    }
    if context.needs_subscription_ids().is_ok() {
        for id in [127, 128, 16383, 16384, 0x0fff_ffff] {
            let number = Properties::default().variable(PropertyName::SubscriptionId, id);
            subscriber.subscribe_with(&number, &[(&topic, 0)])?;
            publisher.publish(&TestMessage::new(&topic, "numbered"))?;
            let message = subscriber.take("numbered")?;
            let came = message.properties.number(PropertyName::SubscriptionId);
            same("the subscription identifier", came, Some(id))?;
        }
    }
    Ok(())
}

fn padded(context: &TestContext<'_>) -> Checked {
    // The length of a PINGREQ, of properties, and a subscription identifier.
    context.expect_fatal(&[0xc0, 0x80, 0x00])?;
    context.expect_fatal(&encode::packet(0x82, b"\x00\x01\x80\x00\x00\x01a\x00"))?;
    context.expect_fatal(&encode::packet(
        0x82,
        b"\x00\x01\x03\x0b\x81\x00\x00\x01a\x00",
    ))
}

fn pair_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        for (key, value) in [(bad, &b"x"[..]), (b"x", bad)] {
            let mut property = FieldWriter::default();
            property.u8(PropertyName::UserProperty as u8);
            property.data(key);
            property.data(value);
            context.expect_fatal(&encode::publish_with(&context.topic("t"), &property.0))?;
        }
    }
    Ok(())
}

fn flags_of_all(context: &TestContext<'_>) -> Checked {
    // All packets of a server except DISCONNECT and AUTH. The parser checks their form.
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    for qos in 0..=2 {
        context.needs_qos(qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        subscriber.take("x")?;
    }
    subscriber.unsubscribe(&[&topic])?;
    subscriber.expect_silence()
}

fn wrong_flags(context: &TestContext<'_>) -> Checked {
    for first in [0xc1, 0xc2, 0xc8] {
        context.expect_fatal(&encode::packet(first, &[]))?;
    }
    // Acknowledgements of a message in flight.
    for (qos, step) in [(1, AckStep::Puback), (2, AckStep::Pubrec)] {
        context.needs_qos(qos)?;
        let topic = context.topic("t");
        let (mut subscriber, mut publisher) = context.pair(&topic, qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        let id = subscriber.message_of("x")?.id;
        let first = (step as u8) << 4 | 1;
        subscriber.send(&encode::packet(first, &id.to_be_bytes()));
        subscriber.expect_close()?;
    }
    Ok(())
}

fn unknown_types(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::packet(0x00, &[]))?;
    if !context.is_v5() {
        // In MQTT 5 it is AUTH.
        context.expect_fatal(&encode::packet(0xf0, &[]))?;
    }
    Ok(())
}

fn types_of_servers(context: &TestContext<'_>) -> Checked {
    let connack: &[u8] = if context.is_v5() { &[0, 0, 0] } else { &[0, 0] };
    let suback: &[u8] = if context.is_v5() {
        &[0, 1, 0, 0]
    } else {
        &[0, 1, 0]
    };
    let unsuback: &[u8] = if context.is_v5() {
        &[0, 1, 0, 0]
    } else {
        &[0, 1]
    };
    context.expect_fatal(&encode::packet(0x20, connack))?;
    context.expect_fatal(&encode::packet(0x90, suback))?;
    context.expect_fatal(&encode::packet(0xb0, unsuback))?;
    context.expect_fatal(&encode::packet(0xd0, &[]))
}

fn long_length(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01])?;
    context.expect_fatal(&[0xc0, 0x80, 0x80, 0x80, 0x80, 0x00])
}

fn cut_off(context: &TestContext<'_>) -> Checked {
    // A packet id of one byte.
    context.expect_fatal(&encode::packet(0x82, &[0]))?;
    context.expect_fatal(&encode::packet(0xa2, &[0]))?;
    context.expect_fatal(&encode::packet(0x40, &[0]))?;
    context.expect_fatal(&encode::packet(0x62, &[0]))?;
    // A filter without options.
    let properties: &[u8] = if context.is_v5() { &[0] } else { &[] };
    let filter = [&[0, 1][..], properties, b"\x00\x01a"].concat();
    context.expect_fatal(&encode::packet(0x82, &filter))
}

fn wrong_properties(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let fatal = |properties: Properties| {
        let message = TestMessage::new(&topic, "x").with(|_| properties);
        context.expect_fatal(&message.encode(context.version))
    };
    let none = Properties::default;
    fatal(none().four(PropertyName::SessionExpiry, 1))?;
    fatal(none().text(PropertyName::ReasonString, "x"))?;
    fatal(
        none()
            .four(PropertyName::MessageExpiry, 1)
            .four(PropertyName::MessageExpiry, 1),
    )?;
    fatal(
        none()
            .text(PropertyName::ContentType, "x")
            .text(PropertyName::ContentType, "x"),
    )?;
    fatal(none().byte(PropertyName::PayloadFormat, 2))?;
    // No property has this number.
    context.expect_fatal(&encode::publish_with(&topic, &[0x7f, 0]))
}

fn misplaced_properties(context: &TestContext<'_>) -> Checked {
    // A payload format indicator, not allowed here.
    for (first, before, behind) in [
        (0x82, &b"\x00\x01"[..], &b"\x00\x01a\x00"[..]),
        (0xa2, b"\x00\x01", b"\x00\x01a"),
        (0x40, b"\x00\x01\x00", b""),
        (0x50, b"\x00\x01\x00", b""),
        (0x62, b"\x00\x01\x00", b""),
        (0x70, b"\x00\x01\x00", b""),
    ] {
        let body = [before, &[2, PropertyName::PayloadFormat as u8, 0], behind].concat();
        context.expect_fatal(&encode::packet(first, &body))?;
    }
    Ok(())
}

/// Each kind of acknowledgement in place of another.
fn out_of_turn(context: &TestContext<'_>) -> Checked {
    let flows: [(u8, &[AckStep], AckStep); 5] = [
        (1, &[], AckStep::Pubrec),
        (1, &[], AckStep::Pubcomp),
        (2, &[], AckStep::Puback),
        (2, &[], AckStep::Pubcomp),
        (2, &[AckStep::Pubrec], AckStep::Puback),
    ];
    for (qos, before, wrong) in flows {
        context.needs_qos(qos)?;
        let topic = context.topic("t");
        let (mut subscriber, mut publisher) = context.pair(&topic, qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        let id = subscriber.message_of("x")?.id;
        for step in before {
            subscriber.step(*step, id);
            subscriber.expect_step(AckStep::Pubrel, id)?;
        }
        subscriber.step(wrong, id);
        subscriber.expect_close()?;
    }
    Ok(())
}

fn wrong_property_length(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    // The value of an expiry interval has four bytes.
    context.expect_fatal(&encode::publish_with(
        &topic,
        &[PropertyName::MessageExpiry as u8, 0, 0],
    ))?;
    // The length of the properties exceeds the packet.
    let mut body = FieldWriter::default();
    body.data(topic.as_bytes());
    body.u8(100);
    context.expect_fatal(&encode::packet(0x30, &body.0))
}

fn closed_after_disconnect(context: &TestContext<'_>) -> Checked {
    let mut rogue: TestClient = context.connect("rogue")?;
    rogue.send(&encode::packet(0x82, &[0, 0, 0, 0, 1, b'a', 0]));
    match rogue.receive()? {
        Received::Packet(Packet::Disconnect { .. }) => rogue.expect_end(),
        received => same("it", received, Received::Closed),
    }
}
