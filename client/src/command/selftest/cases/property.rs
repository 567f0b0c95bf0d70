//! What MQTT 5 adds to a message: properties that travel with it, expiry, and topic aliases.

use std::thread;
use std::time::Duration;

use super::super::case::Case;
use super::super::encode;

use super::super::finding::{Checked, Finding, holds, same};
use super::super::lab::Lab;
use super::super::packet::Message;
use super::super::property::{Name, Properties, Value};
use super::super::writer::Writer;
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

/// What a subscriber gets of a message with these properties.
fn passed(lab: &Lab<'_>, properties: &Properties) -> Checked<Properties> {
    let topic = lab.topic("t");
    let (mut subscriber, mut publisher) = lab.pair(&topic, 0)?;
    publisher.publish(&Message::new(&topic, "x").with(|_| properties.clone()))?;
    Ok(subscriber.take("x")?.properties)
}

/// This one arrives as it was sent.
fn unchanged(lab: &Lab<'_>, name: Name, value: Value) -> Checked {
    let sent = Properties::default().with(name, value.clone());
    let came = passed(lab, &sent)?;
    same("the property", came.get(name), Some(&value))
}

fn payload_format(lab: &Lab<'_>) -> Checked {
    unchanged(lab, Name::PayloadFormat, Value::Byte(1))?;
    // 0 may also be left out, which says the same.
    let sent = Properties::default().byte(Name::PayloadFormat, 0);
    let came = passed(lab, &sent)?.number(Name::PayloadFormat);
    same("the property", came.unwrap_or(0), 0)
}

