//! Every file of the broker lies on a floor, and imports point down only. How imports are counted is
//! said in `tests/src/source/modules.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ::tests::source::{Import, Modules, circles, sources};

use crate::none;

const BROKER: &str = "broker/src";

/// From the top down. A folder is a floor with all that lies in it, but for what has a line of its
/// own. Files of one floor may import each other.
const FLOORS: [&str; 44] = [
    "main.rs",
    "command",
    "program",
    "fuzzing",
    "lib.rs",
    "operator",
    "config",
    "net",
    "wire",
    "admin",
    "engine/enforcement.rs",
    "engine/expiry.rs",
    "engine/kept_state.rs",
    "engine/kept_sessions.rs",
    "engine/offline_history.rs",
    "engine/offline_store.rs",
    "engine/follow",
    "engine/client",
    "engine/mod.rs",
    "engine/access.rs",
    "engine/session",
    "engine/publish",
    "engine/routing",
    "engine/retained.rs",
    "engine/outbox",
    "engine/history",
    "engine/security_events.rs",
    "engine/stats",
    "engine/memory",
    "engine/usage.rs",
    "engine/peer.rs",
    "auth/access",
    "auth/identity",
    "auth/address.rs",
    "auth/rate.rs",
    "auth/mod.rs",
    "engine/limits.rs",
    "engine/orders.rs",
    "engine/event_client.rs",
    "engine/stored_messages.rs",
    "engine/stored_sessions.rs",
    "storage",
    "clock",
    "sync.rs",
];

/// The number of the floor of a file or folder, counted from the top. The longest line that fits counts.
fn floor(path: &Path) -> Option<usize> {
    let path = path.strip_prefix(BROKER).ok()?;
    let fitting = (0..FLOORS.len()).filter(|floor| path.starts_with(FLOORS[*floor]));
    fitting.max_by_key(|floor| FLOORS[*floor].len())
}

/// Whether a file belongs to the engine or lies below it.
pub(crate) fn is_engine_or_below(path: &Path) -> bool {
    let top = FLOORS.iter().position(|floor| floor.starts_with("engine"));
    floor(path).is_some_and(|floor| Some(floor) >= top)
}

#[test]
fn every_file_of_the_broker_has_a_floor() {
    let files = sources(BROKER);
    let without = files.iter().filter(|file| floor(file.path()).is_none());
    none(
        "a file of the broker needs a floor; move it into a folder that has one, or add a line to FLOORS",
        without.map(|file| file.path().display().to_string()),
    );
}

#[test]
fn every_floor_has_files() {
    let files = sources(BROKER);
    let empty = (0..FLOORS.len()).filter(|line| {
        let mut floors = files.iter().map(|file| floor(file.path()));
        !floors.any(|floor| floor == Some(*line))
    });
    none(
        "FLOORS names what is not there",
        empty.map(|line| FLOORS[line]),
    );
}

/// Floors are in one order, so this holds for imports through other files as well.
#[test]
fn imports_point_down_only() {
    let imports = Modules::read("broker", BROKER).imports();
    let upward = imports.iter().filter(|import| {
        let (from, to) = (floor(&import.from), floor(&import.to));
        from.zip(to).is_some_and(|(from, to)| from > to)
    });
    none(
        &format!("imports point down only, {}", FLOORS.join(" -> ")),
        upward.map(Import::to_string),
    );
}

#[test]
fn no_two_entries_of_a_folder_need_each_other() {
    let imports = Modules::read("broker", BROKER).imports();
    let mut faults = Vec::new();
    for folder in folders(&imports) {
        for circle in circles(&between_entries(&imports, &folder)) {
            // Circles of files alone are found by `circles.rs`.
            if circle.iter().all(|import| is_file(&import.from)) {
                continue;
            }
            faults.push(format!("in {}:", folder.display()));
            faults.extend(circle.iter().map(|import| format!("  {import}")));
        }
    }
    none(
        "files and folders that lie side by side must not need each other",
        faults,
    );
}

fn folders(imports: &BTreeSet<Import>) -> BTreeSet<PathBuf> {
    let folders = imports
        .iter()
        .flat_map(|import| import.from.ancestors().skip(1));
    let folders = folders.filter(|folder| folder.starts_with(BROKER));
    folders.map(Path::to_owned).collect()
}

fn is_file(entry: &Path) -> bool {
    entry.extension().is_some()
}

/// The imports from one entry of a folder to another, each entry with all that lies in it.
fn between_entries(imports: &BTreeSet<Import>, folder: &Path) -> BTreeSet<Import> {
    let entry = |file: &Path| {
        let within = file.strip_prefix(folder).ok()?;
        Some(folder.join(within.iter().next()?))
    };
    let mut between: BTreeMap<(PathBuf, PathBuf), Vec<&str>> = BTreeMap::new();
    for import in imports {
        if let (Some(from), Some(to)) = (entry(&import.from), entry(&import.to))
            && from != to
        {
            between.entry((from, to)).or_default().push(&import.item);
        }
    }
    let between = between.into_iter().map(|((from, to), mut items)| {
        items.sort_unstable();
        items.dedup();
        let item = items.join(", ");
        Import { from, to, item }
    });
    between.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_decides_the_floor() {
        let floor = |path: &str| floor(&Path::new(BROKER).join(path)).map(|floor| FLOORS[floor]);
        assert_eq!(floor("engine/outbox/queue/mod.rs"), Some("engine/outbox"));
        assert_eq!(floor("engine/mod.rs"), Some("engine/mod.rs"));
        assert_eq!(floor("engine/limits.rs"), Some("engine/limits.rs"));
        assert_eq!(floor("config/mod.rs"), Some("config"));
        assert_eq!(floor("engine/other.rs"), None);
        assert_eq!(floor("network.rs"), None);
    }

    #[test]
    fn a_folder_stands_for_all_that_lies_in_it() {
        let import = |from: &str, to: &str| Import {
            from: from.into(),
            to: to.into(),
            item: "X".to_owned(),
        };
        let imports = BTreeSet::from([
            import("a/b/c.rs", "a/d.rs"),
            import("a/b/e.rs", "a/d.rs"),
            import("a/b/c.rs", "a/b/e.rs"),
            import("f.rs", "a/d.rs"),
        ]);
        let between = between_entries(&imports, Path::new("a"));
        let shown: Vec<_> = between.iter().map(Import::to_string).collect();
        assert_eq!(shown, ["a/b imports X of a/d.rs"]);
        assert!(is_file(Path::new("a/d.rs")) && !is_file(Path::new("a/b")));
    }
}
