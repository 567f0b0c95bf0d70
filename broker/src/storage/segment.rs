//! One file of the log, and where frames are in it.

use std::io;
use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering};

use super::disk::{DiskFile, read_all, write_all};
use super::frame::{FrameHeader, FrameKind, FrameSecret, HEADER_BYTES, LogFrame, SEQUENCE_END};

/// The folder of the segments.
pub(crate) const FOLDER: &str = "log";

/// A frame is looked for from the last mark before it on, so that about as much is read in vain.
const MARK_BYTES: u64 = 64 * 1024;

/// Times are known from the last mark before, so that they are about as much too early.
const MARK_MS: u64 = 60_000;

pub(super) struct LogSegment {
    /// The sequence number of its first entry.
    pub(super) first: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    /// Bytes of frames, once the next segment has begun.
    pub(super) end: AtomicU64,
    /// Bytes that are durable.
    pub(super) synced_to: AtomicU64,
    pub(super) marks: Arc<SegmentMarks>,
}

/// A segment that can be read.
#[derive(Clone)]
pub(super) struct ReadableSegment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) marks: Arc<SegmentMarks>,
}

/// Where some frames of a segment begin.
#[derive(Default)]
pub(crate) struct SegmentMarks(Mutex<Vec<Mark>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The sequence number of the first entry of a frame, and its time.
    pub(crate) sequence: u64,
    pub(crate) time_ms: u64,
    /// Where the frame begins.
    pub(crate) at: u64,
}

impl LogSegment {
    pub(super) fn new(first: u64, file: Box<dyn DiskFile>, bytes: u64) -> Self {
        Self {
            first,
            file: file.into(),
            bytes,
            end: AtomicU64::new(0),
            synced_to: AtomicU64::new(0),
            marks: Arc::default(),
        }
    }

    /// Writes two marks at the beginning, the second of which says that the first is durable, and so all segments
    /// before. Returns where they end.
    pub(super) fn seal(
        &self,
        secret: FrameSecret,
        generation: u32,
        time_ms: u64,
    ) -> io::Result<u64> {
        let mut end = 0;
        for synced_to in [0, HEADER_BYTES as u32] {
            let mut mark = FrameHeader::new(FrameKind::Mark, self.first, 0);
            mark.time_ms = time_ms;
            mark.generation = generation;
            mark.synced_to = synced_to;
            write_all(&*self.file, &[&mark.encode(secret)], end)?;
            end += HEADER_BYTES as u64;
        }
        self.file.sync()?;
        self.marks.note(Mark {
            sequence: self.first,
            time_ms,
            at: 0,
        });
        // Relaxed: no other thread has it yet.
        self.synced_to.store(end, Ordering::Relaxed);
        Ok(end)
    }

    pub(super) fn readable(&self) -> ReadableSegment {
        ReadableSegment {
            file: self.file.clone(),
            marks: self.marks.clone(),
        }
    }
}

impl ReadableSegment {
    /// One of an earlier process, whose frames are found by reading their headers. Where there is none, more may lie
    /// behind damage.
    pub(super) fn scanned(
        first: u64,
        file: Box<dyn DiskFile>,
        secret: FrameSecret,
    ) -> io::Result<Self> {
        let marks = SegmentMarks::default();
        let len = file.len()?;
        let (mut at, mut next) = (0, first);
        let mut is_behind_hole = false;
        while at < len {
            let mut bytes = [0; HEADER_BYTES];
            let read = file.read_at(&mut bytes, at)?;
            let header = FrameHeader::decode(&bytes[..read], secret);
            let follows = |header: &FrameHeader| {
                let end = at + HEADER_BYTES as u64 + u64::from(header.length);
                header.first == next && end <= len
            };
            let Some(header) = header.filter(follows) else {
                // Read as a whole, as a start does. A start cuts off what lies behind the last frame, so that this is rare.
                let all = read_all(&*file)?;
                let behind = LogFrame::next_behind(&all, at as usize, next, secret);
                let Some((found, first)) = behind else {
                    break;
                };
                (at, next) = (found as u64, first);
                is_behind_hole = true;
                continue;
            };
            let mark = Mark {
                sequence: header.first,
                time_ms: header.time_ms,
                at,
            };
            match is_behind_hole {
                // No frame before the hole leads to it.
                true => marks.0.lock().push(mark),
                false => marks.note(mark),
            }
            is_behind_hole = false;
            at += header.frame_bytes() as u64;
            next = header.end();
        }
        Ok(Self {
            file: file.into(),
            marks: Arc::new(marks),
        })
    }
}

impl SegmentMarks {
    /// Notes a frame behind all that were noted before. Most are near enough to another one.
    pub(crate) fn note(&self, mark: Mark) {
        let mut marks = self.0.lock();
        let is_near = marks.last().is_some_and(|last| {
            mark.at < last.at + MARK_BYTES && mark.time_ms < last.time_ms + MARK_MS
        });
        if !is_near {
            marks.push(mark);
        }
    }

    /// The last one that is not behind this number.
    pub(crate) fn before(&self, sequence: u64) -> Option<Mark> {
        let marks = self.0.lock();
        let behind = marks.partition_point(|mark| mark.sequence <= sequence);
        marks.get(behind.checked_sub(1)?).copied()
    }

    /// The last one that is older than this time.
    pub(crate) fn older(&self, time_ms: u64) -> Option<Mark> {
        let marks = self.0.lock();
        let behind = marks.partition_point(|mark| mark.time_ms < time_ms);
        marks.get(behind.checked_sub(1)?).copied()
    }
}

/// The name of the segment whose first entry has this sequence number.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{FOLDER}/{first:020}.log")
}

/// The sequence number in the name of a segment, without its folder.
pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    sequence(digits)
}

/// The sequence number in the name of a file.
pub(crate) fn sequence(digits: &str) -> Option<u64> {
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| digits.parse().ok())?;
    number.filter(|number| *number < SEQUENCE_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lead_to_the_last_frame_before_what_is_looked_for() {
        let marks = SegmentMarks::default();
        for n in 0..100 {
            marks.note(Mark {
                sequence: 10 + 2 * n,
                time_ms: 1000 + n,
                at: n * MARK_BYTES / 4,
            });
        }
        assert_eq!(marks.before(9), None);
        for sequence in 10..210 {
            let mark = marks.before(sequence).expect("one");
            assert!(mark.sequence <= sequence && sequence < mark.sequence + 8);
        }
        assert_eq!(marks.older(1000), None);
        assert_eq!(marks.older(1001).map(|mark| mark.sequence), Some(10));
        assert_eq!(
            marks.older(u64::MAX).map(|mark| mark.at),
            Some(24 * MARK_BYTES)
        );
        assert_eq!(SegmentMarks::default().before(1), None);
    }

    /// A log that grows slowly has marks, too.
    #[test]
    fn times_are_known_to_the_minute() {
        let marks = SegmentMarks::default();
        for n in 0..100 {
            marks.note(Mark {
                sequence: n,
                time_ms: 1_000_000 + n * 7_000,
                at: n * 100,
            });
        }
        for sequence in 0..100 {
            let time_ms = 1_000_000 + sequence * 7_000;
            let mark = marks.before(sequence).expect("one");
            assert!(mark.time_ms <= time_ms && time_ms < mark.time_ms + MARK_MS);
        }
    }
}
