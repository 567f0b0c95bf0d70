//! Packet ids, QoS 1 and 2, retransmission and order: chapters 2.2, 4.3, 4.4 and 4.6.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, holds, same};
use super::super::packet::{AckStep, TestMessage};
use super::super::property::{Properties, PropertyName};
use super::super::test_client::TestClient;

/// Number of messages in flight that every server supports.
const FEW: usize = 5;

/// Enough messages to show their order.
const MANY: usize = 200;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "2.3.1-1",
        "2.2.1-3",
        "a packet whose id is 0 ends the connection",
        id_0,
    ),
    Case::both(
        "2.3.1-4",
        "2.2.1-4",
        "messages on the way to a client have different packet ids",
        ids_differ,
    ),
    Case::both(
        "2.3.1-5",
        "2.2.1-2",
        "a QoS 0 message is delivered without a packet id",
        no_id,
    ),
    Case::both(
        "2.3.1-6",
        "2.2.1-5",
        "PUBACK, PUBREC and PUBCOMP have the packet id of their PUBLISH",
        acks_have_ids,
    ),
    Case::both(
        "3.3.1-1",
        "3.3.1-1",
        "a message that is delivered again has DUP",
        again_with_dup,
    ),
    Case::both(
        "3.6.1-1",
        "3.6.1-1",
        "a PUBREL with other flags ends the connection",
        pubrel_flags,
    ),
    Case::both(
        "4.3.1-1",
        "4.3.1-1",
        "a QoS 0 message is sent once, with QoS 0 and without DUP",
        qos_0,
    ),
    Case::both(
        "4.3.2-1",
        "4.3.2-2",
        "a QoS 1 message is sent with a packet id, QoS 1 and no DUP",
        qos_1,
    ),
    Case::v5(
        "4.3.2-1",
        "each QoS 1 message on the way has a packet id of its own",
        ids_differ,
    ),
    Case::both(
        "4.3.2-1",
        "4.3.2-3",
        "a QoS 1 message is not acknowledged before PUBACK",
        until_puback,
    ),
    Case::both(
        "4.3.2-2",
        "4.3.2-4",
        "a QoS 1 message is answered by a PUBACK with its packet id",
        puback,
    ),
    Case::both(
        "4.3.2-2",
        "4.3.2-5",
        "after PUBACK the same packet id is a new message, whatever its DUP",
        new_after_puback,
    ),
    Case::v5(
        "3.4.2-1",
        "a PUBACK has one of its reason codes",
        codes_of_acks,
    ),
    Case::v5(
        "3.5.2-1",
        "a PUBREC has one of its reason codes",
        codes_of_acks,
    ),
    Case::v5(
        "3.6.2-1",
        "a PUBREL has one of its reason codes",
        codes_of_release,
    ),
    Case::v5(
        "3.7.2-1",
        "a PUBCOMP has one of its reason codes, also for an unknown packet id",
        codes_of_complete,
    ),
    Case::both(
        "4.3.3-1",
        "4.3.3-2",
        "a QoS 2 message is sent with a packet id, QoS 2 and no DUP",
        qos_2,
    ),
    Case::v5(
        "4.3.3-1",
        "each QoS 2 message on the way has a packet id of its own",
        ids_differ_qos_2,
    ),
    Case::both(
        "4.3.3-1",
        "4.3.3-3",
        "a QoS 2 message is not acknowledged before PUBREC",
        until_pubrec,
    ),
    Case::both(
        "4.3.3-1",
        "4.3.3-4",
        "a PUBREC is answered by a PUBREL with its packet id",
        pubrel,
    ),
    Case::both(
        "4.3.3-1",
        "4.3.3-5",
        "a PUBREL is sent again until there is a PUBCOMP",
        until_pubcomp,
    ),
    Case::both(
        "4.3.3-1",
        "4.3.3-6",
        "after PUBREL the message is not sent again",
        not_after_pubrel,
    ),
    Case::v5(
        "4.3.3-7",
        "a QoS 2 message that was sent once does not expire",
        no_expiry_once_sent,
    ),
    Case::both(
        "4.3.3-2",
        "4.3.3-8",
        "a QoS 2 message is answered by a PUBREC with its packet id",
        pubrec,
    ),
    Case::v5(
        "4.3.3-9",
        "after a PUBREC of 0x80 or more the same packet id is a new message",
        new_after_refusal,
    ),
    Case::both(
        "4.3.3-2",
        "4.3.3-10",
        "a QoS 2 message that comes twice before PUBREL is delivered once",
        exactly_once,
    ),
    Case::both(
        "4.3.3-2",
        "4.3.3-10",
        "a QoS 2 message that comes again on another connection is delivered once",
        exactly_once_over_connections,
    ),
    Case::both(
        "4.3.3-2",
        "4.3.3-11",
        "a PUBREL is answered by a PUBCOMP with its packet id",
        pubcomp,
    ),
    Case::both(
        "4.3.3-2",
        "4.3.3-12",
        "after PUBCOMP the same packet id is a new message",
        new_after_pubcomp,
    ),
    Case::v5(
        "4.3.3-13",
        "the acknowledgement of a QoS 2 message goes on after it has expired",
        goes_on_after_expiry,
    ),
    Case::both(
        "4.4.0-1",
        "4.4.0-1",
        "what was not acknowledged is sent again with its packet id to a client that is back",
        sent_again,
    ),
    Case::v5(
        "4.4.0-1",
        "nothing is sent again while the connection lasts",
        not_again,
    ),
    Case::v5(
        "4.4.0-2",
        "a message that a client refuses by its code is not sent again",
        refused_is_done,
    ),
    Case::both(
        "4.6.0-5",
        "4.6.0-6",
        "a topic's messages arrive in the order they were published, for each QoS",
        in_order,
    ),
    Case::both(
        "4.6.0-6",
        "4.6.0-5",
        "messages that are sent again come in their old order, and before newer ones",
        again_in_order,
    ),
];

