//! What is in a store, and what is wrong with it, as a tool tells it.

use std::io;
use std::ops::Range;

use super::disk::ReadDisk;
use super::format::Format;
use super::record::Apply;
use super::recovery::{DAMAGED, LogDamage};
use super::segment::segment_name;
use super::snapshot;
use super::store::StoreError;
use super::survey::{Extent, Survey};

/// What is in a store.
#[derive(Debug)]
pub struct StoreReport {
    /// What its file `format` says; none if it is missing or cannot be read.
    pub identity: Option<StoreIdentity>,
    /// What the checksums of headers begin with is lost with that file, and what cannot be read may be sound.
    pub is_secret_lost: bool,
    /// The snapshots, the oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// The number of segments of the log.
    pub segments: usize,
    /// Their bytes, up to the last frame that counts.
    pub bytes: u64,
    /// The sequence numbers of the changes in the log.
    pub changes: Range<u64>,
    /// Changes that are lost to damage, as a start counts them.
    pub lost: u64,
    /// The places of damage, at most 100 of them.
    pub damage: Vec<DamagedPlace>,
    /// The number of all.
    pub damages: usize,
    /// What is in the log behind its end.
    pub tail: Option<LogTail>,
    /// The files in `damaged/`, with their bytes.
    pub kept_aside: Vec<(String, u64)>,
}

/// Which store it is.
#[derive(Debug)]
pub struct StoreIdentity {
    /// Tells stores apart.
    pub id: String,
    /// Rises at each start after an end that was not clean.
    pub generation: u32,
    /// The last process has made everything durable and noted that. False while a broker has it.
    pub is_clean: bool,
}

/// A snapshot of a store.
#[derive(Debug)]
pub struct SnapshotReport {
    /// Its file.
    pub file: String,
    /// Its sequence number: it has what changes with lower numbers have led to.
    pub number: u64,
    /// All of it is as it was written.
    pub is_sound: bool,
}

/// A place in the log where bytes that were durable are not what was written.
#[derive(Debug)]
pub struct DamagedPlace {
    /// The segment.
    pub file: String,
    /// The first byte.
    pub at: u64,
    /// How many; none if what is missing came before this segment.
    pub bytes: u64,
    /// Changes that are lost by it.
    pub lost: u64,
    /// A snapshot has all that was there.
    pub is_spare: bool,
    /// The segment as it was found is in `damaged/`.
    pub is_kept_aside: bool,
}

/// What was never durable, and is no part of the log.
#[derive(Debug)]
pub struct LogTail {
    /// The segment in which the log ends.
    pub file: String,
    /// Where it ends.
    pub at: u64,
    /// What lies behind, in this segment and later ones.
    pub bytes: u64,
}

impl StoreReport {
    /// Reads all that is in a folder, and none if that is no store. `apply` gets all records in their order.
    pub(crate) fn read(
        disk: &dyn ReadDisk,
        apply: &mut dyn Apply,
    ) -> Result<Option<Self>, StoreError> {
        let format = Format::read(disk)?;
        let survey = Survey::read(disk, format.as_ref(), Extent::All, apply)?;
        // What the format says of the log may not be so any more, and what was read not be of it.
        if Format::read(disk)? != format || !survey.is_current(disk)? {
            let why = "a broker changes it too fast; try again";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why).into());
        }
        if format.is_none() && survey.is_empty() {
            return Ok(None);
        }
        let mut kept_aside = Vec::new();
        for name in disk.names(DAMAGED)? {
            let bytes = disk.open(&format!("{DAMAGED}/{name}"))?.len()?;
            kept_aside.push((name, bytes));
        }
        kept_aside.sort_unstable();
        let snapshots = survey.snapshots.iter().map(|found| SnapshotReport {
            file: snapshot::name(found.first),
            number: found.first,
            is_sound: found.is_sound,
        });
        let log = &survey.log;
        let damage = log.damage.iter();
        Ok(Some(Self {
            identity: format.map(|format| StoreIdentity {
                id: format.id.to_string(),
                generation: format.generation,
                is_clean: format.is_clean,
            }),
            is_secret_lost: survey.is_secret_lost,
            snapshots: snapshots.collect(),
            segments: log.segments,
            bytes: log.bytes,
            changes: log.first..log.next,
            lost: log.lost,
            damage: damage
                .map(|place| DamagedPlace::new(place, &kept_aside))
                .collect(),
            damages: log.damages,
            tail: log.cut.map(|cut| LogTail {
                file: segment_name(cut.first),
                at: cut.at,
                bytes: log.cut_bytes,
            }),
            kept_aside,
        }))
    }

    /// Whether something is damaged that a start needs, or of which no copy is in `damaged/`.
    pub fn is_damaged(&self) -> bool {
        let is_open = |place: &DamagedPlace| !place.is_settled();
        self.identity.is_none()
            || self.snapshots.iter().any(|snapshot| !snapshot.is_sound)
            || self.damage.iter().any(is_open)
            || self.damages > self.damage.len()
    }
}

