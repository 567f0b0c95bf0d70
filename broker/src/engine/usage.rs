//! What each identity has now: connections, subscriptions and retained messages of all its clients together, and
//! how fast these go on.
//!
//! Everything is counted whether it is limited or not, so that a limit that comes into force later finds what is there.
//! Each count is raised once for a thing and lowered once when that ends, also if it ends by a panic or on another
//! thread. How much there may be is not known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::auth::identity::IdentityName;
use crate::auth::rate::TokenBucket;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// What all identities have.
#[derive(Default)]
pub(crate) struct Usages {
    table: Mutex<UsageTable>,
    /// The connections that have rested for the rate of their identity.
    rests: Mutex<HashMap<u64, Rests, RandomState>>,
}

#[derive(Default)]
struct UsageTable {
    by_name: HashMap<IdentityName, Arc<Usage>, RandomState>,
    /// The number of entries at which those that count nothing are looked for.
    sweep_at: usize,
}

/// The least number of entries at which unused ones are looked for.
const LEAST_SWEPT: usize = 64;

/// What one identity has.
pub(crate) struct Usage {
    pub(crate) name: IdentityName,
    connections: AtomicUsize,
    pub(crate) subscriptions: SizedCount,
    /// Changed under the lock of the retained messages alone.
    pub(crate) retained: SizedCount,
    pub(crate) publish: Mutex<TokenBucket>,
    pub(crate) bytes: Mutex<TokenBucket>,
}

/// A number of things, and their bytes.
#[derive(Default)]
pub(crate) struct SizedCount {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// How much of something there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizedMost {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Which of two limits is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    Count,
    Bytes,
}

/// One connection of an identity; counts until it is dropped.
pub(crate) struct ConnectionShare(Arc<Usage>);

/// How long a connection has rested.
#[derive(Clone, Copy, Default)]
struct Rests {
    before: Duration,
    /// Since when it rests, if it does.
    since: Option<Instant>,
}

impl Usages {
    /// What an identity has.
    pub(crate) fn of(&self, name: &IdentityName) -> Arc<Usage> {
        let mut table = self.table.lock();
        if let Some(usage) = table.by_name.get(name) {
            return usage.clone();
        }
        if table.by_name.len() >= table.sweep_at {
            // Only this table makes others from one that it alone has, so none of these is in use.
            table
                .by_name
                .retain(|_, usage| Arc::strong_count(usage) > 1 || !usage.is_rested());
            table.sweep_at = LEAST_SWEPT.max(2 * table.by_name.len());
        }
        let usage = Arc::new(Usage::new(name.clone()));
        table.by_name.insert(name.clone(), usage.clone());
        usage
    }

    /// A connection begins to rest for the rate of its identity.
    pub(crate) fn begin_rest(&self, connection: u64, now: Instant) {
        self.rests.lock().entry(connection).or_default().since = Some(now);
    }

    /// The rest of a connection is over.
    pub(crate) fn end_rest(&self, connection: u64, now: Instant) {
        if let Some(rests) = self.rests.lock().get_mut(&connection) {
            rests.before = rests.time(now);
            rests.since = None;
        }
    }

    /// A connection has ended.
    pub(crate) fn forget_rests(&self, connection: u64) {
        self.rests.lock().remove(&connection);
    }

    /// How long a connection has rested; none if it never has.
    pub(crate) fn rested(&self, connection: u64, now: Instant) -> Option<Duration> {
        let rests = self.rests.lock();
        rests.get(&connection).map(|rests| rests.time(now))
    }

    /// The number of connections that rest now.
    pub(crate) fn resting(&self) -> usize {
        let rests = self.rests.lock();
        rests.values().filter(|each| each.since.is_some()).count()
    }
}

impl Rests {
    fn time(&self, now: Instant) -> Duration {
        let current = self.since.map(|since| now.saturating_duration_since(since));
        self.before + current.unwrap_or_default()
    }
}

impl Usage {
    fn new(name: IdentityName) -> Self {
        Self {
            name,
            connections: AtomicUsize::new(0),
            subscriptions: SizedCount::default(),
            retained: SizedCount::default(),
            publish: Mutex::default(),
            bytes: Mutex::default(),
        }
    }

    /// Whether forgetting it would give nothing away: else one that connects again would have a full second of its
    /// rate again.
    fn is_rested(&self) -> bool {
        let now = Instant::now();
        [&self.publish, &self.bytes]
            .iter()
            .all(|bucket| bucket.lock().is_full(now))
    }

