//! A non-blocking stream, and the one place where it waits.
//!
//! Bytes to send collect in a buffer. Every wait is for both directions at once, so two full socket
//! buffers cannot deadlock. It knows no frames and no packets.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt;

use crate::error::Error;
use crate::foreign::Greeting;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::poll::poll;
use crate::socket::dial;
use crate::stream::{Inside, Stream};
use crate::transport::Transport;

/// Size of one read. A larger buffer showed no gain.
const CHUNK_BYTES: usize = 64 * 1024;

/// A send buffer that grew beyond this is freed once it is empty.
const KEPT_BYTES: usize = 256 * 1024;

/// TCP keep-alive: idle time before the first probe, interval between probes, number of probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_QUESTIONS: u32 = 4;

/// A stream with its buffers.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    greeting: Greeting,
    unsent: Vec<u8>,
    /// How many bytes of `unsent` have been sent.
    sent: usize,
    total_sent: u64,
    chunk: Box<[u8]>,
    interrupt: Option<Interrupt>,
    /// The error of the last send. What had arrived before is still read.
    broken: Option<io::Error>,
}

/// What ended a wait of [`Client::wait_with`](crate::Client::wait_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The connection is readable or writable.
    Connection,
    /// The other input is readable.
    Input,
    /// The deadline has passed.
    Deadline,
}

impl Link {
    /// Tries each address of the name; see [`dial`].
    pub(crate) fn open(
        server: impl ToSocketAddrs + Display,
        inside: Inside,
        options: &Options,
    ) -> Result<Self, Error> {
        let alpn = match &options.websocket {
            Some(_) => "http/1.1",
            None => inside.alpn(),
        };
        let tls = options.tls.as_ref().map(|tls| tls.with_alpn(alpn));
        let transport = dial(&server, options.connect_timeout, tls.as_ref())?;
        let stream = keep_alive(&transport)
            .and_then(|()| Stream::open(transport, &server, inside, options))
            .map_err(|why| Error::unreachable(server.to_string(), why))?;
        Ok(Self {
            stream,
            greeting: Greeting::new(inside),
            unsent: Vec::new(),
            sent: 0,
            total_sent: 0,
            chunk: vec![0; CHUNK_BYTES].into(),
            interrupt: options.interrupt.clone(),
            broken: None,
        })
    }

    /// The send buffer, to append to.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// Number of bytes in the send buffer.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent + usize::from(self.stream.is_flushing())
    }

    /// Total number of bytes sent.
    pub(crate) fn total_sent(&self) -> u64 {
        self.total_sent
    }

    /// Sends without waiting. An error is reported by [`Self::receive`], after everything that had
    /// arrived before.
    pub(crate) fn send(&mut self) {
        if self.stream.is_flushing() {
            // A failure shows again at the next read.
            let _ = self.stream.flush();
        }
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(sent) => {
                    self.sent += sent;
                    self.total_sent += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken.get_or_insert(error);
                    break;
                }
            }
        }
        self.sent = 0;
        self.unsent.clear();
        if self.unsent.capacity() > KEPT_BYTES {
            self.unsent = Vec::new();
        }
    }

    /// Receives at most one chunk without waiting.
    pub(crate) fn receive(&mut self) -> Result<Option<&mut [u8]>, Error> {
        loop {
            match self.stream.read(&mut self.chunk) {
                Ok(0) => {
                    let closed = if self.greeting.is_empty() {
                        Error::ClosedUnanswered
                    } else {
                        Error::Closed
                    };
                    return Err(self.broken.take().map_or(closed, Error::lost));
                }
                Ok(n) => {
                    self.greeting.check(&self.chunk[..n])?;
                    return Ok(Some(&mut self.chunk[..n]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::lost(error)),
            }
        }
    }

    /// Waits until the stream is readable, or writable while there are unsent bytes, `input` is
    /// readable, or `until` passes.
    pub(crate) fn wait(
        &self,
        until: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        self.check_interrupt()?;
        if self.stream.may_hold() {
            return Ok(Woken::Connection);
        }
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.unsent() > 0);
        let mut fds = vec![PollFd::new(self.stream.transport(), wanted)];
        fds.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        if let Some(interrupt) = &self.interrupt {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        poll(&mut fds, until).map_err(Error::lost)?;
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        Ok(if input.is_some() && is_ready(1) {
            Woken::Input
        } else if is_ready(0) {
            Woken::Connection
        } else {
            Woken::Deadline
        })
    }

    /// Fails if the interrupt was raised.
    pub(crate) fn check_interrupt(&self) -> Result<(), Error> {
        match &self.interrupt {
            Some(interrupt) if interrupt.is_raised() => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// Sends the rest and waits until the peer closes too. Closing at once could reset the
    /// connection when more bytes arrive, and the peer would lose what it has not read yet.
    pub(crate) fn close(mut self, until: Instant) {
        self.interrupt = None;
        while self.unsent() > 0 && Instant::now() < until {
            self.send();
            if self.unsent() > 0 && self.wait(Some(until), None).is_err() {
                return;
            }
        }
        let _ = self.stream.end();
        while Instant::now() < until {
            self.send();
            if self.receive().is_err() || self.wait(Some(until), None).is_err() {
                return;
            }
        }
    }
}

/// Has the kernel find out that a silent peer is gone. One on this machine cannot vanish unnoticed.
fn keep_alive(transport: &Transport) -> io::Result<()> {
    let socket = transport.socket();
    if socket.local_addr()?.is_unix() {
        return Ok(());
    }
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_QUESTIONS)?;
    Ok(())
}
