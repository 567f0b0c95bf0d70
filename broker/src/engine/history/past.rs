//! A part of the past: chosen from what topics keep, and read from the log piece by piece.

use std::cmp::Reverse;
use std::io;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::lines::LineReader;
use super::topic::{KeptRun, KeptTopic};
use crate::storage::store::Store;

/// Runs that are taken from the topics at a time, about: a reader takes so much memory however much there is.
const WINDOW_RUNS: u64 = 16 * 1024;

/// A topic of which messages are asked for.
pub(super) struct Chosen {
    pub(super) topic: Arc<KeptTopic>,
    /// False once its client may not see it any more.
    pub(super) is_wanted: bool,
    /// The number of the first.
    pub(super) first: u64,
    /// Places among all messages of the topic: those that are asked for, and later those that were not taken yet.
    pub(super) places: Range<u64>,
}

/// Messages of the past, in the order of the log.
pub(crate) struct Past {
    topics: Vec<Chosen>,
    /// Numbers whose runs were not taken yet, and how many of them are taken at a time.
    numbers: Range<u64>,
    window: u64,
    /// What was taken and is not read, the last first.
    items: Vec<PastItem>,
    /// Older ones are left out, in milliseconds since 1970.
    since_ms: u64,
}

/// What comes next.
#[derive(Clone, Copy)]
struct PastItem {
    /// Which of the topics.
    topic: usize,
    run: KeptRun,
    /// They are not there any more, since a limit has removed them; the number of the first is where they are told.
    is_removed: bool,
}

/// What was read at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PastPiece {
    /// Messages that are missing in front of the others: they were removed before they were read, or are damaged.
    pub(crate) missing: u64,
    pub(crate) messages: u64,
    /// There are no more.
    pub(crate) is_last: bool,
}

impl Past {
    /// The messages of these topics with numbers below `end`.
    pub(super) fn new(store: &Store, topics: Vec<Chosen>, end: u64, since_ms: u64) -> Self {
        let chosen = topics.iter();
        let runs: u64 = chosen.map(|it| it.topic.runs_from(it.first)).sum();
        let first = topics.iter().map(|it| it.first).min();
        let first = first.unwrap_or(end).max(store.log().oldest()).min(end);
        Self {
            topics,
            numbers: first..end,
            window: (end - first) / runs.div_ceil(WINDOW_RUNS).max(1) + 1,
            items: Vec::new(),
            since_ms,
        }
    }

    /// Leaves out the topics that the client may not see any more.
    pub(crate) fn retain(&mut self, may_see: impl Fn(&str) -> bool) {
        for chosen in &mut self.topics {
            chosen.is_wanted &= may_see(chosen.topic.name());
        }
        let topics = &self.topics;
        self.items.retain(|item| topics[item.topic].is_wanted);
    }

    /// Writes the next messages as lines that say where they are, until about `most` bytes are written, or some are missing
    /// behind those that are written.
    pub(crate) fn read(
        &mut self,
        reader: &mut LineReader<'_>,
        most: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<PastPiece> {
        let mut piece = PastPiece::default();
        while out.len() < most {
            match self.next_item() {
                None => {
                    piece.is_last = true;
                    break;
                }
                Some(item) if item.is_removed => {
                    if piece.messages > 0 {
                        self.items.push(item);
                        break;
                    }
                    piece.missing += u64::from(item.run.messages);
                }
                Some(item) => {
                    if !self.read_run(item, reader, most, out, &mut piece)? {
                        break;
                    }
                }
            }
        }
        Ok(piece)
    }

    fn next_item(&mut self) -> Option<PastItem> {
        while self.items.is_empty() && !self.numbers.is_empty() {
            let end = (self.numbers.start + self.window).min(self.numbers.end);
            let mut runs = Vec::new();
            let wanted = self.topics.iter_mut().enumerate();
            for (topic, chosen) in wanted.filter(|(_, it)| it.is_wanted) {
                let numbers = self.numbers.start.max(chosen.first)..end;
                let forgotten = chosen.topic.runs_in(numbers, &mut runs);
                // Among what is forgotten may be some that came behind this past.
                let before = forgotten.clamp(chosen.places.start, chosen.places.end);
                let removed = before - mem::replace(&mut chosen.places.start, before);
                if removed > 0 {
                    let run = KeptRun {
                        first: self.numbers.start,
                        messages: u32::try_from(removed).unwrap_or(u32::MAX),
                        bytes: 0,
                    };
                    self.items.push(PastItem {
                        topic,
                        run,
                        is_removed: true,
                    });
                }
                for run in runs.drain(..) {
                    chosen.places.start += u64::from(run.messages);
                    self.items.push(PastItem {
                        topic,
                        run,
                        is_removed: false,
                    });
                }
            }
            self.items.sort_by_key(|item| Reverse(item.run.first));
            self.numbers.start = end;
        }
        self.items.pop()
    }

    /// Writes messages of a run that are in one frame. Returns false if the piece ends before them.
    fn read_run(
        &mut self,
        item: PastItem,
        reader: &mut LineReader<'_>,
        most: usize,
        out: &mut Vec<u8>,
        piece: &mut PastPiece,
    ) -> io::Result<bool> {
        let (run, since_ms) = (item.run, self.since_ms);
        let read = reader.read(run.first, run.end(), |found| {
            if out.len() >= most {
                return ControlFlow::Break(());
            }
            if found.time_ms >= since_ms {
                piece.messages += u64::from(found.write(out, true));
            }
            ControlFlow::Continue(())
        })?;
        let next = match read {
            Some(next) => next,
            // A limit has removed it since it was taken, or it is damaged.
            None if piece.messages == 0 => {
                let next = reader.oldest().clamp(run.first + 1, run.end());
                piece.missing += next - run.first;
                next
            }
            None => {
                self.items.push(item);
                return Ok(false);
            }
        };
        if next < run.end() {
            let run = KeptRun {
                first: next,
                messages: (run.end() - next) as u32,
                ..run
            };
            self.items.push(PastItem { run, ..item });
        }
        Ok(true)
    }
}
