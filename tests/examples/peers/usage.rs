//! What a process has used so far, as the kernel tells.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for every case.
const WANTED_FILES: u64 = 65_536;

/// Processor time of all its threads, in the program and in the kernel.
pub(crate) fn processor_ns(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = processor_ticks(&stat)?;
    Some(ticks as f64 * 1e9 / clock_ticks_per_second() as f64)
}

fn processor_ticks(stat: &str) -> Option<u64> {
    // The name of the program is in parentheses and may have spaces. The third field is next.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The most memory it had at a time.
pub(crate) fn peak_bytes(pid: u32) -> Option<f64> {
    bytes(pid, "VmHWM:")
}

/// The memory it has now.
pub(crate) fn resident_bytes(pid: u32) -> Option<f64> {
    bytes(pid, "VmRSS:")
}

fn bytes(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kibibytes(&status, field).map(|count| count * 1024.0)
}

fn kibibytes(status: &str, field: &str) -> Option<f64> {
    let mut lines = status.lines();
    let rest = lines.find_map(|line| line.strip_prefix(field)?.strip_suffix("kB"))?;
    rest.trim().parse().ok()
}

/// Raises the limit for all that is started from here; what it is then.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.map(|maximum| maximum.max(WANTED_FILES));
    let raised = |current, maximum| Rlimit { current, maximum };
    // Only root may do more than use up what is there.
    if setrlimit(Resource::Nofile, raised(maximum, maximum)).is_err() {
        let _ = setrlimit(Resource::Nofile, raised(limit.maximum, limit.maximum));
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 90 0 0 0 12 30 0 0 20 0 5 0 100";
        assert_eq!(processor_ticks(stat), Some(42));
    }

    #[test]
    fn memory_is_found_by_its_name() {
        let status = "Name:\tx\nVmHWM:\t    5120 kB\nVmRSS:\t    4096 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(4096.0));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn a_running_process_has_used_something() {
        let pid = std::process::id();
        assert!(processor_ns(pid).is_some());
        for bytes in [peak_bytes(pid), resident_bytes(pid)] {
            assert!(bytes > Some(1e5), "{bytes:?}");
        }
    }
}
