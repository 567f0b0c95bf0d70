//! A users file that is looked at again while the broker runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::UsersDocument;
use super::file::read_users;
use super::file_state::FileState;
use super::users::Users;
use crate::sync::{Mutex, RwLock};

/// The users of a file, as of the last time when it was right.
pub(super) struct WatchedUsers {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    last: Mutex<LastLook>,
}

struct LastLook {
    state: FileState,
    /// Whether another change would have given another state.
    is_settled: bool,
    mistakes: Vec<String>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    /// Other users are in force.
    Changed {
        users: usize,
        tokens: usize,
    },
    /// The old ones stay. Told once for each state of the file.
    Wrong(Vec<String>),
}

impl WatchedUsers {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// Those of [`read_users`].
    pub(super) fn read(path: &Path) -> Result<Self, Vec<String>> {
        // Before it is read: a change in between is seen at the next look.
        let (state, is_settled) = FileState::see(path);
        let users = read_users(path)?.into_users();
        Ok(Self {
            path: path.to_owned(),
            users: RwLock::new(Arc::new(users)),
            last: Mutex::new(LastLook {
                state,
                is_settled,
                mistakes: Vec::new(),
            }),
        })
    }

    /// Reads the file for a reload, without putting the users in force.
    ///
    /// # Errors
    ///
    /// Those of [`read_users`].
    pub(super) fn read_again(&self) -> Result<Users, Vec<String>> {
        read_users(&self.path).map(UsersDocument::into_users)
    }

    /// Puts others in force.
    pub(super) fn replace(&self, users: Arc<Users>) {
        // The next look compares the file with them, and finds the same.
        *self.users.write() = users;
    }

    /// Those in force.
    pub(super) fn users(&self) -> Arc<Users> {
        self.users.read().clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file has changed, and reads it then. All of it counts, or nothing.
    pub(super) fn look(&self) -> Look {
        let mut last = self.last.lock();
        let (state, is_settled) = FileState::see(&self.path);
        let is_same = state == last.state;
        if is_same && last.is_settled {
            return Look::Same;
        }
        (last.state, last.is_settled) = (state, is_settled);
        let next = match read_users(&self.path) {
            Ok(document) => document.into_users(),
            Err(mistakes) if is_same && mistakes == last.mistakes => return Look::Same,
            Err(mistakes) => {
                last.mistakes.clone_from(&mistakes);
                return Look::Wrong(mistakes);
            }
        };
        last.mistakes.clear();
        let (users, tokens) = (next.users.len(), next.tokens.len());
        // Within the lock of the last look, so that of two looks the older does not win. The users are never
        // locked first.
        let mut in_force = self.users.write();
        if **in_force == next {
            return Look::Same;
        }
        *in_force = Arc::new(next);
        Look::Changed { users, tokens }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("room");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
    }

    fn names(watched: &WatchedUsers) -> Vec<String> {
        watched
            .users()
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
        let watched = WatchedUsers::read(&path).expect("it is right");
        assert_eq!(watched.look(), Look::Same);
        // Of the same length, at once and in place.
        write(&path, "user bob\n");
        assert_eq!(
            watched.look(),
            Look::Changed {
                users: 1,
                tokens: 0
            }
        );
        write(&path, "user carl\nuser %\n");
        assert!(matches!(watched.look(), Look::Wrong(mistakes) if mistakes.len() == 1));
        assert_eq!(
            (watched.look(), names(&watched)),
            (Look::Same, vec!["bob".to_owned()])
        );
        write(&path, "user carl\nusr x\nuser %\n");
        assert!(matches!(watched.look(), Look::Wrong(mistakes) if mistakes.len() == 2));
        write(&path, "user carl\n");
        assert_eq!(
            watched.look(),
            Look::Changed {
                users: 1,
                tokens: 0
            }
        );
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
        assert_eq!(
            watched.look(),
            Look::Changed {
                users: 1,
                tokens: 0
            }
        );
    }

    #[test]
    fn a_state_that_may_change_unseen_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        write(&path, "user ann\n");
        let watched = WatchedUsers::read(&path).expect("it is right");
        assert!(!watched.last.lock().is_settled, "it was just written");
        write(&path, "user bob\n");
        // As with a clock that is too coarse for the two.
        let (state, _) = FileState::see(&path);
        for (is_settled, expected) in [
            (true, Look::Same),
            (
                false,
                Look::Changed {
                    users: 1,
                    tokens: 0,
                },
            ),
        ] {
            let mistakes = Vec::new();
            *watched.last.lock() = LastLook {
                state,
                is_settled,
                mistakes,
            };
            assert_eq!(watched.look(), expected);
        }
    }
}
