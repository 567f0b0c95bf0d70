//! Looks at the certificate that one server shows.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::fingerprint::Fingerprint;

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    chains: Option<Arc<WebPkiServerVerifier>>,
    expected: Option<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The fingerprint of what the server has shown.
    shown: OnceLock<Fingerprint>,
}

impl Verifier {
    /// `chains` looks at issuers, names and dates. Without it and without a fingerprint no certificate
    /// is taken.
    pub(super) fn new(
        chains: Option<Arc<WebPkiServerVerifier>>,
        expected: Option<Fingerprint>,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            chains,
            expected,
            algorithms: provider.signature_verification_algorithms,
            shown: OnceLock::new(),
        }
    }

    /// The fingerprint of the certificate that the server has shown, and whether it is not the expected
    /// one.
    pub(super) fn shown(&self) -> Option<(Fingerprint, bool)> {
        let shown = *self.shown.get()?;
        let is_other = self.expected.is_some_and(|expected| expected != shown);
        Some((shown, is_other))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = *self.shown.get_or_init(|| Fingerprint::of(end_entity));
        if self.expected.is_some_and(|expected| expected != shown) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        match &self.chains {
            Some(chains) => chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None if self.expected.is_some() => Ok(ServerCertVerified::assertion()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    // That the server has the key of its certificate is checked in any case: a certificate is no secret.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
