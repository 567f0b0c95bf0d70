//! Another broker of MQTT, to hold the client against.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually;

/// Where Debian puts it, which the PATH of most users lacks.
const PROGRAM: &str = "/usr/sbin/mosquitto";

/// A running mosquitto. Dropping it kills it.
#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Mosquitto {
    /// Starts one with these lines in its settings, besides its address.
    #[track_caller]
    pub fn start(settings: &str) -> Self {
        loop {
            // It cannot choose a port by itself, so another program may take the port first.
            if let Some(started) = Self::try_start(free_port(), settings) {
                return started;
            }
        }
    }

    /// The same at a port that is free again.
    #[track_caller]
    pub fn start_at(port: u16, settings: &str) -> Self {
        Self::try_start(port, settings).expect("the port is free again")
    }

    #[track_caller]
    fn try_start(port: u16, settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mosquitto.conf");
        let lines = format!("listener {port} 127.0.0.1\nlog_type none\n{settings}\n");
        fs::write(&file, lines).expect("a file can be written");
        let mut child = Command::new(PROGRAM)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{PROGRAM} is needed ({error}); install the Debian package mosquitto")
            });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut has_ended = false;
        eventually("mosquitto listens", || {
            has_ended = child.try_wait().expect("a child of ours").is_some();
            has_ended || TcpStream::connect(address).is_ok()
        });
        (!has_ended).then(|| Self {
            child,
            address,
            _folder: folder,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}
