//! What a store tells about itself. It is counted where it happens, and read without waiting for the disk.

use std::io;

use protocol::Position;

use crate::clock::latency::{Latencies, Latency};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use super::disk::is_full;
use super::not_kept::NotKept;

/// Whether a store takes what is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreState {
    Ok,
    /// There was no room when it was last looked for: more is refused once the present segment is full.
    Full,
    /// Nothing is kept until the next start.
    Failing,
}

impl StoreState {
    /// Why nothing more is kept, if that is so.
    pub(crate) fn refusal(self) -> Option<NotKept> {
        match self {
            Self::Ok => None,
            Self::Full => Some(NotKept::NoRoom),
            Self::Failing => Some(NotKept::Failed),
        }
    }
}

/// How a store is now.
#[derive(Debug)]
pub(crate) struct StoreFigures {
    pub(crate) state: StoreState,
    /// Bytes of the files of the log.
    pub(crate) bytes: u64,
    pub(crate) segments: usize,
    /// Where the oldest entry of the log is, and where the next one will be.
    pub(crate) oldest: Position,
    pub(crate) next: Position,
    /// Bytes that were appended since the start.
    pub(crate) appended: u64,
    /// How long the disk took to make something durable.
    pub(crate) syncs: Latencies,
    /// Clients whose receipts wait for that.
    pub(crate) waiting: usize,
    pub(crate) damage: StoreDamage,
}

/// What a start has found damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreDamage {
    /// Changes that are lost.
    pub(crate) lost: u64,
    /// Places in the log.
    pub(crate) places: usize,
    pub(crate) snapshots: usize,
}

/// What a log counts. Relaxed everywhere: each figure is valid by itself, and decides nothing; `next` never falls, so one
/// that was read is not behind what is appended later.
#[derive(Default)]
pub(super) struct LogFigures {
    next: AtomicU64,
    is_full: AtomicBool,
    is_failing: AtomicBool,
    pub(super) syncs: Latency,
}

impl StoreState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Failing => "failing",
        }
    }
}

