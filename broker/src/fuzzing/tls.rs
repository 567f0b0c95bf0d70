//! TLS over a socket that passes on what a client says in any pieces, changed or cut; and the names in certificates.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Taken, limits};
use crate::engine::Engine;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::Outbox;
use crate::engine::session::clients::ClientRecord;
use crate::net::tls::clients::name_of;
use crate::net::tls::connection::TlsRead;
use crate::net::tls::material::TlsMaterial;
use crate::net::tls::server::{HandshakePeer, TlsServer};
use crate::net::tls::settings::{ClientNameSource, TlsConfig};
use crate::net::tls::stream::TlsStream;
use crate::wire::line;

/// The bytes of a certificate, behind one that selects where its name is looked for. The first place that has a name
/// decides, and one that is none is not passed over.
pub fn certificate(input: &[u8]) {
    let Some((&choice, der)) = input.split_first() else {
        return;
    };
    let mut sources = ClientNameSource::ALL.to_vec();
    sources.rotate_left(usize::from(choice % 3));
    if choice & 4 != 0 {
        sources.swap(1, 2);
    }
    let der = CertificateDer::from(der);
    let (first, all) = (name_of(&der, &sources[..1]), name_of(&der, &sources));
    match (&first, &all) {
        (Ok(first), Ok(all)) => assert_eq!(first, all),
        (Err(why), Ok(_)) => assert!(why.starts_with("it has no name"), "{why}"),
        (Ok(_), Err(why)) => panic!("{why}"),
        (Err(_), Err(_)) => {}
    }
    if let Ok(found) = all {
        let name = found.name.as_str();
        assert!(!name.contains(['/', '+', '#', '$', ' ', '\0']), "{name:?}");
    }
}

/// What a client does, from the first bytes of an input.
struct Plan<'a> {
    is_1_2: bool,
    has_certificate: bool,
    /// It speaks TLS, or says the rest of the input as it is.
    is_tls: bool,
    says_goodbye: bool,
    renews_keys: bool,
    /// Bytes that the socket passes on at a time.
    piece: usize,
    /// Plaintext that the broker takes at a time.
    room: usize,
    /// The byte that is changed, and how; nothing is without a change.
    change: (usize, u8),
    /// After so many bytes nothing more comes.
    cut: usize,
    said: &'a [u8],
}

impl<'a> Plan<'a> {
    fn of(input: &'a [u8]) -> Option<Self> {
        let (head, said) = input.split_first_chunk::<8>()?;
        let [choice, piece, room, at, at_low, change, cut, cut_low] = *head;
        let cut = u16::from_be_bytes([cut, cut_low]);
        Some(Self {
            is_1_2: choice & 1 != 0,
            has_certificate: choice & 2 != 0,
            is_tls: choice & 4 == 0,
            says_goodbye: choice & 8 == 0,
            renews_keys: choice & 16 != 0,
            piece: usize::from(piece) + 1,
            room: usize::from(room) + 1,
            change: (usize::from(u16::from_be_bytes([at, at_low])), change),
            cut: if cut == 0 { usize::MAX } else { cut.into() },
            said,
        })
    }

    /// All arrives as it was said.
    fn is_whole(&self) -> bool {
        self.is_tls && self.change.1 == 0 && self.cut == usize::MAX
    }
}

/// The client's side.
struct Speaker<'a> {
    scene: &'a TlsScene,
    socket: UnixStream,
    plan: &'a Plan<'a>,
    /// Bytes that have been passed on.
    passed: usize,
    heard: Vec<u8>,
}

impl<'a> Speaker<'a> {
    fn new(scene: &'a TlsScene, socket: UnixStream, plan: &'a Plan<'a>) -> Self {
        // What is changed may be half of something, for which the broker waits.
        let patience = if plan.is_whole() { 20_000 } else { 20 };
        let patience = Some(Duration::from_millis(patience));
        socket.set_read_timeout(patience).expect("a socket");
        Self {
            scene,
            socket,
            plan,
            passed: 0,
            heard: Vec::new(),
        }
    }

