//! A link that speaks the line protocol: frames out, bytes into a [`Decoder`].
//!
//! The only frame it creates itself is the PING to a silent broker.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use protocol::{Decoder, Request};
use zeroize::Zeroize;

use crate::error::Error;
use crate::link::{Link, Woken};
use crate::liveness::{Liveness, Verdict};
use crate::options::Options;
use crate::stream::Inside;

/// The token of a liveness PING. Tokens of [`crate::Client::ping`] are numbers, so the two never
/// collide.
const ALIVE_TOKEN: &[u8] = b"alive";

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct LineConnection {
    link: Link,
    liveness: Liveness,
}

impl LineConnection {
    pub(crate) fn open(
        server: impl ToSocketAddrs + Display,
        options: &Options,
    ) -> Result<Self, Error> {
        let link = Link::open(server, Inside::Line, options)?;
        let now = Instant::now();
        Ok(Self {
            link,
            liveness: Liveness::new(options.silence, options.answer_timeout, now),
        })
    }

    /// Appends a frame to the send buffer.
    pub(crate) fn push(&mut self, frame: &Request<'_>) {
        frame.encode(self.link.outgoing());
    }

    /// Overwrites what was sent. Nothing may wait to be sent.
    pub(crate) fn wipe_sent(&mut self) {
        self.link.outgoing().zeroize();
    }

    /// Number of bytes in the send buffer.
    pub(crate) fn unsent(&self) -> usize {
        self.link.unsent()
    }

    /// Total number of bytes sent.
    pub(crate) fn total_sent(&self) -> u64 {
        self.link.total_sent()
    }

    /// Sends without waiting.
    pub(crate) fn send(&mut self) {
        self.link.send();
    }

    /// Receives at most one chunk without waiting; returns whether any bytes had arrived.
    pub(crate) fn receive(&mut self, decoder: &mut Decoder) -> Result<bool, Error> {
        self.link.check_interrupt()?;
        let Some(bytes) = self.link.receive()? else {
            return Ok(false);
        };
        decoder.push(bytes);
        self.liveness.heard(Instant::now());
        Ok(true)
    }

    /// Waits until the socket is readable, or writable while there are unsent bytes, `input` is
    /// readable, or `deadline` passes. Sends a PING to a silent broker meanwhile.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        loop {
            let (check, silence) = self.check_liveness();
            let until = deadline.map_or(check, |deadline| deadline.min(check));
            match self.link.wait(Some(until), input)? {
                Woken::Deadline => {}
                woken => return Ok(woken),
            }
            if let Some(silence) = silence {
                return Err(Error::Silent(silence));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Woken::Deadline);
            }
        }
    }

    /// The time of the next liveness check; and the length of the silence, if the broker counts as
    /// gone unless unread bytes prove otherwise.
    fn check_liveness(&mut self) -> (Instant, Option<Duration>) {
        loop {
            let now = Instant::now();
            match self.liveness.check(now) {
                Verdict::Wait(until) => return (until, None),
                Verdict::Gone(silence) => return (now, Some(silence)),
                Verdict::Ask => {
                    self.push(&Request::Ping { token: ALIVE_TOKEN });
                    self.send();
                }
            }
        }
    }
}