impl LogFigures {
    /// Those of a log whose next entry has this sequence number.
    pub(super) fn new(next: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            ..Self::default()
        }
    }

    pub(super) fn note_next(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// Room was asked for, and this came of it.
    pub(super) fn note_room<T>(&self, taken: &io::Result<T>) {
        match taken {
            Ok(_) => self.is_full.store(false, Ordering::Relaxed),
            Err(err) if is_full(err) => self.is_full.store(true, Ordering::Relaxed),
            // It says nothing of the room.
            Err(_) => {}
        }
    }

    pub(super) fn note_failing(&self) {
        self.is_failing.store(true, Ordering::Relaxed);
    }

    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> StoreState {
        match self.is_failing.load(Ordering::Relaxed) {
            true => StoreState::Failing,
            false if self.is_full() => StoreState::Full,
            false => StoreState::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::crash::{SEGMENT_BYTES, Scene, open, retained, settled};
    use super::super::waiters::WaitingThread;
    use super::*;

    fn keep(scene: &mut Scene, bytes: usize) -> bool {
        scene.keep(&retained(1, &vec![b'x'; bytes])).is_ok()
    }

    /// Also if the segment is less than half full, and there is no need of another one but for something long.
    #[test]
    fn a_store_is_full_from_an_attempt_to_take_room_that_fails_to_one_that_does_not() {
        for first in [1500, 500] {
            let mut scene = Scene::new();
            assert!(keep(&mut scene, first));
            assert_eq!(scene.store.state(), StoreState::Ok);
            let next = scene.disk.steps() + 1;
            scene.disk.fail_at(next, io::ErrorKind::StorageFull);
            assert!(!keep(&mut scene, 1800));
            assert_eq!(scene.store.state(), StoreState::Full);
            // It fits into what is there, so it says nothing of the disk.
            assert!(keep(&mut scene, 10));
            assert_eq!(scene.store.state(), StoreState::Full);
            scene.store.prepare().expect("there is room again");
            assert_eq!(scene.store.state(), StoreState::Ok);
            assert!(keep(&mut scene, 1800));
        }
    }

    #[test]
    fn room_that_is_missing_in_the_background_is_told_and_other_faults_are_not() {
        for (kind, state) in [
            (io::ErrorKind::StorageFull, StoreState::Full),
            (io::ErrorKind::Other, StoreState::Ok),
        ] {
            let mut scene = Scene::new();
            assert!(keep(&mut scene, 1200));
            scene.disk.fail_at(scene.disk.steps() + 1, kind);
            scene.store.prepare().expect_err("it fails");
            assert_eq!(scene.store.state(), state);
        }
    }

    #[test]
    fn what_is_reserved_to_others_is_no_room() {
        let mut scene = Scene::new();
        let free = |scene: &Scene, bytes| {
            let taken = scene.disk.all_names().into_iter();
            let taken: u64 = taken.map(|name| scene.disk.bytes(&name).len() as u64).sum();
            scene.disk.set_size(taken + bytes);
        };
        scene.store.set_reserve(1000);
        free(&scene, SEGMENT_BYTES + 999);
        assert!(keep(&mut scene, 1500));
        scene.store.prepare().expect_err("too little is free");
        assert_eq!(scene.store.state(), StoreState::Full);
        assert!(!keep(&mut scene, 1500));
        let why = scene.store.prepare().expect_err("too little is free");
        assert!(why.to_string().contains("--data-reserve"), "{why}");
        free(&scene, SEGMENT_BYTES + 1000);
        scene.store.prepare().expect("enough is free");
        assert_eq!(scene.store.state(), StoreState::Ok);
        let asked = scene.disk.asked_free();
        for _ in 0..2 {
            assert!(keep(&mut scene, 100));
        }
        assert_eq!(scene.disk.asked_free(), asked);
        assert!(keep(&mut scene, 1500));
    }

    #[test]
    fn a_segment_that_can_be_used_again_is_room() {
        let mut scene = settled();
        let log = scene.store.log();
        let oldest = log.oldest();
        log.figures()
            .note_room::<()>(&Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(scene.store.state(), StoreState::Full);
        log.remove_segment(oldest).expect("nothing fails here");
        scene.store.prepare().expect("nothing to do");
        assert_eq!(scene.store.state(), StoreState::Ok);
        assert!(keep(&mut scene, 1800));
    }

    #[test]
    fn a_store_that_cannot_write_anew_is_failing_whatever_room_there_is() {
        let mut scene = Scene::new();
        assert!(keep(&mut scene, 1500));
        scene.disk.fail_from(scene.disk.steps() + 1);
        scene.sync().expect_err("nothing can be written");
        assert_eq!(scene.store.state(), StoreState::Failing);
        assert!(!keep(&mut scene, 1500));
        assert_eq!(scene.store.state(), StoreState::Failing);
    }

    #[test]
    fn figures_follow_the_log() {
        let mut scene = Scene::new();
        let before = scene.store.figures();
        assert_eq!((before.segments, before.bytes), (1, SEGMENT_BYTES));
        assert_eq!((before.oldest, before.next), (before.next, before.next));
        for _ in 0..4 {
            assert!(keep(&mut scene, 800));
        }
        let waiter = Arc::new(WaitingThread::new(9));
        scene.store.wish(waiter);
        scene.sync().expect("synced");
        let after = scene.store.figures();
        assert_eq!((after.segments, after.bytes), (2, 2 * SEGMENT_BYTES));
        assert_eq!(after.next.sequence, before.next.sequence + 4);
        assert_eq!((after.oldest, after.waiting), (before.oldest, 1));
        // One for each segment.
        assert_eq!(after.syncs.count(), 2);
        assert!(after.appended > 4 * 800);
        // The next process knows the length of what this one has left.
        let (next, _, _) = open(&scene.disk.killed()).expect("it opens");
        let next = next.figures();
        let files: usize = scene
            .disk
            .names_in("log")
            .iter()
            .map(|name| scene.disk.bytes(&format!("log/{name}")).len())
            .sum();
        assert!(next.segments == 3 && next.bytes <= SEGMENT_BYTES + files as u64);
        assert_eq!(next.next.sequence, after.next.sequence);
    }

    #[test]
    fn damage_that_a_start_has_found_is_counted() {
        let scene = settled();
        let name = format!("log/{}", scene.disk.names_in("log")[1]);
        scene.disk.damage(&name, |bytes| bytes[100] ^= 1);
        let snapshot = format!("state/{}", scene.disk.names_in("state")[0]);
        scene.disk.damage(&snapshot, |bytes| bytes[60] ^= 1);
        let (store, found, _) = open(&scene.disk.killed()).expect("it opens");
        let damage = store.figures().damage;
        assert_eq!(
            (damage.places, damage.snapshots),
            (found.recovered.damages, 1)
        );
        assert_eq!(damage.lost, found.recovered.lost);
        assert!(damage.places > 0, "{found:?}");
    }
}
