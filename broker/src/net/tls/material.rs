//! The files of TLS: read as a whole, checked, and made into what a handshake needs.
//!
//! Everything that is wrong is told at once, each mistake with the file that has it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, SupportedProtocolVersion};

use super::certificate::{host_names, valid_time};
use super::chosen::CertificatesByName;
use super::clients::{ClientCheck, RevokedCertificates, read_check};
use super::pem::PemFiles;
use super::provider;
use super::settings::{TlsConfig, TlsVersion};

/// The protocols that a client may agree on (ALPN, RFC 7301), the preferred first. The last is for lines.
pub(crate) const MQTT: &[u8] = b"mqtt";
pub(crate) const HTTP: &[u8] = b"http/1.1";
pub(crate) const LINES: &[u8] = b"dallal";

/// What the files have.
pub(crate) struct TlsMaterial {
    /// What each handshake begins with.
    pub(crate) server: Arc<ServerConfig>,
    /// The names of hosts in the certificates.
    pub(crate) names: Vec<String>,
    /// The certificate that ends first, and when.
    pub(crate) ends: (Box<Path>, Timestamp),
    /// Certificates of clients that are good no more.
    pub(crate) revoked: Arc<RevokedCertificates>,
    /// Differs where the files do, or what is configured of them.
    pub(super) digest: [u8; 32],
}

/// A certificate with its key.
struct Pair {
    certified: CertifiedKey,
    names: Vec<String>,
    end: Timestamp,
}

impl TlsMaterial {
    /// Reads all files at once. The error is each mistake, with its file and what to do.
    pub(crate) fn read(config: &TlsConfig, now: Timestamp) -> Result<Self, Vec<String>> {
        let mut files = PemFiles::new(config);
        let (mut mistakes, mut pairs) = (Vec::new(), Vec::new());
        let mut ends: Option<(Box<Path>, Timestamp)> = None;
        let mut names = Vec::new();
        for (cert, key) in config.certs.iter().zip(&config.keys) {
            match read_pair(&mut files, (cert, key), now) {
                Ok(pair) => {
                    if ends.as_ref().is_none_or(|(_, end)| pair.end < *end) {
                        ends = Some((cert.as_path().into(), pair.end));
                    }
                    names.extend(pair.names);
                    pairs.push(Arc::new(pair.certified));
                }
                Err(why) => mistakes.extend(why),
            }
        }
        let check = read_check(config, &mut files);
        let check = check.map_err(|why| mistakes.extend(why));
        let (Ok(check), Some(ends), true) = (check, ends, mistakes.is_empty()) else {
            return Err(mistakes);
        };
        let no_check = || ClientCheck {
            verifier: WebPkiClientVerifier::no_client_auth(),
            revoked: RevokedCertificates::default(),
        };
        let ClientCheck { verifier, revoked } = check.unwrap_or_else(no_check);
        let server = server_config(config, pairs, verifier)
            .map_err(|why| vec![format!("TLS cannot be set up: {why}")])?;
        Ok(Self {
            server: Arc::new(server),
            names,
            ends,
            revoked: Arc::new(revoked),
            digest: files.digest(),
        })
    }
}

fn server_config(
    config: &TlsConfig,
    pairs: Vec<Arc<CertifiedKey>>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Error> {
    let versions: &[&SupportedProtocolVersion] = match config.min {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider::provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(CertificatesByName(pairs)));
    server.ignore_client_order = true;
    server.ticketer = provider::ticketer()?;
    server.alpn_protocols = [MQTT, HTTP, LINES].map(<[u8]>::to_vec).to_vec();
    Ok(server)
}

fn read_pair(
    files: &mut PemFiles,
    (cert, key): (&Path, &Path),
    now: Timestamp,
) -> Result<Pair, Vec<String>> {
    let chain = read_chain(files, cert, now);
    let private = files.key(key);
    let ((chain, end), private) = match (chain, private) {
        (Ok(chain), Ok(private)) => (chain, private),
        (chain, private) => {
            let mistakes = chain.err().into_iter().chain(private.err());
            return Err(mistakes.collect());
        }
    };
    let told = |why: String| vec![format!("{}: {why}", cert.display())];
    let names = host_names(&chain[0]).map_err(told)?;
    let certified = provider::certified_key(chain, private).map_err(|why| {
        vec![match why {
            Error::InconsistentKeys(_) => format!(
                "{} does not fit {}: it is the key of another certificate",
                key.display(),
                cert.display()
            ),
            why => format!("{} cannot be used: {why}", key.display()),
        }]
    })?;
    Ok(Pair {
        certified,
        names,
        end,
    })
}

/// The certificates of a file, of which the first is that of the server, and when the first of them ends.
fn read_chain(
    files: &mut PemFiles,
    path: &Path,
    now: Timestamp,
) -> Result<(Vec<CertificateDer<'static>>, Timestamp), String> {
    let chain = files.certificates(path, "a file with a certificate")?;
    let shown = path.display();
    let mut end = Timestamp::MAX;
    for (number, certificate) in chain.iter().enumerate() {
        let valid = valid_time(certificate).and_then(|time| time.check(now).map(|()| time));
        let valid = valid.map_err(|why| match number {
            0 => format!("{shown}: {why}"),
            number => format!("{shown}: of certificate {} in it, {why}", number + 1),
        })?;
        end = end.min(valid.end);
    }
    Ok((chain, end))
}
