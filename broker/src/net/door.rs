//! A listening socket, what it is for, and what stops the thread that accepts on it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::engine::peer::Peer;
use crate::net::datagrams::RoomSocket;
use crate::net::endpoints::ListenAddress;
use crate::net::unix_socket::UnixSocket;
use crate::wire::Entrance;

/// A socket on which connections are accepted.
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A listening socket, and what it is for.
pub(crate) struct Door {
    /// A reload finds the socket by it.
    pub(crate) address: ListenAddress,
    /// Shared with the door that takes its place when a reload changes what it is for.
    pub(crate) socket: Arc<ListeningSocket>,
    pub(crate) entrance: Entrance,
    /// The same port for datagrams, of a room.
    pub(crate) datagrams: Option<RoomSocket>,
    wake: OwnedFd,
    is_closed: AtomicBool,
}

impl Door {
    pub(crate) fn new(
        address: ListenAddress,
        socket: Arc<ListeningSocket>,
        entrance: Entrance,
        datagrams: Option<RoomSocket>,
    ) -> io::Result<Self> {
        Ok(Self {
            address,
            socket,
            entrance,
            datagrams,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_closed: AtomicBool::new(false),
        })
    }

    /// Waits for a connection; returns whether the door is open.
    pub(crate) fn wait(&self) -> bool {
        let mut events = [
            PollFd::new(&*self.socket, PollFlags::IN),
            // Never read, so that it ends each wait from now on.
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        // After an error, as after an interrupt, the caller looks for a connection, which does not wait.
        let _ = poll(&mut events, None);
        // Acquire pairs with the Release in `close`, which wakes this wait afterwards.
        !self.is_closed.load(Ordering::Acquire)
    }

    /// Ends the threads that serve it. The socket is not shut down, because another process may go on
    /// with it; it is closed when the door is dropped.
    pub(crate) fn close(&self) {
        // Release, and before the wake: the woken thread must find it.
        self.is_closed.store(true, Ordering::Release);
        // It can fail only if the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        if let Some(datagrams) = &self.datagrams {
            datagrams.close();
        }
    }
}

impl ListeningSocket {
    /// Accepts a connection that waits.
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // A socket for IPv6 accepts clients of IPv4 as well, under addresses such as
                // ::ffff:10.0.0.5.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((stream.into(), peer.into()))
            }
            Self::Unix(socket) => socket.accept(),
        }
    }

    /// Its address in the network, if it has one, with the port that the system chose.
    pub(crate) fn network_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}
