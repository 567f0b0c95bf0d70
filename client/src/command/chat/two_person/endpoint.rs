//! A UDP socket that serves many peers and still knows what became of each datagram.
//!
//! A socket of the standard library learns that a peer is not there only if it is connected, and
//! then it hears no other. This one asks Linux for its error queue (`IP_RECVERR`, ip(7)), and for the
//! address that a datagram was sent to (`IP_PKTINFO`): an answer has to come from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType,
    SockaddrIn6, SockaddrStorage, bind, recvmsg, sendmsg, setsockopt, socket, sockopt,
};

use super::place::UdpPlace;

/// Maximum bytes in a datagram of UDP over IPv4: 65,535 less the headers of both (RFC 768, RFC 791).
/// The same holds here for IPv6, where 20 more would fit.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 65_507;

/// No datagram is longer, so none is cut.
const BUFFER_BYTES: usize = 65_536;

/// Room for what Linux tells about a datagram: two addresses and an error are 120 bytes.
const CONTROL_BYTES: usize = 512;

/// An address that writes to us or that we write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpPeer {
    pub(crate) address: SocketAddr,
    /// Our own address that it writes to, if it has.
    local: Option<LocalAddress>,
}

impl UdpPeer {
    /// A peer that has not written yet.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            address,
            local: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalAddress {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Arrival {
    Datagram {
        from: UdpPeer,
        bytes: Vec<u8>,
    },
    /// The network says that a datagram of ours did not get to this address.
    Bounced {
        to: SocketAddr,
        /// The beginning of the datagram, or nothing: routers return as much as they like.
        bytes: Vec<u8>,
        why: io::Error,
    },
}

/// The socket.
#[derive(Debug)]
pub(crate) struct UdpEndpoint {
    socket: UdpSocket,
    is_ipv6: bool,
    buffer: Vec<u8>,
    control: Vec<u8>,
}

impl UdpEndpoint {
    /// Listens at a place.
    pub(crate) fn listen(place: &UdpPlace) -> io::Result<Self> {
        if !place.is_everywhere() {
            return Self::of(UdpSocket::bind(&*place.addresses()?)?);
        }
        match bind_everywhere(place.port()) {
            // A machine without IPv6.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
                Self::of(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, place.port()))?)
            }
            bound => Self::of(bound?),
        }
    }

    /// A socket to begin with towards this address.
    pub(crate) fn towards(address: SocketAddr) -> io::Result<Self> {
        Self::of(match address {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
        })
    }

    fn of(socket: UdpSocket) -> io::Result<Self> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        // A socket for both families has the options of both.
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        if is_ipv6 {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self {
            socket,
            is_ipv6,
            buffer: vec![0; BUFFER_BYTES],
            control: vec![0; CONTROL_BYTES],
        })
    }

    /// The address that it is bound to.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends one datagram, from the address that the peer writes to.
    pub(crate) fn send(&self, bytes: &[u8], to: &UdpPeer) -> io::Result<()> {
        let from = match &to.local {
            Some(LocalAddress::V4(info)) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Some(LocalAddress::V6(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            None => None,
        };
        let address = SockaddrStorage::from(self.on_socket(to.address));
        let send = || {
            let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
            sendmsg(
                fd,
                &[IoSlice::new(bytes)],
                from.as_slice(),
                flags,
                Some(&address),
            )
        };
        // Before it sends, a socket reports the bounce of an earlier datagram, once. That is no news
        // of this one, and the error queue has it too.
        send().or_else(|_| send())?;
        Ok(())
    }

    /// An address in the family of the socket.
    fn on_socket(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(it) if self.is_ipv6 => {
                SocketAddr::new(it.ip().to_ipv6_mapped().into(), it.port())
            }
            address => address,
        }
    }

    /// The next datagram, or else the news of one that did not arrive, without waiting. What a peer
    /// has said before it was gone comes first.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        let datagrams = MsgFlags::empty();
        let received = self.receive(datagrams).or_else(|error| match error {
            Errno::EAGAIN => Ok(None),
            // The socket reports a bounce once, before it gives what it has.
            _ => self.receive(datagrams),
        });
        // A bounce that comes this moment is in the error queue, and so is found by the next poll.
        let received = received.ok().flatten();
        received.or_else(|| self.receive(MsgFlags::MSG_ERRQUEUE).ok().flatten())
    }

    fn receive(&mut self, queue: MsgFlags) -> Result<Option<Arrival>, Errno> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let (fd, flags) = (self.socket.as_raw_fd(), queue | MsgFlags::MSG_DONTWAIT);
        let received = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), flags)?;
        let Some(address) = received.address.as_ref().and_then(address_of) else {
            return Ok(None);
        };
        let (local, errno) = control_of(&received);
        let bytes = received.bytes;
        let bytes = self.buffer[..bytes].to_vec();
        if queue.is_empty() {
            let from = UdpPeer { address, local };
            return Ok(Some(Arrival::Datagram { from, bytes }));
        }
        Ok(Some(Arrival::Bounced {
            to: address,
            bytes,
            why: io::Error::from_raw_os_error(errno.unwrap_or(Errno::EHOSTUNREACH as i32)),
        }))
    }
}

