//! Which subscribers a topic has: subscriptions, filters with wildcards, and remembered routes.

pub(crate) mod filter_tree;
pub(crate) mod route_cache;
pub(crate) mod router;
pub(crate) mod subscribers;
