//! The socket of a connection: blocking reads that report pauses, and non-blocking writes.
//!
//! Bytes go into a [`ReadBuffer`] and come from an outbox; this file does not look at them.

use std::io::{self, IoSlice};
use std::mem;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::Sink;
use crate::engine::outbox::flusher::Flusher;
use crate::engine::outbox::memfd::MemFd;
use crate::net::line_by_line::LineByLine;
use crate::net::shutdown::ShutdownDeadline;
use crate::net::stack;
use crate::net::tls::connection::TlsRead;
use crate::net::tls::server::{AcceptedClient, HandshakePeer, NoHandshake, TlsServer};
use crate::net::tls::stream::TlsStream;
use crate::wire::source::{Security, SendForm};
use crate::wire::{Arrival, End, Protocol, Source};

/// Maximum bytes of TLS read at a time.
const RAW_BYTES: usize = 64 * 1024;

/// Silence after which a connection releases memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes a second at which a first line may come for as long as it takes.
const FIRST_LINE_RATE: u64 = 4 * 1024;

/// Interval at which a half-closed connection checks for the broker's shutdown.
const GLANCE: Duration = Duration::from_secs(1);

/// A socket, and whether its reads block.
pub(crate) struct Socket {
    pub(crate) stream: OwnedFd,
    /// The socket is non-blocking, so a read fails instead of waiting. Set by the first `sendfile`,
    /// which, unlike `send`, has no flag for one call.
    never_waits: AtomicBool,
    /// The first line, request or CONNECT has come.
    has_spoken: AtomicBool,
    /// Whether, and why, the broker ends the connection alone: a [`Dismissal`], or zero.
    dismissal: AtomicU8,
    /// Bytes received until then, as far as they fit.
    first_bytes: AtomicU32,
    tls: Arc<TlsServer>,
    /// The client must use TLS.
    requires_tls: bool,
    /// TLS, once the client has begun it.
    secured: OnceLock<Box<TlsStream>>,
}

/// Why the broker ends one connection, while it goes on serving others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// The broker is going to stop, and the client connects again elsewhere when it is told so.
    Draining = 1,
    /// The operator ends the connection.
    Kicked,
    /// The client's user or token is gone, is disabled, or has ended.
    AuthEnded,
}

impl Socket {
    pub(crate) fn new(stream: OwnedFd, tls: Arc<TlsServer>, requires_tls: bool) -> Self {
        Self {
            tls,
            requires_tls,
            secured: OnceLock::new(),
            stream,
            never_waits: AtomicBool::new(false),
            has_spoken: AtomicBool::new(false),
            dismissal: AtomicU8::new(0),
            first_bytes: AtomicU32::new(0),
        }
    }

    /// Whether the first line, request or CONNECT has not come yet, although there was `time` for it. Bytes
    /// that keep coming at [`FIRST_LINE_RATE`] are given more time.
    pub(crate) fn is_silent(&self, time: Duration) -> bool {
        let bytes = u64::from(self.first_bytes.load(Ordering::Relaxed));
        !self.has_spoken.load(Ordering::Relaxed) && bytes < FIRST_LINE_RATE * time.as_secs()
    }

    /// Makes the connection's thread end it, which the caller wakes afterwards. The first reason counts.
    pub(crate) fn dismiss(&self, why: Dismissal) {
        let (why, unset) = (why as u8, 0);
        // Release pairs with the Acquire in `dismissal`; with the Acquire of a failed exchange nothing is read.
        let order = (Ordering::Release, Ordering::Relaxed);
        let _ = self
            .dismissal
            .compare_exchange(unset, why, order.0, order.1);
    }

    /// Why the broker ends this connection, if it does.
    pub(crate) fn dismissal(&self) -> Option<Dismissal> {
        // Acquire pairs with the Release in `dismiss`, which precedes the wake.
        match self.dismissal.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Dismissal::Draining),
            2 => Some(Dismissal::Kicked),
            _ => Some(Dismissal::AuthEnded),
        }
    }

    /// Makes the socket blocking again.
    pub(crate) fn wait_again(&self) {
        // If this fails, a later read returns too early.
        let _ = ioctl_fionbio(&self.stream, false);
        // Release: a thread that reads `false` finds a blocking socket.
        self.never_waits.store(false, Ordering::Release);
    }

    /// Whether the client has shown a certificate that is revoked now.
    pub(crate) fn is_revoked(&self) -> bool {
        let secured = self.secured.get();
        let shown = secured.and_then(|secured| secured.certificate.as_ref());
        shown.is_some_and(|shown| self.tls.has_revoked(shown))
    }

    /// Says in TLS that nothing more follows, if the connection has that.
    #[inline(never)]
    pub(crate) fn close_tls(&self) {
        if let Some(secured) = self.secured.get() {
            secured.close(&self.stream);
        }
    }

    fn never_wait(&self) -> io::Result<()> {
        // Acquire pairs with the Release in `wait_again`. Sends happen one at a time under the outbox's
        // lock, so if this is `true`, an earlier send has made the call below.
        if !self.never_waits.load(Ordering::Acquire) {
            // Release, and before the call: a read that fails because of it must find the reason here.
            self.never_waits.store(true, Ordering::Release);
            ioctl_fionbio(&self.stream, true)?;
        }
        Ok(())
    }
}

