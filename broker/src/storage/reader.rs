//! Reads what is in the log, while others append to it and remove what is old.

use std::io;
use std::ops::Range;

use super::frame::{ALIGNMENT, FrameHeader, HEADER_BYTES, LogFrame};
use super::log::Log;
use super::segment::ReadableSegment;

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// The same at another place of the log, where one frame alone may be wanted. Doubled with each that follows.
const FIRST_READ_BYTES: usize = 8 * 1024;

/// Finds frames by the numbers of their entries. To look for rising numbers is cheap.
pub(crate) struct LogReader<'a> {
    log: &'a Log,
    segment: Option<ReadPlace>,
    bytes: Vec<u8>,
    /// Where the bytes are in the segment.
    start: u64,
    /// The frame that was found last, in the bytes.
    frame: Range<usize>,
    /// The sequence number behind it.
    next: u64,
    /// Bytes that are read at a time, and at most.
    at_a_time: usize,
    most_at_a_time: usize,
}

/// The segment that is read.
struct ReadPlace {
    readable: ReadableSegment,
    /// The sequence numbers that it has.
    numbers: Range<u64>,
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(log: &'a Log) -> Self {
        Self {
            log,
            segment: None,
            bytes: Vec::new(),
            start: 0,
            frame: 0..0,
            next: 0,
            at_a_time: FIRST_READ_BYTES,
            most_at_a_time: READ_BYTES,
        }
    }

    /// Forgets what was read behind the frame that was found last, because publishers have appended there since. Each
    /// later read takes about `wanted` bytes.
    pub(crate) fn refresh(&mut self, wanted: u64) {
        self.bytes.truncate(self.frame.end);
        let wanted = usize::try_from(wanted).unwrap_or(READ_BYTES);
        self.most_at_a_time = wanted.clamp(HEADER_BYTES, READ_BYTES);
    }