/// Readable when there is an arrival.
impl AsFd for UdpEndpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket for all addresses of both families, whatever the default of this machine is.
fn bind_everywhere(port: u16) -> Result<UdpSocket, Errno> {
    let (family, kind) = (AddressFamily::Inet6, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
    Ok(socket.into())
}

/// The address as its peer knows it: IPv4 is shown as such on a socket for both.
fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*address).into()));
    }
    let address: SocketAddrV6 = (*address.as_sockaddr_in6()?).into();
    Some(match address.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::new(ip.into(), address.port()),
        None => SocketAddr::V6(address),
    })
}

/// Our address that a datagram was sent to, and the error that bounced it.
fn control_of(received: &RecvMsg<'_, '_, SockaddrStorage>) -> (Option<LocalAddress>, Option<i32>) {
    let (mut local, mut errno) = (None, None);
    for told in received.cmsgs().into_iter().flatten() {
        match told {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                // Not the address in the packet: that may be one of a broadcast.
                local = Some(LocalAddress::V4(in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: info.ipi_spec_dst,
                    ipi_addr: in_addr { s_addr: 0 },
                }));
            }
            ControlMessageOwned::Ipv6PacketInfo(mut info) => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                if ip.is_multicast() || ip.to_ipv4_mapped().is_some() {
                    continue;
                }
                // Only a link-local address needs its interface; others may be answered over any.
                if !ip.is_unicast_link_local() {
                    info.ipi6_ifindex = 0;
                }
                local = Some(LocalAddress::V6(info));
            }
            ControlMessageOwned::Ipv4RecvErr(error, _) => errno = Some(error.ee_errno as i32),
            ControlMessageOwned::Ipv6RecvErr(error, _) => errno = Some(error.ee_errno as i32),
            _ => {}
        }
    }
    (local, errno)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn next(endpoint: &mut UdpEndpoint) -> Arrival {
        poll(&mut [PollFd::new(&*endpoint, PollFlags::IN)], None).expect("a socket");
        endpoint.next().expect("it is readable")
    }

    fn datagram(endpoint: &mut UdpEndpoint) -> (UdpPeer, Vec<u8>) {
        match next(endpoint) {
            Arrival::Datagram { from, bytes } => (from, bytes),
            bounced => panic!("{bounced:?}"),
        }
    }

    #[test]
    fn an_answer_comes_from_the_address_that_was_written_to() {
        let everywhere = UdpPlace::listen(":0").expect("a place");
        let mut endpoint = UdpEndpoint::listen(&everywhere).expect("a free port");
        let port = endpoint.local_address().expect("it is bound").port();
        for (own, other) in [
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.3", "127.0.0.1"),
            ("::1", "::1"),
        ] {
            let peer = UdpSocket::bind((own, 0)).expect("a free port");
            // It takes datagrams from this one address alone.
            peer.connect((other, port)).expect("an address");
            peer.send(b"hello").expect("a receiver");
            let (from, bytes) = datagram(&mut endpoint);
            assert_eq!(
                (Ok(from.address), &*bytes),
                (peer.local_addr().map_err(drop), &b"hello"[..])
            );
            endpoint.send(b"answer", &from).expect("a receiver");
            let mut buffer = [0; 10];
            let patience = Some(Duration::from_secs(10));
            peer.set_read_timeout(patience).expect("a socket");
            let read = peer.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..read], b"answer");
        }
    }

    #[test]
    fn the_longest_datagram_arrives_whole_and_a_longer_one_is_refused() {
        let place = UdpPlace::listen("127.0.0.1:0").expect("a place");
        let mut endpoint = UdpEndpoint::listen(&place).expect("a free port");
        let to = UdpPeer::at(endpoint.local_address().expect("it is bound"));
        let other = UdpEndpoint::towards(to.address).expect("a free port");
        other
            .send(&vec![b'x'; MAX_DATAGRAM_BYTES], &to)
            .expect("it fits");
        assert_eq!(datagram(&mut endpoint).1.len(), MAX_DATAGRAM_BYTES);
        assert!(
            other
                .send(&vec![b'x'; MAX_DATAGRAM_BYTES + 1], &to)
                .is_err()
        );
    }

    #[test]
    fn what_a_peer_has_said_comes_before_the_news_that_it_is_gone() {
        let peer = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
        let to = UdpPeer::at(peer.local_addr().expect("it is bound"));
        let mut endpoint = UdpEndpoint::towards(to.address).expect("a free port");
        endpoint.send(b"hello", &to).expect("a receiver");
        let (_, from) = peer.recv_from(&mut [0; 10]).expect("a datagram");
        peer.send_to(b"answer", from).expect("a receiver");
        drop(peer);
        endpoint.send(b"bye", &to).expect("it is sent");
        assert_eq!(datagram(&mut endpoint).1, b"answer");
        assert!(matches!(next(&mut endpoint), Arrival::Bounced { .. }));
    }

    #[test]
    fn a_datagram_that_bounces_is_told_and_does_not_stop_the_next() {
        for host in ["127.0.0.1", "::1"] {
            let gone = UdpSocket::bind((host, 0)).and_then(|socket| socket.local_addr());
            let gone = UdpPeer::at(gone.expect("a free port"));
            let mut endpoint = UdpEndpoint::towards(gone.address).expect("a free port");
            for text in ["first", "second"] {
                endpoint.send(text.as_bytes(), &gone).expect("it is sent");
            }
            for text in ["first", "second"] {
                let Arrival::Bounced { to, bytes, why } = next(&mut endpoint) else {
                    panic!("no program has answered");
                };
                assert_eq!((to, &*bytes), (gone.address, text.as_bytes()));
                assert_eq!(why.kind(), io::ErrorKind::ConnectionRefused);
            }
        }
    }
}