/// Why a connection ends whose client has shown a certificate that is revoked.
pub(crate) fn revoked() -> io::Error {
    io::Error::other("its certificate is revoked")
}

/// The reading side of a socket.
pub(crate) struct SocketSource<'a> {
    socket: &'a Arc<Socket>,
    shutdown: &'a ShutdownDeadline,
    /// The silence that is reported; zero for never.
    ping_interval: Duration,
    /// How long the next read waits before it returns.
    patience: Patience,
    /// The stack that the handshake and the first request needed has been given back.
    has_paused: bool,
    /// Bytes read so far.
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Bytes arrived recently: the next pause is reported.
    Short,
    /// A whole interval between PINGs.
    Long,
}

impl<'a> SocketSource<'a> {
    pub(crate) fn new(
        socket: &'a Arc<Socket>,
        shutdown: &'a ShutdownDeadline,
        ping_interval: Duration,
    ) -> Self {
        let mut source = Self {
            socket,
            shutdown,
            ping_interval,
            patience: Patience::Long,
            has_paused: false,
            bytes: 0,
        };
        source.set_patience(Patience::Short);
        source
    }

    fn set_patience(&mut self, patience: Patience) {
        if self.patience != patience {
            self.patience = patience;
            let time = self.time();
            // This cannot fail on an open socket; if it did, silence would be noticed later.
            let _ = sockopt::set_socket_timeout(&self.socket.stream, Timeout::Recv, time);
        }
    }

    /// The timeout of a read; none to wait without limit.
    fn time(&self) -> Option<Duration> {
        let time = match self.patience {
            Patience::Short => PAUSE,
            Patience::Long => self.ping_interval,
        };
        (!time.is_zero()).then_some(time)
    }

    /// Waits for bytes if a read itself does not block. Returns whether there are any.
    fn wait(&self) -> bool {
        let time = self.time().and_then(|time| Timespec::try_from(time).ok());
        let mut socket = [PollFd::new(&self.socket.stream, PollFlags::IN)];
        // Acquire pairs with the Release in `never_wait`, which precedes the reads that fail.
        self.socket.never_waits.load(Ordering::Acquire)
            && loop {
                match poll(&mut socket, time.as_ref()) {
                    Err(Errno::INTR) => {}
                    ready => break ready != Ok(0),
                }
            }
    }

    fn ended(&self) -> Arrival {
        match self.is_to_end() {
            true => Arrival::Stopping,
            false => Arrival::End,
        }
    }

    /// Whether the broker ends the connection.
    fn is_to_end(&self) -> bool {
        self.shutdown.deadline().is_some() || self.socket.dismissal().is_some()
    }
}

