//! A handshake between client and library, in steps without I/O: bytes that have come in, records to send out.

use std::sync::Arc;

use rustls::Error;
use rustls::server::{Acceptor, ServerConfig};

use super::connection::TlsConnection;

/// Room for what comes next. A flight of a client without a certificate has fewer bytes.
pub(super) const READ_BYTES: usize = 2 * 1024;

/// Capacity for the records of a step. The thread of the connection frees them, and of what is smaller than 1 KiB its
/// allocator would keep one for each size.
const RECORDS_BYTES: usize = 2 * 1024;

/// A handshake under way. It goes to and fro between the thread of its connection, which reads and writes the socket, and
/// the threads that compute.
pub(super) struct Handshake {
    pub(super) connection: TlsConnection,
    /// What has come from the client and is not consumed; in the end what came behind the handshake. Not a read buffer,
    /// whose next size after the smallest would leave a hole of 16 KiB between what connections keep.
    pub(super) incoming: Vec<u8>,
    /// What the last step has to say to the client, also if it has failed.
    pub(super) records: Vec<u8>,
    /// Why the last step has failed, if it has.
    pub(super) failure: Option<Error>,
    /// The first message of the client has been looked at.
    has_begun: bool,
    /// The name that the client asks for (SNI).
    pub(super) asked_for: Option<String>,
}

impl Handshake {
    /// In a box, because it goes to other threads.
    pub(super) fn new(server: Arc<ServerConfig>, first: &[u8]) -> Result<Box<Self>, Error> {
        let mut incoming = Vec::with_capacity(first.len() + READ_BYTES);
        incoming.extend_from_slice(first);
        Ok(Box::new(Self {
            connection: TlsConnection::new(server)?,
            incoming,
            records: Vec::new(),
            failure: None,
            has_begun: false,
            asked_for: None,
        }))
    }

    /// Looks at what has come, until the handshake is done or needs more.
    pub(super) fn step(&mut self) {
        self.records = Vec::with_capacity(RECORDS_BYTES);
        // Plaintext behind the handshake stays in the connection.
        let mut no_room = Vec::new();
        let (consumed, result) =
            self.connection
                .process(&mut self.incoming, &mut no_room, &mut self.records);
        self.failure = result.err();
        if !self.has_begun && (consumed > 0 || self.failure.is_some()) {
            self.has_begun = true;
            self.asked_for = asked_for(&self.incoming);
        }
        self.incoming.drain(..consumed);
    }
}

/// The name that a client asks for in its first message, if that is whole and in one record. The library tells it of
/// connections with buffers of their own alone.
fn asked_for(mut first: &[u8]) -> Option<String> {
    let mut acceptor = Acceptor::default();
    while acceptor.read_tls(&mut first).ok()? > 0 {}
    let accepted = acceptor.accept().ok()??;
    accepted.client_hello().server_name().map(str::to_owned)
}
