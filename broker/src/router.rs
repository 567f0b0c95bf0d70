//! Which outboxes want which topic: subscribe, unsubscribe, and the way to all of them.
//!
//! Filters without wildcards lie in a sharded map, those with wildcards in a tree. A publisher
//! remembers the [`Route`] of a topic and asks [`Router::is_current`] before it uses it again:
//! every change of a subscription moves one stamp of many, so that a SUBSCRIBE to one topic does
//! not make publishers to the others ask anew.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use protocol::{Filter, Topic};

use crate::filter_tree::FilterTree;
use crate::interest::{Group, Interest, Subscriber};

const SHARDS: usize = 64;

/// Stamps of exact filters. With many more than there are publishers and subscribers at work at
/// one time, a stamp hardly ever moves for another topic's sake.
const STAMPS: usize = 4096;

/// The subscriptions of a broker.
pub(crate) struct Router {
    hasher: RandomState,
    exact: Box<[RwLock<Shard>]>,
    wild: RwLock<FilterTree>,
    /// Moved after each change of an exact filter, each by its topics' hash.
    stamps: Box<[AtomicU64]>,
    /// Moved after each change of a filter with wildcards.
    wild_stamp: AtomicU64,
    /// How often somebody has unsubscribed.
    departures: AtomicU64,
}

type Shard = HashMap<Box<str>, Interest, RandomState>;

/// Who gets the messages of one topic, as of the moment it was looked up.
pub(crate) struct Route {
    /// One entry a client, sorted by the number of its connection.
    pub(crate) subscribers: Arc<[Subscriber]>,
    /// Each gives every message to one of its members.
    pub(crate) groups: Arc<[Arc<Group>]>,
    stamps: Stamps,
}

/// When a route was looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    exact: u64,
    wild: u64,
}

impl Router {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::default();
        Self {
            exact: (0..SHARDS)
                .map(|_| RwLock::new(Shard::with_hasher(hasher.clone())))
                .collect(),
            wild: RwLock::new(FilterTree::new()),
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            wild_stamp: AtomicU64::new(0),
            departures: AtomicU64::new(0),
            hasher,
        }
    }

    /// From now on `subscriber` gets what `filter` matches.
    pub(crate) fn subscribe(&self, filter: Filter<'_>, subscriber: &Subscriber) {
        let (pattern, group) = (filter.pattern(), filter.group());
        if filter.is_exact() {
            let hash = self.hash(pattern.as_bytes());
            let mut shard = self.shard(hash).write();
            match shard.get_mut(pattern) {
                Some(interest) => interest.insert(subscriber, group),
                None => {
                    let mut interest = Interest::default();
                    interest.insert(subscriber, group);
                    shard.insert(pattern.into(), interest);
                }
            }
            self.stamp(hash).fetch_add(1, Ordering::Release);
        } else {
            self.wild.write().insert(pattern, subscriber, group);
            self.wild_stamp.fetch_add(1, Ordering::Release);
        }
    }

    /// From now on it does not, on the strength of this filter. A publisher that has looked up the
    /// route before finds the departures changed, first the client's, then the router's.
    pub(crate) fn unsubscribe(&self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.forget(filter, subscriber.id());
        subscriber.departures().fetch_add(1, Ordering::Release);
        self.departures.fetch_add(1, Ordering::Release);
    }

    /// The same for a client whose outbox is closed, so that nobody need look.
    pub(crate) fn forget(&self, filter: Filter<'_>, id: u64) {
        let (pattern, group) = (filter.pattern(), filter.group());
        if filter.is_exact() {
            let hash = self.hash(pattern.as_bytes());
            let mut shard = self.shard(hash).write();
            if let Some(interest) = shard.get_mut(pattern) {
                interest.remove(id, group);
                if interest.is_empty() {
                    shard.remove(pattern);
                    if shard.len() < shard.capacity() / 8 {
                        shard.shrink_to_fit();
                    }
                }
            }
            self.stamp(hash).fetch_add(1, Ordering::Release);
        } else {
            self.wild.write().remove(pattern, id, group);
            self.wild_stamp.fetch_add(1, Ordering::Release);
        }
    }

    /// Who gets a message on `topic` now. `hash` is [`Router::hash`] of its name.
    pub(crate) fn route(&self, topic: Topic<'_>, hash: u64) -> Route {
        // Read first: what changes during the look-up makes the route old, not wrong.
        let stamps = self.stamps_now(hash);
        let (mut subscribers, mut groups) = (Vec::new(), Vec::new());
        self.wild
            .read()
            .collect(topic, &mut subscribers, &mut groups);
        let shard = self.shard(hash).read();
        let interest = shard.get(topic.as_str());
        if let Some(interest) = interest {
            groups.extend_from_slice(interest.groups());
        }
        let subscribers = match interest {
            Some(interest) if subscribers.is_empty() => interest.shared_plain(),
            _ => {
                subscribers.extend_from_slice(interest.map_or(&[], Interest::plain));
                subscribers.sort_unstable_by_key(|each| each.id());
                subscribers.dedup_by_key(|each| each.id());
                subscribers.into()
            }
        };
        Route {
            subscribers,
            groups: groups.into(),
            stamps,
        }
    }

    /// Whether a route with these stamps, for a topic with this hash, is still the one.
    #[inline]
    pub(crate) fn is_current(&self, stamps: Stamps, hash: u64) -> bool {
        self.stamps_now(hash) == stamps
    }

    /// A number that changes before anybody is told that a subscription has ended. Who reads it,
    /// then makes sure of a route, and finds it unchanged under the lock of an outbox, breaks no
    /// promise by delivering there.
    #[inline]
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    #[inline]
    fn stamps_now(&self, hash: u64) -> Stamps {
        Stamps {
            exact: self.stamp(hash).load(Ordering::Acquire),
            wild: self.wild_stamp.load(Ordering::Acquire),
        }
    }

    #[inline]
    fn stamp(&self, hash: u64) -> &AtomicU64 {
        &self.stamps[hash as usize % STAMPS]
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.exact[(hash >> 32) as usize % SHARDS]
    }
}

impl Route {
    /// Whether `id` is among those who get every message.
    pub(crate) fn reaches(&self, id: u64) -> bool {
        self.subscribers
            .binary_search_by_key(&id, |each| each.id())
            .is_ok()
    }

    /// Whether `id` is a member of a group that gets them.
    pub(crate) fn may_reach(&self, id: u64) -> bool {
        self.groups.iter().any(|group| group.has(id))
    }

    pub(crate) fn stamps(&self) -> Stamps {
        self.stamps
    }
}
