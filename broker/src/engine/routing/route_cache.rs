//! A publisher's recent routes by topic: a table of small buckets that grows while the publisher uses
//! more topics than it has entries. Each route is stored with the counts of its topic that have not
//! been reported yet.

use std::sync::Arc;

use crate::engine::history::topic::KeptTopic;
use crate::engine::routing::router::Versions;
use crate::engine::routing::subscribers::{Counters, Group};

/// Entries in a bucket. Their hashes fit into a cache line. With half of them, one topic in thirty of ten thousand
/// would push out another that comes again, and each time its rules and subscribers would be looked up.
const WAYS: usize = 8;

const FIRST_BUCKETS: usize = 2;

/// Maximum buckets. A publisher with more than eight times as many topics asks the router for most
/// messages.
const MOST_BUCKETS: usize = 4 * 1024;

/// The part of a cached route of which each message takes a copy.
#[derive(Clone)]
pub(crate) struct Known {
    /// The index of the audience.
    pub(crate) audience: u32,
    pub(crate) groups: Option<Arc<[Arc<Group>]>>,
    /// The topic keeps messages, or there are sessions for which it does: see [`Item::log`].
    pub(crate) is_kept: bool,
}

#[derive(Default)]
pub(crate) struct RouteCache {
    /// Hashes of the topics at the same position in `items`; zero if there is none.
    hashes: Vec<[u64; WAYS]>,
    items: Vec<[Option<Item>; WAYS]>,
    len: usize,
    /// Number of items that replaced another topic since the table last grew.
    conflicts: usize,
}

/// A cached topic.
pub(crate) struct Item {
    pub(crate) name: Box<str>,
    pub(crate) versions: Versions,
    pub(crate) known: Known,
    pub(crate) log: LogRoute,
    pub(crate) count: TopicCount,
}

/// The part of the log in a route.
#[derive(Default)]
pub(crate) struct LogRoute {
    /// What the topic keeps.
    pub(crate) kept: Option<Arc<KeptTopic>>,
    /// How many clients get from the log all of its messages.
    pub(crate) followers: u64,
    /// How many sessions get from there those that they have to acknowledge.
    pub(crate) sessions: u64,
    /// The index of the audience of the others.
    pub(crate) unacknowledged: u32,
}

impl LogRoute {
    /// Whether a message with this QoS is kept.
    pub(crate) fn keeps(&self, qos: u8) -> bool {
        self.kept.is_some() || (qos > 0 && self.sessions > 0)
    }

    /// How many get it from the log.
    pub(crate) fn copies(&self, qos: u8) -> u64 {
        match qos {
            0 => self.followers,
            _ => self.followers + self.sessions,
        }
    }
}

/// The counts of a topic that have not been reported yet.
pub(crate) struct TopicCount {
    pub(crate) messages: u64,
    /// Copies for members of groups. Besides these, each message has one copy for each of the audience.
    pub(crate) shared: u64,
    /// The counters of the matching filters.
    pub(crate) counters: Counters,
}

impl TopicCount {
    pub(crate) fn new(counters: Counters) -> Self {
        Self {
            messages: 0,
            shared: 0,
            counters,
        }
    }
}

impl RouteCache {
    /// The cached route of topic `name` with this hash, which may be outdated, and its position.
    #[inline]
    pub(crate) fn get(&mut self, name: &[u8], hash: u64) -> Option<(usize, &mut Item)> {
        let bucket = hash as usize & self.hashes.len().wrapping_sub(1);
        let way = self
            .hashes
            .get(bucket)?
            .iter()
            .position(|&each| each == hash)?;
        match &mut self.items[bucket][way] {
            Some(item) if item.name.as_bytes() == name => Some((bucket * WAYS + way, item)),
            _ => None,
        }
    }

    /// The topic at this position, if nothing was inserted since the position was returned.
    pub(crate) fn at(&mut self, place: usize) -> Option<&mut Item> {
        self.items.get_mut(place / WAYS)?[place % WAYS].as_mut()
    }

    /// Number of cached topics.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All cached topics.
    pub(crate) fn items(&mut self) -> impl Iterator<Item = &mut Item> {
        self.items.iter_mut().flatten().flatten()
    }

