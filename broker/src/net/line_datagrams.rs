//! The socket for lines in datagrams, with the thread that reads it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use rustix::net::{SendFlags, sendto};

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::net::datagram_socket::{DatagramSocket, LONGEST};
use crate::wire::line;
use crate::wire::room::RateWindow;

/// Maximum datagrams handled before it is looked whether it is closed.
const AT_ONCE: usize = 64;

/// A socket for lines in datagrams.
pub(crate) struct LineSocket {
    /// As configured; a reload finds the socket by it.
    pub(crate) address: SocketAddr,
    socket: DatagramSocket,
}

impl LineSocket {
    /// Receives on this address.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = DatagramSocket::bind(address)?;
        Ok(Self { address, socket })
    }

    /// For a socket that another process has opened for this address.
    pub(crate) fn on(address: SocketAddr, socket: UdpSocket) -> io::Result<Self> {
        let socket = DatagramSocket::on(Arc::new(socket))?;
        Ok(Self { address, socket })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.socket.local_addr()
    }

    /// Ends the thread that serves it.
    pub(crate) fn close(&self) {
        self.socket.close();
    }

    /// Handles datagrams until it is closed.
    pub(crate) fn serve(&self, engine: &Engine) {
        // All datagrams are those of one client, which is in no list: there is no connection to show.
        let mut client = Client::unlisted(engine);
        let mut datagram = vec![0; LONGEST];
        // For answers that are longer than what they answer: the address may be forged.
        let mut longer = RateWindow::for_bytes(Instant::now());
        while !self.socket.is_closed() {
            self.socket.wait(None);
            for _ in 0..AT_ONCE {
                let Some((len, from)) = self.socket.receive(&mut datagram) else {
                    break;
                };
                // Where memory is short a datagram is lost, as datagrams may be.
                if client.should_wait_for_memory() {
                    continue;
                }
                let datagram = &datagram[..len];
                let handled = panic::catch_unwind(AssertUnwindSafe(|| {
                    line::handle_datagram(&mut client, datagram)
                }));
                let Ok(answer) = handled else {
                    engine.metrics.panicked.add(1);
                    client = Client::unlisted(engine);
                    continue;
                };
                let may_be_sent =
                    answer.len() <= len || longer.take(answer.len() as u32, Instant::now());
                if !answer.is_empty() && may_be_sent {
                    let _ = sendto(&self.socket.socket, &answer, SendFlags::DONTWAIT, &from);
                }
            }
        }
    }
}

impl AsFd for LineSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.socket.as_fd()
    }
}
