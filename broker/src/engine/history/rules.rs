//! Which topics keep what was published on them, and how much of it.

use std::fmt;
use std::time::Duration;

use protocol::{AckLevel, Filter, Topic};

/// What the topics of a filter keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepRule {
    /// The filter, as it is written.
    pub filter: String,
    /// None if they keep nothing.
    pub keeps: Option<KeepLimits>,
}

/// What a topic keeps at most; no limit is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepLimits {
    /// Messages.
    pub count: Option<u64>,
    /// The time since a message was published.
    pub age: Option<Duration>,
    /// Bytes of messages, each with its topic and attributes.
    pub bytes: Option<u64>,
    /// The same of all topics of the rule together.
    pub total: Option<u64>,
    /// How safe a message is before its publisher is told so; none is what holds for all.
    pub ack: Option<AckLevel>,
}

impl KeepLimits {
    /// The age beyond which messages are forgotten, in milliseconds.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        u64::try_from(self.age?.as_millis()).ok()
    }

    /// Whether it counts which messages have how many bytes.
    pub(super) fn is_for_bytes(&self) -> bool {
        self.bytes.is_some() || self.total.is_some()
    }
}

impl fmt::Display for KeepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.filter)?;
        let Some(limits) = &self.keeps else {
            return f.write_str("off");
        };
        let mut parts = Vec::new();
        parts.extend(limits.count.map(|count| count.to_string()));
        let age = limits.age.map(humantime::format_duration);
        parts.extend(age.map(|age| age.to_string().replace(' ', "")));
        parts.extend(limits.bytes.map(|bytes| format!("{bytes}B")));
        parts.extend(limits.total.map(|bytes| format!("total={bytes}B")));
        if parts.is_empty() {
            parts.push("all".to_owned());
        }
        parts.extend(limits.ack.map(|level| format!("ack={level}")));
        f.write_str(&parts.join(","))
    }
}

/// The rules, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeepRules(Vec<KeepRule>);

impl KeepRules {
    pub(crate) fn new(rules: Vec<KeepRule>) -> Self {
        Self(rules)
    }

    /// The first rule that matches a topic, and what the topic keeps by it; none if it keeps nothing.
    pub(crate) fn find(&self, topic: Topic<'_>) -> Option<(usize, KeepLimits)> {
        if topic.is_brokers_own() {
            return None;
        }
        let matches = |rule: &KeepRule| {
            Filter::parse(rule.filter.as_str()).is_ok_and(|filter| filter.matches(topic))
        };
        let rule = self.0.iter().position(matches)?;
        Some((rule, self.0[rule].keeps?))
    }

    /// For each rule, the most bytes of all its topics together, if it says that.
    pub(super) fn totals(&self) -> impl Iterator<Item = Option<u64>> {
        self.0.iter().map(|rule| rule.keeps?.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_holds() {
        let keep = |filter: &str, count| KeepRule {
            filter: filter.to_owned(),
            keeps: Some(KeepLimits {
                count: Some(count),
                ..KeepLimits::default()
            }),
        };
        let nothing = KeepRule {
            filter: "a/+/secret".to_owned(),
            keeps: None,
        };
        let rules = KeepRules::new(vec![
            keep("a/b/c", 1),
            nothing,
            keep("a/#", 2),
            keep("$x/#", 3),
        ]);
        for (topic, count) in [
            ("a/b/c", Some(1)),
            ("a/b/secret", None),
            ("a/b", Some(2)),
            ("b", None),
            ("$x/y", Some(3)),
            ("$SYS/x", None),
        ] {
            let topic = Topic::parse(topic).expect("a topic");
            let found = rules.find(topic);
            assert_eq!(found.and_then(|(_, it)| it.count), count, "{topic:?}");
        }
        let all = KeepRules::new(vec![keep("#", 1)]);
        for hidden in ["$x/y", "$SYS/x"] {
            let topic = Topic::parse(hidden).expect("a topic");
            assert_eq!(all.find(topic), None);
        }
    }
}
