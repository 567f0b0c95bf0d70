//! A disk in memory that knows what no sync has covered: a crash may lose any of that, in pieces of 512 bytes.
//! It also counts its steps, and fails at one of them on purpose.

#![cfg_attr(
    fuzzing,
    allow(dead_code, reason = "fuzz targets have damage, and no crashes")
)]

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, ReadDisk};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<DiskState>>);

#[derive(Clone, Default)]
struct DiskState {
    files: Vec<File>,
    /// By name, as this process sees them.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// What no sync of a folder has covered.
    name_changes: Vec<NameChange>,
    /// Steps so far that change something.
    steps: u64,
    /// The step that fails.
    fails_at: Option<(u64, io::ErrorKind)>,
    /// All from this one on fail.
    fails_from: Option<u64>,
    /// How long all files may be together, if that is limited, and how often it was asked what is free.
    size: Option<u64>,
    asked_free: u64,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What was written since the last sync, and where.
    written: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Renamed(String, String),
    Removed(String),
}

struct MemoryFile {
    disk: MemoryDisk,
    number: usize,
}

impl MemoryDisk {
    /// The number of steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Makes the step with this number fail, once.
    pub(crate) fn fail_at(&self, step: u64, kind: io::ErrorKind) {
        self.0.lock().fails_at = Some((step, kind));
    }

    /// Makes this step fail and all that follow.
    pub(crate) fn fail_from(&self, step: u64) {
        self.0.lock().fails_from = Some(step);
    }

    /// Makes it so large.
    #[cfg(test)]
    pub(crate) fn set_size(&self, bytes: u64) {
        self.0.lock().size = Some(bytes);
    }

    /// How often it was asked what is free.
    #[cfg(test)]
    pub(crate) fn asked_free(&self) -> u64 {
        self.0.lock().asked_free
    }

    /// The same bytes, with nothing open: what is left of a process that was killed.
    pub(crate) fn killed(&self) -> Self {
        let mut state = self.0.lock().clone();
        state.fails_at = None;
        state.fails_from = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// What a crash of the machine may have left.
    #[cfg(test)]
    pub(crate) fn crashed(&self, random: &mut fastrand::Rng) -> Self {
        let state = self.0.lock().clone();
        let mut names = state.durable_names.clone();
        // All, none, or any of them.
        let chance = *random.choice(&[0.0, 0.5, 1.0]).expect("three");
        for change in state.name_changes.iter().filter(|_| random.f64() < chance) {
            change.apply(&mut names);
        }
        let chance = *random.choice(&[0.0, 0.3, 0.9, 1.0]).expect("four");
        let files: Vec<File> = state
            .files
            .iter()
            .map(|file| File::settled(file.crashed(chance, random)))
            .collect();
        Self(Arc::new(Mutex::new(DiskState {
            files,
            durable_names: names.clone(),
            names,
            ..DiskState::default()
        })))
    }

    /// Changes the bytes of a file as damage does.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let number = state.names[name];
        let file = &mut state.files[number];
        change(&mut file.bytes);
        *file = File::settled(file.bytes.clone());
    }

    /// The names of all files.
    pub(crate) fn all_names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// The names in a folder.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        self.names(folder).expect("nothing fails here")
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        state.files[state.names[name]].bytes.clone()
    }

    /// Removes a file as damage does.
    pub(crate) fn lose(&self, name: &str) {
        let mut state = self.0.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    fn file(&self, number: usize) -> Box<dyn DiskFile> {
        let disk = self.clone();
        Box::new(MemoryFile { disk, number })
    }
}

impl DiskState {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.fails_from.is_some_and(|from| from <= self.steps) {
            return Err(io::ErrorKind::Other.into());
        }
        match self.fails_at {
            Some((step, kind)) if step == self.steps => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn number(&self, name: &str) -> io::Result<usize> {
        let number = self.names.get(name).copied();
        number.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, number) => {
                names.insert(name.clone(), *number);
            }
            Self::Renamed(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
            Self::Removed(name) => {
                names.remove(name);
            }
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        let (Self::Set(name, _) | Self::Renamed(_, name) | Self::Removed(name)) = self;
        name.rsplit_once('/').map_or("", |(folder, _)| folder) == folder
    }
}

impl File {
    /// A file with nothing left to sync.
    fn settled(bytes: Vec<u8>) -> Self {
        Self {
            durable: bytes.clone(),
            bytes,
            written: Vec::new(),
        }
    }

    #[cfg(test)]
    fn crashed(&self, chance: f64, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // The length may be durable without the bytes, and the bytes are zeros then.
        let len = *random
            .choice(&[self.durable.len(), self.bytes.len()])
            .expect("two");
        bytes.resize(len, 0);
        for (at, written) in &self.written {
            let mut from = 0;
            while from < written.len() {
                let start = at + from;
                let end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                let end = end.min(written.len());
                if random.f64() < chance && at + end <= bytes.len() {
                    bytes[start..at + end].copy_from_slice(&written[from..end]);
                }
                from = end;
            }
        }
        bytes
    }
}

impl ReadDisk for MemoryDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let names = state.names.keys().filter_map(|name| {
            let (within, name) = name.rsplit_once('/')?;
            (within == folder).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let number = self.0.lock().number(name)?;
        Ok(self.file(number))
    }
}

impl Disk for MemoryDisk {
    fn make_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step()?;
        let number = state.files.len();
        state.files.push(File::default());
        state.change(NameChange::Set(name.to_owned(), number));
        drop(state);
        Ok(self.file(number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.number(from)?;
        state.change(NameChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.number(name)?;
        state.change(NameChange::Removed(name.to_owned()));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.asked_free += 1;
        let files = state.names.values().map(|&it| &state.files[it]);
        let taken: usize = files.map(|file| file.bytes.len()).sum();
        let size = state.size.unwrap_or(u64::MAX);
        Ok(size.saturating_sub(taken as u64))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let state = &mut *state;
        let durable = &mut state.durable_names;
        state.name_changes.retain(|change| {
            let is_here = change.is_in(folder);
            if is_here {
                change.apply(durable);
            }
            !is_here
        });
        Ok(())
    }
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut File) -> T) -> T {
        act(&mut self.disk.0.lock().files[self.number])
    }

    fn step(&self) -> io::Result<()> {
        self.disk.0.lock().step()
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.bytes.len()) as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|file| {
            let from = file.bytes.get(at as usize..).unwrap_or_default();
            let len = from.len().min(bytes.len());
            bytes[..len].copy_from_slice(&from[..len]);
            Ok(len)
        })
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let all: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        // A write that fails leaves a part behind, and one that succeeds may be short.
        let failed = self.step();
        let part = if failed.is_err() {
            all.len() / 2
        } else {
            all.len()
        };
        let at = at as usize;
        self.with(|file| {
            let end = (at + part).max(file.bytes.len());
            file.bytes.resize(end, 0);
            file.bytes[at..at + part].copy_from_slice(&all[..part]);
            file.written.push((at, all[..part].to_vec()));
        });
        failed.map(|()| all.len())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.step()?;
        self.with(|file| file.bytes.resize(file.bytes.len().max(len as usize), 0));
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.step()?;
        self.with(|file| file.bytes.truncate(len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        self.with(|file| *file = File::settled(std::mem::take(&mut file.bytes)));
        Ok(())
    }
}
