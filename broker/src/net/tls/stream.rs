//! TLS on one connection after its handshake: plaintext from the outbox becomes records for the socket, and
//! records from the socket become plaintext for the reader.
//!
//! The outbox keeps its plaintext until the record with it has left. So at most [`MOST_AHEAD`] bytes are
//! encrypted in advance, and what the outbox drops, replaces or counts it finds as it is without TLS. Nothing
//! here waits.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::wire::Protocol;

use super::certificate_name::CertificateName;
use super::connection::{TlsConnection, TlsRead};
use super::material::{HTTP, LINES, MQTT};

/// Maximum plaintext that is encrypted before the socket has taken all that came before.
const MOST_AHEAD: usize = 64 * 1024;

/// Maximum plaintext in a record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Maximum slices that one record is made from.
const SLICES: usize = 16;

/// TLS on one connection.
pub(crate) struct TlsStream {
    /// Lock order: `raw`, then the outbox's, then this one. Nothing waits under it: a publisher takes it with the
    /// outbox's lock to send, while the connection's thread takes it alone to decrypt what it has read.
    state: Mutex<TlsState>,
    /// What has come from the socket. Locked by the connection's thread alone, which also waits for bytes under it.
    pub(crate) raw: Mutex<ReadBuffer>,
    /// The broker itself has ended the reading side of the socket.
    has_ended_reading: AtomicBool,
    /// What the client has shown.
    pub(crate) certificate: Option<CertificateName>,
    /// Its outbox sends what TLS has to say. Weak, because the sink of that outbox has the socket, and with
    /// it this.
    record: Weak<ClientRecord>,
}

struct TlsState {
    connection: TlsConnection,
    /// Records, of which the socket has taken the first `taken` bytes.
    records: Vec<u8>,
    taken: usize,
    /// Where each record ends, and how much of what the outbox offers is in it.
    ends: Vec<RecordEnd>,
}

struct RecordEnd {
    end: usize,
    plaintext: usize,
}

impl TlsStream {
    /// `raw` may have bytes that came behind the handshake.
    pub(crate) fn new(
        connection: TlsConnection,
        raw: ReadBuffer,
        certificate: Option<CertificateName>,
        record: &Arc<ClientRecord>,
    ) -> Self {
        Self {
            state: Mutex::new(TlsState {
                connection,
                records: Vec::new(),
                taken: 0,
                ends: Vec::new(),
            }),
            raw: Mutex::new(raw),
            has_ended_reading: AtomicBool::new(false),
            certificate,
            record: Arc::downgrade(record),
        }
    }

    /// Sends what `socket` takes, and returns how many of the offered bytes have left in whole records;
    /// `WouldBlock` if that is nothing. Bytes beyond these may be encrypted already: see
    /// [`TlsStream::ahead`].
    pub(crate) fn send(&self, socket: impl AsFd, offered: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let mut left = 0;
        loop {
            match state.flush(&socket) {
                Ok(plaintext) => left += plaintext,
                Err(_) if left > 0 => return Ok(left),
                Err(err) => return Err(err),
            }
            let has_more = !state.waits()
                && match state.encrypt(offered, left) {
                    Err(err) if left == 0 => return Err(err),
                    // The next call tells of the error again, with nothing left before it.
                    encrypted => encrypted.unwrap_or(false),
                };
            if !has_more {
                return match left {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    left => Ok(left),
                };
            }
        }
    }

    /// Bytes that are encrypted and have not left; they must be offered again first.
    pub(crate) fn ahead(&self) -> usize {
        self.state.lock().ends.iter().map(|it| it.plaintext).sum()
    }

    /// Sends what TLS itself has to say. Returns whether nothing waits any more. Only while the outbox has nothing
    /// queued.
    pub(crate) fn finish(&self, socket: impl AsFd) -> io::Result<bool> {
        let mut state = self.state.lock();
        debug_assert!(state.ends.is_empty(), "it has left, and is not told of");
        state.flush(socket)?;
        Ok(!state.waits())
    }

    /// The protocol inside that client and broker have agreed on, if they have (ALPN).
    pub(crate) fn agreed(&self) -> Option<Protocol> {
        match self.state.lock().connection.common().alpn_protocol()? {
            MQTT => Some(Protocol::Mqtt),
            HTTP => Some(Protocol::Http),
            LINES => Some(Protocol::Line),
            _ => None,
        }
    }

