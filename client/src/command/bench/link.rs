//! One connection to the broker under test. Its socket never blocks; whoever sends also reads, so
//! that answers nobody asked for cannot fill the broker's side.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use client::{Error, Interrupt};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::server;

use super::failure::BenchFailure;
use super::target::BenchTarget;
use super::wire::{AckCount, Protocol, WireEvent};

/// How much one read takes here. Readers of many messages have a larger buffer of their own.
const CHUNK_BYTES: usize = 16 * 1024;

/// No frame of a run is longer.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// No longer than this goes by before somebody looks whether to end.
pub(crate) const BEAT: Duration = Duration::from_millis(100);

/// A line of a subscription has no more topics than this.
const TOPICS_AT_ONCE: usize = 500;

/// Makes connections.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) target: BenchTarget,
    pub(crate) wait: Duration,
    pub(crate) interrupt: Interrupt,
}

impl Dialer {
    /// A connection that has said connect. `name` is one of its own.
    pub(crate) fn dial(&self, name: &str, acked: bool) -> Result<BenchLink, BenchFailure> {
        self.dial_in(self.target.wire, name, acked)
    }

    /// The same for one that subscribes.
    pub(crate) fn dial_subscriber(&self, name: &str) -> Result<BenchLink, BenchFailure> {
        let wire = self.target.wire;
        self.dial_in(wire.of_subscribers().unwrap_or(wire), name, false)
    }

    fn dial_in(
        &self,
        wire: &'static dyn Protocol,
        name: &str,
        acked: bool,
    ) -> Result<BenchLink, BenchFailure> {
        let place = self.target.server.place();
        let stream = connect(&place, self.wait).map_err(|why| {
            let server = self.target.to_string();
            BenchFailure::Connection(Error::Unreachable { server, why })
        })?;
        let mut link = BenchLink {
            wire,
            stream,
            held: Vec::new(),
            acked: 0,
            confirmed: 0,
            wait: self.wait,
            interrupt: self.interrupt.clone(),
        };
        let mut connect = Vec::new();
        let client = format!("bench-{}-{name}", std::process::id());
        link.wire.connect(&client, acked, &mut connect);
        if !connect.is_empty() {
            link.ask(&connect, 1)?;
        }
        link.acked = 0;
        Ok(link)
    }
}

