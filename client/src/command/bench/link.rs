//! One connection to the broker under test. Its socket is non-blocking. Sending also reads, so that
//! unsolicited answers cannot fill the broker's send buffer.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use client::{AckLevel, Error, Interrupt, Transport};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::failure::BenchFailure;
use super::target::BenchTarget;
use super::wire::{AckCount, Protocol, WireEvent};

/// Size of one read. The reader of the subscribers has a larger buffer of its own.
const CHUNK_BYTES: usize = 16 * 1024;

/// Maximum size of a frame.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// Maximum time between two checks for the end of the run.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Maximum number of topics in one subscribe request.
const TOPICS_AT_ONCE: usize = 500;

/// Opens connections.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) target: BenchTarget,
    pub(crate) wait: Duration,
    pub(crate) interrupt: Interrupt,
}

impl Dialer {
    /// Connects with the handshake of the protocol. `name` is unique in the run.
    pub(crate) fn dial(&self, name: &str, acked: bool) -> Result<BenchLink, BenchFailure> {
        self.dial_in(self.target.wire, name, acked)
    }

    /// The same for a subscriber.
    pub(crate) fn dial_subscriber(&self, name: &str) -> Result<BenchLink, BenchFailure> {
        let wire = self.target.wire;
        self.dial_in(wire.of_subscribers().unwrap_or(wire), name, false)
    }

    /// The same for a publisher.
    pub(crate) fn dial_publisher(
        &self,
        publisher: usize,
        acked: bool,
    ) -> Result<BenchLink, BenchFailure> {
        let wire = self.target.wire;
        let wire = wire.of_publisher(publisher).unwrap_or(wire);
        self.dial_in(wire, &format!("p{publisher}"), acked)
    }

    /// The same dialer, also for what comes after an interrupt.
    pub(crate) fn uninterrupted(&self) -> Result<Self, BenchFailure> {
        Ok(Self {
            interrupt: Interrupt::new().map_err(BenchFailure::Resources)?,
            ..self.clone()
        })
    }

    fn dial_in(
        &self,
        wire: &'static dyn Protocol,
        name: &str,
        acked: bool,
    ) -> Result<BenchLink, BenchFailure> {
        let place = self.target.server.place();
        let tls = self.target.tls.as_ref();
        let tls = tls.map(|tls| {
            wire.alpn()
                .map_or_else(|| tls.clone(), |it| tls.with_alpn(it))
        });
        let stream = client::dial(&place, self.wait, tls.as_ref());
        let stream = stream.and_then(|stream| match stream.set_nonblocking(true) {
            Ok(()) => Ok(stream),
            Err(why) => Err(Error::Lost(why)),
        });
        let stream = stream.map_err(|error| {
            BenchFailure::Connection(match error {
                Error::Unreachable { why, .. } => Error::Unreachable {
                    server: self.target.to_string(),
                    why,
                },
                other => other,
            })
        })?;
        let mut link = BenchLink {
            wire,
            stream,
            held: Vec::new(),
            acked: 0,
            is_told_levels: false,
            lowest: Some(AckLevel::Disk),
            confirmed: 0,
            wait: self.wait,
            interrupt: self.interrupt.clone(),
        };
        let mut connect = Vec::new();
        let client = format!("bench-{}-{name}", std::process::id());
        link.wire.connect(&client, acked, &mut connect);
        let mut authenticate = Zeroizing::new(Vec::new());
        if let Some(credential) = &self.target.credential {
            let encoded = wire.authenticate(credential, &mut authenticate);
            encoded.map_err(|why| BenchFailure::Unauthenticated(why.to_owned()))?;
        }
        let steps = match wire.connects_first() {
            true => [&connect, &*authenticate],
            false => [&*authenticate, &connect],
        };
        for step in steps.into_iter().filter(|step| !step.is_empty()) {
            link.ask(step, 1)?;
        }
        link.acked = 0;
        Ok(link)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct BenchLink {
    pub(crate) wire: &'static dyn Protocol,
    pub(crate) stream: Transport,
    /// Received bytes of an incomplete frame.
    pub(crate) held: Vec<u8>,
    acked: u64,
    /// Acknowledgements say levels.
    pub(crate) is_told_levels: bool,
    /// The lowest of them; `None` if one did not say any.
    lowest: Option<AckLevel>,
    confirmed: usize,
    wait: Duration,
    interrupt: Interrupt,
}

impl BenchLink {
    /// Number of acknowledged messages.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// The lowest level of acknowledged messages; `None` if it is unknown of one.
    pub(crate) fn lowest_level(&self) -> Option<AckLevel> {
        self.lowest
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

    /// Sends a request that is answered by one [`WireEvent::Confirm`], unless it is empty.
    pub(crate) fn request(&mut self, bytes: &[u8]) -> Result<(), BenchFailure> {
        self.ask(bytes, usize::from(!bytes.is_empty()))
    }

    /// Waits until the broker has handled everything sent.
    pub(crate) fn settle(&mut self) -> Result<(), BenchFailure> {
        let mut bytes = Vec::new();
        self.wire.ping(&mut bytes);
        self.ask(&bytes, 1)
    }

    /// Sends, and waits for `confirms` answers.
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
                self.wait(PollFlags::IN, TICK)?;
            }
        }
        Ok(())
    }

