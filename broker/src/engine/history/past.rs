//! A part of the past: chosen from what topics keep, and read from the log piece by piece.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;
use protocol::Position;

use super::topic::{KeptRun, KeptTopic};
use crate::engine::stored_messages::with_time_left;
use crate::storage::now_ms;
use crate::storage::reader::LogReader;
use crate::storage::store::Store;

/// Runs that are taken from the topics at a time, about: a reader takes so much memory however much there is.
const WINDOW_RUNS: u64 = 128 * 1024;

/// A topic, and the number of the first message of it that is asked for.
pub(super) type Chosen = (Arc<KeptTopic>, u64);

/// Messages of the past, in the order of the log.
pub(crate) struct Past<'a> {
    reader: LogReader<'a>,
    store: &'a Store,
    topics: Vec<Chosen>,
    /// Numbers whose runs were not taken yet, and how many of them are taken at a time.
    numbers: Range<u64>,
    window: u64,
    /// What was taken and is not read, the last first.
    runs: Vec<KeptRun>,
    /// Where the next line is.
    line: Line,
    /// Older ones are left out, in milliseconds since 1970.
    since_ms: u64,
    /// What the positions of a generation begin with.
    prefix: (u32, String),
}

/// Where a line is.
#[derive(Clone, Copy, Default)]
struct Line {
    /// The first entry of its frame.
    frame: u64,
    sequence: u64,
    /// Where it begins in the body.
    at: usize,
}

impl<'a> Past<'a> {
    /// The messages of these topics with numbers below `end`.
    pub(super) fn new(store: &'a Store, topics: Vec<Chosen>, end: u64, since_ms: u64) -> Self {
        let chosen = topics.iter();
        let runs: u64 = chosen.map(|(topic, first)| topic.runs_from(*first)).sum();
        let first = topics.iter().map(|(_, first)| *first).min();
        let first = first.unwrap_or(end).max(store.log().oldest()).min(end);
        Self {
            reader: LogReader::new(store.log()),
            store,
            topics,
            numbers: first..end,
            window: (end - first) / runs.div_ceil(WINDOW_RUNS).max(1) + 1,
            runs: Vec::new(),
            line: Line::default(),
            since_ms,
            prefix: (0, String::new()),
        }
    }

    /// Writes the next messages as lines that say where they are, until about `most` bytes are written. False if there
    /// are no more.
    pub(crate) fn read(&mut self, most: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        while out.len() < most {
            let Some(run) = self.next_run() else {
                return Ok(false);
            };
            let read = self.read_run(run, most, out)?;
            if read < u64::from(run.messages) {
                self.runs.push(KeptRun {
                    first: run.first + read,
                    messages: run.messages - read as u32,
                    ..run
                });
            }
        }
        Ok(true)
    }

    fn next_run(&mut self) -> Option<KeptRun> {
        while self.runs.is_empty() && !self.numbers.is_empty() {
            let end = (self.numbers.start + self.window).min(self.numbers.end);
            for (topic, first) in &self.topics {
                let numbers = self.numbers.start.max(*first)..end;
                topic.runs_in(numbers, &mut self.runs);
            }
            self.runs.sort_unstable_by_key(|run| Reverse(run.first));
            self.numbers.start = end;
        }
        self.runs.pop()
    }

    /// Writes messages of a run that are in one frame; returns how many were read.
    fn read_run(&mut self, run: KeptRun, most: usize, out: &mut Vec<u8>) -> io::Result<u64> {
        let Some(frame) = self.reader.frame(run.first)? else {
            // A limit has removed it meanwhile, or it is damaged.
            return Ok(1);
        };
        let header = frame.header;
        if self.prefix.0 != header.generation {
            let position = Position {
                generation: header.generation,
                ..self.store.position(0)
            };
            let text = format!("@pos={position}");
            let text = text.strip_suffix('0').unwrap_or_default();
            self.prefix = (header.generation, text.to_owned());
        }
        // Lines of one frame are mostly read one after the other.
        let goes_on = self.line.frame == header.first && self.line.sequence <= run.first;
        let mut line = match goes_on {
            true => self.line,
            false => Line {
                frame: header.first,
                sequence: header.first,
                at: 0,
            },
        };
        let waited_ms = now_ms().saturating_sub(header.time_ms);
        let end = run.end().min(header.end());
        while line.sequence < end && out.len() < most {
            let rest = frame.body.get(line.at..).unwrap_or_default();
            let len = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            if line.sequence >= run.first && header.time_ms >= self.since_ms {
                write(out, &rest[..len], &self.prefix.1, line.sequence, waited_ms);
            }
            line.at += len;
            line.sequence += 1;
        }
        self.line = line;
        Ok(line.sequence.max(run.first) - run.first)
    }
}

/// Writes a line with its position, unless its time is over.
fn write(out: &mut Vec<u8>, line: &[u8], prefix: &str, sequence: u64, waited_ms: u64) {
    let Some(line) = with_time_left(line, waited_ms) else {
        return;
    };
    out.extend_from_slice(prefix.as_bytes());
    write!(out, "{sequence};past").expect("writing to a vector cannot fail");
    // Attributes of its own follow.
    match line.strip_prefix(b"@") {
        Some(rest) => {
            out.push(b';');
            out.extend_from_slice(rest);
        }
        None => {
            out.push(b' ');
            out.extend_from_slice(&line);
        }
    }
}
