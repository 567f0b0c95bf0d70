//! Routing: subscriptions, filters with wildcards, and the route cache of publishers.

pub(crate) mod filter_tree;
pub(crate) mod route_cache;
pub(crate) mod router;
pub(crate) mod sieves;
pub(crate) mod subscribers;
