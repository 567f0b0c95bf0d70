//! A disk in memory that holds writes or syncs back until it is told to let them go on.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::memory::MemoryDisk;
use super::{Disk, DiskFile, ReadDisk};

/// After that it is a failure that nothing has come to the gate.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
pub(crate) struct GatedDisk {
    disk: MemoryDisk,
    gate: Arc<Gate>,
}

/// What can be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskWork {
    Write,
    Sync,
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    held: Option<DiskWork>,
    /// How many have come to the gate since then, and how many of them may go on.
    came: usize,
    allowed: usize,
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    /// Holds back all of this from now on, but for the first ones.
    pub(crate) fn hold(&self, work: DiskWork, allowed: usize) {
        *self.gate.state.lock() = GateState {
            held: Some(work),
            came: 0,
            allowed,
        };
    }

    /// Holds nothing back any more.
    pub(crate) fn let_go(&self) {
        self.gate.state.lock().held = None;
        self.gate.changed.notify_all();
    }

    /// Returns when something is held back.
    #[track_caller]
    pub(crate) fn wait_until_held(&self) {
        let mut state = self.gate.state.lock();
        while state.came <= state.allowed {
            let waited = self.gate.changed.wait_for(&mut state, PATIENCE);
            assert!(!waited.timed_out(), "nothing is held back");
        }
    }

    fn gated(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let gate = self.gate.clone();
        Box::new(GatedFile { file, gate })
    }
}

impl Gate {
    fn pass(&self, work: DiskWork) {
        let mut state = self.state.lock();
        if state.held != Some(work) {
            return;
        }
        state.came += 1;
        self.changed.notify_all();
        let number = state.came;
        while state.held.is_some() && number > state.allowed {
            self.changed.wait(&mut state);
        }
    }
}

impl ReadDisk for GatedDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.names(folder)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.open(name)?))
    }
}

impl Disk for GatedDisk {
    fn make_folder(&self, name: &str) -> io::Result<()> {
        self.disk.make_folder(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(bytes, at)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.gate.pass(DiskWork::Write);
        self.file.write_at(slices, at)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass(DiskWork::Sync);
        self.file.sync()
    }
}
