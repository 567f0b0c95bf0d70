//! All segments of the log that can be read, and how long their files are.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::sync::Mutex;

use super::disk::{Disk, ReadDisk};
use super::frame::{FrameHeader, FrameSecret, HEADER_BYTES};
use super::segment::{FOLDER, LogSegment, ReadableSegment, segment_first, segment_name};

pub(super) struct SegmentList {
    /// By their first numbers. The lock is held for a moment, never while the disk works.
    all: Mutex<BTreeMap<u64, ListedSegment>>,
    secret: FrameSecret,
}

struct ListedSegment {
    /// The length of its file.
    bytes: u64,
    /// None for one of an earlier process that was not read yet.
    readable: Option<ReadableSegment>,
}

/// A segment, and the numbers of all entries that it may have.
pub(super) type FoundSegment = (Range<u64>, ReadableSegment);

/// One that is not written to any more.
pub(super) struct SealedSegment {
    /// The numbers of all entries that it may have.
    pub(super) numbers: Range<u64>,
    pub(super) bytes: u64,
}

/// How much there is.
pub(super) struct SegmentListSize {
    pub(super) count: usize,
    pub(super) bytes: u64,
}

impl SegmentList {
    /// Those that are there already.
    pub(super) fn of_earlier(disk: &dyn Disk, secret: FrameSecret) -> io::Result<Self> {
        let mut all = BTreeMap::new();
        for name in disk.names(FOLDER)? {
            let Some(first) = segment_first(&name) else {
                continue;
            };
            let bytes = disk.open(&segment_name(first))?.len()?;
            let readable = None;
            all.insert(first, ListedSegment { bytes, readable });
        }
        Ok(Self {
            all: Mutex::new(all),
            secret,
        })
    }

    /// Adds one that is written to, or takes it for one with the same first number.
    pub(super) fn add(&self, segment: &LogSegment) {
        self.all.lock().insert(segment.first, segment.into());
    }

    /// The same for one that has all that those behind it had.
    pub(super) fn end_with(&self, segment: &LogSegment) {
        let mut all = self.all.lock();
        all.retain(|first, _| *first < segment.first);
        all.insert(segment.first, segment.into());
    }

    pub(super) fn remove(&self, first: u64) {
        self.all.lock().remove(&first);
    }

    /// The segment that has an entry.
    pub(super) fn find(
        &self,
        disk: &dyn ReadDisk,
        sequence: u64,
    ) -> io::Result<Option<FoundSegment>> {
        let (numbers, found) = {
            let all = self.all.lock();
            let Some((&first, found)) = all.range(..=sequence).next_back() else {
                return Ok(None);
            };
            let behind = all.range(sequence + 1..).next();
            let end = behind.map_or(u64::MAX, |(first, _)| *first);
            (first..end, found.readable.clone())
        };
        if let Some(segment) = found {
            return Ok(Some((numbers, segment)));
        }
        // Not under the lock, which publishers take. Two that look for it at once read it twice, and that does no harm.
        let file = disk.open(&segment_name(numbers.start))?;
        let segment = ReadableSegment::scanned(numbers.start, file, self.secret)?;
        if let Some(listed) = self.all.lock().get_mut(&numbers.start) {
            // Another file may have taken its place meanwhile.
            listed.readable.get_or_insert_with(|| segment.clone());
        }
        Ok(Some((numbers, segment)))
    }

    /// The first number that is younger than this time, or one shortly before it.
    pub(super) fn younger(&self, disk: &dyn ReadDisk, time_ms: u64) -> io::Result<u64> {
        let firsts: Vec<u64> = self.all.lock().keys().copied().collect();
        let mut found = firsts.first().copied().unwrap_or(0);
        for first in firsts {
            let segment = self.find(disk, first)?;
            match segment.and_then(|(_, segment)| segment.marks.older(time_ms)) {
                Some(mark) => found = mark.sequence,
                None => break,
            }
        }
        Ok(found)
    }

