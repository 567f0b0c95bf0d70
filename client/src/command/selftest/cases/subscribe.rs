//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK: chapters 3.8 to 3.11.

use super::super::case::Case;
use super::super::encode;

use super::super::finding::{Checked, holds, same};
use super::super::lab::Lab;
use super::super::packet::{Message, Step};
use super::super::peer::granted;
use super::super::property::Properties;
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

fn subscribe_flags(lab: &Lab<'_>) -> Checked {
    for first in [0x80, 0x81, 0x83, 0x8a] {
        lab.expect_fatal(&encode::with_id(lab.version, first, 1, b"\x00\x01a\x00"))?;
    }
    Ok(())
}

fn filter_not_utf8(lab: &Lab<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let rest = [&encode::field(bad)[..], &[0]].concat();
        lab.expect_fatal(&encode::with_id(lab.version, 0x82, 1, &rest))?;
    }
    Ok(())
}

fn no_filter(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&encode::with_id(lab.version, 0x82, 1, b""))
}

fn reserved_options(lab: &Lab<'_>) -> Checked {
    let reserved: &[u8] = match lab.is_v5() {
        true => &[0x40, 0x80],
        false => &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80],
    };
    for &options in reserved {
        lab.expect_fatal(&encode::with_id(
            lab.version,
            0x82,
            1,
            &[0, 1, b'a', options],
        ))?;
    }
    Ok(())
}

fn subscribe_qos_3(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&encode::with_id(lab.version, 0x82, 1, b"\x00\x01a\x03"))?;
    if lab.is_v5() {
        lab.expect_fatal(&encode::with_id(lab.version, 0x82, 1, b"\x00\x01a\x30"))?;
    }
    Ok(())
}

fn no_local(lab: &Lab<'_>) -> Checked {
    let topic = lab.topic("t");
    let mut both = lab.connect("both")?;
    both.must_subscribe(&[(&topic, NO_LOCAL)])?;
    both.publish(&Message::new(&topic, "mine").qos(1))?;
    let mut other = lab.connect("other")?;
    other.publish(&Message::new(&topic, "another's").qos(1))?;
    both.take("another's").map(drop)
}

fn no_local_shared(lab: &Lab<'_>) -> Checked {
    lab.needs_shared()?;
    let filter = format!("$share/g/{}", lab.topic("t"));
    let wishes = [(&*filter, NO_LOCAL)];
    lab.expect_fatal(&encode::subscribe(
        lab.version,
        1,
        &Properties::default(),
        &wishes,
    ))
}

fn each_qos(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    for qos in 0..=2 {
        let codes = peer.subscribe(&[(&lab.topic("t"), qos)])?;
        let came = format!("{codes:02x?}");
        holds(
            codes.len() == 1 && codes[0] <= qos,
            "a QoS to be granted",
            came,
        )?;
    }
    Ok(())
}

fn suback(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    peer.must_subscribe(&[(&lab.topic("t"), 0)])?;
    peer.expect_silence()
}

fn suback_id(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    let topic = lab.topic("t");
    for id in [1, 255, 256, 65535] {
        let wishes = [(&*topic, 0)];
        peer.send(&encode::subscribe(
            lab.version,
            id,
            &Properties::default(),
            &wishes,
        ));
        granted(&peer.suback(id)?.codes, &[0])?;
    }
    Ok(())
}

fn answers_have_ids(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    let topic = lab.topic("t");
    let wishes = [(&*topic, 0)];
    // Asked all at once, so that no answer can take the number from the last question.
    peer.send(&encode::subscribe(
        lab.version,
        700,
        &Properties::default(),
        &wishes,
    ));
    peer.send(&encode::unsubscribe(lab.version, 3, &[&topic]));
    peer.send(&encode::subscribe(
        lab.version,
        40000,
        &Properties::default(),
        &wishes,
    ));
    peer.suback(700)?;
    peer.unsuback(3)?;
    peer.suback(40000).map(drop)
}