fn id_0(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let filters = [(&*topic, 0)];
    let none = Properties::default();
    context.expect_fatal(&encode::subscribe(context.version, 0, &none, &filters))?;
    context.expect_fatal(&encode::unsubscribe(context.version, 0, &[&topic]))?;
    for qos in [1, 2] {
        context.expect_fatal(
            &TestMessage::new(&topic, "x")
                .qos(qos)
                .encode(context.version),
        )?;
    }
    Ok(())
}

/// The packet ids of unacknowledged messages.
fn ids_on_the_way(context: &TestContext<'_>, qos: u8) -> Checked {
    context.needs_qos(qos)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, qos)?;
    for _ in 0..FEW {
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
    }
    let mut ids = BTreeSet::new();
    for _ in 0..FEW {
        let message = subscriber.message_of("x")?;
        same("the QoS", message.qos, qos)?;
        ids.insert(message.id);
    }
    same("the number of different packet ids", ids.len(), FEW)
}

fn ids_differ(context: &TestContext<'_>) -> Checked {
    ids_on_the_way(context, 1)
}

fn ids_differ_qos_2(context: &TestContext<'_>) -> Checked {
    ids_on_the_way(context, 2)
}

fn no_id(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    // A packet id would appear as the beginning of the payload.
    publisher.publish(&TestMessage::new(&topic, "exactly this"))?;
    let message = subscriber.message_of("exactly this")?;
    same("the QoS", message.qos, 0)
}

fn acks_have_ids(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let mut publisher = context.connect("pub")?;
    for qos in [1, 2] {
        context.needs_qos(qos)?;
        for id in [1, 255, 256, 65535] {
            publisher.publish(&TestMessage::new(&topic, "x").qos(qos).id(id))?;
        }
    }
    Ok(())
}

/// A client with a lasting session that subscribes to the topic `t`.
fn lasting_subscriber(
    context: &TestContext<'_>,
    qos: u8,
) -> Checked<(TestClient, TestClient, String)> {
    context.needs_qos(qos)?;
    let topic = context.topic("t");
    let (mut subscriber, _) = context.open(&context.lasting("sub"))?;
    subscriber.must_subscribe(&[(&topic, qos)])?;
    Ok((subscriber, context.connect("pub")?, topic))
}

/// The same subscriber on a new connection.
fn again(context: &TestContext<'_>) -> Checked<TestClient> {
    let (peer, connack) = context.open(&context.connect_packet("sub").lasting())?;
    same("session present", connack.session_present, true)?;
    Ok(peer)
}

