//! What a broker knows, in one value: two of them share nothing.
//!
//! Topics, subscriptions, sessions and messages live here. The engine names no frame, no packet and no socket.

pub(crate) mod client;
pub(crate) mod expiry;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod outbox;
pub(crate) mod publish;
pub(crate) mod retained;
pub(crate) mod routing;
pub(crate) mod session;
pub(crate) mod stats;

use std::io;
use std::sync::Arc;

use crate::clock::Moment;
use crate::engine::limits::{Limits, SharedLimits};
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::flusher::Flusher;
use crate::engine::retained::Retained;
use crate::engine::routing::router::Router;
use crate::engine::session::clients::Clients;
use crate::engine::session::store::SessionStore;
use crate::engine::stats::latency::Latency;
use crate::engine::stats::log_limit::LogLimit;
use crate::engine::stats::metrics::Metrics;
use crate::engine::stats::topic_stats::TopicStats;
use crate::sync::{AtomicBool, Mutex, RwLock};

/// Everything that connections have in common.
pub(crate) struct Engine {
    pub(crate) limits: Arc<SharedLimits>,
    /// Held while limits are replaced.
    replacing: Mutex<()>,
    pub(crate) router: Arc<Router>,
    /// Its lock is taken before that of an outbox, never after.
    pub(crate) retained: RwLock<Retained>,
    pub(crate) flusher: Arc<Flusher>,
    /// The bytes that messages for slow clients and lines that have begun may take together.
    pub(crate) memory: Arc<Memory>,
    pub(crate) clients: Clients,
    /// What was published on each topic.
    pub(crate) topic_stats: Arc<TopicStats>,
    /// Sessions that their clients may come back to.
    pub(crate) sessions: SessionStore,
    pub(crate) metrics: Metrics,
    /// How long messages were on their way.
    pub(crate) latency: Arc<Latency>,
    /// One inquiry at a time: their answers take memory while they are worked out.
    pub(crate) asking: Mutex<()>,
    pub(crate) began: Moment,
    /// Warnings that a peer does not answer.
    pub(crate) stale_log: LogLimit,
    /// Warnings that publishers wait for memory.
    pub(crate) memory_log: LogLimit,
    /// Warnings that publishers wait for clients that ask for it.
    pub(crate) block_log: LogLimit,
    /// The log says already that passwords are not checked.
    pub(crate) passwords_noted: AtomicBool,
}

impl Engine {
    pub(crate) fn new(limits: Limits) -> io::Result<Self> {
        let latency = Arc::<Latency>::default();
        Ok(Self {
            router: Arc::new(Router::new()),
            retained: RwLock::new(Retained::new(limits.retained, limits.retained_bytes)),
            flusher: Arc::new(Flusher::new(latency.clone())?),
            memory: Arc::new(Memory::new(limits.memory_bytes)),
            clients: Clients::default(),
            topic_stats: Arc::default(),
            sessions: SessionStore::default(),
            metrics: Metrics::default(),
            latency,
            asking: Mutex::default(),
            began: Moment::now(),
            stale_log: LogLimit::default(),
            memory_log: LogLimit::default(),
            block_log: LogLimit::default(),
            passwords_noted: AtomicBool::new(false),
            limits: Arc::new(SharedLimits::new(limits)),
            replacing: Mutex::default(),
        })
    }

    /// Replaces all limits at once. Connections take them at their next batch. What is over a lower
    /// limit already stays: no connection, subscription or message is given up for it.
    pub(crate) fn replace_limits(&self, limits: Limits) {
        let Limits {
            outbox_bytes,
            memory_bytes,
            retained,
            retained_bytes,
            ..
        } = limits;
        // One at a time, so that what has a bound of its own gets that of the same limits. The locks below are
        // taken under this one, and this one under none.
        let _replacing = self.replacing.lock();
        self.limits.replace(limits);
        self.memory.set_limit(memory_bytes);
        // Under the lock of this function, as said above; released at once.
        self.retained.write().set_limits(retained, retained_bytes);
        // After the shared value: a connection that enters too late to be found here sets its outbox to it
        // once it has entered. Until all are set, a line longer than an outbox takes is dropped there and told
        // as a GAP.
        for record in self.clients.present() {
            record.outbox().set_limit(outbox_bytes);
        }
    }
}
