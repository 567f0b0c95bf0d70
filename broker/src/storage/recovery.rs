//! What a start finds in the log: frames are read in their order, and the log is mended where it is damaged.
//!
//! A frame counts if it is sound and its sequence number follows on. Where none does, two things look alike:
//! **damage** to what was durable, and the **end** of what a crash has left. A frame behind the hole tells them
//! apart: it says up to where its segment was durable when it was written, so a hole below that is damage, and
//! what lies behind it is kept. A hole above it was never durable: the log ends there, because what lies behind
//! would come without what came before.

use std::io;

use super::disk::{Disk, read_all, write_all};
use super::frame::LogFrame;
use super::log::{FOLDER, now_ms, segment_first, segment_name};

/// The folder for bytes that were damaged, or cut off.
pub(crate) const DAMAGED: &str = "damaged";

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// The sequence number behind the last entry.
    pub(crate) next: u64,
    /// The time of the last frame.
    pub(crate) time_ms: u64,
    /// The highest generation.
    pub(crate) generation: u32,
    /// Entries of which damaged bytes have taken the place.
    pub(crate) lost: u64,
    /// Bytes that were cut off because they were never durable.
    pub(crate) cut_bytes: u64,
    /// The files in which originals are kept.
    pub(crate) kept_aside: Vec<String>,
    /// The segments that were read, and their bytes.
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

/// Where a segment is in the log.
struct SegmentNumbers {
    /// The sequence number of its first entry, and that of the next segment.
    first: u64,
    next_first: Option<u64>,
    /// What comes before this one is known from a snapshot.
    from: u64,
}

/// One segment, as it was read.
struct Scan {
    /// Where its frames end.
    end: usize,
    /// Something behind that was cut off.
    is_cut: bool,
    is_damaged: bool,
    /// It has frames that an earlier segment has, too.
    has_repeated: bool,
}

