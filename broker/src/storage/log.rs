//! The end of the log: frames are appended to the newest segment, and made durable.
//!
//! A segment is a file that is taken in its full size before it is written, because to overwrite is cheaper to
//! sync than to grow. Only what this process has begun is written to; segments of an earlier one stay as they are.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sync::{AtomicU64, Mutex, Ordering};

use super::disk::{Disk, DiskFile, write_all};
use super::frame::{ALIGNMENT, FrameHeader, FrameKind, HEADER_BYTES};

/// The folder of the segments.
pub(crate) const FOLDER: &str = "log";

/// The segment that will be used next.
const SPARE: &str = "log/next";

/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 64 * 1024;

pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    generation: u32,
    /// Lock order: after the locks of the publisher, before none. Writes wait under it for the system only.
    tail: Mutex<Tail>,
    /// Held by the one sync at a time. Lock order: before `tail`.
    syncing: Mutex<()>,
    /// Bytes that were appended since the start.
    appended: AtomicU64,
}

struct Tail {
    /// The one that is written to is the last. Those before are not known to be durable.
    segments: Vec<Arc<LogSegment>>,
    /// Where the next frame begins.
    end: u64,
    /// The next sequence number.
    next: u64,
    time_ms: u64,
    /// The last frame is a mark.
    is_marked: bool,
    spare: Option<Box<dyn DiskFile>>,
    /// A sync has failed. The system forgets then what it could not write, so a later one that succeeds would say
    /// nothing.
    is_failing: bool,
}

struct LogSegment {
    /// The sequence number of its first entry.
    first: u64,
    file: Box<dyn DiskFile>,
    bytes: u64,
    /// Bytes of frames, once the next segment has begun.
    end: AtomicU64,
    /// Bytes that are durable.
    synced_to: AtomicU64,
}

/// Why something was not kept. `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotKept {
    NoRoom,
    /// The disk has failed.
    Failed,
}

