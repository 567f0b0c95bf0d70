//! The registry of subscriptions: from topics to the outboxes of subscribers.
//!
//! Filters without wildcards are in a sharded map, those with wildcards in a tree. A publisher caches
//! the [`Route`] of a topic and calls [`Router::is_current`] before it uses it again. Each change of a
//! subscription increments one of many versions, so that a SUBSCRIBE to one topic does not outdate the
//! routes of others.
//!
//! `docs/internals.md` (Subscriptions) lists the guarantees for publishers. Each lock of the router
//! is taken alone and released before the next. An outbox may be locked meanwhile, never the other way
//! round.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use memchr::memchr_iter;
use protocol::{Filter, Topic};

use crate::engine::history::History;
use crate::engine::routing::filter_tree::{FilterTree, Matched};
use crate::engine::routing::sieves::Sieves;
use crate::engine::routing::subscribers::{Counters, Group, Subscriber, Subscribers};
use crate::sync::{AtomicU64, Ordering, RwLock};

const SHARDS: usize = 64;

/// Number of versions. With many more than there are active publishers and subscribers, a version is
/// hardly ever incremented for another topic.
const VERSIONS: usize = 4096;

/// The subscriptions of a broker.
pub(crate) struct Router {
    hasher: RandomState,
    exact: Box<[RwLock<ExactShard>]>,
    wild: RwLock<FilterTree>,
    /// Incremented after each change of a filter; the index is the hash of an exact filter's topic, or
    /// of the [`stem`] of a filter with wildcards.
    versions: Box<[AtomicU64]>,
    /// Incremented after each change of a filter that begins with a wildcard.
    wild_version: AtomicU64,
    /// What subscribers may not see.
    sieves: Sieves,
    /// Unsubscribe epoch of all clients, incremented before an UNSUBACK is sent.
    unsubscribe_epoch: AtomicU64,
    /// Which topics keep messages, if any do.
    history: OnceLock<Arc<History>>,
}

type ExactShard = HashMap<Box<str>, Subscribers, RandomState>;

/// The subscribers of one topic at the time of the lookup.
pub(crate) struct Route {
    /// One entry for each client, sorted by the number of its connection.
    pub(crate) subscribers: Arc<[Subscriber]>,
    /// Each group receives every message once, through one of its members.
    pub(crate) groups: Arc<[Arc<Group>]>,
    /// Clients that get the messages from the log, if the topic keeps them; then none of them is among the
    /// subscribers. Sorted likewise.
    pub(crate) followers: Arc<[Subscriber]>,
    /// Sessions in the store. They get from the log the messages that they have to acknowledge, for whose sake those are
    /// kept, and others like any subscriber. Sorted likewise.
    pub(crate) sessions: Arc<[Subscriber]>,
    /// The counters of all matching filters; publishers add to them now and then.
    pub(crate) counters: Counters,
    versions: Versions,
}

/// The versions at the time of a lookup.
#[derive(Clone, Copy)]
pub(crate) struct Versions {
    /// The sum of the versions that concern the route. They only rise, so an equal sum means equal
    /// versions.
    sum: u64,
    /// The indices of the versions for the topic's first level and for its first two.
    stems: [u16; 2],
}