    /// Counts one more connection, unless there are `most`.
    pub(crate) fn take_connection(self: &Arc<Self>, most: usize) -> Option<ConnectionShare> {
        take(&self.connections, 1, most).then(|| ConnectionShare(self.clone()))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl SizedCount {
    /// Counts one more of this many bytes, unless there would be more than `most`.
    pub(crate) fn take(&self, bytes: usize, most: SizedMost) -> Result<(), Reached> {
        if !take(&self.count, 1, most.count) {
            return Err(Reached::Count);
        }
        if !take(&self.bytes, bytes, most.bytes) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Reached::Bytes);
        }
        Ok(())
    }

    /// Counts these, whatever there may be.
    pub(crate) fn add(&self, count: usize, bytes: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what was counted.
    pub(crate) fn remove(&self, count: usize, bytes: usize) {
        take_back(&self.count, count);
        take_back(&self.bytes, bytes);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Adds to a count, unless it would exceed `most`.
fn take(count: &AtomicUsize, more: usize, most: usize) -> bool {
    let next = |now: usize| now.checked_add(more).filter(|next| *next <= most);
    // Relaxed, as all counts here: each is looked at alone.
    let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    taken.is_ok()
}

/// Takes from a count, which never goes below zero: a subscription that other rules end while its client asks for it
/// again is not counted again, and would else leave its identity without room for ever.
fn take_back(count: &AtomicUsize, less: usize) {
    let next = |now: usize| Some(now.saturating_sub(less));
    // Repeated if others change it meanwhile; a plain subtraction could wrap. Relaxed, as above.
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
}

impl ConnectionShare {
    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.0
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::auth::rate::Rate;

    fn name(text: &str) -> IdentityName {
        text.parse().expect("a name")
    }

    #[test]
    fn no_more_is_taken_than_there_may_be_however_many_ask() {
        let usages = Usages::default();
        let held: Vec<ConnectionShare> = thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let usage = usages.of(&name("ann"));
                        (0..100)
                            .filter_map(|_| usage.take_connection(50))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            takers
                .into_iter()
                .flat_map(|taker| taker.join().expect("no panic"))
                .collect()
        });
        let ann = usages.of(&name("ann"));
        assert_eq!((held.len(), ann.connections()), (50, 50));
        assert!(ann.take_connection(50).is_none());
        // A lower limit ends none, and lets none in.
        assert!(ann.take_connection(2).is_none());
        drop(held);
        assert_eq!(ann.connections(), 0);
        assert!(ann.take_connection(1).is_some());
    }

    #[test]
    fn a_number_and_its_bytes_are_taken_together_or_not_at_all() {
        let count = SizedCount::default();
        let most = SizedMost {
            count: 2,
            bytes: 100,
        };
        assert_eq!(count.take(60, most), Ok(()));
        assert_eq!(count.take(41, most), Err(Reached::Bytes));
        assert_eq!((count.count(), count.bytes()), (1, 60));
        assert_eq!(count.take(40, most), Ok(()));
        assert_eq!(count.take(0, most), Err(Reached::Count));
        count.remove(2, 100);
        assert_eq!((count.count(), count.bytes()), (0, 0));
        count.remove(1, 1);
        assert_eq!((count.count(), count.bytes()), (0, 0));
    }

    #[test]
    fn identities_that_have_nothing_are_forgotten_in_time() {
        let usages = Usages::default();
        let kept = usages.of(&name("kept"));
        kept.subscriptions.add(1, 300);
        for number in 0..10_000 {
            let usage = usages.of(&name(&format!("u{number}")));
            assert_eq!(usage.connections(), 0);
        }
        let entries = usages.table.lock().by_name.len();
        assert!(entries <= 2 * LEAST_SWEPT, "{entries}");
        assert!(Arc::ptr_eq(&kept, &usages.of(&name("kept"))));
        // One that has used up its rate is kept until it has it again.
        usages
            .of(&name("fast"))
            .publish
            .lock()
            .take(100, Rate::in_a_second(1), Instant::now());
        for number in 0..1000 {
            usages.of(&name(&format!("v{number}")));
        }
        assert!(usages.table.lock().by_name.contains_key(&name("fast")));
    }

    #[test]
    fn the_time_that_a_connection_waits_is_added_up_and_grows_meanwhile() {
        let usages = Usages::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(usages.rested(7, now), None);
        for _ in 0..2 {
            usages.begin_rest(7, now);
            usages.end_rest(7, now + second);
        }
        assert_eq!(
            (usages.rested(7, now), usages.resting()),
            (Some(2 * second), 0)
        );
        usages.begin_rest(7, now);
        assert_eq!(
            (usages.rested(7, now + second), usages.resting()),
            (Some(3 * second), 1)
        );
        usages.forget_rests(7);
        assert_eq!((usages.rested(7, now), usages.resting()), (None, 0));
    }
}
