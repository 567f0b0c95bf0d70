//! Sockets and threads: the listening sockets, the thread of each connection, and how all of them end.
//!
//! What a client says is for `wire`, and what becomes of it for `engine`: nothing here reads a byte of it.

pub(crate) mod capacity;
pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod shutdown;
pub(crate) mod socket;
mod tcp_info;
