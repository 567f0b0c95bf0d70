//! A publisher at full speed: as fast as the broker takes it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tests::TestBroker;

const LAST: &[u8] = b"PING the flood ends\n";
const LAST_ANSWER: &[u8] = b"PONG the flood ends\n";

/// The frames of one round, about a megabyte.
pub(crate) const ROUND: usize = 10_000;

/// The most messages that may be on their way if the subscribers are not to miss any.
const AHEAD: u64 = 10 * ROUND as u64;

/// How long the publisher waits before it looks again.
const GLANCE: Duration = Duration::from_micros(200);

/// A payload as sensors and services send it.
const PAYLOAD_BYTES: usize = 100;

/// A connection that publishes the same frames over and over.
pub(crate) struct Flood {
    stream: TcpStream,
    frames: Vec<u8>,
}

impl Flood {
    /// `topic` gives the topic of each frame of a round.
    pub(crate) fn new(broker: &TestBroker, topic: impl Fn(usize) -> String) -> io::Result<Self> {
        let stream = TcpStream::connect(broker.address())?;
        stream.set_read_timeout(Some(tests::PATIENCE))?;
        stream.set_write_timeout(Some(tests::PATIENCE))?;
        let pad = "x".repeat(PAYLOAD_BYTES);
        let frames: String = (0..ROUND)
            .map(|n| format!("PUBLISH {} {pad}\n", topic(n)))
            .collect();
        Ok(Self {
            stream,
            frames: frames.into_bytes(),
        })
    }

    /// Publishes whole rounds until `done`; returns how many messages the broker has handled.
    pub(crate) fn run(&mut self, done: &AtomicBool) -> io::Result<u64> {
        self.run_while(|_| true, done)
    }

    /// The same, not faster than the subscribers take it, so that none is dropped. `came` counts
    /// what all of them have got.
    pub(crate) fn run_with(&mut self, came: &AtomicU64, done: &AtomicBool) -> io::Result<u64> {
        self.run_while(
            |published| published < came.load(Ordering::Relaxed) + AHEAD,
            done,
        )
    }

    fn run_while(&mut self, may: impl Fn(u64) -> bool, done: &AtomicBool) -> io::Result<u64> {
        let mut published = 0;
        let mut receipts = vec![0; 64 * 1024];
        while !done.load(Ordering::Relaxed) {
            if !may(published) {
                thread::sleep(GLANCE);
                continue;
            }
            for part in self.frames.chunks(64 * 1024) {
                self.stream.write_all(part)?;
                // Receipts are read and not counted, as far as they have come.
                let _ = recv(&self.stream, &mut receipts[..], RecvFlags::DONTWAIT);
            }
            published += ROUND as u64;
        }
        self.stream.write_all(LAST)?;
        let mut tail = Vec::new();
        while !tail.ends_with(LAST_ANSWER) {
            let came = self.stream.read(&mut receipts)?;
            if came == 0 {
                return Err(io::Error::other("the broker has closed the connection"));
            }
            tail.extend_from_slice(&receipts[..came]);
            tail.drain(..tail.len().saturating_sub(LAST_ANSWER.len()));
        }
        Ok(published)
    }
}

/// Counts a message for [`Flood::run_with`].
pub(crate) fn count(came: &AtomicU64) {
    came.fetch_add(1, Ordering::Relaxed);
}
