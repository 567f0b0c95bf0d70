//! TLS on one connection after its handshake: plaintext from the outbox becomes records for the socket, and
//! records from the socket become plaintext for the reader.
//!
//! The outbox keeps its plaintext until the record with it has left. So at most [`MOST_AHEAD`] bytes are
//! encrypted in advance, and what the outbox drops, replaces or counts it finds as it is without TLS. Nothing
//! here waits.

use std::io::{self, BufRead, IoSlice, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustls::ServerConnection;

use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::wire::source::Agreed;

use super::certificate_name::CertificateName;
use super::material::{HTTP, LINES, MQTT};

/// Maximum plaintext that is encrypted before the socket has taken all that came before.
const MOST_AHEAD: usize = 64 * 1024;

/// Maximum plaintext in a record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Maximum slices that one record is made from.
const SLICES: usize = 16;

/// The first byte of a record with an alert, where it is not encrypted: in TLS 1.2.
const ALERT: u8 = 21;

/// A record of another type than application data, which is never allowed after a handshake.
const FORBIDDEN_RECORD: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// TLS on one connection.
pub(crate) struct TlsStream {
    /// Locked alone, or under an outbox's lock: a publisher sends while the connection's thread reads.
    state: Mutex<TlsState>,
    /// What has come from the socket. Locked by the connection's thread alone, before `state`.
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
    connection: ServerConnection,
    /// Records, of which the socket has taken the first `taken` bytes.
    records: Vec<u8>,
    taken: usize,
    /// Where each record ends, and how much of what the outbox offers is in it.
    ends: Vec<RecordEnd>,
}

#[derive(Clone, Copy)]
struct RecordEnd {
    end: usize,
    plaintext: usize,
}

/// What a look at the bytes of the client has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsRead {
    /// Plaintext, which the buffer has now.
    Bytes,
    /// A part of a record: more bytes are needed.
    More,
    /// The client has said that it sends nothing more.
    Closed,
}

impl TlsStream {
    /// `raw` may have bytes that came behind the handshake.
    pub(crate) fn new(
        mut connection: ServerConnection,
        raw: ReadBuffer,
        certificate: Option<CertificateName>,
        record: &Arc<ClientRecord>,
    ) -> Self {
        // What is encrypted in advance is limited here.
        connection.set_buffer_limit(None);
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

    /// Sends what TLS itself has to say. Returns whether nothing waits any more.
    pub(crate) fn finish(&self, socket: impl AsFd) -> io::Result<bool> {
        let mut state = self.state.lock();
        state.collect();
        state.flush(socket)?;
        Ok(!state.waits())
    }

    /// The protocol inside that client and broker have agreed on, if they have (ALPN).
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        let state = self.state.lock();
        state
            .connection
            .alpn_protocol()
            .and_then(|name| match name {
                MQTT => Some(Agreed::Mqtt),
                HTTP => Some(Agreed::Http),
                LINES => Some(Agreed::Line),
                _ => None,
            })
    }

    /// Lets the outbox send what TLS itself has to say, in order with all that it sends.
    pub(crate) fn speak(&self) {
        if let Some(record) = self.record.upgrade() {
            record.outbox().lock().finish_sink();
        }
    }

    /// Says that nothing more follows, as far as there is room for it (RFC 8446 §6.1).
    pub(crate) fn close(&self, socket: impl AsFd) {
        let mut state = self.state.lock();
        state.connection.send_close_notify();
        state.collect();
        // A client that has left does not miss it.
        let _ = state.flush(socket);
    }

    /// Ends TLS with an alert, because the client does what it may not.
    pub(crate) fn refuse(&self, socket: impl AsFd) {
        let mut state = self.state.lock();
        // The library sends no alert on demand. This record makes it say `unexpected_message`, which is
        // what the client is to be told.
        let _ = state.connection.read_tls(&mut &FORBIDDEN_RECORD[..]);
        let _ = state.connection.process_new_packets();
        state.collect();
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
        let opened = state.open(raw, plaintext);
        (opened, state.connection.wants_write())
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
        let has_left = |record: &&RecordEnd| record.end <= self.taken;
        let left: Vec<RecordEnd> = self.ends.iter().take_while(has_left).copied().collect();
        self.ends.drain(..left.len());
        if !self.waits() {
            // Not kept: an idle connection has no records.
            (self.records, self.taken) = (Vec::new(), 0);
        }
        Ok(left.iter().map(|record| record.plaintext).sum())
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
            // What TLS itself has to say, such as that it does not renegotiate, is no part of this record.
            self.collect();
            let before = self.records.len();
            let plaintext = self.connection.writer().write_vectored(&slices[..count])?;
            self.collect();
            if self.records.get(before).is_none_or(|kind| *kind == ALERT) {
                // After very many records the library closes a connection of TLS 1.2, which cannot change its
                // keys, and loses what it is given.
                return match at > from {
                    // What came before leaves first.
                    true => Ok(true),
                    false => Err(io::Error::other(
                        "the keys of this TLS connection are used up",
                    )),
                };
            }
            self.ends.push(RecordEnd {
                end: self.records.len(),
                plaintext,
            });
            at += plaintext;
        }
        Ok(at > from)
    }

    /// Adds what the library has written to the records.
    fn collect(&mut self) {
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            let _ = self.connection.write_tls(&mut self.records);
        }
    }

    fn open(&mut self, raw: &mut ReadBuffer, plaintext: &mut Vec<u8>) -> io::Result<TlsRead> {
        let before = plaintext.len();
        loop {
            let is_closed = self.take_plaintext(plaintext);
            if plaintext.len() == plaintext.capacity() {
                return Ok(TlsRead::Bytes);
            }
            if is_closed || raw.unread().is_empty() {
                return Ok(match (plaintext.len() > before, is_closed) {
                    (true, _) => TlsRead::Bytes,
                    (false, true) => TlsRead::Closed,
                    (false, false) => TlsRead::More,
                });
            }
            let fed = self.connection.read_tls(&mut raw.unread())?;
            raw.consume(fed);
            self.connection
                .process_new_packets()
                .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        }
    }

    /// Moves plaintext as far as there is room for it. Returns whether the client has closed, and nothing is
    /// left.
    fn take_plaintext(&mut self, plaintext: &mut Vec<u8>) -> bool {
        let mut reader = self.connection.reader();
        loop {
            let room = plaintext.capacity() - plaintext.len();
            let Ok(came) = reader.fill_buf() else {
                return false;
            };
            if came.is_empty() {
                return true;
            }
            if room == 0 {
                return false;
            }
            let len = came.len().min(room);
            plaintext.extend_from_slice(&came[..len]);
            reader.consume(len);
        }
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
