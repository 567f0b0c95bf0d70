//! What is kept of a client's certificate: the name in it, and by what it is found in a list of revoked ones.

use sha2::{Digest, Sha256};

use crate::auth::identity::IdentityName;

/// Bytes that are kept of the digest of an issuer.
const ISSUER_BYTES: usize = 20;

/// The name that a client has shown by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateName {
    pub(crate) name: IdentityName,
    pub(crate) issuer: IssuerDigest,
    /// The number that its issuer has given it.
    pub(crate) serial: Box<[u8]>,
}

/// A short digest of the name of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IssuerDigest([u8; ISSUER_BYTES]);

impl IssuerDigest {
    pub(crate) fn of(issuer: &[u8]) -> Self {
        let whole: [u8; 32] = Sha256::digest(issuer).into();
        let mut short = [0; ISSUER_BYTES];
        short.copy_from_slice(&whole[..ISSUER_BYTES]);
        Self(short)
    }
}
