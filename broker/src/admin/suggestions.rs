//! Filters that nearly match a topic: what a subscriber may have meant.
//!
//! Compares a topic and a filter and returns how they differ, if they differ in little. The caller
//! finds the filters.

use memchr::memchr_iter;
use serde::Serialize;

/// How a filter differs from those that match; ordered, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Difference {
    /// In upper and lower case only.
    Case,
    /// In one letter of one level: replaced, added, missing, or swapped with its neighbour.
    Letter,
    /// In one level: replaced, added or missing.
    Level,
}

/// A topic to compare filters with.
pub(crate) struct Target<'a> {
    topic: &'a str,
    levels: Vec<&'a str>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(topic: &'a str) -> Self {
        Self {
            topic,
            levels: topic.split('/').collect(),
        }
    }

    /// The difference between the pattern and those that match; none if it matches or differs in more.
    pub(crate) fn difference(&self, pattern: &str) -> Option<Difference> {
        if self.topic.starts_with('$') && pattern.starts_with(['+', '#']) {
            return None;
        }
        if !self.may_be_near(pattern) {
            return None;
        }
        let wanted: Vec<&str> = pattern.split('/').collect();
        let (levels, wanted) = (&self.levels[..], &wanted[..]);
        if matches(levels, wanted, is_same) {
            return None;
        }
        if matches(levels, wanted, is_same_but_for_case) {
            return Some(Difference::Case);
        }
        let at = wanted
            .iter()
            .zip(levels)
            .take_while(|(wanted, level)| is_same(level, wanted))
            .count();
        // Some other level must match by name, or every filter would be near.
        let (before, behind) = (&wanted[..at], wanted.get(at + 1..).unwrap_or_default());
        let known = |levels: &[&str]| levels.iter().any(|level| !matches!(*level, "+" | "#"));
        let is_known = known(before) || known(behind);
        let here = levels.get(at).zip(wanted.get(at));
        if let Some((level, other)) = here
            && matches(&levels[at + 1..], behind, is_same)
        {
            return if is_one_edit(level, other) {
                Some(Difference::Letter)
            } else {
                is_known.then_some(Difference::Level)
            };
        }
        let one_less = at < levels.len() && matches(&levels[at + 1..], &wanted[at..], is_same);
        let one_more = at < wanted.len() && matches(&levels[at..], behind, is_same);
        let near = (one_less && known(wanted)) || (one_more && is_known);
        near.then_some(Difference::Level)
    }

    /// A fast check that rejects nearly all patterns that are not near, and none that are.
    fn may_be_near(&self, pattern: &str) -> bool {
        let depth = memchr_iter(b'/', pattern.as_bytes()).count() + 1;
        if pattern.contains(['+', '#']) {
            let at_least = depth - usize::from(pattern.ends_with('#'));
            return at_least <= self.levels.len() + 1
                && (pattern.ends_with('#') || self.levels.len() <= depth + 1);
        }
        let (one, two) = (self.topic.as_bytes(), pattern.as_bytes());
        let shorter = one.len().min(two.len());
        let begin = one.iter().zip(two).take_while(|(a, b)| a == b).count();
        let end = one.iter().rev().zip(two.iter().rev());
        let end = end.take_while(|(a, b)| a == b).count().min(shorter - begin);
        let middle = [&one[begin..one.len() - end], &two[begin..two.len() - end]];
        match depth.abs_diff(self.levels.len()) {
            // All differences lie within one level, or are differences of case.
            0 => {
                middle.iter().all(|middle| !middle.contains(&b'/'))
                    || is_same_but_for_case(self.topic, pattern)
            }
            1 => middle.iter().any(|middle| middle.is_empty()),
            _ => false,
        }
    }
}

/// Whether the levels of a filter match those of a topic.
fn matches(levels: &[&str], wanted: &[&str], same: fn(&str, &str) -> bool) -> bool {
    for (at, other) in wanted.iter().enumerate() {
        match (*other, levels.get(at)) {
            ("#", _) => return true,
            (other, Some(level)) if same(level, other) => {}
            _ => return false,
        }
    }
    levels.len() == wanted.len()
}

fn is_same(level: &str, wanted: &str) -> bool {
    matches!(wanted, "+" | "#") || level == wanted
}

fn is_same_but_for_case(level: &str, wanted: &str) -> bool {
    wanted == "+"
        || level.eq_ignore_ascii_case(wanted)
        || (!level.is_ascii() && level.to_lowercase() == wanted.to_lowercase())
}