impl DamagedPlace {
    fn new(damage: &LogDamage, kept_aside: &[(String, u64)]) -> Self {
        let LogDamage {
            first,
            at,
            bytes,
            lost,
            is_spare,
        } = *damage;
        let begin = format!("{first:020}-");
        let is_copy = |name: &str| name.starts_with(&begin) && name.ends_with(".log");
        Self {
            file: segment_name(first),
            at,
            bytes,
            lost,
            is_spare,
            // What is missing altogether has no bytes that could be kept.
            is_kept_aside: bytes == 0 || kept_aside.iter().any(|(name, _)| is_copy(name)),
        }
    }

    /// Whether nothing is left to do about it.
    pub fn is_settled(&self) -> bool {
        self.is_spare && self.is_kept_aside
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::crash::{SEGMENT_BYTES, Scene, Topics, apply, open, retained, settled};
    use super::super::disk::DiskFile;
    use super::super::disk::memory::MemoryDisk;
    use super::super::frame::{FrameKind, FrameSecret, LogFrame};
    use super::super::record::Record;
    use super::super::store::Store;
    use super::*;

    fn look(disk: &MemoryDisk) -> (StoreReport, Topics) {
        let mut state = Topics::new();
        let report = StoreReport::read(disk, &mut |record: &Record<'_>| apply(&mut state, record));
        let report = report.expect("nothing fails here").expect("a store");
        (report, state)
    }

    /// As a tool does.
    fn repair(disk: &MemoryDisk) -> Topics {
        let mut state = Topics::new();
        let disk = Arc::new(disk.clone());
        let opened = Store::open_extent(
            disk,
            None,
            SEGMENT_BYTES,
            Extent::All,
            &mut |record: &Record<'_>| {
                apply(&mut state, record);
            },
        );
        let (store, _) = opened.expect("content is no reason not to open");
        store.make_snapshot(&state).expect("no fault");
        store.close().expect("no fault");
        state
    }

    /// Damages the store at each fifth byte, and repairs it.
    fn check(scene: &Scene) {
        let (report, state) = look(&scene.disk);
        assert!(!report.is_damaged(), "{report:?}");
        assert_eq!(&state, scene.state());
        let names = scene.disk.all_names().into_iter();
        for name in names.filter(|name| name.starts_with("log/") || name.starts_with("state/")) {
            let whole = scene.disk.bytes(&name);
            let used = whole.iter().rposition(|&byte| byte != 0);
            for at in (0..used.map_or(0, |at| at + 1)).step_by(5) {
                let disk = scene.disk.killed();
                disk.damage(&name, |bytes| bytes[at] ^= 0x40);
                let (report, state) = look(&disk);
                let missing = scene.state().len() - state.len();
                let place = format!("{name} at {at}: {report:?}");
                if !report.is_damaged() {
                    // With the next segment nothing is missing.
                    assert!(
                        is_mark(&whole, scene.store.secret(), at) && &state == scene.state(),
                        "{place}"
                    );
                    continue;
                }
                assert_eq!(report.lost, missing as u64, "{place}");
                assert_eq!(repair(&disk), state, "{place}");
                let (report, repaired) = look(&disk);
                assert!(!report.is_damaged(), "{place}, then {report:?}");
                assert_eq!(repaired, state, "{place}");
                assert!(!report.kept_aside.is_empty(), "{place}");
            }
        }
    }

    /// Whether a byte is in a mark.
    fn is_mark(bytes: &[u8], secret: FrameSecret, at: usize) -> bool {
        let mut from = 0;
        loop {
            let (begin, frame) = LogFrame::find(bytes, from, secret).expect("a frame");
            from = begin + frame.header.frame_bytes();
            if at < from {
                return frame.header.kind == FrameKind::Mark;
            }
        }
    }

    /// A disk of a broker that removes a segment once it is listed.
    struct MovingDisk(MemoryDisk);

    impl ReadDisk for MovingDisk {
        fn names(&self, folder: &str) -> io::Result<Vec<String>> {
            self.0.names(folder)
        }

        fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            let file = self.0.open(name);
            if name.starts_with("log/") {
                self.0.lose(name);
            }
            file
        }
    }

