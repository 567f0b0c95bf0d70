//! A socket with TLS on it, which reads and writes as the socket alone would.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use socket2::Socket;

use super::error::{TlsError, TlsFailure};
use super::setup::Tls;
use super::verifier::Verifier;

/// How much is taken off the socket at once: a record of TLS, nearly.
const READ_BYTES: usize = 16 * 1024;

/// A timeout of zero means none to the kernel.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// A connection over TLS. The handshake is over when there is one.
pub(crate) struct TlsStream {
    connection: ClientConnection,
    socket: BufReader<Socket>,
    server: String,
    /// What ended it, told after everything that had arrived before.
    failure: Option<rustls::Error>,
    /// Whether there may be something to read of which a poll of the socket knows nothing.
    may_hold: bool,
    /// Whether the sending side is shut down once all has been sent.
    is_ending: bool,
    /// Tells what the server has shown.
    verifier: Arc<Verifier>,
}

impl TlsStream {
    /// Does the handshake with the server at this `HOST:PORT` until `deadline`.
    pub(crate) fn open(
        socket: Socket,
        server: &str,
        tls: &Tls,
        deadline: Instant,
    ) -> io::Result<Self> {
        let name = tls.name_of(server)?;
        let (config, verifier) = tls.connection_config();
        let mut stream = Self {
            connection: ClientConnection::new(config, name).map_err(io::Error::other)?,
            socket: BufReader::with_capacity(READ_BYTES, socket),
            server: server.to_owned(),
            failure: None,
            may_hold: true,
            is_ending: false,
            verifier,
        };
        stream.shake_hands(deadline)?;
        Ok(stream)
    }

    fn shake_hands(&mut self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = Some(left.max(LEAST_TIMEOUT));
            self.socket().set_read_timeout(left)?;
            self.socket().set_write_timeout(left)?;
            let step = match self.connection.wants_write() {
                true => self.flush(),
                false if !self.connection.is_handshaking() => break,
                false => self.take_in(),
            };
            match step {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(error.kind(), CLOSED_IN_HANDSHAKE));
                }
                Err(error) if is_passing(&error) => {}
                step => step?,
            }
        }
        self.socket().set_read_timeout(None)?;
        self.socket().set_write_timeout(None)
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &Socket {
        self.socket.get_ref()
    }

    pub(crate) fn may_hold(&self) -> bool {
        self.may_hold
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.connection.wants_write()
    }

    /// Says that no more is sent, and shuts down the sending side once that has left.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.is_ending = true;
        self.flush()
    }

    /// Takes in what the socket has, and sends what TLS itself answers to it.
    fn take_in(&mut self) -> io::Result<()> {
        if self.failure.is_none() {
            if self.connection.read_tls(&mut self.socket)? == 0 && self.connection.is_handshaking()
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.failure = self.connection.process_new_packets().err();
        }
        let Some(failure) = &self.failure else {
            return match self.flush() {
                Err(error) if !is_passing(&error) => Err(error),
                _ => Ok(()),
            };
        };
        let is_handshake = self.connection.is_handshaking();
        let failure = match TlsFailure::of(failure, self.verifier.shown(), is_handshake) {
            Some(failure) => io::Error::new(
                io::ErrorKind::InvalidData,
                TlsError {
                    server: self.server.clone(),
                    failure,
                },
            ),
            None => io::Error::new(io::ErrorKind::InvalidData, failure.clone()),
        };
        // The peer is told why. If it does not read that, nothing is lost.
        let _ = self.flush();
        Err(failure)
    }

    /// Decrypted bytes into `chunk`, until it is full or the next read would take bytes off the socket.
    fn read_ready(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            match self.connection.reader().read(&mut chunk[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(n) => filled += n,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    // An end without a word of TLS shows at the next read.
                    return if filled > 0 {
                        Ok(filled)
                    } else {
                        Err(in_own_words(error))
                    };
                }
                Err(_) if filled > 0 && self.socket.buffer().is_empty() => return Ok(filled),
                Err(_) => match self.take_in() {
                    Err(_) if filled > 0 => return Ok(filled),
                    taken => taken?,
                },
            }
        }
    }

    /// Whether the next read has something to return without the socket.
    fn holds(&mut self) -> bool {
        let mut reader = self.connection.reader();
        // The end that the peer has told is something to return, too.
        let is_ready = match reader.fill_buf() {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        is_ready || !self.socket.buffer().is_empty() || self.failure.is_some()
    }
}

/// What a user is told of a server that closes instead of an answer to the first word of TLS.
const CLOSED_IN_HANDSHAKE: &str = "closed in the handshake of TLS; it may not speak TLS";

/// What a user is told of an end that TLS has not announced: anything in between could have made it.
const UNANNOUNCED: &str = "it ended without an announcement in TLS (close_notify)";

/// The library names an address of its manual there.
fn in_own_words(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, UNANNOUNCED),
        _ => error,
    }
}

/// Whether a later attempt may succeed.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Read for TlsStream {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let read = self.read_ready(chunk);
        self.may_hold = match &read {
            Ok(_) => self.holds(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        read
    }
}

