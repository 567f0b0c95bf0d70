//! On what it was measured.

use std::fs;
use std::thread::available_parallelism;

/// One sentence, without its full stop.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (processor, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = available_parallelism().map_or(0, usize::from);
    let model = field(&processor, "model name").unwrap_or("a processor without a name");
    let kib =
        field(&memory, "MemTotal").and_then(|text| text.strip_suffix("kB")?.trim().parse().ok());
    let gib = kib.map_or(0.0, |kib: f64| kib / 1024.0 / 1024.0);
    let kernel = kernel.trim();
    format!("{model}, {cores} cores for all together, {gib:.0} GiB of memory, Linux {kernel}")
}

/// The value behind a name and a colon.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\n";
        assert_eq!(field(text, "model name"), Some("A Processor @ 2 GHz"));
        assert_eq!(field(text, "model"), None);
        assert!(describe().contains("Linux"));
    }
}
