//! A broker for tests that follows a script, line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Maximum wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens on a port of its own.
pub(crate) struct ScriptedBroker(TcpListener);

impl ScriptedBroker {
    pub(crate) fn start() -> Self {
        Self::bind(([127, 0, 0, 1], 0).into())
    }

    /// The same at an address that is free.
    pub(crate) fn bind(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).expect("a free address"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Accepts the next client.
    pub(crate) fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().expect("a client");
        stream.set_nodelay(true).expect("an open socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("an open socket");
        Peer(BufReader::new(stream))
    }
}

/// The broker's side of a connection. Dropping it closes the connection.
pub(crate) struct Peer(BufReader<TcpStream>);

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
