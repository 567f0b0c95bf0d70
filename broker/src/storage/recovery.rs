//! What is in the log: frames are read in their order, and what is wrong with it is found, and mended.
//!
//! A frame counts if it is sound and its sequence number follows on. Where none does, two things look alike:
//! **damage** to what was durable, and the **end** of what a crash has left. A frame behind the hole tells them
//! apart: it says up to where its segment was durable when it was written, so a hole below that is damage, and
//! what lies behind it is kept. A hole above it was never durable: the log ends there, because what lies behind
//! would come without what came before.
//!
//! Reading changes nothing, and finds out what a start has to do, which [`mend`] carries out.

use std::cell::OnceCell;
use std::io;
use std::ops::Range;

use super::disk::{Disk, DiskFile, ReadDisk, read_all, read_into, write_all};
use super::frame::{FrameSecret, LogFrame};
use super::log::now_ms;
use super::secret::FoundSecret;
use super::segment::{FOLDER, segment_first, segment_name};

/// The folder for bytes that were damaged, or cut off.
pub(crate) const DAMAGED: &str = "damaged";

/// Places of damage that are listed; more are only counted.
const MOST_LISTED: usize = 100;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// The sequence number of the first entry.
    pub(crate) first: u64,
    /// The sequence number behind the last entry.
    pub(crate) next: u64,
    /// The time of the last frame.
    pub(crate) time_ms: u64,
    /// The highest generation.
    pub(crate) generation: u32,
    /// Entries of which damaged bytes have taken the place, and that no snapshot has.
    pub(crate) lost: u64,
    /// Bytes that are cut off because they were never durable.
    pub(crate) cut_bytes: u64,
    /// Where the log ends before its files do.
    pub(crate) cut: Option<LogCut>,
    /// The places of damage, at most 100 of them.
    pub(crate) damage: Vec<LogDamage>,
    /// The number of all.
    pub(crate) damages: usize,
    /// The files in which originals are kept.
    pub(crate) kept_aside: Vec<String>,
    /// The segments that were read, and their bytes.
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// What has to be done to the segments, in their order.
    mends: Vec<Mend>,
}

/// Where the log ends before its files do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogCut {
    /// The segment.
    pub(crate) first: u64,
    pub(crate) at: u64,
}

/// A place where bytes that were durable are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDamage {
    /// The segment.
    pub(crate) first: u64,
    pub(crate) at: u64,
    /// Zero if what is missing came before this segment.
    pub(crate) bytes: u64,
    /// Entries of which damaged bytes have taken the place, and that no snapshot has.
    pub(crate) lost: u64,
    /// The snapshot has all that was there, so that only a start without it would need it.
    pub(crate) is_spare: bool,
}

/// What has to be done to a segment for the next start to find the same.
#[derive(Debug, PartialEq, Eq)]
struct Mend {
    first: u64,
    what: MendKind,
}

#[derive(Debug, PartialEq, Eq)]
enum MendKind {
    /// It is cut off where its frames end, and made durable.
    Trim { end: usize, aside: Aside },
    /// It lies behind the end of the log, and is moved away.
    Move,
    /// It has no byte, or nothing that is not in the segment before, and is removed.
    Remove,
}

/// What is copied of a segment before it is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aside {
    Nothing,
    /// It is damaged.
    All,
    /// What lies behind its end.
    Tail,
}

/// The segments, and where their reading begins.
pub(crate) struct Segments<'a> {
    /// Their first sequence numbers, in order.
    pub(crate) firsts: &'a [u64],
    /// What comes before this one is known from a snapshot.
    pub(crate) from: u64,
    /// It is read from here on, to find damage: at most `from`.
    pub(crate) look_from: u64,
    /// The last process has made all of it durable.
    pub(crate) is_durable: bool,
    pub(crate) secret: FoundSecret,
}

