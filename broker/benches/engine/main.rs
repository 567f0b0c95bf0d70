//! Benchmarks of the engine without sockets: routes, outboxes, whole conversations of a publisher.
//!
//! `cargo bench -p broker` measures time. `--workload <name> <rounds>` instead plays one stream without
//! measuring it, for a tool that counts instructions, such as `tests/instructions`.
//!
//! The sources of the broker are compiled a second time, so that private items can stay private.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "measured is a part of the sources, and none of their unit tests"
)]

#[path = "../../src/admin/mod.rs"]
mod admin;
#[path = "../../src/auth/mod.rs"]
pub mod auth;
#[path = "../../src/clock/mod.rs"]
mod clock;
#[path = "../../src/engine/mod.rs"]
mod engine;
#[path = "../../src/storage/mod.rs"]
mod storage;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/wire/mod.rs"]
mod wire;

mod client;
mod delivery;
mod publishing;
mod routing;

use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--workload", name, rounds] => {
            publishing::play(name, rounds.parse().expect("a number of rounds"));
        }
        ["--bench"] => {
            // First, while the process has no freed memory to use again.
            routing::print_memory();
            divan::main();
        }
        _ => divan::main(),
    }
}
