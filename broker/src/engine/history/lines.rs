//! Messages in the log, as lines that say where they are.

use std::io::{self, Write};
use std::ops::ControlFlow;

use memchr::memchr;
use protocol::Position;

use crate::engine::stored_messages::with_time_left;
use crate::storage::frame::FrameKind;
use crate::storage::now_ms;
use crate::storage::reader::LogReader;
use crate::storage::store::Store;

/// Reads messages by their numbers. To read them in order is cheap.
pub(crate) struct LineReader<'a> {
    reader: LogReader<'a>,
    store: &'a Store,
    place: LinePlace,
    /// What the positions of a generation begin with.
    prefix: (u32, String),
}

/// Where the next line is.
#[derive(Clone, Copy, Default)]
struct LinePlace {
    /// The first entry of its frame.
    frame: u64,
    sequence: u64,
    /// Where it begins in the body.
    at: usize,
}

/// One message.
pub(crate) struct FoundLine<'l> {
    pub(crate) sequence: u64,
    /// When it was published, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) line: &'l [u8],
    pub(crate) qos: u8,
    /// Its publisher had it retained.
    pub(crate) retain: bool,
    prefix: &'l str,
    waited_ms: u64,
}

impl<'a> LineReader<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            reader: LogReader::new(store.log()),
            store,
            place: LinePlace::default(),
            prefix: (0, String::new()),
        }
    }

    /// The number of the oldest entry that the log may have.
    pub(crate) fn oldest(&self) -> u64 {
        self.store.log().oldest()
    }

    /// Forgets what was read ahead, because publishers have appended there since. The next reads take about `wanted` bytes.
    pub(crate) fn refresh(&mut self, wanted: u64) {
        self.reader.refresh(wanted);
    }

    /// Calls `each` with the messages from number `first` to before `end`, as far as they are in one frame and until it
    /// breaks; a message at which it does counts as not read. Returns the number of the first that was not read, or none
    /// if `first` is not there.
    pub(crate) fn read(
        &mut self,
        first: u64,
        end: u64,
        mut each: impl FnMut(&FoundLine<'_>) -> ControlFlow<()>,
    ) -> io::Result<Option<u64>> {
        let Some(frame) = self.reader.frame(first)? else {
            return Ok(None);
        };
        let header = frame.header;
        let end = header.end().min(end);
        let FrameKind::Lines { qos, retain } = header.kind else {
            return Ok(Some(end));
        };
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
        let goes_on = self.place.frame == header.first && self.place.sequence <= first;
        let mut place = match goes_on {
            true => self.place,
            false => LinePlace {
                frame: header.first,
                sequence: header.first,
                at: 0,
            },
        };
        let waited_ms = now_ms().saturating_sub(header.time_ms);
        while place.sequence < end {
            let rest = frame.body.get(place.at..).unwrap_or_default();
            let len = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            if place.sequence >= first {
                let found = FoundLine {
                    sequence: place.sequence,
                    time_ms: header.time_ms,
                    line: &rest[..len],
                    qos,
                    retain,
                    prefix: &self.prefix.1,
                    waited_ms,
                };
                if each(&found).is_break() {
                    break;
                }
            }
            place.at += len;
            place.sequence += 1;
        }
        self.place = place;
        Ok(Some(place.sequence.max(first)))
    }
}

impl FoundLine<'_> {
    /// Whether its time is over.
    pub(crate) fn is_over(&self) -> bool {
        with_time_left(self.line, self.waited_ms).is_none()
    }

    /// Writes it with its position, unless its time is over. Returns whether it was written.
    pub(crate) fn write(&self, out: &mut Vec<u8>, is_past: bool) -> bool {
        let Some(line) = with_time_left(self.line, self.waited_ms) else {
            return false;
        };
        out.extend_from_slice(self.prefix.as_bytes());
        let past = if is_past { ";past" } else { "" };
        write!(out, "{}{past}", self.sequence).expect("writing to a vector cannot fail");
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
        true
    }
}
