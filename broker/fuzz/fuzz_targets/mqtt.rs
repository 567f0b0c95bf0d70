//! Whatever comes behind a CONNECT: no panic, no message unaccounted for, and what the broker sends
//! is whole packets.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::mqtt(input));
