//! Files in PEM (RFC 7468), read with a look at their size and, for keys, at their permissions.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::settings::TlsConfig;
use crate::auth::identity::{read_file, read_secret_file};

/// Maximum bytes of a file.
const MOST_BYTES: usize = 1 << 20;

/// Reads files, each once, so that its digest is that of what is put in force also if they change meanwhile.
pub(super) struct PemFiles {
    digest: Sha256,
}

impl PemFiles {
    /// `config` is a part of the digest.
    pub(super) fn new(config: &TlsConfig) -> Self {
        Self {
            digest: Sha256::new_with_prefix(format!("{config:?}")),
        }
    }

    /// The certificates of a file, at least one.
    pub(super) fn certificates(
        &mut self,
        path: &Path,
        kind: &str,
    ) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = self.all(path, kind)?;
        match certificates.is_empty() {
            true => Err(format!(
                "{} has no certificate; a file in PEM has lines with BEGIN CERTIFICATE",
                path.display()
            )),
            false => Ok(certificates),
        }
    }

    /// The lists of revoked certificates in a file, at least one.
    pub(super) fn revocation_lists(
        &mut self,
        path: &Path,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
        let lists = self.all(path, "a file with revoked certificates")?;
        match lists.is_empty() {
            true => Err(format!(
                "{} has no list; a file in PEM has lines with BEGIN X509 CRL",
                path.display()
            )),
            false => Ok(lists),
        }
    }

    /// The key in a file that others must not read.
    pub(super) fn key(&mut self, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        let bytes = Zeroizing::new(read_secret_file(path, "a file with a key", MOST_BYTES)?);
        self.note(&bytes);
        let shown = path.display();
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|why| match why {
            // Of RFC 1421, a heading is no base64; of PKCS #8, no item is a key.
            _ if memchr::memmem::find(&bytes, b"ENCRYPTED").is_some() => format!(
                "the key in {shown} is encrypted, and there is no one to type its password; openssl pkey -in FILE -out OTHER writes it without one"
            ),
            PemError::NoItemsFound => format!(
                "{shown} has no key; a file in PEM has lines with BEGIN PRIVATE KEY"
            ),
            why => format!("{shown} is no PEM: {}", in_words(&why)),
        })
    }

    /// Differs where the files that were read do, or what is configured.
    pub(super) fn digest(self) -> [u8; 32] {
        self.digest.finalize().into()
    }

    fn all<T: PemObject>(&mut self, path: &Path, kind: &str) -> Result<Vec<T>, String> {
        let bytes = read_file(path, kind, MOST_BYTES)?;
        self.note(&bytes);
        let all: Result<Vec<T>, PemError> = T::pem_slice_iter(&bytes).collect();
        all.map_err(|why| format!("{} is no PEM: {}", path.display(), in_words(&why)))
    }

    fn note(&mut self, bytes: &[u8]) {
        self.digest.update(bytes.len().to_ne_bytes());
        self.digest.update(bytes);
    }
}

/// What is wrong with a file in PEM. The library shows bytes of it, which may be those of a key.
fn in_words(why: &PemError) -> &'static str {
    match why {
        PemError::MissingSectionEnd { .. } => "a section has no END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is not whole",
        PemError::Base64Decode(_) => "the text of a section is not base64",
        PemError::NoItemsFound => "nothing of the kind is in it",
        _ => "it cannot be read",
    }
}
