//! How it is seen that a file has changed, without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What tells one state of a file from another. A rename or a symbolic link that changes gives another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Device, inode, size, and the time of the last change of content, owner or permissions, in seconds and
    /// nanoseconds.
    There(u64, u64, u64, i64, i64),
    Missing,
}

/// Age of a change from which on another one has another time, also on file systems with coarse clocks.
const SETTLED: Duration = Duration::from_secs(2);

impl FileState {
    /// The state of a file, and whether it has not changed so lately that the next change may look the same.
    pub(crate) fn see(path: &Path) -> (Self, bool) {
        let Ok(metadata) = fs::metadata(path) else {
            return (Self::Missing, true);
        };
        let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.size());
        let state = Self::There(device, inode, size, metadata.ctime(), metadata.ctime_nsec());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let changed = u64::try_from(metadata.ctime()).map(Duration::from_secs);
        let age = now
            .ok()
            .zip(changed.ok())
            .and_then(|(now, changed)| now.checked_sub(changed));
        // A time in the future is compared as it is.
        (state, age.is_none_or(|age| age >= SETTLED))
    }
}
