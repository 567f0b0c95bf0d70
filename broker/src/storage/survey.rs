//! All that is in the folder of a store: read as it is, and then mended for a start.

use std::io;

use super::disk::{Disk, ReadDisk};
use super::format::Format;
use super::frame::{FrameKind, FrameSecret};
use super::log::now_ms;
use super::record::{Apply, Record, records};
use super::recovery::{self, DAMAGED, Recovered, Segments};
use super::secret::FoundSecret;
use super::segment::segment_name;
use super::snapshot;

/// The sequence number of the first entry of a store.
const FIRST: u64 = 1;

/// How much of the folder is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What leads to the state.
    Needed,
    /// Also the snapshots that are there in case that is damaged, and all of the log.
    All,
}

/// What is in the folder. Nothing of it is changed by reading.
pub(crate) struct Survey {
    /// The snapshots that were read, the oldest first.
    pub(crate) snapshots: Vec<SnapshotFound>,
    pub(crate) log: Recovered,
    /// What the checksums of headers begin with.
    pub(crate) secret: FrameSecret,
    /// It is lost with `format`, and what cannot be read may be sound.
    pub(crate) is_secret_lost: bool,
}

/// A snapshot.
pub(crate) struct SnapshotFound {
    pub(crate) first: u64,
    pub(crate) is_sound: bool,
}

/// What a start has found.
#[derive(Debug, Default)]
pub(crate) struct StoreFound {
    pub(crate) recovered: Recovered,
    /// Snapshots that were not sound.
    pub(crate) bad_snapshots: usize,
    /// What was not sound may have been so with the secret that is lost with `format`.
    pub(crate) is_secret_lost: bool,
}

/// The secret of a store with these snapshots and segments.
pub(super) fn secret(
    disk: &dyn ReadDisk,
    snapshots: &[u64],
    segments: &[u64],
    noted: Option<FrameSecret>,
) -> io::Result<FoundSecret> {
    let snapshots = snapshots.iter().rev().map(|&first| snapshot::name(first));
    let segments = segments.iter().rev().map(|&first| segment_name(first));
    match FoundSecret::find(disk, snapshots.chain(segments), noted) {
        Some(secret) => Ok(secret),
        // With a new one nothing counts that looks like a frame.
        None => Ok(FoundSecret {
            value: Format::new_secret()?,
            is_certain: false,
        }),
    }
}

impl Survey {
    /// Reads the newest snapshot that is sound, and the log behind it. `apply` gets all records in their order.
    pub(crate) fn read(
        disk: &dyn ReadDisk,
        format: Option<&Format>,
        extent: Extent,
        apply: &mut dyn Apply,
    ) -> io::Result<Self> {
        // Before the snapshots: a broker that runs adds a snapshot first, and then removes segments.
        let firsts = recovery::list(disk)?;
        let listed = snapshot::list(disk)?;
        let noted = format.map(|format| format.secret);
        let secret = secret(disk, &listed, &firsts, noted)?;
        let (mut snapshots, mut newest) = (Vec::new(), None);
        for &first in listed.iter().rev() {
            let is_sound = match newest {
                None => snapshot::read(disk, secret.value, first, apply)?,
                Some(_) if extent == Extent::Needed => break,
                Some(_) => snapshot::read(disk, secret.value, first, &mut |_: &Record<'_>| {})?,
            };
            snapshots.push(SnapshotFound { first, is_sound });
            if is_sound {
                newest = newest.or(Some(first));
            }
        }
        snapshots.reverse();
        let from = newest.unwrap_or(FIRST);
        let look_from = match extent {
            Extent::Needed => from,
            // The log is kept from there on for its messages, or in case the newest snapshot is damaged.
            Extent::All => firsts.first().map_or(from, |&first| from.min(first)),
        };
        let segments = Segments {
            firsts: &firsts,
            from,
            look_from,
            is_durable: format.is_some_and(|format| format.is_clean),
            secret,
        };
        let log = recovery::read(disk, &segments, &mut |frame| match frame.header.kind {
            // What comes before the snapshot is in it.
            FrameKind::State if frame.header.end() > from => {
                records(frame.body).for_each(|record| apply.record(&record));
            }
            FrameKind::Lines { .. } => apply.lines(&frame.header, frame.body),
            FrameKind::State | FrameKind::Removed | FrameKind::Mark => {}
        })?;
        let is_sound = log.cut.is_none()
            && log.damages == 0
            && snapshots.iter().all(|snapshot| snapshot.is_sound);
        Ok(Self {
            snapshots,
            log,
            secret: secret.value,
            is_secret_lost: noted.is_none() && !secret.is_certain && !is_sound,
        })
    }

    /// The number of snapshots that are not sound.
    pub(crate) fn bad_snapshots(&self) -> usize {
        let is_bad = |snapshot: &&SnapshotFound| !snapshot.is_sound;
        self.snapshots.iter().filter(is_bad).count()
    }

    /// Whether all segments that were read are still there, and so none was used again while it was read.
    pub(crate) fn is_current(&self, disk: &dyn ReadDisk) -> io::Result<bool> {
        let now = recovery::list(disk)?;
        let mut read = self.log.segments_read();
        Ok(read.all(|first| now.binary_search(&first).is_ok()))
    }

    /// Whether there is nothing of a store.
    pub(crate) fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.log.segments == 0
    }

