//! `client why`: explains which subscribers get the messages of a topic, and why others do not.

mod difference;

use std::fmt::{self, Write};

use client::inquiry::{self, AsIdentity, Denial, Holder, Matching, Near, Why};

use crate::command::may;
use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::ServerArguments;
use crate::units::{bytes, grouped, plural, time};
use crate::value;
use crate::visible;

use difference::MarkedDifference;

/// Maximum number of subscribers of one filter that are printed.
const MAX_NAMED: usize = 10;

const EXAMPLES: &str = "\
Examples:
  client why home/kitchen/temperature   its subscribers, and their filters
  client why home/kitchn/temperature    filters that nearly match it
  client why home/door --as ann         what ann may do there, and may see of this
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::WHY_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topic to explain
    #[arg(value_parser = value::topic)]
    topic: String,
    /// Tell what WHO may do with it, and only what WHO may see
    #[arg(long = "as", value_name = "WHO", value_parser = may::word)]
    asked_as: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.server.run(|client| {
        let why: Why = match &arguments.asked_as {
            Some(who) => client.inquire(&format!("{} {who}", arguments.topic), None)?,
            None => client.inquire(&arguments.topic, None)?,
        };
        let explanation = Explanation {
            why: &why,
            advice: arguments.server.hint("subscribe", &[&why.topic]),
        };
        listing::print_answer(&why, explanation, arguments.json)?;
        Ok(match &why.asked_as {
            Some(asked_as) if !asked_as.why.allowed => Exit::Denied,
            _ if has_subscribers(&why) => Exit::Done,
            _ => Exit::Failed,
        })
    })
}

fn has_subscribers(why: &Why) -> bool {
    why.matching.iter().any(|matching| matching.total > 0)
}

/// The answer as text for people.
struct Explanation<'a> {
    why: &'a Why,
    /// The command that subscribes to the topic.
    advice: String,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.why;
        let topic = visible::line(&why.topic);
        if let Some(asked_as) = &why.asked_as {
            write_rights(f, asked_as, &topic)?;
            if !asked_as.why.allowed {
                return Ok(());
            }
            f.write_char('\n')?;
        }
        if has_subscribers(why) {
            writeln!(f, "{topic} goes to these:")?;
            let matching = why.matching.iter().filter(|matching| matching.total > 0);
            matching.into_iter().try_for_each(|it| write_match(f, it))?;
        } else if let Some(asked_as) = &why.asked_as {
            let who = visible::line(&asked_as.identity);
            writeln!(f, "{who} may see no filter that matches {topic}.")?;
        } else {
            writeln!(f, "Nobody gets {topic}: no filter matches it.")?;
        }
        let near = near(why);
        if !near.is_empty() {
            let verb = if has_subscribers(why) {
                "also nearly"
            } else {
                "nearly"
            };
            writeln!(f, "\nThese filters {verb} match:")?;
            near.iter()
                .try_for_each(|near| write_near(f, near, &why.topic))?;
        } else if !has_subscribers(why) {
            write_advice(f, &topic, &self.advice)?;
        }
        write_denied(f, &why.denied)?;
        f.write_char('\n')?;
        write_history(f, why)
    }
}

/// What an identity may do, and whether it may see the rest of the answer.
fn write_rights(f: &mut fmt::Formatter<'_>, asked: &AsIdentity, topic: &str) -> fmt::Result {
    let who = visible::line(&asked.identity);
    for (right, may) in [
        (format!("publish to {topic}"), &asked.publish),
        (format!("subscribe to {topic}"), &asked.subscribe),
        ("ask why".to_owned(), &asked.why),
    ] {
        let verb = match may.allowed {
            true => "may",
            false => "may not",
        };
        writeln!(f, "{who} {verb} {right}: {}", visible::line(&may.text))?;
    }
    Ok(())
}

/// What clients were denied lately.
fn write_denied(f: &mut fmt::Formatter<'_>, denied: &[Denial]) -> fmt::Result {
    if denied.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nThis was denied lately:")?;
    for denial in denied.iter().take(MAX_NAMED) {
        let Denial {
            identity,
            right,
            object,
            ..
        } = denial;
        let rule = denial.rule.as_deref().unwrap_or("no rule allows it");
        let told = format!(
            "{identity}: {right} {object}, {}, the last {} ago ({rule})",
            plural(denial.count, "time"),
            time(denial.seconds_ago),
        );
        writeln!(f, "  {}", visible::line(&told))?;
    }
    match denied.len().saturating_sub(MAX_NAMED) {
        0 => Ok(()),
        more => writeln!(f, "  and {} more", grouped(more as u64)),
    }
}

