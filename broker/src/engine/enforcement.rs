//! Puts rules in force: narrows or ends the subscriptions of all sessions, and waits until nothing goes on by the rules
//! before.

use std::ops::ControlFlow;

use protocol::Filter;

use crate::auth::access::{Denial, Permissions, Sieve, SubscriptionDecision};
use crate::auth::identity::ClientIdentity;
use crate::engine::Engine;
use crate::engine::access::permissions_by;
use crate::engine::client::unsubscribe;
use crate::engine::session::Session;
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

/// Narrows or ends the subscriptions of a session; `tell` is called for each that has ended. Routes from before are
/// outdated by the caller.
pub(crate) fn restrict(
    engine: &Engine,
    session: &Session,
    permissions: &Permissions,
    mut tell: impl FnMut(&str, &Denial),
) {
    let sieves = engine.router.sieves();
    for (filter, restriction) in restrictions(permissions, session) {
        let Ok(parsed) = Filter::parse(&*filter) else {
            continue;
        };
        match restriction {
            None => sieves.set(parsed, session.id(), None),
            Some(Restriction::Sieve(sieve)) => sieves.set(parsed, session.id(), Some(sieve)),
            Some(Restriction::Denied(denial)) => {
                unsubscribe(engine, session, parsed);
                tell(&filter, &denial);
            }
        }
    }
}

/// What these permissions leave of each subscription of a session; none for all.
pub(crate) fn restrictions(
    permissions: &Permissions,
    session: &Session,
) -> Vec<(Box<str>, Option<Restriction>)> {
    let mut filters: Vec<Box<str>> = Vec::new();
    session.subscriptions().look_at_filters(|filter| {
        filters.push(filter.into());
        ControlFlow::Continue(())
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
