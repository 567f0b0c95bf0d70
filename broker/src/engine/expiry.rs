//! The thread that ends sessions whose clients stay away, and publishes their wills, when their time has
//! come.

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::session::store::Due;

/// Waits for what is due, and does it, until the broker stops.
pub(crate) fn expire_loop(engine: &Engine) {
    // What it publishes is in the ledger as the broker's own.
    let mut client = Client::internal(engine);
    while let Some(due) = engine.sessions.next_due() {
        client.begin();
        match due {
            Due::Will(will) => client.publish_message(&will),
            Due::Expired(session) => client.end_session(&session),
        }
        client.settle();
        // The routes it remembers would keep the outboxes of subscribers that have left.
        client.pause();
    }
}
