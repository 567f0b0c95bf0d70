//! The subscribers of one filter: plain ones, and groups with a shared subscription.
//!
//! A group is immutable: a change replaces it, so that publishers continue with the one they have
//! looked up. The router stores the filters.

use std::sync::{Arc, OnceLock};

use protocol::Filter;

use crate::engine::outbox::Outbox;
use crate::engine::stats::metrics::Counter;
use crate::sync::{AtomicUsize, Ordering};

/// A client as seen by the router.
pub(crate) type Subscriber = Arc<Outbox>;

/// The subscribers of one filter. Lists are sorted by the number of the connection.
#[derive(Default)]
pub(crate) struct Subscribers {
    plain: Vec<Subscriber>,
    /// A copy of `plain` for publishers, made on demand.
    snapshot: OnceLock<Arc<[Subscriber]>>,
    /// Number of messages that matched while `plain` had subscribers; made when a publisher first asks.
    matched: OnceLock<Arc<Counter>>,
    groups: Vec<Arc<Group>>,
    /// Clients that follow the filter: from the log they get what topics keep, and the rest like the others. None is a
    /// plain subscriber, too.
    followers: Vec<Subscriber>,
}

/// The members of a shared subscription; each message goes to one of them. Immutable: joining or
/// leaving makes a new group.
pub(crate) struct Group {
    /// The whole filter, with its `$share/<name>/`.
    filter: Arc<str>,
    members: Vec<Subscriber>,
    turn: AtomicUsize,
    /// Number of messages that matched while the group had members.
    matched: Arc<Counter>,
}

/// The counters of the filters that match a topic. One counter, the usual case, takes no allocation.
#[derive(Default)]
pub(crate) struct Counters {
    first: Option<Arc<Counter>>,
    others: Vec<Arc<Counter>>,
}

impl Counters {
    pub(crate) fn add(&self, count: u64) {
        let all = self.first.iter().chain(&self.others);
        all.for_each(|counter| counter.add(count));
    }

    fn push(&mut self, counter: &Arc<Counter>) {
        match self.first {
            None => self.first = Some(counter.clone()),
            Some(_) => self.others.push(counter.clone()),
        }
    }
}

impl Subscribers {
    /// Adds a subscriber, unless it is present.
    pub(crate) fn insert(&mut self, subscriber: &Subscriber, filter: Filter<'_>) {
        match filter.group() {
            None => {
                remove(&mut self.followers, subscriber.id());
                if insert(&mut self.plain, subscriber) {
                    self.snapshot.take();
                }
            }
            Some(_) => self.join_group(subscriber, filter),
        }
    }

    /// Adds a follower, which is no plain subscriber any more.
    pub(crate) fn insert_follower(&mut self, subscriber: &Subscriber) {
        self.remove_plain(subscriber.id());
        insert(&mut self.followers, subscriber);
    }

    fn remove_plain(&mut self, id: u64) {
        if remove(&mut self.plain, id) {
            self.snapshot.take();
        }
    }

    // Out of line: its locals would lie on the stack of every client that subscribes.
    #[inline(never)]
    fn join_group(&mut self, subscriber: &Subscriber, filter: Filter<'_>) {
        match self.position(filter) {
            Some(at) => self.groups[at] = self.groups[at].with(subscriber),
            None => self.groups.push(Arc::new(Group {
                filter: filter.as_str().into(),
                members: vec![subscriber.clone()],
                turn: AtomicUsize::new(0),
                matched: Arc::default(),
            })),
        }
    }

    /// Removes a subscriber, if it is present.
    pub(crate) fn remove(&mut self, id: u64, filter: Filter<'_>) {
        match filter.group() {
            None => {
                self.remove_plain(id);
                remove(&mut self.followers, id);
                if self.plain.is_empty() && self.followers.is_empty() {
                    self.matched.take();
                }
            }
            Some(_) => {
                if let Some(at) = self.position(filter) {
                    match self.groups[at].without(id) {
                        Some(smaller) => self.groups[at] = smaller,
                        None => drop(self.groups.swap_remove(at)),
                    }
                }
            }
        }
    }

    fn position(&self, filter: Filter<'_>) -> Option<usize> {
        let is_it = |group: &Arc<Group>| &*group.filter == filter.as_str();
        self.groups.iter().position(is_it)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty() && self.followers.is_empty()
    }

    pub(crate) fn plain(&self) -> &[Subscriber] {
        &self.plain
    }

    pub(crate) fn followers(&self) -> &[Subscriber] {
        &self.followers
    }

    /// The plain subscribers as a list that all publishers share.
    pub(crate) fn shared_plain(&self) -> Arc<[Subscriber]> {
        self.snapshot
            .get_or_init(|| self.plain.as_slice().into())
            .clone()
    }

    /// Adds the counters of all lists here; publishers count matching messages in them.
    pub(crate) fn collect_counters(&self, counters: &mut Counters) {
        if !self.plain.is_empty() || !self.followers.is_empty() {
            counters.push(self.matched.get_or_init(Arc::default));
        }
        for group in &self.groups {
            counters.push(&group.matched);
        }
    }

