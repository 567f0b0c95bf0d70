//! The state of one broker as one value; two engines share nothing.
//!
//! Topics, subscriptions, sessions and messages live here. The engine names no frame, no packet and no socket.

pub(crate) mod access;
pub(crate) mod client;
pub(crate) mod enforcement;
pub(crate) mod event_client;
pub(crate) mod expiry;
pub(crate) mod follow;
pub(crate) mod history;
mod kept_sessions;
pub(crate) mod kept_state;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod offline_history;
pub(crate) mod offline_store;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod peer;
pub(crate) mod publish;
pub(crate) mod retained;
pub(crate) mod routing;
pub(crate) mod security_events;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod stored_messages;
pub(crate) mod stored_sessions;
pub(crate) mod usage;

use std::io;
use std::sync::{Arc, OnceLock};

use crate::auth::access::AccessTable;
use crate::auth::identity::{ClientIdentity, IdentityKind, Verifier};
use crate::clock::Moment;
use crate::clock::latency::Latency;
use crate::clock::log_limit::LogLimit;
use crate::engine::access::SharedAccess;
use crate::engine::limits::{Limits, SharedLimits};
use crate::engine::memory::budget::Memory;
use crate::engine::orders::Orders;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::flusher::Flusher;
use crate::engine::outbox::following::CatchUpQueue;
use crate::engine::retained::Retained;
use crate::engine::routing::router::Router;
use crate::engine::security_events::SecurityEvents;
use crate::engine::session::clients::Clients;
use crate::engine::session::store::SessionStore;
use crate::engine::stats::denials::Denials;
use crate::engine::stats::metrics::Metrics;
use crate::engine::stats::topic_stats::TopicStats;
use crate::engine::usage::Usages;
use crate::storage::store::Store;
use crate::sync::{AtomicBool, Mutex, RwLock};

/// Everything that connections share.
pub(crate) struct Engine {
    pub(crate) limits: Arc<SharedLimits>,
    /// Locked while limits are replaced.
    replacing: Mutex<()>,
    pub(crate) router: Arc<Router>,
    /// Lock order: before any outbox, never after.
    pub(crate) retained: RwLock<Retained>,
    /// What outlives this process, if anything does.
    pub(crate) store: OnceLock<Arc<Store>>,
    pub(crate) flusher: Arc<Flusher>,
    /// The followers that are behind.
    pub(crate) catch_up: Arc<CatchUpQueue<Outbox>>,
    /// The budget for queued messages and incomplete lines.
    pub(crate) memory: Arc<Memory>,
    pub(crate) clients: Clients,
    /// Statistics of each topic.
    pub(crate) topic_stats: Arc<TopicStats>,
    /// Sessions that their clients may resume.
    pub(crate) sessions: SessionStore,
    pub(crate) metrics: Metrics,
    /// Orders of the operator.
    pub(crate) orders: Orders,
    /// Latency from read to write.
    pub(crate) latency: Arc<Latency>,
    /// Limits inquiries to one at a time: their answers take memory while they are computed.
    pub(crate) asking: Mutex<()>,
    pub(crate) began: Moment,
    /// Log limit: a peer does not answer.
    pub(crate) stale_log: LogLimit,
    /// Log limit: publishers wait for memory.
    pub(crate) memory_log: LogLimit,
    /// Log limit: publishers wait for slow subscribers.
    pub(crate) block_log: LogLimit,
    /// Log limit: a JWT is refused.
    pub(crate) jwt_log: LogLimit,
    /// Log limit: an identity has as much as it may have.
    pub(crate) limit_log: LogLimit,
    /// Log limit: the store does not take a change of a session.
    pub(crate) session_log: LogLimit,
    /// Log limits: the store does not take what a client has published, or cannot be read.
    pub(crate) not_kept_log: LogLimit,
    pub(crate) not_read_log: LogLimit,
    /// What each identity has.
    pub(crate) usages: Usages,
    /// Says which identity a client has; none if the broker knows no users and no keys of JWTs. Locked for a copy, under no other lock.
    pub(crate) verifier: RwLock<Option<Arc<Verifier>>>,
    /// What clients may do.
    pub(crate) access: SharedAccess,
    /// What they were denied.
    pub(crate) denials: Denials,
    /// What the security log is told.
    pub(crate) security: SecurityEvents,
    /// The log already says that passwords are not checked.
    pub(crate) passwords_noted: AtomicBool,
}

