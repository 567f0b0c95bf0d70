//! The counters of a broker. Nothing here moves per message.

use crate::sync::{AtomicU64, Ordering};

/// What has happened to connections since the broker began.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) ended: Counter,
    /// Turned away because the broker was full.
    pub(crate) refused: Counter,
    /// Found not to answer a PING.
    pub(crate) stale: Counter,
    /// How often a client was not read from for a moment because memory was short.
    pub(crate) waits: Counter,
    /// For how many microseconds, together.
    pub(crate) waited: Counter,
    /// How often a publisher waited for a slow client that asks for it.
    pub(crate) blocks: Counter,
    /// For how many microseconds, together.
    pub(crate) blocked: Counter,
    /// Ended by a bug of ours.
    pub(crate) panicked: Counter,
    /// Messages dropped because an outbox was full, as of the ends of connections.
    pub(crate) dropped: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
