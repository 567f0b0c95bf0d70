//! Whatever comes in datagrams, to a room and as lines: no panic, and no more members or answers than there may be.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::datagrams(input));
