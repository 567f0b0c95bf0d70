//! Which certificate a client is shown: one with the name that it asks for (SNI, RFC 6066 §3), or the first.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates, the first for clients that ask for none of their names.
#[derive(Debug)]
pub(super) struct CertificatesByName(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_usable = |pair: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            pair.key.choose_scheme(schemes).is_some()
        };
        let asked = hello.server_name();
        let asked = asked.and_then(|name| ServerName::try_from(name).ok());
        let with_name = asked.and_then(|name| {
            let mut named = self.0.iter().filter(|pair| is_for(pair, &name));
            let first = named.clone().next();
            // Of two with the name, one may have a kind of key that the client does not know.
            named.find(is_usable).or(first)
        });
        with_name.or(self.0.first()).cloned()
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = pair.end_entity_cert().ok();
    let parsed = parsed.and_then(|certificate| EndEntityCert::try_from(certificate).ok());
    parsed.is_some_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}
