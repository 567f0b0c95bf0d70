//! What carries bytes to a broker and back: a socket, with TLS on it or without.
//!
//! Nothing above knows which of the two it is.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::Socket;

use crate::tls::TlsStream;

/// A connected socket, with TLS on it or without. It waits, until it is made non-blocking.
#[derive(Debug)]
pub struct Transport(Kind);

#[derive(Debug)]
enum Kind {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

impl Transport {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self(Kind::Plain(socket))
    }

    pub(crate) fn tls(stream: TlsStream) -> Self {
        Self(Kind::Tls(stream.into()))
    }

    pub(crate) fn socket(&self) -> &Socket {
        match &self.0 {
            Kind::Plain(socket) => socket,
            Kind::Tls(stream) => stream.socket(),
        }
    }

    /// Makes reads and writes return at once, or wait.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.socket().set_nonblocking(is_nonblocking)
    }

    /// Limits how long a read waits.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    /// Limits how long a write waits.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_write_timeout(timeout)
    }

    /// Whether there may be something to read that a poll does not report. Then read again first.
    pub fn may_hold(&self) -> bool {
        match &self.0 {
            Kind::Plain(_) => false,
            Kind::Tls(stream) => stream.may_hold(),
        }
    }

    /// Whether written bytes wait for room in the socket. Then [`flush`](Write::flush) when a poll says
    /// that it is writable.
    pub fn is_flushing(&self) -> bool {
        match &self.0 {
            Kind::Plain(_) => false,
            Kind::Tls(stream) => stream.is_flushing(),
        }
    }

    /// Closes the sending side. While [`is_flushing`](Self::is_flushing), it closes with the flush.
    pub fn end(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.shutdown(Shutdown::Write),
            Kind::Tls(stream) => stream.end(),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Read for Transport {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.read(chunk),
            Kind::Tls(stream) => stream.read(chunk),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(socket) => socket.write(bytes),
            Kind::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(_) => Ok(()),
            Kind::Tls(stream) => stream.flush(),
        }
    }
}
