//! The users file on the disk: read with a look at its permissions, replaced as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use command_line::shell_word;
use rustix::fs::OFlags;

use super::document::{MOST_FILE_BYTES, UsersDocument};

/// Maximum wait for another program that changes the same file.
const MOST_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Bits of a mode with which others may read or write a file, or its group may write it.
const TOO_OPEN: u32 = 0o026;

/// Bits of a mode with which others or its group may write a file.
const TOO_WRITABLE: u32 = 0o022;

/// Reads a users file.
///
/// # Errors
///
/// Why it cannot be taken, with what to do; or each mistake in it as `FILE:LINE:COLUMN: TEXT`.
pub fn read_users(path: &Path) -> Result<UsersDocument, Vec<String>> {
    let cannot = |why: io::Error| vec![format!("{} cannot be read: {why}", path.display())];
    read_open(&open(path).map_err(cannot)?, path)
}

/// Changes a users file: no other program changes it at the same time, and it is replaced as a whole or not
/// at all, with the owner, the group and the mode that it had. With `is_made` it is made if it is not there,
/// for its owner alone. If `change` leaves the text as it is, nothing is written.
///
/// # Errors
///
/// Those of [`read_users`], those of `change`, and why the file cannot be written.
pub fn edit_users<T>(
    path: &Path,
    is_made: bool,
    change: impl FnOnce(&mut UsersDocument) -> Result<T, String>,
) -> Result<T, Vec<String>> {
    let cannot = |why: io::Error| vec![format!("{} cannot be changed: {why}", path.display())];
    let locked = LockedFile::open(path, is_made).map_err(cannot)?;
    let changed = locked.change(path, change);
    if changed.is_err() && locked.is_new {
        // It is empty, and was not there before.
        let _ = fs::remove_file(&locked.path);
    }
    changed
}

/// A users file that no other program changes.
struct LockedFile {
    /// The lock ends with it.
    file: File,
    /// Where it is, behind symbolic links.
    path: PathBuf,
    is_new: bool,
}

impl LockedFile {
    fn open(path: &Path, is_made: bool) -> io::Result<Self> {
        let deadline = Instant::now() + MOST_WAIT;
        loop {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let (file, is_new) = open_or_make(&path, is_made)?;
            lock(&file, deadline)?;
            let opened = file.metadata()?;
            let is_same =
                |there: &fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
            // Another program may have put a new file there while this one waited for the lock of the old.
            match fs::metadata(&path) {
                Ok(there) if is_same(&there) => return Ok(Self { file, path, is_new }),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(why),
            }
        }
    }

    fn change<T>(
        &self,
        path: &Path,
        change: impl FnOnce(&mut UsersDocument) -> Result<T, String>,
    ) -> Result<T, Vec<String>> {
        let mut document = read_open(&self.file, path)?;
        let before = document.text().to_owned();
        let result = change(&mut document).map_err(|why| vec![why])?;
        if document.text() != before || self.is_new {
            let written = self.replace(document.text());
            written.map_err(|why| {
                vec![format!(
                    "{} cannot be written: {why}; it is as it was",
                    path.display()
                )]
            })?;
        }
        Ok(result)
    }

    /// Puts a file with this text in the place of the old one.
    fn replace(&self, text: &str) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut beside = tempfile::Builder::new()
            .prefix(".users-")
            .tempfile_in(folder)?;
        beside.write_all(text.as_bytes())?;
        let (old, new) = (self.file.metadata()?, beside.as_file().metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(beside.as_file(), Some(old.uid()), Some(old.gid())).map_err(|why| {
                let owner = format!(
                    "it belongs to another user or group (user {}, group {})",
                    old.uid(),
                    old.gid()
                );
                io::Error::new(
                    why.kind(),
                    format!("{owner}; run this as that user or as root"),
                )
            })?;
        }
        let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
        beside.as_file().set_permissions(mode)?;
        beside.as_file().sync_all()?;
        beside.persist(&self.path)?;
        // The name is on the disk when the folder is.
        File::open(folder)?.sync_all()
    }
}

/// Opens a file to read it.
pub(in crate::auth) fn open(path: &Path) -> io::Result<File> {
    // A pipe would wait for its other end.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nonblocking).open(path)
}

fn open_or_make(path: &Path, is_made: bool) -> io::Result<(File, bool)> {
    loop {
        match open(path) {
            Err(why) if is_made && why.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|file| (file, false)),
        }
        let made = OpenOptions::new()
            .write(true)
            .read(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) {
                    let why = "it is a symbolic link to a file that is not there";
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
            }
            made => return made.map(|file| (file, true)),
        }
    }
}

fn lock(file: &File, deadline: Instant) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(why)) => return Err(why),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                let why = format!("another program has held its lock for {MOST_WAIT:?}");
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Reads what is open. `path` is what the user calls it.
fn read_open(file: &File, path: &Path) -> Result<UsersDocument, Vec<String>> {
    let bytes = read_secrets(file, path, "a users file", MOST_FILE_BYTES);
    let bytes = bytes.map_err(|why| vec![why])?;
    let told = |mistake: super::FileMistake| format!("{}:{mistake}", path.display());
    UsersDocument::parse(bytes).map_err(|mistakes| mistakes.into_iter().map(told).collect())
}

/// Reads a file of at most `most` bytes, which others may read. `kind` is what it should be.
///
/// # Errors
///
/// Why it cannot be taken, with its path and what to do.
pub(crate) fn read_file(path: &Path, kind: &str, most: usize) -> Result<Vec<u8>, String> {
    read_bytes(&open_named(path)?, path, kind, most)
}

/// The same for a file with secrets, which others must not read.
pub(crate) fn read_secret_file(path: &Path, kind: &str, most: usize) -> Result<Vec<u8>, String> {
    read_secrets(&open_named(path)?, path, kind, most)
}

fn open_named(path: &Path) -> Result<File, String> {
    open(path).map_err(|why| format!("{} cannot be read: {why}", path.display()))
}

fn read_secrets(file: &File, path: &Path, kind: &str, most: usize) -> Result<Vec<u8>, String> {
    check_private(file, path)?;
    read_bytes(file, path, kind, most)
}

/// Checks that others can neither read nor write a file, and its group cannot write it.
pub(in crate::auth) fn check_private(file: &File, path: &Path) -> Result<(), String> {
    let why = "others may read or write it, or its group may write it";
    check_mode(file, path, TOO_OPEN, why)
}

/// Checks that neither others nor its group can write a file.
pub(in crate::auth) fn check_unwritable(file: &File, path: &Path) -> Result<(), String> {
    check_mode(file, path, TOO_WRITABLE, "others or its group may write it")
}

fn check_mode(file: &File, path: &Path, too_open: u32, why: &str) -> Result<(), String> {
    let shown = path.display();
    let metadata = file
        .metadata()
        .map_err(|why| format!("{shown} cannot be read: {why}"))?;
    if !metadata.is_file() || metadata.mode() & too_open == 0 {
        return Ok(());
    }
    Err(format!(
        "{shown} has the mode {:o}: {why}; type: chmod {:o} {}",
        metadata.mode() & 0o777,
        metadata.mode() & 0o777 & !too_open & !0o001,
        shell_word(path),
    ))
}

pub(in crate::auth) fn read_bytes(
    file: &File,
    path: &Path,
    kind: &str,
    most: usize,
) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let cannot = |why: io::Error| format!("{shown} cannot be read: {why}");
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(format!("{shown} is no file; name {kind}"));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    match bytes.len() > most {
        true => Err(format!(
            "{shown} has more than {most} bytes, the most for {kind}"
        )),
        false => Ok(bytes),
    }
}
