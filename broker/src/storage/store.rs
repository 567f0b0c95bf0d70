//! The store of a broker: the folder of `--data`, with the log and the snapshots of what the broker keeps.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use protocol::{AckLevel, Position};

use crate::clock::log_limit::LogLimit;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

use super::disk::ram::RamDisk;
use super::disk::system::SystemDisk;
use super::disk::{Disk, is_full};
use super::figures::{StoreDamage, StoreFigures, StoreState};
use super::format::{Format, FormatError};
use super::frame::FrameKind;
use super::log::{Log, NewFrame};
use super::not_kept::NotKept;
use super::record::{Apply, Record};
use super::recovery;
use super::segment;
use super::snapshot::{self, SnapshotWriter};
use super::snapshot_source::SnapshotSource;
use super::survey::{Extent, StoreFound, Survey};
use super::waiters::{Synced, Waiter, Waiters, WaitingThread, Wake};

/// Bytes of a segment.
const SEGMENT_BYTES: u64 = 64 << 20;

/// The same of a store in memory, of which all is a part that there may be.
const RAM_SEGMENT_BYTES: u64 = 4 << 20;

/// Topics are spread over this many turns.
const TURNS: usize = 64;

/// Segments that a start reads, beyond which a snapshot is made: each start leaves one more.
const MOST_SEGMENTS: usize = 8;

/// Segments of messages after which a snapshot is made although little of the state has changed: the log before the
/// last but one is removed.
const MESSAGES_BETWEEN: u64 = 2;

/// Segments that are kept in any case: one that is written to, and one before it.
pub(super) const LEAST_SEGMENTS: usize = 2;

/// How often it is looked what is too old.
const FORGET: Duration = Duration::from_secs(60);

/// Syncs in quicker succession would leave no time for anything else.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// How often it is looked whether a segment or a snapshot is to be made.
const TEND: Duration = Duration::from_millis(100);

/// How often it is tried again to make a snapshot, or the next segment, after that has failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the broker keeps on its disk. One process has it at a time.
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    log: Log,
    /// The level of receipts to those that ask for none.
    level: AckLevel,
    waiters: Waiters,
    format: Mutex<Format>,
    segment_bytes: u64,
    /// The log should not be longer.
    most_bytes: u64,
    /// One for the topics with the same hash: see [`Store::turn`].
    turns: [Mutex<()>; TURNS],
    hasher: RandomState,
    /// The bytes that have to be appended since the start for the next snapshot: of changes, and of all.
    snapshot_at: AtomicU64,
    snapshot_at_all: AtomicU64,
    /// The number of the first segment that was not looked at yet for what is not needed of it.
    pub(super) cleaned_before: AtomicU64,
    /// What its start has found damaged.
    damage: StoreDamage,
    /// Log limits: what fails of each of its two threads.
    sync_faults: LogLimit,
    tend_faults: LogLimit,
    _lock: Option<OwnedFd>,
}

/// How the log is kept.
pub(crate) struct StoreTerms {
    /// The level of receipts to those that ask for none.
    pub(crate) level: AckLevel,
    /// The log should not be longer than so many bytes.
    pub(crate) most_bytes: u64,
    /// Free bytes of the disk that are left to others: no segment is begun that would take of them.
    pub(crate) reserve_bytes: u64,
    /// What of it is read.
    pub(crate) extent: Extent,
}

/// Why a store is not opened. Its content is never a reason, but for a newer format.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it.
    Locked,
    /// A newer broker has written it: the first line of its file `format`.
    Newer(String),
    /// The folder cannot be read or written.
    Io(io::Error),
}

/// What to do if another process has the store.
pub(crate) enum Waiting<'a> {
    /// It does not start.
    No,
    /// That is the process before this one: it is told that it may end, and waited for.
    ForPredecessor(&'a dyn Fn()),
}

