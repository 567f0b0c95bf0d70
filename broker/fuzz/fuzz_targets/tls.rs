//! Whatever comes in TLS, in any pieces, changed or cut: no panic, and nothing is understood that was not said.

#![no_main]

use std::sync::LazyLock;

use broker::fuzzing::TlsScene;
use libfuzzer_sys::fuzz_target;

static SCENE: LazyLock<TlsScene> = LazyLock::new(TlsScene::default);

fuzz_target!(|input: &[u8]| SCENE.play(input));
