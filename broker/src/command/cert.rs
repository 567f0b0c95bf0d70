//! `broker cert ...`: an authority of one's own, and what it signs: certificates of brokers and of clients.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use broker::CertTool;
use broker::auth::identity::IdentityName;
use command_line::shell_word;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::failure::{Failures, one};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time for which all clients take the certificate of a server.
const DAYS: u32 = 825;

const AUTHORITY_DAYS: u32 = 3650;

/// How the name of an authority begins.
const AUTHORITY: &str = "dallal CA";

/// How the name of a client is written in its certificate.
const NAME_SCHEME: &str = "dallal:";

/// Runs the tool; what it prints.
pub(super) fn run(tool: &CertTool) -> Result<String, Failures> {
    let folder = &tool.out;
    let told = |why: String| one(&why);
    fs::create_dir_all(folder).map_err(|why| told(failed(folder, "made", &why)))?;
    match &tool.client {
        Some(name) => for_client(folder, name).map_err(told),
        None => for_server(folder, &tool.names).map_err(told),
    }
}

fn for_server(folder: &Path, names: &[String]) -> Result<String, String> {
    let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
    let mut params = params(names[0], DAYS);
    for name in &names {
        params.subject_alt_names.push(host(name)?);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let issuer = authority(folder)?;
    let [cert, key] = sign(folder, "server", params, &issuer)?;
    let ca = folder.join("ca.pem");
    Ok(format!(
        "{} and {} are for {}, until {}\n  \
         broker --host 0.0.0.0 --tls-cert {} --tls-key {}\n  \
         client --ca {}\n{}",
        cert.display(),
        key.display(),
        names.join(", "),
        end(),
        shell_word(&cert),
        shell_word(&key),
        shell_word(&ca),
        warning(folder),
    ))
}

/// What to heed about the key of the authority.
fn warning(folder: &Path) -> String {
    let key = folder.join("ca-key.pem");
    format!(
        "{} can sign for any name: keep it away from others\n",
        key.display()
    )
}

fn for_client(folder: &Path, name: &IdentityName) -> Result<String, String> {
    let mut params = params(name.as_str(), DAYS);
    let uri = format!("{NAME_SCHEME}{name}").try_into();
    let uri = uri.map_err(|why| format!("{name} is no name for a certificate: {why}"))?;
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let ca = folder.join("ca.pem");
    let is_first = !ca.exists();
    let issuer = authority(folder)?;
    let [cert, key] = sign(folder, &format!("client-{name}"), params, &issuer)?;
    let mut told = format!(
        "{} and {} are for {name}, until {}\n  client --ca {} --cert {} --key {}\n",
        cert.display(),
        key.display(),
        end(),
        shell_word(&ca),
        shell_word(&cert),
        shell_word(&key),
    );
    // Perhaps a mistyped folder: a broker that runs does not trust it.
    if is_first {
        told += &format!(
            "{} is a new authority; a broker that trusts it has --client-ca {}\n{}",
            ca.display(),
            shell_word(&ca),
            warning(folder)
        );
    }
    Ok(told)
}

/// The authority of a folder, which is made if it is not there.
fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, String> {
    let [cert, key] = ["ca.pem", "ca-key.pem"].map(|name| folder.join(name));
    match (cert.exists(), key.exists()) {
        (true, true) => return read_authority(&cert, &key),
        (false, false) => {}
        (true, false) => return Err(format!("{} has no key beside it", cert.display())),
        (false, true) => return Err(format!("{} has no certificate beside it", key.display())),
    }
    let pair = new_key()?;
    let number: String = pair.public_key_raw()[1..5]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // A name of its own, so that a client that trusts two does not take one for the other.
    let mut params = params(&format!("{AUTHORITY} {number}"), AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params
        .self_signed(&pair)
        .map_err(|why| format!("the authority cannot be made: {why}"))?;
    write(&key, &pair.serialize_pem(), 0o600)?;
    write(&cert, &signed.pem(), 0o644)?;
    Ok(Issuer::new(params, pair))
}

/// An authority that this tool has made: its name is all that is taken from its certificate.
fn read_authority(cert: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, String> {
    let foreign = || {
        format!(
            "{} was not made by this tool; choose another folder with --out",
            cert.display()
        )
    };
    let der = CertificateDer::from_pem_file(cert).map_err(|_| foreign())?;
    let parsed = Certificate::from_der(&der).map_err(|_| foreign())?;
    let subject = parsed.tbs_certificate().subject();
    let name = subject.common_name().ok().flatten().ok_or_else(foreign)?;
    let name: String = name.value().into_owned();
    if subject.len() != 1 || !name.starts_with(AUTHORITY) {
        return Err(foreign());
    }
    let text = fs::read_to_string(key).map_err(|why| failed(key, "read", &why))?;
    let pair = KeyPair::from_pem(&text).map_err(|_| format!("{} has no key", key.display()))?;
    let own = parsed.tbs_certificate().subject_public_key_info();
    if own.subject_public_key.raw_bytes() != pair.public_key_raw() {
        let (key, cert) = (key.display(), cert.display());
        return Err(format!("{key} does not fit {cert}"));
    }
    let mut params = params(&name, AUTHORITY_DAYS);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Issuer::new(params, pair))
}

/// Signs a certificate with a new key, and writes both.
fn sign(
    folder: &Path,
    name: &str,
    mut params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<[PathBuf; 2], String> {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let pair = new_key()?;
    let signed = params
        .signed_by(&pair, issuer)
        .map_err(|why| format!("the certificate cannot be made: {why}"))?;
    let [cert, key] =
        [format!("{name}.pem"), format!("{name}-key.pem")].map(|name| folder.join(name));
    write(&key, &pair.serialize_pem(), 0o600)?;
    write(&cert, &signed.pem(), 0o644)?;
    Ok([cert, key])
}

fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // For clients whose clock is a little behind.
    params.not_before = (SystemTime::now() - DAY / 24).into();
    params.not_after = (SystemTime::now() + DAY * days).into();
    params.use_authority_key_identifier_extension = true;
    params
}

fn new_key() -> Result<KeyPair, String> {
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    made.map_err(|why| format!("no key can be made: {why}"))
}

fn host(name: &str) -> Result<SanType, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad =
        || format!("{name:?} is no name of a host, such as broker.lan, *.example.org or 10.0.0.5");
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| bad())?;
    name.try_into().map(SanType::DnsName).map_err(|_| bad())
}

/// Puts a file in its place as a whole.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut beside| {
        beside.write_all(text.as_bytes())?;
        beside
            .as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        beside.as_file().sync_all()?;
        beside.persist(path)?;
        Ok(())
    });
    written.map_err(|why| failed(path, "written", &why))
}

fn end() -> String {
    let end = Timestamp::now() + jiff::SignedDuration::from_hours(24 * i64::from(DAYS));
    format!("{}", end.strftime("%Y-%m-%d"))
}

fn failed(path: &Path, what: &str, why: &io::Error) -> String {
    format!("{} cannot be {what}: {why}", path.display())
}
