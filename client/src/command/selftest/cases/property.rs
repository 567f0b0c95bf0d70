//! Message features of MQTT 5: forwarded properties, expiry, and topic aliases.

use std::thread;
use std::time::Duration;

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, holds, same};
use super::super::packet::TestMessage;
use super::super::property::{Properties, PropertyName, Value};
use super::super::writer::FieldWriter;
use super::connect::NOT_UTF8;

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "3.3.2-4",
        "the payload format indicator arrives as it was sent",
        payload_format,
    ),
    Case::v5(
        "3.3.2-5",
        "a message whose expiry interval has passed is not delivered",
        expired,
    ),
    Case::v5(
        "3.3.2-6",
        "a message that has waited arrives with the rest of its expiry interval",
        expiry_counts_down,
    ),
    Case::v5(
        "3.3.2-7",
        "a topic alias ends with its connection",
        alias_ends,
    ),
    Case::v5("3.3.2-8", "a topic alias of 0 ends the connection", alias_0),
    Case::v5(
        "3.3.2-9",
        "a topic alias beyond the server's maximum ends the connection",
        alias_too_high,
    ),
    Case::v5(
        "3.3.2-12",
        "topic aliases up to the server's maximum are understood, and can be changed",
        aliases,
    ),
    Case::v5(
        "3.1.2-27",
        "a client that does not take topic aliases gets none",
        no_aliases,
    ),
    Case::v5(
        "3.1.2-26",
        "a topic alias is not above the client's maximum",
        few_aliases,
    ),
    Case::v5(
        "3.3.2-11",
        "a topic alias for a client is between 1 and its maximum, and known to it",
        few_aliases,
    ),
    Case::v5(
        "3.3.2-13",
        "a response topic that is not UTF-8 ends the connection",
        response_topic_not_utf8,
    ),
    Case::v5(
        "3.3.2-14",
        "a response topic with wildcards ends the connection",
        response_topic_wildcard,
    ),
    Case::v5(
        "3.3.2-15",
        "the response topic arrives as it was sent",
        response_topic,
    ),
    Case::v5(
        "3.3.2-16",
        "correlation data arrive as they were sent",
        correlation_data,
    ),
    Case::v5(
        "3.3.2-17",
        "user properties arrive as they were sent",
        user_properties,
    ),
    Case::v5(
        "3.3.2-18",
        "user properties arrive in their order",
        user_properties_in_order,
    ),
    Case::v5(
        "3.3.2-19",
        "a content type that is not UTF-8 ends the connection",
        content_type_not_utf8,
    ),
    Case::v5(
        "3.3.2-20",
        "the content type arrives as it was sent",
        content_type,
    ),
    Case::v5(
        "3.3.2-17",
        "a retained message keeps its properties",
        retained_keeps,
    ),
];

/// The message that a subscriber receives for one with these properties.
fn passed(context: &TestContext<'_>, properties: &Properties) -> Checked<Properties> {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
    publisher.publish(&TestMessage::new(&topic, "x").with(|_| properties.clone()))?;
    Ok(subscriber.take("x")?.properties)
}

/// Checks that a property arrives unchanged.
fn unchanged(context: &TestContext<'_>, name: PropertyName, value: Value) -> Checked {
    let sent = Properties::default().with(name, value.clone());
    let came = passed(context, &sent)?;
    same("the property", came.get(name), Some(&value))
}

fn payload_format(context: &TestContext<'_>) -> Checked {
    // 0 means the same as no indicator, but is to be sent unaltered as well.
    for format in [1, 0] {
        unchanged(context, PropertyName::PayloadFormat, Value::Byte(format))?;
    }
    Ok(())
}

/// Two messages that wait for a disconnected client: one with this expiry, one without.
fn waiting(
    context: &TestContext<'_>,
    expiry_seconds: u32,
    away: Duration,
) -> Checked<Vec<TestMessage>> {
    let topic = context.topic("t");
    let (mut subscriber, _) = context.open(&context.lasting("sub"))?;
    subscriber.must_subscribe(&[(&topic, 1)])?;
    subscriber.leave()?;
    let mut publisher = context.connect("pub")?;
    let mortal = TestMessage::new(&topic, "mortal").qos(1);
    publisher.publish(&mortal.with(|it| it.four(PropertyName::MessageExpiry, expiry_seconds)))?;
    publisher.publish(&TestMessage::new(&topic, "immortal").qos(1))?;
    thread::sleep(away);
    let (mut subscriber, _) = context.open(&context.connect_packet("sub").lasting())?;
    let mut came = Vec::new();
    loop {
        let message = subscriber.message()?;
        subscriber.acknowledge(&message)?;
        let is_last = message.payload == b"immortal";
        came.push(message);
        if is_last {
            return Ok(came);
        }
    }
}

