//! What a store has after any crash, fault or damage: checked on a disk in memory.

use std::collections::BTreeMap;
use std::io;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use super::disk::memory::MemoryDisk;
use super::not_kept::NotKept;
use super::record::{Record, RetainedRecord};
use super::snapshot::SnapshotWriter;
use super::snapshot_source::SnapshotSource;
use super::store::{Store, StoreError};
use super::survey::StoreFound;
use super::waiters::WaitingThread;

/// Small, so that a short script has several segments.
pub(super) const SEGMENT_BYTES: u64 = 2048;

/// What is retained, by topic.
pub(super) type Topics = BTreeMap<u8, Vec<u8>>;

/// A store on a disk, and the states that its log may lead to.
pub(super) struct Scene {
    pub(super) disk: MemoryDisk,
    pub(super) store: Store,
    /// After each change that was kept; the first is that of the start.
    states: Vec<Topics>,
    /// The number of changes that a sync has covered.
    durable: usize,
}

impl SnapshotSource for Topics {
    fn oldest_needed(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn write(&self, snapshot: &mut SnapshotWriter) {
        for (&topic, line) in self {
            snapshot.write(&retained(topic, line));
        }
    }
}

pub(super) fn retained(topic: u8, line: &[u8]) -> Record<'_> {
    Record::Retained(RetainedRecord {
        line,
        qos: topic,
        since_ms: 7,
        owner: b"",
    })
}

pub(super) fn apply(state: &mut Topics, record: &Record<'_>) {
    match record {
        Record::Retained(RetainedRecord { line, qos, .. }) => {
            state.insert(*qos, line.to_vec());
        }
        Record::Cleared { topic } => {
            state.remove(&topic[0]);
        }
        Record::Session(_) => unreachable!("there are none in these tests"),
    }
}

pub(super) fn open(disk: &MemoryDisk) -> Result<(Store, StoreFound, Topics), StoreError> {
    let mut state = Topics::new();
    let (store, found) = Store::open_on(
        Arc::new(disk.clone()),
        None,
        SEGMENT_BYTES,
        &mut |record: &Record<'_>| {
            apply(&mut state, record);
        },
    )?;
    Ok((store, found, state))
}

impl Scene {
    fn on(disk: MemoryDisk) -> Self {
        let (store, _, state) = open(&disk).expect("it opens");
        Self {
            disk,
            store,
            states: vec![state],
            durable: 0,
        }
    }

    pub(super) fn new() -> Self {
        Self::on(MemoryDisk::default())
    }

    pub(super) fn state(&self) -> &Topics {
        self.states.last().expect("there is one")
    }

    pub(super) fn keep(&mut self, record: &Record<'_>) -> Result<(), NotKept> {
        self.store.keep(record)?;
        let mut next = self.state().clone();
        apply(&mut next, record);
        self.states.push(next);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.store.sync()?;
        self.durable = self.states.len() - 1;
        Ok(())
    }

    /// One step of a random script. Faults are told and change nothing.
    pub(super) fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u8(..20) {
            0..=11 => {
                let line = vec![random.u8(b'a'..=b'z'); random.usize(..300)];
                let _ = self.keep(&retained(random.u8(..6), &line));
            }
            12..=14 => {
                let _ = self.keep(&Record::Cleared {
                    topic: &[random.u8(..6)],
                });
            }
            15..=17 => {
                let _ = self.sync();
            }
            18 => {
                let _ = self.store.mark();
                let _ = self.store.prepare();
            }
            _ => {
                let state = self.state().clone();
                if self.store.make_snapshot(&state).is_ok() {
                    self.durable = self.states.len() - 1;
                }
            }
        }
    }

    /// The number of changes after which the log ended that this disk leads to.
    fn check(&self, disk: &MemoryDisk, at_least: usize) {
        let (_, found, state) = open(disk).expect("content is no reason not to start");
        let is_prefix = self.states[at_least..].contains(&state);
        let brief = |state: &Topics| -> Vec<_> {
            let lines = state.iter();
            lines
                .map(|(topic, line)| (*topic, line.len(), line.first().copied()))
                .collect()
        };
        assert!(
            is_prefix,
            "{found:?}\n{:?} is none of {:?}",
            brief(&state),
            self.states[at_least..]
                .iter()
                .map(brief)
                .collect::<Vec<_>>()
        );
        assert_eq!(found.recovered.lost, 0, "a crash is no damage: {found:?}");
    }
}

/// Runs a script, and says which one if it fails.
pub(super) fn scripted(seed: u64, act: impl FnOnce(&mut fastrand::Rng) + panic::UnwindSafe) {
    let run = panic::catch_unwind(|| act(&mut fastrand::Rng::with_seed(seed)));
    assert!(run.is_ok(), "the script with seed {seed} fails, see above");
}

