//! A socket for datagrams whose thread can be woken.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, recvfrom, sockopt};

/// Maximum bytes of a datagram: what UDP over IPv4 carries.
pub(crate) const LONGEST: usize = 65_507;

/// Bytes of datagrams that the system keeps while the thread is busy.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// A socket, and what wakes the thread that reads it.
pub(crate) struct DatagramSocket {
    pub(crate) socket: UdpSocket,
    wake: OwnedFd,
}

impl DatagramSocket {
    /// Receives on this address.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        // The system may give less; what does not fit is lost.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES);
        Ok(Self {
            socket,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
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
