//! PUBLISH: flags, topic, and retained messages. Chapter 3.3.

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, holds, same};
use super::super::packet::{AckStep, Packet, TestMessage};
use super::super::property::{Properties, PropertyName, Value};
use super::super::test_client::Received;
use super::connect::NOT_UTF8;

/// Options of a subscription in MQTT 5.
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAINED_IF_NEW: u8 = 0x10;
const NO_RETAINED: u8 = 0x20;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.3.1-2",
        "3.3.1-2",
        "a QoS 0 message is delivered without DUP",
        qos_0_has_no_dup,
    ),
    Case::both(
        "3.3.1-3",
        "3.3.1-3",
        "the DUP of a publisher is not handed on",
        dup_is_not_handed_on,
    ),
    Case::both(
        "3.3.1-4",
        "3.3.1-4",
        "a PUBLISH with QoS 3 ends the connection",
        qos_3,
    ),
    Case::both(
        "3.3.1-5",
        "3.3.1-5",
        "a retained message is stored with its QoS, in place of the one before",
        retained_is_stored,
    ),
    Case::both(
        "3.3.1-6",
        "3.3.1-9",
        "a new subscription gets the last retained message of each topic that matches",
        retained_for_new,
    ),
    Case::v3(
        "3.3.1-7",
        "a retained QoS 0 message takes the place of the one before",
        retained_qos_0_replaces,
    ),
    Case::v3(
        "3.3.1-8",
        "what is sent because of a new subscription has the retain flag",
        retained_has_flag,
    ),
    Case::both(
        "3.3.1-9",
        "3.3.1-12",
        "an established subscription gets a retained message without the retain flag",
        established_gets_no_flag,
    ),
    Case::both(
        "3.3.1-10",
        "3.3.1-6",
        "an empty retained message is delivered, and removes what is retained",
        empty_removes,
    ),
    Case::both(
        "3.3.1-11",
        "3.3.1-7",
        "an empty message is not retained",
        empty_is_not_retained,
    ),
    Case::both(
        "3.3.1-12",
        "3.3.1-8",
        "a message without the retain flag changes nothing that is retained",
        plain_changes_nothing,
    ),
    Case::v5(
        "3.3.1-10",
        "retain handling 1 sends retained messages to a new subscription alone",
        retained_if_new,
    ),
    Case::v5(
        "3.3.1-11",
        "retain handling 2 sends no retained messages",
        no_retained,
    ),
    Case::v5(
        "3.3.1-13",
        "with retain as published the retain flag is handed on",
        retain_as_published,
    ),
    Case::both(
        "3.3.2-1",
        "3.3.2-1",
        "a PUBLISH whose topic is not UTF-8 ends the connection",
        topic_not_utf8,
    ),
    Case::both(
        "3.3.2-1",
        "3.3.2-1",
        "a PUBLISH that ends within its topic ends the connection",
        topic_cut_off,
    ),
    Case::both(
        "3.3.2-2",
        "3.3.2-2",
        "a PUBLISH to a topic with wildcards is refused and not delivered",
        wildcards_in_topic,
    ),
    Case::both(
        "3.3.2-3",
        "3.3.2-3",
        "the topic of a message that is delivered matches the filter",
        topic_matches,
    ),
    Case::both(
        "3.3.4-1",
        "3.3.4-1",
        "a PUBLISH is answered as its QoS demands",
        answered_by_qos,
    ),
    Case::v3(
        "3.3.5-2",
        "a PUBLISH that is not allowed is acknowledged, or ends the connection",
        not_allowed,
    ),
    Case::both(
        "3.3.5-1",
        "3.3.4-2",
        "where subscriptions overlap, the highest QoS of them counts",
        overlap,
    ),
    Case::v5(
        "3.3.4-3",
        "a message carries the identifiers of the subscriptions it is sent for",
        subscription_ids,
    ),
    Case::v5(
        "3.3.4-4",
        "one copy for several subscriptions carries the identifiers of all of them",
        all_subscription_ids,
    ),
    Case::v5(
        "3.3.4-5",
        "of several copies each carries the identifier of its own subscription",
        subscription_id_of_each_copy,
    ),
    Case::v5(
        "3.3.4-6",
        "a PUBLISH of a client that carries a subscription identifier is refused",
        subscription_id_of_client,
    ),
];

