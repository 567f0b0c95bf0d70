//! What a client has in the engine: its subscriptions, what waits for it, its will. A session may last
//! longer than the connection that began it.
//!
//! ```text
//! attached to a connection --the connection ends--> detached, until it expires --> ended
//!        ^                                                |
//!        +---------- the client comes back ---------------+
//! ```
//!
//! A session that does not outlast connections ends with its own. The outbox holds the queue and a
//! sink or none; whether a session goes on is decided here alone.

pub(crate) mod clients;
#[cfg_attr(
    not(test),
    allow(
        dead_code,
        reason = "the byte form of a session, for what will keep sessions on disk"
    )
)]
pub(crate) mod snapshot;
pub(crate) mod store;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::engine::memory::budget::Charge;
use crate::engine::outbox::delivery::subscriptions::Subscriptions;
use crate::engine::routing::subscribers::Subscriber;
use crate::sync::Mutex;

/// One session.
pub(crate) struct Session {
    /// Its number is that of the connection that began it.
    outbox: Subscriber,
    subscriptions: Arc<Subscriptions>,
    /// What its client calls itself when it comes back; nothing if it cannot come back.
    client_id: OnceLock<Box<str>>,
    /// Taken after the lock of the store, and before no other.
    terms: Mutex<SessionTerms>,
}

/// What a session is left with when its connection ends, besides its subscriptions and messages.
#[derive(Default)]
struct SessionTerms {
    lifecycle: Lifecycle,
    expiry: Expiry,
    will: Option<Will>,
    /// Identifiers of messages that the client has sent at QoS 2 and not released.
    received: HashSet<u16, RandomState>,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// A connection serves its client.
    #[default]
    Attached,
    /// It waits for its client.
    Detached {
        /// When it ends; none for never.
        until: Option<Instant>,
    },
    Ended,
}

/// How long a session waits for its client when a connection has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expiry {
    /// Not at all: it ends with its connection.
    #[default]
    AtOnce,
    After(Duration),
    Never,
}

/// A message to be published if the connection ends without a goodbye.
pub(crate) struct Will {
    /// As a PUBLISH without its line end.
    pub(crate) line: Vec<u8>,
    pub(crate) qos: u8,
    /// How long it waits for the client to come back.
    pub(crate) delay: Duration,
    /// When it is published, once the connection has ended.
    pub(crate) due: Option<Instant>,
    /// What it takes of the memory, given back when it is dropped.
    pub(crate) _charge: Charge,
}

impl Session {
    pub(crate) fn new(outbox: Subscriber) -> Self {
        Self {
            outbox,
            subscriptions: Arc::default(),
            client_id: OnceLock::new(),
            terms: Mutex::default(),
        }
    }

    /// The number under which it publishes and is subscribed.
    pub(crate) fn id(&self) -> u64 {
        self.outbox.id()
    }

    pub(crate) fn outbox(&self) -> &Subscriber {
        &self.outbox
    }

    pub(crate) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    /// What its client calls itself when it comes back, if it can.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.get().map(|id| &**id)
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.terms.lock().lifecycle
    }

    /// Whether it goes on when its connection ends.
    pub(crate) fn outlasts_connection(&self) -> bool {
        self.terms.lock().expiry != Expiry::AtOnce
    }

    pub(crate) fn set_expiry(&self, expiry: Expiry) {
        self.terms.lock().expiry = expiry;
    }

    /// Sets what is published if the client is cut off, or that nothing is.
    pub(crate) fn set_will(&self, will: Option<Will>) {
        let before = std::mem::replace(&mut self.terms.lock().will, will);
        // The charge of the one before is given back here, without the lock.
        drop(before);
    }

    /// Takes the will out, so that it is published once [MQTT-3.1.2-10], if that is to be when the connection
    /// ends: at once, because it has no delay or the session ends too.
    pub(crate) fn take_will_at_end(&self) -> Option<Will> {
        let mut terms = self.terms.lock();
        let outlasts = terms.expiry != Expiry::AtOnce;
        terms.will.take_if(|will| !outlasts || will.delay.is_zero())
    }

    /// Identifiers of messages that the client has sent at QoS 2 and not released; its connection keeps
    /// them while it is there.
    pub(crate) fn take_received(&self) -> HashSet<u16, RandomState> {
        std::mem::take(&mut self.terms.lock().received)
    }

    /// Gives them back when the connection ends.
    pub(crate) fn set_received(&self, received: HashSet<u16, RandomState>) {
        self.terms.lock().received = received;
    }

    /// Its number and outbox, for another connection that asks this one to leave.
    fn is_attached(&self) -> bool {
        self.lifecycle() == Lifecycle::Attached
    }

    /// A connection serves it from now on: neither does it expire nor is its will due [MQTT-3.1.3-9] of 5.0.
    fn attach(&self) {
        let mut terms = self.terms.lock();
        terms.lifecycle = Lifecycle::Attached;
        terms.will = None;
    }

    /// Its connection has ended. Returns the moments at which something is due.
    fn detach(&self, now: Instant) -> [Option<Instant>; 2] {
        let mut terms = self.terms.lock();
        let until = match terms.expiry {
            Expiry::AtOnce => Some(now),
            Expiry::After(time) => now.checked_add(time),
            Expiry::Never => None,
        };
        terms.lifecycle = Lifecycle::Detached { until };
        let due = terms.will.as_mut().and_then(|will| {
            will.due = now.checked_add(will.delay);
            will.due
        });
        [until, due]
    }

    fn end(&self) {
        self.terms.lock().lifecycle = Lifecycle::Ended;
    }

    /// Takes the will out of a session that has ended.
    pub(crate) fn take_will(&self) -> Option<Will> {
        self.terms.lock().will.take()
    }

    /// The moments at which something is due for it, if it waits for its client.
    fn due(&self) -> [Option<Instant>; 2] {
        let terms = self.terms.lock();
        match terms.lifecycle {
            Lifecycle::Detached { until } => [until, terms.will.as_ref().and_then(|will| will.due)],
            Lifecycle::Attached | Lifecycle::Ended => [None, None],
        }
    }

    /// Takes the will out if its time has come [MQTT-3.1.2-8] of 5.0.
    fn take_due_will(&self, now: Instant) -> Option<Will> {
        let mut terms = self.terms.lock();
        terms
            .will
            .take_if(|will| will.due.is_some_and(|due| due <= now))
    }
}
