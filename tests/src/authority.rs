//! Certificates for a test, in a folder of their own.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// An authority that signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, each in a file in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority. Its own certificate is in [`Authority::file`].
    pub fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random bytes");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a key that can sign");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("room");
        Self { issuer, folder }
    }

    /// Its own certificate, for those that trust it.
    pub fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// What trusts it alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        roots
    }

    /// A certificate for these names, valid until the end of a year.
    pub fn sign(&self, names: &[&str], until_year: i32) -> CertificateFiles {
        let (params, key) = request(names, until_year);
        let signed = params.signed_by(&key, &self.issuer).expect("a key");
        self.write(names, &signed.pem(), &key)
    }

    /// The same, signed by itself.
    pub fn self_signed(&self, names: &[&str]) -> CertificateFiles {
        let (mut params, key) = request(names, 2999);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = params.self_signed(&key).expect("a key");
        self.write(&["self"], &signed.pem(), &key)
    }

    fn write(&self, names: &[&str], certificate: &str, key: &KeyPair) -> CertificateFiles {
        let name = names.first().expect("a name");
        let file = |kind: &str| self.folder.path().join(format!("{name}-{kind}.pem"));
        let files = CertificateFiles {
            certificate: file("certificate"),
            key: file("key"),
        };
        fs::write(&files.certificate, certificate).expect("room");
        fs::write(&files.key, key.serialize_pem()).expect("room");
        files
    }
}

fn request(names: &[&str], until_year: i32) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until_year, 12, 31);
    (params, KeyPair::generate().expect("random bytes"))
}

impl CertificateFiles {
    /// Both, read.
    pub fn read(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(&self.certificate);
        let key = PrivateKeyDer::from_pem_file(&self.key);
        (certificate.expect("a certificate"), key.expect("a key"))
    }

    /// The words `--cert` and `--key` with their files.
    pub fn flags(&self) -> [String; 4] {
        let path = |path: &PathBuf| path.display().to_string();
        [
            "--cert".to_owned(),
            path(&self.certificate),
            "--key".to_owned(),
            path(&self.key),
        ]
    }
}