fn qos_0_has_no_dup(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    publisher.publish(&TestMessage::new(&topic, "x"))?;
    let message = subscriber.message_of("x")?;
    same("QoS and DUP", (message.qos, message.dup), (0, false))
}

fn dup_is_not_handed_on(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    for qos in [1, 2] {
        context.needs_qos(qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos).dup())?;
        let message = subscriber.take("x")?;
        same("QoS and DUP", (message.qos, message.dup), (qos, false))?;
    }
    Ok(())
}

fn qos_3(context: &TestContext<'_>) -> Checked {
    let message = TestMessage::new(&context.topic("t"), "x").qos(3).id(1);
    context.expect_fatal(&message.encode(context.version))
}

/// Payload and QoS of the retained message of one topic.
fn retained_on(context: &TestContext<'_>, topic: &str) -> Checked<Option<(String, u8)>> {
    let retained = context.retained(topic, 2)?;
    holds(
        retained.len() < 2,
        "one retained message at most",
        format_args!("{} came", retained.len()),
    )?;
    let first = retained.first();
    Ok(first.map(|it| (String::from_utf8_lossy(&it.payload).into_owned(), it.qos)))
}

fn check_retained(context: &TestContext<'_>, topic: &str, payload: &str, qos: u8) -> Checked {
    let expected = Some((payload.to_owned(), qos));
    same("what is retained", retained_on(context, topic)?, expected)
}

fn retained_is_stored(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    for qos in [2, 1] {
        context.needs_qos(qos)?;
        let payload = format!("QoS {qos}");
        publisher.publish(&TestMessage::new(&topic, &payload).qos(qos).retain())?;
        check_retained(context, &topic, &payload, qos)?;
    }
    Ok(())
}

fn retained_for_new(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    context.needs_wildcards()?;
    let mut publisher = context.connect("pub")?;
    for name in ["k/a", "k/b"] {
        let topic = context.kept_topic(name);
        publisher.publish(&TestMessage::new(&topic, "first").qos(1).retain())?;
        publisher.publish(&TestMessage::new(&topic, "last").qos(1).retain())?;
    }
    let found = context.retained(&context.topic("k/+"), 0)?;
    let mut topics: Vec<_> = found.iter().map(|it| it.topic.clone()).collect();
    topics.sort();
    let expected = vec![context.topic("k/a"), context.topic("k/b")];
    same("the topics of retained messages", topics, expected)?;
    let are_last = found.iter().all(|message| message.payload == b"last");
    same("each being the last of its topic", are_last, true)
}

fn retained_qos_0_replaces(context: &TestContext<'_>) -> Checked {
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "first").qos(1).retain())?;
    publisher.publish(&TestMessage::new(&topic, "last").retain())?;
    publisher.expect_silence()?;
    // The server may drop the new message, but must not keep the old one.
    match retained_on(context, &topic)? {
        None => Ok(()),
        retained => same("what is retained", retained, Some(("last".to_owned(), 0))),
    }
}

fn retained_has_flag(context: &TestContext<'_>) -> Checked {
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(1).retain())?;
    let retained = context.retained(&topic, 1)?;
    same("the number of retained messages", retained.len(), 1)?;
    same("the retain flag", retained[0].retain, true)
}

fn established_gets_no_flag(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 1)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(1).retain())?;
    same("the retain flag", subscriber.take("x")?.retain, false)
}

fn empty_removes(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 1)?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(1).retain())?;
    subscriber.take("x")?;
    publisher.publish(&TestMessage::new(&topic, "").qos(1).retain())?;
    subscriber.take("")?;
    same("what is retained", retained_on(context, &topic)?, None)
}

fn empty_is_not_retained(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "").qos(1).retain())?;
    same("what is retained", retained_on(context, &topic)?, None)
}

