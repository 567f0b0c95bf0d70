//! What all conversations of the web chat share.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::sync::RwLock;
use crate::wire::room::Rooms;

/// The web chat of a broker.
#[derive(Default)]
pub(crate) struct WebChat {
    rooms: Arc<Rooms>,
    sessions: Arc<ChatSessions>,
}

impl WebChat {
    /// The web chat with the rooms of the broker.
    pub(crate) fn new(rooms: Arc<Rooms>) -> Self {
        Self {
            rooms,
            sessions: Arc::default(),
        }
    }

    pub(super) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    pub(super) fn sessions(&self) -> &Arc<ChatSessions> {
        &self.sessions
    }
}

/// The numbers of the sessions of its clients. Each of these publishes an object with every text, so its
/// texts are not for the others of the web chat.
#[derive(Default)]
pub(super) struct ChatSessions(RwLock<HashSet<u64, RandomState>>);

impl ChatSessions {
    /// Counts a session in, until the returned value is dropped.
    pub(super) fn enter(&self, session: u64) -> ChatSession<'_> {
        self.0.write().insert(session);
        ChatSession(self, session)
    }

    pub(super) fn contains(&self, session: u64) -> bool {
        self.0.read().contains(&session)
    }
}

/// One of the sessions.
pub(super) struct ChatSession<'a>(&'a ChatSessions, u64);

impl Drop for ChatSession<'_> {
    fn drop(&mut self) {
        self.0.0.write().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_there_until_it_ends() {
        let sessions = ChatSessions::default();
        let session = sessions.enter(7);
        assert!(sessions.contains(7) && !sessions.contains(8));
        drop(session);
        assert!(!sessions.contains(7));
    }
}