/// The filters that were probably meant to match. If a filter names the topic, filters that differ in a
/// level are probably meant for other topics. A filter with a wildcard, such as that of a logger on `#`,
/// says nothing about them.
fn near(why: &Why) -> Vec<&Near> {
    let is_named = why
        .matching
        .iter()
        .any(|matching| matching.total > 0 && !matching.filter.contains(['+', '#']));
    let is_typo = |near: &Near| match near.difference {
        inquiry::Difference::Case | inquiry::Difference::Letter => true,
        inquiry::Difference::Level | inquiry::Difference::Other => false,
    };
    let near = why.near.iter();
    near.filter(|near| !is_named || is_typo(near)).collect()
}

fn write_match(f: &mut fmt::Formatter<'_>, matching: &Matching) -> fmt::Result {
    let filter = visible::line(&matching.filter);
    if filter.starts_with("$share/") {
        let members = match matching.total {
            1 => "its only member gets each message".to_owned(),
            total => format!("one of {} members gets each message", grouped(total)),
        };
        writeln!(f, "  {filter}   {members}")?;
    } else {
        writeln!(f, "  {filter}")?;
    }
    write_holders(f, &matching.holders, matching.total)
}

fn write_near(f: &mut fmt::Formatter<'_>, near: &Near, topic: &str) -> fmt::Result {
    let filter = visible::line(&near.filter);
    let difference = MarkedDifference::between(&near.filter, topic, near.difference);
    let kind = match near.difference {
        inquiry::Difference::Letter => "one letter differs: ",
        inquiry::Difference::Case | inquiry::Difference::Level | inquiry::Difference::Other => "",
    };
    let text = visible::line(&difference.text);
    writeln!(f, "  {filter}   {kind}{text}")?;
    let marks = difference.marks_below(&near.filter);
    if !marks.is_empty() {
        writeln!(f, "  {marks}")?;
    }
    write_holders(f, &near.holders, near.total)
}

/// Subscribers that miss messages come first.
fn write_holders(f: &mut fmt::Formatter<'_>, holders: &[Holder], total: u64) -> fmt::Result {
    let mut shown: Vec<(&Holder, Vec<String>)> = holders
        .iter()
        .map(|holder| (holder, problems(holder)))
        .collect();
    shown.sort_by_key(|(_, problems)| problems.is_empty());
    shown.truncate(MAX_NAMED);
    for (holder, problems) in &shown {
        write!(f, "    {}", label(holder))?;
        if holder.from_log {
            f.write_str(", from the log")?;
        }
        for problem in problems {
            write!(f, "\n      {problem}")?;
        }
        f.write_char('\n')?;
    }
    match total.saturating_sub(shown.len() as u64) {
        0 => Ok(()),
        more => writeln!(f, "    and {} more", grouped(more)),
    }
}

/// `#7 the lamp (127.0.0.1:40000)`, or `#7 the lamp (ann, 127.0.0.1:40000)` for one that has said who it is.
fn label(holder: &Holder) -> String {
    let Holder { id, peer, wire, .. } = holder;
    let name = holder.name.as_deref().map(|name| format!(" {name}"));
    let name = name.unwrap_or_default();
    let wire = match &**wire {
        "line" => String::new(),
        other => format!(", {other}"),
    };
    let identity = match listing::identity(&holder.identity) {
        "" => String::new(),
        identity => format!("{identity}, "),
    };
    visible::line(&format!("#{id}{name} ({identity}{peer}{wire})"))
}

