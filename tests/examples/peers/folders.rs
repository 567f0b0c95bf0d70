//! Where cargo puts what it builds.

use std::env;
use std::path::{Path, PathBuf};

/// Where cargo puts all that it builds.
pub(crate) fn target_folder() -> PathBuf {
    above_this_program(3)
}

/// Where cargo puts what it builds with this program's profile.
pub(crate) fn profile_folder() -> PathBuf {
    above_this_program(2)
}

/// This program lies in `<target>/<profile>/examples`.
fn above_this_program(floors: usize) -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let folder = program.ancestors().nth(floors);
    folder.unwrap_or(Path::new("/")).to_owned()
}
