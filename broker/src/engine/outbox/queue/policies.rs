//! The overflow policies of a client, filter by filter.
//!
//! Only policies that were set are stored here, and they are looked up only while messages are queued.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use protocol::{Filter, OverflowPolicy, Topic};

/// Maximum filters with wildcards that have a policy: each is matched against every message to be
/// queued.
pub(crate) const MOST_WILD: usize = 16;

/// The overflow policies of one client.
#[derive(Default)]
pub(crate) struct OverflowPolicies {
    exact: HashMap<Box<str>, OverflowPolicy, RandomState>,
    wild: Vec<(Box<str>, OverflowPolicy)>,
    /// Applies to every topic, before all others.
    all: Option<OverflowPolicy>,
    /// The result of the last lookup.
    last: Option<(Box<[u8]>, OverflowPolicy)>,
    /// The position of the newest queued message of each topic, for topics with the policy `Latest`.
    pub(crate) latest: HashMap<Arc<[u8]>, u64, RandomState>,
}

/// [`MOST_WILD`] filters with wildcards have a policy already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyPolicies;

impl OverflowPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty() && self.all.is_none()
    }

    /// Sets the policy for messages of a filter.
    pub(crate) fn choose(
        &mut self,
        filter: Filter<'_>,
        slow: OverflowPolicy,
    ) -> Result<(), TooManyPolicies> {
        self.last = None;
        let text = filter.as_str();
        if filter.is_exact() || filter.group().is_some() {
            self.exact.insert(text.into(), slow);
        } else if let Some((_, chosen)) = self.wild.iter_mut().find(|(each, _)| &**each == text) {
            *chosen = slow;
        } else if self.wild.len() < MOST_WILD {
            self.wild.push((text.into(), slow));
        } else {
            return Err(TooManyPolicies);
        }
        Ok(())
    }

    /// Sets the policy for all messages.
    pub(crate) fn choose_for_all(&mut self, slow: OverflowPolicy) {
        self.all = Some(slow);
    }

    /// Removes the policy of a filter.
    pub(crate) fn forget(&mut self, filter: Filter<'_>) {
        self.last = None;
        self.exact.remove(filter.as_str());
        self.wild.retain(|(each, _)| &**each != filter.as_str());
    }

    /// The policy for a message on this topic; of several, the most careful.
    pub(crate) fn of(&mut self, topic: &[u8]) -> OverflowPolicy {
        if let Some(slow) = self.all {
            return slow;
        }
        if let Some((last, slow)) = &self.last
            && **last == *topic
        {
            return *slow;
        }
        let slow = self.look_up(topic).unwrap_or_default();
        self.last = Some((topic.into(), slow));
        slow
    }

    fn look_up(&self, topic: &[u8]) -> Option<OverflowPolicy> {
        let topic = Topic::parse(topic).ok()?;
        let exact = self.exact.get(topic.as_str()).copied();
        let wild = self.wild.iter().filter_map(|(text, slow)| {
            let filter = Filter::parse(text.as_bytes()).ok()?;
            filter.matches(topic).then_some(*slow)
        });
        wild.chain(exact).max()
    }

    /// The policy for a message to a member of the group with this filter.
    pub(crate) fn of_group(&self, filter: &str) -> OverflowPolicy {
        let chosen = self.all.or_else(|| self.exact.get(filter).copied());
        chosen.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).expect("a filter")
    }

    #[test]
    fn the_most_careful_choice_holds_and_no_choice_is_none() {
        let mut policies = OverflowPolicies::default();
        assert_eq!(policies.of(b"a/b"), OverflowPolicy::DropOldest);
        for (text, slow) in [
            ("a/#", OverflowPolicy::Latest),
            ("a/b", OverflowPolicy::DropNewest),
            ("+/c", OverflowPolicy::Block),
        ] {
            policies.choose(filter(text), slow).expect("there is room");
        }
        assert_eq!(policies.of(b"a/x"), OverflowPolicy::Latest);
        assert_eq!(policies.of(b"a/b"), OverflowPolicy::DropNewest);
        assert_eq!(policies.of(b"a/c"), OverflowPolicy::Block);
        assert_eq!(policies.of(b"b"), OverflowPolicy::DropOldest);
        policies.forget(filter("+/c"));
        assert_eq!(policies.of(b"a/c"), OverflowPolicy::Latest);
        policies
            .choose(filter("a/#"), OverflowPolicy::Block)
            .expect("it takes the place of the old one");
        assert_eq!(policies.of(b"a/c"), OverflowPolicy::Block);
    }

    #[test]
    fn a_group_has_the_choice_of_its_own_filter() {
        let mut policies = OverflowPolicies::default();
        policies
            .choose(filter("$share/g/a/#"), OverflowPolicy::Latest)
            .expect("there is room");
        assert_eq!(policies.of_group("$share/g/a/#"), OverflowPolicy::Latest);
        assert_eq!(
            policies.of_group("$share/h/a/#"),
            OverflowPolicy::DropOldest
        );
        assert_eq!(policies.of(b"a/b"), OverflowPolicy::DropOldest);
    }

    #[test]
    fn only_so_many_wildcards_have_a_choice() {
        let mut policies = OverflowPolicies::default();
        let texts: Vec<String> = (0..=MOST_WILD).map(|n| format!("{n}/+")).collect();
        let (last, others) = texts.split_last().expect("some");
        for text in others {
            assert_eq!(
                policies.choose(filter(text), OverflowPolicy::Latest),
                Ok(())
            );
        }
        assert_eq!(
            policies.choose(filter(last), OverflowPolicy::Latest),
            Err(TooManyPolicies)
        );
        assert_eq!(
            policies.choose(filter(&texts[0]), OverflowPolicy::Block),
            Ok(())
        );
        policies.forget(filter(&texts[0]));
        assert_eq!(
            policies.choose(filter(last), OverflowPolicy::Latest),
            Ok(())
        );
    }
}
