//! Whatever is in a users file: no panic, and a change leaves the rest of it alone.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::users(input));
