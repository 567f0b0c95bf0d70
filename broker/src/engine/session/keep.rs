//! Has the store keep what a session is made of: the parts that `stored` lists.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::received::ReceivedIds;
use super::stored::{
    FILTER, KeptParts, PROGRESS, RECEIVED, RELEASED, StoredProgress, StoredSession,
    StoredSubscription, StoredTerms, StoredWill, TERMS,
};
use super::{Lifecycle, Session};
use crate::engine::outbox::delivery::logged::LoggedProgress;
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::storage::record::{Record, SessionRecord};
use crate::storage::store::Store;
use crate::storage::{NotKept, SnapshotWriter};

/// Messages in flight of which the numbers are written to the log every tenth of a second. With more, that is less often.
const OUTSTANDING_AT_A_TIME: usize = 64;

/// What is written of a session.
trait PartWriter {
    fn write(&mut self, part: &str, value: Vec<u8>) -> Result<(), NotKept>;
}

/// Writes records of a session to the log.
struct LogParts<'s> {
    store: &'s Store,
    key: Vec<u8>,
}

struct SnapshotParts<'s> {
    snapshot: &'s mut SnapshotWriter,
    key: Vec<u8>,
}

impl PartWriter for LogParts<'_> {
    fn write(&mut self, part: &str, value: Vec<u8>) -> Result<(), NotKept> {
        let record = SessionRecord {
            key: &self.key,
            part: part.as_bytes(),
            value: &value,
            messages: 0,
        };
        self.store.keep(&Record::Session(record)).map(drop)
    }
}