fn again_with_dup(context: &TestContext<'_>) -> Checked {
    for qos in [1, 2] {
        let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        same("DUP at first", subscriber.message_of("x")?.dup, false)?;
        drop(subscriber);
        let mut subscriber = again(context)?;
        same("DUP when it comes again", subscriber.take("x")?.dup, true)?;
        subscriber.leave()?;
    }
    Ok(())
}

fn pubrel_flags(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    for first in [0x60, 0x61, 0x63, 0x6a] {
        let mut peer = context.connect("c")?;
        let id = peer.begin(&TestMessage::new(&topic, "x").qos(2));
        peer.expect_step(AckStep::Pubrec, id)?;
        peer.send(&encode::packet(first, &id.to_be_bytes()));
        peer.expect_close()?;
    }
    Ok(())
}

fn qos_0(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
    publisher.publish(&TestMessage::new(&topic, "x"))?;
    let message = subscriber.message_of("x")?;
    same("QoS and DUP", (message.qos, message.dup), (0, false))?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn first_delivery(context: &TestContext<'_>, qos: u8) -> Checked {
    context.needs_qos(qos)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, qos)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
    let message = subscriber.message_of("x")?;
    same("QoS and DUP", (message.qos, message.dup), (qos, false))?;
    subscriber.acknowledge(&message)?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn qos_1(context: &TestContext<'_>) -> Checked {
    first_delivery(context, 1)
}

fn qos_2(context: &TestContext<'_>) -> Checked {
    first_delivery(context, 2)
}

fn until_puback(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 1)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(1))?;
    subscriber.message_of("x")?;
    drop(subscriber);
    let mut subscriber = again(context)?;
    subscriber.take("x")?;
    subscriber.expect_silence()?;
    drop(subscriber);
    // Now it is released.
    let mut subscriber = again(context)?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn puback(context: &TestContext<'_>) -> Checked {
    context.needs_qos(1)?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&context.topic("t"), "x").qos(1).id(4711))?;
    publisher.expect_silence()
}

fn new_after_puback(context: &TestContext<'_>) -> Checked {
    context.needs_qos(1)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 1)?;
    let message = TestMessage::new(&topic, "x").qos(1).id(7);
    publisher.publish(&message)?;
    publisher.publish(&message.clone().dup())?;
    publisher.publish(&message)?;
    for _ in 0..3 {
        subscriber.take("x")?;
    }
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn codes_of_acks(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let mut publisher = context.connect("pub")?;
    // Without a subscriber, then with one. The parser checks the codes.
    for _ in 0..2 {
        for qos in [1, 2] {
            context.needs_qos(qos)?;
            publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        }
        publisher.must_subscribe(&[(&topic, 0)])?;
    }
    Ok(())
}

fn codes_of_release(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(2))?;
    let message = subscriber.message_of("x")?;
    subscriber.step(AckStep::Pubrec, message.id);
    let release = subscriber.expect_step(AckStep::Pubrel, message.id)?;
    same("the code of a PUBREL", release.code, 0)
}

fn codes_of_complete(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&context.topic("t"), "x").qos(2))?;
    publisher.step(AckStep::Pubrel, 999);
    let complete = publisher.expect_step(AckStep::Pubcomp, 999)?;
    let came = format!("0x{:02x}", complete.code);
    holds(matches!(complete.code, 0 | 0x92), "0x00 or 0x92", came)
}

fn until_pubrec(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 2)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(2))?;
    let first = subscriber.message_of("x")?;
    drop(subscriber);
    let mut subscriber = again(context)?;
    let second = subscriber.take("x")?;
    same("QoS and packet id", (second.qos, second.id), (2, first.id))?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn pubrel(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    // Sent in one order, acknowledged in the reverse order.
    for payload in ["a", "b"] {
        publisher.publish(&TestMessage::new(&topic, payload).qos(2))?;
    }
    let a = subscriber.message_of("a")?;
    let b = subscriber.message_of("b")?;
    for message in [b, a] {
        subscriber.step(AckStep::Pubrec, message.id);
        subscriber.expect_step(AckStep::Pubrel, message.id)?;
        subscriber.step(AckStep::Pubcomp, message.id);
    }
    subscriber.expect_silence()
}

