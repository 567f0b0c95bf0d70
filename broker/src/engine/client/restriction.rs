//! What the rules leave of the subscriptions of a session.

use std::ops::ControlFlow;

use protocol::Filter;

use super::unsubscribe::unsubscribe;
use crate::auth::access::{Denial, Permissions, Sieve, SubscriptionDecision};
use crate::engine::Engine;
use crate::engine::session::Session;

/// What the rules leave of a subscription.
pub(crate) enum Restriction {
    /// Topics are left out.
    Sieve(Sieve),
    /// It ends.
    Denied(Denial),
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
