//! Clients and what outlives their connections.

pub(crate) mod clients;
pub(crate) mod store;
