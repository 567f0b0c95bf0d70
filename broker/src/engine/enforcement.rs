//! Puts rules in force: narrows or ends the subscriptions of all sessions, and waits until nothing goes on by the rules
//! before.

use crate::auth::access::Denial;
use crate::auth::identity::ClientIdentity;
use crate::engine::Engine;
use crate::engine::access::permissions_by;
use crate::engine::client::restrict;
use crate::engine::session::clients::ClientRecord;

/// A subscription that has ended.
pub(crate) struct Withdrawn<'a> {
    pub(crate) record: &'a ClientRecord,
    pub(crate) identity: &'a ClientIdentity,
    pub(crate) filter: &'a str,
    pub(crate) denial: &'a Denial,
}

/// Puts the current rules in force; `tell` is called for each subscription that has ended. From the return on
/// nothing is done or delivered by other rules, but for what was in an outbox before. The calling thread must be in
/// no batch.
pub(crate) fn enforce(engine: &Engine, mut tell: impl FnMut(Withdrawn<'_>)) {
    // From here on each batch begins with the current rules; when this returns, none goes on with others, so no
    // subscription is made by them any more.
    engine.clients.wait_for_batches();
    let table = engine.access.table();
    for record in engine.clients.present() {
        let identity = record.identity();
        let session = record.session();
        let permissions = permissions_by(&table, &identity, session.client_id());
        restrict(engine, session, &permissions, |filter, denial| {
            tell(Withdrawn {
                record: &record,
                identity: &identity,
                filter,
                denial,
            });
        });
    }
    // Publishers have routes from before. A batch that goes on delivers by them.
    engine.router.outdate_all();
    engine.clients.wait_for_batches();
}
