//! The sessions in the store: how a start takes them back, and what of the log they need.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Filter, Name};

use crate::auth::identity::ClientIdentity;
use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::limits::CachedLimits;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::delivery::DeliveryState;
use crate::engine::outbox::delivery::subscriptions::subscription_bytes;
use crate::engine::outbox::delivery::writer::Unattached;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::stored::{StoredSession, StoredWill};
use crate::engine::session::{Session, Will, WillOwner};
use crate::engine::stored_sessions::StoredSessions;
use crate::storage::{SnapshotWriter, now_ms};

impl Engine {
    /// Takes sessions back, whose clients are away then. Returns the number of those that cannot be read.
    pub(super) fn restore_sessions(&self, sessions: StoredSessions) -> u64 {
        let Some(history) = self.router.history() else {
            return 0;
        };
        let end = history.next();
        let mut unreadable = 0;
        for (key, parts) in sessions {
            match StoredSession::read(&key, &parts) {
                Some(stored) => self.restore_session(&stored, end),
                None => unreadable += 1,
            }
        }
        unreadable
    }

    fn restore_session(&self, stored: &StoredSession, end: u64) {
        let id = self.clients.next_id();
        let outbox = Outbox::away(id, self.limits.load().outbox_bytes, self.memory.clone());
        let outbox = Arc::new(outbox);
        let unspecified = ([0, 0, 0, 0], 0).into();
        let record = Arc::new(ClientRecord::new(outbox.clone(), unspecified));
        let owner = Arc::new(ClientIdentity::restored(stored.key.owner.clone()));
        record.set_identity(Some(owner.clone()));
        // Lists of clients show the identifier if it is a valid name.
        if let Ok(name) = Name::parse(stored.key.client_id.as_bytes()) {
            record.set_name(name.as_str());
        }
        let session = record.own_session();
        let delivery = DeliveryState::new(
            id,
            CachedLimits::new(&self.limits),
            session.subscriptions().clone(),
            Box::new(Unattached),
            self.memory.charge(0),
        );
        drop(outbox.begin_session(&Encoder::NONE, delivery));
        outbox.detach();
        outbox.set_stored();
        session.restore(stored, end);
        self.restore_subscriptions(session, stored);
        let will = stored.terms.will.as_ref();
        session.set_will(will.and_then(|will| self.restored_will(will, stored, owner)));
        self.clients.restore(record.clone());
        let left = stored.terms.time_left(now_ms());
        self.sessions.restore(session, left);
    }

    fn restore_subscriptions(&self, session: &Session, stored: &StoredSession) {
        let outbox = session.outbox();
        let mut followed = Vec::new();
        for (text, subscription) in &stored.subscriptions {
            let Ok(filter) = Filter::parse(text.as_bytes()) else {
                continue;
            };
            // Whatever there is room for: it was there before.
            self.memory
                .restore_subscription(subscription_bytes(filter.as_str()));
            session
                .subscriptions()
                .insert(filter, subscription.options());
            match subscription.from {
                Some(from) => {
                    followed.push((text.clone(), from));
                    self.router.follow(filter, outbox);
                }
                None => self.router.subscribe(filter, outbox),
            }
        }
        session
            .subscriptions()
            .set_owner(&self.usages.of(&stored.key.owner));
        if let Some(from) = followed.iter().map(|(_, from)| *from).min() {
            let next = stored.progress.first().max(from);
            let mut guard = outbox.lock();
            guard.follow_while_away(followed, next, (outbox, &self.catch_up));
        }
    }

    fn restored_will(
        &self,
        will: &StoredWill,
        stored: &StoredSession,
        identity: Arc<ClientIdentity>,
    ) -> Option<Will> {
        let line = will.line()?;
        Some(Will {
            qos: will.qos,
            owner: WillOwner {
                identity,
                client_id: Some(stored.key.client_id.clone()),
            },
            delay: Duration::from_millis(will.delay_ms),
            due: None,
            _charge: self.memory.charge(line.len()),
            line,
        })
    }

    /// Keeps how far clients are that have acknowledged something.
    pub(super) fn keep_sessions_progress(&self) {
        let (Some(store), Some(history)) = (self.store.get(), self.router.history()) else {
            return;
        };
        for session in self.sessions.take_progressed() {
            let is_kept = !session.rests()
                && session
                    .keep_progress(store, || *history.tail().lock())
                    .is_ok();
            if !is_kept {
                // Next time.
                self.sessions.note_progress(&session);
            }
        }
    }

    /// The number of the oldest message in the log that a session needs and for which there is room; one behind all if none
    /// needs any.
    pub(super) fn oldest_of_sessions(&self, history: &History) -> u64 {
        // Before the places of the sessions are read: those that are live are at this one or behind it.
        let tail = *history.tail().lock();
        let sessions = self.sessions.find(|_| true).into_iter();
        let stored = sessions.filter(|session| session.is_stored());
        let firsts = stored.filter_map(|session| {
            // Under no other lock: the others were held for a copy each.
            let progress = session.outbox().lock().progress(tail);
            progress.map(|progress| progress.first())
        });
        firsts
            .min()
            .unwrap_or(u64::MAX)
            .max(history.forgotten_before())
    }

    /// Writes all of them to a snapshot.
    pub(super) fn write_sessions(&self, snapshot: &mut SnapshotWriter) {
        let Some(history) = self.router.history() else {
            return;
        };
        for session in self.sessions.find(|_| true) {
            let tail = *history.tail().lock();
            session.write(snapshot, tail);
        }
    }
}
