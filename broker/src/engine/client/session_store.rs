//! The store of sessions that outlast their connections, and what is said if it does not take a change of one.

use std::time::Instant;

use crate::engine::Engine;
use crate::engine::session::Session;
use crate::storage::NotKept;
use crate::storage::store::Store;

impl Engine {
    /// Where sessions are kept that outlast their connections; none if they end with this process.
    pub(crate) fn session_store(&self) -> Option<&Store> {
        let store = self.store.get().map(|store| &**store);
        store.filter(|store| !store.is_in_memory())
    }
}

/// If the store has not kept a change of a session, of which its client is told that it is made: says so, and has the
/// store take all of it when it can.
pub(super) fn note_not_kept(
    engine: &Engine,
    store: &Store,
    session: &Session,
    kept: Result<(), NotKept>,
) {
    let Err(why) = kept else {
        return;
    };
    engine.metrics.not_kept.add(why, 1);
    store.want_snapshot();
    if let (Some(more), Some(key)) = (engine.session_log.say(Instant::now()), session.key()) {
        log::warn!(
            "session {key}: a change of it is not kept until there is room on the disk; after a crash it is as before{more}"
        );
    }
}
