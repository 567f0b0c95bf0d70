//! Whatever a client shows, in AUTH, CONNECT, HTTP and WebSocket: no panic, and no identity without its secret.

#![no_main]

use std::sync::LazyLock;

use broker::fuzzing::CredentialScene;
use libfuzzer_sys::fuzz_target;

static SCENE: LazyLock<CredentialScene> = LazyLock::new(CredentialScene::default);

fuzz_target!(|input: &[u8]| SCENE.play(input));
