//! A file that is looked at again while the broker runs: the users, or the keys of tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_state::FileState;
use crate::sync::{Mutex, RwLock};

/// What a file says, as of the last time when it was right.
pub(super) struct WatchedFile<T> {
    path: PathBuf,
    reader: Reader<T>,
    in_force: RwLock<Arc<T>>,
    last: Mutex<LastLook>,
}

/// Reads the file as a whole, or says each mistake in it.
pub(super) type Reader<T> = fn(&Path) -> Result<T, Vec<String>>;

struct LastLook {
    state: FileState,
    /// Whether another change would have given another state.
    is_settled: bool,
    mistakes: Vec<String>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<T> {
    Same,
    /// This is in force now.
    Changed(Arc<T>),
    /// The old stays. Told once for each state of the file.
    Wrong(Vec<String>),
}

impl<T: PartialEq> WatchedFile<T> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub(super) fn read(path: &Path, reader: Reader<T>) -> Result<Self, Vec<String>> {
        // Before it is read: a change in between is seen at the next look.
        let (state, is_settled) = FileState::see(path);
        Ok(Self {
            in_force: RwLock::new(Arc::new(reader(path)?)),
            path: path.to_owned(),
            reader,
            last: Mutex::new(LastLook {
                state,
                is_settled,
                mistakes: Vec::new(),
            }),
        })
    }

    /// Reads the file for a reload, without putting it in force.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub(super) fn read_again(&self) -> Result<T, Vec<String>> {
        (self.reader)(&self.path)
    }

    /// Puts another value in force.
    pub(super) fn replace(&self, value: Arc<T>) {
        // A look may have read a newer state of the file meanwhile: the next one reads it again.
        self.last.lock().is_settled = false;
        *self.in_force.write() = value;
    }

    /// What is in force.
    pub(super) fn in_force(&self) -> Arc<T> {
        self.in_force.read().clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file has changed, and reads it then. All of it counts, or nothing.
    pub(super) fn look(&self) -> Look<T> {
        let mut last = self.last.lock();
        let (state, is_settled) = FileState::see(&self.path);
        let is_same = state == last.state;
        if is_same && last.is_settled {
            return Look::Same;
        }
        (last.state, last.is_settled) = (state, is_settled);
        let next = match (self.reader)(&self.path) {
            Ok(next) => next,
            Err(mistakes) if is_same && mistakes == last.mistakes => return Look::Same,
            Err(mistakes) => {
                last.mistakes.clone_from(&mistakes);
                return Look::Wrong(mistakes);
            }
        };
        last.mistakes.clear();
        // Within the lock of the last look, so that of two looks the older does not win. What is in force is never
        // locked first.
        let mut in_force = self.in_force.write();
        if **in_force == next {
            return Look::Same;
        }
        *in_force = Arc::new(next);
        Look::Changed(in_force.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::file::read_users;
    use super::super::{Users, UsersDocument};
    use super::*;

    fn watch(path: &Path) -> WatchedFile<Users> {
        let read = |path: &Path| read_users(path).map(UsersDocument::into_users);
        WatchedFile::read(path, read).expect("it is right")
    }

    #[track_caller]
    fn assert_changed(look: &Look<Users>) {
        assert!(
            matches!(look, Look::Changed(users) if users.users.len() == 1),
            "{look:?}"
        );
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("room");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
    }

    fn names(watched: &WatchedFile<Users>) -> Vec<String> {
        watched
            .in_force()
            .users
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_is_swapped_as_a_whole_or_not_at_all_and_mistakes_are_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        write(&path, "user ann\n");
        let watched = watch(&path);
        assert_eq!(watched.look(), Look::Same);
        // Of the same length, at once and in place.
        write(&path, "user bob\n");
        assert_changed(&watched.look());
        write(&path, "user carl\nuser %\n");
        assert!(matches!(watched.look(), Look::Wrong(mistakes) if mistakes.len() == 1));
        assert_eq!(
            (watched.look(), names(&watched)),
            (Look::Same, vec!["bob".to_owned()])
        );
        // The same mistake in another file.
        let other = folder.path().join("other");
        write(&other, "user carl\nuser %\n");
        fs::rename(&other, &path).expect("it is there");
        assert!(matches!(watched.look(), Look::Wrong(mistakes) if mistakes.len() == 1));
        write(&path, "user carl\nusr x\nuser %\n");
        assert!(matches!(watched.look(), Look::Wrong(mistakes) if mistakes.len() == 2));
        write(&path, "user carl\n");
        assert_changed(&watched.look());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        assert!(matches!(watched.look(), Look::Wrong(why) if why[0].contains("chmod 640")));
        fs::remove_file(&path).expect("it is there");
        assert!(matches!(watched.look(), Look::Wrong(why) if why[0].contains("cannot be read")));
        assert_eq!(
            (watched.look(), names(&watched)),
            (Look::Same, vec!["carl".to_owned()])
        );
        write(&folder.path().join("other"), "user dora\n");
        symlink("other", &path).expect("a link");
        assert_changed(&watched.look());
    }

    #[test]
    fn what_a_reload_has_read_gives_way_to_a_newer_state_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        write(&path, "user ann\n");
        let watched = watch(&path);
        let read = watched.read_again().expect("it is right");
        write(&path, "user bob\n");
        assert_changed(&watched.look());
        // Time passes.
        watched.last.lock().is_settled = true;
        watched.replace(Arc::new(read));
        assert_eq!(names(&watched), ["ann"]);
        assert_changed(&watched.look());
        assert_eq!(names(&watched), ["bob"]);
    }

    #[test]
    fn a_state_that_may_change_unseen_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        write(&path, "user ann\n");
        let watched = watch(&path);
        assert!(!watched.last.lock().is_settled, "it was just written");
        write(&path, "user bob\n");
        // As with a clock that is too coarse for the two.
        let (state, _) = FileState::see(&path);
        for is_settled in [true, false] {
            let mistakes = Vec::new();
            *watched.last.lock() = LastLook {
                state,
                is_settled,
                mistakes,
            };
            match is_settled {
                true => assert_eq!(watched.look(), Look::Same),
                false => assert_changed(&watched.look()),
            }
        }
    }
}