impl SocketSource<'_> {
    /// Reads what comes from the socket, as it is.
    fn fill_raw(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        let Some(room) = buffer.fill(most) else {
            return Arrival::NoMemory;
        };
        loop {
            match recv(
                &self.socket.stream,
                spare_capacity(room),
                RecvFlags::empty(),
            ) {
                Ok((_, 0)) => return self.ended(),
                Ok((_, len)) => {
                    self.bytes += len as u64;
                    if !self.socket.has_spoken.load(Ordering::Relaxed) {
                        let bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
                        self.socket.first_bytes.store(bytes, Ordering::Relaxed);
                    }
                    self.set_patience(Patience::Short);
                    return Arrival::Bytes;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.wait() => {}
                Err(Errno::AGAIN) => break,
                Err(err) => return Arrival::Failed(err.into()),
            }
        }
        match self.patience {
            Patience::Short => {
                buffer.shrink();
                if !mem::replace(&mut self.has_paused, true) {
                    stack::release_unused();
                }
                self.set_patience(Patience::Long);
                Arrival::Pause
            }
            Patience::Long => {
                // Not at each pause: a client that says something every few seconds would pay for it each time, and so
                // would the other processors, which are interrupted. Measured with 10,000 of them: the p99 of others
                // 1 to 3 ms, because thousands of pauses end within one tick of the system's timer.
                stack::release_unused();
                Arrival::Silence
            }
        }
    }

    /// The same, at most until `deadline`.
    fn fill_raw_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(left).expect("a deadline fits into a Timespec");
            let mut socket = [PollFd::new(&self.socket.stream, PollFlags::IN)];
            match poll(&mut socket, Some(&time)) {
                Ok(0) => return Arrival::Silence,
                Ok(_) => return self.fill_raw(buffer, most),
                Err(Errno::INTR) => {}
                Err(err) => return Arrival::Failed(err.into()),
            }
        }
    }

    /// Reads what comes inside TLS.
    // Out of line, as all of TLS: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    fn fill_secured(
        &mut self,
        secured: &TlsStream,
        buffer: &mut ReadBuffer,
        most: usize,
        deadline: Option<Instant>,
    ) -> Arrival {
        let mut raw = secured.raw.lock();
        loop {
            let Some(room) = buffer.fill(most) else {
                return Arrival::NoMemory;
            };
            let (opened, has_to_say) = secured.open(&mut raw, room);
            if has_to_say {
                // Under the lock of `raw`, which no other thread takes.
                secured.speak();
            }
            match opened {
                Ok(TlsRead::Bytes) => return Arrival::Bytes,
                Ok(TlsRead::Closed) => return self.ended(),
                Ok(TlsRead::More) => {}
                Err(err) => return Arrival::Failed(err),
            }
            let arrival = match deadline {
                None => self.fill_raw(&mut raw, RAW_BYTES),
                Some(deadline) => self.fill_raw_by(&mut raw, RAW_BYTES, deadline),
            };
            match arrival {
                Arrival::Bytes => {}
                // The end of the connection is not signed, so anything between could have cut it.
                Arrival::End if !secured.has_ended_reading() => {
                    let why = "the client did not say in TLS that it was done";
                    return Arrival::Failed(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Arrival::Pause => {
                    buffer.shrink();
                    return Arrival::Pause;
                }
                other => return other,
            }
        }
    }
}

impl SocketSource<'_> {
    #[inline(never)]
    fn begin_tls_with(
        &mut self,
        client: &mut Client<'_>,
        buffer: &mut ReadBuffer,
        framing: SendForm,
    ) -> ControlFlow<End> {
        let (engine, record) = (client.engine(), client.record().clone());
        let mut raw = mem::replace(buffer, ReadBuffer::new(client.memory()));
        let newcomer = HandshakePeer {
            socket: self.socket.stream.as_fd(),
            raw: &mut raw,
            peer: record.peer(),
            metrics: &engine.metrics,
            most: (client.limits().connections / 2).max(1),
        };
        let accepted = self.socket.tls.accept(newcomer, || self.is_to_end());
        let AcceptedClient {
            connection,
            security,
            certificate,
        } = match accepted {
            Ok(accepted) => accepted,
            Err(NoHandshake::Off) => return ControlFlow::Break(End::NotSpoken(Protocol::Tls)),
            Err(NoHandshake::Stopping) => return ControlFlow::Break(End::Stopping),
            Err(NoHandshake::Failed(why)) => return ControlFlow::Break(End::Refused(why.into())),
            Err(NoHandshake::BadCertificate(why)) => {
                client.note_handshake_refused(&why);
                return ControlFlow::Break(End::Refused(why.into()));
            }
        };
        let stream = Box::new(TlsStream::new(connection, raw, certificate, &record));
        let _ = self.socket.secured.set(stream);
        // Set before it is asked for: a list that comes now is either seen here, or finds this certificate when
        // it ends the living connections (`Listener::replace_tls`).
        if self.socket.is_revoked() {
            return ControlFlow::Break(End::Failed(revoked()));
        }
        let socket = self.socket.clone();
        let sink = TlsSink(SocketSink::new(record.id(), socket, engine.flusher.clone()));
        let sink: Box<dyn Sink> = match framing {
            SendForm::Stream => Box::new(sink),
            SendForm::Lines => Box::new(LineByLine(sink)),
        };
        client.take_security(security);
        record.outbox().lock().replace_sink(sink);
        ControlFlow::Continue(())
    }
}

