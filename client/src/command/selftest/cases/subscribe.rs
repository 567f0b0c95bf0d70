//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK: chapters 3.8 to 3.11.

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, holds, same};
use super::super::packet::{AckStep, TestMessage};
use super::super::property::Properties;
use super::super::test_client::granted;
use super::connect::NOT_UTF8;

const NO_LOCAL: u8 = 0x04;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.8.1-1",
        "3.8.1-1",
        "a SUBSCRIBE with other flags ends the connection",
        subscribe_flags,
    ),
    Case::both(
        "3.8.3-1",
        "3.8.3-1",
        "a SUBSCRIBE whose filter is not UTF-8 ends the connection",
        filter_not_utf8,
    ),
    Case::both(
        "3.8.3-3",
        "3.8.3-2",
        "a SUBSCRIBE without filters ends the connection",
        no_filter,
    ),
    Case::both(
        "3.8.3-4",
        "3.8.3-5",
        "a SUBSCRIBE with reserved bits in its options ends the connection",
        reserved_options,
    ),
    Case::v3(
        "3.8.3-4",
        "a SUBSCRIBE with QoS 3 ends the connection",
        subscribe_qos_3,
    ),
    Case::v5(
        "4.13.1-1",
        "a SUBSCRIBE with QoS 3 or retain handling 3 ends the connection",
        subscribe_qos_3,
    ),
    Case::v5(
        "3.8.3-3",
        "with no local a client does not get its own messages",
        no_local,
    ),
    Case::v5(
        "3.8.3-4",
        "no local on a shared subscription is refused",
        no_local_shared,
    ),
    Case::v5("3.2.2-10", "a SUBSCRIBE may ask for each QoS", each_qos),
    Case::both(
        "3.8.4-1",
        "3.8.4-1",
        "a SUBSCRIBE is answered by SUBACK",
        suback,
    ),
    Case::both(
        "3.8.4-2",
        "3.8.4-2",
        "a SUBACK has the packet id of its SUBSCRIBE",
        suback_id,
    ),
    Case::both(
        "2.3.1-7",
        "2.2.1-6",
        "SUBACK and UNSUBACK have the packet ids of what they answer",
        answers_have_ids,
    ),
    Case::both(
        "3.8.4-3",
        "3.8.4-3",
        "a second subscription with the same filter replaces the first",
        replaced,
    ),
    Case::both(
        "3.8.4-3",
        "3.8.4-4",
        "a subscription that is replaced gets retained messages again",
        replaced_gets_retained,
    ),
    Case::both(
        "3.8.4-4",
        "3.8.4-5",
        "several filters in one SUBSCRIBE are as several SUBSCRIBEs, with one answer",
        several_filters,
    ),
    Case::both(
        "3.8.4-5",
        "3.8.4-6",
        "a SUBACK has one code for each filter",
        one_code_each,
    ),
    Case::v5(
        "3.8.4-7",
        "a code of SUBACK is the QoS that was granted, or a failure",
        one_code_each,
    ),
    Case::both(
        "3.8.4-6",
        "3.8.4-8",
        "a message has the lower QoS of publisher and subscription",
        lower_qos,
    ),
    Case::both(
        "3.9.3-1",
        "3.9.3-1",
        "the codes of a SUBACK stand in the order of the filters",
        codes_in_order,
    ),
    Case::both(
        "3.9.3-2",
        "3.9.3-2",
        "a SUBACK has no other codes than the standard names",
        codes_are_known,
    ),
    Case::both(
        "3.10.1-1",
        "3.10.1-1",
        "an UNSUBSCRIBE with other flags ends the connection",
        unsubscribe_flags,
    ),
    Case::both(
        "3.10.3-1",
        "3.10.3-1",
        "an UNSUBSCRIBE whose filter is not UTF-8 ends the connection",
        unsubscribe_not_utf8,
    ),
    Case::both(
        "3.10.3-2",
        "3.10.3-2",
        "an UNSUBSCRIBE without filters ends the connection",
        unsubscribe_nothing,
    ),
    Case::both(
        "3.10.4-1",
        "3.10.4-1",
        "an UNSUBSCRIBE ends the subscription with exactly that filter",
        exact_filter,
    ),
    Case::both(
        "3.10.4-2",
        "3.10.4-2",
        "nothing new is delivered after UNSUBACK",
        nothing_after_unsuback,
    ),
    Case::both(
        "3.10.4-3",
        "3.10.4-3",
        "a delivery that has begun before UNSUBSCRIBE is finished",
        delivery_is_finished,
    ),
    Case::both(
        "3.10.4-4",
        "3.10.4-4",
        "an UNSUBSCRIBE is answered by UNSUBACK",
        unsuback,
    ),
    Case::both(
        "3.10.4-5",
        "3.10.4-5",
        "an UNSUBSCRIBE of what is not subscribed is answered, too",
        unsuback_of_nothing,
    ),
    Case::both(
        "3.10.4-6",
        "3.10.4-6",
        "several filters in one UNSUBSCRIBE are as several UNSUBSCRIBEs, with one answer",
        several_unsubscribed,
    ),
    Case::v5(
        "3.11.3-1",
        "the codes of an UNSUBACK stand in the order of the filters",
        unsuback_codes,
    ),
    Case::v5(
        "3.11.3-2",
        "an UNSUBACK has one of its reason codes for each filter",
        unsuback_codes,
    ),
];