    /// Lets the outbox send what TLS itself has to say, in order with all that it sends.
    pub(crate) fn speak(&self) {
        if let Some(record) = self.record.upgrade() {
            record.outbox().lock().finish_sink();
        }
    }

    /// Says that nothing more follows, if there is room for it (RFC 8446 §6.1). After the outbox has been closed
    /// or detached.
    pub(crate) fn close(&self, socket: impl AsFd) {
        let mut state = self.state.lock();
        if !state.ends.is_empty() {
            // The outbox has given up what these records hold: an announced end would pass a part for the
            // whole, and a message for one of a group may be on its way to another member.
            return;
        }
        let TlsState {
            connection,
            records,
            ..
        } = &mut *state;
        connection.close(records);
        // A client that has left does not miss it.
        let _ = state.flush(socket);
    }

    /// Ends TLS with an alert, because the client does what it may not.
    pub(crate) fn refuse(&self, socket: impl AsFd) {
        let mut state = self.state.lock();
        let TlsState {
            connection,
            records,
            ..
        } = &mut *state;
        connection.refuse(records);
        let _ = state.flush(socket);
    }

    /// Decrypts what has come, into the free capacity of `plaintext`. Also returns whether TLS itself has
    /// something to say, for [`TlsStream::finish`]; it may have with an error as well.
    pub(crate) fn open(
        &self,
        raw: &mut ReadBuffer,
        plaintext: &mut Vec<u8>,
    ) -> (io::Result<TlsRead>, bool) {
        let mut state = self.state.lock();
        let TlsState {
            connection,
            records,
            ..
        } = &mut *state;
        let (before, start) = (records.len(), raw.start());
        let incoming = &mut raw.bytes_mut()[start..];
        let (consumed, opened) = connection.process(incoming, plaintext, records);
        raw.consume(consumed);
        let opened = opened.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why));
        (opened, records.len() > before)
    }

    /// The broker itself ends the reading side: its end does not come from the client.
    pub(crate) fn end_reading(&self) {
        // Release pairs with the Acquire below, and comes before the call that wakes the reader.
        self.has_ended_reading.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended_reading(&self) -> bool {
        // Acquire pairs with the Release in `end_reading`.
        self.has_ended_reading.load(Ordering::Acquire)
    }
}

impl TlsState {
    /// Whether records wait for room.
    fn waits(&self) -> bool {
        self.taken < self.records.len()
    }

    /// Sends records. Returns how much plaintext was in those whose last byte has left now.
    fn flush(&mut self, socket: impl AsFd) -> io::Result<usize> {
        while self.waits() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&socket, &self.records[self.taken..], flags) {
                Ok(sent) => self.taken += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(err) => return Err(err.into()),
            }
        }
        let left = self.ends.partition_point(|record| record.end <= self.taken);
        let plaintext = self.ends.drain(..left).map(|record| record.plaintext);
        let plaintext = plaintext.sum();
        if !self.waits() {
            // Not kept: an idle connection has no records.
            (self.records, self.taken) = (Vec::new(), 0);
        }
        Ok(plaintext)
    }

    /// Encrypts what follows the first `from` of the offered bytes; only when no record waits. Returns
    /// whether there was any.
    fn encrypt(&mut self, offered: &[IoSlice<'_>], from: usize) -> io::Result<bool> {
        let (mut at, end) = (from, from + MOST_AHEAD);
        while at < end {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = part(offered, at, RECORD_BYTES.min(end - at), &mut slices);
            if count == 0 {
                break;
            }
            match self.connection.encrypt(&slices[..count], &mut self.records) {
                Ok(()) => {}
                // What came before leaves first.
                Err(_) if at > from => return Ok(true),
                Err(err) => return Err(err),
            }
            let plaintext = slices[..count].iter().map(|slice| slice.len()).sum();
            self.ends.push(RecordEnd {
                end: self.records.len(),
                plaintext,
            });
            at += plaintext;
        }
        Ok(at > from)
    }
}

