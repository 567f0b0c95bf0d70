//! Marks where a filter differs from one that matches a topic.

use client::inquiry;

use crate::cells::width;
use crate::visible;

/// The marks below a filter, and the text beside it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MarkedDifference {
    marks: Vec<Mark>,
    pub(crate) text: String,
}

/// A range of characters of a filter. An empty range marks a missing level.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    start: usize,
    letters: usize,
}

impl MarkedDifference {
    /// Compares a filter with a topic; `kind` is the broker's classification.
    pub(crate) fn between(filter: &str, topic: &str, kind: inquiry::Difference) -> Self {
        // The prefix of a shared filter is not part of the pattern.
        let pattern = filter
            .strip_prefix("$share/")
            .and_then(|rest| Some(rest.split_once('/')?.1))
            .unwrap_or(filter);
        let before = letters(filter) - letters(pattern);
        let levels = Levels {
            filter: pattern.split('/').collect(),
            topic: topic.split('/').collect(),
        };
        let mut difference = match kind {
            inquiry::Difference::Case => levels.case(),
            inquiry::Difference::Letter
            | inquiry::Difference::Level
            | inquiry::Difference::Other => levels.level(),
        };
        for mark in &mut difference.marks {
            mark.start += before;
        }
        difference
    }

    /// The line of marks to print below the filter.
    pub(crate) fn marks_below(&self, filter: &str) -> String {
        let letters: Vec<char> = visible::line(filter).chars().collect();
        let cells = |until: usize| {
            let part: String = letters.iter().take(until).collect();
            width(&part)
        };
        let mut line = String::new();
        let mut at = 0;
        for mark in &self.marks {
            let (start, end) = (cells(mark.start), cells(mark.start + mark.letters));
            line.push_str(&" ".repeat(start.saturating_sub(at)));
            at = end.max(start + 1);
            line.push_str(&"^".repeat(at - start));
        }
        line
    }
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

struct Levels<'a> {
    filter: Vec<&'a str>,
    topic: Vec<&'a str>,
}

impl Levels<'_> {
    /// The character position at which level `at` of the filter begins.
    fn start(&self, at: usize) -> usize {
        let before = &self.filter[..at.min(self.filter.len())];
        before.iter().map(|level| letters(level) + 1).sum()
    }

    /// Marks the characters that differ in case.
    fn case(&self) -> MarkedDifference {
        let mut marks = Vec::new();
        let mut text = String::new();
        for (at, (ours, theirs)) in self.filter.iter().zip(&self.topic).enumerate() {
            if fits(ours, theirs) {
                continue;
            }
            let start = self.start(at);
            let pairs = ours.chars().zip(theirs.chars()).enumerate();
            let differing = pairs.filter(|(_, (ours, theirs))| ours != theirs);
            marks.extend(differing.map(|(at, _)| Mark {
                start: start + at,
                letters: 1,
            }));
            if text.is_empty() {
                text = format!("upper and lower case differ: {theirs} -> {ours}");
            }
        }
        MarkedDifference { marks, text }
    }

    /// Marks the level that differs, is surplus or is missing.
    fn level(&self) -> MarkedDifference {
        let Self { filter, topic } = self;
        let pairs = filter.iter().zip(topic);
        let at = pairs
            .take_while(|(ours, theirs)| fits(ours, theirs))
            .count();
        let (ours, theirs) = (filter.get(at), topic.get(at));
        let start = self.start(at);
        let rest_fits = |of_filter: usize, of_topic: usize| {
            let skip = |levels: &Vec<_>, count: usize| count.min(levels.len());
            matches(
                &filter[skip(filter, of_filter)..],
                &topic[skip(topic, of_topic)..],
            )
        };
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if rest_fits(at + 1, at + 1) => MarkedDifference {
                marks: vec![within(ours, theirs, start)],
                text: format!("{theirs} -> {ours}"),
            },
            (Some(ours), _) if rest_fits(at + 1, at) => MarkedDifference {
                marks: vec![Mark {
                    start,
                    letters: letters(ours),
                }],
                text: format!("the filter has one level more: {ours}"),
            },
            (_, Some(theirs)) => MarkedDifference {
                // Before the level at that position, or after the last one.
                marks: vec![Mark {
                    start: start.min(self.start(filter.len()) - 1),
                    letters: 0,
                }],
                text: format!("the filter lacks the level {theirs}"),
            },
            _ => MarkedDifference {
                marks: Vec::new(),
                text: "it differs in one level".to_owned(),
            },
        }
    }
}

