//! A handshake between client and library, in steps without I/O: bytes that have come in, records to send out.

use rustls::ServerConnection;

use super::failure::HandshakeFailure;
use crate::engine::memory::read_buffer::ReadBuffer;

/// Capacity for the records of a step. The thread of the connection frees them, and of what is smaller than 1 KiB its
/// allocator would keep one for each size.
const RECORDS_BYTES: usize = 2 * 1024;

/// A handshake under way. It goes to and fro between the thread of its connection, which reads and writes the socket, and
/// the threads that compute.
pub(super) struct Handshake {
    pub(super) connection: ServerConnection,
    /// What has come from the client; in the end what came behind the handshake.
    pub(super) raw: ReadBuffer,
    /// What the last step has to say to the client, also if it has failed.
    pub(super) records: Vec<u8>,
    /// Why the last step has failed, if it has.
    pub(super) failure: Option<HandshakeFailure>,
    /// The name that the client asks for (SNI).
    pub(super) asked_for: Option<String>,
}

impl Handshake {
    /// In a box, because it goes to other threads.
    pub(super) fn new(connection: ServerConnection, raw: ReadBuffer) -> Box<Self> {
        Box::new(Self {
            connection,
            raw,
            records: Vec::new(),
            failure: None,
            asked_for: None,
        })
    }

    /// Looks at what has come, until the handshake is done or needs more.
    pub(super) fn step(&mut self) {
        self.failure = self.process().err();
        self.records = Vec::with_capacity(RECORDS_BYTES);
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            let _ = self.connection.write_tls(&mut self.records);
        }
        if self.asked_for.is_none() {
            self.asked_for = self.connection.server_name().map(str::to_owned);
        }
    }

    fn process(&mut self) -> Result<(), HandshakeFailure> {
        while self.connection.is_handshaking() && !self.raw.unread().is_empty() {
            let fed = self.connection.read_tls(&mut self.raw.unread());
            self.raw.consume(fed.map_err(HandshakeFailure::Io)?);
            let processed = self.connection.process_new_packets();
            processed.map_err(HandshakeFailure::Tls)?;
        }
        Ok(())
    }
}