/// Reads the log from the sequence number `from` on; what comes before it is known from a snapshot. `apply` gets each
/// frame that counts.
pub(crate) fn recover(
    disk: &dyn Disk,
    from: u64,
    apply: &mut dyn FnMut(&LogFrame<'_>),
) -> io::Result<Recovered> {
    let mut firsts: Vec<u64> = disk
        .names(FOLDER)?
        .iter()
        .filter_map(|name| segment_first(name))
        .collect();
    firsts.sort_unstable();
    // One that ends before the snapshot is not read.
    let begin = firsts
        .partition_point(|&first| first <= from)
        .saturating_sub(1);
    let mut found = Recovered {
        next: firsts.get(begin).copied().unwrap_or(from).min(from),
        ..Recovered::default()
    };
    for (at, &first) in firsts.iter().enumerate().skip(begin) {
        let name = segment_name(first);
        // What cannot be read is no proof that something was durable.
        let is_durable_before = |from: usize| {
            let mut later = firsts[from..].iter();
            later.any(|&later| is_begun(disk, later).unwrap_or(false))
        };
        if first > found.next {
            if !is_durable_before(at) {
                // What came before this segment never was durable, and so nothing is that counts.
                for &later in &firsts[at..] {
                    cut_segment(disk, later, &mut found)?;
                }
                break;
            }
            found.lost += first - found.next;
            found.next = first;
        }
        let bytes = read_all(&*disk.open(&name)?)?;
        let before = found.next;
        let is_sealed = || is_durable_before(at + 1);
        let next_first = firsts.get(at + 1).copied();
        let numbers = SegmentNumbers {
            first,
            next_first,
            from,
        };
        let scan = read_segment(&bytes, &numbers, &is_sealed, &mut found, apply);
        found.bytes += scan.end as u64;
        found.segments += 1;
        if scan.is_damaged || scan.is_cut {
            keep_aside(disk, first, &bytes, scan.end, scan.is_damaged, &mut found)?;
        }
        if scan.is_cut {
            found.cut_bytes += (bytes.len() - scan.end) as u64;
            for &later in &firsts[at + 1..] {
                cut_segment(disk, later, &mut found)?;
            }
            truncate(disk, &name, scan.end)?;
            break;
        }
        if scan.has_repeated && found.next == before && !scan.is_damaged {
            // All that it has was written anew into the segment before. It would be taken for what follows that one.
            disk.remove(&name)?;
            continue;
        }
        // Room that was never used, or a torn frame at the end. Also what is whole is synced: it counts from now on,
        // and a process that was killed may have left it to the system alone.
        truncate(disk, &name, scan.end)?;
    }
    disk.sync_folder(FOLDER)?;
    found.next = found.next.max(from);
    Ok(found)
}

/// Whether a frame of this segment says that its beginning was durable, and so all segments before it.
fn is_begun(disk: &dyn Disk, first: u64) -> io::Result<bool> {
    let bytes = read_all(&*disk.open(&segment_name(first))?)?;
    Ok(synced_to(&bytes, 0, first) > 0)
}

/// Up to where a segment was durable, as the frames from an offset on say. `first` is its sequence number: what comes
/// before that is left of an earlier use of the file.
fn synced_to(bytes: &[u8], mut from: usize, first: u64) -> usize {
    let mut highest = 0;
    while let Some((at, frame)) = LogFrame::find(bytes, from) {
        if frame.header.first >= first {
            highest = highest.max(frame.header.synced_to as usize);
        }
        from = at + frame.header.frame_bytes();
    }
    highest
}

fn read_segment(
    bytes: &[u8],
    numbers: &SegmentNumbers,
    is_sealed: &dyn Fn() -> bool,
    found: &mut Recovered,
    apply: &mut dyn FnMut(&LogFrame<'_>),
) -> Scan {
    let mut scan = Scan {
        end: 0,
        is_cut: false,
        is_damaged: false,
        has_repeated: false,
    };
    loop {
        let frame = LogFrame::at(&bytes[scan.end..]).filter(|it| it.header.first == found.next);
        if let Some(frame) = frame {
            scan.end += frame.header.frame_bytes();
            scan.end = scan.end.min(bytes.len());
            found.next = frame.header.end();
            found.time_ms = found.time_ms.max(frame.header.time_ms);
            found.generation = found.generation.max(frame.header.generation);
            if frame.header.end() > numbers.from {
                apply(&frame);
            }
            continue;
        }
        if let Some(frame) = LogFrame::at(&bytes[scan.end..])
            && (numbers.first..=found.next).contains(&frame.header.first)
            && frame.header.end() <= found.next
        {
            // Written anew after a sync that failed, and the segment before has it all the same.
            scan.has_repeated = true;
            scan.end = (scan.end + frame.header.frame_bytes()).min(bytes.len());
            continue;
        }
        // With the next segment nothing is missing: what lies here is the rest of a write, or of a sync, that failed.
        let is_followed = (numbers.next_first).is_some_and(|first| first <= found.next);
        let is_sealed = is_sealed();
        // What is left of an earlier use of the file is not of this log.
        if is_followed || !(is_sealed || LogFrame::has_header(bytes, scan.end, found.next)) {
            return scan;
        }
        if bytes[scan.end..].iter().all(|&byte| byte == 0) {
            return scan;
        }
        let behind = next_behind(bytes, scan.end, found.next);
        let was_durable = is_sealed || synced_to(bytes, scan.end, numbers.first) > scan.end;
        match behind {
            Some((at, first)) if was_durable => {
                scan.is_damaged = true;
                found.lost += first - found.next;
                found.next = first;
                scan.end = at;
            }
            // Sound frames without what came before, or a torn one.
            _ => {
                scan.is_damaged |= was_durable;
                scan.is_cut = !was_durable;
                return scan;
            }
        }
    }
}

/// The first frame behind a hole whose sequence number can follow, and that number.
fn next_behind(bytes: &[u8], mut from: usize, next: u64) -> Option<(usize, u64)> {
    loop {
        let (at, frame) = LogFrame::find(bytes, from + 1)?;
        if frame.header.first >= next {
            return Some((at, frame.header.first));
        }
        from = at;
    }
}

/// Copies a segment that is damaged, or the part of it that is cut off.
fn keep_aside(
    disk: &dyn Disk,
    first: u64,
    bytes: &[u8],
    end: usize,
    is_damaged: bool,
    found: &mut Recovered,
) -> io::Result<()> {
    let (what, bytes) = match is_damaged {
        true => ("log", bytes),
        false => ("tail", &bytes[end..]),
    };
    let used = bytes.iter().rposition(|&byte| byte != 0);
    let bytes = &bytes[..used.map_or(0, |last| last + 1)];
    // Named by its content, so that it is kept once, however often the broker starts.
    let name = format!("{first:020}-{:08x}.{what}", crc32c::crc32c(bytes));
    if disk.names(DAMAGED)?.contains(&name) {
        return Ok(());
    }
    let name = format!("{DAMAGED}/{name}");
    let file = disk.create(&name)?;
    write_all(&*file, &[bytes], 0)?;
    file.sync()?;
    disk.sync_folder(DAMAGED)?;
    found.kept_aside.push(name);
    Ok(())
}

/// Moves a segment away that lies behind the end of the log.
fn cut_segment(disk: &dyn Disk, first: u64, found: &mut Recovered) -> io::Result<()> {
    let from = segment_name(first);
    let bytes = read_all(&*disk.open(&from)?)?;
    if bytes.iter().all(|&byte| byte == 0) {
        return disk.remove(&from);
    }
    found.cut_bytes += bytes.len() as u64;
    let to = format!("{DAMAGED}/{first:020}-{}.log", now_ms());
    disk.rename(&from, &to)?;
    disk.sync_folder(DAMAGED)?;
    disk.sync_folder(FOLDER)?;
    found.kept_aside.push(to);
    Ok(())
}

/// Cuts a segment off behind its last frame, durably.
fn truncate(disk: &dyn Disk, name: &str, end: usize) -> io::Result<()> {
    let file = disk.open(name)?;
    if file.len()? > end as u64 {
        file.truncate(end as u64)?;
    }
    file.sync()
}
