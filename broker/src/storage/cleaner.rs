//! Which segments are written anew: those of which little is needed. The log is removed from its beginning on alone, because
//! a hole in it would be damage; so one topic that keeps few messages for long would keep all that came behind them.

use std::io;
use std::ops::Range;

use crate::sync::Ordering;

use super::clean_segment::NeededRun;
use super::frame::{ALIGNMENT, HEADER_BYTES};
use super::snapshot_source::SnapshotSource;
use super::store::{LEAST_SEGMENTS, Store};

/// Segments that are looked at in one go: what is needed of them is listed in memory.
const AT_ONCE: usize = 16;

impl Store {
    /// Writes segments anew of which less than half is needed, if the log is twice as long as what is needed of it.
    /// What comes before `end` is not needed for the state.
    pub(super) fn clean(&self, source: &dyn SnapshotSource, end: u64) -> io::Result<()> {
        let end = end.min(source.needed_whole_from());
        let segments = self.log().segments().sealed_before(end, LEAST_SEGMENTS);
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        // What is needed is asked for last: it is a walk over all topics.
        if segments.is_empty() || bytes <= 2 * source.needed_bytes() {
            return Ok(());
        }
        // Relaxed: one thread at a time cleans.
        let from = self.cleaned_before.load(Ordering::Relaxed);
        let begin = segments.partition_point(|segment| segment.numbers.start < from);
        // Behind the last one it begins with the first.
        let begin = begin % segments.len();
        let part = &segments[begin..segments.len().min(begin + AT_ONCE)];
        let span = part[0].numbers.start..part[part.len() - 1].numbers.end;
        self.cleaned_before.store(span.end, Ordering::Relaxed);
        let needed = source.needed_in(span);
        // Asked once more: a follower that has come before `needed_in` may have to be told of what is gone; one that comes
        // later is not told of what was gone by then.
        let end = end.min(source.needed_whole_from());
        for segment in part.iter().filter(|segment| segment.numbers.end <= end) {
            let here = within(&needed, &segment.numbers);
            if 2 * bytes_of(&here) < segment.bytes {
                self.log().clean(segment, &here)?;
            }
        }
        Ok(())
    }
}

/// The parts of runs that are in a segment.
fn within(needed: &[NeededRun], numbers: &Range<u64>) -> Vec<NeededRun> {
    let begin = needed.partition_point(|run| run.numbers.end <= numbers.start);
    let runs = needed[begin..].iter();
    runs.take_while(|run| run.numbers.start < numbers.end)
        .map(|run| {
            let (start, end) = (
                run.numbers.start.max(numbers.start),
                run.numbers.end.min(numbers.end),
            );
            NeededRun {
                numbers: start..end,
                bytes: run.bytes * (end - start) / (run.numbers.end - run.numbers.start),
            }
        })
        .collect()
}