fn plain_changes_nothing(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let (topic, other) = (context.kept_topic("t"), context.kept_topic("other"));
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "kept").qos(1).retain())?;
    publisher.publish(&TestMessage::new(&topic, "passing").qos(1))?;
    publisher.publish(&TestMessage::new(&topic, "").qos(1))?;
    publisher.publish(&TestMessage::new(&other, "passing").qos(1))?;
    check_retained(context, &topic, "kept", 1)?;
    same("what is retained", retained_on(context, &other)?, None)
}

fn retained_if_new(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let (mut subscriber, mut publisher) = context.pair(&context.topic("unrelated"), 0)?;
    publisher.publish(&TestMessage::new(&topic, "kept").qos(1).retain())?;
    subscriber.must_subscribe(&[(&topic, RETAINED_IF_NEW)])?;
    subscriber.take("kept")?;
    subscriber.must_subscribe(&[(&topic, RETAINED_IF_NEW)])?;
    context.nothing_more(&mut publisher, &mut subscriber)?;
    // After PUBCOMP the id is new again.
    subscriber.unsubscribe(&[&topic])?;
    subscriber.must_subscribe(&[(&topic, RETAINED_IF_NEW)])?;
    subscriber.take("kept").map(drop)
}

fn no_retained(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let (mut subscriber, mut publisher) = context.pair(&context.topic("unrelated"), 0)?;
    publisher.publish(&TestMessage::new(&topic, "kept").qos(1).retain())?;
    subscriber.must_subscribe(&[(&topic, NO_RETAINED)])?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn retain_as_published(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, RETAIN_AS_PUBLISHED)?;
    publisher.publish(&TestMessage::new(&topic, "kept").retain())?;
    same("the retain flag", subscriber.take("kept")?.retain, true)?;
    publisher.publish(&TestMessage::new(&topic, "passing"))?;
    same("the retain flag", subscriber.take("passing")?.retain, false)
}

fn topic_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let mut topic = context.topic("t").into_bytes();
        topic.extend_from_slice(bad);
        context.expect_fatal(&encode::publish(context.version, &topic, b"x"))?;
    }
    Ok(())
}

fn topic_cut_off(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::packet(0x30, &[0, 10, b'a']))?;
    context.expect_fatal(&encode::packet(0x30, &[0]))?;
    // A topic without a packet id after it.
    context.expect_fatal(&encode::packet(0x32, &[0, 1, b'a']))
}

pub(super) fn wildcards_in_topic(context: &TestContext<'_>) -> Checked {
    for name in ["a/+", "a/#", "+/b"] {
        let topic = context.topic(name);
        let (mut subscriber, mut publisher) = context.pair(&context.topic("a/b"), 1)?;
        let mut rogue = context.connect("rogue")?;
        let message = TestMessage::new(&topic, "x").qos(1);
        let id = rogue.begin(&message);
        if context.is_v5() {
            // In MQTT 5 it is enough to refuse the message.
            match rogue.receive()? {
                Received::Packet(Packet::Ack(ack)) if ack.id == id => {
                    let came = format!("PUBACK 0x{:02x}", ack.code);
                    holds(ack.code >= 0x80, "a PUBACK that refuses", came)?;
                }
                Received::Packet(Packet::Disconnect { .. }) => rogue.expect_end()?,
                received => same("it", received, Received::Closed)?,
            }
        } else {
            rogue.expect_close()?;
        }
        context.nothing_more(&mut publisher, &mut subscriber)?;
    }
    Ok(())
}

fn topic_matches(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("a/b");
    let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
    for name in ["a", "a/b/c", "a/c", "A/B", "b"] {
        publisher.publish(&TestMessage::new(&context.topic(name), "another").qos(1))?;
    }
    publisher.publish(&TestMessage::new(&topic, "this").qos(1))?;
    same("the topic", subscriber.take("this")?.topic, topic)
}

fn answered_by_qos(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "x"))?;
    publisher.expect_silence()?;
    for qos in [1, 2] {
        context.needs_qos(qos)?;
        publisher.publish(&TestMessage::new(&topic, "x").qos(qos))?;
        publisher.expect_silence()?;
    }
    Ok(())
}

