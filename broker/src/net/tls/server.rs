//! The broker's side of handshakes: what is in force, the limits of handshakes under way, and their figures.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConfig;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use super::certificate::valid_time;
use super::certificate_name::CertificateName;
use super::clients::{RevokedCertificates, name_of};
use super::connection::TlsConnection;
use super::failure::HandshakeFailure;
use super::failure_log::FailureLog;
use super::handshake::{Handshake, READ_BYTES};
use super::material::TlsMaterial;
use super::settings::{ClientNameSource, TlsConfig, TlsMode};
use super::threads::HandshakeThreads;
use crate::auth::address::AddressBlock;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::peer::Peer;
use crate::engine::session::clients::ConnectionSecurity;
use crate::engine::stats::metrics::Metrics;

/// Maximum time for a whole handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// TLS of the broker, for all its connections.
#[derive(Default)]
pub(crate) struct TlsServer {
    in_force: RwLock<InForce>,
    under_way: Mutex<usize>,
    /// Signalled when a handshake has ended.
    ended: Condvar,
    failures: FailureLog,
}

#[derive(Clone)]
struct InForce {
    /// None without a certificate.
    server: Option<Arc<ServerConfig>>,
    mode: Option<TlsMode>,
    digest: [u8; 32],
    /// Where names are in the certificates of clients.
    name_sources: Arc<[ClientNameSource]>,
    /// Which of these are good no more.
    revoked: Arc<RevokedCertificates>,
    /// Started with the first certificate.
    threads: Option<Arc<HandshakeThreads>>,
}

impl Default for InForce {
    fn default() -> Self {
        Self {
            server: None,
            mode: None,
            digest: [0; 32],
            name_sources: Arc::new([]),
            revoked: Arc::default(),
            threads: None,
        }
    }
}

/// A client with which a handshake has come to its end.
pub(crate) struct AcceptedClient {
    pub(crate) connection: TlsConnection,
    pub(crate) security: ConnectionSecurity,
    pub(crate) certificate: Option<CertificateName>,
}

/// What a handshake needs of its connection.
pub(crate) struct HandshakePeer<'a> {
    pub(crate) socket: BorrowedFd<'a>,
    /// Has the first bytes, and in the end those behind the handshake.
    pub(crate) raw: &'a mut ReadBuffer,
    pub(crate) peer: Peer,
    pub(crate) metrics: &'a Metrics,
    /// Maximum handshakes under way.
    pub(crate) most: usize,
}

/// How a handshake has ended, if no connection came of it.
pub(crate) enum NoHandshake {
    /// There is no certificate.
    Off,
    /// The broker ends the connection.
    Stopping,
    /// It has failed, and that is told.
    Failed(String),
    /// It has failed, because the certificate of the client is refused or missing; that is told.
    BadCertificate(String),
}

impl TlsServer {
    /// Puts other certificates and another mode in force for the handshakes that begin from now on. With other
    /// files the tickets of clients that were here before are good no more. Returns whether they are others. An
    /// error changes nothing: the system has no thread.
    pub(crate) fn replace(
        &self,
        material: Option<&TlsMaterial>,
        config: &TlsConfig,
    ) -> io::Result<bool> {
        let mut in_force = self.in_force.write();
        if material.is_some() && in_force.threads.is_none() {
            in_force.threads = Some(Arc::new(HandshakeThreads::start()?));
        }
        in_force.mode = config.mode;
        let digest = material.map_or([0; 32], |material| material.digest);
        if digest == in_force.digest {
            return Ok(false);
        }
        in_force.digest = digest;
        in_force.name_sources = config.client_names.clone().into();
        in_force.server = material.map(|material| material.server.clone());
        in_force.revoked = material.map_or_else(Arc::default, |it| it.revoked.clone());
        Ok(true)
    }

    /// Whether clients must use TLS at a door that is on a loopback address or not.
    pub(crate) fn is_required(&self, on_loopback: bool) -> bool {
        let in_force = self.in_force.read();
        in_force.server.is_some() && TlsMode::is_required(in_force.mode, on_loopback)
    }

    /// Whether this certificate is revoked by the list in force, which may be newer than that of its handshake.
    pub(crate) fn has_revoked(&self, shown: &CertificateName) -> bool {
        self.in_force.read().revoked.has(shown)
    }

    /// Whether as many handshakes are under way as may be.
    pub(crate) fn is_crowded(&self, most: usize) -> bool {
        *self.under_way.lock() >= most
    }

