//! The cryptography of TLS. What depends on the library that does it is in this file alone.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;
use rustls::{Error, SupportedCipherSuite};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The cipher suites where the processor computes AES itself, the preferred first: all agree on fresh keys
/// and authenticate what they encrypt.
const WITH_AES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut suites = WITH_AES.to_vec();
    if !has_aes() {
        // In software ChaCha20 is several times as fast.
        let is_aes = |suite: &SupportedCipherSuite| !format!("{suite:?}").contains("CHACHA20");
        suites.sort_by_key(is_aes);
    }
    Arc::new(CryptoProvider {
        cipher_suites: suites,
        ..ring::default_provider()
    })
}

/// A new key for tickets: what was issued under another does not resume.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    ring::Ticketer::new()
}

/// A chain with its key, if the key fits.
pub(super) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &ring::default_provider())
}

fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_suites_of_the_library_are_there_and_aes_128_is_the_first() {
        let ours = provider();
        let theirs = ring::default_provider().cipher_suites;
        assert_eq!(ours.cipher_suites.len(), theirs.len());
        assert!(
            theirs
                .iter()
                .all(|suite| ours.cipher_suites.contains(suite))
        );
        if has_aes() {
            assert_eq!(
                ours.cipher_suites[0],
                cipher_suite::TLS13_AES_128_GCM_SHA256
            );
        }
    }
}
