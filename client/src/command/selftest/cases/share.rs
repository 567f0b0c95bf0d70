//! Shared subscriptions: chapter 4.8 of MQTT 5.

use super::super::case::Case;

use super::super::context::TestContext;
use super::super::finding::{Checked, holds, same};
use super::super::packet::{AckStep, TestMessage};
use super::super::test_client::TestClient;
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

fn refused(context: &TestContext<'_>, filters: &[String]) -> Checked {
    context.needs_shared()?;
    filter::refused(context, filters)
}

fn no_group(context: &TestContext<'_>) -> Checked {
    refused(context, &[format!("$share//{}", context.topic("t"))])
}

fn bad_group(context: &TestContext<'_>) -> Checked {
    let own = context.topic("t");
    refused(
        context,
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
fn member(context: &TestContext<'_>, name: &str, qos: u8) -> Checked<TestClient> {
    context.needs_shared()?;
    let mut peer = context.connect(name)?;
    peer.must_subscribe(&[(&group(context), qos)])?;
    Ok(peer)
}

fn group(context: &TestContext<'_>) -> String {
    format!("$share/{}/{}", context.id("g"), context.topic("t"))
}

fn one_member(context: &TestContext<'_>) -> Checked {
    let mut members = [member(context, "ann", 1)?, member(context, "bob", 1)?];
    let mut publisher = context.connect("pub")?;
    for n in 0..10 {
        let message = TestMessage::new(&context.topic("t"), &n.to_string());
        publisher.publish(&message.qos(1))?;
    }
    let mut came = Vec::new();
    let fence = context.topic("fence");
    for member in &mut members {
        member.must_subscribe(&[(&fence, 0)])?;
        publisher.publish(&TestMessage::new(&fence, "fence"))?;
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

fn granted_qos(context: &TestContext<'_>) -> Checked {
    for granted in 0..=2 {
        let mut member = member(context, "ann", granted)?;
        let mut publisher = context.connect("pub")?;
        for published in 0..=2 {
            context.needs_qos(published)?;
            publisher.publish(&TestMessage::new(&context.topic("t"), "x").qos(published))?;
            let came = member.take("x")?.qos;
            let text = format_args!("QoS {came}");
            let most = published.min(granted);
            holds(came == most, format_args!("QoS {most}"), text)?;
        }
    }
    Ok(())
}

fn same_member(context: &TestContext<'_>) -> Checked {
    context.needs_shared()?;
    context.needs_qos(2)?;
    let (mut ann, _) = context.open(&context.lasting("ann"))?;
    ann.must_subscribe(&[(&group(context), 2)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&context.topic("t"), "begun").qos(2))?;
    let first = ann.message_of("begun")?;
    ann.step(AckStep::Pubrec, first.id);
    ann.expect_step(AckStep::Pubrel, first.id)?;
    // Another member must not get the message now.
    let mut bob = member(context, "bob", 2)?;
    drop(ann);
    let (mut ann, _) = context.open(&context.connect_packet("ann").lasting())?;
    ann.expect_step(AckStep::Pubrel, first.id)?;
    ann.step(AckStep::Pubcomp, first.id);
    context.nothing_more(&mut publisher, &mut bob)
}

fn not_to_another(context: &TestContext<'_>) -> Checked {
    context.needs_shared()?;
    context.needs_qos(2)?;
    let (mut ann, _) = context.open(&context.lasting("ann"))?;
    ann.must_subscribe(&[(&group(context), 2)])?;
    let mut publisher = context.connect("pub")?;
    publisher.publish(&TestMessage::new(&context.topic("t"), "begun").qos(2))?;
    let first = ann.message_of("begun")?;
    let mut bob = member(context, "bob", 2)?;
    ann.step(AckStep::Pubrec, first.id);
    ann.expect_step(AckStep::Pubrel, first.id)?;
    drop(ann);
    // A clean start ends the session.
    context.connect("ann")?.leave()?;
    context.nothing_more(&mut publisher, &mut bob)
}

fn refused_is_discarded(context: &TestContext<'_>) -> Checked {
    context.needs_qos(2)?;
    for (qos, step) in [(1, AckStep::Puback), (2, AckStep::Pubrec)] {
        let mut ann = member(context, "ann", qos)?;
        let mut publisher = context.connect("pub")?;
        publisher.publish(&TestMessage::new(&context.topic("t"), "unwanted").qos(qos))?;
        let message = ann.message_of("unwanted")?;
        let mut bob = member(context, "bob", qos)?;
        ann.step_with(step, message.id, 0x83);
        ann.expect_silence()?;
        context.nothing_more(&mut publisher, &mut bob)?;
    }
    Ok(())
}
