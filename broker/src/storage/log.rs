//! The end of the log: frames are appended to the newest segment, and made durable.
//!
//! A segment is a file that is taken in its full size before it is written, because to overwrite is cheaper to
//! sync than to grow. Only what this process has begun is written to; segments of an earlier one stay as they are.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::clock::log_limit::LogLimit;
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

use super::disk::{Disk, DiskFile, is_full, write_all};
use super::figures::LogFigures;
use super::frame::{ALIGNMENT, FrameHeader, FrameKind, FrameSecret, HEADER_BYTES, LogFrame};
use super::not_kept::NotKept;
use super::segment::{FOLDER, LogSegment, Mark, segment_name};
use super::segment_list::{FoundSegment, SegmentList};
use super::undurable::Undurable;

/// The segment that will be used next.
const SPARE: &str = "next-";

/// The same while it is made.
pub(super) const MAKING: &str = "log/making";

/// A segment that is written anew without what is not needed, until it is whole.
pub(super) const CLEANED: &str = "log/cleaned";

/// A segment for what a failed sync has left in doubt, until it is durable.
const ANEW: &str = "log/anew";

/// With more than this in memory that is not durable, a sync is wished for, and with twice that it is waited for.
const UNDURABLE_BYTES: usize = 32 << 20;

pub(crate) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segment_bytes: u64,
    /// Free bytes of the disk that are left to others.
    pub(super) reserve_bytes: u64,
    generation: u32,
    pub(super) secret: FrameSecret,
    /// Lock order: after the locks of the publisher, before none. Writes wait under it for the system only.
    pub(super) tail: Mutex<Tail>,
    /// Held by the one sync at a time. Lock order: before `tail`.
    syncing: Mutex<()>,
    /// Signalled when less in memory is not durable.
    synced: Condvar,
    /// Bytes that were appended since the start, and those of them that are state.
    appended: AtomicU64,
    appended_state: AtomicU64,
    /// All that can be read. Its lock comes behind `tail`.
    pub(super) segments: SegmentList,
    pub(super) figures: LogFigures,
    /// Log limit: a sync has failed.
    pub(super) anew_faults: LogLimit,
}

pub(super) struct Tail {
    /// The one that is written to is the last. Those before are not known to be durable.
    segments: Vec<Arc<LogSegment>>,
    /// Where the next frame begins.
    pub(super) end: u64,
    /// The next sequence number.
    next: u64,
    time_ms: u64,
    /// The last frame is a mark.
    is_marked: bool,
    /// When the segment was begun.
    pub(super) since: Instant,
    /// The segments that will be used next, by their names, and how many there have been.
    pub(super) spares: Vec<(String, Box<dyn DiskFile>)>,
    spares_made: u64,
    /// Bytes that frames may take which are not appended yet.
    admitted: u64,
    /// All entries before this number are durable.
    durable: u64,
    /// All frames that are not known to be durable. After a failed sync the system has forgotten what it could not write.
    undurable: Undurable,
    /// A sync has failed, and what was in doubt could not be written anew. A later sync that succeeds would say
    /// nothing.
    is_failing: bool,
}

/// A frame to be appended.
pub(crate) struct NewFrame<'a> {
    header: FrameHeader,
    body: &'a [&'a [u8]],
}