fn subscribe_flags(context: &TestContext<'_>) -> Checked {
    for first in [0x80, 0x81, 0x83, 0x8a] {
        context.expect_fatal(&encode::with_id(
            context.version,
            first,
            1,
            b"\x00\x01a\x00",
        ))?;
    }
    Ok(())
}

fn filter_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let rest = [&encode::field(bad)[..], &[0]].concat();
        context.expect_fatal(&encode::with_id(context.version, 0x82, 1, &rest))?;
    }
    Ok(())
}

fn no_filter(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::with_id(context.version, 0x82, 1, b""))
}

fn reserved_options(context: &TestContext<'_>) -> Checked {
    let reserved: &[u8] = match context.is_v5() {
        true => &[0x40, 0x80],
        false => &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80],
    };
    for &options in reserved {
        context.expect_fatal(&encode::with_id(
            context.version,
            0x82,
            1,
            &[0, 1, b'a', options],
        ))?;
    }
    Ok(())
}

fn subscribe_qos_3(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::with_id(context.version, 0x82, 1, b"\x00\x01a\x03"))?;
    if context.is_v5() {
        context.expect_fatal(&encode::with_id(context.version, 0x82, 1, b"\x00\x01a\x30"))?;
    }
    Ok(())
}

fn no_local(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let mut both = context.connect("both")?;
    both.must_subscribe(&[(&topic, NO_LOCAL)])?;
    both.publish(&TestMessage::new(&topic, "mine").qos(1))?;
    let mut other = context.connect("other")?;
    other.publish(&TestMessage::new(&topic, "another's").qos(1))?;
    both.take("another's").map(drop)
}

fn no_local_shared(context: &TestContext<'_>) -> Checked {
    context.needs_shared()?;
    let filter = format!("$share/g/{}", context.topic("t"));
    let filters = [(&*filter, NO_LOCAL)];
    context.expect_fatal(&encode::subscribe(
        context.version,
        1,
        &Properties::default(),
        &filters,
    ))
}

fn each_qos(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    for qos in 0..=2 {
        let codes = peer.subscribe(&[(&context.topic("t"), qos)])?;
        let came = format!("{codes:02x?}");
        holds(
            codes.len() == 1 && codes[0] <= qos,
            "a QoS to be granted",
            came,
        )?;
    }
    Ok(())
}

fn suback(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    peer.must_subscribe(&[(&context.topic("t"), 0)])?;
    peer.expect_silence()
}

fn suback_id(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    let topic = context.topic("t");
    for id in [1, 255, 256, 65535] {
        let filters = [(&*topic, 0)];
        peer.send(&encode::subscribe(
            context.version,
            id,
            &Properties::default(),
            &filters,
        ));
        granted(&peer.suback(id)?.codes, &[0])?;
    }
    Ok(())
}

