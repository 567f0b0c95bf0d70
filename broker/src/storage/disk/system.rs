//! The disk of the system: one folder, held open, so that a name cannot lead out of it.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{self, AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, ReadDisk};

pub(crate) struct SystemDisk {
    folder: OwnedFd,
}

struct SystemFile(OwnedFd);

/// How often a lock that another process has is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

const FOLDER_FLAGS: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// Others read neither messages nor names of topics.
const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

impl SystemDisk {
    /// The folder is made, if it is not there; what it lies in has to be.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match fs::mkdir(path, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        let folder = fs::openat(CWD, path, FOLDER_FLAGS, Mode::empty())?;
        Ok(Self { folder })
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<Box<dyn DiskFile>> {
        open_in(&self.folder, name, flags | OFlags::RDWR)
    }

    /// Locks the store until the returned file is closed, also by the end of the process. None if another process
    /// has locked it.
    pub(crate) fn lock(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, "lock", flags, FILE_MODE)?;
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// The same, as soon as the other process has ended.
    pub(crate) fn wait_for_lock(&self) -> io::Result<OwnedFd> {
        loop {
            if let Some(lock) = self.lock()? {
                return Ok(lock);
            }
            // Not by a call that waits: that would not end with the process that is waited for on all systems.
            std::thread::sleep(LOCK_INTERVAL);
        }
    }
}

/// The same to be read, also by a user who may do nothing else, and while a broker has it.
pub(crate) struct ReadOnlyDisk {
    folder: OwnedFd,
}

impl ReadOnlyDisk {
    /// The folder has to be there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let folder = fs::openat(CWD, path, FOLDER_FLAGS, Mode::empty())?;
        Ok(Self { folder })
    }
}

impl ReadDisk for ReadOnlyDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        match names_in(&self.folder, folder) {
            // What a start would make.
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        open_in(&self.folder, name, OFlags::RDONLY)
    }
}

fn open_in(folder: &OwnedFd, name: &str, flags: OFlags) -> io::Result<Box<dyn DiskFile>> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = fs::openat(folder, name, flags, FILE_MODE)?;
    Ok(Box::new(SystemFile(file)))
}

fn folder_in(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let name = if name.is_empty() { "." } else { name };
    Ok(fs::openat(folder, name, FOLDER_FLAGS, Mode::empty())?)
}

fn names_in(folder: &OwnedFd, name: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder_in(folder, name)?)? {
        let entry = entry?;
        // A name that is no text is none of the store's.
        if let Ok(name) = entry.file_name().to_str()
            && matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

impl ReadDisk for SystemDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        names_in(&self.folder, folder)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open_with(name, OFlags::empty())
    }
}

impl Disk for SystemDisk {
    fn make_folder(&self, name: &str) -> io::Result<()> {
        match fs::mkdirat(&self.folder, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open_with(name, OFlags::CREATE | OFlags::TRUNC)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = fs::fstatvfs(&self.folder)?;
        // Some of what is free may be for root alone.
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        Ok(fs::fsync(folder_in(&self.folder, folder)?)?)
    }
}

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(fs::fstat(&self.0)?.st_size).unwrap_or(0))
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, bytes, at)?)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, slices, at)?)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Some file systems cannot reserve; there the room is taken when it is written.
            Err(Errno::OPNOTSUPP) => Ok(fs::ftruncate(&self.0, len)?),
            reserved => Ok(reserved?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        Ok(fs::ftruncate(&self.0, len)?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.0)?)
    }
}
