//! A client that talks in TLS, in lines or in bytes, and can do in TLS what others do not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::PATIENCE;
use crate::certificates::Files;

/// What a client offers in its handshakes. Tickets are kept for the next ones.
#[derive(Clone)]
pub struct TlsOffer(Arc<ClientConfig>);

/// A connection in TLS. What does not come in time fails the test.
pub struct TlsClient(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsOffer {
    /// All versions; `ca` signs the broker's certificate.
    pub fn new(ca: &Path) -> Self {
        Self::with(ca, None, &[], false)
    }

    /// With a certificate, protocols inside (ALPN), and TLS 1.2 alone or not.
    pub fn with(ca: &Path, own: Option<&Files>, inside: &[&str], is_1_2: bool) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(ca).expect("a certificate");
        roots.add(ca).expect("an authority");
        let versions = match is_1_2 {
            true => vec![&TLS12],
            false => vec![&TLS13, &TLS12],
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let cert = CertificateDer::from_pem_file(&files.cert).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
                builder
                    .with_client_auth_cert(vec![cert], key)
                    .expect("they fit")
            }
        };
        config.alpn_protocols = inside.iter().map(|it| it.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// The same, but each handshake is a whole one.
    pub fn without_tickets(&self) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// A connection whose handshake has not begun.
    #[track_caller]
    pub fn begin(&self, address: SocketAddr) -> TlsClient {
        TlsClient(BufReader::new(
            self.open(address, "localhost").expect("it listens"),
        ))
    }

    /// Connects and carries out the handshake. The error is what the broker says.
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsClient> {
        let mut stream = self.open(address, name)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsClient(BufReader::new(stream)))
    }

    fn open(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(tls, tcp))
    }

    /// The same; an error fails the test.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> TlsClient {
        let connected = self.try_connect(address, "localhost");
        connected.unwrap_or_else(|err| panic!("no connection in TLS to {address}: {err}"))
    }
}

impl TlsClient {
    /// The state of TLS.
    pub fn tls(&mut self) -> &mut ClientConnection {
        &mut self.0.get_mut().conn
    }

    /// The state of TLS, and the socket below.
    pub fn parts(&mut self) -> (&mut ClientConnection, &mut TcpStream) {
        let stream = self.0.get_mut();
        (&mut stream.conn, &mut stream.sock)
    }

    /// Sends a line and its LF.
    #[track_caller]
    pub fn send(&mut self, line: &str) -> &mut Self {
        self.write(format!("{line}\n").as_bytes())
    }

    /// The same; an error is what the broker says.
    pub fn try_send(&mut self, line: &str) -> io::Result<()> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{line}\n").as_bytes())?;
        stream.flush()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) -> &mut Self {
        let stream = self.0.get_mut();
        let written = stream.write_all(bytes).and_then(|()| stream.flush());
        written.unwrap_or_else(|err| panic!("the broker does not take what is sent: {err}"));
        self
    }

    /// The next line without its LF; none at the end that TLS announces.
    pub fn try_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let len = self.0.read_line(&mut line)?;
        line.truncate(line.trim_end_matches('\n').len());
        Ok((len > 0).then_some(line))
    }

    /// The next line is this.
    #[track_caller]
    pub fn expect(&mut self, line: &str) -> &mut Self {
        match self.try_line() {
            Ok(came) => assert_eq!(came.as_deref(), Some(line)),
            Err(err) => panic!("{line:?} does not come: {err}"),
        }
        self
    }

    /// The connection ends, with the announcement of TLS.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.try_line() {
            Ok(came) => assert_eq!(came, None),
            Err(err) => panic!("the end is not announced: {err}"),
        }
    }

    /// All that comes to the end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let read = self.0.read_to_end(&mut all);
        read.unwrap_or_else(|err| panic!("the end is not announced: {err}"));
        all
    }

    /// Ends TLS as one should, and goes on reading.
    #[track_caller]
    pub fn end(&mut self) -> &mut Self {
        let stream = self.0.get_mut();
        stream.conn.send_close_notify();
        let written = stream.conn.write_tls(&mut stream.sock);
        written.expect("the socket is open");
        self
    }

    /// Ends the connection without a word in TLS.
    pub fn cut(mut self) {
        let _ = self.parts().1.shutdown(Shutdown::Both);
    }
}
