//! Sockets and threads: the listening sockets, the thread of each connection, and how they end.
//!
//! `wire` parses the bytes and `engine` handles them: nothing here looks at a byte.

pub(crate) mod capacity;
mod cgroup;
pub(crate) mod connection;
mod datagram_socket;
mod datagrams;
mod door;
pub(crate) mod doors;
pub(crate) mod endpoints;
pub(crate) mod inherited;
mod line_by_line;
mod line_datagrams;
pub(crate) mod listener;
pub(crate) mod newcomers;
mod places;
pub(crate) mod shutdown;
pub(crate) mod socket;
pub(crate) mod stack;
mod tcp_info;
mod tcp_socket;
pub(crate) mod tls;
pub(crate) mod unix_socket;