/// Invariants 1 and 2.
#[test]
fn after_a_crash_the_state_is_that_of_a_prefix_with_all_that_was_durable() {
    for seed in 0..60 {
        scripted(seed, |random| {
            let mut scene = Scene::new();
            for _ in 0..random.usize(1..60) {
                scene.step(random);
                for _ in 0..4 {
                    let image = scene.disk.crashed(random);
                    scene.check(&image, scene.durable);
                    // It may crash again before anything else is durable.
                    let (store, _, _) = open(&image).expect("it opens");
                    drop(store);
                    scene.check(&image.crashed(random), scene.durable);
                }
                scene.check(&scene.disk.killed(), scene.states.len() - 1);
            }
        });
    }
}

/// Invariants 1 and 2 over several lives.
#[test]
fn a_store_goes_on_after_each_crash_as_after_the_first() {
    for seed in 0..60 {
        scripted(seed, |random| {
            let mut scene = Scene::new();
            for _ in 0..6 {
                for _ in 0..random.usize(1..25) {
                    scene.step(random);
                }
                let image = match random.bool() {
                    true => scene.disk.crashed(random),
                    false => scene.disk.killed(),
                };
                scene.check(&image.killed(), scene.durable);
                scene = Scene::on(image);
                // What a start has found and read is durable, or the next start would find something else.
                scene.check(&scene.disk.crashed(random), 0);
            }
        });
    }
}

/// Invariant 5: a change is kept, or refused and never seen.
#[test]
fn a_fault_of_the_disk_at_any_step_loses_nothing_that_was_kept() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for seed in 0..4 {
            let mut step = 1;
            loop {
                let steps = AtomicU64::new(0);
                scripted(seed, |random| {
                    let mut scene = Scene::new();
                    let before = scene.disk.steps();
                    scene.disk.fail_at(before + step, kind);
                    for _ in 0..50 {
                        scene.step(random);
                        scene.check(&scene.disk.killed(), scene.states.len() - 1);
                    }
                    scene.check(&scene.disk.crashed(random), scene.durable);
                    steps.store(scene.disk.steps() - before, Ordering::Relaxed);
                });
                if step > steps.into_inner() {
                    break;
                }
                step += 1;
            }
        }
    }
}

/// Invariants 1 and 2: the system forgets what a sync could not write, so that is written anew.
#[test]
fn what_a_failed_sync_leaves_in_doubt_is_written_anew() {
    for seed in 0..200 {
        scripted(seed, |random| {
            let mut scene = Scene::new();
            for _ in 0..random.usize(1..40) {
                scene.step(random);
            }
            // In the middle of a segment, or behind one that has begun and is not durable either.
            for n in 0..random.u8(1..20) {
                scene.keep(&retained(n % 6, &[n; 150])).expect("kept");
            }
            let step = scene.disk.steps() + random.u64(1..3);
            scene.disk.fail_at(step, io::ErrorKind::Other);
            scene.sync().expect("it is durable all the same");
            scene.check(&scene.disk.killed(), scene.states.len() - 1);
            scene.check(&scene.disk.crashed(random), scene.durable);
            for _ in 0..random.usize(1..20) {
                scene.step(random);
                scene.check(&scene.disk.crashed(random), scene.durable);
            }
            scene.check(&scene.disk.killed(), scene.states.len() - 1);
            // The next life finds frames that are there twice.
            let next = Scene::on(scene.disk.crashed(random));
            next.check(&next.disk.crashed(random), 0);
        });
    }
}

/// Invariant 5.
#[test]
fn a_disk_that_goes_on_failing_is_told_and_loses_nothing_that_was_kept() {
    let mut scene = Scene::new();
    scene.keep(&retained(1, b"kept")).expect("kept");
    scene.disk.fail_from(scene.disk.steps() + 1);
    scene.sync().expect_err("nothing can be written");
    assert_eq!(scene.keep(&retained(1, b"new")), Err(NotKept::Failed));
    scene.check(&scene.disk.killed(), 1);
}

/// However often the disk fails, the log has a line in a while, which says how many were left out.
#[test]
fn a_disk_that_fails_again_and_again_does_not_flood_the_log() {
    let mut scene = Scene::new();
    for _ in 0..50 {
        scene.keep(&retained(1, b"kept")).expect("kept");
        let sync = scene.disk.steps() + 1;
        scene.disk.fail_at(sync, io::ErrorKind::Other);
        scene.sync().expect("it is written anew");
    }
    assert_eq!(scene.store.lines_left_out(), [49, 0, 0]);
    // Now each of the two threads fails, and there is something to write.
    scene.keep(&retained(1, b"kept")).expect("kept");
    scene.disk.fail_from(scene.disk.steps() + 1);
    let (store, state) = (&scene.store, scene.state());
    let (stop, stopped) = bounded(0);
    thread::scope(|scope| {
        scope.spawn(|| store.run(Duration::from_millis(1), state, &stopped));
        let begun = Instant::now();
        while store.lines_left_out()[1] < 50 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not tried");
            store.wish(Arc::new(WaitingThread::new(u64::MAX)));
            thread::sleep(Duration::from_millis(1));
        }
        drop(stop);
    });
}

