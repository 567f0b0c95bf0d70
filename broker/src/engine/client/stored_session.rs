//! Keeps in the store what a session is made of, before its client is told that it is so.

use std::sync::Arc;

use protocol::Filter;

use super::Client;
use super::session_store::note_not_kept;
use super::subscribe::{PermittedFilter, SubscribeError, Subscribed};
use super::unsubscribe::unsubscribe;
use crate::engine::history::History;
use crate::engine::outbox::delivery::in_flight::{Ack, AckEffect};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::following::Present;
use crate::engine::session::Session;
use crate::engine::session::received::ReceivedIds;
use crate::storage::NotKept;
use crate::storage::store::Store;

impl Client<'_> {
    /// Has something of the session kept, if it is in the store.
    pub(super) fn keep_session(
        &self,
        keep: impl FnOnce(&Session, &Store) -> Result<(), NotKept>,
    ) -> Result<(), NotKept> {
        let store = self.engine.session_store();
        store.map_or(Ok(()), |store| keep(&self.session, store))
    }

    /// The same, for a change of which the client is told in any case.
    fn keep_session_or_say(&self, keep: impl FnOnce(&Session, &Store) -> Result<(), NotKept>) {
        if let Some(store) = self.engine.session_store() {
            note_not_kept(
                self.engine,
                store,
                &self.session,
                keep(&self.session, store),
            );
        }
    }

    /// The connection has ended: keeps how far its client is.
    pub(super) fn keep_last_progress(&self) {
        if let Some(history) = self.engine.router.history() {
            self.keep_session_or_say(|session, store| {
                session.keep_progress(store, || *history.tail().lock())
            });
        }
    }

    /// Keeps since when its client is away.
    pub(super) fn keep_terms(&self) {
        self.keep_session_or_say(Session::keep_terms);
    }

    /// A session has ended.
    pub(super) fn keep_end_of(&self, session: &Session) {
        if let Some(store) = self.engine.session_store() {
            note_not_kept(self.engine, store, session, session.keep_end(store));
        }
    }

    /// The client is away: what comes for the session stays in the log.
    pub(super) fn pause_following(&self) {
        if let Some(history) = self.engine.router.history() {
            // Lock order: the end of the log, then the outbox.
            let tail = history.tail().lock();
            self.outbox.lock().pause_following(*tail);
        }
    }

    /// Handles the acknowledgement of a message that the session keeps.
    pub(crate) fn acknowledge(&self, id: u16, ack: Ack) -> AckEffect {
        let acknowledge = || self.outbox.lock().acknowledge(id, ack);
        if !self.session.is_stored() {
            return acknowledge();
        }
        let is_release = ack == Ack::Received { refused: false };
        let released = match is_release {
            true => (self.outbox.lock().delivery()).and_then(|it| it.to_be_released(id)),
            false => None,
        };
        let mut effect = None;
        if let Some(number) = released {
            // PUBREL follows, and then the message must not be sent again [MQTT-4.3.3-6], also by the next process.
            self.keep_session_or_say(|session, store| {
                session.keep_released(store, number, || effect = Some(acknowledge()))
            });
        }
        let effect = effect.unwrap_or_else(acknowledge);
        self.engine.sessions.note_progress(&self.session);
        effect
    }

    /// Keeps the identifiers that the client has used at QoS 2 and not released, with what was published with them.
    pub(crate) fn keep_received(&mut self, buffer: &[u8], ids: &ReceivedIds) {
        let Some(store) = self.engine.session_store() else {
            return;
        };
        if !self.session.is_stored() {
            return;
        }
        self.last = None;
        let dispatch = &mut self.dispatch;
        let messages = dispatch.messages_to_keep();
        let deliver = |record| dispatch.deliver_with(buffer, record);
        let kept = self.session.keep_received(store, ids, messages, deliver);
        note_not_kept(self.engine, store, &self.session, kept);
        if let Some(kept) = self.dispatch.take_kept() {
            self.note_kept(&kept);
        }
    }

    /// Whether the session gets from the log what this subscription matches.
    pub(super) fn follows_with(&self, filter: Filter<'_>, options: SubscriptionOptions) -> bool {
        // Of a message in the log it is not known whose it is, and to groups it is given by its publisher.
        let is_logged = !options.no_local && filter.group().is_none();
        // One that had a higher QoS before goes on to get what came then [MQTT-3.8.4-4].
        let follows = || options.qos > 0 || self.outbox.lock().follows(filter.as_str());
        is_logged && self.session.is_stored() && follows()
    }

    /// Registers a subscription of a session in the store, which gets from the log what it has to acknowledge. The caller
    /// holds the lock of the retained messages, and has a follower present, so that nothing is waited for.
    pub(super) fn enter_followed(
        &mut self,
        history: &Arc<History>,
        permitted: PermittedFilter<'_>,
        options: SubscriptionOptions,
    ) -> Result<bool, SubscribeError> {
        let filter = permitted.filter;
        let is_known = self.take_room(permitted)?;
        self.session.subscriptions().insert(filter, options);
        let present = Present::new(history);
        // What is retained is not new, and what is on its way comes from the log.
        let from = history.now();
        // Lock order: the retained messages, the end of the log, the outbox, the registry.
        let tail = history.tail().lock();
        let outbox = self.outbox.clone();
        let mut guard = outbox.lock();
        if !guard.follows(filter.as_str()) {
            self.engine.router.follow(filter, &outbox);
            let me = (&outbox, &self.engine.catch_up, present);
            guard.follow(filter.as_str(), from, None, me, *tail);
        }
        Ok(is_known)
    }

    /// Keeps subscriptions that were made. One that cannot be kept is taken back.
    pub(super) fn keep_subscriptions(
        &self,
        filters: &[Option<Filter<'_>>],
        made: &mut [Result<Subscribed, SubscribeError>],
    ) {
        if !self.session.is_stored() {
            return;
        }
        for (filter, made) in filters.iter().zip(made) {
            let Some(filter) = filter.filter(|_| made.is_ok()) else {
                continue;
            };
            let kept =
                self.keep_session(|session, store| session.keep_filter(store, filter.as_str()));
            if let Err(why) = kept {
                unsubscribe(self.engine, &self.session, filter);
                *made = Err(SubscribeError::NotKept(why));
            }
        }
    }
}