    /// Sends all bytes, and reads meanwhile. Fails if nothing can be sent for the timeout.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), BenchFailure> {
        let mut stuck_since = None;
        while !bytes.is_empty() || self.stream.is_flushing() {
            match self.send_some(bytes) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    stuck_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stuck_since.get_or_insert_with(Instant::now).elapsed() > self.wait {
                        return Err(BenchFailure::Silent(self.wait));
                    }
                    self.wait(PollFlags::IN | PollFlags::OUT, TICK)?;
                    self.receive(|_, _| {})?;
                }
                Err(error) => return Err(BenchFailure::Connection(Error::lost(error))),
            }
        }
        Ok(())
    }

    /// Sends all bytes without reading: for receipts, whose caller is still handling its receive
    /// buffer.
    pub(crate) fn send_alone(&mut self, mut bytes: &[u8]) -> Result<(), BenchFailure> {
        let begin = Instant::now();
        while !bytes.is_empty() || self.stream.is_flushing() {
            match self.send_some(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if begin.elapsed() > self.wait {
                        return Err(BenchFailure::Silent(self.wait));
                    }
                    self.wait(PollFlags::OUT, TICK)?;
                }
                Err(error) => return Err(BenchFailure::Connection(Error::lost(error))),
            }
        }
        Ok(())
    }

    /// Sends the first of these bytes, or what TLS has kept of earlier ones.
    fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes {
            [] => self.stream.flush().map(|()| 0),
            bytes => self.stream.write(bytes),
        }
    }

    /// Receives without waiting; returns whether any bytes had arrived. Messages are passed to
    /// `on_message` as topic and payload.
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

    /// Reads everything before it is scanned: otherwise a long frame would be scanned again for
    /// each of its pieces.
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
                Err(error) => return Err(BenchFailure::Connection(Error::lost(error))),
            }
        }
        if all == 0 {
            Err(BenchFailure::Unexpected)
        } else {
            Ok(all)
        }
    }

    /// Handles an event other than a message.
    pub(crate) fn handle(&mut self, event: WireEvent, frame: &[u8]) -> Result<(), BenchFailure> {
        if self.is_told_levels && matches!(event, WireEvent::Ack(_)) {
            self.lowest = self.lowest.min(self.wire.level(frame));
        }
        match event {
            WireEvent::Message { .. } | WireEvent::Other => {}
            WireEvent::Ack(AckCount::One) => self.acked += 1,
            WireEvent::Ack(AckCount::Total(count)) => self.acked = count,
            WireEvent::Confirm => self.confirmed += 1,
            WireEvent::Refused(text) => return Err(BenchFailure::Refused(text)),
            WireEvent::Unauthenticated(text) => return Err(BenchFailure::Unauthenticated(text)),
            WireEvent::Ping { token } => {
                let mut answer = Vec::new();
                self.wire.pong(&frame[token], &mut answer);
                // A failure is ignored: if the broker does not read, the next send reports it.
                let _ = self.stream.write(&answer);
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready or the time is over. Fails if the run is interrupted.
    pub(crate) fn wait(&self, wanted: PollFlags, time: Duration) -> Result<(), BenchFailure> {
        if wanted.contains(PollFlags::IN) && self.stream.may_hold() {
            return Ok(());
        }
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
