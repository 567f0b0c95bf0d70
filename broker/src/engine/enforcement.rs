//! Puts rules in force: narrows or ends the subscriptions of all sessions, and waits until nothing goes on by the rules
//! before.

use std::ops::ControlFlow;
use std::sync::Arc;

use protocol::Filter;

use crate::auth::access::{AccessTable, Denial, Sieve, Subject, SubscriptionDecision};
use crate::auth::identity::ClientIdentity;
use crate::engine::Engine;
use crate::engine::client::unsubscribe;
use crate::engine::session::clients::ClientRecord;

/// What the rules leave of a subscription.
pub(crate) enum Restriction {
    /// Topics are left out.
    Sieve(Sieve),
    /// It ends.
    Denied(Denial),
}

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
        for (filter, restriction) in restrictions(&table, &record, &identity) {
            let Ok(parsed) = Filter::parse(&*filter) else {
                continue;
            };
            let sieves = engine.router.sieves();
            match restriction {
                None => sieves.set(parsed, session.id(), None),
                Some(Restriction::Sieve(sieve)) => sieves.set(parsed, session.id(), Some(sieve)),
                Some(Restriction::Denied(denial)) => {
                    unsubscribe(engine, session, parsed);
                    tell(Withdrawn {
                        record: &record,
                        identity: &identity,
                        filter: &filter,
                        denial: &denial,
                    });
                }
            }
        }
    }
    // Publishers have routes from before. A batch that goes on delivers by them.
    engine.router.outdate_all();
    engine.clients.wait_for_batches();
}

/// What these rules leave of each subscription of a session; none for all.
pub(crate) fn restrictions(
    table: &Arc<AccessTable>,
    record: &ClientRecord,
    identity: &Arc<ClientIdentity>,
) -> Vec<(Box<str>, Option<Restriction>)> {
    let session = record.session();
    let mut filters: Vec<Box<str>> = Vec::new();
    session.subscriptions().look_at_filters(|filter| {
        filters.push(filter.into());
        ControlFlow::Continue(())
    });
    if filters.is_empty() {
        return Vec::new();
    }
    let permissions = table.permissions(Subject {
        identity,
        client_id: session.client_id(),
    });
    let decided = filters.into_iter().filter_map(|filter| {
        let parsed = Filter::parse(&*filter).ok()?;
        let restriction = match permissions.subscription(parsed) {
            SubscriptionDecision::Granted => None,
            SubscriptionDecision::Sieved(sieve) => Some(Restriction::Sieve(sieve)),
            SubscriptionDecision::Denied(denial) => Some(Restriction::Denied(denial)),
        };
        Some((filter, restriction))
    });
    decided.collect()
}