/// A subscriber that reconnects after PUBREL and before PUBCOMP; and the packet id.
fn released(context: &TestContext<'_>) -> Checked<(TestClient, TestClient, u16)> {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 2)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(2))?;
    let id = subscriber.message_of("x")?.id;
    subscriber.step(AckStep::Pubrec, id);
    subscriber.expect_step(AckStep::Pubrel, id)?;
    drop(subscriber);
    Ok((again(context)?, publisher, id))
}

fn until_pubcomp(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, _, id) = released(context)?;
    subscriber.expect_step(AckStep::Pubrel, id)?;
    subscriber.step(AckStep::Pubcomp, id);
    subscriber.expect_silence()?;
    drop(subscriber);
    again(context)?.expect_silence()
}

fn not_after_pubrel(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, id) = released(context)?;
    subscriber.expect_step(AckStep::Pubrel, id)?;
    subscriber.step(AckStep::Pubcomp, id);
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn no_expiry_once_sent(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 2)?;
    let message = TestMessage::new(&topic, "x").qos(2);
    publisher.publish(&message.with(|it| it.four(PropertyName::MessageExpiry, 1)))?;
    let id = subscriber.message_of("x")?.id;
    drop(subscriber);
    thread::sleep(Duration::from_millis(2500));
    let second = again(context)?.take("x")?;
    same("the packet id", second.id, id)
}

fn pubrec(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let mut publisher = context.connect("pub")?;
    for id in [1, 4711] {
        publisher.begin(&TestMessage::new(&context.topic("t"), "x").qos(2).id(id));
        publisher.expect_step(AckStep::Pubrec, id)?;
    }
    publisher.expect_silence()
}

fn new_after_refusal(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    let refused = TestMessage::new("$SYS/broker/uptime", "x").qos(2).id(7);
    publisher.begin(&refused);
    if publisher.expect_step(AckStep::Pubrec, 7)?.code < 0x80 {
        return Finding::unsupported("it refuses nothing, not even what is published to $SYS");
    }
    publisher.publish(&TestMessage::new(&topic, "new").qos(2).id(7))?;
    subscriber.take("new").map(drop)
}

fn exactly_once(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    let message = TestMessage::new(&topic, "once").qos(2).id(7);
    for message in [&message, &message.clone().dup()] {
        publisher.begin(message);
        publisher.expect_step(AckStep::Pubrec, 7)?;
    }
    publisher.step(AckStep::Pubrel, 7);
    publisher.expect_step(AckStep::Pubcomp, 7)?;
    subscriber.take("once")?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn exactly_once_over_connections(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut other) = context.pair(&topic, 2)?;
    let message = TestMessage::new(&topic, "once").qos(2).id(7);
    let (mut publisher, _) = context.open(&context.lasting("sender"))?;
    publisher.begin(&message);
    publisher.expect_step(AckStep::Pubrec, 7)?;
    drop(publisher);
    let (mut publisher, connack) = context.open(&context.connect_packet("sender").lasting())?;
    same("session present", connack.session_present, true)?;
    publisher.begin(&message.dup());
    publisher.finish(2, 7)?;
    subscriber.take("once")?;
    context.nothing_more(&mut other, &mut subscriber)
}

fn pubcomp(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let mut publisher = context.connect("pub")?;
    let topic = context.topic("t");
    // Sent in one order, completed in the reverse order.
    for id in [7, 8] {
        publisher.begin(&TestMessage::new(&topic, "x").qos(2).id(id));
        publisher.expect_step(AckStep::Pubrec, id)?;
    }
    for id in [8, 7] {
        publisher.step(AckStep::Pubrel, id);
        publisher.expect_step(AckStep::Pubcomp, id)?;
    }
    publisher.expect_silence()
}

fn new_after_pubcomp(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    for payload in ["first", "second"] {
        publisher.publish(&TestMessage::new(&topic, payload).qos(2).id(7))?;
        subscriber.take(payload)?;
    }
    Ok(())
}

