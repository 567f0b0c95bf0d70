//! The routes a publisher has used lately, by topic: a direct-mapped table that grows while the
//! publisher goes round more topics than it has places.

use std::sync::Arc;

use crate::interest::Group;
use crate::router::Stamps;

const FIRST_PLACES: usize = 16;

/// A publisher that goes round more topics than this asks the router for each.
const MOST_PLACES: usize = 32 * 1024;

/// What a publisher remembers of a route.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) stamps: Stamps,
    /// The number of the audience.
    pub(crate) audience: u32,
    pub(crate) groups: Option<Arc<[Arc<Group>]>>,
}

#[derive(Default)]
pub(crate) struct RouteCache {
    places: Vec<Option<Item>>,
    /// Items that took another topic's place since the table last grew.
    conflicts: usize,
}

struct Item {
    hash: u64,
    name: Box<[u8]>,
    known: Known,
}

impl RouteCache {
    /// What is known of the topic `name` with this hash, which may be out of date.
    #[inline]
    pub(crate) fn get(&self, name: &[u8], hash: u64) -> Option<&Known> {
        let at = hash as usize & self.places.len().wrapping_sub(1);
        match self.places.get(at) {
            Some(Some(item)) if item.hash == hash && *item.name == *name => Some(&item.known),
            _ => None,
        }
    }

    /// Remembers a route; returns the one that was known for the same topic.
    pub(crate) fn insert(&mut self, name: &[u8], hash: u64, known: Known) -> Option<Known> {
        let crowded = self.conflicts > self.places.len() / 2 && self.places.len() < MOST_PLACES;
        if self.places.is_empty() || crowded {
            self.grow();
        }
        let at = hash as usize & (self.places.len() - 1);
        let item = Item {
            hash,
            name: name.into(),
            known,
        };
        let before = self.places[at].replace(item)?;
        if before.hash == hash {
            return Some(before.known);
        }
        self.conflicts += 1;
        None
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).clamp(FIRST_PLACES, MOST_PLACES);
        let mut places: Vec<Option<Item>> = (0..size).map(|_| None).collect();
        for item in self.places.drain(..).flatten() {
            let at = item.hash as usize & (size - 1);
            places[at] = Some(item);
        }
        self.places = places;
        self.conflicts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Router;

    fn known(router: &Router, audience: u32) -> Known {
        let topic = protocol::Topic::parse("t").expect("a topic");
        Known {
            stamps: router.route(topic, 0).stamps(),
            audience,
            groups: None,
        }
    }

    #[test]
    fn it_grows_until_the_topics_fit_and_no_further() {
        let router = Router::new();
        let mut cache = RouteCache::default();
        let name = |n: u32| n.to_le_bytes();
        for _ in 0..20 {
            for n in 0..10_000 {
                let hash = router.hash(&name(n));
                if cache.get(&name(n), hash).is_none() {
                    cache.insert(&name(n), hash, known(&router, n));
                }
            }
        }
        let found = (0..10_000)
            .filter(|&n| {
                cache
                    .get(&name(n), router.hash(&name(n)))
                    .is_some_and(|known| known.audience == n)
            })
            .count();
        assert!(found > 5_000, "{found}");
        for n in 0..1_000_000 {
            cache.insert(&name(n), router.hash(&name(n)), known(&router, n));
        }
        assert_eq!(cache.places.len(), MOST_PLACES);
    }

    #[test]
    fn a_new_route_of_a_topic_takes_the_place_of_the_old() {
        let router = Router::new();
        let mut cache = RouteCache::default();
        assert!(cache.insert(b"a", 7, known(&router, 1)).is_none());
        let before = cache.insert(b"a", 7, known(&router, 2));
        assert_eq!(before.map(|known| known.audience), Some(1));
        assert_eq!(cache.get(b"a", 7).map(|known| known.audience), Some(2));
        assert!(cache.get(b"b", 7).is_none());
    }
}
