//! The subscribers of one filter: plain ones, and groups that share.
//!
//! A group changes by being replaced, so that publishers go on with the one that they have looked up.
//! Which filters there are is for the router.

use std::sync::{Arc, OnceLock};

use protocol::Filter;

use crate::engine::outbox::Outbox;
use crate::engine::stats::metrics::Counter;
use crate::sync::{AtomicUsize, Ordering};

/// A client as the router sees it.
pub(crate) type Subscriber = Arc<Outbox>;

/// The subscribers of one filter. Lists are sorted by the number of the connection.
#[derive(Default)]
pub(crate) struct Subscribers {
    plain: Vec<Subscriber>,
    /// A copy of `plain` for publishers, made when one asks.
    snapshot: OnceLock<Arc<[Subscriber]>>,
    /// Messages that matched while `plain` had subscribers, made when a publisher first asks.
    matched: OnceLock<Arc<Counter>>,
    groups: Vec<Arc<Group>>,
}

/// The members of one shared subscription, of whom each message goes to one. It never changes: a client
/// that joins or leaves makes a new one.
pub(crate) struct Group {
    /// The whole filter, with its `$share/<name>/`.
    filter: Arc<str>,
    members: Vec<Subscriber>,
    turn: AtomicUsize,
    /// Messages that matched while the group had members.
    matched: Arc<Counter>,
}

/// The counters of the filters that match a topic. Most topics have one at most, which takes no
/// memory of its own.
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
    /// Adds a subscriber; one that is there already stays as it is.
    pub(crate) fn insert(&mut self, subscriber: &Subscriber, filter: Filter<'_>) {
        match filter.group() {
            None => {
                if insert(&mut self.plain, subscriber) {
                    self.snapshot.take();
                }
            }
            Some(_) => match self.position(filter) {
                Some(at) => self.groups[at] = self.groups[at].with(subscriber),
                None => self.groups.push(Arc::new(Group {
                    filter: filter.as_str().into(),
                    members: vec![subscriber.clone()],
                    turn: AtomicUsize::new(0),
                    matched: Arc::default(),
                })),
            },
        }
    }

    /// Takes a subscriber out, if it is there.
    pub(crate) fn remove(&mut self, id: u64, filter: Filter<'_>) {
        match filter.group() {
            None => {
                if remove(&mut self.plain, id) {
                    self.snapshot.take();
                    if self.plain.is_empty() {
                        self.matched.take();
                    }
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
        self.plain.is_empty() && self.groups.is_empty()
    }

    pub(crate) fn plain(&self) -> &[Subscriber] {
        &self.plain
    }

    /// The plain subscribers as a list that can be kept; all publishers get the same one.
    pub(crate) fn shared_plain(&self) -> Arc<[Subscriber]> {
        self.snapshot
            .get_or_init(|| self.plain.as_slice().into())
            .clone()
    }

    /// Adds the counters of all filters here; publishers count in them what matched.
    pub(crate) fn collect_counters(&self, counters: &mut Counters) {
        if !self.plain.is_empty() {
            counters.push(self.matched.get_or_init(Arc::default));
        }
        for group in &self.groups {
            counters.push(&group.matched);
        }
    }

    /// How many subscribers this filter has, and how many messages have matched it.
    pub(crate) fn figures(&self, filter: Filter<'_>) -> (usize, u64) {
        match filter.group() {
            None => {
                let matched = self.matched.get();
                (self.plain.len(), matched.map_or(0, |counter| counter.get()))
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
    /// What its members have subscribed to.
    pub(crate) fn filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// Whose turn it is: the next member in the round that has nothing waiting, else just the next.
    pub(crate) fn next_member(&self) -> &Subscriber {
        // Relaxed: publishers need different turns, not an order among them.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.round(turn)
            .find(|member| !member.seems_blocked())
            .unwrap_or_else(|| &self.members[turn % self.members.len()])
    }

    /// All members, those first that have nothing waiting. For a message whose turn has failed.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Subscriber> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let idle = self.round(turn).filter(|member| !member.seems_blocked());
        idle.chain(self.round(turn))
    }

    fn round(&self, turn: usize) -> impl Iterator<Item = &Subscriber> {
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
