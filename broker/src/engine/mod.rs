//! What a broker knows, in one value: two of them share nothing.

pub(crate) mod client;
pub(crate) mod expiry;
pub(crate) mod memory;
pub(crate) mod outbox;
pub(crate) mod publish;
pub(crate) mod retained;
pub(crate) mod routing;
pub(crate) mod session;
pub(crate) mod stats;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
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
    pub(crate) router: Arc<Router>,
    /// Its lock is taken before that of an outbox, never after.
    pub(crate) retained: RwLock<Retained>,
    pub(crate) flusher: Arc<Flusher>,
    /// What waits for slow clients, and lines that have begun.
    pub(crate) memory: Arc<Memory>,
    pub(crate) clients: Clients,
    /// The longest that a publisher waits at a time for slow clients that ask for it.
    pub(crate) max_block: Duration,
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
    /// The most connections at a time.
    pub(crate) max_connections: usize,
    /// Warnings that a peer does not answer.
    pub(crate) stale_log: LogLimit,
    /// Warnings that publishers wait for memory.
    pub(crate) memory_log: LogLimit,
    /// Warnings that publishers wait for clients that ask for it.
    pub(crate) block_log: LogLimit,
    /// It has been said that nobody looks at passwords.
    pub(crate) passwords_noted: AtomicBool,
}

impl Engine {
    pub(crate) fn new(
        max_retained: usize,
        max_retained_bytes: usize,
        memory_bytes: usize,
        max_block: Duration,
    ) -> io::Result<Self> {
        let latency = Arc::<Latency>::default();
        Ok(Self {
            router: Arc::new(Router::new()),
            retained: RwLock::new(Retained::new(max_retained, max_retained_bytes)),
            flusher: Arc::new(Flusher::new(latency.clone())?),
            memory: Arc::new(Memory::new(memory_bytes)),
            clients: Clients::default(),
            max_block,
            topic_stats: Arc::default(),
            sessions: SessionStore::default(),
            metrics: Metrics::default(),
            latency,
            asking: Mutex::default(),
            began: Moment::now(),
            max_connections: usize::MAX,
            stale_log: LogLimit::default(),
            memory_log: LogLimit::default(),
            block_log: LogLimit::default(),
            passwords_noted: AtomicBool::new(false),
        })
    }
}
