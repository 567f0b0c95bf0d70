//! An identity has as much of something as it may have, in words for its client.

use std::fmt;

use crate::auth::access::{Limit, LimitKind};
use crate::auth::identity::IdentityName;

/// An identity has as much of something as it may have. `Display` says what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit(Box<str>);

impl OverLimit {
    pub(super) fn new(name: &IdentityName, has: usize, limit: &Limit) -> Self {
        let (what, advice) = match limit.kind {
            LimitKind::Connections => ("connections", "close one of them first"),
            LimitKind::Sessions => (
                "sessions that outlast their connections",
                "connect with a clean session, or end one of the others that way",
            ),
            LimitKind::Subscriptions => (
                "subscriptions",
                "end some, here or on its other connections, or use a wildcard",
            ),
            LimitKind::SubscriptionBytes => (
                "bytes of subscriptions",
                "end some, here or on its other connections, or use a wildcard",
            ),
            LimitKind::Retained => (
                "retained messages",
                "clear one with an empty payload, or publish without retaining",
            ),
            LimitKind::RetainedBytes => (
                "bytes of retained messages",
                "clear one with an empty payload, or publish without retaining",
            ),
            LimitKind::Publish | LimitKind::Bytes | LimitKind::Line | LimitKind::Attempts => {
                unreachable!("these are no numbers of things that an identity has")
            }
        };
        let (most, place) = (limit.most, limit.place());
        Self(format!("{name} has {has} {what} of at most {most} ({place}); {advice}").into())
    }
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
