//! The subscriptions of a session, each with its options: the only list of them.
//!
//! The session's connection changes it, inquiries read it, and publishers look up the combined grant
//! for a message. It holds no routes: the router has its own index from topics to outboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::num::NonZeroU32;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use protocol::{Filter, Topic};

use crate::engine::usage::{Reached, SizedMost, Usage};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Maximum filters visited under one lock, so that the session's own thread waits for no more.
const FILTERS_PER_LOCK: usize = 4096;

/// Maximum subscription identifiers sent with one message.
const MAX_IDENTIFIERS: usize = 64;

/// Approximate memory of one subscription, besides its filter.
const SUBSCRIPTION_BYTES: usize = 256;

/// The memory charged for a subscription to this filter.
pub(crate) fn subscription_bytes(filter: &str) -> usize {
    SUBSCRIPTION_BYTES + filter.len()
}

/// The options of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionOptions {
    /// The maximum QoS of its messages.
    pub(crate) qos: u8,
    /// Messages that the session itself published are not delivered.
    pub(crate) no_local: bool,
    /// The retain flag is forwarded as the publisher set it.
    pub(crate) retain_as_published: bool,
    /// The subscription identifier sent with each message that the filter matches.
    pub(crate) identifier: Option<NonZeroU32>,
}

impl SubscriptionOptions {
    /// Whether messages must be encoded for this session alone.
    fn is_special(self) -> bool {
        self != Self::default()
    }
}

/// The combined options of all filters that match a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) qos: u8,
    pub(crate) retain_as_published: bool,
    /// A matching filter wants the session's own messages too.
    pub(crate) local: bool,
    /// Whether any filter matches.
    pub(crate) any: bool,
    /// Sorted, without duplicates.
    pub(crate) identifiers: Option<Arc<[u32]>>,
}

impl Grant {
    fn of(matching: impl IntoIterator<Item = SubscriptionOptions>) -> Self {
        let mut grant = Self::default();
        let mut identifiers = BTreeSet::new();
        for options in matching {
            grant.any = true;
            // The highest of all [MQTT-3.3.5-1] of 3.1.1, [MQTT-3.3.4-2] of 5.0.
            grant.qos = grant.qos.max(options.qos);
            grant.retain_as_published |= options.retain_as_published;
            grant.local |= !options.no_local;
            // [MQTT-3.3.4-3] [MQTT-3.3.4-4].
            if identifiers.len() < MAX_IDENTIFIERS {
                identifiers.extend(options.identifier.map(NonZeroU32::get));
            }
        }
        grant.identifiers = (!identifiers.is_empty()).then(|| identifiers.into_iter().collect());
        grant
    }
}

/// The subscriptions of one session.
#[derive(Default)]
pub(crate) struct Subscriptions {
    table: Mutex<FilterTable>,
    /// Number of subscriptions with special options.
    special: AtomicUsize,
    /// Incremented after each change; cached grants are valid for one version.
    version: AtomicU64,
}

#[derive(Default)]
struct FilterTable {
    filters: BTreeMap<Box<str>, SubscriptionOptions>,
    /// Those with wildcards and without a group, so that a lookup need not visit all others.
    wild: BTreeSet<Box<str>>,
    /// For which identity they count, if for one.
    owner: Option<Arc<Usage>>,
}

impl Subscriptions {
    /// Counts all of them for another identity from now on, whatever that may have.
    pub(crate) fn set_owner(&self, owner: &Arc<Usage>) {
        let mut table = self.table.lock();
        // Under the lock, so that one that ends meanwhile on another thread is taken back from the right one.
        let before = table.owner.replace(owner.clone());
        if table.filters.is_empty() || before.as_ref().is_some_and(|it| Arc::ptr_eq(it, owner)) {
            return;
        }
        let bytes = table.bytes();
        owner.subscriptions.add(table.filters.len(), bytes);
        if let Some(before) = before {
            before.subscriptions.remove(table.filters.len(), bytes);
        }
    }

    /// Counts one more of this many bytes for the identity, before it is added.
    pub(crate) fn count_one(&self, bytes: usize, most: SizedMost) -> Result<(), Reached> {
        let table = self.table.lock();
        let owner = table.owner.as_ref();
        owner.map_or(Ok(()), |owner| owner.subscriptions.take(bytes, most))
    }

    /// Adds a subscription, or changes the options of an existing one [MQTT-3.8.4-3]. Returns whether
    /// it existed.
    pub(crate) fn insert(&self, filter: Filter<'_>, options: SubscriptionOptions) -> bool {
        let mut table = self.table.lock();
        let before = table.filters.insert(filter.as_str().into(), options);
        if before.is_none() && is_wild(filter) {
            table.wild.insert(filter.as_str().into());
        }
        self.note_change(before, Some(options));
        before.is_some()
    }

    /// Removes the subscription to exactly this filter [MQTT-3.10.4-1]. Returns whether it existed.
    pub(crate) fn remove(&self, filter: &str) -> bool {
        let mut table = self.table.lock();
        let before = table.filters.remove(filter);
        table.wild.remove(filter);
        if let (Some(_), Some(owner)) = (before, &table.owner) {
            owner.subscriptions.remove(1, subscription_bytes(filter));
        }
        self.note_change(before, None);
        before.is_some()
    }

