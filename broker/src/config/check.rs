//! The files that a configuration names, read for their mistakes alone.

use super::Config;
use crate::auth::access::AccessTable;
use crate::auth::identity::{read_jwt_keys, read_users};

impl Config {
    /// Reads the files of TLS, of users, of keys and of rules; the warnings about the rules. An error is each mistake
    /// in them.
    pub(super) fn check_files(&self) -> Result<Vec<String>, Vec<String>> {
        let tls = self.tls_material();
        let users = self.users.as_deref().map(read_users).transpose();
        let keys = self.jwt_keys.as_deref().map(read_jwt_keys).transpose();
        // Any group may come with a JWT.
        let known = users.as_ref().ok().filter(|_| self.jwt_keys.is_none());
        let groups = known.and_then(|users| Some(users.as_ref()?.users().groups()));
        let access = self.access.as_deref();
        let access = access.map(|path| AccessTable::read(path, groups.as_ref()));
        let mut mistakes = tls.err().unwrap_or_default();
        mistakes.extend(users.err().unwrap_or_default());
        mistakes.extend(keys.err().unwrap_or_default());
        let mut warnings = Vec::new();
        match access.transpose() {
            Ok(access) => warnings.extend(access.into_iter().flat_map(|(_, warnings)| warnings)),
            Err(others) => mistakes.extend(others),
        }
        match mistakes.is_empty() {
            true => Ok(warnings),
            false => Err(mistakes),
        }
    }

    /// The mistakes of one file, with those of all others.
    pub(crate) fn mistakes_with(&self, mut told: Vec<String>) -> Vec<String> {
        let all = self.check_files().err().unwrap_or_default();
        let others: Vec<String> = all.into_iter().filter(|it| !told.contains(it)).collect();
        told.extend(others);
        told
    }
}
