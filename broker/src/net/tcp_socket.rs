//! The listening sockets of one host and port. A name may have several addresses, and all of them are
//! listened on: a client may try any.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

/// Maximum connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// How often a port that the system chose is given up because another address of the name has it taken.
const MOST_CHOICES: u32 = 20;

/// TCP keep-alive: an idle peer has vanished when it has not answered this many probes.
/// `TCP_USER_TIMEOUT` is unsuitable, because it also ends a connection whose peer only reads nothing.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Listens on all addresses; returns each socket with its address as given here. With port 0 they get the
/// same one, or that of `others`: the sockets of this host and port that are there already. Of several
/// addresses, those that the machine does not have are left out with a warning, such as the one of IPv6 of
/// a name on a machine without IPv6. `opened` returns the socket for an address that another process has
/// opened.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    others: Option<u16>,
    mut opened: impl FnMut(SocketAddr) -> Option<TcpListener>,
) -> Result<Vec<(SocketAddr, TcpListener)>, (SocketAddr, io::Error)> {
    let mut choices = 1;
    loop {
        match bind_once(addresses, others, &mut opened) {
            Err((address, err))
                if err.kind() == io::ErrorKind::AddrInUse
                    && address.port() == 0
                    && others.is_none()
                    && choices < MOST_CHOICES =>
            {
                choices += 1;
            }
            bound => return bound,
        }
    }
}

fn bind_once(
    addresses: &[SocketAddr],
    others: Option<u16>,
    opened: &mut impl FnMut(SocketAddr) -> Option<TcpListener>,
) -> Result<Vec<(SocketAddr, TcpListener)>, (SocketAddr, io::Error)> {
    let mut bound: Vec<(SocketAddr, TcpListener)> = Vec::new();
    let mut port = others;
    let mut left_out = Vec::new();
    for &wanted in addresses {
        let mut address = wanted;
        address.set_port(port.unwrap_or(wanted.port()));
        let socket = opened(wanted).map_or_else(|| TcpListener::bind(address), Ok);
        match socket.and_then(prepared) {
            Ok(socket) => {
                let local = socket.local_addr().map_err(|err| (wanted, err))?;
                port = Some(local.port());
                bound.push((wanted, socket));
            }
            Err(err) if is_not_here(&err) => left_out.push((wanted, err)),
            Err(err) => return Err((wanted, err)),
        }
    }
    if bound.is_empty() && others.is_none() && !left_out.is_empty() {
        return Err(left_out.swap_remove(0));
    }
    for (address, err) in left_out {
        log::warn!("not listening on {}: {err}", address.ip());
    }
    Ok(bound)
}

fn is_not_here(err: &io::Error) -> bool {
    let errno = Errno::from_io_error(err);
    errno == Some(Errno::ADDRNOTAVAIL) || errno == Some(Errno::AFNOSUPPORT)
}

/// Sets the options that accepted sockets inherit, and a backlog larger than usual: a client that finds
/// the backlog full retries only after a second.
fn prepared(socket: TcpListener) -> io::Result<TcpListener> {
    // It is polled, and another process may accept the connection first.
    socket.set_nonblocking(true)?;
    rustix::net::listen(&socket, BACKLOG)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&socket, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: SocketAddr) -> Option<TcpListener> {
        None
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let parsed = texts.iter().map(|text| text.parse());
        parsed.collect::<Result<_, _>>().expect("addresses")
    }

    #[test]
    fn all_addresses_of_a_name_have_one_port() {
        let sockets =
            bind(&addresses(&["127.0.0.1:0", "127.0.0.2:0"]), None, none).expect("both are here");
        let bound = sockets.iter().map(|(_, socket)| socket.local_addr());
        let bound: Vec<SocketAddr> = bound.collect::<Result<_, _>>().expect("they are bound");
        let ips: Vec<String> = bound.iter().map(|each| each.ip().to_string()).collect();
        assert_eq!(ips, ["127.0.0.1", "127.0.0.2"]);
        assert_eq!(bound[0].port(), bound[1].port());
    }

    #[test]
    fn an_address_that_is_not_here_is_left_out_if_another_is() {
        let sockets =
            bind(&addresses(&["203.0.113.77:0", "127.0.0.1:0"]), None, none).expect("one is here");
        assert_eq!(sockets.len(), 1);
        let (address, err) = bind(
            &addresses(&["203.0.113.77:0", "203.0.113.78:0"]),
            None,
            none,
        )
        .expect_err("none is");
        assert_eq!(address.to_string(), "203.0.113.77:0");
        assert_eq!(err.kind(), io::ErrorKind::AddrNotAvailable);
        let sockets =
            bind(&addresses(&["203.0.113.77:0"]), Some(1), none).expect("another is there");
        assert!(sockets.is_empty());
    }

    #[test]
    fn a_port_that_is_taken_on_one_address_is_an_error() {
        let taken = TcpListener::bind("127.0.0.2:0").expect("a free port");
        let port = taken.local_addr().expect("it is bound").port();
        let both = [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")];
        let (address, err) =
            bind(&addresses(&[&both[0], &both[1]]), None, none).expect_err("it is taken");
        assert_eq!(
            (address.to_string(), err.kind()),
            (both[1].clone(), io::ErrorKind::AddrInUse)
        );
    }
}
