//! A socket for datagrams whose thread can be woken.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, recvfrom, sockopt};

/// Maximum bytes of a datagram: what UDP over IPv4 carries.
pub(crate) const LONGEST: usize = 65_507;

/// Bytes of datagrams that the system keeps while the thread is busy.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// A socket, and what wakes the thread that reads it.
pub(crate) struct DatagramSocket {
    /// Shared with the one that takes its place when a reload changes what it is for.
    pub(crate) socket: Arc<UdpSocket>,
    wake: OwnedFd,
    is_closed: AtomicBool,
}

impl DatagramSocket {
    /// Receives on this address.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::on(Arc::new(UdpSocket::bind(address)?))
    }

    /// Receives on a socket that is bound already.
    pub(crate) fn on(socket: Arc<UdpSocket>) -> io::Result<Self> {
        // The system may give less; what does not fit is lost.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES);
        Ok(Self {
            socket,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_closed: AtomicBool::new(false),
        })
    }

    /// Tells the thread to end.
    pub(crate) fn close(&self) {
        // Release, and before the wake: the woken thread must find it.
        self.is_closed.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the thread is to end.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        self.is_closed.load(Ordering::Acquire)
    }

    /// Ends [`DatagramSocket::wait`], now or when it is called next.
    pub(crate) fn wake(&self) {
        // It can fail only if the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Waits for a datagram, for [`DatagramSocket::wake`], or for this time.
    pub(crate) fn wait(&self, time: Option<Duration>) {
        let time = time.map(|time| Timespec::try_from(time).expect("it is short"));
        let mut events = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        // After an error, as after an interrupt, the caller looks whether there is something to do.
        let _ = poll(&mut events, time.as_ref());
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    /// The next datagram, if one has come: its length and its sender.
    pub(crate) fn receive(&self, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
        // An error tells that an earlier datagram did not arrive.
        let (_, len, from) = recvfrom(&self.socket, datagram, RecvFlags::DONTWAIT).ok()?;
        Some((len, SocketAddr::try_from(from?).ok()?))
    }
}
