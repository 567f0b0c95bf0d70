//! Certificates for tests: an authority, and what it signs.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, and a folder for the files of what it signs.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate is to be.
pub struct Wanted<'a> {
    /// The name of its subject.
    pub common_name: &'a str,
    /// A second one.
    pub other_common_name: Option<&'a str>,
    /// Names and addresses of a host.
    pub hosts: &'a [&'a str],
    /// Addresses of resources.
    pub uris: &'a [&'a str],
    /// It is for a client, not for a server.
    pub for_client: bool,
    /// Days from now to its beginning and its end.
    pub days: (i64, i64),
    /// The time from now to its end, where that is no day.
    pub lasts: Option<Duration>,
    /// Its number.
    pub serial: u64,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            common_name: "a test",
            other_common_name: None,
            hosts: &[],
            uris: &[],
            for_client: false,
            days: (-1, 30),
            lasts: None,
            serial: 7,
        }
    }
}

impl Wanted<'_> {
    /// A certificate of this machine.
    pub const HERE: Wanted<'static> = Wanted {
        common_name: "localhost",
        other_common_name: None,
        hosts: &["localhost", "127.0.0.1"],
        uris: &[],
        for_client: false,
        days: (-1, 30),
        lasts: None,
        serial: 7,
    };
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Files {
    /// The flags of a broker that has them.
    pub fn flags(&self) -> [&str; 4] {
        let [cert, key] = [&self.cert, &self.key].map(|path| path.to_str().expect("text"));
        ["--tls-cert", cert, "--tls-key", key]
    }

    /// Puts others in their place, each at once.
    pub fn replace_by(&self, other: &Self) {
        for (from, to) in [(&other.cert, &self.cert), (&other.key, &self.key)] {
            let beside = to.with_extension("new");
            fs::copy(from, &beside).expect("a copy");
            fs::rename(&beside, to).expect("it is replaced");
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::called("tests")
    }

    /// A new one with this name.
    pub fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        // Of two with the same name, one would be taken for the other.
        let name = format!("tests {:x?}", &key.public_key_raw()[1..9]);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let authority = Self {
            folder: tempfile::tempdir().expect("a folder"),
            issuer: Issuer::new(params, key),
            pem,
        };
        fs::write(authority.path("ca.pem"), &authority.pem).expect("a file");
        authority
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file with its own certificate.
    pub fn pem(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Signs a certificate, into files with this name.
    pub fn sign(&self, name: &str, wanted: &Wanted<'_>) -> Files {
        let key = KeyPair::generate().expect("a key");
        let signed = request(wanted).signed_by(&key, &self.issuer);
        self.write(name, &signed.expect("a certificate").pem(), &key)
    }

    /// Has a certificate signed by itself, as an authority is, into files with this name.
    pub fn have_signed_by_itself(&self, name: &str, wanted: &Wanted<'_>) -> Files {
        let key = KeyPair::generate().expect("a key");
        let mut params = request(wanted);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = params.self_signed(&key);
        self.write(name, &signed.expect("a certificate").pem(), &key)
    }

    fn write(&self, name: &str, cert: &str, key: &KeyPair) -> Files {
        let files = Files {
            cert: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}-key.pem")),
        };
        fs::write(&files.cert, cert).expect("a file");
        write_key(&files.key, &key.serialize_pem());
        files
    }

    /// Writes a list of the numbers that it has revoked.
    pub fn revoke(&self, name: &str, serials: &[u64]) -> PathBuf {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: in_days(-1).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: in_days(-1).into(),
            next_update: in_days(30).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        let path = self.path(name);
        fs::write(&path, list.pem().expect("text")).expect("a file");
        path
    }
}

fn request(wanted: &Wanted<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, wanted.common_name);
    if let Some(other) = wanted.other_common_name {
        // The library keeps one value for each type, and takes the number of this one for another type.
        let also_common_name = DnType::CustomDnType(vec![2, 5, 4, 3]);
        params.distinguished_name.push(also_common_name, other);
    }
    params.subject_alt_names = wanted.hosts.iter().map(|host| host_name(host)).collect();
    let uris = wanted.uris.iter();
    let uris = uris.map(|uri| SanType::URI((*uri).try_into().expect("an address")));
    params.subject_alt_names.extend(uris);
    params.extended_key_usages = vec![match wanted.for_client {
        true => ExtendedKeyUsagePurpose::ClientAuth,
        false => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.not_before = in_days(wanted.days.0).into();
    let end = wanted.lasts.map(|time| SystemTime::now() + time);
    params.not_after = end.unwrap_or_else(|| in_days(wanted.days.1)).into();
    params.serial_number = Some(SerialNumber::from(wanted.serial));
    params
}

/// Writes a key that only its owner may read.
pub fn write_key(path: &Path, pem: &str) {
    fs::write(path, pem).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

fn host_name(host: &str) -> SanType {
    match host.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().expect("a name")),
    }
}

fn in_days(days: i64) -> SystemTime {
    let time = DAY * u32::try_from(days.unsigned_abs()).expect("few days");
    match days < 0 {
        true => SystemTime::now() - time,
        false => SystemTime::now() + time,
    }
}
