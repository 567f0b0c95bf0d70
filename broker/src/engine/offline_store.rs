//! A store without a broker, for tools: looked at, repaired, and filled. No engine is started.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::engine::stored_messages::{StoreChanges, StoredMessages};
use crate::storage::backup;
use crate::storage::disk::system::{ReadOnlyDisk, SystemDisk};
use crate::storage::record::{Record, RetainedRecord};
use crate::storage::report::StoreReport;
use crate::storage::store::{Store, StoreError};
use crate::storage::survey::StoreFound;
use crate::storage::{NotKept, now_ms};

/// How often a store is read again that a broker changes meanwhile.
const ATTEMPTS: usize = 10;

/// Bytes of an import that are made durable together.
const UNSYNCED_BYTES: usize = 16 << 20;

/// What a store has, and what is wrong with it; none if the folder has no store. Reads only, also while a broker has
/// it: what that has not finished writing is not there yet.
///
/// # Errors
///
/// The folder cannot be read, or a newer broker has written it.
pub fn look_at_store(folder: &Path) -> Result<Option<(StoreReport, StoredMessages)>, StoreError> {
    read_store(folder, |disk| {
        let mut messages = StoredMessages::default();
        let report = StoreReport::read(disk, &mut messages)?;
        Ok(report.map(|report| (report, messages)))
    })
}

/// Reads a store, and once more if a broker has changed it meanwhile.
pub(super) fn read_store<T>(
    folder: &Path,
    mut read: impl FnMut(&ReadOnlyDisk) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let disk = ReadOnlyDisk::open(folder)?;
    let mut attempt = 1;
    loop {
        match read(&disk) {
            Err(StoreError::Io(err)) if has_changed(&err) && attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// Whether a broker has changed the store while it was read: it has removed a file whose name was read, used one again,
/// started or ended.
fn has_changed(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy
    )
}

/// Copies a store to a new or an empty folder, also while a broker has it and writes to it: the copy is what an orderly
/// end at that moment would have left, a store of its own. Returns what is in the copy; none if the folder has no store.
///
/// # Errors
///
/// The folder cannot be read, a newer broker has written it, there is something in the other folder, or that cannot be
/// written. Then nothing is left in it but empty folders.
pub fn back_up_store(
    folder: &Path,
    to: &Path,
) -> Result<Option<(StoreReport, StoredMessages)>, StoreError> {
    if look_at_store(folder)?.is_none() {
        return Ok(None);
    }
    let from = ReadOnlyDisk::open(folder)?;
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(err) => err.kind() == io::ErrorKind::NotFound,
    };
    if !is_empty {
        let why = format!("{} is no empty folder; name a new one", to.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why).into());
    }
    let disk = SystemDisk::open(to)?;
    // No broker may start on a half of it.
    let lock = disk.lock()?.ok_or(StoreError::Locked)?;
    let mut attempt = 1;
    loop {
        match backup::copy(&from, &disk).map_err(StoreError::from) {
            Ok(()) => break,
            Err(why) => {
                backup::remove_copy(&disk)?;
                let is_again = matches!(&why, StoreError::Io(err) if has_changed(err));
                if !is_again || attempt == ATTEMPTS {
                    return Err(why);
                }
                attempt += 1;
            }
        }
    }
    drop(lock);
    look_at_store(to)
}

/// What was done to a store.
#[derive(Debug)]
pub struct StoreRepair {
    /// What there was before.
    pub before: StoreReport,
    /// The files in which bytes are kept as they were found.
    pub kept_aside: Vec<String>,
    /// What there is now.
    pub messages: StoredMessages,
}

/// Does what a start does to a store that is damaged, and makes a snapshot, so that the next start finds nothing
/// wrong. None if the folder has no store.
///
/// # Errors
///
/// A broker has it, a newer one has written it, or the folder cannot be read or written.
pub fn repair_store(folder: &Path) -> Result<Option<StoreRepair>, StoreError> {
    let Some((before, _)) = look_at_store(folder)? else {
        return Ok(None);
    };
    let mut messages = StoredMessages::default();
    let (store, found) = Store::open_whole(folder, &mut messages)?;
    if before.is_damaged() {
        store.make_snapshot(&messages)?;
    }
    store.close()?;
    Ok(Some(StoreRepair {
        before,
        kept_aside: found.recovered.kept_aside,
        messages,
    }))
}

/// What became of an import.
#[derive(Debug)]
pub struct StoreImport {
    /// Messages that are retained now.
    pub retained: usize,
    /// Messages that are retained no more.
    pub cleared: usize,
    /// Changes of before that are lost, because the store was damaged.
    pub lost: u64,
    /// The files in which bytes are kept as they were found.
    pub kept_aside: Vec<String>,
}

/// Why an import has not ended.
#[derive(Debug)]
pub enum ImportError {
    /// The store is not opened.
    Store(StoreError),
    /// The disk takes no more; so many changes were made before that.
    Disk {
        /// Those that were made.
        made: usize,
        /// It is full; otherwise it fails.
        is_full: bool,
    },
    /// What was made may not be durable.
    Sync(io::Error),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(why) => why.fmt(f),
            Self::Disk { made, is_full } => {
                let why = if *is_full { "is full" } else { "has failed" };
                write!(
                    f,
                    "the disk {why}; {made} topics are imported, the others are not: make room, and import again"
                )
            }
            Self::Sync(why) => write!(f, "what is imported may not survive a power cut: {why}"),
        }
    }
}

impl std::error::Error for ImportError {}

/// Makes changes in a store, which is made if it is not there. They are durable afterwards.
///
/// # Errors
///
/// The store is not opened, or the disk takes no more.
pub fn import_into_store(
    folder: &Path,
    changes: &StoreChanges,
) -> Result<StoreImport, ImportError> {
    let mut messages = StoredMessages::default();
    let opened = Store::open_whole(folder, &mut messages);
    let (store, StoreFound { recovered, .. }) = opened.map_err(ImportError::Store)?;
    let mut import = StoreImport {
        retained: 0,
        cleared: 0,
        lost: recovered.lost,
        kept_aside: recovered.kept_aside,
    };
    let mut unsynced = 0;
    for (topic, record) in changes.records(now_ms()) {
        let made = match record {
            Record::Retained(RetainedRecord { line, .. }) => {
                unsynced += line.len();
                &mut import.retained
            }
            // The log would grow for nothing.
            Record::Cleared { .. } if !messages.has(topic) => continue,
            Record::Cleared { .. } => &mut import.cleared,
            Record::Session(_) => unreachable!("what is imported are messages"),
        };
        if let Err(why) = store.keep(&record) {
            // What was made before stays.
            let _ = store.close();
            return Err(ImportError::Disk {
                made: import.retained + import.cleared,
                is_full: why == NotKept::NoRoom,
            });
        }
        *made += 1;
        // There is no thread that does it.
        if unsynced > UNSYNCED_BYTES {
            store.sync().map_err(ImportError::Sync)?;
            unsynced = 0;
        }
    }
    store.close().map_err(ImportError::Sync)?;
    Ok(import)
}
