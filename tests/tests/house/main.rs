//! What keeps the floors of the house, and is invisible in code because it is absent.
//!
//! The sources are read as text: without comments, and without the unit tests at their ends, which
//! may reach where the code may not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// From the top floor down. Each may know those that come after it.
const LADDER: [&str; 7] = [
    "main", "lib", "listener", "session", "wire", "router", "outbox",
];

/// All sources below a folder of the workspace, each with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(WORKSPACE).join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                // The fuzz targets are built in folders of their own.
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                sources.push((path, text));
            }
        }
    }
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources
}

/// What is compiled into the program: no comments, no unit tests.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The words of a source, where a word is what a name can be.
fn words(code: &str) -> BTreeSet<&str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .collect()
}

/// The rooms of the broker and the rooms that each of them names. A folder is one room.
fn rooms() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut rooms: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for (path, text) in sources("broker/src") {
        let within = path
            .components()
            .skip_while(|part| part.as_os_str() != "src")
            .nth(1);
        let name = within.expect("a file in src").as_os_str().to_string_lossy();
        let name = name.trim_end_matches(".rs").to_owned();
        let (all_code, named) = rooms.entry(name.clone()).or_default();
        let code = code(&text);
        let crate_name = if name == "main" {
            "broker::"
        } else {
            "crate::"
        };
        named.extend(
            named_in(&code, crate_name)
                .into_iter()
                .filter(|room| *room != name),
        );
        all_code.push_str(&code);
    }
    let known: BTreeSet<String> = rooms.keys().cloned().collect();
    for (_, named) in rooms.values_mut() {
        // What is no room is an item of `lib.rs`.
        *named = named
            .iter()
            .map(|name| if known.contains(name) { name } else { "lib" }.to_owned())
            .collect();
    }
    rooms
}

/// The first names behind `crate::`, also in `crate::{a, b::c}`.
fn named_in(code: &str, prefix: &str) -> Vec<String> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut named = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let first = rest
            .split(|letter| !is_word(letter))
            .next()
            .unwrap_or_default();
        if !first.is_empty() {
            named.push(first.to_owned());
            continue;
        }
        // A list in braces: what stands behind `::` in it are items of that room.
        let list = rest.split(';').next().unwrap_or_default();
        let mut depth = 0;
        for item in list.split_inclusive(['{', '}', ',']) {
            let name = item.trim_start().split(|letter| !is_word(letter)).next();
            if let (1, Some(name)) = (depth, name)
                && !name.is_empty()
            {
                named.push(name.to_owned());
            }
            match item.chars().last() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                _ => {}
            }
        }
    }
    named
}

/// All rooms that can be reached from one.
fn below(rooms: &BTreeMap<String, (String, BTreeSet<String>)>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut ways = vec![from.to_owned()];
    while let Some(room) = ways.pop() {
        for named in &rooms
            .get(&room)
            .unwrap_or_else(|| panic!("there is no room {room}"))
            .1
        {
            if reached.insert(named.clone()) {
                ways.push(named.clone());
            }
        }
    }
    reached
}

#[test]
fn imports_point_down_only() {
    let rooms = rooms();
    for (rung, name) in LADDER.iter().enumerate().skip(1) {
        let below = below(&rooms, name);
        for above in &LADDER[..rung] {
            assert!(
                !below.contains(*above),
                "{name} must not know {above}, also not through others: imports point down only, {}",
                LADDER.join(" -> ")
            );
        }
    }
}

#[test]
fn no_two_rooms_need_each_other() {
    let rooms = rooms();
    for name in rooms.keys() {
        let round = below(&rooms, name).contains(name);
        assert!(
            !round,
            "{name} needs itself through others: rooms must not go in a circle"
        );
    }
}

#[test]
fn router_and_outbox_name_no_frame_and_no_socket() {
    let rooms = rooms();
    let mut lower = below(&rooms, "router");
    lower.extend(below(&rooms, "outbox"));
    lower.extend(["router", "outbox"].map(str::to_owned));
    for name in lower {
        let words = words(&rooms[&name].0);
        for taboo in [
            "Frame",
            "Request",
            "Reply",
            "TcpStream",
            "TcpListener",
            "Decoder",
        ] {
            assert!(
                !words.contains(taboo),
                "{name} names {taboo}: router, outbox and all below them know no frame of any wire \
                 and no socket"
            );
        }
    }
}

#[test]
fn the_protocol_has_no_socket_no_thread_and_no_clock() {
    for (path, text) in sources("protocol/src") {
        for taboo in [
            "std::net",
            "std::thread",
            "std::time",
            "std::fs",
            "std::process",
        ] {
            assert!(
                !code(&text).contains(taboo),
                "{} names {taboo}: the protocol is values and bytes, with no I/O",
                path.display()
            );
        }
    }
}

#[test]
fn the_client_does_not_depend_on_the_broker() {
    let manifest = Path::new(WORKSPACE).join("client/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("client/Cargo.toml can be read");
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let depends = section.contains("dependencies") && !section.contains("dev-dependencies");
        let names = line.starts_with("broker") || section.ends_with("dependencies.broker]");
        assert!(
            !(depends && names),
            "client/Cargo.toml depends on the broker: the two meet on the wire only"
        );
    }
    for (path, text) in sources("client/src") {
        let named = code(&text).contains("broker::");
        assert!(
            !named,
            "{} names the broker: the two meet on the wire only",
            path.display()
        );
    }
}

#[test]
fn a_broker_has_no_static_state() {
    for (path, text) in sources("broker/src") {
        for line in code(&text).lines() {
            let item = line.trim_start();
            let item = item.split_once("pub").map_or(item, |(_, rest)| {
                rest.trim_start_matches("(crate)").trim_start()
            });
            let state = item.starts_with("static ") || item.starts_with("thread_local!");
            assert!(
                !state,
                "{}: {line:?}: a broker is a value, so that two can run in one process",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for folder in ["protocol", "broker", "client", "tests"] {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//! "),
                "{} does not begin with `//!` and what it is for",
                path.display()
            );
        }
    }
}

#[test]
fn the_reader_of_sources_finds_what_it_looks_for() {
    let named = |code: &str| named_in(code, "crate::");
    assert_eq!(named("use crate::router::Router;"), ["router"]);
    assert_eq!(
        named("use crate::{a, b};\nlet x = crate::c::d();"),
        ["a", "b", "c"]
    );
    assert_eq!(named("use crate::Config;"), ["Config"]);
    assert_eq!(named("use crate::{a::{X, Y}, b::Z, c};"), ["a", "b", "c"]);
    assert_eq!(
        code("//! head\nuse a;\n// why\n#[cfg(test)]\nmod tests {}\n"),
        "use a;\n"
    );
    assert!(words("fn f(x: &TcpStream)").contains("TcpStream"));
    assert!(!words("fn f(x: &MyTcpStreams)").contains("TcpStream"));
    let rooms = rooms();
    for room in LADDER {
        assert!(rooms.contains_key(room), "there is no room {room}");
    }
    assert!(
        below(&rooms, "listener").contains("outbox"),
        "no ways were found"
    );
}
