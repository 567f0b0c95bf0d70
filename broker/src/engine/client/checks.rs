//! Whether a client may do what it asks for. Each denial is counted, noted and told.

use std::time::Instant;

use protocol::{Filter, Topic};

use super::Client;
use super::publish::PublishError;
use super::restriction::restrict;
use super::rights::{Denied, Rights};
use crate::auth::access::{Denial, Permissions, Sieve, SubscriptionDecision};
use crate::engine::session::Will;

impl Client<'_> {
    /// What it may do; none if it is the broker itself.
    pub(crate) fn permissions(&self) -> Option<&Permissions> {
        self.rights.permissions.as_ref()
    }

    /// Takes the rules in force, if they or what is known of the client's identity have changed.
    #[inline]
    pub(super) fn refresh_rights(&mut self) {
        if self.engine.access.version() != self.rights.version {
            self.renew_rights();
        }
    }

    /// Takes the rules in force for the identity that the client has now.
    // Out of line: it is rare.
    #[inline(never)]
    pub(super) fn renew_rights(&mut self) {
        if self.rights.permissions.is_none() {
            return;
        }
        let access = &self.engine.access;
        // Read first: if the rules change in between, the next batch asks again.
        let version = access.version();
        let client_id = self.session.client_id().or(self.client_id.as_deref());
        let identity = self.record.identity();
        let permissions = access.permissions(&identity, client_id);
        self.rights = Rights::of(version, permissions, access.limits_of(&identity));
        self.note_rates();
        // Topics in the route cache need no check, so none may stay there.
        self.last = None;
        self.dispatch.deliver(&[]);
        self.dispatch.forget();
    }

    /// Whether it may do nothing before it says who it is.
    pub(crate) fn is_shut_out(&self) -> bool {
        let permissions = self.permissions();
        permissions.is_some_and(|permissions| !permissions.may_anything())
    }

    /// Whether it may publish on this topic, which is not the broker's.
    pub(super) fn check_publish(&self, topic: Topic<'_>, retain: bool) -> Result<(), PublishError> {
        let Some(permissions) = self
            .permissions()
            .filter(|_| !self.rights.publishes_anywhere)
        else {
            return Ok(());
        };
        let (right, asked) = match retain {
            true => ("retain", permissions.may_retain(topic)),
            false => ("publish", permissions.may_publish(topic)),
        };
        Ok(self.decided(right, topic.as_str(), asked)?)
    }

    /// Whether it may have this will.
    pub(crate) fn check_will(&self, topic: Topic<'_>, retain: bool) -> Result<(), Denied> {
        let asked = self.permissions().map(|it| it.may_set_will(topic, retain));
        self.decided("will", topic.as_str(), asked.unwrap_or(Ok(())))
    }

    /// Whether it may subscribe to this filter; with a sieve to a part of it.
    pub(super) fn check_filter(&self, filter: Filter<'_>) -> Result<Option<Sieve>, Denied> {
        if self.rights.subscribes_anywhere && !filter.as_str().starts_with('$') {
            return Ok(None);
        }
        self.check_filter_by_rules(filter)
    }

    // Out of line: a search of the rules is deep, and would need another page of the stack of every client that
    // subscribes.
    #[inline(never)]
    fn check_filter_by_rules(&self, filter: Filter<'_>) -> Result<Option<Sieve>, Denied> {
        let Some(permissions) = self.permissions() else {
            return Ok(None);
        };
        match permissions.subscription(filter) {
            SubscriptionDecision::Granted => Ok(None),
            SubscriptionDecision::Sieved(sieve) => Ok(Some(sieve)),
            SubscriptionDecision::Denied(denial) => {
                self.decided("subscribe", filter.as_str(), Err(denial))?;
                Ok(None)
            }
        }
    }

    /// Whether publishers may have to wait for it.
    pub(crate) fn check_block(&self) -> Result<(), Denied> {
        let asked = self.permissions().map(Permissions::may_block);
        self.decided("block", "", asked.unwrap_or(Ok(())))
    }

    /// Whether it may have this client identifier.
    pub(crate) fn check_client_id(&self, client_id: &str) -> Result<(), Denied> {
        let asked = self.permissions().map(|it| it.may_use_client_id(client_id));
        self.decided("client", client_id, asked.unwrap_or(Ok(())))
    }

    /// Whether it may be called this.
    pub(crate) fn check_nick(&self, nick: &str) -> Result<(), Denied> {
        let asked = self.permissions().map(|it| it.may_use_nick(nick));
        self.decided("nick", nick, asked.unwrap_or(Ok(())))
    }

    /// Whether it may inquire this about others.
    pub(crate) fn check_inquiry(&self, what: &str) -> Result<(), Denied> {
        let asked = self.permissions().map(|it| it.may_inquire(what));
        self.decided("inquire", what, asked.unwrap_or(Ok(())))
    }

    /// Whether it may give orders.
    pub(crate) fn check_orders(&self) -> Result<(), Denied> {
        let asked = self.permissions().map(Permissions::may_give_orders);
        self.decided("admin", "", asked.unwrap_or(Ok(())))
    }

    /// Whether it may see messages of this topic.
    pub(crate) fn may_see(&self, topic: Topic<'_>) -> bool {
        self.permissions().is_none_or(|it| it.may_see(topic))
    }

    fn decided(
        &self,
        right: &'static str,
        object: &str,
        asked: Result<(), Denial>,
    ) -> Result<(), Denied> {
        asked.map_err(|denial| self.denied(right, object, &denial))
    }

    /// Notes a denial, and tells it.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    fn denied(&self, right: &'static str, object: &str, denial: &Denial) -> Denied {
        let identity = self.identity();
        let denials = &self.engine.denials;
        if let Some(more) = denials.note(&identity.name, right, object, denial, Instant::now()) {
            log::info!(
                "connection {} from {}: {}{more}",
                self.id(),
                self.record.peer(),
                denial.text(identity.name.as_str(), object)
            );
        }
        self.note_denied(right, object, denial);
        let needs_auth = !identity.is_shown() && self.has_users();
        Denied {
            text: denial
                .text_for_client(identity.name.as_str(), object, needs_auth)
                .into(),
            needs_auth,
        }
    }

    /// Narrows or ends the subscriptions of the session, because the client has another identity than the one for
    /// which they were made. Returns those that have ended, and why.
    // Out of line: it is rare.
    #[inline(never)]
    pub(super) fn restrict_session(&self) -> Vec<(Box<str>, Denied)> {
        let mut ended = Vec::new();
        if let Some(permissions) = self.permissions().filter(|_| self.has_subscriptions()) {
            restrict(self.engine, &self.session, permissions, |filter, denial| {
                ended.push((filter.into(), self.denied("subscribe", filter, denial)));
            });
            self.engine.router.outdate_all();
        }
        ended
    }

    /// Whether the client may be sent a message that waits in its session: of this topic, for it alone or as a
    /// member of the group of a filter.
    pub(super) fn may_receive(&self, topic: Topic<'_>, shared: Option<&str>) -> bool {
        let group = shared.and_then(|filter| Filter::parse(filter).ok()?.group());
        self.permissions().is_none_or(|it| match group {
            Some(group) => it.may_see_shared(group, topic),
            None => it.may_see(topic),
        })
    }

    /// Whether a will may be published now, by the rules for the identity that it belongs to.
    pub(super) fn may_publish_will(&self, will: &Will, topic: Topic<'_>, retain: bool) -> bool {
        let Some(identity) = self.engine.holder_now(&will.owner.identity) else {
            return false;
        };
        let client_id = will.owner.client_id.as_deref();
        let permissions = self.engine.access.permissions(&identity, client_id);
        permissions.may_set_will(topic, retain).is_ok()
    }
}
