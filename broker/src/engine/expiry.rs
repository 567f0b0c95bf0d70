//! What happens to clients that are away: their sessions end and their wills are published when the
//! time has come.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::outbox::{Outbox, Sink};
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::store::Due;

/// Sees to it until the broker stops.
pub(crate) fn end_absent(engine: &Engine) {
    while let Some(due) = engine.seats.next_due() {
        on_behalf(engine, |client| match due {
            Due::Will(will) => client.publish_message(&will),
            Due::Ended(ended) => client.end_session(ended),
        });
    }
}

/// Does something for a client that is not connected. What it publishes is entered in the ledger.
fn on_behalf(engine: &Engine, act: impl FnOnce(&mut Client<'_>)) {
    let memory = engine.memory.clone();
    let outbox = Outbox::new(
        0,
        0,
        memory,
        &crate::wire::mqtt::ENCODER_5,
        Box::new(Nowhere),
    );
    let record = Arc::new(ClientRecord::absent(
        Arc::new(outbox),
        ([0, 0, 0, 0], 0).into(),
    ));
    engine.clients.enter(record.clone());
    let mut client = Client::new(engine, &record);
    client.begin();
    act(&mut client);
    client.settle();
    engine.clients.leave(&record);
}

/// For an outbox that nobody writes to.
struct Nowhere;

impl Sink for Nowhere {
    fn send(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn arm(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
}