impl Source for SocketSource<'_> {
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        match self.socket.secured.get() {
            None => self.fill_raw(buffer, most),
            Some(secured) => self.fill_secured(secured, buffer, most, None),
        }
    }

    fn security(&self) -> Security {
        match self.socket.secured.get() {
            Some(secured) => Security::Tls(secured.agreed()),
            None if self.socket.requires_tls => Security::Missing,
            None => Security::Plain,
        }
    }

    fn begin_tls(
        &mut self,
        client: &mut Client<'_>,
        buffer: &mut ReadBuffer,
        framing: SendForm,
    ) -> ControlFlow<End> {
        self.begin_tls_with(client, buffer, framing)
    }

    fn refuse_tls(&mut self) {
        if let Some(secured) = self.socket.secured.get() {
            secured.refuse(&self.socket.stream);
        }
    }

    fn note_first_request(&mut self) {
        self.socket.has_spoken.store(true, Ordering::Relaxed);
    }

    fn set_interval(&mut self, interval: Duration) {
        self.ping_interval = interval;
        if self.patience == Patience::Long {
            self.patience = Patience::Short;
            self.set_patience(Patience::Long);
        }
    }

    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival {
        match self.socket.secured.get() {
            None => self.fill_raw_by(buffer, most, deadline),
            Some(secured) => self.fill_secured(secured, buffer, most, Some(deadline)),
        }
    }

    fn wait_for_end(&mut self) -> Arrival {
        let interval = self.ping_interval;
        let began = Instant::now();
        while interval.is_zero() || began.elapsed() < interval {
            if self.is_to_end() {
                return Arrival::Stopping;
            }
            let mut socket = [PollFd::new(&self.socket.stream, PollFlags::empty())];
            let glance = Timespec::try_from(GLANCE).expect("a second fits into a Timespec");
            match poll(&mut socket, Some(&glance)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.ended(),
                Err(err) => return Arrival::Failed(err.into()),
            }
        }
        Arrival::Silence
    }
}

/// The writing side of a socket.
pub(crate) struct SocketSink {
    id: u64,
    socket: Arc<Socket>,
    flusher: Arc<Flusher>,
    /// Whether it has been registered with the flusher's epoll.
    watched: AtomicBool,
}

impl SocketSink {
    pub(crate) fn new(id: u64, socket: Arc<Socket>, flusher: Arc<Flusher>) -> Self {
        Self {
            id,
            socket,
            flusher,
            watched: AtomicBool::new(false),
        }
    }
}

const AT_ONCE: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl Sink for SocketSink {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = match slices {
            [only] => send(&self.socket.stream, only, AT_ONCE),
            _ => sendmsg(
                &self.socket.stream,
                slices,
                &mut SendAncillaryBuffer::default(),
                AT_ONCE,
            ),
        };
        Ok(sent?)
    }

    fn send_memfd(&self, memfd: &MemFd, bytes: &[u8]) -> io::Result<usize> {
        self.socket.never_wait()?;
        match sendfile(&self.socket.stream, memfd, Some(&mut 0), bytes.len()) {
            Err(Errno::INVAL | Errno::NOSYS) => self.send(&[IoSlice::new(bytes)]),
            sent => Ok(sent?),
        }
    }

    fn arm(&self) -> io::Result<()> {
        self.flusher
            .arm(&self.socket.stream, self.id, &self.watched)
    }

    fn end_reading(&self) {
        // This fails only if the socket is closed already, and then there is nothing to read.
        let _ = shutdown(&self.socket.stream, Shutdown::Read);
    }
}

/// The writing side of a socket with TLS.
struct TlsSink(SocketSink);