fn answers_have_ids(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    let topic = context.topic("t");
    let filters = [(&*topic, 0)];
    // Sent together, so that an answer cannot copy the id of the last request.
    peer.send(&encode::subscribe(
        context.version,
        700,
        &Properties::default(),
        &filters,
    ));
    peer.send(&encode::unsubscribe(context.version, 3, &[&topic]));
    peer.send(&encode::subscribe(
        context.version,
        40000,
        &Properties::default(),
        &filters,
    ));
    peer.suback(700)?;
    peer.unsuback(3)?;
    peer.suback(40000).map(drop)
}

fn replaced(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
    subscriber.must_subscribe(&[(&topic, 1)])?;
    publisher.publish(&TestMessage::new(&topic, "one copy").qos(1))?;
    same("the QoS", subscriber.take("one copy")?.qos, 1)?;
    context.nothing_more(&mut publisher, &mut subscriber)?;
    subscriber.must_subscribe(&[(&topic, 0)])?;
    publisher.publish(&TestMessage::new(&topic, "less").qos(1))?;
    same("the QoS", subscriber.take("less")?.qos, 0)?;
    // One UNSUBSCRIBE ends both.
    subscriber.unsubscribe(&[&topic])?;
    publisher.publish(&TestMessage::new(&topic, "without subscribers").qos(1))?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn replaced_gets_retained(context: &TestContext<'_>) -> Checked {
    context.needs_retained()?;
    let topic = context.kept_topic("t");
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&topic, "kept").qos(1).retain())?;
    let mut subscriber = context.connect("sub")?;
    for _ in 0..2 {
        subscriber.must_subscribe(&[(&topic, 0)])?;
        same("the retain flag", subscriber.take("kept")?.retain, true)?;
    }
    publisher.publish(&TestMessage::new(&topic, "going on").qos(1))?;
    subscriber.take("going on").map(drop)
}

fn several_filters(context: &TestContext<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| context.topic(name));
    let mut subscriber = context.connect("sub")?;
    let filters = [(&*topics[0], 0), (&*topics[1], 1), (&*topics[2], 2)];
    subscriber.must_subscribe(&filters)?;
    subscriber.expect_silence()?;
    let mut publisher = context.connect("pub")?;
    for topic in &topics {
        publisher.publish(&TestMessage::new(topic, topic).qos(1))?;
        subscriber.take(topic)?;
    }
    Ok(())
}

fn one_code_each(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    let topics: Vec<_> = (0..20).map(|n| context.topic(&n.to_string())).collect();
    let filters: Vec<_> = topics.iter().map(|topic| (&**topic, 1)).collect();
    let codes = peer.subscribe(&filters)?;
    same("the number of codes", codes.len(), 20)?;
    granted(&codes, &[1; 20])
}

fn lower_qos(context: &TestContext<'_>) -> Checked {
    let topics = [0, 1, 2].map(|qos| context.topic(&qos.to_string()));
    let mut subscriber = context.connect("sub")?;
    let mut publisher = context.connect("pub")?;
    for (topic, granted) in topics.iter().zip(0..) {
        subscriber.must_subscribe(&[(topic, granted)])?;
        for published in 0..=2 {
            context.needs_qos(published)?;
            let payload = format!("{published} to {granted}");
            publisher.publish(&TestMessage::new(topic, &payload).qos(published))?;
            let came = subscriber.take(&payload)?.qos;
            same("the QoS", came, published.min(granted))?;
        }
    }
    Ok(())
}

fn codes_in_order(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    let topics = ["a", "b", "c", "d", "e"].map(|name| context.topic(name));
    let wanted = [2, 0, 1, 0, 2];
    let filters: Vec<_> = topics.iter().map(|it| &**it).zip(wanted).collect();
    granted(&peer.subscribe(&filters)?, &wanted)
}

fn codes_are_known(context: &TestContext<'_>) -> Checked {
    // The server may accept or refuse these; the parser checks the codes.
    for filter in ["#", "$SYS/#", "+/+/+", "/", "a//b"] {
        let mut peer = context.connect("c")?;
        peer.subscribe(&[(filter, 2)])?;
    }
    Ok(())
}