impl Log {
    /// Begins a segment at the sequence number `next`, behind all that earlier processes have left.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        generation: u32,
        next: u64,
        time_ms: u64,
    ) -> io::Result<Self> {
        let file = disk.create(&segment_name(next))?;
        file.reserve(segment_bytes)?;
        let first = Arc::new(LogSegment::new(next, file, segment_bytes));
        Ok(Self {
            disk,
            segment_bytes,
            generation,
            tail: Mutex::new(Tail {
                segments: vec![first],
                end: 0,
                next,
                time_ms,
                is_marked: true,
                spare: None,
                is_failing: false,
            }),
            syncing: Mutex::default(),
            appended: AtomicU64::new(0),
        })
    }

    /// Appends a frame with `count` entries; returns the sequence number of the first. It survives the end of this
    /// process from then on. An error has changed nothing.
    pub(crate) fn append(
        &self,
        kind: FrameKind,
        count: u32,
        body: &[&[u8]],
    ) -> Result<u64, NotKept> {
        let tail = &mut *self.tail.lock();
        if tail.is_failing {
            return Err(NotKept::Failed);
        }
        let mut header = FrameHeader::new(kind, tail.next, count).of(body);
        let bytes = header.frame_bytes() as u64;
        if tail.end + bytes > tail.current().bytes {
            self.begin_segment(tail, bytes)
                .map_err(|err| not_kept(&err))?;
        }
        let segment = tail.current();
        header.time_ms = tail.time_ms.max(now_ms());
        header.generation = self.generation;
        // Relaxed: an older mark says less, and nothing wrong.
        let synced_to = segment.synced_to.load(Ordering::Relaxed);
        header.synced_to = u32::try_from(synced_to).unwrap_or(u32::MAX);
        let head = header.encode();
        let padding = [0; ALIGNMENT];
        let padding = &padding[..header.frame_bytes() - HEADER_BYTES - header.length as usize];
        let mut parts = Vec::with_capacity(body.len() + 2);
        parts.push(&head[..]);
        parts.extend_from_slice(body);
        parts.push(padding);
        // What a failed write leaves is overwritten by the next one, because the end stays.
        write_all(&*segment.file, &parts, tail.end).map_err(|err| not_kept(&err))?;
        tail.end += bytes;
        tail.next = header.end();
        tail.time_ms = header.time_ms;
        tail.is_marked = kind == FrameKind::Mark;
        self.appended.fetch_add(bytes, Ordering::Relaxed);
        Ok(header.first)
    }

    /// Begins the next segment, which has room for `bytes`.
    fn begin_segment(&self, tail: &mut Tail, bytes: u64) -> io::Result<()> {
        let name = segment_name(tail.next);
        let (file, bytes) = match tail.spare.take() {
            Some(file) if bytes <= self.segment_bytes => {
                if let Err(err) = self.disk.rename(SPARE, &name) {
                    tail.spare = Some(file);
                    return Err(err);
                }
                (file, self.segment_bytes)
            }
            // A long line, or more came than the spare was made in time for.
            spare => {
                tail.spare = spare;
                let bytes = bytes.max(self.segment_bytes);
                let file = self.disk.create(&name)?;
                if let Err(err) = file.reserve(bytes) {
                    // If it stays, it is empty, and that is no damage.
                    let _ = self.disk.remove(&name);
                    return Err(err);
                }
                (file, bytes)
            }
        };
        // Release is not needed: `sync` reads it under the lock that is held here.
        tail.current().end.store(tail.end, Ordering::Relaxed);
        tail.segments
            .push(Arc::new(LogSegment::new(tail.next, file, bytes)));
        tail.end = 0;
        Ok(())
    }

    /// Makes durable all that was appended before. Returns the sequence number behind it.
    pub(crate) fn sync(&self) -> io::Result<u64> {
        let _one = self.syncing.lock();
        let (segments, end, next) = {
            // Within the lock of the one sync: that one is held while the disk works, and this one for a moment.
            let tail = self.tail.lock();
            if tail.is_failing {
                return Err(io::Error::other("an earlier sync has failed"));
            }
            (tail.segments.clone(), tail.end, tail.next)
        };
        let (last, sealed) = segments.split_last().expect("there is always one");
        let sealed = sealed
            .iter()
            // Relaxed: it was stored under the lock above.
            .map(|segment| (segment, segment.end.load(Ordering::Relaxed)));
        // The oldest first: the log that a crash leaves has to be a part of it from the beginning.
        for (segment, end) in sealed.chain([(last, end)]) {
            if let Err(err) = self.sync_segment(segment, end) {
                // Within the lock of the one sync, as above: the end of the log is locked for moments only, so that
                // publishers do not wait for a disk that syncs.
                self.tail.lock().is_failing = true;
                return Err(err);
            }
        }
        // Within the lock of the one sync, so that no other has forgotten one of them.
        let mut tail = self.tail.lock();
        tail.segments.retain(|segment| segment.first >= last.first);
        Ok(next)
    }

    fn sync_segment(&self, segment: &LogSegment, end: u64) -> io::Result<()> {
        // Relaxed: written here alone, under the lock of the one sync.
        let synced_to = segment.synced_to.load(Ordering::Relaxed);
        if synced_to >= end {
            return Ok(());
        }
        if synced_to == 0 {
            // Bytes without a durable name are lost.
            self.disk.sync_folder(FOLDER)?;
        }
        segment.file.sync()?;
        segment.synced_to.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Notes in the log how far it is durable, if something came since the last time.
    pub(crate) fn mark(&self) -> Result<(), NotKept> {
        if !self.tail.lock().is_marked {
            self.append(FrameKind::Mark, 0, &[])?;
        }
        Ok(())
    }

    /// Makes the next segment, if the newest is half full. Publishers do not wait for it.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        {
            let tail = self.tail.lock();
            if tail.spare.is_some() || tail.end < tail.current().bytes / 2 {
                return Ok(());
            }
        }
        match self.make_spare() {
            Ok(file) => {
                self.tail.lock().spare = Some(file);
                Ok(())
            }
            Err(err) => {
                // On a full disk its part would take the room that is left. It may not be there.
                let _ = self.disk.remove(SPARE);
                Err(err)
            }
        }
    }

    fn make_spare(&self) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(SPARE)?;
        file.reserve(self.segment_bytes)?;
        let zeros = vec![0; ZERO_BYTES];
        let mut at = 0;
        while at < self.segment_bytes {
            let len = (self.segment_bytes - at).min(ZERO_BYTES as u64);
            write_all(&*file, &[&zeros[..len as usize]], at)?;
            at += len;
        }
        file.sync()?;
        Ok(file)
    }

    /// Gives back the room that was taken for more, and makes all durable. Nothing is appended afterwards.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.sync()?;
        let mut tail = self.tail.lock();
        tail.is_failing = true;
        tail.current().file.truncate(tail.end)?;
        tail.current().file.sync()?;
        match tail.spare.take() {
            Some(_) => self.disk.remove(SPARE),
            None => Ok(()),
        }
    }

    /// The next sequence number.
    pub(crate) fn next(&self) -> u64 {
        self.tail.lock().next
    }

    /// Bytes that were appended since the start.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }
}

impl Tail {
    fn current(&self) -> &LogSegment {
        self.segments.last().expect("there is always one")
    }
}

impl LogSegment {
    fn new(first: u64, file: Box<dyn DiskFile>, bytes: u64) -> Self {
        Self {
            first,
            file,
            bytes,
            end: AtomicU64::new(0),
            synced_to: AtomicU64::new(0),
        }
    }
}

/// The name of the segment whose first entry has this sequence number.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{FOLDER}/{first:020}.log")
}

/// The sequence number in the name of a segment, without its folder.
pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

fn not_kept(err: &io::Error) -> NotKept {
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            NotKept::NoRoom
        }
        _ => NotKept::Failed,
    }
}
