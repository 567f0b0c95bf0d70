//! What a client may do, by the rules in force at the beginning of its batch.

use std::fmt;
use std::sync::Arc;

use crate::auth::access::{IdentityLimits, LimitKind, Permissions};

/// What a client may do.
pub(super) struct Rights {
    /// The version of the rules that it was asked for.
    pub(super) version: u64,
    /// None for the broker's own clients, which may do everything.
    pub(super) permissions: Option<Permissions>,
    /// Whether it may publish on each topic, so that no topic need be looked up.
    pub(super) publishes_anywhere: bool,
    /// Whether it may subscribe to each filter that does not begin with `$`.
    pub(super) subscribes_anywhere: bool,
    /// Whether its identity has a rate.
    pub(super) is_rated: bool,
    /// How much its identity may have, if that is limited.
    pub(super) limits: Option<Arc<IdentityLimits>>,
}

/// A client may not do something. `Display` says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(super) text: Box<str>,
    /// Whether it has to say who it is first.
    pub(crate) needs_auth: bool,
}

impl Rights {
    pub(super) fn of(
        version: u64,
        permissions: Permissions,
        limits: Option<Arc<IdentityLimits>>,
    ) -> Self {
        let has = |kind| {
            limits
                .as_ref()
                .is_some_and(|limits| limits.get(kind).is_some())
        };
        Self {
            version,
            is_rated: has(LimitKind::Publish) || has(LimitKind::Bytes),
            limits,
            publishes_anywhere: permissions.publishes_anywhere(),
            subscribes_anywhere: permissions.subscribes_anywhere(),
            permissions: Some(permissions),
        }
    }

    pub(super) fn of_broker() -> Self {
        Self {
            version: 0,
            permissions: None,
            publishes_anywhere: true,
            subscribes_anywhere: true,
            is_rated: false,
            limits: None,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
