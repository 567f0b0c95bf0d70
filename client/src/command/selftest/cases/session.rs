//! Sessions: what a server keeps of a client while it is disconnected.

use std::thread;
use std::time::Duration;

use super::super::case::Case;

use super::super::context::TestContext;
use super::super::encode::{self, FilterOptions};
use super::super::finding::{Checked, same};
use super::super::packet::TestMessage;
use super::super::property::{Properties, PropertyName};
use super::super::test_client::TestClient;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.1.2-4",
        "3.1.2-5",
        "a session's subscriptions are there when its client is back",
        resumed,
    ),
    Case::both(
        "3.1.2-5",
        "3.1.2-23",
        "QoS 1 and 2 messages that come while a client is away wait for it",
        stored,
    ),
    Case::both(
        "3.1.2-6",
        "3.1.2-4",
        "a clean start ends the session there was",
        discarded,
    ),
    Case::v3(
        "3.1.2-7",
        "retained messages outlive the session of their publisher",
        retained_outlives,
    ),
    Case::both(
        "3.1.3-2",
        "3.1.3-2",
        "two clients have two sessions, each under its client id",
        by_id,
    ),
    Case::both(
        "3.1.4-3",
        "3.1.4-4",
        "who takes a place with a clean start does not get its session",
        takeover_clean,
    ),
    Case::both(
        "3.2.0-1",
        "3.2.0-1",
        "the first packet that a client gets is CONNACK, whatever waits for it",
        connack_first,
    ),
    Case::both(
        "3.2.2-1",
        "3.2.2-2",
        "CONNACK says that no session is present after a clean start",
        clean_present,
    ),
    Case::both(
        "3.2.2-2",
        "3.2.2-3",
        "CONNACK says that a session is present when there is one",
        session_present,
    ),
    Case::both(
        "3.2.2-3",
        "3.1.2-6",
        "without a stored session a new one begins, and CONNACK says so",
        no_session,
    ),
    Case::both(
        "4.1.0-1",
        "4.1.0-1",
        "a session lasts at least as long as its connection",
        while_connected,
    ),
    Case::v3(
        "4.1.0-2",
        "a clean session is there as long as its connection",
        while_connected,
    ),
    Case::v5(
        "4.1.0-2",
        "a session is gone when its expiry interval has passed",
        expired,
    ),
    Case::v5(
        "4.1.0-2",
        "a session without an expiry interval ends with its connection",
        ends_with_connection,
    ),
    Case::v5(
        "4.1.0-2",
        "a DISCONNECT can end the session by a new expiry interval",
        ended_by_disconnect,
    ),
    Case::both(
        "4.5.0-1",
        "4.5.0-1",
        "a message goes to all sessions that match, whether their clients are there or not",
        to_all,
    ),
];

/// A session with subscriptions whose client has disconnected.
fn away(context: &TestContext<'_>, name: &str, filters: &[FilterOptions<'_>]) -> Checked {
    let (mut peer, _) = context.open(&context.lasting(name))?;
    peer.must_subscribe(filters)?;
    peer.leave()
}

/// Its client reconnected, and whether the session was present.
fn back(context: &TestContext<'_>, name: &str) -> Checked<(TestClient, bool)> {
    let (peer, connack) = context.open(&context.connect_packet(name).lasting())?;
    Ok((peer, connack.session_present))
}

fn resumed(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    away(context, "c", &[(&topic, 1)])?;
    let (mut peer, _) = back(context, "c")?;
    context
        .connect("pub")?
        .publish(&TestMessage::new(&topic, "hello").qos(1))?;
    peer.take("hello").map(drop)
}

fn stored(context: &TestContext<'_>) -> Checked {
    let (one, two) = (context.topic("one"), context.topic("two"));
    away(context, "c", &[(&one, 1), (&two, 2)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&one, "at least once").qos(1))?;
    publisher.publish(&TestMessage::new(&two, "exactly once").qos(2))?;
    let (mut peer, _) = back(context, "c")?;
    let first = peer.message()?;
    peer.acknowledge(&first)?;
    let second = peer.message()?;
    peer.acknowledge(&second)?;
    let mut came = [first, second].map(|message| (message.qos, message.payload));
    came.sort();
    let expected = [
        (1, b"at least once".to_vec()),
        (2, b"exactly once".to_vec()),
    ];
    same("the messages that waited", came, expected)
}

fn discarded(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    away(context, "c", &[(&topic, 1)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "without subscribers").qos(1))?;
    let mut clean = context.connect("c")?;
    context.nothing_more(&mut publisher, &mut clean)?;
    clean.leave()?;
    let (mut peer, present) = back(context, "c")?;
    same("session present", present, false)?;
    publisher.publish(&TestMessage::new(&topic, "without subscribers").qos(1))?;
    context.nothing_more(&mut publisher, &mut peer)
}