/// Whether the two texts differ by one letter (added, missing, replaced) or by two swapped neighbours.
fn is_one_edit(one: &str, two: &str) -> bool {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let shorter = one.len().min(two.len());
    let begin = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
    let end = one.iter().rev().zip(two.iter().rev());
    let end = end.take_while(|(a, b)| a == b).count().min(shorter - begin);
    match (&one[begin..one.len() - end], &two[begin..two.len() - end]) {
        ([_], []) | ([], [_]) | ([_], [_]) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Filter, Topic};

    use super::*;
    use crate::engine::routing::router::tests::names;

    #[track_caller]
    fn check(topic: &str, pattern: &str, expected: Option<Difference>) {
        let found = Target::new(topic).difference(pattern);
        assert_eq!(found, expected, "{topic} and {pattern}");
    }

    #[test]
    fn a_filter_in_another_case_is_near() {
        check("lamp/kitchen", "Lamp/kitchen", Some(Difference::Case));
        check("lamp/kitchen", "LAMP/KITCHEN", Some(Difference::Case));
        check("lamp/kitchen", "LAMP/+", Some(Difference::Case));
        check("lamp/kitchen", "Lamp/#", Some(Difference::Case));
        check("küche", "KÜCHE", Some(Difference::Case));
        check("a", "A", Some(Difference::Case));
    }

    #[test]
    fn a_filter_that_differs_in_a_letter_is_near() {
        for pattern in [
            "lamp/kitchn",
            "lamp/kitcheen",
            "lamp/kitchon",
            "lamp/kithcen",
        ] {
            check("lamp/kitchen", pattern, Some(Difference::Letter));
        }
        check("lamp/kitchen/left", "lmap/+/left", Some(Difference::Letter));
        check("lamp/kitchen/left", "lam/#", Some(Difference::Letter));
        check("lamp/küche", "lamp/kuche", Some(Difference::Letter));
        check("news", "new", Some(Difference::Letter));
        check("lamp/kitchen", "lmap/kithcen", None);
        check("news", "sports", None);
    }

    #[test]
    fn a_filter_that_differs_in_a_level_is_near() {
        check("lamp/kitchen", "lamp/hall", Some(Difference::Level));
        check("lamp/kitchen", "lamp", Some(Difference::Level));
        check("lamp/kitchen", "lamp/kitchen/left", Some(Difference::Level));
        check("lamp/kitchen", "home/lamp/kitchen", Some(Difference::Level));
        check("lamp/kitchen", "lamp/kitchen/+", Some(Difference::Level));
        check("lamp/kitchen", "/lamp/kitchen", Some(Difference::Level));
        check("home/lamp/kitchen", "+/kitchen", Some(Difference::Level));
        check("a/x/y/c", "a/+/c", Some(Difference::Level));
        check("lamp/kitchen", "door/kitchen/#", Some(Difference::Level));
        check("lamp/kitchen", "lamp/a/kitchen/#", Some(Difference::Level));
        // Only the number of levels is the same.
        check("lamp/kitchen", "door/+", None);
        check("lamp/kitchen", "door/#", None);
        check("lamp", "door", None);
        check("lamp/kitchen", "lamp/a/b/c", None);
    }

    #[test]
    fn what_matches_is_not_near_and_neither_is_what_never_sees_the_topic() {
        for pattern in ["lamp/kitchen", "lamp/+", "#", "+/kitchen", "lamp/kitchen/#"] {
            check("lamp/kitchen", pattern, None);
        }
        check("$SYS/a", "+/a", None);
        check("$SYS/a", "#", None);
        check("$SYS/a", "$SYS/b/a", Some(Difference::Level));
    }

    #[test]
    fn the_cheap_look_leaves_out_nothing_that_is_near() {
        // Few levels with few letters, so that many are near each other.
        let levels = ["a", "ab", "ba", "A", "", "+", "#"];
        let topics = names(&levels[..5]);
        let patterns = names(&levels);
        let (mut near, mut far) = (0, 0);
        for pattern in patterns
            .iter()
            .filter(|pattern| Filter::parse(pattern.as_str()).is_ok())
        {
            let filter = Filter::parse(pattern.as_str()).expect("a filter");
            let wanted: Vec<&str> = pattern.split('/').collect();
            for topic in topics.iter().filter(|topic| !topic.is_empty()) {
                let target = Target::new(topic);
                let name = Topic::parse(topic.as_str()).expect("a topic");
                assert_eq!(
                    matches(&target.levels, &wanted, is_same),
                    filter.matches(name),
                    "{topic} {pattern}"
                );
                if !target.may_be_near(pattern) && !filter.matches(name) {
                    far += 1;
                    let without = |levels: &[&str], at: usize| -> Vec<String> {
                        let kept = levels.iter().enumerate().filter(|(each, _)| *each != at);
                        kept.map(|(_, level)| (*level).to_owned()).collect()
                    };
                    let is_near = |levels: Vec<String>, wanted: Vec<String>| {
                        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
                        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
                        matches(&levels, &wanted, is_same)
                    };
                    let out = usize::MAX;
                    for at in 0..4 {
                        for (less, other) in [(at, out), (out, at), (at, at)] {
                            // `less` may exceed the length; then nothing is removed.
                            let levels = without(&target.levels, less);
                            let wanted = without(&wanted, other);
                            assert!(!is_near(levels, wanted), "{topic} is near {pattern}");
                        }
                    }
                    assert!(!topic.eq_ignore_ascii_case(pattern), "{topic} {pattern}");
                } else {
                    near += 1;
                }
            }
        }
        assert!(near > 1000 && far > 1000, "{near} {far}");
    }
}