fn unsubscribe_flags(context: &TestContext<'_>) -> Checked {
    for first in [0xa0, 0xa1, 0xa3, 0xaa] {
        context.expect_fatal(&encode::with_id(context.version, first, 1, b"\x00\x01a"))?;
    }
    Ok(())
}

fn unsubscribe_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let rest = encode::field(bad);
        context.expect_fatal(&encode::with_id(context.version, 0xa2, 1, &rest))?;
    }
    Ok(())
}

fn unsubscribe_nothing(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&encode::with_id(context.version, 0xa2, 1, b""))
}

fn exact_filter(context: &TestContext<'_>) -> Checked {
    context.needs_wildcards()?;
    let topic = context.topic("a/b");
    let (mut subscriber, mut publisher) = context.pair(&topic, 1)?;
    let (one, many) = (context.topic("a/+"), context.topic("a/#"));
    // All of these match the topic, but none equals the filter.
    subscriber.unsubscribe(&[&one, &many, &context.topic("A/B"), &context.topic("a/b/")])?;
    publisher.publish(&TestMessage::new(&topic, "still there").qos(1))?;
    subscriber.take("still there")?;
    subscriber.must_subscribe(&[(&one, 1)])?;
    subscriber.unsubscribe(&[&topic])?;
    publisher.publish(&TestMessage::new(&topic, "by the other").qos(1))?;
    subscriber.take("by the other")?;
    subscriber.unsubscribe(&[&one])?;
    publisher.publish(&TestMessage::new(&topic, "without subscribers").qos(1))?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn nothing_after_unsuback(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    publisher.publish(&TestMessage::new(&topic, "before").qos(1))?;
    subscriber.take("before")?;
    subscriber.unsubscribe(&[&topic])?;
    for qos in 0..=2 {
        context.needs_qos(qos)?;
        publisher.publish(&TestMessage::new(&topic, "after").qos(qos))?;
    }
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn delivery_is_finished(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    let topic = context.topic("t");
    let (mut subscriber, mut publisher) = context.pair(&topic, 2)?;
    publisher.publish(&TestMessage::new(&topic, "begun").qos(2))?;
    let message = subscriber.message_of("begun")?;
    same("the QoS", message.qos, 2)?;
    subscriber.unsubscribe(&[&topic])?;
    subscriber.step(AckStep::Pubrec, message.id);
    subscriber.expect_step(AckStep::Pubrel, message.id)?;
    subscriber.step(AckStep::Pubcomp, message.id);
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn unsuback(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let mut peer = context.connect("c")?;
    peer.must_subscribe(&[(&topic, 0)])?;
    for id in [1, 256, 65535] {
        peer.send(&encode::unsubscribe(context.version, id, &[&topic]));
        peer.unsuback(id)?;
    }
    peer.expect_silence()
}

fn unsuback_of_nothing(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    let answers = peer.unsubscribe(&[&context.topic("never/subscribed")])?;
    if context.is_v5() {
        same("the codes in UNSUBACK", answers.codes, vec![0x11])?;
    }
    Ok(())
}

fn several_unsubscribed(context: &TestContext<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| context.topic(name));
    let mut subscriber = context.connect("sub")?;
    let filters: Vec<_> = topics.iter().map(|topic| (&**topic, 1)).collect();
    subscriber.must_subscribe(&filters)?;
    subscriber.unsubscribe(&[&topics[0], &topics[2]])?;
    subscriber.expect_silence()?;
    let mut publisher = context.connect("pub")?;
    for topic in &topics {
        publisher.publish(&TestMessage::new(topic, topic).qos(1))?;
    }
    subscriber.take(&topics[1])?;
    context.nothing_more(&mut publisher, &mut subscriber)
}

fn unsuback_codes(context: &TestContext<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| context.topic(name));
    let mut peer = context.connect("c")?;
    peer.must_subscribe(&[(&topics[1], 0)])?;
    let answers = peer.unsubscribe(&[&topics[0], &topics[1], &topics[2]])?;
    same("the codes in UNSUBACK", answers.codes, vec![0x11, 0, 0x11])
}
