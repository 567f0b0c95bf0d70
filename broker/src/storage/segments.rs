//! Which segments of the log there are, and which of them has what is looked for.

use std::io;
use std::ops::Range;

use super::frame::{FrameHeader, HEADER_BYTES};
use super::log::Log;
use super::segment::{ReadableSegment, segment_name};

impl Log {
    /// The segment that has an entry, and the numbers of all that it may have.
    pub(super) fn readable(
        &self,
        sequence: u64,
    ) -> io::Result<Option<(Range<u64>, ReadableSegment)>> {
        let mut readable = self.readable.lock();
        let behind = readable.range(sequence + 1..).next();
        let end = behind.map_or(u64::MAX, |(first, _)| *first);
        let Some((&first, found)) = readable.range_mut(..=sequence).next_back() else {
            return Ok(None);
        };
        if let Some(segment) = found {
            return Ok(Some((first..end, segment.clone())));
        }
        // Read under the lock, so that it is read once. It is of an earlier process, and few are.
        let file = self.disk.open(&segment_name(first))?;
        let segment = ReadableSegment::scanned(first, file)?;
        *found = Some(segment.clone());
        Ok(Some((first..end, segment)))
    }

    /// The first number that is younger than this time, or one shortly before it.
    pub(crate) fn younger(&self, time_ms: u64) -> io::Result<u64> {
        let firsts: Vec<u64> = self.readable.lock().keys().copied().collect();
        let mut found = firsts.first().copied().unwrap_or(0);
        for first in firsts {
            let mark = self
                .readable(first)?
                .and_then(|(_, segment)| segment.marks.older(time_ms));
            match mark {
                Some(mark) => found = mark.sequence,
                None => break,
            }
        }
        Ok(found)
    }

    /// The number of the first entry that was given after this generation; none if no later one has given any. A
    /// generation begins with a segment.
    pub(crate) fn end_of_generation(&self, generation: u32) -> io::Result<Option<u64>> {
        let firsts: Vec<u64> = self.readable.lock().keys().copied().collect();
        for first in firsts {
            let Some((_, segment)) = self.readable(first)? else {
                continue;
            };
            let mut bytes = [0; HEADER_BYTES];
            segment.file.read_at(&mut bytes, 0)?;
            let header = FrameHeader::decode(&bytes).filter(|header| header.first == first);
            if header.is_some_and(|header| header.generation > generation) {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// The number of the oldest entry that is still there.
    pub(crate) fn oldest(&self) -> u64 {
        self.readable.lock().keys().next().copied().unwrap_or(0)
    }
}
