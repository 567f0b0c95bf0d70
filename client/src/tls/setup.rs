//! What TLS is to be like: its options, and the files that they name, which are read once for all
//! connections.
//!
//! Sessions are not resumed, so that each connection looks at the certificate of its broker.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::fingerprint::Fingerprint;
use super::verifier::Verifier;
use crate::printable::{printable, reason};

/// Which certificates a client takes, and the one that it shows. Without an authority and without a
/// fingerprint, those count that this machine trusts.
///
/// ```no_run
/// use client::{Client, Options, Tls, TlsOptions};
///
/// let tls = Tls::new(&TlsOptions {
///     ca: Some("ca.pem".into()),
///     ..TlsOptions::default()
/// })?;
/// let options = Options { tls: Some(tls), ..Options::default() };
/// let client = Client::connect_with("broker.lan:1373", &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A file in PEM with the certificates of the authorities to trust, in place of those that this
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// Two files in PEM: the certificate of this client with those of its issuers, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Takes the certificate with this fingerprint and no other one, whatever its issuer, its names and
    /// its dates are. With `ca` the certificate has to pass both.
    pub fingerprint: Option<Fingerprint>,
    /// The name that the certificate has to be for, if it is not the host of the address.
    pub server_name: Option<String>,
}

/// TLS as its options say, with their files read.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// Checks issuers, names and dates; `None` if the fingerprint is all that counts.
    chains: Option<Arc<WebPkiServerVerifier>>,
    fingerprint: Option<Fingerprint>,
    server_name: Option<ServerName<'static>>,
    alpn: Option<&'static str>,
}

/// Why options of TLS cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSetupError(String);

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsSetupError {}

impl Tls {
    /// Reads the files that the options name.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not have what it should, a key that is not that of the
    /// certificate, a name that no certificate can have.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(ring::default_provider());
        let is_pinned = options.fingerprint.is_some() && options.ca.is_none();
        let chains = match is_pinned {
            true => None,
            false => Some(chains(options.ca.as_deref(), &provider)?),
        };
        let server_name = options
            .server_name
            .as_deref()
            .map(server_name)
            .transpose()?;
        Ok(Self {
            config: Arc::new(config(&provider, options.certificate.as_ref())?),
            chains,
            fingerprint: options.fingerprint,
            server_name,
            alpn: None,
        })
    }

    /// The same, which offers this protocol for what is spoken inside (ALPN, RFC 7301): `dallal` for
    /// lines, `mqtt` or `http/1.1`. A server that knows ALPN, and does not speak it there, refuses.
    #[must_use]
    pub fn with_alpn(&self, protocol: &'static str) -> Self {
        Self {
            alpn: Some(protocol),
            ..self.clone()
        }
    }

    /// The name that the certificate of the server at this `HOST:PORT` has to be for.
    pub(super) fn name_of(&self, server: &str) -> io::Result<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let (host, _) = server.rsplit_once(':').unwrap_or((server, ""));
        let inside = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        server_name(inside.unwrap_or(host))
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// The settings of one connection, with a verifier that knows what that connection was shown.
    pub(super) fn connection_config(&self) -> (Arc<ClientConfig>, Arc<Verifier>) {
        let verifier = Arc::new(Verifier::new(
            self.chains.clone(),
            self.fingerprint,
            self.config.crypto_provider(),
        ));
        let mut config = (*self.config).clone();
        let alpn = self.alpn.iter();
        config.alpn_protocols = alpn.map(|alpn| alpn.as_bytes().to_vec()).collect();
        config
            .dangerous()
            .set_certificate_verifier(verifier.clone());
        (Arc::new(config), verifier)
    }
}

/// The settings that all connections share.
fn config(
    provider: &Arc<CryptoProvider>,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, TlsSetupError> {
    let placeholder = Verifier::new(None, None, provider);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(placeholder));
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let der = PrivateKeyDer::from_pem_file(key)
                .map_err(|why| unreadable(key, "no key without a passphrase", &why))?;
            let built = builder.with_client_auth_cert(chain, der);
            built.map_err(|why| bad_pair(certificate, key, &why))?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Checks certificates against these authorities, or against those of this machine.
fn chains(
    ca: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|why| {
                    let path = path.display();
                    TlsSetupError(format!(
                        "{path} has a certificate that cannot be read ({why})"
                    ))
                })?;
            }
        }
        None => {
            // A certificate of the system that is damaged does not matter to the others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let why = "this machine trusts no authority; install its package `ca-certificates`, or give \
                   the file of one";
        return Err(TlsSetupError(why.to_owned()));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|why| TlsSetupError(format!("these authorities cannot be used ({why})")))
}

/// All certificates of a file in PEM.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(unreadable(
            path,
            "no certificate",
            &pem::Error::NoItemsFound,
        )),
        read => read.map_err(|why| unreadable(path, "no certificate", &why)),
    }
}

/// The error for a file in PEM; `missing` is what it does not have, if it has nothing.
fn unreadable(path: &Path, missing: &str, why: &pem::Error) -> TlsSetupError {
    let path = path.display();
    TlsSetupError(match why {
        pem::Error::Io(why) => format!("cannot read {path} ({})", reason(why)),
        pem::Error::NoItemsFound => format!("{path} has {missing} in PEM"),
        why => format!("{path} is not PEM ({})", printable(&why.to_string())),
    })
}

fn bad_pair(certificate: &Path, key: &Path, why: &rustls::Error) -> TlsSetupError {
    let (certificate, key) = (certificate.display(), key.display());
    TlsSetupError(match why {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key in {key} is not that of the certificate in {certificate}")
        }
        why => format!("{certificate} and {key} cannot be used ({why})"),
    })
}

/// A host as a certificate names it.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsSetupError> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let host = printable(host);
        TlsSetupError(format!("no certificate can be for the name {host:?}"))
    })
}
