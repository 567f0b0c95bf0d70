//! A broker whose store is on a disk that is nearly full.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use crate::{TestBroker, program};

/// A file system in memory with room for one segment of a store, and for another without the file of others that is
/// on it. It is in namespaces of its own, so that it goes with its broker.
pub struct SmallDisk {
    /// The broker.
    pub broker: TestBroker,
    /// The file of others, as it is seen from here.
    other: String,
}

const SCRIPT: &str = "mount -t tmpfs -o size=140m,mode=700 disk \"$0\" && head -c 70000000 /dev/zero >\"$0/other\" && exec \"$@\"";

impl SmallDisk {
    /// Starts a broker with its store on such a disk, which is mounted in this folder.
    #[must_use]
    pub fn start(folder: &Path, flags: &[&str]) -> Self {
        let place = folder.join("disk");
        fs::create_dir(&place).expect("a folder");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT]);
        command.arg(&place).arg(program("broker"));
        command.args(["--port", "0", "--host", "127.0.0.1", "--data"]);
        command.arg(place.join("data")).args(flags);
        if !flags.contains(&"--data-reserve") {
            // The disk is smaller than what is left to others by default.
            command.args(["--data-reserve", "0"]);
        }
        let broker = TestBroker::of(&mut command);
        let other = format!("/proc/{}/root{}/other", broker.pid(), place.display());
        Self { broker, other }
    }

    /// Shortens the file of others to so many bytes.
    pub fn leave(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(&self.other);
        let cut = file.and_then(|file| file.set_len(bytes));
        cut.expect("the file system of the broker is seen through its process");
    }

    /// Removes the file of others.
    pub fn make_room(&self) {
        fs::remove_file(&self.other)
            .expect("the file system of the broker is seen through its process");
    }
}