fn goes_on_after_expiry(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let mut publisher = context.connect("pub")?;
    let message = TestMessage::new(&context.topic("t"), "x").qos(2);
    let message = message.with(|it| it.four(PropertyName::MessageExpiry, 1));
    let id = publisher.begin(&message);
    publisher.expect_step(AckStep::Pubrec, id)?;
    thread::sleep(Duration::from_millis(2100));
    publisher.step(AckStep::Pubrel, id);
    publisher.expect_step(AckStep::Pubcomp, id).map(drop)
}

fn sent_again(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 2)?;
    for (payload, qos) in [("released", 2), ("at least once", 1), ("exactly once", 2)] {
        publisher.publish(&TestMessage::new(&topic, payload).qos(qos))?;
    }
    let released = subscriber.message_of("released")?.id;
    let one = subscriber.message_of("at least once")?.id;
    let two = subscriber.message_of("exactly once")?.id;
    subscriber.step(AckStep::Pubrec, released);
    subscriber.expect_step(AckStep::Pubrel, released)?;
    drop(subscriber);
    let mut subscriber = again(context)?;
    subscriber.expect_step(AckStep::Pubrel, released)?;
    subscriber.step(AckStep::Pubcomp, released);
    for (payload, id) in [("at least once", one), ("exactly once", two)] {
        same("its packet id", subscriber.take(payload)?.id, id)?;
    }
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn not_again(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    for qos in [1, 2] {
        context.needs_qos(qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        subscriber.message_of("x")?;
    }
    thread::sleep(Duration::from_secs(2));
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn refused_is_done(context: &TestContext<'_>) -> Checked {
    let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, 2)?;
    for (qos, step) in [(1, AckStep::Puback), (2, AckStep::Pubrec)] {
        publisher.publish(&TestMessage::new(&topic, "unwanted").qos(qos))?;
        let id = subscriber.message_of("unwanted")?.id;
        subscriber.step_with(step, id, 0x83);
    }
    context.nothing_more(&mut publisher, &mut subscriber)?;
    drop(subscriber);
    let mut subscriber = again(context)?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn in_order(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    for qos in 0..=2 {
        context.needs_qos(qos)?;
        let (mut subscriber, mut publisher) = context.pair(&topic, qos)?;
        // Few at a time, so that no server drops any.
        for first in (0..MANY).step_by(FEW) {
            let messages = first..first + FEW;
            let messages = messages.map(|n| TestMessage::new(&topic, &n.to_string()).qos(qos));
            publish_at_once(&mut publisher, messages)?;
            for n in first..first + FEW {
                subscriber.take(&n.to_string())?;
            }
        }
    }
    Ok(())
}

/// Publishes all of them before the first is acknowledged.
fn publish_at_once(
    publisher: &mut TestClient,
    messages: impl Iterator<Item = TestMessage>,
) -> Checked {
    let begun: Vec<_> = messages
        .map(|message| (message.qos, publisher.begin(&message)))
        .collect();
    for &(qos, id) in &begun {
        match qos {
            0 => {}
            1 => drop(publisher.expect_step(AckStep::Puback, id)?),
            _ => drop(publisher.expect_step(AckStep::Pubrec, id)?),
        }
    }
    for (_, id) in begun.into_iter().filter(|(qos, _)| *qos == 2) {
        publisher.step(AckStep::Pubrel, id);
        publisher.expect_step(AckStep::Pubcomp, id)?;
    }
    Ok(())
}

fn again_in_order(context: &TestContext<'_>) -> Checked {
    for qos in [1, 2] {
        let (mut subscriber, mut publisher, topic) = lasting_subscriber(context, qos)?;
        let payloads: Vec<_> = (0..2 * FEW).map(|n| n.to_string()).collect();
        let (before, after) = payloads.split_at(FEW);
        for payload in before {
            publisher.publish(&TestMessage::new(&topic, payload).qos(qos))?;
        }
        for payload in before {
            subscriber.message_of(payload)?;
        }
        drop(subscriber);
        for payload in after {
            publisher.publish(&TestMessage::new(&topic, payload).qos(qos))?;
        }
        let mut subscriber = again(context)?;
        for payload in &payloads {
            subscriber.take(payload)?;
        }
        subscriber.leave()?;
    }
    Ok(())
}
