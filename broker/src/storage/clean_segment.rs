//! Writes a segment anew without what is not needed of it any more.
//!
//! It keeps its name and the numbers of its entries. In the place of those that are gone stands a frame that says so, or,
//! between two messages of one frame, an empty line.

use std::io;
use std::ops::Range;

use memchr::memchr;

use super::disk::{DiskFile, write_all};
use super::frame::{ALIGNMENT, FrameHeader, FrameKind, FrameSecret, HEADER_BYTES, LogFrame};
use super::log::{CLEANED, Log};
use super::reader::LogReader;
use super::segment::{FOLDER, Mark, ReadableSegment, SegmentMarks, segment_name};
use super::segment_list::SealedSegment;

/// What another frame takes, with one for what is gone before it.
const GAP_BYTES: u64 = 2 * HEADER_BYTES as u64;

/// Messages that are needed, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeededRun {
    pub(crate) numbers: Range<u64>,
    pub(crate) bytes: u64,
}

/// The file that takes the place of a segment.
struct CleanSegment {
    file: Box<dyn DiskFile>,
    marks: SegmentMarks,
    secret: FrameSecret,
    at: u64,
    /// The number of the next entry.
    next: u64,
    time_ms: u64,
    generation: u32,
}

impl Log {
    /// Writes a segment anew with these messages alone. One that is damaged where they are stays as it is.
    pub(super) fn clean(&self, segment: &SealedSegment, needed: &[NeededRun]) -> io::Result<()> {
        let replaced = self.replace(segment, needed);
        if !matches!(replaced, Ok(true)) {
            // On a full disk its part would take the room that is left. It may not be there.
            let _ = self.disk.remove(CLEANED);
        }
        replaced.map(drop)
    }

    /// False if it stays as it is.
    fn replace(&self, segment: &SealedSegment, needed: &[NeededRun]) -> io::Result<bool> {
        let Some(clean) = self.cleaned(segment, needed)? else {
            return Ok(false);
        };
        let first = segment.numbers.start;
        // Durable first: a crash leaves the one or the other as a whole.
        clean.file.sync()?;
        self.disk.rename(CLEANED, &segment_name(first))?;
        // Who reads the old file goes on with that.
        let readable = ReadableSegment {
            file: clean.file.into(),
            marks: clean.marks.into(),
        };
        self.segments.replace(first, readable, clean.at);
        self.disk.sync_folder(FOLDER)?;
        Ok(true)
    }

    /// None if something that is needed cannot be read.
    fn cleaned(
        &self,
        segment: &SealedSegment,
        needed: &[NeededRun],
    ) -> io::Result<Option<CleanSegment>> {
        let numbers = &segment.numbers;
        let mut head = [0; HEADER_BYTES];
        let Some((_, old)) = self.readable(numbers.start)? else {
            return Ok(None);
        };
        let read = old.file.read_at(&mut head, 0)?;
        let Some(first) = FrameHeader::decode(&head[..read], self.secret) else {
            return Ok(None);
        };
        let mut clean = CleanSegment {
            file: self.disk.create(CLEANED)?,
            marks: SegmentMarks::default(),
            secret: self.secret,
            at: 0,
            next: numbers.start,
            time_ms: first.time_ms,
            generation: first.generation,
        };
        let mut reader = LogReader::new(self);
        let mut left = needed;
        while let Some(run) = left.first() {
            let Some(frame) = reader.frame(run.numbers.start.max(clean.next))? else {
                return Ok(None);
            };
            let end = frame.header.end().min(numbers.end);
            let here = near(left, end);
            clean.write_lines(&frame, here, end)?;
            // The last of them may go on in the next frame.
            let done = here.partition_point(|run| run.numbers.end <= end);
            left = &left[done..];
        }
        clean.write_removed(numbers.end)?;
        Ok(Some(clean))
    }
}

/// The first runs before `end` with so little between them that empty lines take less than another frame.
fn near(runs: &[NeededRun], end: u64) -> &[NeededRun] {
    let is_near = |pair: &&[NeededRun]| {
        let (before, behind) = (&pair[0].numbers, &pair[1].numbers);
        behind.start < end && behind.start - before.end < GAP_BYTES
    };
    let others = runs.windows(2).take_while(is_near).count();
    &runs[..1 + others]
}

impl CleanSegment {
    /// Writes those lines of a frame that are needed, which come before `end`.
    fn write_lines(
        &mut self,
        frame: &LogFrame<'_>,
        needed: &[NeededRun],
        end: u64,
    ) -> io::Result<()> {
        let header = &frame.header;
        let first = needed[0].numbers.start.max(header.first);
        let behind = needed[needed.len() - 1].numbers.end.min(end);
        self.write_removed(first)?;
        let (mut body, mut rest, mut runs) = (Vec::new(), frame.body, needed);
        for number in header.first..behind {
            let len = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, others) = rest.split_at(len);
            rest = others;
            while runs.first().is_some_and(|run| run.numbers.end <= number) {
                runs = &runs[1..];
            }
            if runs
                .first()
                .is_some_and(|run| run.numbers.contains(&number))
            {
                body.extend_from_slice(line);
            } else if number >= first {
                body.push(b'\n');
            }
        }
        let count = (behind - first) as u32;
        self.time_ms = header.time_ms;
        self.write(header.kind, count, &body)
    }

    /// Writes that the entries before this number are gone.
    fn write_removed(&mut self, before: u64) -> io::Result<()> {
        while self.next < before {
            let count = u32::try_from(before - self.next).unwrap_or(u32::MAX);
            self.write(FrameKind::Removed, count, &[])?;
        }
        Ok(())
    }

    fn write(&mut self, kind: FrameKind, count: u32, body: &[u8]) -> io::Result<()> {
        let mut header = FrameHeader::new(kind, self.next, count).of(&[body]);
        header.time_ms = self.time_ms;
        header.generation = self.generation;
        // All of it is durable before it has the name of the segment.
        header.synced_to = u32::MAX;
        let padding = [0; ALIGNMENT];
        let padding = &padding[..header.frame_bytes() - HEADER_BYTES - body.len()];
        let parts = [&header.encode(self.secret), body, padding];
        write_all(&*self.file, &parts, self.at)?;
        self.marks.note(Mark {
            sequence: self.next,
            time_ms: self.time_ms,
            at: self.at,
        });
        self.at += header.frame_bytes() as u64;
        self.next = header.end();
        Ok(())
    }
}