/// About how long a segment is that has these alone: each in a frame of its own, with one for what is gone before it.
fn bytes_of(runs: &[NeededRun]) -> u64 {
    let heads = (2 * HEADER_BYTES + ALIGNMENT) as u64;
    let bytes: u64 = runs.iter().map(|run| run.bytes + heads).sum();
    bytes + HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::SnapshotWriter;
    use super::super::crash::{SEGMENT_BYTES, scripted};
    use super::super::disk::memory::MemoryDisk;
    use super::super::frame::{FrameHeader, FrameKind, LogFrame};
    use super::super::log::{CLEANED, NewFrame};
    use super::super::reader::LogReader;
    use super::super::record::{Apply, Record};
    use super::super::segment::segment_name;
    use super::super::survey::{Extent, StoreFound};
    use super::*;

    /// What is needed, by the numbers of the lines.
    #[derive(Default)]
    struct Needed(BTreeMap<u64, String>);

    impl SnapshotSource for Needed {
        fn write(&self, _snapshot: &mut SnapshotWriter) {}

        fn oldest_needed(&self) -> io::Result<u64> {
            Ok(self.0.keys().next().copied().unwrap_or(u64::MAX))
        }

        fn needed_whole_from(&self) -> u64 {
            u64::MAX
        }

        fn needed_bytes(&self) -> u64 {
            self.0.values().map(|line| line.len() as u64).sum()
        }

        fn needed_in(&self, numbers: Range<u64>) -> Vec<NeededRun> {
            let lines = self.0.range(numbers);
            let runs = lines.map(|(&number, line)| NeededRun {
                numbers: number..number + 1,
                bytes: line.len() as u64,
            });
            runs.collect()
        }
    }

    /// The lines of a log by their numbers, as a start reads them.
    #[derive(Default)]
    struct Lines(BTreeMap<u64, String>);

    impl Apply for Lines {
        fn record(&mut self, _record: &Record<'_>) {}

        fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
            let text = str::from_utf8(lines).expect("text");
            let lines = (header.first..).zip(text.split_inclusive('\n'));
            self.0
                .extend(lines.map(|(number, line)| (number, line.to_owned())));
        }
    }

    fn open(disk: &MemoryDisk) -> (Store, StoreFound, Lines) {
        let mut lines = Lines::default();
        let disk = Arc::new(disk.clone());
        let opened = Store::open_extent(disk, None, SEGMENT_BYTES, Extent::All, &mut lines);
        let (store, found) = opened.expect("it opens");
        (store, found, lines)
    }

    fn append(store: &Store, random: &mut fastrand::Rng, needed: &mut Needed) {
        let count = random.u32(1..9);
        let lines: Vec<String> = (0..count)
            .map(|_| "x".repeat(random.usize(..60)) + "\n")
            .collect();
        let text = lines.concat();
        let body = [text.as_bytes()];
        let kind = FrameKind::Lines {
            qos: 1,
            retain: false,
        };
        let frame = NewFrame::new(kind, count, &body);
        let bytes = frame.bytes();
        store.log().admit(bytes).expect("no fault");
        let first = store.append_lines(&[frame], bytes).expect("there is room");
        needed.0.extend((first..).zip(lines));
    }

    fn check(disk: &MemoryDisk, needed: &Needed) {
        let (store, found, lines) = open(disk);
        assert_eq!((found.recovered.damages, found.recovered.lost), (0, 0));
        for (number, line) in &needed.0 {
            assert_eq!(lines.0.get(number), Some(line), "{number}");
        }
        check_reading(&store, needed);
    }

    /// As followers read.
    fn check_reading(store: &Store, needed: &Needed) {
        let mut reader = LogReader::new(store.log());
        for (&number, line) in &needed.0 {
            let frame = reader.frame(number).expect("no fault");
            let frame = frame.expect("it is there");
            let text = str::from_utf8(frame.body).expect("text");
            let at = (number - frame.header.first) as usize;
            assert_eq!(text.split_inclusive('\n').nth(at), Some(&**line));
        }
    }

    /// Invariants 2, 6 and 11: what is needed stays, at each crash, and the log is at most as long as twice that and what
    /// is never written anew.
    #[test]
    fn what_is_needed_stays_and_the_rest_does_not() {
        for seed in 0..30 {
            scripted(seed, |random| {
                let disk = MemoryDisk::default();
                let (store, _, _) = open(&disk);
                let mut needed = Needed::default();
                for _ in 0..random.usize(20..200) {
                    append(&store, random, &mut needed);
                    if random.u8(..4) == 0 {
                        let share = random.u8(..=255);
                        needed.0.retain(|_, _| random.u8(..) <= share);
                    }
                    if random.u8(..16) == 0 {
                        store.make_snapshot(&needed).expect("no fault");
                        check_reading(&store, &needed);
                        check(&disk.killed(), &needed);
                    }
                }
                store.make_snapshot(&needed).expect("no fault");
                store.make_snapshot(&needed).expect("no fault");
                // Once around and back, a part at a time.
                for _ in 0..40 {
                    store.clean(&needed, u64::MAX).expect("no fault");
                }
                check_reading(&store, &needed);
                check(&disk.killed(), &needed);
                let bytes = store.log().segments().size().bytes;
                let runs = needed.needed_in(0..u64::MAX);
                let most = 2 * bytes_of(&runs) + (2 + LEAST_SEGMENTS as u64) * SEGMENT_BYTES;
                assert!(bytes <= most, "{bytes} of {most}");
            });
        }
    }

    /// A crash at any step of it leaves each segment as it was or as it is to be.
    #[test]
    fn a_crash_meanwhile_loses_nothing() {
        for seed in 0..30 {
            scripted(seed, |random| {
                let (disk, store, needed) = filled(random);
                disk.fail_from(disk.steps() + random.u64(..60));
                let _ = store.clean(&needed, u64::MAX);
                for _ in 0..8 {
                    check(&disk.crashed(random), &needed);
                }
            });
        }
    }

    /// What is damaged where it is needed is not touched.
    #[test]
    fn a_segment_that_cannot_be_read_stays_as_it_is() {
        let (disk, store, mut needed) = filled(&mut fastrand::Rng::with_seed(1));
        let wanted = *needed.0.keys().next().expect("one");
        needed.0.retain(|&number, _| number == wanted);
        // It is in the first.
        let name = segment_name(1);
        let bytes = disk.bytes(&name);
        let mut from = 0;
        loop {
            let (at, frame) = LogFrame::find(&bytes, from, store.secret()).expect("it is there");
            if frame.header.end() > wanted {
                disk.damage(&name, |bytes| bytes[at + HEADER_BYTES] ^= 1);
                break;
            }
            from = at + frame.header.frame_bytes();
        }
        let before = disk.bytes(&name);
        store.clean(&needed, u64::MAX).expect("no fault");
        assert!(disk.bytes(&name) == before);
        assert!(!disk.all_names().contains(&CLEANED.to_owned()));
    }

    /// A full disk is no reason to stop, and nothing is left behind.
    #[test]
    fn a_fault_at_any_step_changes_nothing() {
        for step in 0..60 {
            let (disk, store, needed) = filled(&mut fastrand::Rng::with_seed(7));
            disk.fail_at(disk.steps() + step, io::ErrorKind::StorageFull);
            let _ = store.clean(&needed, u64::MAX);
            assert!(!disk.all_names().contains(&CLEANED.to_owned()));
            check_reading(&store, &needed);
            check(&disk.killed(), &needed);
        }
    }

    /// A store with several segments, of which little is needed.
    fn filled(random: &mut fastrand::Rng) -> (MemoryDisk, Store, Needed) {
        let disk = MemoryDisk::default();
        let (store, _, _) = open(&disk);
        let mut needed = Needed::default();
        for _ in 0..120 {
            append(&store, random, &mut needed);
        }
        store.sync().expect("no fault");
        needed.0.retain(|_, _| random.u8(..20) == 0);
        (disk, store, needed)
    }
}
