//! Which filters match which topics, and which are none: chapter 4.7.

use super::super::case::Case;
use super::super::encode;

use super::super::finding::{Checked, Finding, same};
use super::super::lab::Lab;
use super::super::packet::{Message, Packet};
use super::super::peer::{Heard, shown};
use super::super::property::Properties;
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

/// A filter matches these topics and not those. `*` stands for this case's own prefix.
fn check(lab: &Lab<'_>, filter: &str, matching: &[&str], others: &[&str]) -> Checked {
    lab.needs_wildcards()?;
    let own = lab.id("x");
    let name = |text: &str| text.replace('*', &own);
    let (mut subscriber, mut publisher) = lab.pair(&name(filter), 1)?;
    for topic in others {
        publisher.publish(&Message::new(&name(topic), "another").qos(1))?;
    }
    lab.nothing_more(&mut publisher, &mut subscriber)?;
    for topic in matching {
        publisher.publish(&Message::new(&name(topic), topic).qos(1))?;
        subscriber.take(topic)?;
    }
    Ok(())
}

fn many_levels(lab: &Lab<'_>) -> Checked {
    let all = ["*/a", "*/a/", "*/a/b", "*/a/b/c", "*/a//c"];
    check(lab, "*/a/#", &all, &["*", "*/b", "*/ab", "*b/a", "a"])?;
    let all = ["*", "*/", "*/a", "*/a/b"];
    check(lab, "*/#", &all, &["*a", "a/*"])?;
    check(lab, "*/+/#", &["*/a", "*/", "*/a/b"], &["*"])?;
    check(lab, "+/*/#", &["a/*", "a/*/b"], &["*", "a/b/*"])
}

fn one_level(lab: &Lab<'_>) -> Checked {
    let none = ["*", "*/a/b", "*/a/", "a/*"];
    check(lab, "*/+", &["*/a", "*/", "*/ab"], &none)?;
    let none = ["*/a", "*/a/b", "*/b/c/d", "*/c"];
    check(lab, "*/+/c", &["*/a/c", "*//c"], &none)?;
    check(lab, "+/*", &["a/*", "/*"], &["*", "a/b/*", "*/a"])?;
    check(lab, "+/*/+", &["a/*/b", "/*/"], &["a/*", "*/b"])
}

/// None of these filters is one: it gets a failure in SUBACK, or ends the connection.
pub(super) fn refused(lab: &Lab<'_>, filters: &[impl AsRef<str>]) -> Checked {
    for filter in filters {
        let filter = filter.as_ref();
        let mut peer = lab.connect("c")?;
        let wishes = [(filter, 0)];
        peer.send(&encode::subscribe(
            lab.version,
            1,
            &Properties::default(),
            &wishes,
        ));
        let heard = peer.hear()?;
        match &heard {
            Heard::Closed => {}
            Heard::Packet(Packet::Disconnect { .. }) => peer.expect_end()?,
            Heard::Packet(Packet::Suback(answers)) if answers.codes[0] >= 0x80 => {}
            heard => {
                let expected = format_args!("the filter {filter:?} to be refused");
                return Err(Finding::differs(expected, shown(heard)));
            }
        }
    }
    Ok(())
}

fn misplaced_hash(lab: &Lab<'_>) -> Checked {
    refused(lab, &["a/#/b", "#/a", "a#", "a/b#", "a/#b", "##"])
}

fn misplaced_plus(lab: &Lab<'_>) -> Checked {
    refused(lab, &["a+", "+a", "a/b+", "a/+b/c", "++"])
}

fn dollar(lab: &Lab<'_>) -> Checked {
    lab.needs_wildcards()?;
    let own = lab.id("x");
    let mut subscriber = lab.connect("sub")?;
    let below = format!("+/{own}");
    subscriber.must_subscribe(&[("#", 0), (&below, 0)])?;
    // A server may refuse such a topic, and close the connection.
    let mut publisher = lab.connect("pub")?;
    publisher.begin(&Message::new(&format!("$a/{own}"), "hidden"));
    publisher.begin(&Message::new(&format!("${own}"), "hidden"));
    while !matches!(
        publisher.ask()?,
        Heard::Closed | Heard::Packet(Packet::Pingresp)
    ) {}
    let fence = lab.topic("fence");
    lab.connect("other")?
        .publish(&Message::new(&fence, "fence"))?;
    // Others may publish meanwhile, and `#` finds that, too.
    loop {
        let message = subscriber.message()?;
        let begins = message.topic.starts_with('$');
        same("a topic with $ for #", begins, false)?;
        if message.topic == fence {
            return Ok(());
        }
    }
}

fn empty_filter(lab: &Lab<'_>) -> Checked {
    refused(lab, &[""])
}

fn empty_topic(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&Message::new("", "x").encode(lab.version))
}

fn null(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&Message::new("a\0", "x").encode(lab.version))?;
    let wishes = [("a/\0/b", 0)];
    lab.expect_fatal(&encode::subscribe(
        lab.version,
        1,
        &Properties::default(),
        &wishes,
    ))
}

fn letter_by_letter(lab: &Lab<'_>) -> Checked {
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
        let topic = lab.topic(name);
        let (mut subscriber, mut publisher) = lab.pair(&topic, 0)?;
        for other in names {
            publisher.publish(&Message::new(&lab.topic(other), other).qos(1))?;
        }
        same("the topic", subscriber.take(name)?.topic, topic)?;
        lab.nothing_more(&mut publisher, &mut subscriber)?;
    }
    Ok(())
}
