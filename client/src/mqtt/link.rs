//! A stream that never blocks, and one place where it waits. Knows no packet.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use crate::connection::dial;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::poll::poll;
use crate::stream::{Inside, Stream};

/// How much one read takes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes in both directions.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    unsent: Vec<u8>,
    /// How much of `unsent` has been sent.
    sent: usize,
    chunk: Box<[u8]>,
    interrupt: Option<Interrupt>,
}

impl Link {
    pub(super) fn open(
        server: impl ToSocketAddrs + Display,
        options: &Options,
    ) -> Result<Self, Error> {
        let dialed = dial(&server, options.connect_timeout)
            .and_then(|socket| Stream::open(socket, &server, Inside::Mqtt, options));
        let stream = dialed.map_err(|why| Error::Unreachable {
            server: server.to_string(),
            why,
        })?;
        Ok(Self {
            stream,
            unsent: Vec::new(),
            sent: 0,
            chunk: vec![0; CHUNK_BYTES].into(),
            interrupt: options.interrupt.clone(),
        })
    }

    /// Puts bytes behind those that wait to be sent.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// How many bytes wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent + usize::from(self.stream.is_flushing())
    }

    /// Sends what the socket takes, without waiting. A broken connection says so when it is read
    /// from, after all that came before.
    pub(super) fn send(&mut self) {
        if self.stream.is_flushing() {
            // If it fails, so does the next read.
            let _ = self.stream.flush();
        }
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.sent = 0;
        self.unsent.clear();
    }

    /// What has come, at most one chunk, without waiting.
    pub(super) fn receive(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            match self.stream.read(&mut self.chunk) {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => return Ok(Some(&self.chunk[..n])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Lost(error)),
            }
        }
    }

    /// Waits until there is something to read, room to send what is unsent, another `input` to
    /// read, or `until` has passed; whether it was the input.
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<bool, Error> {
        self.check_interrupt()?;
        if self.stream.may_hold() {
            return Ok(false);
        }
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.unsent() > 0);
        let mut fds = vec![PollFd::new(self.stream.socket(), wanted)];
        fds.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        if let Some(interrupt) = &self.interrupt {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        poll(&mut fds, until).map_err(Error::Lost)?;
        let is_input = input.is_some() && !fds[1].revents().is_empty();
        self.check_interrupt()?;
        Ok(is_input)
    }

    /// Sends what is unsent and waits for the other side to close as well: bytes that come to a
    /// closed socket would take those with them that are still on their way.
    pub(super) fn close(mut self, until: Instant) {
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

    fn check_interrupt(&self) -> Result<(), Error> {
        match &self.interrupt {
            Some(interrupt) if interrupt.is_raised() => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}