    /// The number of subscribers of this filter, and of messages that matched it.
    pub(crate) fn figures(&self, filter: Filter<'_>) -> (usize, u64) {
        match filter.group() {
            None => {
                let matched = self.matched.get();
                let subscribers = self.plain.len() + self.followers().len();
                (subscribers, matched.map_or(0, |counter| counter.get()))
            }
            Some(_) => self.position(filter).map_or((0, 0), |at| {
                let group = &self.groups[at];
                (group.members.len(), group.matched.get())
            }),
        }
    }

    pub(crate) fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }
}

impl Group {
    /// The filter that its members have subscribed to.
    pub(crate) fn filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// Chooses the next member in turn that is connected and whose queue is empty, otherwise the next
    /// that is connected, otherwise the next.
    pub(crate) fn next_member(&self) -> &Subscriber {
        // Relaxed: publishers need different turns, not an order among them.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut connected = self.round(turn).filter(|member| !member.seems_detached());
        let mut ready = connected.clone().filter(|member| !member.seems_blocked());
        let first = ready.next().or_else(|| connected.next());
        first.unwrap_or_else(|| &self.members[turn % self.members.len()])
    }

    /// All members, first those that are connected and have empty queues, last those that are away. For a message that its chosen member did not accept.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Subscriber> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Decided once for each, so that a member that connects meanwhile is not left out.
        let (connected, away): (Vec<_>, Vec<_>) = self
            .round(turn)
            .partition(|member| !member.seems_detached());
        let ready = connected.iter().filter(|member| !member.seems_blocked());
        let ready: Vec<_> = ready.copied().collect();
        ready.into_iter().chain(connected).chain(away)
    }

    fn round(&self, turn: usize) -> impl Iterator<Item = &Subscriber> + Clone {
        let count = self.members.len();
        (0..count).map(move |offset| &self.members[turn.wrapping_add(offset) % count])
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.members
            .binary_search_by_key(&id, |each| each.id())
            .is_ok()
    }

    fn with(&self, subscriber: &Subscriber) -> Arc<Self> {
        self.changed(|members| insert(members, subscriber))
    }

    fn without(&self, id: u64) -> Option<Arc<Self>> {
        let smaller = self.changed(|members| remove(members, id));
        (!smaller.members.is_empty()).then_some(smaller)
    }

    /// The group without those members; none if no member is one of them, and then none if no member is left.
    pub(crate) fn without_all(
        &self,
        is_one: impl Fn(&Subscriber) -> bool,
    ) -> Option<Option<Arc<Self>>> {
        if !self.members.iter().any(&is_one) {
            return None;
        }
        let smaller = self.changed(|members| {
            members.retain(|member| !is_one(member));
            true
        });
        Some((!smaller.members.is_empty()).then_some(smaller))
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<Subscriber>) -> bool) -> Arc<Self> {
        let mut members = self.members.clone();
        change(&mut members);
        Arc::new(Self {
            filter: self.filter.clone(),
            members,
            turn: AtomicUsize::new(self.turn.load(Ordering::Relaxed)),
            matched: self.matched.clone(),
        })
    }
}

fn insert(list: &mut Vec<Subscriber>, subscriber: &Subscriber) -> bool {
    match list.binary_search_by_key(&subscriber.id(), |each| each.id()) {
        Ok(_) => false,
        Err(at) => {
            list.insert(at, subscriber.clone());
            true
        }
    }
}