fn expired(context: &TestContext<'_>) -> Checked {
    let came = waiting(context, 1, Duration::from_millis(2500))?;
    same("the number of messages that came", came.len(), 1)
}

fn expiry_counts_down(context: &TestContext<'_>) -> Checked {
    let came = waiting(context, 60, Duration::from_millis(2100))?;
    same("the number of messages that came", came.len(), 2)?;
    let left = came[0].properties.number(PropertyName::MessageExpiry);
    let is_less = left.is_some_and(|left| (50..=58).contains(&left));
    holds(is_less, "57 or 58 of 60 seconds", format!("{left:?}"))?;
    same(
        "another expiry",
        came[1].properties.get(PropertyName::MessageExpiry),
        None,
    )
}

/// A message with a topic alias; its topic may be empty.
fn aliased(topic: &str, payload: &str, alias: u16) -> TestMessage {
    let message = TestMessage::new(topic, payload);
    message.with(|it| it.two(PropertyName::TopicAlias, alias))
}

fn aliases(context: &TestContext<'_>) -> Checked {
    let max = context.needs_aliases()?;
    let topics = ["a", "b"].map(|name| context.topic(name));
    let mut subscriber = context.connect("sub")?;
    subscriber.must_subscribe(&[(&topics[0], 0), (&topics[1], 0)])?;
    let mut publisher = context.connect("pub")?;
    for alias in [1, max] {
        for topic in &topics {
            publisher.publish(&aliased(topic, "named", alias))?;
            publisher.publish(&aliased("", "by its alias", alias))?;
            same("the topic", &subscriber.take("named")?.topic, topic)?;
            same("the topic", &subscriber.take("by its alias")?.topic, topic)?;
        }
    }
    Ok(())
}

fn alias_ends(context: &TestContext<'_>) -> Checked {
    context.needs_aliases()?;
    let topic = context.topic("t");
    let (mut subscriber, mut other) = context.pair(&topic, 0)?;
    let (mut publisher, _) = context.open(&context.lasting("c"))?;
    publisher.publish(&aliased(&topic, "named", 1))?;
    subscriber.take("named")?;
    publisher.leave()?;
    let (mut publisher, _) = context.open(&context.connect_packet("c").lasting())?;
    publisher.publish(&aliased("", "by an old alias", 1))?;
    publisher.expect_close()?;
    context.nothing_more(&mut other, &mut subscriber)
}

fn alias_0(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&aliased(&context.topic("t"), "x", 0).encode(context.version))
}

fn alias_too_high(context: &TestContext<'_>) -> Checked {
    let max = context
        .server_properties
        .number(PropertyName::TopicAliasMaximum)
        .unwrap_or(0) as u16;
    let Some(beyond) = max.checked_add(1) else {
        return Finding::unsupported("it takes all topic aliases");
    };
    context.expect_fatal(&aliased(&context.topic("t"), "x", beyond).encode(context.version))
}

/// The topic aliases in messages to a client with this maximum.
fn aliases_for(context: &TestContext<'_>, max: Option<u16>) -> Checked<Vec<Option<u32>>> {
    let mut connect = context.connect_packet("sub");
    if let Some(max) = max {
        connect = connect.with(|it| it.two(PropertyName::TopicAliasMaximum, max));
    }
    let (mut subscriber, _) = context.open(&connect)?;
    let mut publisher = context.connect("pub")?;
    let topics = ["a", "b", "c", "d"].map(|name| context.topic(name));
    let mut named = std::collections::BTreeMap::new();
    let mut aliases = Vec::new();
    for topic in &topics {
        subscriber.must_subscribe(&[(topic, 0)])?;
    }
    for topic in topics.iter().cycle().take(3 * topics.len()) {
        publisher.publish(&TestMessage::new(topic, topic))?;
        let message = subscriber.message()?;
        let alias = message.properties.number(PropertyName::TopicAlias);
        if let Some(alias) = alias {
            if !message.topic.is_empty() {
                named.insert(alias, message.topic.clone());
            }
            same("what the alias means", named.get(&alias), Some(topic))?;
        } else {
            same("the topic", &message.topic, topic)?;
        }
        aliases.push(alias);
    }
    Ok(aliases)
}