    /// Ends the threads; handshakes that need them end.
    pub(crate) fn stop(&self) {
        let threads = self.in_force.read().threads.clone();
        if let Some(threads) = threads {
            threads.stop();
        }
    }

    /// Carries out the handshake of a client, within ten seconds. `is_to_end` says whether the broker ends the
    /// connection.
    pub(crate) fn accept(
        &self,
        newcomer: HandshakePeer<'_>,
        is_to_end: impl Fn() -> bool,
    ) -> Result<AcceptedClient, NoHandshake> {
        let InForce {
            server: Some(server),
            threads: Some(threads),
            name_sources,
            ..
        } = self.in_force.read().clone()
        else {
            return Err(NoHandshake::Off);
        };
        let HandshakePeer {
            socket,
            raw,
            peer,
            metrics,
            most,
        } = newcomer;
        let mut turns = HandshakeTurns {
            socket,
            threads: &threads,
            deadline: Instant::now() + HANDSHAKE_TIME,
            asked_for: None,
        };
        let place = self.take_place(most, turns.deadline);
        let done = match place {
            Some(_) => turns.run(server, raw),
            None => Err(HandshakeFailure::TooLong),
        };
        drop(place);
        let counts = &metrics.tls_handshakes;
        let failure = match done.and_then(check_time) {
            Ok(handshake) => {
                counts.ok.add(1);
                let connection = handshake.connection;
                let common = connection.common();
                let shown = common.peer_certificates();
                let shown = shown.and_then(<[CertificateDer<'_>]>::first);
                // The handshake fails without a name, so there is one.
                let certificate = shown.and_then(|shown| name_of(shown, &name_sources).ok());
                return Ok(AcceptedClient {
                    security: security(common, certificate.as_ref()),
                    connection,
                    certificate,
                });
            }
            Err(_) if is_to_end() => return Err(NoHandshake::Stopping),
            Err(failure) => failure,
        };
        match &failure {
            HandshakeFailure::Tls(_) | HandshakeFailure::Expired(_) | HandshakeFailure::Ended => {
                counts.failed.add(1)
            }
            HandshakeFailure::TooLong => counts.too_long.add(1),
            HandshakeFailure::Left | HandshakeFailure::Io(_) => counts.left.add(1),
        }
        let address = AddressBlock::of(peer.ip());
        if let Some(suppressed) = self.failures.say(address, Instant::now()) {
            let asked_for = turns
                .asked_for
                .map(|name| format!(", which asks for {name:?},"));
            log::info!(
                "TLS with {peer}{} fails: {failure}{suppressed}",
                asked_for.unwrap_or_default()
            );
        }
        let why = failure.to_string();
        Err(match failure.is_of_certificate() {
            true => NoHandshake::BadCertificate(why),
            false => NoHandshake::Failed(why),
        })
    }

    /// Waits until a handshake may begin.
    fn take_place(&self, most: usize, deadline: Instant) -> Option<HandshakePlace<'_>> {
        let mut under_way = self.under_way.lock();
        while *under_way >= most {
            if self.ended.wait_until(&mut under_way, deadline).timed_out() {
                return None;
            }
        }
        *under_way += 1;
        Some(HandshakePlace(self))
    }
}

/// A ticket lets a client in without another look at its certificate, and brings a new ticket: checks that the
/// certificate has not expired since.
fn check_time(handshake: Box<Handshake>) -> Result<Box<Handshake>, HandshakeFailure> {
    let connection = handshake.connection.common();
    if connection.handshake_kind() == Some(HandshakeKind::Resumed)
        && let Some([shown, ..]) = connection.peer_certificates()
    {
        let checked = valid_time(shown).and_then(|time| time.check(Timestamp::now()));
        checked.map_err(HandshakeFailure::Expired)?;
    }
    Ok(handshake)
}

/// What others may know of a connection with TLS.
fn security(connection: &CommonState, certificate: Option<&CertificateName>) -> ConnectionSecurity {
    let suite = connection.negotiated_cipher_suite();
    ConnectionSecurity {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        suite: suite.and_then(|it| it.suite().as_str()).unwrap_or_default(),
        certificate: certificate.map(|it| it.name.as_str().into()),
        identity: Default::default(),
    }
}

/// A handshake that counts, until it is dropped.
struct HandshakePlace<'a>(&'a TlsServer);

impl Drop for HandshakePlace<'_> {
    fn drop(&mut self) {
        *self.0.under_way.lock() -= 1;
        self.0.ended.notify_one();
    }
}

