//! Which filters match which topics, and which are invalid: chapter 4.7.

use super::super::case::Case;
use super::super::encode;

use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, same};
use super::super::packet::{Packet, TestMessage};
use super::super::property::Properties;
use super::super::test_client::{Received, shown};
use super::publish;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "4.7.1-1",
        "4.7.0-1",
        "wildcards have no place in the topic of a message",
        publish::wildcards_in_topic,
    ),
    Case::both(
        "4.7.1-2",
        "4.7.1-1",
        "# stands for the level above and all levels below",
        many_levels,
    ),
    Case::both(
        "4.7.1-2",
        "4.7.1-1",
        "a filter with # elsewhere than at its end, alone in its level, is refused",
        misplaced_hash,
    ),
    Case::both(
        "4.7.1-3",
        "4.7.1-2",
        "+ stands for exactly one level, which may be empty",
        one_level,
    ),
    Case::both(
        "4.7.1-3",
        "4.7.1-2",
        "a filter with + beside other letters of a level is refused",
        misplaced_plus,
    ),
    Case::both(
        "4.7.2-1",
        "4.7.2-1",
        "filters that begin with a wildcard do not match topics that begin with $",
        dollar,
    ),
    Case::both(
        "4.7.3-1",
        "4.7.3-1",
        "an empty filter is refused",
        empty_filter,
    ),
    Case::both(
        "4.7.3-1",
        "4.7.3-1",
        "a message without a topic ends the connection",
        empty_topic,
    ),
    Case::both(
        "4.7.3-2",
        "4.7.3-2",
        "a null character in a topic or a filter ends the connection",
        null,
    ),
    Case::both(
        "4.7.3-4",
        "4.7.3-4",
        "topics are compared letter by letter, without changing any",
        letter_by_letter,
    ),
];

/// Checks that a filter matches `these` topics and not `those`. `*` is the prefix of this case.
fn check(context: &TestContext<'_>, filter: &str, matching: &[&str], others: &[&str]) -> Checked {
    context.needs_wildcards()?;
    let own = context.id("x");
    let name = |text: &str| text.replace('*', &own);
    let (mut subscriber, mut publisher) = context.pair(&name(filter), 1)?;
    for topic in others {
        publisher.publish(&TestMessage::new(&name(topic), "another").qos(1))?;
    }
    context.nothing_more(&mut publisher, &mut subscriber)?;
    for topic in matching {
        publisher.publish(&TestMessage::new(&name(topic), topic).qos(1))?;
        subscriber.take(topic)?;
    }
    Ok(())
}

fn many_levels(context: &TestContext<'_>) -> Checked {
    let all = ["*/a", "*/a/", "*/a/b", "*/a/b/c", "*/a//c"];
    check(context, "*/a/#", &all, &["*", "*/b", "*/ab", "*b/a", "a"])?;
    let all = ["*", "*/", "*/a", "*/a/b"];
    check(context, "*/#", &all, &["*a", "a/*"])?;
    check(context, "*/+/#", &["*/a", "*/", "*/a/b"], &["*"])?;
    check(context, "+/*/#", &["a/*", "a/*/b"], &["*", "a/b/*"])
}

fn one_level(context: &TestContext<'_>) -> Checked {
    let none = ["*", "*/a/b", "*/a/", "a/*"];
    check(context, "*/+", &["*/a", "*/", "*/ab"], &none)?;
    let none = ["*/a", "*/a/b", "*/b/c/d", "*/c"];
    check(context, "*/+/c", &["*/a/c", "*//c"], &none)?;
    check(context, "+/*", &["a/*", "/*"], &["*", "a/b/*", "*/a"])?;
    check(context, "+/*/+", &["a/*/b", "/*/"], &["a/*", "*/b"])
}

/// Checks that invalid filters are refused in SUBACK or end the connection.
pub(super) fn refused(context: &TestContext<'_>, filters: &[impl AsRef<str>]) -> Checked {
    for filter in filters {
        let filter = filter.as_ref();
        let mut peer = context.connect("c")?;
        let filters = [(filter, 0)];
        peer.send(&encode::subscribe(
            context.version,
            1,
            &Properties::default(),
            &filters,
        ));
        let received = peer.receive()?;
        match &received {
            Received::Closed => {}
            Received::Packet(Packet::Disconnect { .. }) => peer.expect_end()?,
            Received::Packet(Packet::Suback(answers)) if answers.codes[0] >= 0x80 => {}
            received => {
                let expected = format_args!("the filter {filter:?} to be refused");
                return Err(Finding::differs(expected, shown(received)));
            }
        }
    }
    Ok(())
}

fn misplaced_hash(context: &TestContext<'_>) -> Checked {
    refused(context, &["a/#/b", "#/a", "a#", "a/b#", "a/#b", "##"])
}

fn misplaced_plus(context: &TestContext<'_>) -> Checked {
    refused(context, &["a+", "+a", "a/b+", "a/+b/c", "++"])
}

fn dollar(context: &TestContext<'_>) -> Checked {
    context.needs_wildcards()?;
    let own = context.id("x");
    let mut subscriber = context.connect("sub")?;
    let below = format!("+/{own}");
    subscriber.must_subscribe(&[("#", 0), (&below, 0)])?;
    // A server may refuse such a topic and close the connection.
    let mut publisher = context.connect("pub")?;
    publisher.begin(&TestMessage::new(&format!("$a/{own}"), "hidden"));
    publisher.begin(&TestMessage::new(&format!("${own}"), "hidden"));
    while !matches!(
        publisher.ask()?,
        Received::Closed | Received::Packet(Packet::Pingresp)
    ) {}
    let fence = context.topic("fence");
    context
        .connect("other")?
        .publish(&TestMessage::new(&fence, "fence"))?;
    // Other clients may publish meanwhile, and `#` matches that too.
    loop {
        let message = subscriber.message()?;
        let begins = message.topic.starts_with('$');
        same("a topic with $ for #", begins, false)?;
        if message.topic == fence {
            return Ok(());
        }
    }
}

fn empty_filter(context: &TestContext<'_>) -> Checked {
    refused(context, &[""])
}

fn empty_topic(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&TestMessage::new("", "x").encode(context.version))
}

fn null(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&TestMessage::new("a\0", "x").encode(context.version))?;
    let filters = [("a/\0/b", 0)];
    context.expect_fatal(&encode::subscribe(
        context.version,
        1,
        &Properties::default(),
        &filters,
    ))
}

fn letter_by_letter(context: &TestContext<'_>) -> Checked {
    let names = [
        "t",
        "T",
        "t ",
        " t",
        "t/",
        "/t",
        "t//x",
        "t/x",
        "caf\u{e9}",
        "cafe\u{301}",
        "t\u{200b}",
        "\u{fb01}",
        "fi",
        "%74",
        "t/../t",
        ".",
        "\\t",
    ];
    for name in names {
        let topic = context.topic(name);
        let (mut subscriber, mut publisher) = context.pair(&topic, 0)?;
        for other in names {
            publisher.publish(&TestMessage::new(&context.topic(other), other).qos(1))?;
        }
        same("the topic", subscriber.take(name)?.topic, topic)?;
        context.nothing_more(&mut publisher, &mut subscriber)?;
    }
    Ok(())
}
