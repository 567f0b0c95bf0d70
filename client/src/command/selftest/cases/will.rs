//! Wills: published when a connection ends without DISCONNECT.

use std::thread;
use std::time::Duration;

use super::super::case::Case;
use super::super::encode;

use super::super::connect_packet::ConnectWill;
use super::super::context::TestContext;
use super::super::finding::{Checked, same};
use super::super::packet::TestMessage;
use super::super::property::{Properties, PropertyName, Value};
use super::super::test_client::TestClient;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.1.2-8",
        "3.1.2-7",
        "the will of a client that vanishes is published",
        vanished,
    ),
    Case::both(
        "3.1.2-8",
        "3.1.2-8",
        "the will of a client that is closed for a violation is published",
        violated,
    ),
    Case::both(
        "3.1.2-8",
        "3.1.2-8",
        "the will of a client whose place is taken is published",
        taken_over,
    ),
    Case::v5(
        "3.1.2-8",
        "a DISCONNECT with reason code 0x04 publishes the will",
        disconnect_with_will,
    ),
    Case::v5("3.1.2-8", "a will waits for its delay", delayed),
    Case::v5(
        "3.1.2-8",
        "a will waits no longer than its session lasts",
        session_ends_first,
    ),
    Case::v5(
        "3.1.2-8",
        "a will that still waits is published when a clean start ends its session",
        ended_by_clean_start,
    ),
    Case::v5(
        "3.1.3-9",
        "a will that still waits when its client is back is not published",
        back_in_time,
    ),
    Case::v5(
        "3.1.3-10",
        "a will keeps its properties, and user properties their order",
        properties,
    ),
    Case::v3("3.1.2-9", "a will is published with its QoS", qos),
    Case::both(
        "3.1.2-10",
        "3.1.2-10",
        "a will is published once, and is then forgotten",
        once,
    ),
    Case::v3(
        "3.1.2-12",
        "a client without a will has none left from its last connection",
        none,
    ),
    Case::both(
        "3.1.2-16",
        "3.1.2-14",
        "a will without will retain is not retained",
        not_retained,
    ),
    Case::both(
        "3.1.2-17",
        "3.1.2-15",
        "a will with will retain is retained",
        retained,
    ),
    Case::both(
        "3.14.4-3",
        "3.14.4-3",
        "after a DISCONNECT the will is not published",
        disconnected,
    ),
];

/// A subscriber of the topic `w`, and a client that will disconnect.
fn watched(
    context: &TestContext<'_>,
    will: impl FnOnce(ConnectWill) -> ConnectWill,
) -> Checked<(TestClient, TestClient)> {
    let topic = context.topic("w");
    let mut watcher = context.connect("watcher")?;
    watcher.must_subscribe(&[(&topic, 2)])?;
    let connect = context
        .connect_packet("c")
        .will(will(ConnectWill::new(&topic, "last words")));
    Ok((watcher, context.open(&connect)?.0))
}

/// Checks that no will arrives before a message that is published now.
fn no_will(context: &TestContext<'_>, watcher: &mut TestClient) -> Checked {
    let mut publisher = context.connect("publisher")?;
    context.nothing_more(&mut publisher, watcher)
}

fn vanished(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = watched(context, |will| will)?;
    drop(peer);
    watcher.take("last words").map(drop)
}

fn violated(context: &TestContext<'_>) -> Checked {
    let (mut watcher, mut peer) = watched(context, |will| will)?;
    peer.send(&encode::packet(0x80, &[0, 1, 0, 1, b'a', 0]));
    peer.expect_close()?;
    watcher.take("last words").map(drop)
}

fn taken_over(context: &TestContext<'_>) -> Checked {
    let (mut watcher, mut peer) = watched(context, |will| will)?;
    let _new = context.connect("c")?;
    peer.expect_close()?;
    watcher.take("last words").map(drop)
}

fn disconnect_with_will(context: &TestContext<'_>) -> Checked {
    let (mut watcher, mut peer) = watched(context, |will| will)?;
    peer.send(&encode::packet(0xe0, &[0x04]));
    watcher.take("last words").map(drop)
}

