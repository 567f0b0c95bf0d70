//! What a broker listens on, as it is configured.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::net::unix_socket::UnixPlace;

/// Where a socket listens, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Network(SocketAddr),
    Unix(PathBuf),
}

/// All that a broker listens on. Each list of addresses is that of one host and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// For all protocols.
    pub(crate) wires: Vec<Vec<SocketAddr>>,
    pub(crate) unix: Vec<UnixPlace>,
    /// The paths of further Unix sockets, which a service manager has opened and keeps.
    pub(crate) opened_unix: Vec<PathBuf>,
    /// For raw text, with the topics.
    pub(crate) rooms: Vec<(Vec<SocketAddr>, String)>,
    /// For lines in datagrams.
    pub(crate) datagrams: Vec<SocketAddr>,
}

impl Endpoints {
    /// Where connections are accepted.
    pub(crate) fn listen_addresses(&self) -> Vec<ListenAddress> {
        let network = self.network_addresses();
        let network = network.into_iter().map(ListenAddress::Network);
        let unix = self.unix.iter().map(|place| &place.path);
        let unix = unix.chain(&self.opened_unix).cloned();
        network.chain(unix.map(ListenAddress::Unix)).collect()
    }

    /// The same in the network.
    pub(crate) fn network_addresses(&self) -> Vec<SocketAddr> {
        let rooms = self.rooms.iter().map(|(addresses, _)| addresses);
        self.wires.iter().chain(rooms).flatten().copied().collect()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
