//! TLS: what is configured and what its files have; handshakes; and the records of a connection.
//!
//! Sockets are read and written here without waiting, but for handshakes, which wait on the thread of their
//! connection. What is said inside is not looked at.

mod certificate;
pub(crate) mod certificate_name;
mod chosen;
pub(crate) mod clients;
pub(crate) mod connection;
mod failure;
mod failure_log;
mod handshake;
pub(crate) mod material;
mod pem;
mod provider;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod stream;
mod threads;
pub(crate) mod watched;