/// Messages that wait for a client that is away: one lives for so long, the other for ever.
fn waiting(lab: &Lab<'_>, expiry_seconds: u32, away: Duration) -> Checked<Vec<Message>> {
    let topic = lab.topic("t");
    let (mut subscriber, _) = lab.open(&lab.lasting("sub"))?;
    subscriber.must_subscribe(&[(&topic, 1)])?;
    subscriber.leave()?;
    let mut publisher = lab.connect("pub")?;
    let mortal = Message::new(&topic, "mortal").qos(1);
    publisher.publish(&mortal.with(|it| it.four(Name::MessageExpiry, expiry_seconds)))?;
    publisher.publish(&Message::new(&topic, "immortal").qos(1))?;
    thread::sleep(away);
    let (mut subscriber, _) = lab.open(&lab.hello("sub").lasting())?;
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

fn expired(lab: &Lab<'_>) -> Checked {
    let came = waiting(lab, 1, Duration::from_millis(2500))?;
    same("the number of messages that came", came.len(), 1)
}

fn expiry_counts_down(lab: &Lab<'_>) -> Checked {
    let came = waiting(lab, 60, Duration::from_millis(2100))?;
    same("the number of messages that came", came.len(), 2)?;
    let left = came[0].properties.number(Name::MessageExpiry);
    let is_less = left.is_some_and(|left| (50..=58).contains(&left));
    holds(is_less, "57 or 58 of 60 seconds", format!("{left:?}"))?;
    same(
        "another expiry",
        came[1].properties.get(Name::MessageExpiry),
        None,
    )
}

/// A message with a topic alias; its topic may be empty.
fn aliased(topic: &str, payload: &str, alias: u16) -> Message {
    let message = Message::new(topic, payload);
    message.with(|it| it.two(Name::TopicAlias, alias))
}

fn aliases(lab: &Lab<'_>) -> Checked {
    let max = lab.needs_aliases()?;
    let topics = ["a", "b"].map(|name| lab.topic(name));
    let mut subscriber = lab.connect("sub")?;
    subscriber.must_subscribe(&[(&topics[0], 0), (&topics[1], 0)])?;
    let mut publisher = lab.connect("pub")?;
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

fn alias_ends(lab: &Lab<'_>) -> Checked {
    lab.needs_aliases()?;
    let topic = lab.topic("t");
    let (mut subscriber, mut other) = lab.pair(&topic, 0)?;
    let (mut publisher, _) = lab.open(&lab.lasting("c"))?;
    publisher.publish(&aliased(&topic, "named", 1))?;
    subscriber.take("named")?;
    publisher.leave()?;
    let (mut publisher, _) = lab.open(&lab.hello("c").lasting())?;
    publisher.publish(&aliased("", "by an old alias", 1))?;
    publisher.expect_close()?;
    lab.nothing_more(&mut other, &mut subscriber)
}

fn alias_0(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&aliased(&lab.topic("t"), "x", 0).encode(lab.version))
}

fn alias_too_high(lab: &Lab<'_>) -> Checked {
    let max = lab.said.number(Name::TopicAliasMaximum).unwrap_or(0) as u16;
    let Some(beyond) = max.checked_add(1) else {
        return Finding::unsupported("it takes all topic aliases");
    };
    lab.expect_fatal(&aliased(&lab.topic("t"), "x", beyond).encode(lab.version))
}

/// The topic aliases of messages for a client that takes so many.
fn aliases_for(lab: &Lab<'_>, max: Option<u16>) -> Checked<Vec<Option<u32>>> {
    let mut hello = lab.hello("sub");
    if let Some(max) = max {
        hello = hello.with(|it| it.two(Name::TopicAliasMaximum, max));
    }
    let (mut subscriber, _) = lab.open(&hello)?;
    let mut publisher = lab.connect("pub")?;
    let topics = ["a", "b", "c", "d"].map(|name| lab.topic(name));
    let mut named = std::collections::BTreeMap::new();
    let mut aliases = Vec::new();
    for topic in &topics {
        subscriber.must_subscribe(&[(topic, 0)])?;
    }
    for topic in topics.iter().cycle().take(3 * topics.len()) {
        publisher.publish(&Message::new(topic, topic))?;
        let message = subscriber.message()?;
        let alias = message.properties.number(Name::TopicAlias);
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

fn no_aliases(lab: &Lab<'_>) -> Checked {
    for max in [None, Some(0)] {
        let came = aliases_for(lab, max)?;
        same("topic aliases", came.into_iter().flatten().count(), 0)?;
    }
    Ok(())
}

fn few_aliases(lab: &Lab<'_>) -> Checked {
    let came = aliases_for(lab, Some(2))?;
    let highest = came.into_iter().flatten().max().unwrap_or(0);
    let text = format_args!("{highest}");
    holds(highest <= 2, "no topic alias above 2", text)
}

/// A PUBLISH with a property of these bytes.
fn with_text(lab: &Lab<'_>, name: Name, text: &[u8]) -> Vec<u8> {
    let mut property = Writer::default();
    property.u8(name as u8);
    property.data(text);
    encode::publish_with(&lab.topic("t"), &property.0)
}

fn not_utf8(lab: &Lab<'_>, name: Name) -> Checked {
    for bad in NOT_UTF8 {
        lab.expect_fatal(&with_text(lab, name, bad))?;
    }
    Ok(())
}

fn response_topic_not_utf8(lab: &Lab<'_>) -> Checked {
    not_utf8(lab, Name::ResponseTopic)
}

fn content_type_not_utf8(lab: &Lab<'_>) -> Checked {
    not_utf8(lab, Name::ContentType)
}

fn response_topic_wildcard(lab: &Lab<'_>) -> Checked {
    for topic in ["a/#", "a/+", "#"] {
        lab.expect_fatal(&with_text(lab, Name::ResponseTopic, topic.as_bytes()))?;
    }
    Ok(())
}

fn response_topic(lab: &Lab<'_>) -> Checked {
    let value = Value::Text("answers/\u{e9} ;".to_owned());
    unchanged(lab, Name::ResponseTopic, value)
}

fn correlation_data(lab: &Lab<'_>) -> Checked {
    let every = (0..=255).collect::<Vec<u8>>();
    for data in [vec![], vec![0], every] {
        unchanged(lab, Name::CorrelationData, Value::Data(data))?;
    }
    Ok(())
}

fn content_type(lab: &Lab<'_>) -> Checked {
    for text in ["", "text/plain; charset=utf-8", "\u{1f980}"] {
        unchanged(lab, Name::ContentType, Value::Text(text.to_owned()))?;
    }
    Ok(())
}

/// Two with one key, an empty key, an empty value, and what would need escapes elsewhere.
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
    properties.all(Name::UserProperty).cloned().collect()
}

fn user_properties(lab: &Lab<'_>) -> Checked {
    let sorted = |properties: &Properties| {
        let mut shown: Vec<_> = user_values(properties)
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        shown.sort();
        shown
    };
    let came = passed(lab, &several())?;
    same("the user properties", sorted(&came), sorted(&several()))
}

fn user_properties_in_order(lab: &Lab<'_>) -> Checked {
    let came = user_values(&passed(lab, &several())?);
    same("the user properties", came, user_values(&several()))
}

fn retained_keeps(lab: &Lab<'_>) -> Checked {
    lab.needs_retained()?;
    let topic = lab.kept_topic("t");
    let sent = several()
        .text(Name::ContentType, "text/plain")
        .text(Name::ResponseTopic, "answers")
        .data(Name::CorrelationData, b"\x00\xff");
    let mut publisher = lab.connect("pub")?;
    let message = Message::new(&topic, "kept").qos(1).retain();
    publisher.publish(&message.with(|_| sent.clone()))?;
    let retained = lab.retained(&topic, 0)?;
    same("the number of retained messages", retained.len(), 1)?;
    let came = &retained[0].properties;
    same("the user properties", user_values(came), user_values(&sent))?;
    for name in [
        Name::ContentType,
        Name::ResponseTopic,
        Name::CorrelationData,
    ] {
        same("the property", came.get(name), sent.get(name))?;
    }
    Ok(())
}