fn replaced(lab: &Lab<'_>) -> Checked {
    let topic = lab.topic("t");
    let (mut subscriber, mut publisher) = lab.pair(&topic, 0)?;
    subscriber.must_subscribe(&[(&topic, 1)])?;
    publisher.publish(&Message::new(&topic, "one copy").qos(1))?;
    same("the QoS", subscriber.take("one copy")?.qos, 1)?;
    lab.nothing_more(&mut publisher, &mut subscriber)?;
    subscriber.must_subscribe(&[(&topic, 0)])?;
    publisher.publish(&Message::new(&topic, "less").qos(1))?;
    same("the QoS", subscriber.take("less")?.qos, 0)?;
    // One UNSUBSCRIBE is enough for both.
    subscriber.unsubscribe(&[&topic])?;
    publisher.publish(&Message::new(&topic, "for nobody").qos(1))?;
    lab.nothing_more(&mut publisher, &mut subscriber)
}

fn replaced_gets_retained(lab: &Lab<'_>) -> Checked {
    lab.needs_retained()?;
    let topic = lab.kept_topic("t");
    let mut publisher = lab.connect("pub")?;
    publisher.publish(&Message::new(&topic, "kept").qos(1).retain())?;
    let mut subscriber = lab.connect("sub")?;
    for _ in 0..2 {
        subscriber.must_subscribe(&[(&topic, 0)])?;
        same("the retain flag", subscriber.take("kept")?.retain, true)?;
    }
    publisher.publish(&Message::new(&topic, "going on").qos(1))?;
    subscriber.take("going on").map(drop)
}

fn several_filters(lab: &Lab<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| lab.topic(name));
    let mut subscriber = lab.connect("sub")?;
    let wishes = [(&*topics[0], 0), (&*topics[1], 1), (&*topics[2], 2)];
    subscriber.must_subscribe(&wishes)?;
    subscriber.expect_silence()?;
    let mut publisher = lab.connect("pub")?;
    for topic in &topics {
        publisher.publish(&Message::new(topic, topic).qos(1))?;
        subscriber.take(topic)?;
    }
    Ok(())
}

fn one_code_each(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    let topics: Vec<_> = (0..20).map(|n| lab.topic(&n.to_string())).collect();
    let wishes: Vec<_> = topics.iter().map(|topic| (&**topic, 1)).collect();
    let codes = peer.subscribe(&wishes)?;
    same("the number of codes", codes.len(), 20)?;
    granted(&codes, &[1; 20])
}

fn lower_qos(lab: &Lab<'_>) -> Checked {
    let topics = [0, 1, 2].map(|qos| lab.topic(&qos.to_string()));
    let mut subscriber = lab.connect("sub")?;
    let mut publisher = lab.connect("pub")?;
    for (topic, granted) in topics.iter().zip(0..) {
        subscriber.must_subscribe(&[(topic, granted)])?;
        for published in 0..=2 {
            lab.needs_qos(published)?;
            let payload = format!("{published} to {granted}");
            publisher.publish(&Message::new(topic, &payload).qos(published))?;
            let came = subscriber.take(&payload)?.qos;
            same("the QoS", came, published.min(granted))?;
        }
    }
    Ok(())
}

fn codes_in_order(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    let topics = ["a", "b", "c", "d", "e"].map(|name| lab.topic(name));
    let wanted = [2, 0, 1, 0, 2];
    let wishes: Vec<_> = topics.iter().map(|it| &**it).zip(wanted).collect();
    granted(&peer.subscribe(&wishes)?, &wanted)
}

fn codes_are_known(lab: &Lab<'_>) -> Checked {
    // Whatever it thinks of these, it says it in a code of the standard, or not at all.
    for filter in ["#", "$SYS/#", "+/+/+", "/", "a//b"] {
        let mut peer = lab.connect("c")?;
        peer.subscribe(&[(filter, 2)])?;
    }
    Ok(())
}

fn unsubscribe_flags(lab: &Lab<'_>) -> Checked {
    for first in [0xa0, 0xa1, 0xa3, 0xaa] {
        lab.expect_fatal(&encode::with_id(lab.version, first, 1, b"\x00\x01a"))?;
    }
    Ok(())
}

fn unsubscribe_not_utf8(lab: &Lab<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let rest = encode::field(bad);
        lab.expect_fatal(&encode::with_id(lab.version, 0xa2, 1, &rest))?;
    }
    Ok(())
}