/// A store with a snapshot, several segments, and all of it durable.
pub(super) fn settled() -> Scene {
    let mut scene = Scene::new();
    for n in 0..30_u8 {
        let line = vec![b'a' + n % 26; 120];
        scene.keep(&retained(n, &line)).expect("kept");
        scene.sync().expect("synced");
        if n == 10 {
            let state = scene.state().clone();
            scene.store.make_snapshot(&state).expect("a snapshot");
        }
    }
    scene.store.mark().expect("kept");
    scene.sync().expect("synced");
    scene
}

/// Invariants 7 and 8.
#[test]
fn damage_loses_what_it_hits_and_nothing_else_and_the_original_is_kept() {
    let scene = settled();
    let all = scene.state().clone();
    for name in scene.disk.all_names() {
        let whole = scene.disk.bytes(&name);
        let used = whole
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |at| at + 1);
        for at in (0..used).step_by(5) {
            let disk = scene.disk.killed();
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
            let damaged = disk.bytes(&name);
            let (_, found, state) = open(&disk).expect("content is no reason not to start");
            let missing = all
                .iter()
                .filter(|(topic, line)| state.get(topic) != Some(line));
            let missing = missing.count();
            assert!(
                missing <= 1,
                "{name} at {at}: {missing} of {} are missing",
                all.len()
            );
            assert!(
                state
                    .iter()
                    .all(|(topic, line)| all.get(topic) == Some(line)),
                "{name} at {at}: nothing is made up"
            );
            if missing > 0 {
                assert_eq!(found.recovered.lost, 1, "{name} at {at}: {found:?}");
                let kept = disk
                    .all_names()
                    .into_iter()
                    .any(|it| it.starts_with("damaged/") && damaged.starts_with(&disk.bytes(&it)));
                assert!(kept, "{name} at {at}: the original is kept");
                // The next start counts it again, and keeps no second copy.
                let names = disk.names_in("damaged");
                open(&disk.killed()).expect("it opens");
                assert_eq!(disk.names_in("damaged"), names);
            } else {
                assert_eq!(found.recovered.lost, 0, "{name} at {at}: {found:?}");
            }
        }
    }
}

/// Invariant 7: the snapshot has what was there.
#[test]
fn damage_before_the_snapshot_loses_nothing() {
    let mut scene = Scene::new();
    for n in 0..8 {
        scene.keep(&retained(n, &[b'x'; 100])).expect("kept");
        if n == 4 {
            let state = scene.state().clone();
            scene.store.make_snapshot(&state).expect("a snapshot");
        }
    }
    let name = "log/00000000000000000001.log";
    scene.disk.damage(name, |bytes| bytes[200] ^= 1);
    let (_, found, state) = open(&scene.disk).expect("content is no reason not to start");
    assert_eq!((found.recovered.damages, found.recovered.lost), (1, 0));
    assert_eq!(&state, scene.state());
    assert!(
        scene.disk.names_in("damaged").len() == 1,
        "the original is kept"
    );
}

/// Invariant 7: after a clean end all was durable, whatever the log says itself.
#[test]
fn damage_after_a_clean_end_loses_nothing_else() {
    let mut scene = Scene::new();
    for n in 0..4 {
        scene.keep(&retained(n, b"x")).expect("kept");
    }
    // No sync came before the last mark was written.
    scene.store.close().expect("it closes");
    let name = "log/00000000000000000001.log";
    scene.disk.damage(name, |bytes| bytes[60] ^= 1);
    let (_, found, state) = open(&scene.disk).expect("content is no reason not to start");
    assert_eq!((found.recovered.lost, found.recovered.cut), (1, None));
    assert_eq!(state.len(), 3);
}

/// Invariants 1 and 7: a kill after a start that has found damage, before or after more was kept.
#[test]
fn what_a_start_finds_behind_damage_the_next_ones_find() {
    for (is_followed, at) in [(false, 60), (true, 60), (true, 230)] {
        let mut scene = Scene::new();
        for n in 0..4 {
            scene.keep(&retained(n, b"x")).expect("kept");
        }
        scene.store.close().expect("it closes");
        let name = "log/00000000000000000001.log";
        scene.disk.damage(name, |bytes| bytes[at] ^= 1);
        let mut disk = scene.disk.killed();
        for life in 0..3 {
            let (store, _, state) = open(&disk).expect("content is no reason not to start");
            let more = if is_followed { life } else { 0 };
            assert_eq!(state.len(), 3 + more, "{life}");
            if is_followed {
                let topic = 10 + life as u8;
                store.keep(&retained(topic, b"y")).expect("kept");
            }
            disk = disk.killed();
        }
    }
}