impl Router {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::default();
        Self {
            exact: (0..SHARDS)
                .map(|_| RwLock::new(ExactShard::with_hasher(hasher.clone())))
                .collect(),
            wild: RwLock::new(FilterTree::new()),
            versions: (0..VERSIONS).map(|_| AtomicU64::new(0)).collect(),
            wild_version: AtomicU64::new(0),
            sieves: Sieves::default(),
            unsubscribe_epoch: AtomicU64::new(0),
            history: OnceLock::new(),
            hasher,
        }
    }

    /// Adds `subscriber` to `filter`. A publisher that looks up a matching topic after this has
    /// returned finds it.
    pub(crate) fn subscribe(&self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.add(filter, subscriber, false);
    }

    /// The same for a client that follows the filter: it gets what topics keep from the log. The filter is no group's.
    pub(crate) fn follow(&self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.add(filter, subscriber, true);
        // As in `unsubscribe`: a publisher with a route from before, in which it was a plain subscriber, asks again, and
        // does not deliver what it gets from the log.
        subscriber
            .unsubscribe_epoch()
            .fetch_add(1, Ordering::Release);
        // Release, as above.
        self.unsubscribe_epoch.fetch_add(1, Ordering::Release);
    }

    fn add(&self, filter: Filter<'_>, subscriber: &Subscriber, follows: bool) {
        if filter.is_exact() {
            let pattern = filter.pattern();
            let hash = self.hash(pattern.as_bytes());
            let mut shard = self.shard(hash).write();
            let entry = shard.entry(pattern.into()).or_default();
            match follows {
                true => entry.insert_follower(subscriber),
                false => entry.insert(subscriber, filter),
            }
            // Incremented after the list has changed, never before: a publisher that reads the new
            // version (Acquire in `sum`) finds the new list, and one that has looked up the old list
            // has the old version. Checked by the model check a_subscriber_gets_all_from_then_on.
            self.version(hash).fetch_add(1, Ordering::Release);
        } else {
            let mut wild = self.wild.write();
            match follows {
                true => wild.insert_follower(filter, subscriber),
                false => wild.insert(filter, subscriber),
            }
            drop(wild);
            // As above. The lock is released before: a lookup in between finds the new tree and stores
            // the old version, so it is made once more than needed.
            self.wild_version_of(filter).fetch_add(1, Ordering::Release);
        }
    }

    /// Which topics keep messages, if any do.
    pub(crate) fn history(&self) -> Option<&Arc<History>> {
        self.history.get()
    }

    /// Has topics keep messages. Before the first is published.
    pub(crate) fn set_history(&self, history: Arc<History>) {
        let _ = self.history.set(history);
    }

    /// The sieves of subscriptions. One is set before its subscriber is added; after others,
    /// [`Router::outdate_all`] follows.
    pub(crate) fn sieves(&self) -> &Sieves {
        &self.sieves
    }

    /// Makes all routes outdated.
    pub(crate) fn outdate_all(&self) {
        // Release pairs with the Acquire in `sum`: after what has changed.
        self.wild_version.fetch_add(1, Ordering::Release);
        self.unsubscribe_epoch.fetch_add(1, Ordering::Release);
    }

    /// Removes `subscriber` from `filter`. A publisher that has looked up the route before finds both
    /// epochs incremented, the client's and the router's, when it locks the outbox after the UNSUBACK.
    pub(crate) fn unsubscribe(&self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.forget(filter, subscriber.id());
        // Both epochs are incremented after the lists have changed and before the caller answers. If it
        // were earlier, a publisher could read the new epoch, look up the old list, and find the epoch
        // unchanged when it delivers after the UNSUBACK [MQTT-3.10.4-2]. Checked by the model check
        // a_suback_comes_first_and_nothing_follows_an_unsuback.
        subscriber
            .unsubscribe_epoch()
            .fetch_add(1, Ordering::Release);
        // Release as above: Acquire in `unsubscribe_epoch` then sees the lists without the filter.
        self.unsubscribe_epoch.fetch_add(1, Ordering::Release);
    }

    /// The same for a client whose outbox is closed. No epoch is needed: under the outbox's lock a
    /// publisher finds it closed.
    pub(crate) fn forget(&self, filter: Filter<'_>, id: u64) {
        if filter.is_exact() {
            let pattern = filter.pattern();
            let hash = self.hash(pattern.as_bytes());
            let mut shard = self.shard(hash).write();
            if let Some(entry) = shard.get_mut(pattern) {
                entry.remove(id, filter);
                if entry.is_empty() {
                    shard.remove(pattern);
                    if shard.len() < shard.capacity() / 8 {
                        shard.shrink_to_fit();
                    }
                }
            }
            // After the list, as in `subscribe`: a publisher with an old version asks again.
            self.version(hash).fetch_add(1, Ordering::Release);
        } else {
            let old = self.wild.write().remove(filter, id);
            // After the tree, as in `subscribe`. An old tree may have a million nodes: it is dropped
            // when the lock is released and publishers can see the version.
            self.wild_version_of(filter).fetch_add(1, Ordering::Release);
            drop(old);
        }
    }

    /// All subscribers of `topic`, connected or not [MQTT-4.5.0-1]. `hash` is [`Router::hash`] of its
    /// name.
    pub(crate) fn route(&self, topic: Topic<'_>, hash: u64) -> Route {
        // Read first: a change during the lookup makes the route outdated, not wrong. The tree and the
        // shard are read one after the other, so they may be of different moments; then a version has
        // been incremented meanwhile, and the next publish asks again.
        let stems = self.stems(topic.as_str());
        let versions = Versions {
            sum: self.sum(hash, stems),
            stems,
        };
        let mut found = Matched::default();
        self.wild.read().collect(topic, &mut found);
        let shard = self.shard(hash).read();
        let entry = shard.get(topic.as_str());
        if let Some(entry) = entry {
            found.groups.extend_from_slice(entry.groups());
            entry.collect_counters(&mut found.counters);
        }
        // Those of exact filters are granted or denied as a whole.
        if self.sieves.has_any() {
            self.sieves.apply(topic, &mut found);
        }
        let Matched {
            mut subscribers,
            groups,
            mut followers,
            counters,
        } = found;
        followers.extend_from_slice(entry.map_or(&[], Subscribers::followers));
        let mut sessions = Vec::new();
        if !followers.is_empty() {
            sessions = self.divide(topic, entry, &mut subscribers, &mut followers);
        }
        let is_divided = !followers.is_empty() || !sessions.is_empty();
        let subscribers = match entry {
            Some(entry) if subscribers.is_empty() && !is_divided => entry.shared_plain(),
            Some(entry) if !is_divided => {
                subscribers.extend_from_slice(entry.plain());
                each_once(&mut subscribers);
                subscribers.into()
            }
            _ => {
                each_once(&mut subscribers);
                subscribers.into()
            }
        };
        Route {
            subscribers,
            groups: groups.into(),
            followers: followers.into(),
            sessions: sessions.into(),
            counters,
            versions,
        }
    }

    /// Leaves those that get messages from the log out of the subscribers, to which those of the exact filter are added
    /// then. Of the followers, those are left that do because the topic keeps all messages; the others become
    /// subscribers. Returns the sessions.
    // Out of line, because it is rare.
    #[inline(never)]
    fn divide(
        &self,
        topic: Topic<'_>,
        entry: Option<&Subscribers>,
        subscribers: &mut Vec<Subscriber>,
        followers: &mut Vec<Subscriber>,
    ) -> Vec<Subscriber> {
        let mut sessions = Vec::new();
        if !topic.is_brokers_own() {
            sessions.extend(followers.extract_if(.., |each| each.is_stored()));
        }
        if !self.history().is_some_and(|history| history.keeps(topic)) {
            subscribers.append(followers);
        }
        if followers.is_empty() && sessions.is_empty() {
            return sessions;
        }
        each_once(followers);
        each_once(&mut sessions);
        subscribers.extend_from_slice(entry.map_or(&[], Subscribers::plain));
        // One copy for each client: a client with another filter that matches, which it does not follow, gets that of
        // the log.
        let has_it = |each: &Subscriber| has(followers, each.id()) || has(&sessions, each.id());
        subscribers.retain(|each| !has_it(each));
        sessions
    }

    /// The number of subscribers of a filter, and of messages that matched since it has any.
    pub(crate) fn figures(&self, filter: Filter<'_>) -> (usize, u64) {
        if filter.is_exact() {
            let pattern = filter.pattern();
            let shard = self.shard(self.hash(pattern.as_bytes())).read();
            let entry = shard.get(pattern);
            entry.map_or((0, 0), |entry| entry.figures(filter))
        } else {
            let wild = self.wild.read();
            let entry = wild.entry(filter);
            entry.map_or((0, 0), |entry| entry.figures(filter))
        }
    }

    /// Whether a route with these versions, for a topic with this hash, is current.
    #[inline]
    pub(crate) fn is_current(&self, versions: Versions, hash: u64) -> bool {
        self.sum(hash, versions.stems) == versions.sum
    }

    /// The epoch, incremented before any client is told that a subscription has ended. A publisher
    /// reads it, and then validates its routes; if it finds the same epoch after locking an outbox, no
    /// message it delivers there follows an UNSUBACK.
    #[inline]
    pub(crate) fn unsubscribe_epoch(&self) -> u64 {
        // Acquire, for the read at the beginning of a batch: the lookups after it must find the lists
        // without the removed filter. The read under the lock of an outbox sees a raised epoch anyway,
        // because the UNSUBACK was sent under the same lock.
        self.unsubscribe_epoch.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    #[inline]
    fn sum(&self, hash: u64, stems: [u16; 2]) -> u64 {
        // Acquire pairs with Release in `subscribe` and `forget`: a publisher that sees an incremented
        // version finds the changed list. The four need not be of one moment, because each only rises:
        // if one has risen since, so has the sum.
        let [one, two] = stems.map(|at| self.versions[usize::from(at)].load(Ordering::Acquire));
        let exact = self.version(hash).load(Ordering::Acquire);
        let wild = self.wild_version.load(Ordering::Acquire);
        // It may wrap: equal sums of different versions would take 2^64 subscriptions in between.
        exact.wrapping_add(wild).wrapping_add(one).wrapping_add(two)
    }

    /// The indices of the versions of filters with wildcards that may match a topic: by its first
    /// level, and by its first two.
    fn stems(&self, topic: &str) -> [u16; 2] {
        let mut ends = memchr_iter(b'/', topic.as_bytes());
        let one = ends.next().unwrap_or(topic.len());
        let two = ends.next().unwrap_or(topic.len());
        [one, two].map(|end| (self.hash(&topic.as_bytes()[..end]) as usize % VERSIONS) as u16)
    }

    fn wild_version_of(&self, filter: Filter<'_>) -> &AtomicU64 {
        match stem(filter.pattern()) {
            Some(stem) => self.version(self.hash(stem.as_bytes())),
            None => &self.wild_version,
        }
    }

    #[inline]
    fn version(&self, hash: u64) -> &AtomicU64 {
        &self.versions[hash as usize % VERSIONS]
    }

    /// Selects by middle bits of the hash, because the map of a shard uses the low and the high ones,
    /// which have to differ among its topics.
    fn shard(&self, hash: u64) -> &RwLock<ExactShard> {
        &self.exact[(hash >> 32) as usize % SHARDS]
    }
}