impl Store {
    /// Opens the store in a folder, which is made if it is not there. `apply` gets all records in their order.
    pub(crate) fn open(
        folder: &Path,
        settings: &StoreTerms,
        waiting: Waiting<'_>,
        apply: &mut dyn Apply,
    ) -> Result<(Self, StoreFound), StoreError> {
        let disk = SystemDisk::open(folder)?;
        let lock = match (disk.lock()?, waiting) {
            (Some(lock), _) => lock,
            (None, Waiting::No) => return Err(StoreError::Locked),
            (None, Waiting::ForPredecessor(tell)) => {
                tell();
                disk.wait_for_lock()?
            }
        };
        let (disk, lock) = (Arc::new(disk), Some(lock));
        let opened = Self::open_extent(disk, lock, SEGMENT_BYTES, settings.extent, apply);
        let (mut store, found) = opened?;
        store.level = settings.level;
        store.most_bytes = settings.most_bytes;
        store.log.reserve_bytes = settings.reserve_bytes;
        Ok((store, found))
    }

    /// A store in memory, which ends with its process. It takes messages alone.
    pub(crate) fn in_memory(most_bytes: u64) -> Result<Self, StoreError> {
        let disk = Arc::new(RamDisk::default());
        let nothing = &mut |_: &Record<'_>| {};
        let opened = Self::open_extent(disk, None, RAM_SEGMENT_BYTES, Extent::All, nothing);
        let (mut store, _) = opened?;
        store.level = AckLevel::Mem;
        store.most_bytes = most_bytes;
        Ok(store)
    }

    /// The same for a tool, which is alone with the store. Also what a start has no need of is mended.
    pub(crate) fn open_whole(
        folder: &Path,
        apply: &mut dyn Apply,
    ) -> Result<(Self, StoreFound), StoreError> {
        let disk = SystemDisk::open(folder)?;
        let lock = disk.lock()?.ok_or(StoreError::Locked)?;
        let disk = Arc::new(disk);
        Self::open_extent(disk, Some(lock), SEGMENT_BYTES, Extent::All, apply)
    }

