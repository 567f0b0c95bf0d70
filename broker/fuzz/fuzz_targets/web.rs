//! Whatever comes as HTTP, or in a WebSocket: no panic, and no message unaccounted for.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::web(input));
