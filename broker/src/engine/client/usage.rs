//! The limits of the client's identity: what the client takes of them, how it is told that there is no more, and how it
//! rests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::Filter;

use super::over_limit::OverLimit;
use super::paid_traffic::PaidTraffic;
use super::{Client, PublishError, SubscribeError};
use crate::auth::access::{IdentityLimits, Limit, LimitKind};
use crate::auth::identity::{ClientIdentity, IdentityName};
use crate::auth::rate::{Rate, TokenBucket};
use crate::engine::outbox::delivery::subscriptions::subscription_bytes;
use crate::engine::retained::{Full, RetainedOwner};
use crate::engine::session::key::SessionKey;
use crate::engine::usage::{ConnectionShare, Reached, SizedMost};
use crate::sync::Mutex;

/// How often a connection that rests looks for another rate.
const RATE_LOOK: Duration = Duration::from_secs(1);

/// The identity for which a message is retained.
pub(super) struct RetainedFor {
    pub(super) owner: RetainedOwner,
    limits: Option<Arc<IdentityLimits>>,
}

// All of this is out of line: it is rare, or done once a batch, and its locals would lie on the stack of every idle
// connection.
impl Client<'_> {
    /// Maximum bytes of a line, or of a packet or a message of another protocol.
    pub(crate) fn line_bytes(&self) -> usize {
        let all = self.limits.get().line_bytes;
        match &self.rights.limits {
            None => all,
            Some(limits) => all.min(most(Some(limits), LimitKind::Line)),
        }
    }

    /// Counts a line that is too long, if it is so for this identity alone.
    #[inline(never)]
    pub(crate) fn note_too_long(&self) {
        if self.line_bytes() < self.limits.get().line_bytes {
            self.engine.metrics.limited.add(LimitKind::Line);
        }
    }

    /// Whether the connection counts for an identity.
    #[inline]
    pub(crate) fn is_counted(&self) -> bool {
        self.share.is_some()
    }

    /// Counts the connection, with its subscriptions, for the identity that the client has now.
    #[inline(never)]
    pub(crate) fn count_connection(&mut self) -> Result<(), OverLimit> {
        let limits = self.rights.limits.clone();
        let share = self.take_share(&self.identity(), limits.as_deref())?;
        self.set_share(share);
        Ok(())
    }

    /// A place among the connections of an identity; none if the client has that already.
    #[inline(never)]
    pub(super) fn take_share(
        &self,
        identity: &ClientIdentity,
        limits: Option<&IdentityLimits>,
    ) -> Result<Option<ConnectionShare>, OverLimit> {
        let name = &identity.name;
        if self
            .share
            .as_ref()
            .is_some_and(|it| it.usage().name == *name)
        {
            return Ok(None);
        }
        let usage = self.engine.usages.of(name);
        let Some(limit) = limits.and_then(|limits| limits.get(LimitKind::Connections)) else {
            return Ok(usage.take_connection(usize::MAX));
        };
        let most = most_of(limit);
        let share = usage.take_connection(most).or_else(|| {
            // The other one ends before this one is told that it is in.
            let is_taken_over = self.takes_over(name);
            is_taken_over.then(|| usage.take_connection(most.saturating_add(1)))?
        });
        match share {
            Some(share) => Ok(Some(share)),
            None => Err(self.over_limit(name, usage.connections(), limit)),
        }
    }

    pub(super) fn set_share(&mut self, share: Option<ConnectionShare>) {
        if let Some(share) = share {
            self.session.subscriptions().set_owner(share.usage());
            self.share = Some(share);
        }
    }

    /// From now on the connection counts for no identity.
    pub(crate) fn depart(&mut self) {
        self.share = None;
    }

    /// Whether another connection of this identity has the session of the client's identifier.
    fn takes_over(&self, owner: &IdentityName) -> bool {
        let key = self.client_id.clone().map(|client_id| SessionKey {
            owner: owner.clone(),
            client_id,
        });
        key.is_some_and(|key| self.engine.sessions.is_attached(&key))
    }

    /// Counts a subscription for the identity. The memory for it is taken, and given back if there is no room.
    #[inline(never)]
    pub(super) fn count_subscription(&self, filter: Filter<'_>) -> Result<(), SubscribeError> {
        let limits = self.rights.limits.as_deref();
        let bytes = subscription_bytes(filter.as_str());
        let room = SizedMost {
            count: most(limits, LimitKind::Subscriptions),
            bytes: most(limits, LimitKind::SubscriptionBytes),
        };
        let counted = self.session.subscriptions().count_one(bytes, room);
        counted.map_err(|reached| {
            self.engine.memory.give_back_subscriptions(bytes);
            let name = &self.identity().name;
            let usage = self.engine.usages.of(name);
            let (kind, has) = match reached {
                Reached::Count => (LimitKind::Subscriptions, usage.subscriptions.count()),
                Reached::Bytes => (LimitKind::SubscriptionBytes, usage.subscriptions.bytes()),
            };
            SubscribeError::OverLimit(self.over(name, has, limits, kind))
        })
    }

    /// For which identity a message is retained: that of the client, or that of a will. None for those of the broker.
    #[inline(never)]
    pub(super) fn retained_for(&self, will_of: Option<&ClientIdentity>) -> Option<RetainedFor> {
        let (usage, limits) = match (will_of, &self.share) {
            (Some(identity), _) => {
                let limits = self.engine.access.limits_of(identity);
                (self.engine.usages.of(&identity.name), limits)
            }
            (None, Some(share)) => (share.usage().clone(), self.rights.limits.clone()),
            // What comes in datagrams has no connection.
            (None, None) => {
                self.permissions()?;
                let usage = self.engine.usages.of(&self.identity().name);
                (usage, self.rights.limits.clone())
            }
        };
        let most = |kind| most(limits.as_deref(), kind);
        Some(RetainedFor {
            owner: RetainedOwner {
                most: SizedMost {
                    count: most(LimitKind::Retained),
                    bytes: most(LimitKind::RetainedBytes),
                },
                usage,
            },
            limits,
        })
    }

    /// Why a message is not retained.
    #[inline(never)]
    pub(super) fn not_retained(&self, full: Full, whose: Option<&RetainedFor>) -> PublishError {
        let (Full::OfOwner(reached), Some(whose)) = (&full, whose) else {
            return PublishError::Full(full);
        };
        let usage = &whose.owner.usage;
        let (kind, has) = match reached {
            Reached::Count => (LimitKind::Retained, usage.retained.count()),
            Reached::Bytes => (LimitKind::RetainedBytes, usage.retained.bytes()),
        };
        PublishError::OverLimit(self.over(&usage.name, has, whose.limits.as_deref(), kind))
    }

    /// The session that the client asked for would be one too many of its identity.
    #[inline(never)]
    pub(super) fn over_sessions(&self, has: usize, limits: Option<&IdentityLimits>) -> OverLimit {
        self.over(&self.identity().name, has, limits, LimitKind::Sessions)
    }

    fn over(
        &self,
        name: &IdentityName,
        has: usize,
        limits: Option<&IdentityLimits>,
        kind: LimitKind,
    ) -> OverLimit {
        let limit = limits.and_then(|limits| limits.get(kind));
        self.over_limit(name, has, limit.expect("a limit was reached"))
    }

    /// Notes that an identity has as much as it may have, and tells it.
    fn over_limit(&self, name: &IdentityName, has: usize, limit: &Limit) -> OverLimit {
        self.engine.metrics.limited.add(limit.kind);
        let over = OverLimit::new(name, has, limit);
        if let Some(more) = self.engine.limit_log.say(Instant::now()) {
            let peer = self.record.peer();
            log::info!("connection {} from {peer}: {over}{more}", self.id());
        }
        over
    }

    /// Takes what has come since the last batch from the rates of the identity, and rests until that is paid for.
    /// Nothing is read meanwhile. All messages of the batch must be delivered.
    #[inline(never)]
    pub(crate) fn pay(&mut self) {
        let (Some(limits), Some(share)) = (&self.rights.limits, &self.share) else {
            return;
        };
        let (published, bytes) = (self.account.published, self.account.bytes);
        let paid = self.paid.get_or_insert_default();
        let now = Instant::now();
        let rest = |kind, amount, bucket: &Mutex<TokenBucket>| match limits.get(kind) {
            Some(limit) if amount > 0 => {
                let rate = Rate::in_a_second(limit.most);
                bucket.lock().take(amount, rate, now)
            }
            _ => Duration::ZERO,
        };
        let usage = share.usage();
        let for_messages = rest(
            LimitKind::Publish,
            published - paid.published,
            &usage.publish,
        );
        let rest = for_messages.max(rest(LimitKind::Bytes, bytes - paid.bytes, &usage.bytes));
        (paid.published, paid.bytes) = (published, bytes);
        if !rest.is_zero() {
            paid.has_rested = true;
            // An audit waits for the end of all batches, and must not wait for this.
            self.settle();
            self.rest(now, rest);
        }
    }

    fn rest(&self, now: Instant, time: Duration) {
        let id = self.id();
        self.engine.usages.begin_rest(id, now);
        let end = now + time;
        let mut seen = self.rights.version;
        loop {
            let next_look = end.min(Instant::now() + RATE_LOOK);
            self.outbox.rest_until(next_look);
            let is_over = next_look == end || Instant::now() < next_look;
            // Read before the limits, so that what changes meanwhile is seen by the next look.
            let version = self.engine.access.version();
            if is_over || (version != seen && self.is_forgiven()) {
                break;
            }
            seen = version;
        }
        let end = Instant::now();
        self.engine.usages.end_rest(id, end);
        let rested = end.saturating_duration_since(now).as_micros();
        self.engine.metrics.throttled.add(rested as u64);
    }

    /// Whether other rules give the identity a higher rate, or none. What it has taken by the one before is then not
    /// waited for any longer, by none of its connections.
    fn is_forgiven(&self) -> bool {
        let (Some(before), Some(share)) = (&self.rights.limits, &self.share) else {
            return true;
        };
        let next = self.engine.access.limits_of(&self.identity());
        let next = next.as_deref();
        let usage = share.usage();
        let mut is_forgiven = false;
        for (kind, bucket) in [
            (LimitKind::Publish, &usage.publish),
            (LimitKind::Bytes, &usage.bytes),
        ] {
            let Some(before) = before.get(kind) else {
                continue;
            };
            let most = next.and_then(|it| it.get(kind)).map(|limit| limit.most);
            if most.is_none_or(|most| most > before.most) {
                let rate = Rate::in_a_second(before.most);
                bucket.lock().forgive(rate, Instant::now());
                is_forgiven = true;
            }
        }
        is_forgiven
    }

    /// Whether the client has not been read from since this was asked last, for the sake of its rate.
    pub(crate) fn has_rested(&mut self) -> bool {
        let paid = self.paid.as_mut();
        paid.is_some_and(|paid| std::mem::take(&mut paid.has_rested))
    }

    /// What has come before a rate is in force is not taken from it.
    pub(super) fn note_rates(&mut self) {
        match (self.rights.is_rated, &self.paid) {
            (false, _) => self.paid = None,
            (true, Some(_)) => {}
            (true, None) => {
                self.paid = Some(Box::new(PaidTraffic {
                    published: self.account.published,
                    bytes: self.account.bytes,
                    has_rested: false,
                }));
            }
        }
    }
}

/// Maximum of what an identity with these limits may have.
pub(super) fn most(limits: Option<&IdentityLimits>, kind: LimitKind) -> usize {
    let limit = limits.and_then(|limits| limits.get(kind));
    limit.map_or(usize::MAX, most_of)
}

fn most_of(limit: &Limit) -> usize {
    usize::try_from(limit.most).unwrap_or(usize::MAX)
}