/// The part of the offered bytes from byte `from` on, at most `most` bytes of it. Returns the number of its
/// slices.
fn part<'a>(
    offered: &'a [IoSlice<'_>],
    mut from: usize,
    mut most: usize,
    slices: &mut [IoSlice<'a>; SLICES],
) -> usize {
    let mut count = 0;
    for slice in offered {
        let start = from.min(slice.len());
        from -= start;
        let bytes = &slice[start..];
        let bytes = &bytes[..bytes.len().min(most)];
        if count == SLICES || most == 0 {
            break;
        }
        if !bytes.is_empty() {
            most -= bytes.len();
            slices[count] = IoSlice::new(bytes);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use rustls::crypto::CipherSuiteCommon;
    use rustls::crypto::ring::cipher_suite;
    use rustls::{ClientConnection, SupportedCipherSuite, Tls12CipherSuite};

    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::tests::outbox;
    use crate::net::tls::connection::tests::connected;

    /// A suite of TLS 1.2 whose keys are good for this number of records.
    fn suite(records: u64) -> SupportedCipherSuite {
        let suite = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        let SupportedCipherSuite::Tls12(suite) = suite else {
            panic!("it is of TLS 1.2");
        };
        SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: records,
            },
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        })))
    }

    /// Both ends of a connection after its handshake, each with its socket.
    struct Pair {
        server: (TlsStream, UnixStream),
        client: (ClientConnection, UnixStream),
    }

    impl Pair {
        fn new(records: u64) -> Self {
            let (client, server) = connected(suite(records));
            let raw = ReadBuffer::new(&Arc::new(Memory::new(usize::MAX)));
            let (outbox, _) = outbox(1, 100, 0);
            let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
            let (here, there) = UnixStream::pair().expect("sockets");
            Self {
                server: (TlsStream::new(server, raw, None, &record), here),
                client: (client, there),
            }
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let (stream, socket) = &self.server;
            stream.send(socket, &[IoSlice::new(bytes)])
        }

        /// What the client reads to the end, and whether the end is announced.
        fn end(self) -> (Vec<u8>, bool) {
            drop(self.server);
            let (mut tls, mut socket) = self.client;
            let mut all = Vec::new();
            while tls.read_tls(&mut socket).expect("the socket is open") > 0 {
                tls.process_new_packets().expect("records");
                let _ = tls.reader().read_to_end(&mut all);
            }
            let end = tls.reader().read_to_end(&mut all);
            (all, end.is_ok())
        }
    }

    #[test]
    fn keys_that_are_used_up_are_told_after_all_that_left_before() {
        let pair = Pair::new(10);
        let mut sent = 0;
        let error = loop {
            match pair.send(b"abc") {
                Ok(len) => sent += len,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert!(pair.send(b"abc").is_err(), "it is told again");
        let (came, _) = pair.end();
        assert_eq!(came, b"abc".repeat(sent / 3));
        // Four records at once, of which the keys are good for two; they were used once in the handshake.
        let pair = Pair::new(3);
        let sent = pair.send(&[b'x'; 4 * RECORD_BYTES]);
        assert_eq!(sent.ok(), Some(2 * RECORD_BYTES));
        assert!(pair.send(b"abc").is_err());
    }

    #[test]
    fn what_tls_says_itself_is_not_taken_for_the_record_behind_it() {
        let pair = Pair::new(100);
        let mut state = pair.server.0.state.lock();
        let TlsState {
            connection,
            records,
            ..
        } = &mut *state;
        // An alert, as the one that renegotiation is refused with.
        connection.close(records);
        drop(state);
        assert_eq!(pair.send(b"abc").ok(), Some(3));
    }

    #[test]
    fn an_end_is_announced_only_if_all_that_was_encrypted_has_left() {
        let pair = Pair::new(100_000);
        assert_eq!(pair.send(b"abc").ok(), Some(3));
        pair.server.0.close(&pair.server.1);
        assert_eq!(pair.end(), (b"abc".to_vec(), true));
        let mut pair = Pair::new(100_000);
        let mut sent = 0;
        while let Ok(len) = pair.send(&[b'x'; RECORD_BYTES]) {
            sent += len;
        }
        assert!(pair.server.0.ahead() > 0);
        let mut early = Vec::new();
        while early.len() < sent / 2 {
            let (tls, socket) = &mut pair.client;
            tls.read_tls(socket).expect("the socket is open");
            tls.process_new_packets().expect("records");
            let _ = tls.reader().read_to_end(&mut early);
        }
        // There is room for the rest and more by now.
        pair.server.0.close(&pair.server.1);
        let (came, is_announced) = pair.end();
        assert_eq!((early.len() + came.len(), is_announced), (sent, false));
    }
}