fn no_aliases(context: &TestContext<'_>) -> Checked {
    for max in [None, Some(0)] {
        let came = aliases_for(context, max)?;
        same("topic aliases", came.into_iter().flatten().count(), 0)?;
    }
    Ok(())
}

fn few_aliases(context: &TestContext<'_>) -> Checked {
    let came = aliases_for(context, Some(2))?;
    let highest = came.into_iter().flatten().max().unwrap_or(0);
    let text = format_args!("{highest}");
    holds(highest <= 2, "no topic alias above 2", text)
}

/// A PUBLISH with a property of these bytes.
fn with_text(context: &TestContext<'_>, name: PropertyName, text: &[u8]) -> Vec<u8> {
    let mut property = FieldWriter::default();
    property.u8(name as u8);
    property.data(text);
    encode::publish_with(&context.topic("t"), &property.0)
}

fn not_utf8(context: &TestContext<'_>, name: PropertyName) -> Checked {
    for bad in NOT_UTF8 {
        context.expect_fatal(&with_text(context, name, bad))?;
    }
    Ok(())
}

fn response_topic_not_utf8(context: &TestContext<'_>) -> Checked {
    not_utf8(context, PropertyName::ResponseTopic)
}

fn content_type_not_utf8(context: &TestContext<'_>) -> Checked {
    not_utf8(context, PropertyName::ContentType)
}

fn response_topic_wildcard(context: &TestContext<'_>) -> Checked {
    for topic in ["a/#", "a/+", "#"] {
        context.expect_fatal(&with_text(
            context,
            PropertyName::ResponseTopic,
            topic.as_bytes(),
        ))?;
    }
    Ok(())
}

fn response_topic(context: &TestContext<'_>) -> Checked {
    let value = Value::Text("answers/\u{e9} ;".to_owned());
    unchanged(context, PropertyName::ResponseTopic, value)
}

fn correlation_data(context: &TestContext<'_>) -> Checked {
    let every = (0..=255).collect::<Vec<u8>>();
    for data in [vec![], vec![0], every] {
        unchanged(context, PropertyName::CorrelationData, Value::Data(data))?;
    }
    Ok(())
}

fn content_type(context: &TestContext<'_>) -> Checked {
    for text in ["", "text/plain; charset=utf-8", "\u{1f980}"] {
        unchanged(
            context,
            PropertyName::ContentType,
            Value::Text(text.to_owned()),
        )?;
    }
    Ok(())
}

/// A repeated key, an empty key, an empty value, and characters that other formats escape.
fn several() -> Properties {
    let properties = Properties::default();
    properties
        .user("z", "1")
        .user("a", "2")
        .user("z", "3")
        .user("", "no key")
        .user("no value", "")
        .user("A b;c=\\", "x y\u{1f980}")
        .user("a", "2")
}

fn user_values(properties: &Properties) -> Vec<Value> {
    properties
        .all(PropertyName::UserProperty)
        .cloned()
        .collect()
}

fn user_properties(context: &TestContext<'_>) -> Checked {
    let sorted = |properties: &Properties| {
        let mut shown: Vec<_> = user_values(properties)
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        shown.sort();
        shown
    };
    let came = passed(context, &several())?;
    same("the user properties", sorted(&came), sorted(&several()))
}

fn user_properties_in_order(context: &TestContext<'_>) -> Checked {
    let came = user_values(&passed(context, &several())?);
    same("the user properties", came, user_values(&several()))
}

fn retained_keeps(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let sent = several()
        .text(PropertyName::ContentType, "text/plain")
        .text(PropertyName::ResponseTopic, "answers")
        .data(PropertyName::CorrelationData, b"\x00\xff");
    let mut publisher = context.connect("pub")?;
    let message = TestMessage::new(&topic, "kept").qos(1).retain();
    publisher.publish(&message.with(|_| sent.clone()))?;
    let retained = context.retained(&topic, 0)?;
    same("the number of retained messages", retained.len(), 1)?;
    let came = &retained[0].properties;
    same("the user properties", user_values(came), user_values(&sent))?;
    for name in [
        PropertyName::ContentType,
        PropertyName::ResponseTopic,
        PropertyName::CorrelationData,
    ] {
        same("the property", came.get(name), sent.get(name))?;
    }
    Ok(())
}
