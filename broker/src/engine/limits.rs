//! Every limit that a running broker looks at, as one value that can be replaced on the run.
//!
//! [`Limits`] is built once, by `config`, and lies here and not there, because the engine and the wires
//! read it and imports point down. All readers share [`SharedLimits`]. Each of them keeps a
//! [`CachedLimits`], which costs one load when nothing has changed, and refreshes it between two batches,
//! so that one batch is never judged by two sets of limits. Whether limits fit together is checked by
//! `config`, not here.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicU64, Ordering, RwLock};

/// All limits of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The longest line of the line protocol and the longest packet of MQTT, in bytes.
    pub(crate) line_bytes: usize,
    /// The most connections at a time.
    pub(crate) connections: usize,
    /// The most subscriptions of one client.
    pub(crate) subscriptions: usize,
    /// The most bytes of messages that wait for one client.
    pub(crate) outbox_bytes: usize,
    /// The most bytes that messages for slow clients and lines that have begun take together.
    pub(crate) memory_bytes: usize,
    /// The longest that a publisher waits at a time for slow subscribers that ask for it.
    pub(crate) max_block: Duration,
    /// A client that has been silent for so long is sent a PING; zero for never.
    pub(crate) ping_interval: Duration,
    /// The most retained messages.
    pub(crate) retained: usize,
    /// The most bytes of them, with their topics.
    pub(crate) retained_bytes: usize,
    /// The most messages at QoS 1 and 2 that wait for one client of MQTT.
    pub(crate) queued: usize,
    /// The longest that a session of MQTT is kept for a client that is away.
    pub(crate) session_expiry: Duration,
}

impl Default for Limits {
    /// What a broker has without options, on a machine that bears any number of connections.
    fn default() -> Self {
        Self {
            line_bytes: protocol::limits::LINE_BYTES,
            connections: usize::MAX,
            subscriptions: 250_000,
            outbox_bytes: protocol::limits::LINE_BYTES,
            memory_bytes: usize::MAX,
            max_block: Duration::from_secs(1),
            ping_interval: Duration::from_secs(30),
            retained: 1_000_000,
            retained_bytes: 256 * 1024 * 1024,
            queued: 100_000,
            session_expiry: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// The limits that hold now, for all their readers.
pub(crate) struct SharedLimits {
    /// How many times they have been replaced.
    version: AtomicU64,
    current: RwLock<Arc<Limits>>,
}

impl SharedLimits {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            version: AtomicU64::new(0),
            current: RwLock::new(Arc::new(limits)),
        }
    }

    /// The limits that hold now.
    pub(crate) fn load(&self) -> Arc<Limits> {
        self.current.read().clone()
    }

    /// Replaces all of them. Readers find out when they refresh their copy.
    pub(crate) fn replace(&self, limits: Limits) {
        // No lock is taken under this one: readers may hold that of their outbox.
        let mut current = self.current.write();
        *current = Arc::new(limits);
        // Under the lock, so that versions rise in the order of the values. Release pairs with the
        // Acquire in `CachedLimits::refresh`: a reader that sees this version waits for the lock and
        // then finds this value or a later one.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// One reader's copy of the limits.
pub(crate) struct CachedLimits {
    shared: Arc<SharedLimits>,
    version: u64,
    limits: Arc<Limits>,
}

impl CachedLimits {
    pub(crate) fn new(shared: &Arc<SharedLimits>) -> Self {
        let (version, limits) = read(shared);
        Self {
            shared: shared.clone(),
            version,
            limits,
        }
    }

    /// The limits as of the last refresh.
    #[inline]
    pub(crate) fn get(&self) -> &Limits {
        &self.limits
    }

    /// Takes the limits that hold now; returns whether they have been replaced since the last time.
    #[inline]
    pub(crate) fn refresh(&mut self) -> bool {
        // Acquire pairs with the Release in `SharedLimits::replace`.
        let is_old = self.shared.version.load(Ordering::Acquire) != self.version;
        if is_old {
            self.reload();
        }
        is_old
    }

    #[cold]
    fn reload(&mut self) {
        (self.version, self.limits) = read(&self.shared);
    }
}

/// The version is read first. If the limits are replaced in between, the copy is newer than its version
/// says, and the next refresh takes it once more; the other way round that refresh would be missed.
fn read(shared: &SharedLimits) -> (u64, Arc<Limits>) {
    // Acquire, so that the value is not read before the version.
    let version = shared.version.load(Ordering::Acquire);
    (version, shared.load())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn lines_of(line_bytes: usize) -> Limits {
        Limits {
            line_bytes,
            ..Limits::default()
        }
    }

    #[test]
    fn a_copy_changes_when_it_is_refreshed_and_not_before() {
        let shared = Arc::new(SharedLimits::new(lines_of(1)));
        let mut copy = CachedLimits::new(&shared);
        assert!(!copy.refresh());
        shared.replace(lines_of(2));
        assert_eq!(copy.get().line_bytes, 1);
        assert!(copy.refresh());
        assert_eq!(copy.get().line_bytes, 2);
        assert!(!copy.refresh());
        assert_eq!(CachedLimits::new(&shared).get().line_bytes, 2);
    }

    #[test]
    fn no_replacement_is_missed_however_many_threads_replace() {
        let shared = Arc::new(SharedLimits::new(lines_of(0)));
        thread::scope(|scope| {
            for first in [1, 101] {
                let shared = &shared;
                scope.spawn(move || (first..first + 100).for_each(|n| shared.replace(lines_of(n))));
            }
            let mut copy = CachedLimits::new(&shared);
            for _ in 0..1000 {
                copy.refresh();
            }
        });
        let mut copy = CachedLimits::new(&shared);
        copy.refresh();
        assert_eq!(copy.get(), &*shared.load());
        assert!([100, 200].contains(&copy.get().line_bytes));
    }
}
