//! What of the answers a client may see: nothing about topics that it may not subscribe to, and about others only with
//! the right to inquire.

use protocol::{Filter, Topic};

use super::what::What;
use crate::auth::access::{Permissions, SubscriptionDecision};
use crate::auth::identity::IdentityName;
use crate::engine::client::{Client, Denied};
use crate::engine::session::clients::ClientRecord;

/// What one client may see.
pub(super) struct Sight<'c> {
    /// None for all.
    permissions: Option<&'c Permissions>,
    /// Only the connections and sessions of this identity.
    own: Option<IdentityName>,
    /// Only what these allow, too: of another identity, whose view the client asks for.
    other: Option<Permissions>,
    /// Nothing about topics.
    is_blind: bool,
}

impl<'c> Sight<'c> {
    /// For this question of a client.
    pub(super) fn of(client: &'c Client<'_>, what: What) -> Result<Self, Denied> {
        let permissions = client.permissions();
        // Connections and sessions have one right. Without it a client sees its own.
        if matches!(what, What::Who | What::Sessions) {
            let is_allowed = permissions.is_none_or(|it| it.may_inquire("who").is_ok());
            let own = (!is_allowed).then(|| client.identity().name.clone());
            if !is_allowed && client.is_shut_out() {
                client.check_inquiry("who")?;
            }
            return Ok(Self {
                permissions,
                own,
                other: None,
                is_blind: false,
            });
        }
        // About others `may` asks for the right itself.
        if what != What::May {
            client.check_inquiry(what.word())?;
        }
        Ok(Self {
            permissions,
            own: None,
            other: None,
            is_blind: false,
        })
    }

    /// What both it and another identity may see of topics; nothing if that one may not ask.
    pub(super) fn shared_with(&self, other: Permissions, may_ask: bool) -> Self {
        Self {
            permissions: self.permissions,
            own: self.own.clone(),
            other: Some(other),
            is_blind: !may_ask,
        }
    }

    pub(super) fn record(&self, record: &ClientRecord) -> bool {
        let own = self.own.as_ref();
        own.is_none_or(|own| record.identity().name == *own)
    }

    pub(super) fn topic(&self, name: &str) -> bool {
        let mut all = self.all();
        !self.is_blind
            && all
                .all(|permissions| Topic::parse(name).is_ok_and(|topic| permissions.may_see(topic)))
    }

    pub(super) fn filter(&self, text: &str) -> bool {
        let mut all = self.all();
        !self.is_blind
            && all.all(|permissions| {
                let decision = Filter::parse(text).map(|filter| permissions.subscription(filter));
                decision.is_ok_and(|it| !matches!(it, SubscriptionDecision::Denied(_)))
            })
    }

    fn all(&self) -> impl Iterator<Item = &Permissions> {
        self.permissions.into_iter().chain(&self.other)
    }
}
