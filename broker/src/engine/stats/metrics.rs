//! The counters of a broker. None is updated for each message.

use crate::auth::access::LimitKind;
use crate::storage::NotKept;
use crate::sync::{AtomicU64, Ordering};

/// Counts of connection events since the broker began.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) ended: Counter,
    /// Rejected because the broker was full.
    pub(crate) refused: Counter,
    /// Clients that said who they are, and were right.
    pub(crate) auth_ok: Counter,
    /// Clients that were not believed who they are.
    pub(crate) auth_failed: Counter,
    /// Did not answer a PING.
    pub(crate) stale: Counter,
    /// Sessions that expired while their clients were away.
    pub(crate) expired: Counter,
    /// Number of pauses in reading from a client because memory was short.
    pub(crate) waits: Counter,
    /// Their total duration in microseconds.
    pub(crate) waited: Counter,
    /// Number of waits of a publisher for slow clients with `slow=block`.
    pub(crate) blocks: Counter,
    /// Their total duration in microseconds.
    pub(crate) blocked: Counter,
    /// Ended by a bug of the broker.
    pub(crate) panicked: Counter,
    /// Messages dropped because an outbox was full; counted when connections end.
    pub(crate) dropped: Counter,
    /// What identities and addresses asked for beyond their limits.
    pub(crate) limited: LimitCounts,
    /// Total time in microseconds in which clients were not read from for the rates of their identities.
    pub(crate) throttled: Counter,
    /// Messages that were to be kept and could not be.
    pub(crate) not_kept: NotKeptCounts,
    pub(crate) tls_handshakes: HandshakeCounts,
    /// Changed files of TLS that could not be taken.
    pub(crate) tls_reload_failed: Counter,
    /// When the first certificate ends, in seconds since 1970; zero without one.
    pub(crate) tls_expires: Level,
}

/// Handshakes of TLS by what came of them.
#[derive(Default)]
pub(crate) struct HandshakeCounts {
    pub(crate) ok: Counter,
    /// A rule or one of the two sides has ended them.
    pub(crate) failed: Counter,
    pub(crate) too_long: Counter,
    /// The client has left meanwhile.
    pub(crate) left: Counter,
}

/// Messages that were not published because the store does not take them, by why.
#[derive(Default)]
pub(crate) struct NotKeptCounts {
    no_room: Counter,
    too_many_topics: Counter,
    failed: Counter,
}

impl NotKeptCounts {
    pub(crate) fn add(&self, why: NotKept, messages: u64) {
        let counter = match why {
            NotKept::NoRoom => &self.no_room,
            NotKept::TooManyTopics => &self.too_many_topics,
            NotKept::Failed => &self.failed,
        };
        counter.add(messages);
    }

    /// Each word for a reason, with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = [
            ("full", &self.no_room),
            ("topics", &self.too_many_topics),
            ("failed", &self.failed),
        ];
        counts.into_iter().map(|(word, count)| (word, count.get()))
    }
}

/// Refusals by what was limited.
#[derive(Default)]
pub(crate) struct LimitCounts([Counter; REFUSING.len()]);

/// Limits beyond which something is refused.
const REFUSING: [LimitKind; 8] = [
    LimitKind::Connections,
    LimitKind::Sessions,
    LimitKind::Subscriptions,
    LimitKind::SubscriptionBytes,
    LimitKind::Retained,
    LimitKind::RetainedBytes,
    LimitKind::Line,
    LimitKind::Attempts,
];

impl LimitCounts {
    pub(crate) fn add(&self, kind: LimitKind) {
        if let Some(at) = REFUSING.iter().position(|known| *known == kind) {
            self.0[at].add(1);
        }
    }

    /// Each word for a limit, with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = REFUSING.iter().zip(&self.0);
        counts.map(|(kind, count)| (kind.as_str(), count.get()))
    }
}

/// A figure that rises and falls.
#[derive(Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
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