/// The turns of a handshake on the thread of its connection, which waits for the client and for the threads.
struct HandshakeTurns<'a> {
    socket: BorrowedFd<'a>,
    threads: &'a HandshakeThreads,
    deadline: Instant,
    /// The name that the client asks for (SNI).
    asked_for: Option<String>,
}

impl HandshakeTurns<'_> {
    /// Reads, has a step made and writes in turns.
    fn run(
        &mut self,
        server: Arc<ServerConfig>,
        raw: &mut ReadBuffer,
    ) -> Result<Box<Handshake>, HandshakeFailure> {
        let handshake = Handshake::new(server, raw.unread());
        let mut handshake = handshake.map_err(HandshakeFailure::Tls)?;
        let made = Arc::default();
        loop {
            let step = self.threads.step(handshake, &made, self.deadline);
            handshake = step.ok_or_else(|| self.without_result())?;
            if handshake.asked_for.is_some() {
                self.asked_for = handshake.asked_for.take();
            }
            // Alerts leave as well.
            let written = self.write(&handshake.records);
            let failure = handshake.failure.take().map(HandshakeFailure::Tls);
            failure.map_or(written, Err)?;
            if !handshake.connection.common().is_handshaking() {
                let is_room = put_back(&handshake.incoming, raw);
                return is_room.then_some(handshake).ok_or_else(no_memory);
            }
            self.read(&mut handshake.incoming)?;
        }
    }

    fn without_result(&self) -> HandshakeFailure {
        match Instant::now() >= self.deadline {
            true => HandshakeFailure::TooLong,
            false => HandshakeFailure::Ended,
        }
    }

    fn read(&self, incoming: &mut Vec<u8>) -> Result<(), HandshakeFailure> {
        incoming.reserve(READ_BYTES);
        loop {
            self.wait_for(PollFlags::IN)?;
            match recv(self.socket, spare_capacity(incoming), RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(HandshakeFailure::Left),
                Ok(_) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(err) => return Err(HandshakeFailure::Io(err.into())),
            }
        }
    }

    fn write(&self, mut records: &[u8]) -> Result<(), HandshakeFailure> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while !records.is_empty() {
            match send(self.socket, records, flags) {
                Ok(sent) => records = &records[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                Err(err) => return Err(HandshakeFailure::Io(err.into())),
            }
        }
        Ok(())
    }

    /// Waits until the socket can be read or written.
    fn wait_for(&self, what: PollFlags) -> Result<(), HandshakeFailure> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(left).expect("ten seconds fit into a Timespec");
            match poll(&mut [PollFd::new(&self.socket, what)], Some(&time)) {
                Ok(0) => return Err(HandshakeFailure::TooLong),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(err) => return Err(HandshakeFailure::Io(err.into())),
            }
        }
    }
}

/// Has `raw` contain these bytes alone. Returns whether there is memory for them.
fn put_back(mut bytes: &[u8], raw: &mut ReadBuffer) -> bool {
    raw.consume(raw.unread().len());
    // Else what was full would grow.
    raw.shrink();
    let most = bytes.len();
    while !bytes.is_empty() {
        let Some(room) = raw.fill(most) else {
            return false;
        };
        let len = bytes.len().min(room.capacity() - room.len());
        room.extend_from_slice(&bytes[..len]);
        bytes = &bytes[len..];
    }
    true
}

fn no_memory() -> HandshakeFailure {
    HandshakeFailure::Io(io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::budget::Memory;

    #[test]
    fn what_came_behind_a_handshake_is_put_back_whole_and_in_place_of_what_was_there() {
        let memory = Arc::new(Memory::new(1 << 20));
        for len in [0, 1, 512, 513, 64 * 1024, 64 * 1024 + 1, 200_000] {
            let mut raw = ReadBuffer::new(&memory);
            let room = raw.fill(512).expect("there is memory");
            room.extend_from_slice(&[b'x'; 512]);
            let bytes: Vec<u8> = (0..len)
                .map(|number: usize| number.to_le_bytes()[0])
                .collect();
            assert!(put_back(&bytes, &mut raw));
            assert!(raw.unread() == bytes, "{len}");
        }
        let mut raw = ReadBuffer::new(&Arc::new(Memory::new(1000)));
        assert!(put_back(&[0; 512], &mut raw) && raw.size() == 512);
        assert!(!put_back(&[0; 2000], &mut raw));
    }
}
