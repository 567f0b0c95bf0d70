//! The session of a client: its subscriptions, its queue, its will. A session may outlive the
//! connection that began it.
//!
//! ```text
//! attached to a connection --the connection ends--> detached, until it expires --> ended
//!        ^                                                |
//!        +---------- the client comes back ---------------+
//! ```
//!
//! A session that does not outlast connections ends with its own. The outbox holds the queue and, while
//! connected, a sink; the session alone decides whether it continues.

pub(crate) mod clients;
mod expiry;
mod keep;
pub(crate) mod key;
pub(crate) mod received;
pub(crate) mod store;
pub(crate) mod stored;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::auth::identity::ClientIdentity;
use crate::engine::memory::budget::Charge;
use crate::engine::outbox::delivery::subscriptions::Subscriptions;
use crate::engine::routing::subscribers::Subscriber;
use crate::storage::now_ms;
use crate::sync::{AtomicBool, Mutex};

use key::SessionKey;
use received::ReceivedIds;
use stored::KeptParts;

pub(crate) use expiry::Expiry;

/// One session.
pub(crate) struct Session {
    /// Its number is that of the connection that began it.
    outbox: Subscriber,
    subscriptions: Arc<Subscriptions>,
    /// What its client resumes it by; none if it cannot be resumed.
    key: OnceLock<Arc<SessionKey>>,
    /// Lock order: after the store, before no other.
    terms: Mutex<SessionTerms>,
    /// It is in the list of those whose progress is to be kept.
    has_progress: AtomicBool,
}

/// The rest of a session's state, besides subscriptions and messages.
#[derive(Default)]
struct SessionTerms {
    lifecycle: Lifecycle,
    expiry: Expiry,
    /// In a box, because most clients have none and idle connections are to be small.
    will: Option<Box<Will>>,
    /// Identifiers of messages that the client has sent at QoS 2 and not released.
    received: ReceivedIds,
    /// None unless it is kept in the store.
    stored: Option<Box<KeptParts>>,
}

/// The stages of a session's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// A connection serves its client.
    #[default]
    Attached,
    /// It waits for its client to reconnect.
    Detached {
        /// When it expires; none for never.
        until: Option<Instant>,
    },
    Ended,
}

/// The message to publish if the connection ends without an orderly disconnect.
pub(crate) struct Will {
    /// A PUBLISH without its line end.
    pub(crate) line: Vec<u8>,
    pub(crate) qos: u8,
    /// Whose it is, for the rules at the time when it is published.
    pub(crate) owner: WillOwner,
    /// How long it waits for the client to reconnect.
    pub(crate) delay: Duration,
    /// When it is published, once the connection has ended.
    pub(crate) due: Option<Instant>,
    /// Its memory, released when it is dropped.
    pub(crate) _charge: Charge,
}

/// Whose a will is.
#[derive(Clone)]
pub(crate) struct WillOwner {
    pub(crate) identity: Arc<ClientIdentity>,
    pub(crate) client_id: Option<Box<str>>,
}

impl SessionTerms {
    fn stored_mut(&mut self) -> &mut KeptParts {
        self.stored.get_or_insert_default()
    }
}

impl Session {
    pub(crate) fn new(outbox: Subscriber) -> Self {
        Self {
            outbox,
            subscriptions: Arc::default(),
            key: OnceLock::new(),
            terms: Mutex::default(),
            has_progress: AtomicBool::new(false),
        }
    }

    /// The number under which it publishes and subscribes.
    pub(crate) fn id(&self) -> u64 {
        self.outbox.id()
    }

    pub(crate) fn outbox(&self) -> &Subscriber {
        &self.outbox
    }