/// The characters of a level without the common prefix and suffix.
fn within(ours: &str, theirs: &str, start: usize) -> Mark {
    let (ours, theirs): (Vec<char>, Vec<char>) = (ours.chars().collect(), theirs.chars().collect());
    let shorter = ours.len().min(theirs.len());
    let same = |(one, other): &(&char, &char)| one == other;
    let front = ours.iter().zip(&theirs).take_while(same).count();
    let ends = ours.iter().rev().zip(theirs.iter().rev());
    let back = ends.take_while(same).count().min(shorter - front);
    Mark {
        start: start + front,
        letters: ours.len() - back - front,
    }
}

fn fits(level: &str, name: &str) -> bool {
    matches!(level, "+" | "#") || level == name
}

fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([level, filter @ ..], [name, topic @ ..]) => fits(level, name) && matches(filter, topic),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use client::inquiry::Difference::{Case, Letter, Level};

    use super::*;

    /// The filter, then the marks below it, then the text.
    fn check(topic: &str, kind: inquiry::Difference, filter: &str, marks: &str, text: &str) {
        let difference = MarkedDifference::between(filter, topic, kind);
        let below = difference.marks_below(filter);
        assert_eq!((&*below, &*difference.text), (marks, text), "{filter}");
    }

    #[test]
    fn a_differing_letter_is_marked() {
        let text = "kitchn -> kitchen";
        check(
            "home/kitchn/x",
            Letter,
            "home/kitchen/x",
            "          ^",
            text,
        );
        check("home/kitchn", Letter, "+/kitchen/#", "       ^", text);
        check("kitchen", Letter, "kitchn", "     ^", "kitchen -> kitchn");
        check("kitchen", Letter, "kicthen", "  ^^", "kitchen -> kicthen");
        check("aa", Letter, "a", " ^", "aa -> a");
        check("a", Letter, "aa", " ^", "a -> aa");
    }

    #[test]
    fn all_letters_of_another_case_are_marked() {
        check(
            "home/Kitchen/t",
            Case,
            "Home/KITchen/t",
            "^     ^^",
            "upper and lower case differ: home -> Home",
        );
    }

    #[test]
    fn a_level_is_marked_as_a_whole() {
        check("a/b/c", Level, "a/xyz/c", "  ^^^", "b -> xyz");
        check(
            "a/c",
            Level,
            "a/xyz/c",
            "  ^^^",
            "the filter has one level more: xyz",
        );
        check("a", Level, "a/b", "  ^", "the filter has one level more: b");
        check("a/b/c", Level, "a/c", "  ^", "the filter lacks the level b");
        check("a/b", Level, "a", " ^", "the filter lacks the level b");
        check("a/b", Level, "b", "^", "the filter lacks the level a");
        check("x/b/c", Level, "a/#", "^", "x -> a");
    }

    #[test]
    fn a_group_and_wide_letters_are_passed_over() {
        check("a/c", Letter, "$share/g/a/b", "           ^", "c -> b");
        check("你/c", Letter, "你/b", "   ^", "c -> b");
    }

    // What a broker says is near may be anything.
    #[test]
    fn nothing_that_is_told_breaks_it() {
        for filter in [
            "",
            "a",
            "a/b",
            "#",
            "+/+",
            "$share/g",
            "a/#",
            "你/好",
            "a/b/c/d/e",
        ] {
            for topic in ["", "a", "a/b", "a/b/c", "你"] {
                for kind in [Case, Letter, Level, inquiry::Difference::Other] {
                    MarkedDifference::between(filter, topic, kind).marks_below(filter);
                }
            }
        }
    }
}
