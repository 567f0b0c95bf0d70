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
        let folder = folder_of(&self.path);
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

/// The folder that a file is in, as a path that can be opened.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).expect("room");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o7777
    }

    fn add(document: &mut UsersDocument) -> Result<(), String> {
        let name = "ann".parse().expect("a name");
        assert!(document.add_user(&name, &super::super::User::default()));
        Ok(())
    }

    fn fail(document: &mut UsersDocument) -> Result<(), String> {
        add(document)?;
        Err("no".to_owned())
    }

    fn texts(folder: &TempDir) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder.path()).expect("a folder");
        let texts = entries.map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            (
                name.into_owned(),
                fs::read_to_string(&path).expect("a text"),
            )
        });
        texts.collect()
    }

    #[test]
    fn a_file_is_changed_with_the_mode_that_it_has_or_stays_as_it_is() {
        let folder = folder();
        let path = folder.path().join("users");
        write(&path, "user bob\n", 0o640);
        let inode = || fs::metadata(&path).expect("it is there").ino();
        let before = inode();
        assert_eq!(edit_users(&path, true, |_| Ok(7)), Ok(7));
        assert_eq!(edit_users(&path, true, fail), Err(vec!["no".to_owned()]));
        assert_eq!(inode(), before, "nothing was written");
        assert_eq!(edit_users(&path, false, add), Ok(()));
        let text = "user bob\nuser ann\n".to_owned();
        assert_eq!(texts(&folder), [("users".to_owned(), text)]);
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn a_file_that_is_not_there_is_made_for_its_owner_alone_if_it_shall_be() {
        let folder = folder();
        let path = folder.path().join("users");
        let why = edit_users(&path, false, add).expect_err("it is not there");
        assert!(
            why[0].contains("cannot be changed: No such file"),
            "{why:?}"
        );
        assert_eq!(edit_users(&path, true, fail), Err(vec!["no".to_owned()]));
        let inside = edit_users(&folder.path().join("none/users"), true, add);
        assert!(inside.is_err(), "there is no such folder");
        assert_eq!(texts(&folder), []);
        symlink("elsewhere", &path).expect("a link");
        let why = edit_users(&path, true, add).expect_err("it leads nowhere");
        assert!(why[0].contains("a symbolic link to a file that"), "{why:?}");
        fs::remove_file(&path).expect("it is there");
        assert_eq!(edit_users(&path, true, |_| Ok(())), Ok(()));
        assert_eq!((mode(&path), texts(&folder).len()), (0o600, 1));
    }

    /// Opens a file for a change while its lock is held, does something meanwhile, and gives the lock back.
    fn opened_after(path: &Path, is_made: bool, meanwhile: impl Fn()) -> LockedFile {
        let held = File::open(path).expect("it is there");
        held.lock().expect("no other has it");
        let file = fs::canonicalize(path).expect("it is there");
        let count = || {
            let open = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
            let open = open.filter_map(|it| fs::read_link(it.path()).ok());
            open.filter(|it| *it == file).count()
        };
        thread::scope(|scope| {
            let opening = scope.spawn(|| LockedFile::open(path, is_made).expect("it is opened"));
            while count() < 2 {
                assert!(!opening.is_finished(), "it has not waited");
                thread::yield_now();
            }
            meanwhile();
            drop(held);
            opening.join().expect("no panic")
        })
    }

    #[test]
    fn what_another_program_has_put_there_meanwhile_is_what_is_changed() {
        let folder = folder();
        let (path, other) = (folder.path().join("users"), folder.path().join("other"));
        write(&path, "user bob\n", 0o600);
        write(&other, "user carl\n", 0o600);
        let locked = opened_after(&path, false, || {
            fs::rename(&other, &path).expect("it is there");
        });
        let there = fs::metadata(&path).expect("it is there");
        let opened = locked.file.metadata().expect("it is open");
        assert_eq!((opened.ino(), locked.is_new), (there.ino(), false));
        drop(locked);
        let locked = opened_after(&path, true, || {
            fs::remove_file(&path).expect("it is there");
        });
        assert!(locked.is_new && path.exists());
    }

    #[test]
    fn the_lock_of_another_program_is_waited_for_no_longer_than_until_the_deadline() {
        let folder = folder();
        let path = folder.path().join("users");
        write(&path, "", 0o600);
        let (one, other) = (open(&path).expect("a file"), open(&path).expect("a file"));
        let past = Instant::now() - Duration::from_millis(1);
        assert!(lock(&one, past).is_ok(), "it is free");
        let why = lock(&other, past).expect_err("it is held");
        assert_eq!(why.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_with_secrets_is_read_only_if_others_cannot_and_any_file_up_to_its_size() {
        let folder = folder();
        let path = folder.path().join("file");
        for (mode, is_taken) in [
            (0o600, true),
            (0o640, true),
            (0o710, true),
            (0o604, false),
            (0o602, false),
            (0o620, false),
        ] {
            write(&path, "text", mode);
            let read = read_secret_file(&path, "a thing", 4);
            assert_eq!(read.is_ok(), is_taken, "{mode:o}: {read:?}");
            assert_eq!(read_file(&path, "a thing", 4), Ok(b"text".to_vec()));
            match read {
                Ok(bytes) => assert_eq!(bytes, b"text"),
                Err(why) => assert!(why.contains("type: chmod 600 "), "{why}"),
            }
            let file = open(&path).expect("a file");
            let is_writable = mode & 0o022 != 0;
            assert_eq!(check_unwritable(&file, &path).is_err(), is_writable);
        }
        let why = read_file(&path, "a thing", 3).expect_err("it has four bytes");
        assert!(
            why.ends_with("more than 3 bytes, the most for a thing"),
            "{why}"
        );
        // A folder is told to be one, whatever its mode is.
        for mode in [0o700, 0o777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
            let why = read_secret_file(folder.path(), "a thing", 4).expect_err("a folder");
            assert!(why.ends_with("is no file; name a thing"), "{why}");
        }
        let missing = folder.path().join("none");
        let why = read_file(&missing, "a thing", 4).expect_err("it is not there");
        assert!(why.contains("cannot be read"), "{why}");
    }

    #[test]
    fn the_folder_of_a_name_alone_is_this_one() {
        for (path, folder) in [("users", "."), ("a/users", "a"), ("/users", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder));
        }
    }
}
