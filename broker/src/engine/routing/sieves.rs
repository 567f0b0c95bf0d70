//! Which topics of a filter with wildcards its subscriber may not see. Looked at when a route is made, so that a
//! message costs nothing.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use crate::auth::access::Sieve;
use crate::engine::routing::filter_tree::Matched;
use crate::engine::routing::subscribers::Subscriber;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, RwLock};

/// The sieves of all subscriptions that have one.
#[derive(Default)]
pub(crate) struct Sieves {
    /// By the number of the subscriber.
    table: RwLock<HashMap<u64, SievesOfSubscriber, RandomState>>,
    /// The number of subscribers in the table.
    count: AtomicUsize,
    /// Incremented with each change.
    version: AtomicU64,
}

/// The sieves of one subscriber, by the filters as it has subscribed to them. Those of filters without a group let
/// the same topics through.
#[derive(Default)]
struct SievesOfSubscriber {
    plain: Vec<(Box<str>, Sieve)>,
    shared: Vec<(Box<str>, Sieve)>,
}

impl SievesOfSubscriber {
    /// Whether filters without a group let a topic through, for a subscriber with these sieves or none.
    fn let_through(sieves: Option<&Self>, topic: Topic<'_>) -> bool {
        let plain = sieves.and_then(|sieves| sieves.plain.first());
        plain.is_none_or(|(_, sieve)| sieve.lets_through(topic))
    }
}

impl Sieves {
    /// Sets or removes the sieve of a subscription. Comes before the version of the router that concerns the filter
    /// is incremented.
    pub(crate) fn set(&self, filter: Filter<'_>, subscriber: u64, sieve: Option<Sieve>) {
        if sieve.is_none() && !self.has_any() {
            return;
        }
        let mut table = self.table.write();
        let entry = table.entry(subscriber).or_default();
        let list = match filter.group() {
            None => &mut entry.plain,
            Some(_) => &mut entry.shared,
        };
        list.retain(|(known, _)| **known != *filter.as_str());
        list.extend(sieve.map(|sieve| (filter.as_str().into(), sieve)));
        if entry.plain.is_empty() && entry.shared.is_empty() {
            table.remove(&subscriber);
        }
        // Relaxed: the version of the router, which is incremented after this, orders it.
        self.count.store(table.len(), Ordering::Relaxed);
        // Relaxed, as above.
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Another one after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Whether a subscriber may see a topic that one of its filters matches.
    pub(crate) fn let_through(&self, subscriber: u64, topic: Topic<'_>) -> bool {
        SievesOfSubscriber::let_through(self.table.read().get(&subscriber), topic)
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        // Relaxed: see `set`.
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Leaves out of the subscribers and the groups of a topic those that may not see it.
    #[inline(never)]
    pub(crate) fn apply(&self, topic: Topic<'_>, found: &mut Matched) {
        // The lock is taken under no other of the router.
        let table = self.table.read();
        let may_see = |subscriber: &Subscriber| {
            SievesOfSubscriber::let_through(table.get(&subscriber.id()), topic)
        };
        found.subscribers.retain(may_see);
        found.followers.retain(may_see);
        found.groups.retain_mut(|group| {
            let is_hidden = |member: &Subscriber| {
                let sieves = table.get(&member.id());
                let mut shared = sieves.into_iter().flat_map(|sieves| &sieves.shared);
                let sieve = shared.find(|(filter, _)| **filter == **group.filter());
                sieve.is_some_and(|(_, sieve)| !sieve.lets_through(topic))
            };
            match group.without_all(is_hidden) {
                None => true,
                Some(Some(smaller)) => {
                    *group = smaller;
                    true
                }
                Some(None) => false,
            }
        });
    }
}
