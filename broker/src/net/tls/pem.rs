//! Files in PEM (RFC 7468), read with a look at their size and, for keys, at their permissions.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::auth::identity::{read_file, read_secret_file};

/// Maximum bytes of a file with a certificate and its chain, or with a key.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// The certificates of a file, at least one.
pub(super) fn read_certificates(
    path: &Path,
    kind: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_file(path, kind, MOST_BYTES)?;
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    let shown = path.display();
    let chain = chain.map_err(|why| format!("{shown} is no PEM: {}", in_words(&why)))?;
    match chain.is_empty() {
        true => Err(format!(
            "{shown} has no certificate; a file in PEM has lines with BEGIN CERTIFICATE"
        )),
        false => Ok(chain),
    }
}

/// The key in a file that others must not read.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = Zeroizing::new(read_secret_file(path, "a file with a key", MOST_BYTES)?);
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|why| match why {
        PemError::NoItemsFound if memchr::memmem::find(&bytes, b"ENCRYPTED").is_some() => format!(
            "the key in {shown} is encrypted, and there is no one to type its password; openssl pkey -in FILE -out OTHER writes it without one"
        ),
        PemError::NoItemsFound => format!(
            "{shown} has no key; a file in PEM has lines with BEGIN PRIVATE KEY"
        ),
        why => format!("{shown} is no PEM: {}", in_words(&why)),
    })
}

/// What is wrong with a file in PEM. The library shows bytes of it, which may be those of a key.
pub(super) fn in_words(why: &PemError) -> &'static str {
    match why {
        PemError::MissingSectionEnd { .. } => "a section has no END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is not whole",
        PemError::Base64Decode(_) => "the text of a section is not base64",
        PemError::NoItemsFound => "nothing of the kind is in it",
        _ => "it cannot be read",
    }
}
