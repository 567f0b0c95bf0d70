//! The memory limit of the control groups of this process: those of a container, or of a service of systemd
//! (`MemoryMax=`, `MemoryHigh=`).
//!
//! A limit of any group above the own one holds as well, so the tightest counts. Version 1 and version 2
//! have the same tree with other names of files.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The tightest limit, in bytes; none if there is none.
pub(crate) fn memory_limit() -> Option<u64> {
    // Without the file, the root of the tree may still be that of a container.
    let membership = fs::read_to_string("/proc/self/cgroup");
    let membership = membership.unwrap_or_else(|_| "0::/".to_owned());
    tightest(Path::new("/sys/fs/cgroup"), &membership)
}

/// `membership` has a line `<number>:<controllers>:<path>` for each hierarchy; that of version 2 has the
/// number 0 and no controllers.
fn tightest(root: &Path, membership: &str) -> Option<u64> {
    let hierarchies = membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if number == "0" && controllers.is_empty() {
            Some((root.to_owned(), &["memory.max", "memory.high"][..], path))
        } else if controllers.split(',').any(|name| name == "memory") {
            Some((root.join("memory"), &["memory.limit_in_bytes"][..], path))
        } else {
            None
        }
    });
    hierarchies
        .flat_map(|(mount, files, path)| limits(&mount, files, path))
        .min()
}

/// The limits of a group and of those above it. A container may see its own group as the root, under a path
/// that exists outside only; then the root counts.
fn limits(mount: &Path, files: &[&str], path: &str) -> Vec<u64> {
    let names = Path::new(path).components();
    let group: PathBuf = names
        .filter(|name| matches!(name, Component::Normal(_)))
        .collect();
    let groups = group.ancestors();
    let read = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    groups
        .flat_map(|group| files.iter().map(move |file| mount.join(group).join(file)))
        .filter_map(read)
        // `memory.high` of 0 reclaims what can be reclaimed, and limits nothing.
        .filter(|bytes| *bytes > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    /// Checks the limit for files with these contents.
    #[track_caller]
    fn check(name: &str, files: &[(&str, &str)], membership: &str, limit: Option<u64>) {
        let root = env::temp_dir().join(format!("dallal-cgroup-{}-{name}", process::id()));
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
            fs::write(path, format!("{content}\n")).expect("room");
        }
        let found = tightest(&root, membership);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(found, limit, "{name}");
    }

    const SERVICE: &str = "0::/system.slice/dallal.service\n";

    #[test]
    fn the_tightest_limit_up_to_the_root_counts() {
        let own = "system.slice/dallal.service/memory.max";
        let slice = "system.slice/memory.max";
        check("own", &[(own, "512"), (slice, "max")], SERVICE, Some(512));
        check("slice", &[(own, "512"), (slice, "256")], SERVICE, Some(256));
        check(
            "root",
            &[("memory.max", "128"), (own, "max")],
            SERVICE,
            Some(128),
        );
        check("none", &[(own, "max")], SERVICE, None);
        check("other", &[("user.slice/memory.max", "1")], SERVICE, None);
    }

    #[test]
    fn a_limit_that_throttles_counts_as_well() {
        let high = "system.slice/dallal.service/memory.high";
        let max = "system.slice/dallal.service/memory.max";
        check("high", &[(high, "256"), (max, "512")], SERVICE, Some(256));
        check("zero", &[(high, "0"), (max, "512")], SERVICE, Some(512));
    }

    #[test]
    fn a_container_may_see_its_own_group_as_the_root() {
        let files = [("memory/memory.limit_in_bytes", "512")];
        let outside = "5:cpu,memory:/docker/0123\n1:name=systemd:/docker/0123\n0::/docker/0123\n";
        check("container", &files, outside, Some(512));
        check(
            "above",
            &[("memory.max", "512")],
            "0::/../../other\n",
            Some(512),
        );
    }

    #[test]
    fn version_1_has_a_hierarchy_of_its_own_for_memory() {
        let files = [
            ("memory/a/b/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/a/memory.limit_in_bytes", "512"),
            ("cpu/a/b/memory.limit_in_bytes", "1"),
            ("unified/a/b/memory.max", "1"),
        ];
        let membership = "9:memory:/a/b\n8:cpu,cpuacct:/a/b\n0::/a/b\n";
        check("version-1", &files, membership, Some(512));
    }
}
