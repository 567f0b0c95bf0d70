//! Ends subscriptions, in the registry and in the store.

use protocol::Filter;

use crate::engine::Engine;
use crate::engine::outbox::delivery::subscriptions::subscription_bytes;
use crate::engine::session::Session;

use super::session_store::note_not_kept;

/// Ends a subscription of a session. Returns whether it existed.
pub(crate) fn unsubscribe(engine: &Engine, session: &Session, filter: Filter<'_>) -> bool {
    let was_there = session.subscriptions().remove(filter.as_str());
    if was_there {
        let bytes = subscription_bytes(filter.as_str());
        engine.memory.give_back_subscriptions(bytes);
        // Queued messages of this filter stay queued and are still delivered [MQTT-3.10.4-3].
        engine.router.unsubscribe(filter, session.outbox());
        engine.router.sieves().set(filter, session.id(), None);
        let mut guard = session.outbox().lock();
        // Removing a policy never fails.
        let _ = guard.choose(filter, None);
        guard.forget_walk(filter.as_str());
        guard.unfollow(filter.as_str());
        drop(guard);
        if let Some(store) = engine.session_store() {
            let kept = session.keep_filter(store, filter.as_str());
            note_not_kept(engine, store, session, kept);
        }
    }
    was_there
}

/// Removes the subscriptions of a closed session from the registry.
pub(super) fn forget(engine: &Engine, session: &Session) {
    let filters = session.subscriptions().take_all();
    let bytes = filters.iter().map(|filter| subscription_bytes(filter));
    engine.memory.give_back_subscriptions(bytes.sum());
    for text in filters {
        if let Ok(filter) = Filter::parse(text.as_bytes()) {
            engine.router.forget(filter, session.id());
            engine.router.sieves().set(filter, session.id(), None);
        }
    }
}