fn connect(place: &str, wait: Duration) -> io::Result<TcpStream> {
    let stream = server::dial(place, wait)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A connection.
#[derive(Debug)]
pub(crate) struct BenchLink {
    pub(crate) wire: &'static dyn Protocol,
    pub(crate) stream: TcpStream,
    /// Received, and not yet a whole frame.
    pub(crate) held: Vec<u8>,
    acked: u64,
    confirmed: usize,
    wait: Duration,
    interrupt: Interrupt,
}

impl BenchLink {
    /// How many messages of this connection are acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn subscribe(&mut self, topics: &[String]) -> Result<(), BenchFailure> {
        for first in (0..topics.len()).step_by(TOPICS_AT_ONCE) {
            let these = first..topics.len().min(first + TOPICS_AT_ONCE);
            let mut bytes = Vec::new();
            let confirms = self.wire.subscribe(topics, these, &mut bytes);
            self.ask(&bytes, confirms)?;
        }
        Ok(())
    }

    /// Returns when the broker has handled all that was sent.
    pub(crate) fn settle(&mut self) -> Result<(), BenchFailure> {
        let mut bytes = Vec::new();
        self.wire.ping(&mut bytes);
        self.ask(&bytes, 1)
    }

    /// Sends, and waits for so many answers.
    fn ask(&mut self, bytes: &[u8], confirms: usize) -> Result<(), BenchFailure> {
        self.confirmed = 0;
        self.send(bytes)?;
        let mut silent_since = Instant::now();
        while self.confirmed < confirms {
            if self.receive(|_, _| {})? {
                silent_since = Instant::now();
            } else if silent_since.elapsed() > self.wait {
                return Err(BenchFailure::Silent(self.wait));
            } else {
                self.wait(PollFlags::IN, BEAT)?;
            }
        }
        Ok(())
    }

    /// Sends all of it; reads what comes meanwhile. Fails when the broker takes nothing for long.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), BenchFailure> {
        let mut stuck_since = None;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    stuck_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stuck_since.get_or_insert_with(Instant::now).elapsed() > self.wait {
                        return Err(BenchFailure::Silent(self.wait));
                    }
                    self.wait(PollFlags::IN | PollFlags::OUT, BEAT)?;
                    self.receive(|_, _| {})?;
                }
                Err(error) => return Err(BenchFailure::Connection(Error::Lost(error))),
            }
        }
        Ok(())
    }

    /// Sends all of it without reading: for the few bytes of receipts, whose sender is in the
    /// middle of what it has read.
    pub(crate) fn send_alone(&mut self, mut bytes: &[u8]) -> Result<(), BenchFailure> {
        let begin = Instant::now();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if begin.elapsed() > self.wait {
                        return Err(BenchFailure::Silent(self.wait));
                    }
                    self.wait(PollFlags::OUT, BEAT)?;
                }
                Err(error) => return Err(BenchFailure::Connection(Error::Lost(error))),
            }
        }
        Ok(())
    }

    /// Takes what has come, without waiting; whether there was any. Messages go to `on_message` as
    /// topic and payload.
    pub(crate) fn receive(
        &mut self,
        mut on_message: impl FnMut(&[u8], &[u8]),
    ) -> Result<bool, BenchFailure> {
        let mut held = std::mem::take(&mut self.held);
        let read = self.read_all(&mut held)?;
        let mut at = 0;
        let mut receipts = Vec::new();
        while let Some((event, len)) = self.wire.scan(&held[at..]) {
            let frame = &held[at..at + len];
            if let WireEvent::Message { topic, payload } = &event {
                on_message(&frame[topic.clone()], &frame[payload.clone()]);
                self.wire.receipt(frame, &mut receipts);
            }
            self.handle(event, frame)?;
            at += len;
        }
        held.drain(..at);
        self.held = held;
        self.send_alone(&receipts)?;
        Ok(read > 0)
    }

    /// Reads all that is there before any of it is looked at: a long frame that comes in pieces
    /// would else be looked at for each piece.
    fn read_all(&mut self, held: &mut Vec<u8>) -> Result<usize, BenchFailure> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut all = 0;
        while held.len() < MAX_HELD_BYTES {
            match self.stream.read(&mut chunk) {
                Ok(0) if all == 0 => return Err(BenchFailure::Connection(Error::Closed)),
                Ok(read) => {
                    held.extend_from_slice(&chunk[..read]);
                    all += read;
                    if read < CHUNK_BYTES {
                        return Ok(all);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchFailure::Connection(Error::Lost(error))),
            }
        }
        if all == 0 {
            Err(BenchFailure::Unexpected)
        } else {
            Ok(all)
        }
    }

    /// Does what an event asks for, apart from messages.
    pub(crate) fn handle(&mut self, event: WireEvent, frame: &[u8]) -> Result<(), BenchFailure> {
        match event {
            WireEvent::Message { .. } | WireEvent::Other => {}
            WireEvent::Ack(AckCount::One) => self.acked += 1,
            WireEvent::Ack(AckCount::Total(count)) => self.acked = count,
            WireEvent::Confirm => self.confirmed += 1,
            WireEvent::Refused(text) => return Err(BenchFailure::Refused(text)),
            WireEvent::Ping { token } => {
                let mut answer = Vec::new();
                self.wire.pong(&frame[token], &mut answer);
                // A socket that does not take even this has a broker that does not read: it asks
                // in vain, and the next send will tell.
                let _ = self.stream.write(&answer);
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready or the time is over, or ends with an interruption.
    pub(crate) fn wait(&self, wanted: PollFlags, time: Duration) -> Result<(), BenchFailure> {
        let mut fds = [
            PollFd::new(&self.stream, wanted),
            PollFd::new(&self.interrupt, PollFlags::IN),
        ];
        let time = Timespec::try_from(time).ok();
        match rustix::event::poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) if self.interrupt.is_raised() => {
                Err(BenchFailure::Interrupted)
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(BenchFailure::Connection(Error::Lost(error.into()))),
        }
    }
}