    /// Does what a start has to do before anything is written: originals of what is damaged are kept aside, and what
    /// was read is durable.
    pub(crate) fn mend(self, disk: &dyn Disk) -> io::Result<StoreFound> {
        snapshot::remove_unfinished(disk)?;
        let (bad_snapshots, is_secret_lost) = (self.bad_snapshots(), self.is_secret_lost);
        let mut kept_aside = Vec::new();
        let bad = self.snapshots.iter().filter(|snapshot| !snapshot.is_sound);
        for SnapshotFound { first, .. } in bad {
            let to = format!("{DAMAGED}/{first:020}-{}.snap", now_ms());
            disk.rename(&snapshot::name(*first), &to)?;
            kept_aside.push(to);
        }
        kept_aside.extend(recovery::mend(disk, &self.log)?);
        let mut recovered = self.log;
        recovered.kept_aside = kept_aside;
        Ok(StoreFound {
            recovered,
            bad_snapshots,
            is_secret_lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::ops::Range;

    use super::super::crash::{Scene, Topics, apply, open, retained, scripted, settled};
    use super::super::disk::DiskFile;
    use super::super::disk::memory::MemoryDisk;
    use super::*;

    /// What is damaged or not durable is found by reading alone, which makes no step on the disk.
    #[test]
    fn reading_changes_nothing_and_finds_what_a_start_finds() {
        for seed in 0..60 {
            scripted(seed, |random| {
                let mut scene = settled();
                for _ in 0..random.usize(1..20) {
                    scene.step(random);
                }
                let disk = scene.disk.crashed(random);
                for name in disk.all_names() {
                    if random.u8(..4) == 0 && !disk.bytes(&name).is_empty() {
                        let at = random.usize(..disk.bytes(&name).len());
                        disk.damage(&name, |bytes| bytes[at] ^= 0x40);
                    }
                }
                let before = contents(&disk);
                let mut read = Topics::new();
                let format = Format::read(&disk).expect("it is not newer");
                let survey = Survey::read(
                    &disk,
                    format.as_ref(),
                    Extent::Needed,
                    &mut |record: &Record<'_>| apply(&mut read, record),
                );
                assert_eq!((disk.steps(), contents(&disk)), (0, before));
                let (_, found, state) = open(&disk).expect("it opens");
                assert_eq!(read, state);
                let survey = survey.expect("nothing fails here");
                assert_eq!(survey.bad_snapshots(), found.bad_snapshots);
                let mut log = survey.log;
                log.kept_aside = found.recovered.kept_aside.clone();
                assert_eq!(log, found.recovered);
            });
        }
    }

    /// All files with their bytes.
    fn contents(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
        let names = disk.all_names().into_iter();
        names
            .map(|name| (name.clone(), disk.bytes(&name)))
            .collect()
    }

    /// A disk that is written to while it is read: a file that is read whole has zeros where its bytes came too late.
    struct LateDisk {
        disk: MemoryDisk,
        late: Range<usize>,
    }

    struct LateFile {
        file: Box<dyn DiskFile>,
        late: Range<usize>,
    }

    impl ReadDisk for LateDisk {
        fn names(&self, folder: &str) -> io::Result<Vec<String>> {
            self.disk.names(folder)
        }

        fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            let (file, late) = (self.disk.open(name)?, self.late.clone());
            Ok(Box::new(LateFile { file, late }))
        }
    }

    impl DiskFile for LateFile {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
            let read = self.file.read_at(bytes, at)?;
            if at == 0 && read as u64 == self.len()? {
                bytes[self.late.clone()].fill(0);
            }
            Ok(read)
        }

        fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
            unreachable!("it is read only")
        }

        fn reserve(&self, _: u64) -> io::Result<()> {
            unreachable!("it is read only")
        }

        fn truncate(&self, _: u64) -> io::Result<()> {
            unreachable!("it is read only")
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!("it is read only")
        }
    }

    /// A reader may see the later of two writes and not the earlier one, which is there when it looks again.
    #[test]
    fn what_comes_while_the_log_is_read_is_no_damage() {
        let mut scene = Scene::new();
        for n in 0..8 {
            scene.keep(&retained(n, &[b'x'; 100])).expect("kept");
            scene.sync().expect("synced");
        }
        let used = 8 * 168;
        for from in (168..used - 168).step_by(24) {
            for until in (from + 1..used - 168).step_by(56) {
                let disk = LateDisk {
                    disk: scene.disk.killed(),
                    late: from..until,
                };
                let mut state = Topics::new();
                let survey =
                    Survey::read(&disk, None, Extent::Needed, &mut |record: &Record<'_>| {
                        apply(&mut state, record)
                    });
                let log = survey.expect("nothing fails here").log;
                assert_eq!((log.damages, log.cut), (0, None), "{from} to {until}");
                assert_eq!(&state, scene.state(), "{from} to {until}");
            }
        }
    }
}
