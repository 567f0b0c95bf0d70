//! The number of connections and the memory that the machine allows this process.
//!
//! Reads the kernel's limits, and raises the soft limit of open files to the hard one. The result never
//! exceeds the requested number.

use std::fmt;
use std::fs;

use super::cgroup;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::net::newcomers;

/// Descriptors used for other purposes than connections, among them those of connections that are turned
/// away.
const OTHER_DESCRIPTORS: u64 = 64 + newcomers::MOST as u64;

/// Memory maps of a thread: its stack and its signal stack, each with a guard page.
const MAPS_PER_THREAD: u64 = 4;

/// Memory maps for other purposes. A process that runs out of them cannot even allocate.
const OTHER_MAPS: u64 = 4096;

/// The default of Linux, used if the limit cannot be read.
const USUAL_MAPS: u64 = 65_530;

/// Bytes of memory assumed if the amount cannot be read.
const USUAL_MEMORY: u64 = 1 << 30;

/// Maximum connections, and the limit that determines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) connections: usize,
    pub(crate) bound: Bound,
}

/// The limit that determines the maximum connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Asked,
    Descriptors,
    Maps,
}

impl Capacity {
    /// The number of connections that the machine allows, or `asked` if that is less. Raises the soft
    /// limit of open files as far as possible.
    pub(crate) fn of_machine(asked: Option<usize>) -> Self {
        let descriptors = raise_open_files().saturating_sub(OTHER_DESCRIPTORS);
        let maps = read_number("/proc/sys/vm/max_map_count").unwrap_or(USUAL_MAPS);
        let by_maps = maps.saturating_sub(OTHER_MAPS) / MAPS_PER_THREAD;
        Self::least(asked, descriptors, by_maps)
    }

    /// Why not even one connection fits, and what to do about it; none if one does.
    pub(crate) fn shortage(&self) -> Option<String> {
        let needed = match self.bound {
            Bound::Asked => 1,
            Bound::Descriptors => OTHER_DESCRIPTORS + 1,
            Bound::Maps => OTHER_MAPS + MAPS_PER_THREAD,
        };
        let bound = self.bound;
        (self.connections == 0).then(|| {
            format!(
                "no connection fits; raise {bound} to {needed} at least, better to some thousands"
            )
        })
    }

    fn least(asked: Option<usize>, descriptors: u64, by_maps: u64) -> Self {
        let number = |connections: u64, bound| Self {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            bound,
        };
        let machine = if descriptors < by_maps {
            number(descriptors, Bound::Descriptors)
        } else {
            number(by_maps, Bound::Maps)
        };
        match asked {
            Some(asked) if asked <= machine.connections => Self {
                connections: asked,
                bound: Bound::Asked,
            },
            _ => machine,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "--max-connections",
            Self::Descriptors => "the limit of open files (ulimit -n)",
            Self::Maps => "the limit of memory maps (sysctl vm.max_map_count)",
        })
    }
}

/// Returns the maximum number of open files.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

/// Half of the memory that this process may use, in bytes.
pub(crate) fn half_of_memory() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    let own = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    let limits = [machine, cgroup::memory_limit()].into_iter().chain(own);
    let bytes = limits.flatten().min();
    usize::try_from(bytes.unwrap_or(USUAL_MEMORY) / 2).unwrap_or(usize::MAX)
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_sets_the_number_and_is_named() {
        for (asked, descriptors, maps, connections, bound) in [
            (None, 900, 1000, 900, "(ulimit -n)"),
            (None, 1000, 900, 900, "max_map_count)"),
            (Some(899), 1000, 900, 899, "--max-connections"),
            (Some(900), 1000, 900, 900, "--max-connections"),
            (Some(901), 1000, 900, 900, "max_map_count)"),
            (Some(0), 1000, 900, 0, "--max-connections"),
        ] {
            let capacity = Capacity::least(asked, descriptors, maps);
            assert_eq!(capacity.connections, connections, "{asked:?}");
            let named = capacity.bound.to_string();
            assert!(named.ends_with(bound), "{asked:?}: {named}");
        }
    }

    #[test]
    fn a_limit_that_leaves_no_connection_is_told_with_what_it_must_be() {
        for (descriptors, maps, shortage) in [
            (0, 1000, Some("(ulimit -n) to 129 at least")),
            (1000, 0, Some("max_map_count) to 4100 at least")),
            (1, 1, None),
        ] {
            let told = Capacity::least(None, descriptors, maps).shortage();
            assert_eq!(told.is_some(), shortage.is_some(), "{told:?}");
            assert!(
                told.unwrap_or_default()
                    .contains(shortage.unwrap_or_default())
            );
        }
    }

    #[test]
    fn a_machine_has_some_memory() {
        assert!(half_of_memory() > 1 << 20);
    }

    #[test]
    fn what_is_asked_for_holds_if_the_machine_bears_it() {
        let machine = Capacity::of_machine(None);
        assert_ne!(machine.bound, Bound::Asked);
        assert_eq!(Capacity::of_machine(Some(usize::MAX)), machine);
        assert_eq!(Capacity::of_machine(Some(7)).connections, 7);
    }
}