/// Why a subscriber of the filter misses messages.
fn problems(holder: &Holder) -> Vec<String> {
    let mut problems = Vec::new();
    if holder.may_see == Some(false) {
        problems.push("the rules let no message of this topic through to it".to_owned());
    }
    let stock = format!(
        "{}, {} of {}",
        plural(holder.waiting, "message"),
        bytes(holder.waiting_bytes),
        bytes(holder.limit_bytes),
    );
    if holder.is_full {
        problems.push(format!(
            "its outbox is full ({stock}): messages for it are dropped now"
        ));
    } else if holder.waiting > 0 {
        problems.push(format!("it lags behind: its outbox holds {stock}"));
    }
    if let Some(here) = &holder.dropped_here {
        let (count, last) = (plural(here.at_least, "message"), time(here.last_s));
        problems.push(format!(
            "at least {count} of this topic were dropped, the last one {last} ago"
        ));
    } else if holder.dropped > 0 {
        let count = plural(holder.dropped, "message");
        problems.push(format!("{count} were dropped, lately none of this topic"));
    }
    problems
}

fn write_advice(f: &mut fmt::Formatter<'_>, topic: &str, advice: &str) -> fmt::Result {
    if topic.starts_with('$') {
        writeln!(
            f,
            "Filters that begin with + or # do not match names that begin with $."
        )?;
    }
    writeln!(f, "To get it, type: {advice}")
}

fn write_history(f: &mut fmt::Formatter<'_>, why: &Why) -> fmt::Result {
    match &why.seen {
        Some(seen) => writeln!(
            f,
            "It was last published {} ago: {} so far, {} made of them.",
            time(seen.last_s),
            plural(seen.messages, "message"),
            copies(seen.copies),
        )?,
        None => writeln!(
            f,
            "Nothing has been published there, as far as the broker remembers."
        )?,
    }
    match &why.retained {
        Some(kept) => writeln!(
            f,
            "Its last value is retained: {}, {} old.",
            bytes(kept.bytes),
            time(kept.age_s),
        ),
        None => writeln!(f, "Nothing is retained there."),
    }
}

fn copies(count: u64) -> String {
    match count {
        1 => "1 copy".to_owned(),
        count => format!("{} copies", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint;

    fn shown(answer: &str) -> String {
        let why: Why = serde_json::from_str(answer).expect("an answer");
        let advice = hint::client("subscribe", &[], &[&why.topic]);
        Explanation { why: &why, advice }.to_string()
    }

    const LAMP: &str = r#"{"id":7,"name":"the lamp","peer":"127.0.0.1:40000","wire":"line",
        "waiting":0,"waiting_bytes":0,"limit_bytes":1024,"is_full":false,"dropped":0,
        "dropped_here":null}"#;

    const FULL: &str = r#"{"id":8,"name":null,"peer":"127.0.0.1:40001","wire":"mqtt",
        "waiting":3,"waiting_bytes":1000,"limit_bytes":1024,"is_full":true,"dropped":9,
        "dropped_here":{"at_least":2,"last_s":61}}"#;

    #[test]
    fn subscribers_are_listed_by_filter_with_their_problems() {
        let shown = shown(&format!(
            r#"{{"topic":"home/a","matching":[
                {{"filter":"home/#","holders":[{LAMP}],"total":1}},
                {{"filter":"$share/g/+/a","holders":[{FULL}],"total":3}}],
                "near":[],"retained":{{"bytes":4,"age_s":7200}},
                "seen":{{"messages":1200,"copies":1,"last_s":2}}}}"#
        ));
        let expected = "\
home/a goes to these:
  home/#
    #7 the lamp (127.0.0.1:40000)
  $share/g/+/a   one of 3 members gets each message
    #8 (127.0.0.1:40001, mqtt)
      its outbox is full (3 messages, 1000 B of 1.0 KiB): messages for it are dropped now
      at least 2 messages of this topic were dropped, the last one 1m ago
    and 2 more

It was last published 2s ago: 1,200 messages so far, 1 copy made of them.
Its last value is retained: 4 B, 2h old.
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_subscribers_the_near_filters_are_listed() {
        let shown = shown(&format!(
            r#"{{"topic":"home/kitchn","matching":[],"near":[
                {{"filter":"+/kitchen","difference":"letter","holders":[{LAMP}],"total":1}}],
                "retained":null,"seen":null}}"#
        ));
        let expected = "\
Nobody gets home/kitchn: no filter matches it.

These filters nearly match:
  +/kitchen   one letter differs: kitchn -> kitchen
         ^
    #7 the lamp (127.0.0.1:40000)

