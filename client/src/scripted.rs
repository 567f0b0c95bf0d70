//! A broker for tests that follows a script, line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Maximum wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens on a port of its own, or at a path.
pub(crate) struct ScriptedBroker(Socket);

impl ScriptedBroker {
    pub(crate) fn start() -> Self {
        Self::bind(([127, 0, 0, 1], 0).into())
    }

    /// The same at an address that is free.
    pub(crate) fn bind(address: SocketAddr) -> Self {
        Self::listen(Domain::for_address(address), &address.into())
    }

    /// The same at a path where nothing is.
    pub(crate) fn at_path(path: &Path) -> Self {
        let address = SockAddr::unix(path).expect("a short path");
        Self::listen(Domain::UNIX, &address)
    }

    fn listen(domain: Domain, address: &SockAddr) -> Self {
        let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a new socket");
        socket.bind(address).expect("a free address");
        socket.listen(128).expect("a bound socket");
        Self(socket)
    }

    /// The address of its port.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.0.local_addr().expect("it is bound");
        address.as_socket().expect("it has a port")
    }

    /// Accepts the next client.
    pub(crate) fn accept(&self) -> Peer {
        let (stream, peer) = self.0.accept().expect("a client");
        if !peer.is_unix() {
            stream.set_tcp_nodelay(true).expect("an open socket");
        }
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("an open socket");
        Peer(BufReader::new(stream))
    }
}

/// The broker's side of a connection. Dropping it closes the connection.
pub(crate) struct Peer(BufReader<Socket>);

impl Peer {
    /// Reads a line of the client, without its end; empty when the client has closed.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("a line in time");
        line.pop_if(|last| *last == b'\n');
        line
    }

    /// Reads a line and compares it.
    pub(crate) fn expect(&mut self, line: &str) -> &mut Self {
        assert_eq!(String::from_utf8_lossy(&self.line()), line);
        self
    }

    /// Expects that the client closes and sends nothing before.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A client that closes with unread data resets the connection; that is an end too.
        let _ = self.0.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Sends one line.
    pub(crate) fn say(&mut self, line: &str) -> &mut Self {
        self.send(format!("{line}\n").as_bytes())
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.get_mut().write_all(bytes).expect("a client");
        self
    }
}
