//! Limits set by a client of MQTT 5: messages in flight, packet size, and problem information.

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, holds, same};
use super::super::packet::{AckStep, Packet, TestMessage};
use super::super::property::{Properties, PropertyName};
use super::super::test_client::{Received, TestClient};
use super::super::writer::FieldWriter;

/// A maximum packet size between a short and a long message.
const MAX_PACKET: u32 = 100;

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "3.1.2-24",
        "no packet is larger than the client's maximum",
        no_large_packet,
    ),
    Case::v5(
        "3.1.2-25",
        "a message that is too large for a client is passed over, and others go on",
        too_large_is_passed_over,
    ),
    Case::v5(
        "3.2.2-15",
        "a packet beyond the server's maximum ends the connection",
        too_large_for_server,
    ),
    Case::v5(
        "3.1.2-29",
        "a client that wants no problem information gets none",
        no_problem_information,
    ),
    Case::v5(
        "3.3.4-9",
        "no more messages are on the way to a client than its receive maximum",
        receive_maximum,
    ),
    Case::v5(
        "3.3.4-10",
        "a full receive maximum delays no other packets",
        others_are_not_delayed,
    ),
    Case::v5(
        "4.9.0-1",
        "the first messages come at once, up to the receive maximum",
        first_at_once,
    ),
    Case::v5(
        "4.9.0-2",
        "each acknowledgement makes room for one message",
        one_for_one,
    ),
    Case::v5(
        "4.9.0-3",
        "with a full receive maximum the server goes on to answer",
        others_are_not_delayed,
    ),
    Case::v5(
        "3.3.4-7",
        "more QoS 2 messages than the server's receive maximum end the connection",
        too_many_for_server,
    ),
    Case::v5(
        "3.4.2-2",
        "a reason string does not make a PUBACK longer than the client's maximum",
        short_puback,
    ),
    Case::v5(
        "3.5.2-2",
        "a reason string does not make a PUBREC longer than the client's maximum",
        short_pubrec,
    ),
    Case::v5(
        "3.14.2-3",
        "a reason string does not make a DISCONNECT longer than the client's maximum",
        short_disconnect,
    ),
];

/// A client with this limit that subscribes to the topic `t`, and a publisher.
fn limited(
    context: &TestContext<'_>,
    change: impl FnOnce(Properties) -> Properties,
) -> Checked<(TestClient, TestClient, String)> {
    let topic = context.topic("t");
    let (mut subscriber, _) = context.open(&context.connect_packet("sub").with(change))?;
    subscriber.must_subscribe(&[(&topic, 2)])?;
    Ok((subscriber, context.connect("pub")?, topic))
}

fn small(properties: Properties) -> Properties {
    properties.four(PropertyName::MaximumPacketSize, MAX_PACKET)
}

fn no_large_packet(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = limited(context, small)?;
    // A message that just fits, and one that is a byte longer.
    let rest = 2 + 2 + topic.len() + 1;
    let fits = "x".repeat(MAX_PACKET as usize - rest);
    let too_long = "x".repeat(MAX_PACKET as usize - rest + 1);
    publisher.publish(&TestMessage::new(&topic, &too_long))?;
    publisher.publish(&TestMessage::new(&topic, &fits))?;
    let len = rest + subscriber.message()?.payload.len();
    same("the length of the packet", len, MAX_PACKET as usize)?;
    // Properties count towards the size.
    let message = TestMessage::new(&topic, "x");
    publisher.publish(&message.with(|it| it.user("long", &"x".repeat(100))))?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn too_large_is_passed_over(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = limited(context, small)?;
    let large = "x".repeat(1000);
    for qos in 0..=2 {
        context.needs_qos(qos)?;
        // More than any server's limit, if they counted.
        for _ in 0..3 {
            publisher.publish(&TestMessage::new(&topic, &large).qos(qos))?;
        }
        publisher.publish(&TestMessage::new(&topic, "small").qos(qos))?;
        subscriber.take("small")?;
    }
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn too_large_for_server(context: &TestContext<'_>) -> Checked {
    let Some(max) = context
        .server_properties
        .number(PropertyName::MaximumPacketSize)
    else {
        return Finding::unsupported("it says no maximum");
    };
    if max >= 0x0fff_ffff {
        return Finding::unsupported("its maximum is that of all packets");
    }
    // The first bytes contain the length.
    let mut bytes = FieldWriter::default();
    bytes.u8(0x30);
    bytes.variable(max);
    bytes.data(context.topic("t").as_bytes());
    context.expect_fatal(&bytes.0)
}

fn no_problem_information(context: &TestContext<'_>) -> Checked {
    let silent = |it: Properties| it.byte(PropertyName::RequestProblemInformation, 0);
    let (mut peer, mut publisher, topic) = limited(context, silent)?;
    let check = |properties: &Properties| {
        same(
            "a reason string",
            properties.get(PropertyName::ReasonString),
            None,
        )?;
        same(
            "a user property",
            properties.get(PropertyName::UserProperty),
            None,
        )
    };
    // Requests for which a server may send a reason.
    check(&peer.unsubscribe(&["never/subscribed"])?.properties)?;
    let id = peer.begin(&TestMessage::new(&context.topic("unsubscribed"), "x").qos(1));
    check(&peer.expect_step(AckStep::Puback, id)?.properties)?;
    if context.needs_qos(2).is_ok() {
        let id = peer.begin(&TestMessage::new(&context.topic("unsubscribed"), "x").qos(2));
        check(&peer.expect_step(AckStep::Pubrec, id)?.properties)?;
        peer.step(AckStep::Pubrel, 999);
        check(&peer.expect_step(AckStep::Pubcomp, 999)?.properties)?;
    }
    // The user properties of a message are not from the server.
    publisher.publish(&TestMessage::new(&topic, "x").with(|it| it.user("key", "value")))?;
    let message = peer.take("x")?;
    let user = message.properties.get(PropertyName::UserProperty);
    same("the message's own user property", user.is_some(), true)
}

/// A client with a receive maximum of two, and four messages published to it.
fn full(context: &TestContext<'_>, qos: u8) -> Checked<(TestClient, TestClient, String)> {
    context.needs_qos(qos)?;
    let two = |it: Properties| it.two(PropertyName::ReceiveMaximum, 2);
    let (subscriber, mut publisher, topic) = limited(context, two)?;
    for payload in ["1", "2", "3", "4"] {
        publisher.publish(&TestMessage::new(&topic, payload).qos(qos))?;
    }
    Ok((subscriber, publisher, topic))
}

fn receive_maximum(context: &TestContext<'_>) -> Checked {
    for qos in [1, 2] {
        let (mut subscriber, mut publisher, _) = full(context, qos)?;
        let first = subscriber.message_of("1")?;
        let second = subscriber.message_of("2")?;
        context.nothing_more(&mut publisher, &mut subscriber)?;
        subscriber.acknowledge(&first)?;
        subscriber.acknowledge(&second)?;
        subscriber.take("3")?;
        subscriber.take("4")?;
    }
    Ok(())
}

fn first_at_once(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, _, _) = full(context, 1)?;
    subscriber.message_of("1")?;
    subscriber.message_of("2").map(drop)
}

fn one_for_one(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, _) = full(context, 1)?;
    let first = subscriber.message_of("1")?;
    subscriber.message_of("2")?;
    subscriber.acknowledge(&first)?;
    let third = subscriber.message_of("3")?;
    context.nothing_more(&mut publisher, &mut subscriber)?;
    subscriber.acknowledge(&third)?;
    subscriber.message_of("4").map(drop)
}