    #[cfg(test)]
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        lock: Option<OwnedFd>,
        segment_bytes: u64,
        apply: &mut dyn Apply,
    ) -> Result<(Self, StoreFound), StoreError> {
        Self::open_extent(disk, lock, segment_bytes, Extent::Needed, apply)
    }

    pub(crate) fn open_extent(
        disk: Arc<dyn Disk>,
        lock: Option<OwnedFd>,
        segment_bytes: u64,
        extent: Extent,
        apply: &mut dyn Apply,
    ) -> Result<(Self, StoreFound), StoreError> {
        let format = Format::read(&*disk)?;
        for folder in [segment::FOLDER, snapshot::FOLDER, recovery::DAMAGED] {
            disk.make_folder(folder)?;
        }
        let survey = Survey::read(&*disk, format.as_ref(), extent, apply)?;
        let secret = survey.secret;
        let found = survey.mend(&*disk)?;
        let recovered = &found.recovered;
        let before = format.as_ref().map_or(0, |it| it.generation);
        let is_intact = recovered.lost == 0 && recovered.cut_bytes == 0;
        let generation = match &format {
            Some(format) if format.is_clean && is_intact => before.max(recovered.generation),
            // Numbers that did not survive are given again. The generation tells them apart.
            _ => before.max(recovered.generation).saturating_add(1),
        };
        let id = format.map_or_else(Format::new_id, |format| Ok(format.id))?;
        let format = Format {
            id,
            generation,
            is_clean: false,
            secret,
        };
        let (next, time_ms) = (recovered.next, recovered.time_ms);
        let is_damaged = recovered.damages > 0;
        let log = Log::begin(
            disk.clone(),
            segment_bytes,
            secret,
            generation,
            next,
            time_ms,
            is_damaged,
        )?;
        // When the log says of what was damaged that it was durable: until then, a clean end does.
        format.write(&*disk)?;
        let store = Self {
            disk,
            log,
            level: AckLevel::Os,
            waiters: Waiters::default(),
            format: Mutex::new(format),
            segment_bytes,
            most_bytes: u64::MAX,
            turns: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
            snapshot_at_all: AtomicU64::new(MESSAGES_BETWEEN * segment_bytes),
            snapshot_at: AtomicU64::new(match found.recovered.segments > MOST_SEGMENTS {
                true => 0,
                false => segment_bytes.saturating_sub(found.recovered.bytes),
            }),
            cleaned_before: AtomicU64::new(0),
            damage: StoreDamage {
                lost: found.recovered.lost,
                places: found.recovered.damages,
                snapshots: found.bad_snapshots,
            },
            sync_faults: LogLimit::default(),
            tend_faults: LogLimit::default(),
            _lock: lock,
        };
        Ok((store, found))
    }

    /// Waits until no other thread changes what is kept for this topic. Held while a change is kept and until it is
    /// carried out, so that a snapshot does not come between, and that both come in the same order, without one lock for all topics that is held while the disk writes.
    pub(crate) fn turn(&self, topic: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(topic) as usize;
        self.turns[hash % TURNS].lock()
    }

    /// Keeps a change, which survives the end of this process from then on. An error has changed nothing.
    pub(crate) fn keep(&self, record: &Record<'_>) -> Result<u64, NotKept> {
        let mut body = Vec::new();
        record.encode(&mut body);
        let sequence = self
            .log
            .append(&NewFrame::new(FrameKind::State, 1, &[&body]))?;
        if self.log.wants_sync() {
            self.waiters.urge();
        }
        Ok(sequence)
    }

    /// Appends messages; returns the sequence number of the first.
    pub(crate) fn append_lines(
        &self,
        frames: &[NewFrame<'_>],
        admitted: u64,
    ) -> Result<u64, NotKept> {
        let first = self.log.append_all(frames, admitted)?;
        if self.log.wants_sync() {
            self.waiters.urge();
        }
        Ok(first)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// How it is now.
    pub(crate) fn figures(&self) -> StoreFigures {
        let (segments, figures) = (self.log.segments(), self.log.figures());
        let size = segments.size();
        StoreFigures {
            state: figures.state(),
            bytes: size.bytes,
            segments: size.count,
            oldest: self.position(segments.oldest()),
            next: self.position(figures.next()),
            appended: self.log.appended(),
            syncs: figures.syncs.read(),
            waiting: self.waiters.count(),
            damage: self.damage,
        }
    }

    /// Whether it takes what is to be kept.
    pub(crate) fn state(&self) -> StoreState {
        self.log.figures().state()
    }

    /// The level of receipts to those that ask for none.
    pub(crate) fn level(&self) -> AckLevel {
        self.level
    }

    /// Where the entry with this sequence number is.
    pub(crate) fn position(&self, sequence: u64) -> Position {
        let format = self.format.lock();
        Position {
            store: format.id,
            generation: format.generation,
            sequence,
        }
    }

    /// The sequence number of the last entry; that of none before the first.
    pub(crate) fn last(&self) -> u64 {
        self.log.next() - 1
    }

    /// Has the next sync tell a waiter how far the store is.
    pub(crate) fn wish(&self, waiter: Arc<dyn Waiter>) {
        self.waiters.add(waiter);
    }

    /// Waits until an entry is durable; false if it does not become so.
    pub(crate) fn wait(&self, sequence: u64) -> bool {
        let thread = Arc::new(WaitingThread::new(sequence));
        self.waiters.add(thread.clone());
        thread.wait()
    }

    /// Does what is done beside the publishers, until `stopped` is closed: syncs for those that wait and at each
    /// interval, and makes snapshots from `source`. Then everything is durable.
    pub(crate) fn run(
        &self,
        interval: Duration,
        source: &dyn SnapshotSource,
        stopped: &Receiver<()>,
    ) {
        thread::scope(|scope| {
            scope.spawn(|| {
                self.tend_loop(source, stopped);
                self.waiters.stop();
            });
            self.sync_loop(interval);
        });
        let closed = self.close();
        if let Err(err) = &closed {
            ::log::error!("the store: {err}; the next start takes it for that after a crash");
        }
        // All of it, also of those that have come since the last sync.
        self.waiters.release(match closed {
            Ok(()) => Synced::Before(u64::MAX),
            Err(_) => Synced::Failed,
        });
    }

    fn sync_loop(&self, interval: Duration) {
        let interval = interval.max(LEAST_INTERVAL);
        let mut synced = self.log.appended();
        let mut next = Instant::now() + interval;
        loop {
            let wake = self.waiters.wait(next);
            if wake == Wake::Stop {
                return;
            }
            let appended = self.log.appended();
            let done = match wake == Wake::Interval && appended == synced {
                // Nothing has come for an interval.
                true => self.log.mark().map_err(io::Error::other),
                false => self.sync_for_waiters(),
            };
            synced = appended;
            if wake == Wake::Interval {
                next = Instant::now() + interval;
            }
            if let Err(err) = done {
                tell_fault(&self.sync_faults, &err);
            }
        }
    }

    fn sync_for_waiters(&self) -> io::Result<()> {
        let synced = self.log.sync();
        self.waiters.release(match synced {
            Ok(next) => Synced::Before(next),
            Err(_) => Synced::Failed,
        });
        synced.map(drop)
    }

    /// Makes segments before they are needed and snapshots from `source` when they are due, until `stopped` is closed:
    /// beside the thread that syncs, because both take long and others wait for that one.
    fn tend_loop(&self, source: &dyn SnapshotSource, stopped: &Receiver<()>) {
        let mut looked = Instant::now();
        loop {
            // At once, because starts in quick succession must not leave a file each.
            let done = self.log.prepare();
            source.keep_progress();
            let done = done.and_then(|()| self.make_snapshot_if_due(source));
            let done = match looked.elapsed() < FORGET {
                true => done,
                false => {
                    looked = Instant::now();
                    done.and_then(|()| self.remove_old(source))
                }
            };
            let pause = match done {
                Ok(()) => TEND,
                Err(err) => {
                    tell_fault(&self.tend_faults, &err);
                    TRY_AGAIN
                }
            };
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Makes durable all that was kept before.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.log.sync().map(drop)
    }

    /// Makes everything durable, and notes that.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.log.mark().map_err(io::Error::other)?;
        self.log.end()?;
        let mut format = self.format.lock();
        format.is_clean = true;
        format.write(&*self.disk)
    }

    /// Whether it ends with its process.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.level == AckLevel::Mem
    }

    /// Makes a snapshot if the log behind the last one is long: a segment, and twice what the snapshot takes.
    pub(super) fn make_snapshot_if_due(&self, source: &dyn SnapshotSource) -> io::Result<()> {
        if self.is_in_memory() {
            return self.remove_excess(source);
        }
        let is_due = self.log.appended_state() >= self.snapshot_at.load(Ordering::Relaxed)
            || self.log.appended() >= self.snapshot_at_all.load(Ordering::Relaxed);
        match is_due {
            true => self.make_snapshot(source),
            false => Ok(()),
        }
    }

    /// Has a snapshot made as soon as one can be, because the log does not have all changes.
    pub(crate) fn want_snapshot(&self) {
        self.snapshot_at.store(0, Ordering::Relaxed);
    }

    pub(crate) fn make_snapshot(&self, source: &dyn SnapshotSource) -> io::Result<()> {
        if let Err(err) = self.write_snapshot(source) {
            // On a full disk its part would take the room that is left.
            let _ = snapshot::remove_unfinished(&*self.disk);
            return Err(err);
        }
        self.remove_old(source)
    }

    fn write_snapshot(&self, source: &dyn SnapshotSource) -> io::Result<()> {
        let (appended, state) = (self.log.appended(), self.log.appended_state());
        let first = self.log.next();
        // A change with a lower number may be in the log and not carried out yet: its thread has its turn until it is.
        // A start would find it neither in the snapshot nor in the log behind that.
        for turn in &self.turns {
            drop(turn.lock());
        }
        let mut snapshot = SnapshotWriter::begin(self.disk.clone(), self.log.secret, first)?;
        source.write(&mut snapshot);
        let bytes = snapshot.bytes();
        // What the snapshot says may be newer than its number. After a crash nothing may be known that the log
        // does not have.
        self.log.sync()?;
        snapshot.finish()?;
        let next = state + self.segment_bytes.max(2 * bytes);
        self.snapshot_at.store(next, Ordering::Relaxed);
        let next = appended + (MESSAGES_BETWEEN * self.segment_bytes).max(4 * bytes);
        self.snapshot_at_all.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Of a store in memory, removes what is more than there may be, whenever a segment has been filled.
    fn remove_excess(&self, source: &dyn SnapshotSource) -> io::Result<()> {
        let appended = self.log.appended();
        let due = self.snapshot_at_all.load(Ordering::Relaxed);
        if appended < due {
            return Ok(());
        }
        let next = appended + self.segment_bytes;
        self.snapshot_at_all.store(next, Ordering::Relaxed);
        self.remove_old(source)
    }

    /// Removes what is older than the last but one snapshot, which is there in case the last one is damaged.
    fn remove_old(&self, source: &dyn SnapshotSource) -> io::Result<()> {
        let snapshots = snapshot::list(&*self.disk)?;
        let kept = match snapshots.last_chunk() {
            Some(&[kept, _]) => kept,
            // There is no state besides messages.
            None if self.is_in_memory() => u64::MAX,
            None => return Ok(()),
        };
        // Before anything is forgotten for want of room.
        let cleaned = self.clean(source, kept);
        let mut segments: Vec<u64> = self
            .disk
            .names(segment::FOLDER)?
            .iter()
            .filter_map(|name| segment::segment_first(name))
            .collect();
        segments.sort_unstable();
        let within = self
            .log
            .segments()
            .first_within(self.most_bytes, LEAST_SEGMENTS);
        if let Some(first) = within {
            source.forget_before(first);
        }
        // Only from the beginning: a hole in the log would be damage.
        let needed = kept.min(source.oldest_needed()?);
        let behind = segments.partition_point(|&first| first <= needed);
        let removed = &segments[..behind.saturating_sub(1)];
        if !removed.is_empty() {
            source.pass_over(segments[removed.len()])?;
        }
        for &first in removed {
            self.log.remove_segment(first)?;
        }
        for &old in snapshots.iter().filter(|&&first| first < kept) {
            self.disk.remove(&snapshot::name(old))?;
        }
        match cleaned {
            // What was removed may have made room for the next time.
            Err(err) if is_full(&err) => Ok(()),
            cleaned => cleaned,
        }
    }
}

/// Says that something has failed: a disk may fail at each attempt, or at every other one, and is tried again many times a
/// second.
fn tell_fault(limit: &LogLimit, err: &io::Error) {
    if let Some(more) = limit.say(Instant::now()) {
        ::log::error!("the store: {err}{more}");
    }
}

impl From<io::Error> for StoreError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

impl From<FormatError> for StoreError {
    fn from(err: FormatError) -> Self {
        match err {
            FormatError::Newer(version) => Self::Newer(version),
            FormatError::Io(err) => Self::Io(err),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str(
                "another broker has it; stop that one, or give this one another folder with --data",
            ),
            Self::Newer(version) => write!(
                f,
                "a newer broker has written it, in format {version:?}; start that one, or give this one another folder \
                 with --data"
            ),
            Self::Io(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
use super::frame::FrameSecret;

#[cfg(test)]
impl Store {
    /// How many lines were left out of the log: of failed syncs after which all was written anew, and of each of the
    /// two threads.
    pub(super) fn lines_left_out(&self) -> [u64; 3] {
        [
            self.log.anew_faults.suppressed(),
            self.sync_faults.suppressed(),
            self.tend_faults.suppressed(),
        ]
    }

    pub(super) fn set_reserve(&mut self, bytes: u64) {
        self.log.reserve_bytes = bytes;
    }

    pub(super) fn generation(&self) -> u32 {
        self.format.lock().generation
    }

    pub(super) fn secret(&self) -> FrameSecret {
        self.log.secret
    }

    pub(super) fn mark(&self) -> Result<(), NotKept> {
        self.log.mark()
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        self.log.prepare()
    }
}