fn retained_outlives(context: &TestContext<'_>) -> Checked {
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "kept").qos(1).retain())?;
    publisher.leave()?;
    same(
        "the retained messages",
        context.retained(&topic, 0)?.len(),
        1,
    )
}

fn by_id(context: &TestContext<'_>) -> Checked {
    let (ann, bob) = (context.topic("ann"), context.topic("bob"));
    away(context, "ann", &[(&ann, 1)])?;
    away(context, "bob", &[(&bob, 1)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&ann, "for ann").qos(1))?;
    publisher.publish(&TestMessage::new(&bob, "for bob").qos(1))?;
    for (name, payload) in [("bob", "for bob"), ("ann", "for ann")] {
        let (mut peer, present) = back(context, name)?;
        same("session present", present, true)?;
        peer.take(payload)?;
        context.nothing_more(&mut publisher, &mut peer)?;
    }
    Ok(())
}

fn takeover_clean(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut old, _) = context.open(&context.lasting("c"))?;
    old.must_subscribe(&[(&topic, 1)])?;
    let (mut new, connack) = context.open(&context.connect_packet("c"))?;
    same("session present", connack.session_present, false)?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "without subscribers").qos(1))?;
    context.nothing_more(&mut publisher, &mut new)
}

fn connack_first(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    away(context, "c", &[(&topic, 1)])?;
    let mut publisher = context.connect("pub")?;
    for _ in 0..10 {
        publisher.publish(&TestMessage::new(&topic, "waiting").qos(1))?;
    }
    let (mut peer, _) = back(context, "c")?;
    peer.take("waiting").map(drop)
}

fn clean_present(context: &TestContext<'_>) -> Checked {
    away(context, "c", &[(&context.topic("t"), 1)])?;
    let (_peer, connack) = context.open(&context.connect_packet("c"))?;
    same("session present", connack.session_present, false)
}

fn session_present(context: &TestContext<'_>) -> Checked {
    away(context, "c", &[(&context.topic("t"), 1)])?;
    same("session present", back(context, "c")?.1, true)
}

fn no_session(context: &TestContext<'_>) -> Checked {
    let (mut peer, connack) = context.open(&context.lasting("c"))?;
    same("session present", connack.session_present, false)?;
    peer.must_subscribe(&[(&context.topic("t"), 1)])?;
    peer.leave()?;
    same("session present", back(context, "c")?.1, true)
}

fn while_connected(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    // In MQTT 5 the interval begins when the connection ends.
    let connect = match context.is_v5() {
        true => context.connect_packet("c").lasting_for(1).clean(true),
        false => context.connect_packet("c"),
    };
    let (mut peer, _) = context.open(&connect)?;
    peer.must_subscribe(&[(&topic, 1)])?;
    thread::sleep(Duration::from_millis(if context.is_v5() {
        2500
    } else {
        500
    }));
    context
        .connect("pub")?
        .publish(&TestMessage::new(&topic, "still here").qos(1))?;
    peer.take("still here").map(drop)
}

fn expired(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut peer, connack) = context.open(&context.connect_packet("c").lasting_for(1))?;
    let granted = connack
        .properties
        .number(PropertyName::SessionExpiry)
        .unwrap_or(1);
    same("the session expiry interval", granted <= 1, true)?;
    peer.must_subscribe(&[(&topic, 1)])?;
    peer.leave()?;
    // The tolerance for a server that checks periodically.
    thread::sleep(Duration::from_millis(3500));
    let (peer, connack) = context.open(&context.connect_packet("c").clean(false))?;
    peer.leave()?;
    same("session present", connack.session_present, false)
}

fn ends_with_connection(context: &TestContext<'_>) -> Checked {
    let mut peer = context.open(&context.connect_packet("c").clean(false))?.0;
    peer.must_subscribe(&[(&context.topic("t"), 1)])?;
    peer.leave()?;
    let (_peer, connack) = context.open(&context.connect_packet("c").clean(false))?;
    same("session present", connack.session_present, false)
}

fn ended_by_disconnect(context: &TestContext<'_>) -> Checked {
    let (mut peer, _) = context.open(&context.lasting("c"))?;
    peer.must_subscribe(&[(&context.topic("t"), 1)])?;
    let expiry = Properties::default().four(PropertyName::SessionExpiry, 0);
    peer.send(&encode::with_reason(0xe0, 0, &expiry));
    peer.leave()?;
    same("session present", back(context, "c")?.1, false)
}

fn to_all(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    away(context, "ann", &[(&topic, 1)])?;
    away(context, "bob", &[(&topic, 2)])?;
    let (mut here, mut publisher) = context.pair(&topic, 1)?;
    publisher.publish(&TestMessage::new(&topic, "to all").qos(1))?;
    here.take("to all")?;
    for name in ["ann", "bob"] {
        back(context, name)?.0.take("to all")?;
    }
    Ok(())
}