    /// Caches a route. Returns its position, and the item it replaced: of the same topic, or of
    /// another.
    pub(crate) fn insert(&mut self, hash: u64, item: Item) -> (usize, Option<Item>) {
        let crowded = self.conflicts > self.hashes.len() / 4 && self.hashes.len() < MOST_BUCKETS;
        if self.hashes.is_empty() || crowded {
            self.grow();
        }
        let (place, before) = self.put(hash, item);
        self.len += usize::from(before.is_none());
        (place, before)
    }

    fn put(&mut self, hash: u64, item: Item) -> (usize, Option<Item>) {
        let bucket = hash as usize & (self.hashes.len() - 1);
        let hashes = &mut self.hashes[bucket];
        let same = hashes.iter().position(|&each| each == hash);
        let way = match same.or_else(|| hashes.iter().position(|&each| each == 0)) {
            Some(way) => way,
            None => {
                self.conflicts += 1;
                self.conflicts % WAYS
            }
        };
        hashes[way] = hash;
        let before = self.items[bucket][way].replace(item);
        (bucket * WAYS + way, before)
    }

    fn grow(&mut self) {
        let size = (self.hashes.len() * 2).clamp(FIRST_BUCKETS, MOST_BUCKETS);
        let hashes = std::mem::replace(&mut self.hashes, vec![[0; WAYS]; size]);
        let items = std::mem::take(&mut self.items);
        self.items.resize_with(size, Default::default);
        self.conflicts = 0;
        for (hashes, items) in hashes.into_iter().zip(items) {
            for (hash, item) in hashes.into_iter().zip(items) {
                if let Some(item) = item {
                    self.put(hash, item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::routing::router::Router;

    fn item(router: &Router, name: &str, audience: u32) -> Item {
        let topic = protocol::Topic::parse("t").expect("a topic");
        Item {
            name: name.into(),
            versions: router.route(topic, 0).versions(),
            known: Known {
                audience,
                groups: None,
                is_kept: false,
            },
            log: LogRoute::default(),
            count: TopicCount::new(Counters::default()),
        }
    }

    #[test]
    fn it_grows_until_the_topics_fit_and_no_further() {
        let router = Router::new();
        let mut cache = RouteCache::default();
        let name = |n: u32| n.to_string();
        for _ in 0..10 {
            for n in 0..10_000 {
                let hash = router.hash(name(n).as_bytes());
                if cache.get(name(n).as_bytes(), hash).is_none() {
                    cache.insert(hash, item(&router, &name(n), n));
                }
            }
        }
        let found = (0..10_000)
            .filter(|&n| {
                cache
                    .get(name(n).as_bytes(), router.hash(name(n).as_bytes()))
                    .is_some_and(|(_, item)| item.known.audience == n)
            })
            .count();
        // Over 8,192 buckets of four, 10,000 topics leave about 87 without a place, give or take 13
        // with the seed of the hash (60 runs: 9,877 to 9,937 found).
        assert!(found > 9_800, "{found}");
        for n in 0..1_000_000 {
            let hash = router.hash(name(n).as_bytes());
            cache.insert(hash, item(&router, &name(n), n));
        }
        assert_eq!(cache.items.len(), MOST_BUCKETS);
    }

    #[test]
    fn a_new_route_of_a_topic_takes_the_place_of_the_old() {
        let router = Router::new();
        let mut cache = RouteCache::default();
        let (place, before) = cache.insert(7, item(&router, "a", 1));
        assert!(before.is_none());
        let (again, before) = cache.insert(7, item(&router, "a", 2));
        assert_eq!(before.map(|item| item.known.audience), Some(1));
        assert_eq!((again, cache.len()), (place, 1));
        let (found, item) = cache.get(b"a", 7).expect("it is known");
        assert_eq!((found, item.known.audience), (place, 2));
        assert!(cache.get(b"b", 7).is_none());
        let item = cache.at(place).expect("it is there");
        assert_eq!((&*item.name, item.known.audience), ("a", 2));
        assert!(cache.at(usize::MAX).is_none());
    }
}