impl PartWriter for SnapshotParts<'_> {
    fn write(&mut self, part: &str, value: Vec<u8>) -> Result<(), NotKept> {
        if !value.is_empty() {
            self.snapshot.write(&Record::Session(SessionRecord {
                key: &self.key,
                part: part.as_bytes(),
                value: &value,
                messages: 0,
            }));
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("all map keys are strings")
}

impl Session {
    /// Whether it is kept in the store.
    pub(crate) fn is_stored(&self) -> bool {
        self.outbox.is_stored()
    }

    /// Goes on with what a store has of it: what it has subscribed to is known, and nothing was sent. `end` is the end of
    /// the log.
    pub(crate) fn restore(&self, stored: &StoredSession, end: u64) {
        let _ = self.key.set(Arc::new(stored.key.clone()));
        // When its client left, it was kept how far that was; otherwise it may have been sent everything.
        let sent = match stored.terms.away_since_ms {
            Some(_) => stored.progress.next,
            None => end,
        };
        if let Some(delivery) = self.outbox.lock().delivery() {
            delivery.go_on(stored.progress.clone(), sent);
        }
        let mut terms = self.terms.lock();
        terms.expiry = stored.terms.expiry;
        terms.received = stored.received.iter().copied().collect();
        *terms.stored_mut() = KeptParts {
            away_since_ms: stored.terms.away_since_ms,
            released: stored.progress.released.clone(),
            received: stored.received.clone(),
            rests: 0,
        };
    }

    /// Has what `write` writes of it kept, in turn with other changes of it.
    fn keep(
        &self,
        store: &Store,
        write: impl FnOnce(&Self, &mut dyn PartWriter) -> Result<(), NotKept>,
    ) -> Result<(), NotKept> {
        let Some(key) = self.key().filter(|_| self.is_stored()) else {
            return Ok(());
        };
        // Lock order: the turn, then the end of the log as followers see it, the outbox, the subscriptions, the terms, one
        // after the other; and the log.
        let _turn = store.turn(&key.to_string());
        let key = key.to_bytes();
        write(self, &mut LogParts { store, key })
    }

    /// Keeps its terms.
    pub(crate) fn keep_terms(&self, store: &Store) -> Result<(), NotKept> {
        self.keep(store, |session, parts| session.write_terms(parts))
    }

    /// Keeps that it has this subscription now, or has it no more.
    pub(crate) fn keep_filter(&self, store: &Store, filter: &str) -> Result<(), NotKept> {
        self.keep(store, |session, parts| {
            let options = session.subscriptions.get(filter);
            session.write_filter(filter, options, parts)
        })
    }

    /// Keeps how far its client is. `tail` says the end of the log as followers see it.
    pub(crate) fn keep_progress(
        &self,
        store: &Store,
        tail: impl Fn() -> u64,
    ) -> Result<(), NotKept> {
        self.keep(store, |session, parts| {
            let progress = session.write_progress(tail(), parts)?;
            let mut terms = session.terms.lock();
            terms.stored_mut().rests = progress.outstanding.len() / OUTSTANDING_AT_A_TIME;
            // What lies behind the end of what is done would be sent again after a start.
            let is_complete =
                |number: &u64| !progress.released.contains(number) && *number < progress.next;
            let released = terms
                .stored_mut()
                .released
                .extract_if(.., |it| is_complete(it));
            let complete: Vec<u64> = released.collect();
            drop(terms);
            complete
                .into_iter()
                .try_for_each(|number| parts.write(&format!("{RELEASED}{number}"), Vec::new()))
        })
    }

    /// Whether its progress is not kept at this time, because it was lately and takes much.
    pub(crate) fn rests(&self) -> bool {
        let mut terms = self.terms.lock();
        let Some(stored) = &mut terms.stored else {
            return false;
        };
        let rests = stored.rests > 0;
        stored.rests = stored.rests.saturating_sub(1);
        rests
    }

    /// Keeps that its client has received the message with this number in the log, and then has that acknowledged.
    pub(crate) fn keep_released(
        &self,
        store: &Store,
        number: u64,
        acknowledge: impl FnOnce(),
    ) -> Result<(), NotKept> {
        self.keep(store, |session, parts| {
            session.terms.lock().stored_mut().released.insert(number);
            let written = parts.write(&format!("{RELEASED}{number}"), json(&true));
            // In the same turn, so that it is not taken for one that is complete.
            acknowledge();
            written
        })
    }

    /// Keeps the identifiers of messages that it has received at QoS 2. Right before `messages` that
    /// came with them `append` has a record kept, so that both are or neither; it returns false if it cannot.
    pub(crate) fn keep_received(
        &self,
        store: &Store,
        ids: &ReceivedIds,
        messages: u32,
        append: impl FnOnce(Vec<u8>) -> bool,
    ) -> Result<(), NotKept> {
        self.keep(store, |session, parts| {
            let ids: Vec<u16> = ids.iter().collect();
            let value = json(&ids);
            let mut record = Vec::new();
            let key = session.key().map(|key| key.to_bytes());
            let ahead = Record::Session(SessionRecord {
                key: &key.unwrap_or_default(),
                part: RECEIVED.as_bytes(),
                value: &value,
                messages,
            });
            ahead.encode(&mut record);
            let written = match append(record) {
                true => Ok(()),
                false => parts.write(RECEIVED, value),
            };
            // Behind the messages: a snapshot must not have the identifiers of such as the log has not.
            session.terms.lock().stored_mut().received = ids;
            written
        })
    }

    /// Keeps that it has ended.
    pub(crate) fn keep_end(&self, store: &Store) -> Result<(), NotKept> {
        self.keep(store, |_, parts| parts.write("", Vec::new()))
    }

    /// Writes all of it to a snapshot.
    pub(crate) fn write(&self, snapshot: &mut SnapshotWriter, tail: u64) {
        let Some(key) = self.key().filter(|_| self.is_stored()) else {
            return;
        };
        if self.lifecycle() == Lifecycle::Ended {
            return;
        }
        let key = key.to_bytes();
        let mut parts = SnapshotParts { snapshot, key };
        // Writing to a snapshot fails at its end, if at all.
        let _ = self.write_terms(&mut parts);
        for (filter, options) in self.subscriptions.all() {
            let _ = self.write_filter(&filter, Some(options), &mut parts);
        }
        let _ = self.write_progress(tail, &mut parts);
        let terms = self.terms.lock();
        let stored = terms.stored.as_deref().cloned().unwrap_or_default();
        drop(terms);
        for number in stored.released {
            let _ = parts.write(&format!("{RELEASED}{number}"), json(&true));
        }
        if !stored.received.is_empty() {
            let _ = parts.write(RECEIVED, json(&stored.received));
        }
    }

    fn write_terms(&self, parts: &mut dyn PartWriter) -> Result<(), NotKept> {
        let terms = self.terms.lock();
        let will = terms.will.as_ref().map(|will| StoredWill {
            line: STANDARD.encode(&will.line),
            qos: will.qos,
            delay_ms: will.delay.as_millis() as u64,
        });
        let stored = StoredTerms {
            expiry: terms.expiry,
            away_since_ms: terms.stored.as_ref().and_then(|it| it.away_since_ms),
            will,
        };
        drop(terms);
        parts.write(TERMS, json(&stored))
    }

    fn write_filter(
        &self,
        filter: &str,
        options: Option<SubscriptionOptions>,
        parts: &mut dyn PartWriter,
    ) -> Result<(), NotKept> {
        let value = options.map(|options| {
            let from = self.outbox.lock().followed_from(filter);
            json(&StoredSubscription::new(options, from))
        });
        parts.write(&format!("{FILTER}{filter}"), value.unwrap_or_default())
    }

    fn write_progress(
        &self,
        tail: u64,
        parts: &mut dyn PartWriter,
    ) -> Result<LoggedProgress, NotKept> {
        let progress = self.outbox.lock().progress(tail).unwrap_or_default();
        let stored = StoredProgress {
            next: progress.next,
            outstanding: progress.outstanding.clone(),
        };
        parts.write(PROGRESS, json(&stored))?;
        Ok(progress)
    }
}