impl TlsSink {
    fn stream(&self) -> io::Result<&TlsStream> {
        let secured = self.0.socket.secured.get();
        secured
            .map(|secured| &**secured)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Sink for TlsSink {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = self.stream()?.send(&self.0.socket.stream, slices);
        let has_failed = |err: &io::Error| err.kind() != io::ErrorKind::WouldBlock;
        if sent.as_ref().is_err_and(has_failed) {
            // The connection's thread learns of a failed send from the socket, and keys that are used up leave
            // that as it was.
            self.end_reading();
        }
        sent
    }

    fn ahead(&self) -> usize {
        self.stream().map_or(0, TlsStream::ahead)
    }

    fn finish(&self) -> io::Result<bool> {
        self.stream()?.finish(&self.0.socket.stream)
    }

    fn arm(&self) -> io::Result<()> {
        self.0.arm()
    }

    fn end_reading(&self) {
        if let Ok(stream) = self.stream() {
            stream.end_reading();
        }
        self.0.end_reading();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::engine::memory::budget::Memory;

    /// The sink of a socket, the socket, and the other end.
    fn sink() -> (SocketSink, Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).expect("it listens");
        let (stream, _) = listener.accept().expect("a connection waits");
        let socket = Arc::new(Socket::new(stream.into(), Arc::default(), false));
        let flusher = Arc::new(Flusher::new(Arc::default()).expect("an epoll"));
        let sink = SocketSink::new(1, socket.clone(), flusher);
        (sink, socket, client)
    }

    #[test]
    fn bytes_of_a_file_in_memory_are_sent_as_far_as_there_is_room() {
        let (sink, _, mut client) = sink();
        let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_ne_bytes).collect();
        let memfd = MemFd::new(&bytes).expect("a file in memory");
        let mut sent = 0;
        // The client does not read, so the socket soon becomes full, within a file or between two.
        loop {
            match sink.send_memfd(&memfd, &bytes) {
                Ok(len) => sent += len,
                Err(err) => {
                    assert_eq!(err.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        drop((memfd, sink));
        let mut came = vec![0; sent];
        client.read_exact(&mut came).expect("all that was sent");
        let first = &came[..bytes.len().min(sent)];
        assert!(first == &bytes[..first.len()], "not what was in the file");
    }

    /// Takes a little less each time.
    #[derive(Default)]
    struct Recorder(parking_lot::Mutex<Vec<String>>);

    impl Sink for Recorder {
        fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut calls = self.0.lock();
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let most = 8 - calls.len();
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most)]);
            calls.push(text.into_owned());
            match most {
                5 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(bytes.len().min(most)),
            }
        }

        fn arm(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_sent_by_itself_until_one_does_not_fit() {
        let sink = LineByLine(Recorder::default());
        let sent = |texts: &[&str]| {
            let slices: Vec<_> = texts
                .iter()
                .map(|text| IoSlice::new(text.as_bytes()))
                .collect();
            sink.send(&slices).map_err(|err| err.kind())
        };
        assert_eq!(sent(&["one\ntwo\n", "three\nfour\n"]), Ok(8 + 6));
        assert_eq!(*sink.0.0.lock(), ["one\n", "two\n", "three\n", "four\n"]);
        sink.0.0.lock().truncate(3);
        assert_eq!(sent(&["four\n"]), Err(io::ErrorKind::WouldBlock));
        // Now four bytes fit.
        assert_eq!(sent(&["fourteen\n", "x\n"]), Ok(4));
    }

    #[test]
    fn a_client_is_silent_until_its_first_line_has_come_or_comes_fast_enough() {
        let (_sink, socket, mut client) = sink();
        let shutdown = ShutdownDeadline::default();
        let mut source = SocketSource::new(&socket, &shutdown, Duration::ZERO);
        let mut buffer = ReadBuffer::new(&Arc::new(Memory::new(usize::MAX)));
        let time = Duration::from_secs(2);
        assert!(socket.is_silent(time));
        client.write_all(&[b'x'; 8191]).expect("it is open");
        while source.bytes < 8191 {
            assert!(matches!(source.fill(&mut buffer, 10_000), Arrival::Bytes));
        }
        assert!(socket.is_silent(time));
        client.write_all(b"x").expect("it is open");
        assert!(matches!(source.fill(&mut buffer, 10_000), Arrival::Bytes));
        assert!(!socket.is_silent(time));
        assert!(socket.is_silent(2 * time));
        source.note_first_request();
        assert!(!socket.is_silent(2 * time));
    }

    #[test]
    fn reads_wait_as_before_after_a_send_from_a_file_in_memory() {
        let (sink, socket, client) = sink();
        let memfd = MemFd::new(b"hi").expect("a file in memory");
        assert_eq!(sink.send_memfd(&memfd, b"hi").ok(), Some(2));
        let shutdown = ShutdownDeadline::default();
        let mut source = SocketSource::new(&socket, &shutdown, Duration::from_millis(100));
        let mut buffer = ReadBuffer::new(&Arc::new(Memory::new(usize::MAX)));
        let began = Instant::now();
        assert!(matches!(source.fill(&mut buffer, 100), Arrival::Pause));
        assert!(began.elapsed() >= PAUSE);
        assert!(matches!(source.fill(&mut buffer, 100), Arrival::Silence));
        let mut other = client.try_clone().expect("a descriptor");
        let writer = thread::spawn(move || other.write_all(b"there"));
        assert!(matches!(source.fill(&mut buffer, 100), Arrival::Bytes));
        assert_eq!(buffer.unread(), b"there");
        let written = writer.join().expect("no panic");
        written.expect("the socket is open");
        client.shutdown(Shutdown::Write).expect("it is still open");
        assert!(matches!(source.fill(&mut buffer, 100), Arrival::End));
    }
}