fn remove(list: &mut Vec<Subscriber>, id: u64) -> bool {
    match list.binary_search_by_key(&id, |each| each.id()) {
        Ok(at) => {
            list.remove(at);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::tests::outbox;

    const GROUP: &str = "$share/g/a";

    fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).expect("a filter")
    }

    /// A client whose sink accepts `room` bytes for now.
    fn client(id: u64, room: usize) -> Subscriber {
        outbox(id, 100, room).0
    }

    fn ids(subscribers: &[Subscriber]) -> Vec<u64> {
        subscribers.iter().map(|each| each.id()).collect()
    }

    fn turns(group: &Group, count: usize) -> Vec<u64> {
        (0..count).map(|_| group.next_member().id()).collect()
    }

    #[test]
    fn plain_subscribers_are_in_order_and_there_once() {
        let mut subscribers = Subscribers::default();
        assert!(subscribers.is_empty());
        for id in [3, 1, 2, 3, 1] {
            subscribers.insert(&client(id, 0), filter("a"));
        }
        assert_eq!(ids(subscribers.plain()), [1, 2, 3]);
        subscribers.remove(4, filter("a"));
        subscribers.remove(2, filter("a"));
        assert_eq!(ids(subscribers.plain()), [1, 3]);
        subscribers.remove(1, filter("a"));
        subscribers.remove(3, filter("a"));
        assert!(subscribers.is_empty());
    }

    #[test]
    fn publishers_share_a_list_until_it_changes() {
        let mut subscribers = Subscribers::default();
        let one = client(1, 0);
        subscribers.insert(&one, filter("a"));
        let first = subscribers.shared_plain();
        subscribers.insert(&one, filter("a"));
        subscribers.remove(2, filter("a"));
        subscribers.insert(&client(9, 0), filter(GROUP));
        assert!(Arc::ptr_eq(&first, &subscribers.shared_plain()));
        subscribers.insert(&client(2, 0), filter("a"));
        assert_eq!(ids(&subscribers.shared_plain()), [1, 2]);
        subscribers.remove(1, filter("a"));
        assert_eq!(ids(&subscribers.shared_plain()), [2]);
        assert_eq!(ids(&first), [1], "it is what it was");
    }

    #[test]
    fn what_matched_is_counted_as_long_as_there_is_a_subscriber() {
        let mut subscribers = Subscribers::default();
        let counted = |subscribers: &Subscribers| {
            let mut counters = Counters::default();
            subscribers.collect_counters(&mut counters);
            counters.add(3);
            (
                subscribers.figures(filter("a")),
                subscribers.figures(filter(GROUP)),
            )
        };
        assert_eq!(counted(&subscribers), ((0, 0), (0, 0)));
        subscribers.insert(&client(1, 0), filter("a"));
        assert_eq!(counted(&subscribers), ((1, 3), (0, 0)));
        subscribers.insert(&client(2, 0), filter("a"));
        subscribers.insert(&client(2, 0), filter(GROUP));
        assert_eq!(counted(&subscribers), ((2, 6), (1, 3)));
        subscribers.insert(&client(3, 0), filter(GROUP));
        subscribers.remove(1, filter("a"));
        assert_eq!(counted(&subscribers), ((1, 9), (2, 6)));
        subscribers.remove(2, filter("a"));
        assert_eq!(counted(&subscribers), ((0, 0), (2, 9)));
        subscribers.insert(&client(1, 0), filter("a"));
        assert_eq!(subscribers.figures(filter("a")), (1, 0), "it begins anew");
    }

    #[test]
    fn groups_are_told_apart_by_name_and_end_with_their_last_member() {
        let mut subscribers = Subscribers::default();
        for (id, text) in [(1, GROUP), (2, "$share/h/a"), (3, GROUP), (3, GROUP)] {
            subscribers.insert(&client(id, 0), filter(text));
        }
        let of = |subscribers: &Subscribers| -> Vec<(String, Vec<u64>)> {
            let groups = subscribers.groups().iter();
            groups
                .map(|group| (group.filter().to_string(), ids(&group.members)))
                .collect()
        };
        let (g, h) = (GROUP.to_owned(), "$share/h/a".to_owned());
        assert_eq!(
            of(&subscribers),
            [(g.clone(), vec![1, 3]), (h.clone(), vec![2])]
        );
        let group = subscribers.groups()[0].clone();
        assert!(group.has(1) && group.has(3) && !group.has(2));
        subscribers.remove(1, filter("$share/h/a"));
        subscribers.remove(1, filter("$share/i/a"));
        subscribers.remove(1, filter(GROUP));
        assert_eq!(of(&subscribers), [(g, vec![3]), (h.clone(), vec![2])]);
        assert!(group.has(1), "a group that was looked up does not change");
        subscribers.remove(3, filter(GROUP));
        assert_eq!(of(&subscribers), [(h, vec![2])]);
        assert!(!subscribers.is_empty());
    }

    #[test]
    fn the_turn_goes_on_when_members_come_and_go() {
        let mut subscribers = Subscribers::default();
        for id in 1..=3 {
            subscribers.insert(&client(id, 0), filter(GROUP));
        }
        assert_eq!(turns(&subscribers.groups()[0], 4), [1, 2, 3, 1]);
        subscribers.insert(&client(4, 0), filter(GROUP));
        assert_eq!(turns(&subscribers.groups()[0], 4), [1, 2, 3, 4]);
        subscribers.remove(2, filter(GROUP));
        assert_eq!(turns(&subscribers.groups()[0], 3), [4, 1, 3]);
    }

    #[test]
    fn members_with_something_waiting_are_passed_over_unless_all_have() {
        let mut subscribers = Subscribers::default();
        let clients = [1, 2, 3].map(|id| client(id, 0));
        for client in &clients {
            subscribers.insert(client, filter(GROUP));
        }
        let group = subscribers.groups()[0].clone();
        clients[1].lock().answer(b"it has no room for this");
        assert_eq!(turns(&group, 3), [1, 3, 3]);
        let order = |group: &Group| -> Vec<u64> { group.members().map(|each| each.id()).collect() };
        assert_eq!(order(&group), [1, 3, 1, 2, 3]);
        for client in [&clients[0], &clients[2]] {
            client.lock().answer(b"nor for this");
        }
        assert_eq!(turns(&group, 3), [2, 3, 1]);
        assert_eq!(order(&group), [2, 3, 1]);
    }
}