    /// The number of the first entry that was given after this generation. A generation begins with a segment.
    pub(super) fn end_of_generation(
        &self,
        disk: &dyn ReadDisk,
        generation: u32,
    ) -> io::Result<Option<u64>> {
        let firsts: Vec<u64> = self.all.lock().keys().copied().collect();
        for first in firsts {
            let Some((_, segment)) = self.find(disk, first)? else {
                continue;
            };
            let mut bytes = [0; HEADER_BYTES];
            segment.file.read_at(&mut bytes, 0)?;
            let header =
                FrameHeader::decode(&bytes, self.secret).filter(|header| header.first == first);
            if header.is_some_and(|header| header.generation > generation) {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// When an entry was appended, or up to a minute before; none if it is not there.
    pub(super) fn time_ms(&self, disk: &dyn ReadDisk, sequence: u64) -> io::Result<Option<u64>> {
        let segment = self.find(disk, sequence)?;
        let mark = segment.and_then(|(_, segment)| segment.marks.before(sequence));
        Ok(mark.map(|mark| mark.time_ms))
    }

    /// The number of the oldest entry that is still there.
    pub(super) fn oldest(&self) -> u64 {
        self.all.lock().keys().next().copied().unwrap_or(0)
    }

    /// The number of the first entry of the newest segments that fit into `bytes`, and of at least `least` of them; none if
    /// all fit.
    pub(super) fn first_within(&self, bytes: u64, least: usize) -> Option<u64> {
        let all = self.all.lock();
        let (mut sum, mut first) = (0, None);
        for (at, (&number, segment)) in all.iter().rev().enumerate() {
            sum += segment.bytes;
            if sum > bytes && at >= least {
                return first;
            }
            first = Some(number);
        }
        None
    }

    /// Those that end before this number, the oldest first, without the `newest` newest.
    pub(super) fn sealed_before(&self, end: u64, newest: usize) -> Vec<SealedSegment> {
        let all = self.all.lock();
        let behind = all.keys().skip(1);
        let ended = all
            .iter()
            .zip(behind)
            .take(all.len().saturating_sub(newest));
        ended
            .take_while(|(_, behind)| **behind <= end)
            .map(|((&first, segment), &behind)| SealedSegment {
                numbers: first..behind,
                bytes: segment.bytes,
            })
            .collect()
    }

    /// Takes another file for a segment, if that is still there.
    pub(super) fn replace(&self, first: u64, readable: ReadableSegment, bytes: u64) {
        if let Some(listed) = self.all.lock().get_mut(&first) {
            *listed = ListedSegment {
                bytes,
                readable: Some(readable),
            };
        }
    }

    pub(super) fn size(&self) -> SegmentListSize {
        let all = self.all.lock();
        SegmentListSize {
            count: all.len(),
            bytes: all.values().map(|segment| segment.bytes).sum(),
        }
    }
}

impl From<&LogSegment> for ListedSegment {
    fn from(segment: &LogSegment) -> Self {
        Self {
            bytes: segment.bytes,
            readable: Some(segment.readable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lengths: &[u64]) -> SegmentList {
        let all = (1..).zip(lengths).map(|(number, &bytes)| {
            let readable = None;
            (10 * number, ListedSegment { bytes, readable })
        });
        SegmentList {
            all: Mutex::new(all.collect()),
            secret: FrameSecret(0),
        }
    }

    #[test]
    fn segments_count_by_their_length_and_not_by_their_number() {
        // Each start leaves one, most of which are short.
        let short = list(&[1; 1000]);
        assert_eq!(short.first_within(1000, 2), None);
        assert_eq!(short.first_within(999, 2), Some(20));
        let long = list(&[50, 1, 1, 50]);
        assert_eq!(long.first_within(101, 2), Some(20));
        assert_eq!(long.first_within(102, 2), None);
        assert_eq!(long.first_within(7, 2), Some(30));
        assert_eq!(list(&[9, 9]).first_within(0, 2), None);
    }
}
