//! A filter: a checked pattern, and whether it matches a topic or overlaps another filter.
//!
//! One filter against one topic; the broker's tree of all filters is its own.

use std::fmt;

use crate::topic::{BadTopic, Topic, checked_text};

const SHARE: &str = "$share";

/// A checked filter: a topic whose levels may also be `+` or, in the last place, `#`. With
/// `$share/<group>/` before it, each message goes to one member of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter<'a> {
    text: &'a str,
    group: Option<&'a str>,
    pattern: &'a str,
}

impl<'a> Filter<'a> {
    /// Checks a filter. There is no other way to create one.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Result<Self, BadFilter> {
        let text = checked_text(text.as_ref()).map_err(BadFilter::Name)?;
        let (group, pattern) = split_share(text)?;
        let mut levels = pattern.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "+" => {}
                "#" if levels.peek().is_none() => {}
                "#" => return Err(BadFilter::HashNotLast),
                _ if level.contains(['+', '#']) => return Err(BadFilter::WildcardInLevel),
                _ => {}
            }
        }
        Ok(Self {
            text,
            group,
            pattern,
        })
    }

    /// The whole text, as the client wrote it.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The group of a shared subscription.
    pub fn group(self) -> Option<&'a str> {
        self.group
    }

    /// The text without `$share/<group>/`: the part that is matched with topics.
    pub fn pattern(self) -> &'a str {
        self.pattern
    }

    /// Whether the pattern has no wildcard, and so matches exactly one topic.
    pub fn is_exact(self) -> bool {
        !self.pattern.contains(['+', '#'])
    }

    /// Whether a message on `topic` matches this filter.
    pub fn matches(self, topic: Topic<'_>) -> bool {
        if topic.is_hidden() && self.pattern.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.levels();
        for level in self.pattern.split('/') {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (literal, Some(name)) if literal == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every topic that matches this filter matches the other one as well. Groups are ignored.
    pub fn lies_within(self, other: Filter<'_>) -> bool {
        if self.pattern.starts_with('$') && other.pattern.starts_with(['+', '#']) {
            return false;
        }
        // Every topic has a level, so these are the two ways to write one filter.
        if (self.pattern, other.pattern) == ("#", "+/#") {
            return true;
        }
        let (mut ours, mut theirs) = (self.pattern.split('/'), other.pattern.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (_, Some("#")) | (None, None) => return true,
                (Some("#"), _) => return false,
                (Some(_), Some("+")) => {}
                (Some(one), Some(two)) if one == two => {}
                _ => return false,
            }
        }
    }

    /// Whether some topic matches both. Groups are ignored.
    pub fn overlaps(self, other: Filter<'_>) -> bool {
        let hidden = |filter: &Filter<'_>| filter.pattern.starts_with('$');
        let wild = |filter: &Filter<'_>| filter.pattern.starts_with(['+', '#']);
        if (hidden(&self) && wild(&other)) || (hidden(&other) && wild(&self)) {
            return false;
        }
        let (mut ours, mut theirs) = (self.pattern.split('/'), other.pattern.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(one), Some(two)) if one == two => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Filter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Splits a filter into its group and its pattern; without a group the text is the pattern.
fn split_share(text: &str) -> Result<(Option<&str>, &str), BadFilter> {
    let Some(rest) = text.strip_prefix(SHARE) else {
        return Ok((None, text));
    };
    let Some(rest) = rest.strip_prefix('/') else {
        // `$shared` is an ordinary level, `$share` alone lacks its group.
        return if rest.is_empty() {
            Err(BadFilter::Share)
        } else {
            Ok((None, text))
        };
    };
    match rest.split_once('/') {
        Some((group, pattern))
            if !group.is_empty() && !pattern.is_empty() && !group.contains(['+', '#']) =>
        {
            Ok((Some(group), pattern))
        }
        _ => Err(BadFilter::Share),
    }
}

/// The filters of a SUBSCRIBE or UNSUBSCRIBE, in order: at least one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a>(&'a [u8]);

impl<'a> Filters<'a> {
    pub(crate) fn from_line(words: &'a [u8]) -> Self {
        Self(words)
    }

    /// Takes one or more words separated by single spaces, in the form of the wire. `None` if a line
    /// cannot contain them: no bytes, a line end, or a carriage return as the last byte.
    pub fn from_words(words: &'a [u8]) -> Option<Self> {
        let ends_well = words.last().is_some_and(|&byte| byte != b'\r');
        (ends_well && memchr::memchr(b'\n', words).is_none()).then_some(Self(words))
    }

    /// Each word, and the filter or the error that it is. One bad filter does not affect the others.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Result<Filter<'a>, BadFilter>)> {
        self.0
            .split(|&byte| byte == b' ')
            .map(|word| (word, Filter::parse(word)))
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Why some bytes are not a filter. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFilter {
    /// A rule that topics and filters share.
    Name(BadTopic),
    /// `#` is not in the last level.
    HashNotLast,
    /// `+` or `#` shares its level with other bytes.
    WildcardInLevel,
    /// `$share` without a valid group, or without a filter after it.
    Share,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(why) => why.fmt(f),
            Self::HashNotLast => write!(f, "# must be the last level; use + for one level"),
            Self::WildcardInLevel => write!(
                f,
                "+ and # must stand alone in their level, as in a/+/b or a/#"
            ),
            Self::Share => write!(
                f,
                "a shared subscription is $share/<group>/<filter>, the group without + # /"
            ),
        }
    }
}

impl std::error::Error for BadFilter {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, topic: &str, expected: bool) {
        let (filter, topic) = (Filter::parse(filter), Topic::parse(topic));
        let matched = filter.expect("a filter").matches(topic.expect("a topic"));
        assert_eq!(matched, expected, "{filter:?} {topic:?}");
    }

    #[test]
    fn two_filters_overlap_if_some_topic_matches_both() {
        let filters = [
            "#",
            "+",
            "a",
            "a/#",
            "a/+",
            "a/b",
            "+/b",
            "+/#",
            "a/b/#",
            "b/+",
            "$x",
            "$x/#",
            "$x/+",
            "+/+",
            "/b",
            "$share/g/a/+",
        ];
        let topics = [
            "a", "b", "/", "a/", "a/b", "b/b", "/b", "a/c", "b/c", "a/b/c", "$x", "$x/b", "$x/b/c",
        ];
        for one in filters {
            for two in filters {
                let (ours, theirs) = (Filter::parse(one), Filter::parse(two));
                let (ours, theirs) = (ours.expect("a filter"), theirs.expect("a filter"));
                let expected = topics.iter().any(|topic| {
                    let topic = Topic::parse(*topic).expect("a topic");
                    ours.matches(topic) && theirs.matches(topic)
                });
                assert_eq!(ours.overlaps(theirs), expected, "{one} {two}");
            }
        }
    }

    /// Filters of up to three levels, and topics of up to four, which is one more and has one more name.
    fn filters_and_topics() -> (Vec<String>, Vec<String>) {
        let mut filters: Vec<String> = Vec::new();
        let mut topics: Vec<String> = Vec::new();
        let mut longer = vec![String::new()];
        for _ in 0..4 {
            let begun = std::mem::take(&mut longer);
            for (start, name) in begun.iter().flat_map(|start| {
                let names = ["a", "b", "c", "", "$x", "+", "#"];
                names.map(|name| (start, name))
            }) {
                let is_first = begun.len() == 1;
                let text = if is_first {
                    name.to_owned()
                } else {
                    format!("{start}/{name}")
                };
                let levels = text.matches('/').count() + 1;
                if !text.contains(['+', '#']) && Topic::parse(&text).is_ok() {
                    topics.push(text.clone());
                }
                // `/#` counts the topic without a name as its parent, which is none.
                let is_one = levels <= 3 && !text.contains('c') && text != "/#";
                if is_one && Filter::parse(&text).is_ok() {
                    filters.push(text.clone());
                }
                longer.push(text);
            }
            // What has a `#` is at its end.
            longer.retain(|text| !text.contains('#'));
        }
        (filters, topics)
    }

    #[test]
    fn what_two_filters_have_in_common_is_what_their_topics_have() {
        let (filters, topics) = filters_and_topics();
        let matched = |filter: &String| -> Vec<bool> {
            let filter = Filter::parse(filter).expect("a filter");
            let topics = topics.iter().map(Topic::parse);
            topics
                .map(|topic| filter.matches(topic.expect("a topic")))
                .collect()
        };
        let matched: Vec<Vec<bool>> = filters.iter().map(matched).collect();
        assert!(filters.len() > 100 && topics.len() > 500);
        for (one, ours) in filters.iter().zip(&matched) {
            for (two, theirs) in filters.iter().zip(&matched) {
                let (one, two) = (Filter::parse(one), Filter::parse(two));
                let (one, two) = (one.expect("a filter"), two.expect("a filter"));
                let mut both = ours.iter().zip(theirs);
                let overlaps = both.clone().any(|(ours, theirs)| *ours && *theirs);
                assert_eq!(one.overlaps(two), overlaps, "{one} {two}");
                let is_within = both.all(|(ours, theirs)| !ours || *theirs);
                assert_eq!(one.lies_within(two), is_within, "{one} {two}");
            }
        }
    }

    #[test]
    fn a_group_changes_nothing_about_what_filters_have_in_common() {
        let shared = Filter::parse("$share/g/a/+").expect("a filter");
        let plain = Filter::parse("a/#").expect("a filter");
        assert!(shared.overlaps(plain) && shared.lies_within(plain) && !plain.lies_within(shared));
    }

    #[test]
    fn plus_matches_exactly_one_level() {
        check("a/+/c", "a/b/c", true);
        check("a/+/c", "a//c", true);
        check("a/+/c", "a/b/b/c", false);
        check("a/+", "a", false);
        check("+", "a", true);
        check("+", "/a", false);
        check("+/+", "/a", true);
    }

    #[test]
    fn hash_matches_this_level_all_below_and_the_parent() {
        check("a/#", "a", true);
        check("a/#", "a/", true);
        check("a/#", "a/b/c", true);
        check("a/#", "ab", false);
        check("#", "a/b", true);
        check("+/#", "a", true);
    }

    #[test]
    fn a_leading_slash_makes_another_topic() {
        check("/a", "/a", true);
        check("/a", "a", false);
        check("a", "/a", false);
        check("a/", "a", false);
    }

    #[test]
    fn a_wildcard_in_the_first_level_does_not_match_dollar_topics() {
        check("#", "$SYS/uptime", false);
        check("+/uptime", "$SYS/uptime", false);
        check("$SYS/#", "$SYS/uptime", true);
        check("a/+", "a/$b", true);
        check("$share/g/#", "$SYS/uptime", false);
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_pattern() {
        let filter = Filter::parse("$share/g/a/+").expect("a filter");
        assert_eq!((filter.group(), filter.pattern()), (Some("g"), "a/+"));
        check("$share/g/a/+", "a/b", true);
        check("$share/g//a", "/a", true);
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
        ] {
            assert_eq!(Filter::parse(bad), Err(BadFilter::Share), "{bad}");
        }
        assert_eq!(Filter::parse("$shared").map(Filter::group), Ok(None));
    }

    #[test]
    fn a_wildcard_is_a_whole_level_and_hash_is_the_last() {
        assert_eq!(Filter::parse("a/#/b"), Err(BadFilter::HashNotLast));
        assert_eq!(Filter::parse("a/b#"), Err(BadFilter::WildcardInLevel));
        assert_eq!(Filter::parse("a+/b"), Err(BadFilter::WildcardInLevel));
        assert_eq!(Filter::parse("##"), Err(BadFilter::WildcardInLevel));
    }

    #[test]
    fn words_that_a_line_cannot_contain_are_not_filters() {
        for words in [&b""[..], b"a\nb", b"a\r"] {
            assert_eq!(Filters::from_words(words), None);
        }
        assert!(Filters::from_words(b"a \rb ").is_some());
    }

    #[test]
    fn only_a_filter_without_wildcards_is_exact() {
        let exact = |text: &str| Filter::parse(text).map(Filter::is_exact);
        assert_eq!(exact("a/b"), Ok(true));
        assert_eq!(exact("$share/g/a"), Ok(true));
        assert_eq!(exact("a/+"), Ok(false));
        assert_eq!(exact("#"), Ok(false));
    }
}