    /// Removes all subscriptions.
    pub(crate) fn take_all(&self) -> Vec<Box<str>> {
        let mut table = self.table.lock();
        let bytes = table.bytes();
        let filters = mem::take(&mut table.filters);
        table.wild.clear();
        if let Some(owner) = &table.owner {
            owner.subscriptions.remove(filters.len(), bytes);
        }
        // Under the lock, as in `note_change`.
        self.special.store(0, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
        drop(table);
        filters.into_keys().collect()
    }

    fn note_change(&self, before: Option<SubscriptionOptions>, after: Option<SubscriptionOptions>) {
        let was_special = before.is_some_and(SubscriptionOptions::is_special);
        let is_special = after.is_some_and(SubscriptionOptions::is_special);
        match (was_special, is_special) {
            (false, true) => self.special.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.special.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        // Release, and still under the table's lock: a publisher that reads the new version with
        // Acquire also sees `special`, and the table that it locks next is no older.
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn contains(&self, filter: &str) -> bool {
        self.table.lock().filters.contains_key(filter)
    }

    /// The options of the subscription to exactly this filter.
    pub(crate) fn get(&self, filter: &str) -> Option<SubscriptionOptions> {
        self.table.lock().filters.get(filter).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().filters.len()
    }

    /// The number of those that are shared.
    pub(crate) fn shared_len(&self) -> usize {
        let table = self.table.lock();
        let from = table
            .filters
            .range::<str, _>((Bound::Included("$share/"), Bound::Unbounded));
        from.take_while(|(filter, _)| filter.starts_with("$share/"))
            .count()
    }

    /// The version, incremented with every change.
    pub(crate) fn version(&self) -> u64 {
        // Acquire: see `note_change`.
        self.version.load(Ordering::Acquire)
    }

    /// Whether any subscription has special options.
    pub(crate) fn is_special(&self) -> bool {
        self.special.load(Ordering::Relaxed) > 0
    }

    /// The grant of one filter alone. A copy delivered for one filter has only its identifier
    /// [MQTT-3.3.4-5], and a member of a group receives no higher QoS than it asked for [MQTT-4.8.2-3].
    pub(crate) fn grant_of(&self, filter: &str) -> Grant {
        Grant::of(self.table.lock().filters.get(filter).copied())
    }

    /// The combined grant of all filters that match a topic, without groups: a message for a member of
    /// a group names its filter.
    pub(crate) fn grant(&self, topic: Topic<'_>) -> Grant {
        let table = self.table.lock();
        let exact = table.filters.get(topic.as_str());
        let wild = table.wild.iter().filter(|text| {
            Filter::parse(text.as_bytes()).is_ok_and(|filter| filter.matches(topic))
        });
        let wild = wild.filter_map(|text| table.filters.get(text));
        Grant::of(exact.into_iter().chain(wild).copied())
    }

    /// All filters with their options, in order.
    pub(crate) fn all(&self) -> Vec<(Box<str>, SubscriptionOptions)> {
        let table = self.table.lock();
        let all = table.filters.iter();
        all.map(|(filter, options)| (filter.clone(), *options))
            .collect()
    }

    /// Passes the filters to `look` in order until it breaks. The lock is held for a part of them at a
    /// time, so that a list of a million does not stop the session.
    pub(crate) fn look_at_filters(&self, mut look: impl FnMut(&str) -> ControlFlow<()>) {
        let mut last: Option<Box<str>> = None;
        loop {
            let table = self.table.lock();
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut part = table.filters.range::<str, _>((from, Bound::Unbounded));
            let mut seen = None;
            for (filter, _) in part.by_ref().take(FILTERS_PER_LOCK) {
                if look(filter).is_break() {
                    return;
                }
                seen = Some(filter);
            }
            match (seen, part.next()) {
                (Some(seen), Some(_)) => last = Some(seen.clone()),
                _ => return,
            }
        }
    }
}

impl FilterTable {
    fn bytes(&self) -> usize {
        self.filters
            .keys()
            .map(|filter| subscription_bytes(filter))
            .sum()
    }
}

fn is_wild(filter: Filter<'_>) -> bool {
    !filter.is_exact() && filter.group().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::usage::Usages;

    fn options(qos: u8, identifier: u32) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            identifier: NonZeroU32::new(identifier),
            ..SubscriptionOptions::default()
        }
    }

    fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).expect("a filter")
    }

    fn topic(text: &str) -> Topic<'_> {
        Topic::parse(text).expect("a topic")
    }

    #[test]
    fn of_several_filters_the_highest_qos_and_every_identifier_count() {
        let subscriptions = Subscriptions::default();
        assert!(!subscriptions.insert(filter("a/b"), options(0, 7)));
        assert!(!subscriptions.insert(filter("a/+"), options(2, 3)));
        assert!(!subscriptions.insert(filter("c"), options(1, 9)));
        let grant = subscriptions.grant(topic("a/b"));
        assert_eq!(grant.qos, 2);
        assert_eq!(grant.identifiers.as_deref(), Some(&[3, 7][..]));
        assert!(grant.any && grant.local && !grant.retain_as_published);
        assert_eq!(subscriptions.grant_of("a/b").qos, 0);
        assert_eq!(subscriptions.grant(topic("d")), Grant::default());
        assert_eq!(subscriptions.grant_of("d"), Grant::default());
    }

    #[test]
    fn subscriptions_count_for_one_identity_at_a_time_and_each_once() {
        let usages = Usages::default();
        let [ann, bob] = ["ann", "bob"].map(|name| usages.of(&name.parse().expect("a name")));
        let has = |usage: &Usage| (usage.subscriptions.count(), usage.subscriptions.bytes());
        let subscriptions = Subscriptions::default();
        let most = SizedMost {
            count: 2,
            bytes: 1000,
        };
        let make = |text: &'static str| {
            subscriptions.count_one(subscription_bytes(text), most)?;
            subscriptions.insert(filter(text), options(0, 0));
            Ok(())
        };
        // Those of no one are not limited.
        for text in ["a", "b/c", "d"] {
            assert_eq!(make(text), Ok(()));
        }
        subscriptions.set_owner(&ann);
        subscriptions.set_owner(&ann);
        assert_eq!(has(&ann), (3, 3 * 256 + 5));
        assert_eq!(make("e"), Err(Reached::Count));
        assert!(
            subscriptions.remove("d") && !subscriptions.remove("d") && subscriptions.remove("a")
        );
        assert_eq!(make("e"), Ok(()));
        subscriptions.set_owner(&bob);
        assert_eq!((has(&ann), has(&bob)), ((0, 0), (2, 2 * 256 + 4)));
        subscriptions.take_all();
        assert_eq!(has(&bob), (0, 0));
    }

    #[test]
    fn own_messages_are_left_out_only_if_every_filter_that_matches_says_so() {
        let no_local = SubscriptionOptions {
            no_local: true,
            ..SubscriptionOptions::default()
        };
        let subscriptions = Subscriptions::default();
        subscriptions.insert(filter("a/+"), no_local);
        assert!(!subscriptions.grant(topic("a/b")).local);
        subscriptions.insert(filter("a/b"), SubscriptionOptions::default());
        assert!(subscriptions.grant(topic("a/b")).local);
    }

    #[test]
    fn a_filter_of_a_group_grants_nothing_to_a_message_for_all() {
        let subscriptions = Subscriptions::default();
        subscriptions.insert(filter("$share/g/a/+"), options(1, 0));
        assert!(!subscriptions.grant(topic("a/b")).any);
        assert_eq!(subscriptions.grant_of("$share/g/a/+").qos, 1);
        subscriptions.insert(filter("$share/g/b"), options(1, 0));
        subscriptions.insert(filter("$shared/c"), options(1, 0));
        assert_eq!((subscriptions.len(), subscriptions.shared_len()), (3, 2));
    }

    #[test]
    fn special_options_are_counted_as_they_come_and_go() {
        let subscriptions = Subscriptions::default();
        subscriptions.insert(filter("a"), options(0, 0));
        assert!(!subscriptions.is_special());
        subscriptions.insert(filter("a"), options(1, 0));
        subscriptions.insert(filter("b"), options(0, 1));
        assert!(subscriptions.is_special());
        assert!(subscriptions.insert(filter("a"), options(0, 0)));
        assert!(subscriptions.is_special());
        assert!(subscriptions.remove("b"));
        assert!(!subscriptions.is_special());
        assert!(!subscriptions.remove("b"));
        subscriptions.insert(filter("a"), options(2, 0));
        assert_eq!(subscriptions.take_all(), ["a".into()]);
        assert!(!subscriptions.is_special());
        assert_eq!(subscriptions.len(), 0);
    }

    #[test]
    fn each_change_has_a_version_of_its_own() {
        let subscriptions = Subscriptions::default();
        let first = subscriptions.version();
        subscriptions.insert(filter("a/#"), options(1, 0));
        let second = subscriptions.version();
        assert_ne!(first, second);
        assert!(subscriptions.grant(topic("a/b")).any);
        subscriptions.remove("a/#");
        assert_ne!(subscriptions.version(), second);
        assert!(!subscriptions.grant(topic("a/b")).any);
    }

    #[test]
    fn a_long_list_is_shown_whole_and_in_order() {
        let subscriptions = Subscriptions::default();
        let mut names: Vec<String> = (0..2 * FILTERS_PER_LOCK + 3)
            .map(|number| format!("a/{number}"))
            .collect();
        for name in &names {
            subscriptions.insert(filter(name), SubscriptionOptions::default());
        }
        let mut shown = Vec::new();
        subscriptions.look_at_filters(|name| {
            shown.push(name.to_owned());
            ControlFlow::Continue(())
        });
        names.sort_unstable();
        assert_eq!(shown, names);
        let mut seen = 0;
        subscriptions.look_at_filters(|_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(seen, 1);
    }
}