    pub(crate) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    /// The identifier with which its client resumes it, if it can.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.key.get().map(|key| &*key.client_id)
    }

    /// What it is found by, if its client can resume it.
    pub(crate) fn key(&self) -> Option<&Arc<SessionKey>> {
        self.key.get()
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.terms.lock().lifecycle
    }

    /// The time after which it ends if its client stays away; none for never.
    pub(crate) fn expires_after(&self, now: Instant) -> Option<Duration> {
        let terms = self.terms.lock();
        match (terms.lifecycle, terms.expiry) {
            (Lifecycle::Detached { until }, _) => until.map(|until| until.duration_since(now)),
            (_, Expiry::AtOnce) => Some(Duration::ZERO),
            (_, Expiry::After(time)) => Some(time),
            (_, Expiry::Never) => None,
        }
    }

    /// Whether it outlasts its connection.
    pub(crate) fn outlasts_connection(&self) -> bool {
        self.terms.lock().expiry != Expiry::AtOnce
    }

    pub(crate) fn set_expiry(&self, expiry: Expiry) {
        self.terms.lock().expiry = expiry;
    }

    /// Sets or removes the will.
    pub(crate) fn set_will(&self, will: Option<Will>) {
        let before = std::mem::replace(&mut self.terms.lock().will, will.map(Box::new));
        // The charge of the earlier will is released here, without the lock.
        drop(before);
    }

    /// Takes the will, which is published once [MQTT-3.1.2-10], if it is due when the connection ends:
    /// it has no delay, or the session ends too.
    pub(crate) fn take_will_at_end(&self) -> Option<Will> {
        let mut terms = self.terms.lock();
        let outlasts = terms.expiry != Expiry::AtOnce;
        let will = terms.will.take_if(|will| !outlasts || will.delay.is_zero());
        will.map(|will| *will)
    }

    /// Takes the identifiers of messages that the client has sent at QoS 2 and not released; the
    /// connection keeps them while it is open.
    pub(crate) fn take_received(&self) -> ReceivedIds {
        std::mem::take(&mut self.terms.lock().received)
    }

    /// Stores them again when the connection ends.
    pub(crate) fn set_received(&self, mut received: ReceivedIds) {
        received.shrink();
        self.terms.lock().received = received;
    }

    /// Whether a connection serves it.
    fn is_attached(&self) -> bool {
        self.lifecycle() == Lifecycle::Attached
    }

    /// A connection serves it from now on: it does not expire, and its will is not published
    /// [MQTT-3.1.3-9] of 5.0.
    fn attach(&self) {
        let mut terms = self.terms.lock();
        terms.lifecycle = Lifecycle::Attached;
        terms.will = None;
        if let Some(stored) = &mut terms.stored {
            stored.away_since_ms = None;
        }
    }

    /// Its connection has ended, and it is kept for so long; none for ever. Returns the times of its expiry and its will,
    /// where they apply.
    fn detach(&self, now: Instant, left: Option<Duration>) -> [Option<Instant>; 2] {
        let mut terms = self.terms.lock();
        let until = left.and_then(|left| now.checked_add(left));
        if self.outbox.is_stored() {
            terms.stored_mut().away_since_ms.get_or_insert_with(now_ms);
        }
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

    /// Takes the will of a session that has ended.
    pub(crate) fn take_will(&self) -> Option<Will> {
        self.terms.lock().will.take().map(|will| *will)
    }

    /// The times of its expiry and its will, if it is detached.
    fn due(&self) -> [Option<Instant>; 2] {
        let terms = self.terms.lock();
        match terms.lifecycle {
            Lifecycle::Detached { until } => [until, terms.will.as_ref().and_then(|will| will.due)],
            Lifecycle::Attached | Lifecycle::Ended => [None, None],
        }
    }

    /// Takes the will if it is due [MQTT-3.1.2-8] of 5.0.
    fn take_due_will(&self, now: Instant) -> Option<Will> {
        let mut terms = self.terms.lock();
        terms
            .will
            .take_if(|will| will.due.is_some_and(|due| due <= now))
            .map(|will| *will)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::tests::outbox;

    #[test]
    fn a_session_shows_how_long_it_outlasts_its_connection_and_then_how_long_still() {
        let session = Session::new(outbox(1, 100, 100).0);
        let now = Instant::now();
        let (all, part) = (Duration::from_secs(60), Duration::from_secs(20));
        for (expiry, time) in [
            (Expiry::AtOnce, Some(Duration::ZERO)),
            (Expiry::Never, None),
            (Expiry::After(all), Some(all)),
        ] {
            session.set_expiry(expiry);
            assert_eq!(session.expires_after(now), time);
        }
        session.detach(now, Some(all));
        assert_eq!(session.expires_after(now + part), Some(all - part));
        session.set_expiry(Expiry::Never);
        session.detach(now, None);
        assert_eq!(session.expires_after(now + part), None);
    }
}
