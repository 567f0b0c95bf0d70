//! The thread that ends expired sessions, publishes delayed wills, and limits what waits for absent clients.

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::session::store::Due;

/// Waits for the next session or will that is due and handles it, until the broker stops.
pub(crate) fn expire_loop(engine: &Engine) {
    // The ledger counts what it publishes as the broker's own.
    let mut client = Client::internal(engine);
    while let Some(due) = engine.sessions.next_due() {
        client.begin();
        match due {
            Due::Will(will) => client.publish_message(&will),
            Due::Expired(session) => {
                engine.metrics.expired.add(1);
                client.end_session(&session);
            }
            Due::Away(session) => client.limit_absent(&session),
        }
        client.settle();
        // Cached routes would keep the outboxes of clients that have disconnected.
        client.pause();
    }
}