fn others_are_not_delayed(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = full(context, 1)?;
    subscriber.message_of("1")?;
    subscriber.message_of("2")?;
    subscriber.expect_silence()?;
    subscriber.must_subscribe(&[(&context.topic("other"), 0)])?;
    subscriber.publish(&TestMessage::new(&context.topic("unsubscribed"), "x").qos(1))?;
    subscriber.unsubscribe(&[&context.topic("other")])?;
    // QoS 0 does not count.
    publisher.publish(&TestMessage::new(&topic, "uncounted"))?;
    subscriber.message_of("uncounted").map(drop)
}

/// Maximum number of bytes that a case sends.
const MOST_UNRELEASED: u32 = 5000;

fn too_many_for_server(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let max = context
        .server_properties
        .number(PropertyName::ReceiveMaximum)
        .unwrap_or(0xffff);
    if max > MOST_UNRELEASED {
        return Finding::unsupported(format_args!("it says its receive maximum is {max}"));
    }
    let mut publisher = context.connect("pub")?;
    let message = TestMessage::new(&context.topic("t"), "x").qos(2);
    for _ in 0..max {
        let id = publisher.begin(&message);
        publisher.expect_step(AckStep::Pubrec, id)?;
    }
    publisher.begin(&message);
    publisher.expect_close().map(drop)
}

/// A maximum packet size with little room for text.
const SHORT_PACKET: u32 = 50;

/// A client that takes only short packets.
fn brief(context: &TestContext<'_>) -> Checked<TestClient> {
    let brief = |it: Properties| it.four(PropertyName::MaximumPacketSize, SHORT_PACKET);
    Ok(context.open(&context.connect_packet("c").with(brief))?.0)
}

/// Checks that a packet with these properties and `besides` more bytes is short.
fn is_short(properties: &Properties, besides: usize) -> Checked {
    let len = besides + properties.encoded_len();
    holds(
        len <= SHORT_PACKET as usize,
        format_args!("a packet of at most {SHORT_PACKET} bytes"),
        format_args!("{len} bytes"),
    )
}

/// The answer to a request that a server may refuse with a reason.
fn answer_is_short(context: &TestContext<'_>, qos: u8, step: AckStep) -> Checked {
    context.needs_qos(qos)?;
    let mut peer = brief(context)?;
    let id = peer.begin(&TestMessage::new("$SYS/broker/uptime", "x").qos(qos));
    let answer = peer.expect_step(step, id)?;
    is_short(&answer.properties, 2 + 2 + 1)
}

fn short_puback(context: &TestContext<'_>) -> Checked {
    answer_is_short(context, 1, AckStep::Puback)
}

fn short_pubrec(context: &TestContext<'_>) -> Checked {
    answer_is_short(context, 2, AckStep::Pubrec)
}

fn short_disconnect(context: &TestContext<'_>) -> Checked {
    let mut peer = brief(context)?;
    peer.send(&encode::packet(0x82, &[0, 0, 0, 0, 1, b'a', 0]));
    match peer.receive()? {
        Received::Packet(Packet::Disconnect { properties, .. }) => is_short(&properties, 2 + 1),
        Received::Closed => Ok(()),
        received => same("it", received, Received::Closed),
    }
}