fn unsubscribe_nothing(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&encode::with_id(lab.version, 0xa2, 1, b""))
}

fn exact_filter(lab: &Lab<'_>) -> Checked {
    lab.needs_wildcards()?;
    let topic = lab.topic("a/b");
    let (mut subscriber, mut publisher) = lab.pair(&topic, 1)?;
    let (one, many) = (lab.topic("a/+"), lab.topic("a/#"));
    // All of these match the topic, and none of them is the filter.
    subscriber.unsubscribe(&[&one, &many, &lab.topic("A/B"), &lab.topic("a/b/")])?;
    publisher.publish(&Message::new(&topic, "still there").qos(1))?;
    subscriber.take("still there")?;
    subscriber.must_subscribe(&[(&one, 1)])?;
    subscriber.unsubscribe(&[&topic])?;
    publisher.publish(&Message::new(&topic, "by the other").qos(1))?;
    subscriber.take("by the other")?;
    subscriber.unsubscribe(&[&one])?;
    publisher.publish(&Message::new(&topic, "for nobody").qos(1))?;
    lab.nothing_more(&mut publisher, &mut subscriber)
}

fn nothing_after_unsuback(lab: &Lab<'_>) -> Checked {
    let topic = lab.topic("t");
    let (mut subscriber, mut publisher) = lab.pair(&topic, 2)?;
    publisher.publish(&Message::new(&topic, "before").qos(1))?;
    subscriber.take("before")?;
    subscriber.unsubscribe(&[&topic])?;
    for qos in 0..=2 {
        lab.needs_qos(qos)?;
        publisher.publish(&Message::new(&topic, "after").qos(qos))?;
    }
    lab.nothing_more(&mut publisher, &mut subscriber)
}

fn delivery_is_finished(lab: &Lab<'_>) -> Checked {
    lab.needs_qos(2)?;
    let topic = lab.topic("t");
    let (mut subscriber, mut publisher) = lab.pair(&topic, 2)?;
    publisher.publish(&Message::new(&topic, "begun").qos(2))?;
    let message = subscriber.message_of("begun")?;
    same("the QoS", message.qos, 2)?;
    subscriber.unsubscribe(&[&topic])?;
    subscriber.step(Step::Pubrec, message.id);
    subscriber.expect_step(Step::Pubrel, message.id)?;
    subscriber.step(Step::Pubcomp, message.id);
    lab.nothing_more(&mut publisher, &mut subscriber)
}

fn unsuback(lab: &Lab<'_>) -> Checked {
    let topic = lab.topic("t");
    let mut peer = lab.connect("c")?;
    peer.must_subscribe(&[(&topic, 0)])?;
    for id in [1, 256, 65535] {
        peer.send(&encode::unsubscribe(lab.version, id, &[&topic]));
        peer.unsuback(id)?;
    }
    peer.expect_silence()
}

fn unsuback_of_nothing(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    let answers = peer.unsubscribe(&[&lab.topic("never/subscribed")])?;
    if lab.is_v5() {
        same("the codes in UNSUBACK", answers.codes, vec![0x11])?;
    }
    Ok(())
}

fn several_unsubscribed(lab: &Lab<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| lab.topic(name));
    let mut subscriber = lab.connect("sub")?;
    let wishes: Vec<_> = topics.iter().map(|topic| (&**topic, 1)).collect();
    subscriber.must_subscribe(&wishes)?;
    subscriber.unsubscribe(&[&topics[0], &topics[2]])?;
    subscriber.expect_silence()?;
    let mut publisher = lab.connect("pub")?;
    for topic in &topics {
        publisher.publish(&Message::new(topic, topic).qos(1))?;
    }
    subscriber.take(&topics[1])?;
    lab.nothing_more(&mut publisher, &mut subscriber)
}

fn unsuback_codes(lab: &Lab<'_>) -> Checked {
    let topics = ["a", "b", "c"].map(|name| lab.topic(name));
    let mut peer = lab.connect("c")?;
    peer.must_subscribe(&[(&topics[1], 0)])?;
    let answers = peer.unsubscribe(&[&topics[0], &topics[1], &topics[2]])?;
    same("the codes in UNSUBACK", answers.codes, vec![0x11, 0, 0x11])
}
