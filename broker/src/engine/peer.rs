//! Where a client comes from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Network(SocketAddr),
    /// A program of this machine, over a Unix socket.
    Unix(Arc<UnixPeer>),
}

/// What the system says about a program at the other end of a Unix socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnixPeer {
    /// The name of its user, or the number of one without a name.
    pub(crate) user: Box<str>,
    pub(crate) user_number: u32,
    /// It runs as root or as the user of the broker, so it may give orders.
    pub(crate) is_operator: bool,
}

impl Peer {
    /// The address to count it for; that of this machine for a program on a Unix socket.
    pub(crate) fn ip(&self) -> IpAddr {
        match self {
            Self::Network(address) => address.ip(),
            Self::Unix(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Whether it may give orders to the broker.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(self, Self::Unix(peer) if peer.is_operator)
    }
}

impl<A: Into<SocketAddr>> From<A> for Peer {
    fn from(address: A) -> Self {
        Self::Network(address.into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Of a session of an earlier process.
            Self::Network(address) if address.ip().is_unspecified() => f.write_str("unknown"),
            Self::Network(address) => address.fmt(f),
            Self::Unix(peer) => write!(f, "unix:{}", peer.user),
        }
    }
}