    #[test]
    fn a_segment_that_is_used_again_while_it_is_read_is_not_reported() {
        let disk = MovingDisk(settled().disk);
        let read = StoreReport::read(&disk, &mut |_: &Record<'_>| {});
        let Err(StoreError::Io(why)) = read else {
            panic!("it is reported: {read:?}");
        };
        assert_eq!(why.kind(), io::ErrorKind::ResourceBusy);
    }

    /// A start keeps the bytes, and the next start finds the same.
    #[test]
    fn damage_is_told_until_a_snapshot_makes_up_for_it() {
        let mut scene = Scene::new();
        for n in 0..4 {
            scene.keep(&retained(n, b"x")).expect("kept");
        }
        scene.store.close().expect("no fault");
        let name = segment_name(1);
        scene.disk.damage(&name, |bytes| bytes[100] ^= 1);
        let (store, _, _) = open(&scene.disk).expect("content is no reason not to open");
        store.close().expect("no fault");
        let (report, _) = look(&scene.disk);
        assert!(report.is_damaged() && report.damage[0].is_kept_aside);
        assert_eq!((report.lost, report.kept_aside.len()), (1, 1));
    }

    /// Of what is missing, the snapshot has a part.
    #[test]
    fn damage_across_the_snapshot_loses_what_came_after_it() {
        let mut scene = Scene::new();
        for n in 0..8 {
            scene.keep(&retained(n, &[b'x'; 100])).expect("kept");
            if n == 4 {
                let state = scene.state().clone();
                scene.store.make_snapshot(&state).expect("no fault");
            }
        }
        scene.store.close().expect("no fault");
        // The fifth frame and the sixth, of 168 bytes each.
        for at in [4 * 168 + 60, 5 * 168 + 60] {
            let name = segment_name(1);
            scene.disk.damage(&name, |bytes| bytes[at] ^= 1);
        }
        let (report, state) = look(&scene.disk);
        let place = &report.damage[0];
        assert_eq!((place.bytes, place.lost, place.is_spare), (336, 1, false));
        assert_eq!((report.lost, state.len()), (1, 7));
    }

    /// Invariant 7.
    #[test]
    fn each_changed_byte_is_told_and_a_repair_leaves_nothing_to_tell() {
        let scene = settled();
        // So that the last frame is known to have been durable.
        scene.store.close().expect("no fault");
        check(&scene);
        // With a second snapshot, which has all.
        let two = settled();
        repair(&two.disk);
        check(&two);
    }

    #[test]
    fn a_folder_without_any_of_its_files_is_no_store() {
        let disk = MemoryDisk::default();
        let read = StoreReport::read(&disk, &mut |_: &Record<'_>| {});
        assert!(read.expect("nothing fails here").is_none());
    }
}