/// The levels before the first wildcard, at most two; every matching topic begins with them.
fn stem(pattern: &str) -> Option<&str> {
    let literal = pattern
        .split('/')
        .take_while(|level| !matches!(*level, "+" | "#"))
        .take(2);
    let len = literal.map(|level| level.len() + 1).sum::<usize>();
    len.checked_sub(1).map(|len| &pattern[..len])
}

/// One copy for each client, however many of its filters match.
fn each_once(clients: &mut Vec<Subscriber>) {
    clients.sort_unstable_by_key(|each| each.id());
    clients.dedup_by_key(|each| each.id());
}

fn has(sorted: &[Subscriber], id: u64) -> bool {
    sorted.binary_search_by_key(&id, |each| each.id()).is_ok()
}

impl Route {
    /// Whether there are no subscribers.
    pub(crate) fn is_empty(&self) -> bool {
        self.receivers() == 0
    }

    /// Whether client `id` receives every message from its publisher.
    pub(crate) fn reaches(&self, id: u64) -> bool {
        has(&self.subscribers, id)
    }

    /// How many get each message: clients, and groups of which one member does.
    pub(crate) fn receivers(&self) -> usize {
        let clients = self.subscribers.len() + self.followers.len() + self.sessions.len();
        clients + self.groups.len()
    }

