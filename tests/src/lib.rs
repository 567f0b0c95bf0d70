//! What the tests of this folder are written with: a [`TestBroker`] to start, a [`TestClient`] to
//! talk to it in raw lines, an [`mqtt::MqttClient`] for raw packets, a [`frames::FrameClient`] for raw
//! frames of WebSocket, a [`NetworkProxy`] or a [`TlsFront`] between them, a [`Process`] for other
//! programs, such as those in [`foreign`], [`Tmux`] for those that want a terminal, a [`Dialogue`] or a
//! [`Session`] to play, a [`UsersFile`] for it, a [`SmallDisk`] for its store, a
//! [`JwtIssuer`], an [`Asker`] of the broker's own figures, and a [`Browser`].
//!
//! Nothing here knows the protocol beyond `PING`, the fence. A client that waits for something
//! gives up after [`PATIENCE`] and says what it waited for; nothing sleeps to be on time.

mod asker;
mod broker;
mod browser;
pub mod certificates;
mod client;
mod client_program;
mod dialogue;
pub mod foreign;
pub mod frames;
mod jwt_issuer;
mod mosquitto;
pub mod mqtt;
mod network_proxy;
mod process;
mod programs;
mod random;
mod ruled;
mod session;
mod small_disk;
pub mod source;
mod tls_client;
mod tls_front;
mod tmux;
mod users_file;

use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use asker::Asker;
pub use broker::{Ended, TestBroker};
pub use browser::{Browser, Tab};
pub use client::{SMALL_BUFFER, TestClient};
pub use client_program::{COMMANDS, client, client_of, subscriber_of};
pub use dialogue::Dialogue;
pub use jwt_issuer::{Alg, JwtIssuer, in_seconds};
pub use mosquitto::Mosquitto;
pub use network_proxy::{NetworkProxy, ProxyProgram};
pub use process::{Process, ended, outcome};
pub use programs::{example, installed, program};
pub use random::Random;
pub use ruled::RuledBroker;
pub use session::Session;
pub use small_disk::SmallDisk;
pub use tls_client::{TlsClient, TlsOffer};
pub use tls_front::{TlsFront, TlsManners};
pub use tmux::Tmux;
pub use users_file::UsersFile;

/// An empty folder, which goes with the result.
#[track_caller]
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// How long anything may take before a test fails. Nothing that works comes near it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `is_so`, for what no message announces. Fails with `what` when it does not become so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
