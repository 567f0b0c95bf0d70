//! Whatever is in the files of a store: no panic, a start that finds the same the next time, and what was read can be
//! read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::store(input));
