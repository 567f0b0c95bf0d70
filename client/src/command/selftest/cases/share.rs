//! Shared subscriptions: chapter 4.8 of MQTT 5.

use super::super::case::Case;

use super::super::finding::{Checked, holds, same};
use super::super::lab::Lab;
use super::super::packet::{Message, Step};
use super::super::peer::Peer;
use super::filter;

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "4.8.2-1",
        "a shared filter without a group is refused",
        no_group,
    ),
    Case::v5(
        "4.8.2-2",
        "a shared filter whose group has a wildcard, or has no filter behind it, is refused",
        bad_group,
    ),
    Case::v5(
        "4.8.2",
        "each message goes to one member of a group",
        one_member,
    ),
    Case::v5(
        "4.8.2-3",
        "a message to a group has at most the QoS that was granted to the member",
        granted_qos,
    ),
    Case::v5(
        "4.8.2-4",
        "a QoS 2 message that was begun is finished with the same member when it is back",
        same_member,
    ),
    Case::v5(
        "4.8.2-5",
        "a QoS 2 message that was begun goes to no other member when the session of its own ends",
        not_to_another,
    ),
    Case::v5(
        "4.8.2-6",
        "a message that a member refuses by its code goes to no other",
        refused_is_discarded,
    ),
];

fn refused(lab: &Lab<'_>, filters: &[String]) -> Checked {
    lab.needs_shared()?;
    filter::refused(lab, filters)
}

fn no_group(lab: &Lab<'_>) -> Checked {
    refused(lab, &[format!("$share//{}", lab.topic("t"))])
}

fn bad_group(lab: &Lab<'_>) -> Checked {
    let own = lab.topic("t");
    refused(
        lab,
        &[
            format!("$share/+/{own}"),
            format!("$share/g+/{own}"),
            format!("$share/#/{own}"),
            format!("$share/g#/{own}"),
            "$share/g".to_owned(),
            "$share/g/".to_owned(),
        ],
    )
}

/// A member of the group `g` of the topic `t`.
fn member(lab: &Lab<'_>, name: &str, qos: u8) -> Checked<Peer> {
    lab.needs_shared()?;
    let mut peer = lab.connect(name)?;
    peer.must_subscribe(&[(&group(lab), qos)])?;
    Ok(peer)
}

fn group(lab: &Lab<'_>) -> String {
    format!("$share/{}/{}", lab.id("g"), lab.topic("t"))
}

fn one_member(lab: &Lab<'_>) -> Checked {
    let mut members = [member(lab, "ann", 1)?, member(lab, "bob", 1)?];
    let mut publisher = lab.connect("pub")?;
    for n in 0..10 {
        let message = Message::new(&lab.topic("t"), &n.to_string());
        publisher.publish(&message.qos(1))?;
    }
    let mut came = Vec::new();
    let fence = lab.topic("fence");
    for member in &mut members {
        member.must_subscribe(&[(&fence, 0)])?;
        publisher.publish(&Message::new(&fence, "fence"))?;
        loop {
            let message = member.message()?;
            if message.topic == fence {
                break;
            }
            member.acknowledge(&message)?;
            came.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
        member.unsubscribe(&[&fence])?;
    }
    came.sort();
    let expected: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    same("the messages of all members", came, expected)
}

fn granted_qos(lab: &Lab<'_>) -> Checked {
    for granted in 0..=2 {
        let mut member = member(lab, "ann", granted)?;
        let mut publisher = lab.connect("pub")?;
        for published in 0..=2 {
            lab.needs_qos(published)?;
            publisher.publish(&Message::new(&lab.topic("t"), "x").qos(published))?;
            let came = member.take("x")?.qos;
            let text = format_args!("QoS {came}");
            let most = published.min(granted);
            holds(came == most, format_args!("QoS {most}"), text)?;
        }
    }
    Ok(())
}

fn same_member(lab: &Lab<'_>) -> Checked {
    lab.needs_shared()?;
    lab.needs_qos(2)?;
    let (mut ann, _) = lab.open(&lab.lasting("ann"))?;
    ann.must_subscribe(&[(&group(lab), 2)])?;
    let mut publisher = lab.connect("pub")?;
    publisher.publish(&Message::new(&lab.topic("t"), "begun").qos(2))?;
    let first = ann.message_of("begun")?;
    ann.step(Step::Pubrec, first.id);
    ann.expect_step(Step::Pubrel, first.id)?;
    // Another could take the message now, and must not.
    let mut bob = member(lab, "bob", 2)?;
    drop(ann);
    let (mut ann, _) = lab.open(&lab.hello("ann").lasting())?;
    ann.expect_step(Step::Pubrel, first.id)?;
    ann.step(Step::Pubcomp, first.id);
    lab.nothing_more(&mut publisher, &mut bob)
}

fn not_to_another(lab: &Lab<'_>) -> Checked {
    lab.needs_shared()?;
    lab.needs_qos(2)?;
    let (mut ann, _) = lab.open(&lab.lasting("ann"))?;
    ann.must_subscribe(&[(&group(lab), 2)])?;
    let mut publisher = lab.connect("pub")?;
    publisher.publish(&Message::new(&lab.topic("t"), "begun").qos(2))?;
    let first = ann.message_of("begun")?;
    let mut bob = member(lab, "bob", 2)?;
    ann.step(Step::Pubrec, first.id);
    ann.expect_step(Step::Pubrel, first.id)?;
    drop(ann);
    // A clean start ends the session.
    lab.connect("ann")?.leave()?;
    lab.nothing_more(&mut publisher, &mut bob)
}

fn refused_is_discarded(lab: &Lab<'_>) -> Checked {
    lab.needs_qos(2)?;
    for (qos, step) in [(1, Step::Puback), (2, Step::Pubrec)] {
        let mut ann = member(lab, "ann", qos)?;
        let mut publisher = lab.connect("pub")?;
        publisher.publish(&Message::new(&lab.topic("t"), "unwanted").qos(qos))?;
        let message = ann.message_of("unwanted")?;
        let mut bob = member(lab, "bob", qos)?;
        ann.step_with(step, message.id, 0x83);
        ann.expect_silence()?;
        lab.nothing_more(&mut publisher, &mut bob)?;
    }
    Ok(())
}
