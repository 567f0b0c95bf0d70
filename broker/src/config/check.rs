//! The files that a configuration names, read for their mistakes alone.

use super::Config;
use crate::auth::access::AccessTable;
use crate::auth::identity::{read_jwt_keys, read_users};

impl Config {
    /// Reads the files of users, of keys and of rules. An error is each mistake in them.
    pub(super) fn check_files(&self) -> Result<(), Vec<String>> {
        let users = self.users.as_deref().map(read_users).transpose();
        let keys = self.jwt_keys.as_deref().map(read_jwt_keys).transpose();
        // Any group may come with a JWT.
        let known = users.as_ref().ok().filter(|_| self.jwt_keys.is_none());
        let groups = known.and_then(|users| Some(users.as_ref()?.users().groups()));
        let access = self.access.as_deref();
        let access = access.map(|path| AccessTable::read(path, groups.as_ref()));
        let mut mistakes = users.err().unwrap_or_default();
        mistakes.extend(keys.err().unwrap_or_default());
        mistakes.extend(access.and_then(Result::err).unwrap_or_default());
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(mistakes),
        }
    }
}
