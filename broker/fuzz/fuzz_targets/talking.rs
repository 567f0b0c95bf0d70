//! Whatever comes from clients of the web chat: no panic, and no message unaccounted for.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::talking(input));
