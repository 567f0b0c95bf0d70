//! Sockets and threads: who is accepted, the thread of each connection, and how all of them end.

pub(crate) mod capacity;
pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod shutdown;
pub(crate) mod socket;
mod tcp_info;
