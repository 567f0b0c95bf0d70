//! All limits of a running broker, as one value that can be replaced while it runs.
//!
//! `config` builds [`Limits`]; the type is defined here because the engine and the wires read it and
//! imports point down. All readers share [`SharedLimits`]. Each keeps a [`CachedLimits`], which costs
//! one load while nothing has changed, and refreshes it between batches, so that one batch sees one set
//! of limits. `config` checks that the limits fit together.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicU64, Ordering, RwLock};

/// All limits of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Maximum bytes of a line of the line protocol, and of an MQTT packet.
    pub(crate) line_bytes: usize,
    /// Maximum simultaneous connections.
    pub(crate) connections: usize,
    /// Maximum of these from one address block, except from this machine.
    pub(crate) per_address: usize,
    /// Maximum subscriptions of one client.
    pub(crate) subscriptions: usize,
    /// Maximum bytes of messages queued for one client.
    pub(crate) outbox_bytes: usize,
    /// Maximum bytes of queued messages and incomplete lines of all clients together.
    pub(crate) memory_bytes: usize,
    /// Maximum time that a publisher waits at a time for slow subscribers that ask for it.
    pub(crate) max_block: Duration,
    /// Silence after which a client is sent a PING; zero for never.
    pub(crate) ping_interval: Duration,
    /// Maximum retained messages.
    pub(crate) retained: usize,
    /// Maximum bytes of retained messages, with their topics.
    pub(crate) retained_bytes: usize,
    /// Maximum messages at QoS 1 and 2 queued for one MQTT client.
    pub(crate) queued: usize,
    /// Maximum time that an MQTT session is kept for a disconnected client.
    pub(crate) session_expiry: Duration,
    /// Maximum sessions that outlast their connections, and of these maximum sessions of one address
    /// block.
    pub(crate) sessions: usize,
    pub(crate) sessions_per_address: usize,
    /// Maximum keep alive of a client of MQTT 5; zero for any.
    pub(crate) keep_alive: Duration,
    /// Maximum members of a room in datagrams, and the silence after which one is forgotten.
    pub(crate) room_members: usize,
    pub(crate) room_idle: Duration,
    /// Maximum messages of the past that a client asks for by their number.
    pub(crate) past_messages: u64,
}

impl Default for Limits {
    /// The limits of a broker without options, on a machine that allows any number of connections.
    fn default() -> Self {
        Self {
            line_bytes: protocol::limits::LINE_BYTES,
            connections: usize::MAX,
            per_address: usize::MAX,
            subscriptions: 250_000,
            outbox_bytes: protocol::limits::LINE_BYTES,
            memory_bytes: usize::MAX,
            max_block: Duration::from_secs(1),
            ping_interval: Duration::from_secs(30),
            retained: 1_000_000,
            retained_bytes: 256 * 1024 * 1024,
            queued: 100_000,
            session_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            sessions: usize::MAX,
            sessions_per_address: 1000,
            keep_alive: Duration::ZERO,
            room_members: 1000,
            room_idle: Duration::from_secs(10 * 60),
            past_messages: protocol::limits::PAST_MESSAGES,
        }
    }
}

/// The current limits, shared by all readers.
pub(crate) struct SharedLimits {
    /// How many times the limits have been replaced.
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

    /// The current limits.
    pub(crate) fn load(&self) -> Arc<Limits> {
        self.current.read().clone()
    }

    /// Replaces all limits. Readers see them at their next refresh.
    pub(crate) fn replace(&self, limits: Limits) {
        // No lock may be taken under this one: readers may have locked their outbox.
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

    /// Loads the current limits; returns whether they were replaced since the last refresh.
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

/// The version is read first. If the limits are replaced in between, the copy is newer than its
/// version, and the next refresh reads it once more. In the other order, that refresh would be missed.
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