/// One segment while it is read.
struct Scan<'a> {
    first: u64,
    file: Box<dyn DiskFile>,
    bytes: Vec<u8>,
    /// Behind that all bytes are zero.
    used: usize,
    /// Where its frames end.
    end: usize,
    /// It has frames that an earlier segment has, too.
    has_repeated: bool,
    from: u64,
    next_first: Option<u64>,
    /// Up to where it was durable, once that is known.
    synced_to: Option<usize>,
    is_durable: bool,
    secret: FoundSecret,
    /// Whether a later segment says that this one was durable.
    is_sealed: &'a dyn Fn() -> bool,
}

/// The first sequence numbers of the segments that are there, in order.
pub(crate) fn list(disk: &dyn ReadDisk) -> io::Result<Vec<u64>> {
    let names = disk.names(FOLDER)?;
    let mut firsts: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_first(name))
        .collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads the log. `apply` gets each frame that counts. Another process may write
/// to it meanwhile, whose last frames may be missing then.
pub(crate) fn read(
    disk: &dyn ReadDisk,
    segments: &Segments<'_>,
    apply: &mut dyn FnMut(&LogFrame<'_>),
) -> io::Result<Recovered> {
    let Segments {
        firsts,
        from,
        look_from,
        is_durable,
        secret,
    } = *segments;
    // One that ends before is not read.
    let begin = firsts
        .partition_point(|&first| first <= look_from)
        .saturating_sub(1);
    let next = firsts.get(begin).copied().unwrap_or(from).min(look_from);
    let mut found = Recovered {
        first: next,
        next,
        ..Recovered::default()
    };
    for (at, &first) in firsts.iter().enumerate().skip(begin) {
        // What cannot be read is no proof that something was durable.
        let is_durable_before = |from: usize| {
            let mut later = firsts[from..].iter();
            later.any(|&later| is_begun(disk, secret.value, later).unwrap_or(false))
        };
        if first > found.next {
            // Whatever a snapshot has was durable before it.
            if !is_durable && found.next >= from && !is_durable_before(at) {
                // What came before this segment never was durable, and so nothing is that counts.
                found.cut = Some(LogCut { first, at: 0 });
                found.move_away(disk, &firsts[at..])?;
                break;
            }
            found.lose(first, 0..0, first, from);
        }
        let file = disk.open(&segment_name(first))?;
        let bytes = read_all(&*file)?;
        let is_sealed = OnceCell::new();
        let scan = Scan {
            first,
            file,
            used: used(&bytes),
            bytes,
            end: 0,
            has_repeated: false,
            from,
            next_first: firsts.get(at + 1).copied(),
            synced_to: None,
            is_durable,
            secret,
            is_sealed: &|| *is_sealed.get_or_init(|| is_durable_before(at + 1)),
        };
        if scan.read(&mut found, apply)? {
            found.move_away(disk, &firsts[at + 1..])?;
            break;
        }
    }
    found.next = found.next.max(from);
    Ok(found)
}

/// Carries out what reading has found to be necessary, durably. Returns the names of the files in which originals are
/// kept.
pub(crate) fn mend(disk: &dyn Disk, found: &Recovered) -> io::Result<Vec<String>> {
    let mut kept_aside = Vec::new();
    // Originals first.
    for Mend { first, what } in &found.mends {
        let name = segment_name(*first);
        match *what {
            MendKind::Trim { end, aside } => {
                kept_aside.extend(keep_aside(disk, *first, end, aside)?)
            }
            MendKind::Move => {
                let to = format!("{DAMAGED}/{first:020}-{}.log", now_ms());
                disk.rename(&name, &to)?;
                disk.sync_folder(DAMAGED)?;
                disk.sync_folder(FOLDER)?;
                kept_aside.push(to);
            }
            MendKind::Remove => disk.remove(&name)?,
        }
    }
    for Mend { first, what } in &found.mends {
        if let MendKind::Trim { end, .. } = *what {
            // Room that was never used, or a torn frame at the end. Also what is whole is synced: it counts from now
            // on, and a process that was killed may have left it to the system alone.
            truncate(disk, &segment_name(*first), end)?;
        }
    }
    disk.sync_folder(FOLDER)?;
    Ok(kept_aside)
}

/// Whether a frame of this segment says that its beginning was durable, and so all segments before it.
fn is_begun(disk: &dyn ReadDisk, secret: FrameSecret, first: u64) -> io::Result<bool> {
    let bytes = read_all(&*disk.open(&segment_name(first))?)?;
    Ok(synced_to(&bytes, secret, 0, first) > 0)
}

/// Up to where a segment was durable, as the frames from an offset on say. `first` is its sequence number: what comes
/// before that is left of an earlier use of the file.
fn synced_to(bytes: &[u8], secret: FrameSecret, mut from: usize, first: u64) -> usize {
    let mut highest = 0;
    while let Some((at, frame)) = LogFrame::find(bytes, from, secret) {
        if frame.header.first >= first {
            highest = highest.max(frame.header.synced_to as usize);
        }
        from = at + frame.header.frame_bytes();
    }
    highest
}

impl Recovered {
    /// The segments that were looked at.
    pub(crate) fn segments_read(&self) -> impl Iterator<Item = u64> {
        self.mends.iter().map(|mend| mend.first)
    }

    /// Goes on at the entry `next`, because bytes of a segment are damaged.
    fn lose(&mut self, segment: u64, bytes: Range<usize>, next: u64, from: u64) {
        let lost = next.max(from) - self.next.max(from);
        self.lost += lost;
        self.damages += 1;
        if self.damage.len() < MOST_LISTED {
            self.damage.push(LogDamage {
                first: segment,
                at: bytes.start as u64,
                bytes: bytes.len() as u64,
                lost,
                is_spare: self.next < from && next <= from,
            });
        }
        self.next = next;
    }

    /// The log ends before these segments.
    fn move_away(&mut self, disk: &dyn ReadDisk, behind: &[u64]) -> io::Result<()> {
        for &first in behind {
            let used = used(&read_all(&*disk.open(&segment_name(first))?)?);
            self.cut_bytes += used as u64;
            let what = if used == 0 {
                MendKind::Remove
            } else {
                MendKind::Move
            };
            self.mends.push(Mend { first, what });
        }
        Ok(())
    }
}

impl Scan<'_> {
    /// Reads the frames of the segment. True if the log ends in it.
    fn read(
        mut self,
        found: &mut Recovered,
        apply: &mut dyn FnMut(&LogFrame<'_>),
    ) -> io::Result<bool> {
        let (mut aside, mut is_cut) = (Aside::Nothing, false);
        let before = found.next;
        loop {
            self.take_frames(found, apply);
            if self.is_at_end(found.next) {
                break;
            }
            let behind =
                LogFrame::next_behind(&self.bytes, self.end, found.next, self.secret.value);
            // A process that writes meanwhile has written what lies here before what lies behind it.
            if self.read_again(behind.map_or(self.used, |(at, _)| at), found.next)? {
                continue;
            }
            if !self.was_durable(found.next) {
                // Sound frames without what came before, or a torn one.
                is_cut = true;
                break;
            }
            aside = Aside::All;
            // Without a frame behind it is seen at the next segment how much is missing.
            let (at, next) = behind.unwrap_or((self.used, found.next));
            found.lose(self.first, self.end..at, next, self.from);
            if behind.is_none() {
                break;
            }
            self.end = at;
        }
        let (first, end) = (self.first, self.end);
        found.bytes += end as u64;
        found.segments += 1;
        if is_cut {
            found.cut = Some(LogCut {
                first,
                at: end as u64,
            });
            found.cut_bytes += (self.used - end) as u64;
            if aside == Aside::Nothing {
                aside = Aside::Tail;
            }
        }
        let what = match self.has_repeated && found.next == before && aside == Aside::Nothing {
            // All that it has was written anew into the segment before. It would be taken for what follows that one.
            true => MendKind::Remove,
            false => MendKind::Trim { end, aside },
        };
        found.mends.push(Mend { first, what });
        Ok(is_cut)
    }

    fn take_frames(&mut self, found: &mut Recovered, apply: &mut dyn FnMut(&LogFrame<'_>)) {
        while let Some(frame) = LogFrame::at(&self.bytes[self.end..], self.secret.value) {
            let is_next = frame.header.first == found.next;
            // Written anew after a sync that failed, and the segment before has it all the same.
            let is_repeated =
                !is_next && frame.header.first >= self.first && frame.header.end() <= found.next;
            if !is_next && !is_repeated {
                break;
            }
            self.end = (self.end + frame.header.frame_bytes()).min(self.bytes.len());
            self.has_repeated |= is_repeated;
            if is_repeated {
                continue;
            }
            found.next = frame.header.end();
            found.time_ms = found.time_ms.max(frame.header.time_ms);
            found.generation = found.generation.max(frame.header.generation);
            apply(&frame);
        }
    }

    /// Whether nothing is missing where the frames end.
    fn is_at_end(&self, next: u64) -> bool {
        // With the next segment nothing is: what lies here is the rest of a write, or of a sync, that failed.
        let is_followed = self.next_first.is_some_and(|first| first <= next);
        // What is left of an earlier use of the file is not of this log.
        let is_of_log = || {
            self.is_durable
                || next < self.from
                || LogFrame::has_header(&self.bytes, self.end, next, self.secret.value)
                // Whether it is cannot be told: no byte goes without a copy.
                || !self.secret.is_certain
                || (self.is_sealed)()
        };
        is_followed || self.used <= self.end || !is_of_log()
    }

    /// Reads a hole a second time. True if the next frame is there now.
    fn read_again(&mut self, until: usize, next: u64) -> io::Result<bool> {
        read_into(
            &*self.file,
            &mut self.bytes[self.end..until],
            self.end as u64,
        )?;
        let frame = LogFrame::at(&self.bytes[self.end..], self.secret.value);
        Ok(frame.is_some_and(|frame| frame.header.first == next))
    }

    /// Whether the bytes at the end of the frames so far were durable once.
    fn was_durable(&mut self, next: u64) -> bool {
        // What a snapshot has was durable before it. The frames say the same at each hole: none says more than up to
        // its own place.
        let (bytes, end, first) = (&self.bytes, self.end, self.first);
        let secret = self.secret.value;
        self.is_durable
            || next < self.from
            || *self
                .synced_to
                .get_or_insert_with(|| synced_to(bytes, secret, end, first))
                > end
            || (self.is_sealed)()
    }
}

/// Copies a segment that is damaged, or the part of it that is cut off. Returns the name of the copy, unless it was
/// there before.
fn keep_aside(disk: &dyn Disk, first: u64, end: usize, aside: Aside) -> io::Result<Option<String>> {
    let (what, from) = match aside {
        Aside::Nothing => return Ok(None),
        Aside::All => ("log", 0),
        Aside::Tail => ("tail", end),
    };
    let bytes = read_all(&*disk.open(&segment_name(first))?)?;
    let bytes = &bytes[from..used(&bytes)];
    // Named by its content, so that it is kept once, however often the broker starts.
    let name = format!("{first:020}-{:08x}.{what}", crc32c::crc32c(bytes));
    if disk.names(DAMAGED)?.contains(&name) {
        return Ok(None);
    }
    let name = format!("{DAMAGED}/{name}");
    let file = disk.create(&name)?;
    write_all(&*file, &[bytes], 0)?;
    file.sync()?;
    disk.sync_folder(DAMAGED)?;
    Ok(Some(name))
}

/// Cuts a segment off behind its last frame, durably.
fn truncate(disk: &dyn Disk, name: &str, end: usize) -> io::Result<()> {
    let file = disk.open(name)?;
    if file.len()? > end as u64 {
        file.truncate(end as u64)?;
    }
    file.sync()
}

/// The bytes up to the last that is not zero.
fn used(bytes: &[u8]) -> usize {
    // Most of a segment may be zeros, and to compare many at once is faster.
    const ZEROS: [u8; 4096] = [0; 4096];
    let zeros = bytes.rchunks(ZEROS.len());
    let zeros = zeros.take_while(|chunk| **chunk == ZEROS[..chunk.len()]);
    let bytes = &bytes[..bytes.len() - zeros.map(<[u8]>::len).sum::<usize>()];
    let last = bytes.iter().rposition(|&byte| byte != 0);
    last.map_or(0, |last| last + 1)
}
