//! A server of TLS before a broker: it takes connections of TLS and passes on what is inside.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::certificates::{Authority, Files};

/// How a server of TLS behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsManners {
    /// It renews its keys after all that it passes on to a client.
    pub renews_keys: bool,
    /// It ends without a word of TLS.
    pub cuts: bool,
}

/// A listening server of TLS.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What clients offered, in the order of their handshakes.
    spoken: Mutex<Vec<String>>,
    /// The connections to the broker.
    passed_on: Mutex<Vec<TcpStream>>,
}

impl TlsFront {
    /// Passes on to `broker`, and shows this certificate. Clients have to show one of `clients`.
    pub fn start(
        broker: SocketAddr,
        certificate: &Files,
        clients: Option<&Authority>,
        manners: TlsManners,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let config = Arc::new(config(certificate, clients));
        let shared = Arc::<Shared>::default();
        let told = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let (config, told) = (Arc::clone(&config), Arc::clone(&told));
                thread::spawn(move || {
                    // A client that goes away ends its connection, and nothing else.
                    let _ = serve(client, broker, config, &told, manners);
                });
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients offered with ALPN since the last call, in the order of their handshakes.
    pub fn take_spoken(&self) -> Vec<String> {
        let spoken = self.shared.spoken.lock();
        std::mem::take(&mut *spoken.expect("no thread panics with the lock"))
    }

    /// Ends all connections of this moment.
    pub fn end_connections(&self) {
        let passed_on = self.shared.passed_on.lock();
        for broker in passed_on.expect("no thread panics with the lock").drain(..) {
            // It may have ended by itself.
            let _ = broker.shutdown(Shutdown::Both);
        }
    }
}

fn config(certificate: &Files, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("suites");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let own = CertificateDer::from_pem_file(authority.pem()).expect("a certificate");
            roots.add(own).expect("a certificate");
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("an authority"))
        }
    };
    let own = CertificateDer::from_pem_file(&certificate.cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let mut config = builder
        .with_single_cert(vec![own], key)
        .expect("a key that fits");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let known = ["dallal", "mqtt", "http/1.1"];
    config.alpn_protocols = known.map(|name| name.as_bytes().to_vec()).to_vec();
    config
}

fn serve(
    mut client: TcpStream,
    broker: SocketAddr,
    config: Arc<ServerConfig>,
    shared: &Shared,
    manners: TlsManners,
) -> io::Result<()> {
    let mut tls = ServerConnection::new(config).expect("a configuration");
    client.set_nodelay(true)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut client)?;
    }
    let alpn = tls.alpn_protocol().unwrap_or(b"none");
    let alpn = String::from_utf8_lossy(alpn).into_owned();
    let locked = shared.spoken.lock();
    locked.expect("no thread panics with the lock").push(alpn);
    let mut broker = TcpStream::connect(broker)?;
    let locked = shared.passed_on.lock();
    locked
        .expect("no thread panics with the lock")
        .push(broker.try_clone()?);
    broker.set_nodelay(true)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        // The handshake may have brought the first bytes, of which a poll knows nothing.
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut bytes = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut bytes)?;
        if broker.write_all(&bytes).is_err() {
            break;
        }
        if state.peer_has_closed() {
            broker.shutdown(Shutdown::Write)?;
            pass_rest(&mut broker, &mut tls, &mut client)?;
            break;
        }
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        let mut fds = [
            PollFd::new(&client, PollFlags::IN),
            PollFd::new(&broker, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        let is_ready = [0, 1].map(|at: usize| !fds[at].revents().is_empty());
        if is_ready[1] {
            match broker.read(&mut chunk) {
                // A reset is its end as well, and is announced to the client like any other.
                Ok(0) | Err(_) => break,
                Ok(n) => tls.writer().write_all(&chunk[..n])?,
            }
            if manners.renews_keys {
                tls.refresh_traffic_keys().map_err(io::Error::other)?;
            }
        }
        if is_ready[0] && tls.read_tls(&mut client)? == 0 {
            return broker.shutdown(Shutdown::Both);
        }
    }
    if !manners.cuts {
        tls.send_close_notify();
    }
    while tls.wants_write() {
        tls.write_tls(&mut client)?;
    }
    client.shutdown(Shutdown::Write)
}

/// What the broker still says to a client that says nothing more.
fn pass_rest(
    broker: &mut TcpStream,
    tls: &mut ServerConnection,
    client: &mut TcpStream,
) -> io::Result<()> {
    let mut rest = Vec::new();
    broker.read_to_end(&mut rest)?;
    for piece in rest.chunks(16 * 1024) {
        tls.writer().write_all(piece)?;
        while tls.wants_write() {
            tls.write_tls(client)?;
        }
    }
    Ok(())
}
