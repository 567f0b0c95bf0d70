//! One message of a run, and what of it decides on its delivery.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memchr;
use protocol::{MessageLine, RETAINED, TTL};

use super::logged::LoggedLine;
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::run::{MESSAGE, Run};

/// One message of a run.
pub(crate) struct RunLine<'a> {
    pub(crate) run: &'a Run<'a>,
    /// Its index in the run, from zero.
    number: usize,
    /// The range of its line in the run, with the line end.
    range: Range<usize>,
    /// The line, if it is not as in the run.
    own: Option<Bytes>,
    /// Its number in the log, if it comes from there; otherwise zero.
    pub(super) sequence: u64,
    pub(crate) now: Instant,
    pub(crate) memory: &'a Arc<Memory>,
    /// Maximum bytes of output that may be added to what the client has not taken.
    pub(crate) room: usize,
}

impl<'a> RunLine<'a> {
    /// The message of a run whose line is in this range.
    pub(crate) fn new(
        (run, number, range): (&'a Run<'a>, usize, Range<usize>),
        (now, memory, room): (Instant, &'a Arc<Memory>, usize),
    ) -> Self {
        let mut message = Self {
            run,
            number,
            range,
            own: None,
            sequence: 0,
            now,
            memory,
            room,
        };
        if let Some(logged) = LoggedLine::of(message.line()) {
            message.sequence = logged.sequence;
            message.range.start += logged.start;
            message.own = logged.own;
        }
        message
    }

    pub(super) fn line(&self) -> &[u8] {
        match &self.own {
            Some(line) => line,
            None => &self.run.bytes()[self.range.clone()],
        }
    }

    pub(super) fn keep(&self) -> Bytes {
        match &self.own {
            Some(line) => line.clone(),
            None => self.run.keep_line(self.range.clone(), self.number),
        }
    }
}

/// The parts of a line that decide on its delivery.
pub(super) struct LineHead<'a> {
    /// The topic as spelled in the line.
    pub(super) topic: &'a [u8],
    pub(super) ttl: Option<Duration>,
    pub(super) retained: bool,
}

impl<'a> LineHead<'a> {
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        // Nearly every message has no attributes. Lines in the engine are valid, so this needs no
        // check.
        if let Some(rest) = line.strip_prefix(MESSAGE) {
            let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
            let end = memchr(b' ', rest).unwrap_or(rest.len());
            return Some(Self {
                topic: &rest[..end],
                ttl: None,
                retained: false,
            });
        }
        let MessageLine {
            topic, attributes, ..
        } = MessageLine::decode(line)?;
        let ttl = attributes.get(TTL).and_then(|seconds| {
            let seconds = str::from_utf8(&seconds).ok()?.parse::<u32>().ok()?;
            Some(Duration::from_secs(seconds.into()))
        });
        Some(Self {
            retained: attributes.contains(RETAINED),
            topic: topic.as_str().as_bytes(),
            ttl,
        })
    }
}