fn overlap(context: &TestContext<'_>) -> Checked {
    context.needs_wildcards()?;
    context.needs_qos(2)?;
    let topic = context.topic("a/b");
    let mut subscriber = context.connect("sub")?;
    let (one, many) = (context.topic("a/+"), context.topic("a/#"));
    subscriber.must_subscribe(&[(&topic, 0), (&one, 1), (&many, 2)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "x").qos(2))?;
    // A copy for each subscription is allowed, if one has the highest QoS.
    let fence = context.topic("fence");
    subscriber.must_subscribe(&[(&fence, 0)])?;
    publisher.publish(&TestMessage::new(&fence, "fence"))?;
    let mut highest = None;
    loop {
        let message = subscriber.message()?;
        subscriber.acknowledge(&message)?;
        if message.topic == fence {
            break;
        }
        highest = highest.max(Some(message.qos));
    }
    same("the highest QoS that came", highest, Some(2))
}

/// The identifiers of the copies of a message that matches two subscriptions, numbered 1 and 128.
fn ids_of_copies(context: &TestContext<'_>) -> Checked<Vec<Vec<u32>>> {
    context.needs_subscription_ids()?;
    context.needs_wildcards()?;
    let topic = context.topic("a/b");
    let mut subscriber = context.connect("sub")?;
    let id = |number| Properties::default().variable(PropertyName::SubscriptionId, number);
    subscriber.subscribe_with(&id(1), &[(&topic, 0)])?;
    subscriber.subscribe_with(&id(128), &[(&context.topic("a/+"), 0)])?;
    subscriber.must_subscribe(&[(&context.topic("+/b"), 0)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "x"))?;
    let fence = context.topic("fence");
    subscriber.must_subscribe(&[(&fence, 0)])?;
    publisher.publish(&TestMessage::new(&fence, "fence"))?;
    let mut copies = Vec::new();
    loop {
        let message = subscriber.message()?;
        if message.topic == fence {
            return Ok(copies);
        }
        copies.push(ids(&message));
    }
}

/// The subscription identifiers of a message, sorted.
fn ids(message: &TestMessage) -> Vec<u32> {
    let all = message.properties.all(PropertyName::SubscriptionId);
    let mut ids: Vec<_> = all
        .filter_map(|value| match value {
            Value::Variable(id) => Some(*id),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn subscription_ids(context: &TestContext<'_>) -> Checked {
    let copies = ids_of_copies(context)?;
    let mut ids: Vec<_> = copies.into_iter().flatten().collect();
    ids.sort_unstable();
    same("the identifiers of all copies", ids, vec![1, 128])
}

fn all_subscription_ids(context: &TestContext<'_>) -> Checked {
    let copies = ids_of_copies(context)?;
    if copies.len() > 1 {
        return Finding::unsupported("it sends a copy for each subscription");
    }
    same("the identifiers", copies, vec![vec![1, 128]])
}

fn subscription_id_of_each_copy(context: &TestContext<'_>) -> Checked {
    let mut copies = ids_of_copies(context)?;
    if copies.len() == 1 {
        return Finding::unsupported("it sends one copy for all subscriptions");
    }
    copies.sort();
    same("the identifiers", copies, vec![vec![], vec![1], vec![128]])
}

fn subscription_id_of_client(context: &TestContext<'_>) -> Checked {
    let message = TestMessage::new(&context.topic("t"), "x");
    let message = message.with(|it| it.variable(PropertyName::SubscriptionId, 1));
    context.expect_fatal(&message.encode(context.version))
}

fn not_allowed(context: &TestContext<'_>) -> Checked {
    let mut publisher = context.connect("pub")?;
    publisher.begin(&TestMessage::new("$SYS/broker/uptime", "x").qos(1));
    match publisher.receive()? {
        Received::Packet(Packet::Ack(ack)) => same("the answer", ack.step, AckStep::Puback),
        received => same("it", received, Received::Closed),
    }
}
