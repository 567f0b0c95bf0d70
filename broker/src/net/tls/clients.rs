//! Certificates of clients: whether they are taken, and the name in them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate_name::{CertificateName, IssuerDigest};
use super::pem::PemFiles;
use super::provider;
use super::settings::{ClientCertMode, ClientNameSource, TlsConfig};
use crate::auth::identity::IdentityName;

/// How a name is written as an address of a resource.
const NAME_SCHEME: &str = "dallal:";

/// The attribute of a subject that is its common name (X.520, `id-at-commonName`).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

const TWO_NAMES: &str = "it has two names";

/// Takes the certificates of the authorities that are configured, if there is a name in them.
#[derive(Debug)]
struct NamedClients {
    authorities: Arc<dyn ClientCertVerifier>,
    sources: Vec<ClientNameSource>,
}

/// Which certificates are revoked.
#[derive(Default)]
pub(crate) struct RevokedCertificates(Vec<(IssuerDigest, CertRevocationList<'static>)>);

/// Why there is no name in a certificate.
#[derive(Debug)]
struct NoName(String);

impl RevokedCertificates {
    pub(crate) fn has(&self, shown: &CertificateName) -> bool {
        let mut of_issuer = self.0.iter().filter(|(issuer, _)| *issuer == shown.issuer);
        of_issuer.any(|(_, list)| matches!(list.find_serial(&shown.serial), Ok(Some(_))))
    }
}

/// What checks the certificates of clients.
pub(super) struct ClientCheck {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) revoked: RevokedCertificates,
}

/// Reads what checks the certificates of clients. None if they are asked for none.
pub(super) fn read_check(
    config: &TlsConfig,
    files: &mut PemFiles,
) -> Result<Option<ClientCheck>, Vec<String>> {
    let Some(ca) = config
        .client_ca
        .as_deref()
        .filter(|_| config.asks_clients())
    else {
        return Ok(None);
    };
    let roots = read_roots(ca, files);
    let lists = config.client_crl.as_deref();
    let lists = lists.map(|path| read_lists(path, files)).transpose();
    let (roots, lists) = match (roots, lists) {
        (Ok(roots), Ok(lists)) => (roots, lists),
        (roots, lists) => return Err(roots.err().into_iter().chain(lists.err()).collect()),
    };
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider::provider());
    let mut revoked = RevokedCertificates::default();
    if let Some((lists, parsed)) = lists {
        revoked = parsed;
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if config.client_cert != Some(ClientCertMode::Required) {
        builder = builder.allow_unauthenticated();
    }
    let authorities = builder.build();
    let authorities =
        authorities.map_err(|why| vec![format!("{} cannot be used: {why}", ca.display())])?;
    let verifier = Arc::new(NamedClients {
        authorities,
        sources: config.client_names.clone(),
    });
    Ok(Some(ClientCheck { verifier, revoked }))
}

fn read_roots(ca: &Path, files: &mut PemFiles) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in files.certificates(ca, "a file with an authority")? {
        let added = roots.add(authority);
        added.map_err(|why| format!("{} has no authority: {why}", ca.display()))?;
    }
    Ok(roots)
}

/// The lists of a file, for the library and for living connections.
type RevocationLists = (
    Vec<CertificateRevocationListDer<'static>>,
    RevokedCertificates,
);

fn read_lists(path: &Path, files: &mut PemFiles) -> Result<RevocationLists, String> {
    let lists = files.revocation_lists(path)?;
    let mut revoked = RevokedCertificates::default();
    for list in &lists {
        let parsed = OwnedCertRevocationList::from_der(list);
        let parsed = parsed
            .map_err(|why| format!("{} has a list that cannot be read: {why}", path.display()))?;
        let parsed = CertRevocationList::from(parsed);
        revoked.0.push((IssuerDigest::of(parsed.issuer()), parsed));
    }
    Ok((lists, revoked))
}

/// The name in a certificate that has been checked, by the first source that it has.
pub(crate) fn name_of(
    certificate: &CertificateDer<'_>,
    sources: &[ClientNameSource],
) -> Result<CertificateName, String> {
    let unreadable = |why: &dyn fmt::Display| format!("it cannot be read: {why}");
    let parsed = EndEntityCert::try_from(certificate).map_err(|why| unreadable(&why))?;
    let mut found = None;
    for source in sources {
        found = match source {
            ClientNameSource::Uri => {
                let ours = parsed.valid_uri_names();
                only(
                    ours.filter_map(|uri| uri.strip_prefix(NAME_SCHEME))
                        .map(str::to_owned),
                )?
            }
            ClientNameSource::Dns => first_host(certificate)?,
            ClientNameSource::CommonName => common_name(certificate)?,
        };
        if found.is_some() {
            break;
        }
    }
    let found = found.ok_or("it has no name where --client-name looks for one")?;
    let name = found.parse::<IdentityName>();
    Ok(CertificateName {
        name: name.map_err(|why| format!("its name {found:?} is none: {why}"))?,
        issuer: IssuerDigest::of(parsed.issuer()),
        serial: parsed.serial().into(),
    })
}

/// The one name there is, if there is one.
fn only(mut names: impl Iterator<Item = String>) -> Result<Option<String>, String> {
    let first = names.next();
    match names.next() {
        None => Ok(first),
        Some(_) => Err(TWO_NAMES.to_owned()),
    }
}

/// The first name of a host, also one that no host can have: it must not be passed over for another name.
fn first_host(certificate: &CertificateDer<'_>) -> Result<Option<String>, String> {
    let unreadable = |why: &dyn fmt::Display| format!("it cannot be read: {why}");
    let parsed = Certificate::from_der(certificate).map_err(|why| unreadable(&why))?;
    let names = parsed.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.map_err(|why| unreadable(&why))?;
    let names = names.into_iter().flat_map(|(_, names)| names.0);
    let mut hosts = names.filter_map(|name| match name {
        GeneralName::DnsName(host) => Some(host.as_str().to_owned()),
        _ => None,
    });
    Ok(hosts.next())
}

fn common_name(certificate: &CertificateDer<'_>) -> Result<Option<String>, String> {
    let parsed = Certificate::from_der(certificate);
    let parsed = parsed.map_err(|why| format!("it cannot be read: {why}"))?;
    let subject = parsed.tbs_certificate().subject();
    let mut common = subject
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME);
    if common.nth(1).is_some() {
        return Err(TWO_NAMES.to_owned());
    }
    // An error is of a text that is none.
    let name = subject.common_name();
    let name = name.map_err(|why| format!("its common name cannot be read: {why}"))?;
    Ok(name.map(|name| name.value().into_owned()))
}

impl ClientCertVerifier for NamedClients {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .authorities
            .verify_client_cert(certificate, between, now)?;
        match name_of(certificate, &self.sources) {
            Ok(_) => Ok(verified),
            Err(why) => {
                let why = OtherError(Arc::new(NoName(why)));
                Err(Error::InvalidCertificate(CertificateError::Other(why)))
            }
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.authorities.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoName {}
