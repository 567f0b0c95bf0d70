//! How the address of a server becomes a connection.
//!
//! An address is `HOST:PORT`, or `unix:` and the path of a socket in the file system, which has no TLS.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::clock;
use crate::error::Error;
use crate::tls::{Tls, TlsStream};
use crate::transport::Transport;

/// The text before the path of a socket.
const UNIX: &str = "unix:";

/// A timeout of zero means none to the kernel.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// Connects to `unix:PATH`, or to the first address of a `HOST:PORT` that answers, each within
/// `timeout`, and does the handshake of `tls` within as much time. Small writes are not held back.
///
/// This is for programs that speak a protocol of their own, such as a load generator;
/// [`Client`](crate::Client) connects by itself.
pub fn dial(
    server: impl ToSocketAddrs + Display,
    timeout: Duration,
    tls: Option<&Tls>,
) -> Result<Transport, Error> {
    let name = server.to_string();
    let opened = match (path_in(&name), tls) {
        (Some(path), _) => connect_to_path(path, timeout).map(Transport::plain),
        (None, None) => connect_to_any(server, timeout).map(Transport::plain),
        (None, Some(tls)) => connect_to_any(server, timeout).and_then(|socket| {
            let deadline = clock::after(timeout);
            TlsStream::open(socket, &name, tls, deadline).map(Transport::tls)
        }),
    };
    opened.map_err(|why| Error::unreachable(name, why))
}

fn connect_to_any(server: impl ToSocketAddrs, timeout: Duration) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match connect(address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The path in the address of a socket in the file system.
pub(crate) fn path_in(server: &str) -> Option<&Path> {
    server.strip_prefix(UNIX).map(Path::new)
}

fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.connect_timeout(&address.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn connect_to_path(path: &Path, timeout: Duration) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // With a full backlog, `connect` waits as long as a send may wait (unix(7)); without waiting it
    // fails, and no poll tells when to try again.
    socket.set_write_timeout(Some(timeout.max(LEAST_TIMEOUT)))?;
    loop {
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(explained(path, error)),
        }
    }
    socket.set_write_timeout(None)?;
    Ok(socket)
}

/// The error of a connection to this path, where that of the system does not say what is wrong.
fn explained(path: &Path, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        // A file of any other type refuses connections, too.
        io::ErrorKind::ConnectionRefused
            if fs::metadata(path).is_ok_and(|it| !it.file_type().is_socket()) =>
        {
            io::Error::new(io::ErrorKind::InvalidInput, "not a socket")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::scripted::ScriptedBroker;
    use crate::{Client, Options};

    const WAIT: Duration = Duration::from_millis(50);

    fn dialed(path: &Path) -> io::Result<Transport> {
        match dial(format!("unix:{}", path.display()), WAIT, None) {
            Err(Error::Unreachable { why, .. }) => Err(why),
            dialed => Ok(dialed.expect("it is no other error")),
        }
    }

    #[test]
    fn a_path_is_dialed_and_its_errors_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a path of its own");
        dialed(&path).expect("a listener");
        drop(listener);
        let kind = |path: &Path| dialed(path).expect_err("no listener").kind();
        assert_eq!(kind(&path), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(&folder.path().join("none")), io::ErrorKind::NotFound);
        let file = folder.path().join("file");
        fs::write(&file, "").expect("room");
        for path in [&*file, folder.path()] {
            let error = dialed(path).expect_err("no socket");
            assert_eq!(error.to_string(), "not a socket");
        }
        let datagrams = folder.path().join("datagrams");
        let _other = UnixDatagram::bind(&datagrams).expect("a path of its own");
        assert!(dialed(&datagrams).is_err());
        let long = folder.path().join("x".repeat(120));
        assert_eq!(kind(&long), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_client_connects_to_a_path_also_in_a_websocket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let server = format!("unix:{}", path.display());
        let broker = ScriptedBroker::at_path(&path);
        let script = thread::spawn(move || {
            broker.accept().expect("PUBLISH a x").say("PUBACK 1 7");
            let mut peer = broker.accept();
            peer.expect("GET /ws HTTP/1.1\r");
            peer.expect("Host: localhost\r");
        });
        let mut client = Client::connect(&*server).expect("a connection");
        assert_eq!(client.publish("a", "x").expect("a receipt"), 7);
        let options = Options {
            websocket: Some("/ws".to_owned()),
            ..Options::default()
        };
        let refused = Client::connect_with(&*server, &options).expect_err("no answer");
        assert!(
            refused
                .to_string()
                .starts_with(&format!("no broker at {server} ("))
        );
        script.join().expect("the script was played");
    }

    #[test]
    fn a_listener_that_accepts_no_connection_is_waited_for_as_long_as_was_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = SockAddr::unix(&path).expect("a short path");
        listener.bind(&address).expect("a path of its own");
        listener.listen(0).expect("a bound socket");
        let _accepted_by_the_kernel = dialed(&path).expect("room for one");
        let begin = Instant::now();
        let error = dialed(&path).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= WAIT, "{:?}", begin.elapsed());
    }
}
