//! Which users file is meant.

use std::path::{Path, PathBuf};

use broker::UsersPlace;
use command_line::shell_word;

use super::failure::{Failures, one};

/// The file that is used if none is named.
const USUAL_FILE: &str = "/etc/dallal/users";

/// The file that the command line or the environment names, or the usual one.
pub(super) fn users_file(place: UsersPlace) -> Result<PathBuf, Failures> {
    let usual = || Path::new(USUAL_FILE).exists().then(|| USUAL_FILE.into());
    let none = || format!("there is no {USUAL_FILE}; name a users file with --users FILE");
    place.users.or_else(usual).ok_or_else(|| one(&none()))
}

/// A command of the broker as one types it for this file.
pub(super) fn suggestion(command: &str, file: &Path) -> String {
    match file == Path::new(USUAL_FILE) {
        true => format!("broker {command}"),
        false => format!("broker {command} --users {}", shell_word(file)),
    }
}
