//! A stream that never blocks, and one place where it waits.
//!
//! Bytes to send collect in a buffer. Every wait is for both directions at once, so two full socket
//! buffers cannot hold each other up. Knows no frame and no packet.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt;

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::poll::poll;
use crate::stream::{Inside, Stream};

/// How much one read takes. Larger gains nothing that could be measured.
const CHUNK_BYTES: usize = 64 * 1024;

/// A buffer for sending that grew beyond this is given back once it is empty.
const KEPT_BYTES: usize = 256 * 1024;

/// TCP asks after this long, then every few seconds, and gives up after as many questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_QUESTIONS: u32 = 4;

/// Bytes in both directions.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    unsent: Vec<u8>,
    /// How much of `unsent` has been sent.
    sent: usize,
    total_sent: u64,
    chunk: Box<[u8]>,
    interrupt: Option<Interrupt>,
    /// Why nothing more can be sent. What came before that is still read.
    broken: Option<io::Error>,
}

/// What ended a wait of [`Client::wait_with`](crate::Client::wait_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The connection can be read or written.
    Connection,
    /// The other input can be read.
    Input,
    /// The time is over.
    Deadline,
}

impl Link {
    /// Tries each address that the name stands for.
    pub(crate) fn open(
        server: impl ToSocketAddrs + Display,
        inside: Inside,
        options: &Options,
    ) -> Result<Self, Error> {
        let dialed = dial(&server, options.connect_timeout)
            .and_then(|socket| Stream::open(socket, &server, inside, options));
        let stream = dialed.map_err(|why| Error::Unreachable {
            server: server.to_string(),
            why,
        })?;
        Ok(Self {
            stream,
            unsent: Vec::new(),
            sent: 0,
            total_sent: 0,
            chunk: vec![0; CHUNK_BYTES].into(),
            interrupt: options.interrupt.clone(),
            broken: None,
        })
    }

    /// Where bytes go that are to be sent, behind those that wait for that.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// How many bytes wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent + usize::from(self.stream.is_flushing())
    }

    /// How many bytes have been sent so far.
    pub(crate) fn total_sent(&self) -> u64 {
        self.total_sent
    }

    /// Sends what the stream takes, without waiting. A connection that is found broken here says
    /// so in [`Self::receive`], after everything that had come before.
    pub(crate) fn send(&mut self) {
        if self.stream.is_flushing() {
            // If it fails, so does the next read.
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

    /// What has come, at most one chunk, without waiting.
    pub(crate) fn receive(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            match self.stream.read(&mut self.chunk) {
                Ok(0) => return Err(self.broken.take().map_or(Error::Closed, Error::Lost)),
                Ok(n) => return Ok(Some(&self.chunk[..n])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Lost(error)),
            }
        }
    }

    /// Waits until there is something to read, room to send what is unsent, another `input` to
    /// read, or `until` has passed.
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
        let mut fds = vec![PollFd::new(self.stream.socket(), wanted)];
        fds.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        if let Some(interrupt) = &self.interrupt {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        poll(&mut fds, until).map_err(Error::Lost)?;
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        Ok(if input.is_some() && is_ready(1) {
            Woken::Input
        } else if is_ready(0) {
            Woken::Connection
        } else {
            Woken::Deadline
        })
    }

    /// Whether somebody wants everything to end.
    pub(crate) fn check_interrupt(&self) -> Result<(), Error> {
        match &self.interrupt {
            Some(interrupt) if interrupt.is_raised() => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// Sends what is unsent and waits for the other side to close as well: bytes that come to a
    /// closed socket would take those with them that are still on their way.
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

/// Tries each address that the name stands for.
fn dial(server: &impl ToSocketAddrs, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                set_up(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_QUESTIONS)?;
    Ok(())
}
