//! Whatever is in a set of keys, a token and its claims: no panic, and a name is one level of a topic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::jwt(input));
