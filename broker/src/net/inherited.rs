//! Sockets that another process has opened for this one: a service manager that activates it, or the
//! broker that it takes the place of. They come as systemd passes them, in `LISTEN_FDS`.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

use crate::net::endpoints::{Endpoints, ListenAddress};

/// The name of the socket on which the process before waits until this one serves.
pub(crate) const PREDECESSOR: &str = "predecessor";

/// The name of a socket that a service manager has opened and keeps, for the process after this one.
pub(crate) const KEPT: &str = "kept";

/// The name of any other.
pub(crate) const OWN: &str = "own";

/// What is sent there then.
pub(crate) const SERVES: &[u8] = b"serves";

/// A socket for the process after this one, with its name.
pub(crate) type PassedSocket = (OwnedFd, &'static str);

/// Sockets that are open already when the process begins.
#[derive(Default)]
pub struct InheritedSockets {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    unix: Vec<(UnixListener, PathBuf)>,
    predecessor: Option<UnixDatagram>,
    /// Where a service manager listens, also if they came by the process before.
    kept: Vec<ListenAddress>,
}

/// The addresses of sockets of a service manager that no flag names: they take the place of the first
/// endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activated {
    network: Vec<SocketAddr>,
    unix: Vec<PathBuf>,
}

impl InheritedSockets {
    /// Takes the sockets of this process. Must be called once, before any thread is started, because it
    /// changes the environment.
    pub fn from_environment() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        let from_predecessor = names.contains(&PREDECESSOR);
        for at in 0..passed.len() {
            let is_kept = !from_predecessor || names.get(at) == Some(&KEPT);
            if names.get(at) == Some(&PREDECESSOR) {
                sockets.predecessor = passed.take_unix_datagram(at)?;
            } else if let Ok(Some(socket)) = passed.take_tcp_listener(at) {
                if is_kept {
                    let local = socket.local_addr()?;
                    sockets.kept.push(ListenAddress::Network(local));
                }
                sockets.tcp.push(socket);
            } else if let Ok(Some(socket)) = passed.take_udp_socket(at) {
                sockets.udp.push(socket);
            } else if let Ok(Some(socket)) = passed.take_unix_listener(at) {
                let path = socket.local_addr()?.as_pathname().map(PathBuf::from);
                let path = path.ok_or_else(|| unusable(at, "its address is no path"))?;
                if is_kept {
                    sockets.kept.push(ListenAddress::Unix(path.clone()));
                }
                sockets.unix.push((socket, path));
            } else {
                return Err(unusable(at, "it is no socket of TCP, UDP or a path"));
            }
        }
        Ok(sockets)
    }

    /// What a service manager has opened besides what is wanted.
    pub(crate) fn activated(&self, wanted: &Endpoints) -> Activated {
        let addresses = wanted.network_addresses();
        let mut activated = Activated::default();
        for kept in &self.kept {
            match kept {
                ListenAddress::Network(local) => {
                    if !addresses.iter().any(|it| is_at(*local, *it)) {
                        activated.network.push(*local);
                    }
                }
                ListenAddress::Unix(path) => {
                    if !wanted.unix.iter().any(|place| place.path == *path) {
                        activated.unix.push(path.clone());
                    }
                }
            }
        }
        activated
    }

    /// Whether a service manager keeps the Unix socket at this path.
    pub(crate) fn keeps(&self, path: &Path) -> bool {
        let is_at = |kept: &ListenAddress| matches!(kept, ListenAddress::Unix(it) if it == path);
        self.kept.iter().any(is_at)
    }

    pub(crate) fn take_tcp(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let at = |socket: &TcpListener| socket.local_addr().is_ok_and(|local| is_at(local, wanted));
        let found = self.tcp.iter().position(at)?;
        Some(self.tcp.swap_remove(found))
    }

    pub(crate) fn take_udp(&mut self, wanted: SocketAddr) -> Option<UdpSocket> {
        let at = |socket: &UdpSocket| socket.local_addr().is_ok_and(|local| is_at(local, wanted));
        let found = self.udp.iter().position(at)?;
        Some(self.udp.swap_remove(found))
    }

    pub(crate) fn take_unix(&mut self, wanted: &Path) -> Option<UnixListener> {
        let found = self.unix.iter().position(|(_, path)| path == wanted)?;
        Some(self.unix.swap_remove(found).0)
    }

    /// Whether this process takes the place of another.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Tells the process before that this one serves.
    pub(crate) fn tell_predecessor(&self) {
        if let Some(predecessor) = &self.predecessor {
            // It may have given up waiting, and then it goes on.
            let _ = predecessor.send(SERVES);
        }
    }
}

impl Activated {
    pub(crate) fn has(&self, local: SocketAddr) -> bool {
        self.network.contains(&local)
    }

    /// What is to be listened on, with what the service manager has opened.
    pub(crate) fn with(&self, wanted: &Endpoints) -> Endpoints {
        let mut endpoints = wanted.clone();
        if !self.network.is_empty() {
            // The first is that of `--host` and `--port`.
            endpoints.wires.splice(..1, [self.network.clone()]);
        }
        endpoints.opened_unix.clone_from(&self.unix);
        endpoints
    }
}

/// Whether a socket at `local` is the one that is wanted; port 0 is any.
fn is_at(local: SocketAddr, wanted: SocketAddr) -> bool {
    local.ip() == wanted.ip() && (wanted.port() == 0 || local.port() == wanted.port())
}

fn unusable(at: usize, why: &str) -> io::Error {
    let text = format!("socket {at} of LISTEN_FDS cannot be used: {why}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