impl Write for TlsStream {
    /// Takes bytes only once all earlier ones have left, so that few are encrypted and not sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.connection.writer().write(bytes)?;
        match self.flush() {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(self.socket.get_mut()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.is_ending) {
            return self.socket().shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

impl Drop for TlsStream {
    /// Without a word of TLS the end of a connection looks like one that was cut.
    fn drop(&mut self) {
        self.connection.send_close_notify();
        let _ = self.connection.write_tls(self.socket.get_mut());
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread::{self, JoinHandle};

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustix::event::{PollFd, PollFlags};
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::poll::poll;
    use crate::tls::{Fingerprint, TlsOptions};

    const WAIT: Duration = Duration::from_secs(10);

    /// A connection whose other end does this.
    fn stream(
        serve: impl FnOnce(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
    ) -> (TlsStream, JoinHandle<()>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("random bytes");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("suites")
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = config.with_single_cert(vec![cert.der().clone()], key);
        let config = Arc::new(config.expect("a key that fits"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            let connection = ServerConnection::new(config).expect("a configuration");
            serve(StreamOwned::new(connection, socket));
        });
        let options = TlsOptions {
            fingerprint: Some(Fingerprint::of(cert.der())),
            ..TlsOptions::default()
        };
        let tls = Tls::new(&options).expect("no files");
        let socket = TcpStream::connect(address).expect("a server").into();
        let deadline = Instant::now() + WAIT;
        let stream = TlsStream::open(socket, &address.to_string(), &tls, deadline);
        let stream = stream.expect("a handshake");
        stream.socket().set_nonblocking(true).expect("a socket");
        (stream, server)
    }

    /// Reads to the end as one does who polls the socket, in pieces of this size.
    fn read_to_end(stream: &mut TlsStream, piece: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut chunk) = (Vec::new(), vec![0; piece]);
        let deadline = Instant::now() + WAIT;
        loop {
            if !stream.may_hold() {
                let mut fds = [PollFd::new(stream.socket(), PollFlags::IN)];
                let ready = poll(&mut fds, Some(deadline))?;
                assert!(ready > 0, "it waits, and all has come");
            }
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(all),
                Ok(n) => all.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[test]
    fn what_came_with_the_end_is_read_before_it_and_no_poll_waits_for_it() {
        for (piece, record) in [
            (1, 100),
            (1, 9000),
            (1000, 9000),
            (16 * 1024, 9000),
            (1 << 20, 9000),
        ] {
            let bytes: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
            let expected = bytes.clone();
            let (sent, all_is_there) = mpsc::channel();
            let (mut stream, server) = stream(move |mut server| {
                server.flush().expect("a handshake");
                let mut records = Vec::new();
                for part in bytes.chunks(record) {
                    server.conn.writer().write_all(part).expect("room");
                    server.conn.write_tls(&mut records).expect("room");
                }
                server.conn.send_close_notify();
                server.conn.write_tls(&mut records).expect("room");
                server.sock.write_all(&records).expect("a client");
                sent.send(()).expect("a test");
                // The socket stays open until the client has left.
                let _ = server.read(&mut [0]);
            });
            all_is_there.recv().expect("a server");
            let read = read_to_end(&mut stream, piece).expect("an end");
            assert!(
                read == expected,
                "{} bytes in pieces of {piece}",
                read.len()
            );
            drop(stream);
            server.join().expect("no panic");
        }
    }

    #[test]
    fn an_end_that_tls_does_not_tell_is_an_error_after_what_came_before() {
        let (mut stream, server) = stream(|mut server| {
            server.write_all(b"half").expect("a client");
            server.sock.shutdown(Shutdown::Write).expect("a socket");
        });
        let mut chunk = [0; 64];
        stream.socket().set_nonblocking(false).expect("a socket");
        assert_eq!(stream.read(&mut chunk).expect("bytes"), 4);
        let error = stream.read(&mut chunk).expect_err("an end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), UNANNOUNCED);
        server.join().expect("no panic");
    }

    #[test]
    fn bytes_for_which_there_is_no_room_are_kept_and_the_end_comes_behind_them() {
        let (started, begin) = mpsc::channel();
        let (came, counted) = mpsc::channel();
        let (mut stream, server) = stream(move |mut server| {
            server.conn.complete_io(&mut server.sock).expect("a client");
            begin.recv().expect("a word from the test");
            let mut all = Vec::new();
            server.read_to_end(&mut all).expect("an end that TLS tells");
            assert!(all.iter().all(|&byte| byte == b'x'));
            came.send(all.len()).expect("a test");
        });
        let mut written = 0;
        let error = loop {
            match stream.write(&[b'x'; 100_000]) {
                Ok(n) => written += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(stream.is_flushing() && written > 0);
        assert!(stream.end().is_err(), "the rest waits");
        started.send(()).expect("a server");
        while stream.is_flushing() {
            let mut fds = [PollFd::new(stream.socket(), PollFlags::OUT)];
            poll(&mut fds, Some(Instant::now() + WAIT)).expect("a socket");
            let _ = stream.flush();
        }
        server.join().expect("all came");
        assert_eq!(counted.recv(), Ok(written));
    }
}