/// A subscriber, and a client with a delayed will and a lasting session.
fn patient(
    context: &TestContext<'_>,
    delay_seconds: u32,
    lasts_seconds: u32,
) -> Checked<(TestClient, TestClient)> {
    let topic = context.topic("w");
    let mut watcher = context.connect("watcher")?;
    watcher.must_subscribe(&[(&topic, 0)])?;
    let delay = Properties::default().four(PropertyName::WillDelay, delay_seconds);
    let will = ConnectWill::new(&topic, "last words").properties(delay);
    let mut connect = context.lasting("c").will(will);
    connect.properties = Properties::default().four(PropertyName::SessionExpiry, lasts_seconds);
    Ok((watcher, context.open(&connect)?.0))
}

fn delayed(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = patient(context, 2, 60)?;
    drop(peer);
    thread::sleep(Duration::from_millis(300));
    no_will(context, &mut watcher)?;
    watcher.take("last words").map(drop)
}

fn session_ends_first(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = patient(context, 60, 0)?;
    drop(peer);
    watcher.take("last words").map(drop)
}

fn ended_by_clean_start(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = patient(context, 60, 120)?;
    drop(peer);
    // The takeover shows that the server knows the old connection to be gone.
    let _new = context.connect("c")?;
    watcher.take("last words").map(drop)
}

fn back_in_time(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = patient(context, 2, 60)?;
    drop(peer);
    let (mut back, _) = context.open(&context.lasting("c"))?;
    thread::sleep(Duration::from_millis(2500));
    no_will(context, &mut watcher)?;
    back.expect_silence()
}

fn properties(context: &TestContext<'_>) -> Checked {
    for format in [1, 0] {
        properties_with(context, format)?;
    }
    Ok(())
}

/// Checks that a will has its properties, among them this payload format indicator.
fn properties_with(context: &TestContext<'_>, format: u8) -> Checked {
    let sent = Properties::default()
        .user("z", "1")
        .user("a", "2")
        .user("z", "3")
        .text(PropertyName::ContentType, "text/plain")
        .text(PropertyName::ResponseTopic, "answers")
        .data(PropertyName::CorrelationData, b"\x00\xff")
        .byte(PropertyName::PayloadFormat, format);
    let (mut watcher, peer) = watched(context, |will| will.properties(sent.clone()))?;
    drop(peer);
    let message = watcher.take("last words")?;
    let users = |properties: &Properties| -> Vec<Value> {
        properties
            .all(PropertyName::UserProperty)
            .cloned()
            .collect()
    };
    same(
        "its user properties",
        users(&message.properties),
        users(&sent),
    )?;
    for name in [
        PropertyName::ContentType,
        PropertyName::ResponseTopic,
        PropertyName::CorrelationData,
        PropertyName::PayloadFormat,
    ] {
        same("its property", message.properties.get(name), sent.get(name))?;
    }
    Ok(())
}

fn qos(context: &TestContext<'_>) -> Checked {
    for qos in [1, 2] {
        let (mut watcher, peer) = watched(context, |will| will.qos(qos))?;
        drop(peer);
        same("the QoS of the will", watcher.take("last words")?.qos, qos)?;
    }
    Ok(())
}

fn once(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = watched(context, |will| will)?;
    drop(peer);
    watcher.take("last words")?;
    drop(context.connect("c")?);
    context.connect("c")?.leave()?;
    no_will(context, &mut watcher)
}

fn none(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = watched(context, |will| will)?;
    peer.leave()?;
    drop(context.connect("c")?);
    // After the takeover the server knows the old connection to be gone.
    context.connect("c")?.leave()?;
    no_will(context, &mut watcher)
}

fn not_retained(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("w");
    let (mut watcher, peer) = watched(context, |will| will)?;
    drop(peer);
    same("the retain flag", watcher.take("last words")?.retain, false)?;
    same(
        "what is retained",
        context.retained(&topic, 0)?,
        Vec::<TestMessage>::new(),
    )
}

fn retained(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("w");
    let (mut watcher, peer) = watched(context, ConnectWill::retain)?;
    drop(peer);
    watcher.take("last words")?;
    let retained = context.retained(&topic, 0)?;
    same("the number of retained messages", retained.len(), 1)?;
    same("the retain flag", retained[0].retain, true)?;
    same("the payload", &*retained[0].payload, b"last words")
}

fn disconnected(context: &TestContext<'_>) -> Checked {
    let (mut watcher, peer) = watched(context, |will| will)?;
    peer.leave()?;
    no_will(context, &mut watcher)
}