impl Log {
    /// Begins a segment at the sequence number `next`, behind all that earlier processes have left. After damage it is said
    /// there that all of that was durable.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        secret: FrameSecret,
        generation: u32,
        next: u64,
        time_ms: u64,
        is_damaged: bool,
    ) -> io::Result<Self> {
        // What an earlier process has left of those that it would have used next.
        let names = disk.names(FOLDER)?;
        for name in names.iter().filter(|name| name.starts_with(SPARE)) {
            let _ = disk.remove(&format!("{FOLDER}/{name}"));
        }
        // It may not be there.
        let _ = disk.remove(CLEANED);
        let file = disk.create(MAKING)?;
        file.reserve(segment_bytes)?;
        let first = LogSegment::new(next, file, segment_bytes);
        let end = match is_damaged {
            true => first.seal(secret, generation, time_ms)?,
            false => 0,
        };
        // One that had this name may say the same, and must not go before this one is whole.
        disk.rename(MAKING, &segment_name(next))?;
        if is_damaged {
            disk.sync_folder(FOLDER)?;
        }
        let first = Arc::new(first);
        let segments = SegmentList::of_earlier(&*disk, secret)?;
        segments.add(&first);
        Ok(Self {
            disk,
            segment_bytes,
            reserve_bytes: 0,
            generation,
            secret,
            tail: Mutex::new(Tail {
                segments: vec![first],
                end,
                next,
                time_ms,
                is_marked: true,
                since: Instant::now(),
                spares: Vec::new(),
                spares_made: 0,
                admitted: 0,
                durable: next,
                undurable: Undurable::default(),
                is_failing: false,
            }),
            syncing: Mutex::default(),
            synced: Condvar::new(),
            appended: AtomicU64::new(0),
            appended_state: AtomicU64::new(0),
            segments,
            figures: LogFigures::new(next),
            anew_faults: LogLimit::default(),
        })
    }

    /// Appends a frame; returns the sequence number of its first entry. It survives the end of this process from then
    /// on. An error has changed nothing.
    pub(crate) fn append(&self, frame: &NewFrame<'_>) -> Result<u64, NotKept> {
        let bytes = frame.bytes();
        self.admit(bytes)?;
        self.append_all(std::slice::from_ref(frame), bytes)
    }

    /// Takes room for frames of so many bytes, so that they will not be refused for want of it. It is given back with
    /// the frames, or by [`Log::give_back`].
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), NotKept> {
        let mut guard = self.tail.lock();
        while guard.undurable.bytes() > 2 * UNDURABLE_BYTES && !guard.is_failing {
            self.synced.wait(&mut guard);
        }
        let tail = &mut *guard;
        if tail.is_failing {
            return Err(NotKept::Failed);
        }
        let wanted = tail.admitted + bytes;
        // What is left of a segment may be too short for the next frame.
        let fits = tail.end + wanted <= tail.current().bytes;
        if !fits && tail.spares.is_empty() {
            // More came than it was made in time for.
            let name = tail.spare_name();
            let made = self.make_file(&name, self.segment_bytes);
            tail.spares
                .push((name, made.map_err(|err| not_kept(&err))?));
        }
        tail.admitted = wanted;
        Ok(())
    }

    /// Gives back what [`Log::admit`] has taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.tail.lock().admitted -= bytes;
    }

    /// Appends frames whose entries follow each other; `admitted` is what was taken for them. Returns the sequence number
    /// of the first.
    pub(crate) fn append_all(
        &self,
        frames: &[NewFrame<'_>],
        admitted: u64,
    ) -> Result<u64, NotKept> {
        let tail = &mut *self.tail.lock();
        tail.admitted -= admitted;
        let first = tail.next;
        let (mut result, mut appended) = (Ok(first), 0);
        for frame in frames {
            match self.append_frame(tail, frame) {
                Ok(()) => appended += 1,
                Err(err) => {
                    result = Err(not_kept(&err));
                    self.figures.note_room::<()>(&Err(err));
                    break;
                }
            }
        }
        if result.is_err() && appended > 0 {
            // A part of them would be there after a start, and was refused.
            self.fail(tail);
        }
        result
    }

    fn append_frame(&self, tail: &mut Tail, frame: &NewFrame<'_>) -> io::Result<()> {
        if tail.is_failing {
            return Err(io::Error::other("the store has failed"));
        }
        let mut header = frame.header;
        header.first = tail.next;
        header.time_ms = tail.time_ms.max(now_ms());
        header.generation = self.generation;
        let bytes = header.frame_bytes() as u64;
        if tail.end + bytes > tail.current().bytes {
            self.begin_segment(tail, bytes)?;
        }
        if let Err(err) = write_frame(tail, self.secret, &mut header, frame) {
            // Once more, elsewhere: the disk may be bad in one place.
            self.begin_segment(tail, bytes).map_err(|_| err)?;
            write_frame(tail, self.secret, &mut header, frame)?;
        }
        tail.current().marks.note(Mark {
            sequence: header.first,
            time_ms: header.time_ms,
            at: tail.end,
        });
        tail.end += bytes;
        tail.next = header.end();
        tail.time_ms = header.time_ms;
        tail.is_marked = header.kind == FrameKind::Mark;
        self.figures.note_next(tail.next);
        self.appended.fetch_add(bytes, Ordering::Relaxed);
        if header.kind == FrameKind::State {
            self.appended_state.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps nothing more until a start.
    fn fail(&self, tail: &mut Tail) {
        tail.is_failing = true;
        self.figures.note_failing();
    }

    /// Begins the next segment, which has room for `bytes`.
    fn begin_segment(&self, tail: &mut Tail, bytes: u64) -> io::Result<()> {
        let name = segment_name(tail.next);
        let (file, bytes) = match tail.spares.pop() {
            Some((spare, file)) if bytes <= self.segment_bytes => {
                if let Err(err) = self.disk.rename(&spare, &name) {
                    tail.spares.push((spare, file));
                    return Err(err);
                }
                (file, self.segment_bytes)
            }
            // A long line, or more came than one was made in time for.
            spare => {
                tail.spares.extend(spare);
                let bytes = bytes.max(self.segment_bytes);
                (self.make_file(&name, bytes)?, bytes)
            }
        };
        // Release is not needed: `sync` reads it under the lock that is held here.
        tail.current().end.store(tail.end, Ordering::Relaxed);
        let segment = Arc::new(LogSegment::new(tail.next, file, bytes));
        // Within the lock of the end, so that no reader finds entries and not their segment.
        self.segments.add(&segment);
        tail.segments.push(segment);
        tail.end = 0;
        tail.since = Instant::now();
        Ok(())
    }

    /// Makes a file of this length, or none: its part would take the room that is left.
    pub(super) fn make_file(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let free = self.leave_reserve(bytes);
        let made = free.and_then(|()| self.disk.create(name));
        let made = made.and_then(|file| {
            file.reserve(bytes)?;
            Ok(file)
        });
        self.figures.note_room(&made);
        made.inspect_err(|_| {
            // It may not be there.
            let _ = self.disk.remove(name);
        })
    }

    /// Makes durable all that was appended before. Returns the sequence number behind it.
    pub(crate) fn sync(&self) -> io::Result<u64> {
        let _one = self.syncing.lock();
        let (segments, end, next, undurable) = {
            // Within the lock of the one sync: that one is held while the disk works, and this one for a moment.
            let mut tail = self.tail.lock();
            if tail.is_failing {
                return Err(io::Error::other("an earlier sync has failed"));
            }
            let undurable = tail.undurable.mark();
            (tail.segments.clone(), tail.end, tail.next, undurable)
        };
        if let Err(err) = self.sync_segments(&segments, end) {
            // Within the lock of the one sync, as above. Publishers wait for this.
            return self.write_anew(&mut self.tail.lock(), &err);
        }
        let last = segments.last().expect("there is always one");
        // Within the lock of the one sync, so that no other has forgotten one of them.
        let mut tail = self.tail.lock();
        tail.segments.retain(|segment| segment.first >= last.first);
        tail.undurable.forget(undurable);
        tail.durable = next;
        self.synced.notify_all();
        Ok(next)
    }

    fn sync_segments(&self, segments: &[Arc<LogSegment>], end: u64) -> io::Result<()> {
        let (last, sealed) = segments.split_last().expect("there is always one");
        let sealed = sealed
            .iter()
            // Relaxed: it was stored under the lock above.
            .map(|segment| (segment, segment.end.load(Ordering::Relaxed)));
        // The oldest first: the log that a crash leaves has to be a part of it from the beginning.
        let mut all = sealed.chain([(last, end)]);
        all.try_for_each(|(segment, end)| self.sync_segment(segment, end))
    }

    /// Writes all that is in doubt after a failed sync into a segment of its own, and makes that durable. Returns the
    /// sequence number behind it.
    fn write_anew(&self, tail: &mut Tail, why: &io::Error) -> io::Result<u64> {
        match self.try_to_write_anew(tail) {
            Ok((segment, end)) => {
                if let Some(more) = self.anew_faults.say(Instant::now()) {
                    ::log::error!(
                        "the store: a sync has failed ({why}); what was not durable before is written anew, and is durable{more}"
                    );
                }
                // Within the lock of the end, as above.
                self.segments.end_with(&segment);
                tail.segments = vec![Arc::new(segment)];
                tail.end = end;
                tail.undurable.clear();
                tail.durable = tail.next;
                self.synced.notify_all();
                Ok(tail.next)
            }
            Err(err) => {
                let _ = self.disk.remove(ANEW);
                self.fail(tail);
                self.synced.notify_all();
                let text = format!("a sync has failed ({why}), and so has writing anew: {err}");
                Err(io::Error::new(err.kind(), text))
            }
        }
    }

    fn try_to_write_anew(&self, tail: &Tail) -> io::Result<(LogSegment, u64)> {
        let bytes = self.segment_bytes.max(tail.undurable.bytes() as u64);
        let file = self.disk.create(ANEW)?;
        file.reserve(bytes)?;
        let (mut at, mut first) = (0, tail.next);
        for mut frames in tail.undurable.pieces() {
            while let Some(mut frame) = LogFrame::at(frames, self.secret) {
                first = first.min(frame.header.first);
                // It says how far its segment is durable, and this one is another.
                frame.header.synced_to = 0;
                let (whole, rest) = frames.split_at(frame.header.frame_bytes());
                let body = &whole[HEADER_BYTES..];
                write_all(&*file, &[&frame.header.encode(self.secret), body], at)?;
                at += whole.len() as u64;
                frames = rest;
            }
        }
        file.sync()?;
        // The failed one stays, for what it has of earlier frames. Frames that both have count once.
        let name = segment_name(first);
        self.disk.rename(ANEW, &name)?;
        self.disk.sync_folder(FOLDER)?;
        // Those behind the failed one have nothing that is not here, and would come behind it.
        for later in tail.segments.iter().filter(|it| it.first > first) {
            self.disk.remove(&segment_name(later.first))?;
        }
        let segment = LogSegment::new(first, file, bytes);
        // Relaxed: no other thread has it yet.
        segment.synced_to.store(at, Ordering::Relaxed);
        Ok((segment, at))
    }

    /// Whether so much is not durable that a sync should not wait for its interval.
    pub(crate) fn wants_sync(&self) -> bool {
        self.tail.lock().undurable.bytes() > UNDURABLE_BYTES
    }

    fn sync_segment(&self, segment: &LogSegment, end: u64) -> io::Result<()> {
        // Relaxed: written here alone, under the lock of the one sync.
        let synced_to = segment.synced_to.load(Ordering::Relaxed);
        if synced_to >= end {
            return Ok(());
        }
        let begun = Instant::now();
        if synced_to == 0 {
            // Bytes without a durable name are lost.
            self.disk.sync_folder(FOLDER)?;
        }
        segment.file.sync()?;
        self.figures.syncs.note(begun.elapsed(), 1);
        segment.synced_to.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Notes in the log how far it is durable, if something came since the last time.
    pub(crate) fn mark(&self) -> Result<(), NotKept> {
        if !self.tail.lock().is_marked {
            self.append(&NewFrame::new(FrameKind::Mark, 0, &[]))?;
        }
        Ok(())
    }

    /// Gives back the room that was taken for more, and makes all durable. Nothing is appended afterwards.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.sync()?;
        let mut tail = self.tail.lock();
        tail.is_failing = true;
        tail.current().file.truncate(tail.end)?;
        tail.current().file.sync()?;
        let mut spares = tail.spares.drain(..);
        spares.try_for_each(|(name, _)| self.disk.remove(&name))
    }

    /// The segment that has an entry, and the numbers of all that it may have.
    pub(super) fn readable(&self, sequence: u64) -> io::Result<Option<FoundSegment>> {
        self.segments.find(&*self.disk, sequence)
    }

    /// The first number that is younger than this time, or one shortly before it.
    pub(crate) fn younger(&self, time_ms: u64) -> io::Result<u64> {
        self.segments.younger(&*self.disk, time_ms)
    }

    /// The number of the first entry that was given after this generation; none if no later one has given any.
    pub(crate) fn end_of_generation(&self, generation: u32) -> io::Result<Option<u64>> {
        self.segments.end_of_generation(&*self.disk, generation)
    }

    /// When an entry was appended, or up to a minute before; none if it is not there.
    pub(crate) fn time_ms(&self, sequence: u64) -> io::Result<Option<u64>> {
        self.segments.time_ms(&*self.disk, sequence)
    }

    /// The number of the oldest entry that is still there.
    pub(crate) fn oldest(&self) -> u64 {
        self.segments.oldest()
    }

    /// The next sequence number.
    pub(crate) fn next(&self) -> u64 {
        self.tail.lock().next
    }

    /// The next sequence number, and the one behind the last entry that is durable; behind all, once the disk has failed.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let tail = self.tail.lock();
        let durable = match tail.is_failing {
            true => u64::MAX,
            false => tail.durable,
        };
        (tail.next, durable)
    }

    /// The next sequence number, or one that it was a moment ago, without waiting for the disk: what is appended later has
    /// this number or a higher one.
    pub(crate) fn next_seen(&self) -> u64 {
        self.figures.next()
    }

    pub(super) fn segments(&self) -> &SegmentList {
        &self.segments
    }

    pub(super) fn figures(&self) -> &LogFigures {
        &self.figures
    }

    /// Bytes that were appended since the start.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// Bytes of changes of state among them.
    pub(crate) fn appended_state(&self) -> u64 {
        self.appended_state.load(Ordering::Relaxed)
    }
}

impl<'a> NewFrame<'a> {
    /// A frame with so many entries. The checksum is made here, so that no other publisher waits for that.
    pub(crate) fn new(kind: FrameKind, count: u32, body: &'a [&'a [u8]]) -> Self {
        let header = FrameHeader::new(kind, 0, count).of(body);
        Self { header, body }
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.header.frame_bytes() as u64
    }
}