Nothing has been published there, as far as the broker remembers.
Nothing is retained there.
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn with_a_subscriber_that_names_the_topic_only_likely_mistakes_are_listed() {
        let near = |filter, difference| {
            format!(r#"{{"filter":"{filter}","difference":"{difference}","holders":[],"total":1}}"#)
        };
        let shown = shown(&format!(
            r##"{{"topic":"a/b","matching":[{{"filter":"a/b","holders":[],"total":1}}],
                "near":[{},{},{}]}}"##,
            near("A/b", "case"),
            near("a/c", "level"),
            near("a/bb", "letter"),
        ));
        let lines: Vec<&str> = shown.lines().collect();
        let expected = [
            "a/b goes to these:",
            "  a/b",
            "    and 1 more",
            "",
            "These filters also nearly match:",
            "  A/b   upper and lower case differ: a -> A",
            "  ^",
            "    and 1 more",
            "  a/bb   one letter differs: b -> bb",
            "     ^",
        ];
        assert_eq!(lines[..10], expected, "{shown}");
    }

    #[test]
    fn a_subscriber_to_everything_hides_no_near_filter() {
        let shown = shown(
            r##"{"topic":"a/b","matching":[{"filter":"#","holders":[],"total":1}],
                "near":[{"filter":"a/c","difference":"level","holders":[],"total":1}]}"##,
        );
        assert!(
            shown.contains("These filters also nearly match:\n  a/c"),
            "{shown}"
        );
    }

    #[test]
    fn of_many_subscribers_those_with_problems_are_named() {
        let many = vec![LAMP; 20].join(",");
        let shown = shown(&format!(
            r##"{{"topic":"a","matching":[
                {{"filter":"#","holders":[{many},{FULL}],"total":21}}],"near":[]}}"##
        ));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[2], "    #8 (127.0.0.1:40001, mqtt)", "{shown}");
        assert_eq!(lines[14], "    and 11 more", "{shown}");
    }

    #[test]
    fn holders_have_their_identity_and_denials_are_listed() {
        let guest = r#"{"id":9,"identity":"guest","may_see":false,"name":null,"peer":"10.0.0.9:40000","wire":"line",
            "waiting":0,"waiting_bytes":0,"limit_bytes":1024,"is_full":false,"dropped":0,"dropped_here":null}"#;
        let denied = r#"{"identity":"bob","right":"publish","object":"a/b","rule":"x:6: deny","count":3,"seconds_ago":2.5},
            {"identity":"eve\u001b","right":"subscribe","object":"a/+","rule":null,"count":1,"seconds_ago":7}"#;
        let shown = shown(&format!(
            r##"{{"topic":"a/b","matching":[{{"filter":"#","holders":[{guest}],"total":1}}],"near":[],"denied":[{denied}]}}"##
        ));
        let lines: Vec<&str> = shown.lines().collect();
        let expected = [
            "a/b goes to these:",
            "  #",
            "    #9 (guest, 10.0.0.9:40000)",
            "      the rules let no message of this topic through to it",
            "",
            "This was denied lately:",
            "  bob: publish a/b, 3 times, the last 2s ago (x:6: deny)",
            "  eve\u{fffd}: subscribe a/+, 1 time, the last 7s ago (no rule allows it)",
        ];
        assert_eq!(lines[..8], expected, "{shown}");
    }

    #[test]
    fn as_another_the_rights_come_first_and_then_what_it_may_see() {
        let may = |allowed| format!(r#"{{"allowed":{allowed},"text":"x:1"}}"#);
        let asked = |why| {
            let (yes, no, why) = (may(true), may(false), may(why));
            format!(
                r##"{{"topic":"a","matching":[{{"filter":"#","holders":[],"total":1}}],"near":[],
                "as":{{"identity":"ann","publish":{yes},"subscribe":{no},"why":{why}}}}}"##
            )
        };
        let rights = "ann may publish to a: x:1\nann may not subscribe to a: x:1\n";
        let all = shown(&asked(true));
        let expected = format!("{rights}ann may ask why: x:1\n\na goes to these:\n");
        assert!(all.starts_with(&expected), "{all}");
        let none = shown(&asked(false));
        assert_eq!(none, format!("{rights}ann may not ask why: x:1\n"));
    }

    #[test]
    fn without_near_filters_it_says_what_to_type() {
        let shown = shown(r#"{"topic":"$a\u001b","matching":[],"near":[]}"#);
        assert!(
            shown.contains("with $.\nTo get it, type: client subscribe '$a\u{fffd}'\n"),
            "{shown}"
        );
    }
}
