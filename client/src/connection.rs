//! A link on which the line protocol is spoken: frames out, bytes into a [`Decoder`].
//!
//! Knows no frame but the PING with which it asks a silent broker for a word.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use protocol::{Decoder, Request};

use crate::error::Error;
use crate::link::{Link, Woken};
use crate::liveness::{Liveness, Verdict};
use crate::options::Options;
use crate::stream::Inside;

/// No PING of [`crate::Client::ping`] has this token: those are numbers.
const ALIVE_TOKEN: &[u8] = b"alive";

/// One end of a connection to a broker.
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

    /// Puts a frame behind those that wait to be sent.
    pub(crate) fn push(&mut self, frame: &Request<'_>) {
        frame.encode(self.link.outgoing());
    }

    /// How many bytes wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.link.unsent()
    }

    /// How many bytes have been sent so far.
    pub(crate) fn total_sent(&self) -> u64 {
        self.link.total_sent()
    }

    /// Sends what the link takes, without waiting.
    pub(crate) fn send(&mut self) {
        self.link.send();
    }

    /// Takes what has come, at most one chunk, without waiting; whether there was any.
    pub(crate) fn receive(&mut self, decoder: &mut Decoder) -> Result<bool, Error> {
        self.link.check_interrupt()?;
        let Some(bytes) = self.link.receive()? else {
            return Ok(false);
        };
        decoder.push(bytes);
        self.liveness.heard(Instant::now());
        Ok(true)
    }

    /// Waits until there is something to read, room to send what is unsent, another `input` to
    /// read, or `deadline` has passed. Asks a silent broker for a word meanwhile.
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

    /// When to look again; and after which silence the other side is gone, unless its word lies
    /// here unread.
    fn check_liveness(&mut self) -> (Instant, Option<Duration>) {
        loop {
            let now = Instant::now();
            match self.liveness.judge(now) {
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
