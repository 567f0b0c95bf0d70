//! Whatever is in an access file: no panic, and the order of its lines means nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::access(input));