    /// The frame that has the entry with this number; none if it has been removed, or is damaged.
    pub(crate) fn frame(&mut self, sequence: u64) -> io::Result<Option<LogFrame<'_>>> {
        let found = FrameHeader::decode(&self.bytes[self.frame.clone()], self.log.secret);
        let is_in = |header: FrameHeader| (header.first..header.end()).contains(&sequence);
        if !found.is_some_and(is_in) && !self.find(sequence)? {
            // The newest segment may have been followed by another one meanwhile.
            let is_newest = (self.segment.take()).is_some_and(|it| it.numbers.end == u64::MAX);
            if !is_newest || !self.find(sequence)? {
                return Ok(None);
            }
        }
        Ok(LogFrame::checked_before(
            &self.bytes[self.frame.clone()],
            self.log.secret,
        ))
    }

    fn find(&mut self, sequence: u64) -> io::Result<bool> {
        if !self.goes_on_to(sequence) && !self.seek(sequence)? {
            return Ok(false);
        }
        loop {
            let Some(header) = self.header()? else {
                return Ok(false);
            };
            if header.first > sequence {
                return Ok(false);
            }
            let begin = self.frame.end;
            self.next = header.end();
            if header.end() > sequence {
                let end = begin + header.frame_bytes();
                // Of the last frame in a segment the padding may be missing.
                self.fill(end)?;
                // The bytes may have moved.
                let begin = self.frame.end;
                let end = (begin + header.frame_bytes()).min(self.bytes.len());
                if LogFrame::at(&self.bytes[begin..end], self.log.secret).is_none() {
                    self.skip(header.frame_bytes());
                    return Ok(false);
                }
                self.frame = begin..end;
                return Ok(true);
            }
            self.skip(header.frame_bytes());
        }
    }

    /// Whether the entry comes behind the frame that was found last, and not far behind it.
    fn goes_on_to(&self, sequence: u64) -> bool {
        let Some(place) = &self.segment else {
            return false;
        };
        let is_here = place.numbers.contains(&sequence) && self.next <= sequence;
        let mark = place.readable.marks.before(sequence);
        // Between here and there may be damage that leads to no frame.
        let place_now = self.start + self.frame.end as u64;
        is_here && mark.is_none_or(|mark| mark.at <= place_now)
    }

    /// Goes to the last known frame before the entry.
    fn seek(&mut self, sequence: u64) -> io::Result<bool> {
        let is_here = (self.segment.as_ref()).is_some_and(|it| it.numbers.contains(&sequence));
        if !is_here {
            self.segment = self
                .log
                .readable(sequence)?
                .map(|(numbers, readable)| ReadPlace { readable, numbers });
        }
        let Some(place) = &self.segment else {
            return Ok(false);
        };
        let Some(mark) = place.readable.marks.before(sequence) else {
            return Ok(false);
        };
        self.bytes.clear();
        (self.start, self.frame, self.next) = (mark.at, 0..0, mark.sequence);
        self.at_a_time = FIRST_READ_BYTES;
        Ok(true)
    }

    /// The header behind the frame that was found last.
    fn header(&mut self) -> io::Result<Option<FrameHeader>> {
        if !self.fill(self.frame.end + HEADER_BYTES)? {
            return Ok(None);
        }
        let header = FrameHeader::decode(&self.bytes[self.frame.end..], self.log.secret);
        // What is left of an earlier use of the file has lower numbers.
        Ok(header.filter(|header| header.first >= self.next))
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.frame.end + bytes;
        if end <= self.bytes.len() {
            self.frame = end..end;
        } else {
            self.start += end as u64;
            self.bytes.clear();
            self.frame = 0..0;
        }
    }

    /// Reads so that there are this many bytes, counted from the beginning of the buffer; what lies before the end of
    /// the last frame may be dropped, and the buffer begins there then. False if the segment has no more.
    fn fill(&mut self, mut until: usize) -> io::Result<bool> {
        if until <= self.bytes.len() {
            return Ok(true);
        }
        let Some(place) = &self.segment else {
            return Ok(false);
        };
        // A damaged header may ask for more memory than there is.
        let until_in_file = self.start + until as u64;
        if until > READ_BYTES && until_in_file > place.readable.file.len()? + ALIGNMENT as u64 {
            return Ok(false);
        }
        let done = self.frame.end;
        self.bytes.drain(..done);
        self.start += done as u64;
        self.frame = 0..0;
        until -= done;
        let mut filled = self.bytes.len();
        self.at_a_time = self.at_a_time.min(self.most_at_a_time);
        self.bytes.resize(until.max(self.at_a_time), 0);
        self.at_a_time *= 2;
        while filled < until {
            let at = self.start + filled as u64;
            match place.readable.file.read_at(&mut self.bytes[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        self.bytes.truncate(filled);
        Ok(filled >= until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::disk::Disk;
    use super::super::disk::memory::MemoryDisk;
    use super::super::frame::{FrameKind, FrameSecret};
    use super::super::log::NewFrame;
    use super::*;

    const SEGMENT_BYTES: u64 = 4096;
    const SECRET: FrameSecret = FrameSecret(0x5ea1_5ea1);

    fn begin(disk: &MemoryDisk, next: u64) -> Log {
        disk.make_folder("log").expect("no fault");
        Log::begin(
            Arc::new(disk.clone()),
            SEGMENT_BYTES,
            SECRET,
            1,
            next,
            0,
            false,
        )
        .expect("no fault")
    }

    /// Appends frames of one to five entries, each of which is its number.
    fn append(log: &Log, frames: u64) {
        for n in 0..frames {
            let next = log.next();
            let entries: Vec<String> = (next..next + 1 + n % 5).map(|n| format!("{n};")).collect();
            let text = entries.concat();
            let padding = vec![b' '; 40 * (n as usize % 7)];
            let body = [text.as_bytes(), &padding[..]];
            let frame = NewFrame::new(
                FrameKind::Lines {
                    qos: 0,
                    retain: false,
                },
                entries.len() as u32,
                &body,
            );
            log.append(&frame).expect("no fault");
            if n % 9 == 0 {
                log.mark().expect("no fault");
            }
        }
    }

    fn check(reader: &mut LogReader<'_>, sequence: u64) {
        let frame = reader
            .frame(sequence)
            .expect("no fault")
            .expect("it is there");
        let at = (sequence - frame.header.first) as usize;
        let text = str::from_utf8(frame.body).expect("text");
        let entry = text.split(';').nth(at).expect("an entry");
        assert_eq!(entry, sequence.to_string());
    }

    #[test]
    fn each_entry_is_found_in_any_order() {
        let disk = MemoryDisk::default();
        append(&begin(&disk, 1), 100);
        // Another process goes on.
        let log = begin(&disk, 301);
        append(&log, 100);
        let last = log.next() - 1;
        for step in [1, 3, 40, 111] {
            let mut reader = LogReader::new(&log);
            (301..=last)
                .step_by(step)
                .for_each(|n| check(&mut reader, n));
            (1..=300).step_by(step).for_each(|n| check(&mut reader, n));
        }
        let mut reader = LogReader::new(&log);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            check(&mut reader, random.u64(1..=last));
        }
        assert!(reader.frame(0).expect("no fault").is_none());
        assert!(reader.frame(last + 1).expect("no fault").is_none());
    }

    #[test]
    fn a_generation_ends_where_a_later_one_begins() {
        let disk = MemoryDisk::default();
        append(&begin(&disk, 1), 10);
        let next = |generation, next| {
            Log::begin(
                Arc::new(disk.clone()),
                SEGMENT_BYTES,
                SECRET,
                generation,
                next,
                0,
                false,
            )
            .expect("no fault")
        };
        append(&next(1, 31), 10);
        // Nothing came in the second one.
        next(2, 61);
        append(&next(3, 61), 200);
        let log = next(3, 700);
        for (generation, end) in [(0, Some(1)), (1, Some(61)), (2, Some(61)), (3, None)] {
            let found = log.end_of_generation(generation).expect("no fault");
            assert_eq!(found, end, "{generation}");
        }
    }

    #[test]
    fn what_lies_behind_damage_is_found() {
        // The second frame, behind the first and its mark.
        let begins = 2 * HEADER_BYTES + 8;
        for damaged in [begins, begins + HEADER_BYTES] {
            let disk = MemoryDisk::default();
            append(&begin(&disk, 1), 30);
            let name = "log/00000000000000000001.log";
            disk.damage(name, |bytes| bytes[damaged] ^= 1);
            let log = begin(&disk, 91);
            let mut reader = LogReader::new(&log);
            check(&mut reader, 1);
            for sequence in [2, 3] {
                let found = reader.frame(sequence).expect("no fault");
                assert!(found.is_none());
            }
            (4..=30).for_each(|n| check(&mut reader, n));
            let mut reader = LogReader::new(&log);
            check(&mut reader, 20);
            check(&mut reader, 1);
        }
    }

    #[test]
    fn damage_that_loses_nothing_hides_nothing() {
        let disk = MemoryDisk::default();
        append(&begin(&disk, 1), 30);
        let name = "log/00000000000000000001.log";
        // The mark behind the first frame.
        disk.damage(name, |bytes| bytes[HEADER_BYTES + 8] ^= 1);
        let log = begin(&disk, 91);
        let mut reader = LogReader::new(&log);
        (1..=30).for_each(|n| check(&mut reader, n));
    }

    #[test]
    fn a_last_frame_without_its_padding_is_found() {
        let disk = MemoryDisk::default();
        append(&begin(&disk, 1), 1);
        let name = "log/00000000000000000001.log";
        disk.damage(name, |bytes| bytes.truncate(HEADER_BYTES + 2));
        let log = begin(&disk, 2);
        check(&mut LogReader::new(&log), 1);
    }

    /// Its checksum is right, and its length is that of no frame in the file.
    #[test]
    fn a_length_that_is_wrong_takes_no_memory() {
        let disk = MemoryDisk::default();
        let log = begin(&disk, 1);
        append(&log, 1);
        let mut header = FrameHeader::new(FrameKind::State, 1, 1).of(&[]);
        header.length = u32::MAX;
        let name = "log/00000000000000000001.log";
        disk.damage(name, |bytes| {
            bytes[..HEADER_BYTES].copy_from_slice(&header.encode(SECRET));
        });
        let mut reader = LogReader::new(&log);
        assert!(reader.frame(1).expect("no fault").is_none());
        assert!(reader.bytes.capacity() <= READ_BYTES);
    }

    #[test]
    fn what_is_appended_while_it_is_read_is_found() {
        let log = begin(&MemoryDisk::default(), 1);
        let mut reader = LogReader::new(&log);
        for _ in 0..60 {
            let next = log.next();
            assert!(reader.frame(next).expect("no fault").is_none());
            append(&log, 2);
            (next..log.next()).for_each(|n| check(&mut reader, n));
        }
    }

    #[test]
    fn what_has_been_removed_is_missing_and_no_other_is_taken_for_it() {
        let log = begin(&MemoryDisk::default(), 1);
        append(&log, 200);
        let mut reader = LogReader::new(&log);
        check(&mut reader, 1);
        log.remove_segment(1).expect("no fault");
        // Its file is used again.
        append(&log, 200);
        let oldest = log.oldest();
        assert!(oldest > 1);
        for sequence in 1..oldest {
            let frame = reader.frame(sequence).expect("no fault");
            let is_in = |frame: LogFrame<'_>| frame.header.first <= sequence;
            // What was read before may be there still.
            assert!(frame.is_none_or(is_in));
        }
        (oldest..log.next()).for_each(|n| check(&mut reader, n));
    }
}