    /// Whether client `id` gets messages from the log.
    pub(crate) fn is_followed_by(&self, id: u64) -> bool {
        has(&self.followers, id) || has(&self.sessions, id)
    }

    /// Whether client `id` is a session that gets from the log what it has to acknowledge.
    pub(crate) fn has_session(&self, id: u64) -> bool {
        has(&self.sessions, id)
    }

    /// The clients of two lists, sorted likewise.
    pub(crate) fn joined(one: &Arc<[Subscriber]>, other: &Arc<[Subscriber]>) -> Arc<[Subscriber]> {
        match (one.is_empty(), other.is_empty()) {
            (_, true) => one.clone(),
            (true, _) => other.clone(),
            _ => {
                let mut all = [&**one, &**other].concat();
                each_once(&mut all);
                all.into()
            }
        }
    }

    /// Whether client `id` receives messages, perhaps as a member of a group.
    pub(crate) fn may_reach(&self, id: u64) -> bool {
        self.groups.iter().any(|group| group.has(id))
    }

    pub(crate) fn versions(&self) -> Versions {
        self.versions
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::outbox::tests::outbox;

    fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).expect("a filter")
    }

    fn route(router: &Router, name: &str) -> Route {
        let topic = Topic::parse(name).expect("a topic");
        router.route(topic, router.hash(name.as_bytes()))
    }

    fn ids(route: &Route) -> Vec<u64> {
        route.subscribers.iter().map(|each| each.id()).collect()
    }

    #[test]
    fn topics_are_spread_over_all_shards() {
        let router = Router::new();
        let shards: std::collections::HashSet<_> = (0..2000)
            .map(|number: u32| router.hash(&number.to_ne_bytes()))
            .map(|hash| std::ptr::from_ref(router.shard(hash)))
            .collect();
        assert_eq!(shards.len(), SHARDS);
    }

    #[test]
    fn a_client_with_several_matching_filters_stands_there_once() {
        let router = Router::new();
        let (one, two) = (outbox(1, 1, 0).0, outbox(2, 1, 0).0);
        for text in ["a/b", "a/+", "#"] {
            router.subscribe(filter(text), &two);
            router.subscribe(filter(text), &two);
        }
        router.subscribe(filter("a/b"), &one);
        assert_eq!(ids(&route(&router, "a/b")), [1, 2]);
        router.unsubscribe(filter("a/b"), &two);
        assert_eq!(ids(&route(&router, "a/b")), [1, 2]);
        router.unsubscribe(filter("a/+"), &two);
        router.unsubscribe(filter("#"), &two);
        assert_eq!(ids(&route(&router, "a/b")), [1]);
    }

    #[test]
    fn a_route_is_current_until_a_subscription_that_may_concern_it_changes() {
        let router = Router::new();
        let one = outbox(1, 1, 0).0;
        let hash = router.hash(b"a");
        let versions = route(&router, "a").versions();
        assert!(router.is_current(versions, hash));
        router.subscribe(filter("a"), &one);
        assert!(!router.is_current(versions, hash));
        let versions = route(&router, "a").versions();
        router.subscribe(filter("+/b"), &one);
        assert!(!router.is_current(versions, hash));
        let (versions, unsubscribe_epoch) =
            (route(&router, "a").versions(), router.unsubscribe_epoch());
        router.unsubscribe(filter("a"), &one);
        assert!(!router.is_current(versions, hash));
        assert_ne!(router.unsubscribe_epoch(), unsubscribe_epoch);
    }

    #[test]
    fn a_wildcard_makes_the_routes_old_that_it_may_concern_and_few_others() {
        let router = Router::new();
        let one = outbox(1, 1, 0).0;
        let topics = ["a", "a/b", "a/b/c", "a/c", "b/b", "b", "a/b/c/d/e"];
        for (text, concerned) in [
            ("#", &topics[..]),
            ("+/x", &topics),
            ("a/#", &["a", "a/b", "a/b/c", "a/c", "a/b/c/d/e"]),
            ("a/+/x", &["a", "a/b", "a/b/c", "a/c", "a/b/c/d/e"]),
            ("a/b/#", &["a/b", "a/b/c", "a/b/c/d/e"]),
            ("a/b/c/+", &["a/b", "a/b/c", "a/b/c/d/e"]),
            ("$share/g/b/+", &["b/b", "b"]),
        ] {
            for change in [Router::subscribe, Router::unsubscribe] {
                let routes = topics.map(|name| route(&router, name).versions());
                change(&router, filter(text), &one);
                let old: Vec<&str> = topics
                    .into_iter()
                    .zip(routes)
                    .filter(|(name, versions)| {
                        !router.is_current(*versions, router.hash(name.as_bytes()))
                    })
                    .map(|(name, _)| name)
                    .collect();
                for name in concerned {
                    assert!(old.contains(name), "{text}: {name} is not old");
                }
                // Topics sometimes share a version by chance.
                assert!(old.len() <= concerned.len() + 2, "{text}: {old:?}");
            }
        }
    }

    #[test]
    fn an_exact_subscription_leaves_most_other_routes_current() {
        let router = Router::new();
        let names: Vec<String> = (0..1000).map(|n| format!("t/{n}")).collect();
        let routes: Vec<Route> = names.iter().map(|name| route(&router, name)).collect();
        router.subscribe(filter("x"), &outbox(1, 1, 0).0);
        let current = names
            .iter()
            .zip(&routes)
            .filter(|(name, route)| {
                router.is_current(route.versions(), router.hash(name.as_bytes()))
            })
            .count();
        assert!(current > 980, "{current}");
    }

    #[test]
    fn publishers_share_the_list_of_a_topic() {
        let router = Router::new();
        router.subscribe(filter("a"), &outbox(1, 1, 0).0);
        let (first, second) = (route(&router, "a"), route(&router, "a"));
        assert!(Arc::ptr_eq(&first.subscribers, &second.subscribers));
    }

    #[test]
    fn a_group_serves_its_members_in_turn_and_skips_the_blocked() {
        let router = Router::new();
        let clients: Vec<_> = (1..=3)
            .map(|id| outbox(id, 100, usize::from(id != 2) * 100))
            .collect();
        for (client, _) in &clients {
            router.subscribe(filter("$share/g/a"), client);
        }
        let turns = |count: usize| -> Vec<u64> {
            let route = route(&router, "a");
            (0..count)
                .map(|_| route.groups[0].next_member().id())
                .collect()
        };
        assert_eq!(turns(3), [1, 2, 3]);
        clients[1].0.lock().answer(b"it has no room for this");
        let busy = turns(6);
        assert!(
            !busy.contains(&2) && busy.contains(&1) && busy.contains(&3),
            "{busy:?}"
        );
        for (client, _) in &clients {
            router.unsubscribe(filter("$share/g/a"), client);
        }
        assert!(route(&router, "a").groups.is_empty());
    }

    #[test]
    fn a_stem_is_at_most_the_first_two_levels_before_a_wildcard() {
        for (pattern, expected) in [
            ("#", None),
            ("+", None),
            ("+/a", None),
            ("a/#", Some("a")),
            ("a/+/b", Some("a")),
            ("a/b/#", Some("a/b")),
            ("a/b/c/+", Some("a/b")),
            ("/+", Some("")),
            ("/a/#", Some("/a")),
            ("a//#", Some("a/")),
        ] {
            assert_eq!(stem(pattern), expected, "{pattern}");
        }
    }

    /// All names of up to three of these levels.
    pub(crate) fn names(levels: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        let mut last = names.clone();
        for _ in 0..2 {
            let longer = last
                .iter()
                .flat_map(|name| levels.iter().map(move |level| format!("{name}/{level}")));
            last = longer.collect();
            names.extend_from_slice(&last);
        }
        names
    }

    #[test]
    fn no_route_stays_current_that_a_new_subscriber_or_a_gone_one_concerns() {
        let router = Router::new();
        let one = outbox(1, 1, 0).0;
        let topics = names(&["a", "b", "", "$c"]);
        let topics: Vec<Topic<'_>> = topics
            .iter()
            .filter_map(|name| Topic::parse(name.as_str()).ok())
            .collect();
        let filters = names(&["a", "", "$c", "+", "#"]);
        let mut checked = 0;
        for text in &filters {
            let Ok(filter) = Filter::parse(text.as_str()) else {
                continue;
            };
            for change in [Router::subscribe, Router::unsubscribe] {
                let concerned = topics.iter().filter(|topic| filter.matches(**topic));
                let routes: Vec<_> = concerned
                    .map(|topic| (topic, route(&router, topic.as_str()).versions()))
                    .collect();
                change(&router, filter, &one);
                for (topic, versions) in routes {
                    let hash = router.hash(topic.as_str().as_bytes());
                    assert!(!router.is_current(versions, hash), "{text} {topic:?}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 500, "{checked}");
    }

    #[test]
    fn changes_that_concern_one_topic_in_different_ways_add_up() {
        let router = Router::new();
        let one = outbox(1, 1, 0).0;
        let hash = router.hash(b"a/b");
        let mut sums = vec![route(&router, "a/b").versions().sum];
        for text in ["a/b", "a/+", "a/b/#", "#", "a/b"] {
            router.subscribe(filter(text), &one);
            let route = route(&router, "a/b");
            assert!(router.is_current(route.versions(), hash));
            sums.push(route.versions().sum);
        }
        assert!(sums.is_sorted_by(|one, next| one < next), "{sums:?}");
    }

    #[test]
    fn only_an_unsubscribe_raises_the_epochs() {
        let router = Router::new();
        let (one, two) = (outbox(1, 1, 0).0, outbox(2, 1, 0).0);
        let epochs = || {
            let of = |client: &Subscriber| client.unsubscribe_epoch().load(Ordering::Relaxed);
            (router.unsubscribe_epoch(), of(&one), of(&two))
        };
        for text in ["a", "a/+", "$share/g/a"] {
            let before = epochs();
            router.subscribe(filter(text), &one);
            router.forget(filter(text), one.id());
            assert_eq!(epochs(), before);
            router.unsubscribe(filter(text), &one);
            assert_eq!(epochs(), (before.0 + 1, before.1 + 1, before.2));
        }
    }

    #[test]
    fn a_route_tells_whom_it_reaches_and_figures_tell_how_many() {
        let router = Router::new();
        let clients = [1, 2, 3].map(|id| outbox(id, 1, 0).0);
        router.subscribe(filter("a/+"), &clients[0]);
        router.subscribe(filter("a/b"), &clients[1]);
        router.subscribe(filter("$share/g/a/b"), &clients[2]);
        let found = route(&router, "a/b");
        let reached = [1, 2, 3].map(|id| (found.reaches(id), found.may_reach(id)));
        assert_eq!(reached, [(true, false), (true, false), (false, true)]);
        assert!(!found.is_empty());
        found.counters.add(5);
        for text in ["a/+", "a/b", "$share/g/a/b"] {
            assert_eq!(router.figures(filter(text)), (1, 5), "{text}");
        }
        for text in ["a/c", "a/#", "$share/h/a/b", "b/+"] {
            assert_eq!(router.figures(filter(text)), (0, 0), "{text}");
        }
        for (text, client) in [("a/+", 0), ("a/b", 1)] {
            router.unsubscribe(filter(text), &clients[client]);
        }
        assert!(!route(&router, "a/b").is_empty(), "a group is left");
        router.forget(filter("$share/g/a/b"), 3);
        assert!(route(&router, "a/b").is_empty());
    }
}