/// Invariant 8.
#[test]
fn a_store_opens_whatever_is_missing_or_cut_off() {
    let scene = settled();
    for name in scene.disk.all_names() {
        let disk = scene.disk.killed();
        disk.lose(&name);
        open(&disk).expect("content is no reason not to start");
        let len = scene.disk.bytes(&name).len();
        for cut in (0..len).step_by(7) {
            let disk = scene.disk.killed();
            disk.damage(&name, |bytes| bytes.truncate(cut));
            let (_, _, state) = open(&disk).expect("content is no reason not to start");
            assert!(state.iter().all(|it| scene.state().get(it.0) == Some(it.1)));
        }
        for zeros in (0..len).step_by(512) {
            let disk = scene.disk.killed();
            disk.damage(&name, |bytes| {
                let end = (zeros + 512).min(bytes.len());
                bytes[zeros..end].fill(0);
            });
            let (_, _, state) = open(&disk).expect("content is no reason not to start");
            assert!(state.iter().all(|it| scene.state().get(it.0) == Some(it.1)));
        }
    }
}

/// Invariant 11.
#[test]
fn snapshots_keep_the_log_short() {
    let mut scene = Scene::new();
    for n in 0..2000_u32 {
        scene
            .keep(&retained((n % 5) as u8, &[b'x'; 100]))
            .expect("kept");
        scene.sync().expect("synced");
        let state = scene.state().clone();
        scene.store.make_snapshot_if_due(&state).expect("no fault");
    }
    let names = scene.disk.all_names();
    assert!(names.len() < 12, "{names:?}");
    let (_, _, state) = open(&scene.disk.killed()).expect("it opens");
    assert_eq!(&state, scene.state());
}

/// Invariant 1, for a change that is in the log while it is not carried out yet.
#[test]
fn a_snapshot_waits_for_changes_that_are_kept_and_not_carried_out() {
    struct ChangingTopics(Mutex<Topics>);
    impl SnapshotSource for ChangingTopics {
        fn oldest_needed(&self) -> io::Result<u64> {
            Ok(u64::MAX)
        }

        fn write(&self, snapshot: &mut SnapshotWriter) {
            self.0.lock().write(snapshot);
        }
    }
    let scene = Scene::new();
    let shared = ChangingTopics(Mutex::default());
    let record = retained(1, b"kept");
    thread::scope(|scope| {
        let turn = scene.store.turn("1");
        scene.store.keep(&record).expect("kept");
        let (done, is_done) = bounded(1);
        let (scene, shared) = (&scene, &shared);
        scope.spawn(move || {
            let made = scene.store.make_snapshot(shared);
            done.send(made.is_ok()).expect("it is waited for");
        });
        // A snapshot that did not wait would be done by then.
        let early = is_done.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "the snapshot does not wait");
        apply(&mut shared.0.lock(), &record);
        drop(turn);
        assert_eq!(is_done.recv(), Ok(true));
    });
    let (_, _, state) = open(&scene.disk.killed()).expect("it opens");
    assert_eq!(state, *shared.0.lock());
}

/// Invariant 3.
#[test]
fn the_generation_rises_only_after_an_end_that_was_not_clean() {
    let disk = MemoryDisk::default();
    let generation = |disk: &MemoryDisk| {
        let (store, _, _) = open(disk).expect("it opens");
        (store.generation(), store)
    };
    let (first, store) = generation(&disk);
    store.close().expect("it closes");
    let (second, store) = generation(&disk);
    assert_eq!(second, first);
    drop(store);
    let (third, _) = generation(&disk);
    assert!(third > second);
}

#[test]
fn a_newer_format_is_not_touched() {
    let scene = settled();
    scene.disk.damage("format", |bytes| {
        *bytes = String::from_utf8_lossy(bytes)
            .replace("store 1", "store 2")
            .into_bytes();
    });
    let before: Vec<_> = scene
        .disk
        .all_names()
        .iter()
        .map(|it| scene.disk.bytes(it))
        .collect();
    assert!(matches!(open(&scene.disk), Err(StoreError::Newer(_))));
    let after: Vec<_> = scene
        .disk
        .all_names()
        .iter()
        .map(|it| scene.disk.bytes(it))
        .collect();
    assert!(before == after);
}