    /// What it has heard in the end.
    fn run(mut self) -> Vec<u8> {
        // An error is an end, which the other side sees as well.
        let _ = match self.plan.is_tls {
            true => self.speak(),
            false => self.pass(self.plan.said),
        };
        let _ = self.socket.shutdown(Shutdown::Both);
        self.heard
    }

    fn speak(&mut self) -> io::Result<()> {
        let config = self.scene.client(self.plan);
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            self.flush(&mut tls)?;
            if tls.is_handshaking() {
                self.take(&mut tls)?;
            }
        }
        let half = self.plan.said.len() / 2;
        for part in [&self.plan.said[..half], &self.plan.said[half..]] {
            tls.writer().write_all(part)?;
            self.flush(&mut tls)?;
            if self.plan.renews_keys && !self.plan.is_1_2 {
                tls.refresh_traffic_keys().map_err(io::Error::other)?;
            }
        }
        if self.plan.says_goodbye {
            tls.send_close_notify();
            self.flush(&mut tls)?;
        }
        self.socket.shutdown(Shutdown::Write)?;
        while self.take(&mut tls)? {}
        Ok(())
    }

    fn flush(&mut self, tls: &mut ClientConnection) -> io::Result<()> {
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records)?;
        }
        self.pass(&records)
    }

    /// Reads and decrypts. Returns whether there may be more.
    fn take(&mut self, tls: &mut ClientConnection) -> io::Result<bool> {
        let len = tls.read_tls(&mut self.socket)?;
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut plaintext)?;
        self.heard.append(&mut plaintext);
        match (len, tls.is_handshaking()) {
            (0, true) => Err(io::ErrorKind::UnexpectedEof.into()),
            (len, _) => Ok(len > 0),
        }
    }

    /// Passes bytes on, in pieces, changed and cut.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(self.plan.piece) {
            let mut piece = piece.to_vec();
            let (at, change) = self.plan.change;
            if let Some(byte) = at.checked_sub(self.passed).and_then(|at| piece.get_mut(at)) {
                *byte ^= change;
            }
            let left = self.plan.cut.saturating_sub(self.passed);
            piece.truncate(left);
            self.passed += piece.len();
            self.socket.write_all(&piece)?;
            if self.passed >= self.plan.cut {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

/// A broker with TLS that asks for certificates, and what its clients need.
pub struct TlsScene {
    server: TlsServer,
    /// Without and with a certificate, for each version.
    clients: [Arc<ClientConfig>; 4],
}

impl Default for TlsScene {
    fn default() -> Self {
        start()
    }
}

impl TlsScene {
    fn client(&self, plan: &Plan<'_>) -> Arc<ClientConfig> {
        self.clients[usize::from(plan.is_1_2) * 2 + usize::from(plan.has_certificate)].clone()
    }

    /// A client of TLS. What the broker takes for said is the beginning of what was said, and all of it where nothing was
    /// changed or cut; what it sends back arrives in the same way.
    pub fn play(&self, input: &[u8]) {
        let Some(plan) = Plan::of(input) else {
            return;
        };
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let (taken, heard) = thread::scope(|scope| {
            let client = scope.spawn(|| Speaker::new(self, theirs, &plan).run());
            let taken = self.serve(ours, &plan);
            (taken, client.join().expect("no panic"))
        });
        match taken {
            None => assert!(!plan.is_whole(), "the handshake of a good client fails"),
            Some((taken, is_closed)) => {
                assert!(plan.is_tls, "what is no TLS has become a connection");
                assert!(plan.said.starts_with(&taken));
                assert!(taken.starts_with(&heard));
                if plan.is_whole() {
                    assert_eq!((&*taken, &*heard), (plan.said, plan.said));
                    assert_eq!(is_closed, plan.says_goodbye);
                }
            }
        }
    }

    /// The broker's side: what it has understood, and whether the client has announced its end. None without a connection.
    fn serve(&self, socket: UnixStream, plan: &Plan<'_>) -> Option<(Vec<u8>, bool)> {
        let engine = Engine::new(limits()).expect("an engine");
        let sink = Taken::new(usize::MAX);
        let outbox = Outbox::new(
            1,
            1 << 20,
            engine.memory.clone(),
            &line::ENCODER,
            Box::new(sink),
        );
        let record = Arc::new(ClientRecord::new(outbox.into(), ([127, 0, 0, 1], 1).into()));
        let mut raw = ReadBuffer::new(&engine.memory);
        let accepted = self.server.accept(
            HandshakePeer {
                socket: socket.as_fd(),
                raw: &mut raw,
                peer: record.peer(),
                metrics: &engine.metrics,
                most: 1,
            },
            || false,
        );
        let accepted = accepted.ok()?;
        let name = accepted.certificate.as_ref().map(|it| it.name.as_str());
        assert_eq!(name, plan.has_certificate.then_some("press"));
        let stream = TlsStream::new(accepted.connection, raw, accepted.certificate, &record);
        let mut raw = stream.raw.lock();
        let (mut taken, mut back) = (Vec::new(), 0);
        let is_closed = loop {
            let mut room = Vec::with_capacity(plan.room);
            let (opened, has_to_say) = stream.open(&mut raw, &mut room);
            taken.append(&mut room);
            while back < taken.len() {
                match stream.send(&socket, &[IoSlice::new(&taken[back..])]) {
                    Ok(sent) => back += sent,
                    Err(_) => break,
                }
                assert!(stream.ahead() <= 64 * 1024, "{}", stream.ahead());
            }
            if has_to_say {
                let _ = stream.finish(&socket);
            }
            match opened {
                Ok(TlsRead::Bytes) => continue,
                Ok(TlsRead::Closed) => break true,
                Ok(TlsRead::More) => {}
                Err(_) => break false,
            }
            let buffer = raw.fill(1024).expect("there is memory");
            let mut bytes = [0; 1024];
            match (&socket).read(&mut bytes) {
                Ok(len @ 1..) => buffer.extend_from_slice(&bytes[..len]),
                _ => break false,
            }
        };
        // The client reads what waits only now.
        while back < taken.len() {
            match stream.send(&socket, &[IoSlice::new(&taken[back..])]) {
                Ok(sent) => back += sent,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                Err(_) => break,
            }
        }
        stream.close(&socket);
        Some((taken, is_closed))
    }
}

fn start() -> TlsScene {
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let sign = |name: SanType, usage| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &issuer).expect("a certificate"), key)
    };
    let host = SanType::DnsName("localhost".try_into().expect("a name"));
    let (cert, key) = sign(host, ExtendedKeyUsagePurpose::ServerAuth);
    let uri = SanType::URI("dallal:press".try_into().expect("an address"));
    let (own, own_key) = sign(uri, ExtendedKeyUsagePurpose::ClientAuth);
    let files = [
        ("ca", ca.pem()),
        ("cert", cert.pem()),
        ("key", key.serialize_pem()),
    ];
    let [ca_file, cert, key] = files.map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("room");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path
    });
    let config = TlsConfig {
        certs: vec![cert],
        keys: vec![key],
        client_ca: Some(ca_file),
        ..TlsConfig::default()
    };
    let material = TlsMaterial::read(&config, Timestamp::now()).expect("the files are right");
    let server = TlsServer::default();
    server.replace(Some(&material), &config).expect("threads");
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("an authority");
    let clients = [
        (&TLS13, false),
        (&TLS13, true),
        (&TLS12, false),
        (&TLS12, true),
    ];
    let clients = clients.map(|(version, has_certificate)| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.clone());
        let mut config = match has_certificate {
            false => builder.with_no_client_auth(),
            true => {
                let key = PrivateKeyDer::try_from(own_key.serialize_der()).expect("a key");
                let own = vec![own.der().clone()];
                builder.with_client_auth_cert(own, key).expect("they fit")
            }
        };
        // Each input is on its own.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    });
    TlsScene { server, clients }
}
