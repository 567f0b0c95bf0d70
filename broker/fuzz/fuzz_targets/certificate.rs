//! Whatever is in the certificate of a client: no panic, and its name is one level of a topic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| broker::fuzzing::certificate(input));
