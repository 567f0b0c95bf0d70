//! What must not be named where. Most of it is invisible in code, because it is absent.

use std::fs;
use std::path::Path;

use tests::source::{Source, sources, workspace};

use crate::floors::is_engine_or_below;
use crate::none;

/// Frames of a wire, packets, and what bytes leave through.
const FRAMES_AND_SOCKETS: [&str; 13] = [
    "Frame",
    "Request",
    "Reply",
    "Decoder",
    "Packet",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "httparse",
    "mqtt_protocol_core",
    "tungstenite",
];

fn place(file: &Source) -> String {
    file.path().display().to_string()
}

#[test]
fn the_engine_names_no_frame_no_packet_and_no_socket() {
    let files = sources("broker/src");
    let engine = files.iter().filter(|file| is_engine_or_below(file.path()));
    let mut faults = Vec::new();
    let mut count = 0;
    for file in engine {
        count += 1;
        let named = FRAMES_AND_SOCKETS.iter().filter(|word| file.names(word));
        faults.extend(named.map(|word| format!("{} names {word}", place(file))));
    }
    assert!(count > 10, "the engine has {count} files");
    none(
        "the engine and all below it know no frame of any wire and no socket",
        faults,
    );
}

#[test]
fn a_wire_reaches_the_engine_through_its_client_alone() {
    // What a client stands for; its own fields are private.
    const BEHIND_THE_GATE: [&[&str]; 7] = [
        &["crate", "::", "engine", "::", "Engine"],
        &["engine", "::", "retained"],
        &["engine", "::", "publish"],
        &["engine", "::", "routing"],
        &[".", "engine", "("],
        &["OutboxGuard"],
        &["Outbox"],
    ];
    let mut faults = Vec::new();
    for file in sources("broker/src/wire") {
        let named = BEHIND_THE_GATE.iter().filter(|words| file.has(words));
        faults.extend(named.map(|words| format!("{} names {}", place(&file), words.concat())));
    }
    none(
        "a wire asks engine::Client; what it needs and does not find there becomes a method of it",
        faults,
    );
}

#[test]
fn the_broker_asks_no_value_for_its_type() {
    let files = sources("broker/src");
    let asks = |file: &&Source| {
        let mut tokens = file.tokens().iter();
        file.has(&["dyn", "Any"]) || tokens.any(|token| token.text().starts_with("downcast"))
    };
    none(
        "no downcast and no `dyn Any`; a trait or an enum says what is needed",
        files.iter().filter(asks).map(place),
    );
}

#[test]
fn the_protocol_has_no_socket_no_thread_and_no_clock() {
    let mut faults = Vec::new();
    for file in sources("protocol/src") {
        for module in ["net", "thread", "time", "fs", "process"] {
            if file.has(&["std", "::", module]) {
                faults.push(format!("{} names std::{module}", place(&file)));
            }
        }
    }
    none("the protocol is values and bytes, with no I/O", faults);
}

#[test]
fn the_client_does_not_depend_on_the_broker() {
    let manifest = Path::new("client/Cargo.toml");
    let text = fs::read_to_string(workspace().join(manifest)).expect("the manifest can be read");
    let mut section = "";
    let mut faults = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let depends = section.contains("dependencies") && !section.contains("dev-dependencies");
        let names = line.starts_with("broker") || section.ends_with("dependencies.broker]");
        if depends && names {
            faults.push(format!("{}: {line}", manifest.display()));
        }
    }
    let files = sources("client/src");
    let naming = files.iter().filter(|file| file.has(&["broker", "::"]));
    faults.extend(naming.map(place));
    none("the client and the broker meet on the wire only", faults);
}

#[test]
fn a_broker_has_no_static_state() {
    let mut faults = Vec::new();
    for file in sources("broker/src") {
        for pair in file.tokens().windows(2) {
            // `'static` is a lifetime.
            let is_static = pair[1].is("static") && !pair[0].is("'");
            if is_static || pair[1].is("thread_local") {
                faults.push(format!("{}:{}", place(&file), pair[1].line()));
            }
        }
    }
    none(
        "a broker is a value, so that two can run in one process",
        faults,
    );
}

#[test]
fn every_file_begins_with_what_it_is() {
    let folders = ["protocol", "broker", "client", "tests"];
    let files = folders.into_iter().flat_map(sources);
    let without = files.filter(|file| !file.text().starts_with("//! "));
    none(
        "a file begins with `//!` and what it is for",
        without.map(|file| place(&file)),
    );
}