impl Tail {
    /// The name of one more segment that will be used next.
    pub(super) fn spare_name(&mut self) -> String {
        self.spares_made += 1;
        format!("{FOLDER}/{SPARE}{}", self.spares_made)
    }

    pub(super) fn current(&self) -> &LogSegment {
        self.segments.last().expect("there is always one")
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Writes a frame at the end, and keeps it in memory until it is durable.
fn write_frame(
    tail: &mut Tail,
    secret: FrameSecret,
    header: &mut FrameHeader,
    frame: &NewFrame<'_>,
) -> io::Result<()> {
    let segment = tail.current();
    // Relaxed: an older mark says less, and nothing wrong.
    let synced_to = segment.synced_to.load(Ordering::Relaxed);
    header.synced_to = u32::try_from(synced_to).unwrap_or(u32::MAX);
    let head = header.encode(secret);
    let padding = [0; ALIGNMENT];
    let padding = &padding[..header.frame_bytes() - HEADER_BYTES - header.length as usize];
    let mut parts = Vec::with_capacity(frame.body.len() + 2);
    parts.push(&head[..]);
    parts.extend_from_slice(frame.body);
    parts.push(padding);
    if let Err(err) = write_all(&*segment.file, &parts, tail.end) {
        // What it has left is overwritten by the next one, because the end stays. Until then it must not be taken for a
        // frame, which it may be as a whole, with what the file had before.
        let _ = write_all(&*segment.file, &[&[0; HEADER_BYTES]], tail.end);
        return Err(err);
    }
    tail.undurable.add(&parts);
    Ok(())
}

fn not_kept(err: &io::Error) -> NotKept {
    match is_full(err) {
        true => NotKept::NoRoom,
        false => NotKept::Failed,
    }
}