impl Engine {
    pub(crate) fn new(limits: Limits) -> io::Result<Self> {
        let latency = Arc::<Latency>::default();
        Ok(Self {
            router: Arc::new(Router::new()),
            retained: RwLock::new(Retained::new(limits.retained, limits.retained_bytes)),
            store: OnceLock::new(),
            flusher: Arc::new(Flusher::new(latency.clone())?),
            catch_up: Arc::default(),
            memory: Arc::new(Memory::new(limits.memory_bytes)),
            clients: Clients::default(),
            topic_stats: Arc::default(),
            sessions: SessionStore::default(),
            metrics: Metrics::default(),
            orders: Orders::default(),
            latency,
            asking: Mutex::default(),
            began: Moment::now(),
            stale_log: LogLimit::default(),
            memory_log: LogLimit::default(),
            block_log: LogLimit::default(),
            jwt_log: LogLimit::default(),
            limit_log: LogLimit::default(),
            session_log: LogLimit::default(),
            not_kept_log: LogLimit::default(),
            not_read_log: LogLimit::default(),
            usages: Usages::default(),
            verifier: RwLock::new(None),
            access: SharedAccess::new(AccessTable::open()),
            denials: Denials::default(),
            security: SecurityEvents::default(),
            passwords_noted: AtomicBool::new(false),
            limits: Arc::new(SharedLimits::new(limits)),
            replacing: Mutex::default(),
        })
    }

    /// An identity that was shown, as the files have it now; none if its user, its token or its key is gone, is
    /// disabled, or has ended.
    pub(crate) fn renewed(&self, identity: &ClientIdentity) -> Option<ClientIdentity> {
        match &*self.verifier.read() {
            Some(verifier) => verifier.renewed(identity),
            // Without users, a certificate gives its name alone.
            None => (identity.kind == IdentityKind::Certificate)
                .then(|| ClientIdentity::of_certificate(identity.name.clone())),
        }
    }

    /// The identity with the groups that its user has now; none if the user is gone or disabled.
    pub(crate) fn holder_now(&self, identity: &Arc<ClientIdentity>) -> Option<Arc<ClientIdentity>> {
        let verifier = self.verifier.read().clone();
        let Some(verifier) = verifier.filter(|_| identity.is_shown()) else {
            return Some(identity.clone());
        };
        let groups = verifier.groups_of(identity)?;
        Some(Arc::new(ClientIdentity {
            groups,
            ..(**identity).clone()
        }))
    }

    /// Replaces all limits at once. Connections apply them at their next batch. What already exceeds a
    /// lower limit stays: no connection, subscription or message is dropped for it.
    pub(crate) fn replace_limits(&self, limits: Limits) {
        let Limits {
            outbox_bytes,
            memory_bytes,
            retained,
            retained_bytes,
            ..
        } = limits;
        // One replacement at a time, so that components with a copy of a limit end up with the same
        // set. The locks below are taken under this one, and this one under no other.
        let _replacing = self.replacing.lock();
        self.limits.replace(limits);
        self.memory.set_limit(memory_bytes);
        // Under the lock of this function; released at once.
        self.retained.write().set_limits(retained, retained_bytes);
        // After the shared value: a connection that registers too late to be found here sets its
        // outbox's limit after it has registered. Until all are set, an outbox with a lower limit drops
        // longer lines and reports them as a GAP.
        for record in self.clients.present() {
            record.outbox().set_limit(outbox_bytes);
        }
    }
}
