//! Why a server is not spoken to over TLS, in words for the user.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::fingerprint::Fingerprint;
use crate::printable::printable;

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// How many names of a certificate are told.
const MOST_NAMES: usize = 8;

/// Why a server is not spoken to over TLS. Another attempt does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The address of the server.
    pub server: String,
    /// What is wrong.
    pub failure: TlsFailure,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The server speaks something else.
    NotTls,
    /// The certificate of the server is not taken.
    Untrusted {
        /// Why not.
        why: Distrust,
        /// The fingerprint of the certificate.
        shown: Fingerprint,
    },
    /// The server asks for a certificate of this client, which shows none.
    NoCertificate,
    /// The server does not take the certificate of this client.
    Refused(&'static str),
    /// There is no version of TLS that both speak.
    NoVersion,
    /// The server speaks other protocols inside of TLS than the one that was offered.
    NoProtocol,
    /// The server has no certificate for the name that it is called by.
    UnknownName,
}

/// Why the certificate of a server is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// None of the trusted authorities has signed it.
    UnknownIssuer,
    /// It is the certificate of an authority, signed by itself.
    SelfSigned,
    /// Its time is over, since then.
    Expired(String),
    /// Its time begins then.
    NotYetValid(String),
    /// It is for other names, which are these.
    OtherNames(Vec<String>),
    /// It has another fingerprint than the expected one.
    OtherFingerprint,
    /// Something else is wrong with it.
    Other(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, failure } = self;
        match failure {
            TlsFailure::NotTls => write!(f, "{server} does not speak TLS"),
            TlsFailure::Untrusted { why, .. } => write!(f, "the certificate of {server} {why}"),
            TlsFailure::NoCertificate => {
                write!(f, "{server} asks for a certificate of this client")
            }
            TlsFailure::Refused(why) => {
                write!(
                    f,
                    "{server} does not take the certificate of this client ({why})"
                )
            }
            TlsFailure::NoVersion => {
                write!(
                    f,
                    "{server} speaks neither TLS 1.2 nor TLS 1.3 as this client does"
                )
            }
            TlsFailure::NoProtocol => {
                write!(f, "{server} does not speak this protocol inside of TLS")
            }
            TlsFailure::UnknownName => {
                write!(
                    f,
                    "{server} has no certificate for the name that it is called by"
                )
            }
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => write!(f, "is signed by an unknown CA"),
            Self::SelfSigned => write!(f, "is signed by itself"),
            Self::Expired(since) => write!(f, "has expired on {since}"),
            Self::NotYetValid(from) => write!(f, "is not valid before {from}"),
            Self::OtherNames(names) => match &names[..] {
                [] => write!(f, "is for no name"),
                names => write!(f, "is for {}", names.join(", ")),
            },
            Self::OtherFingerprint => write!(f, "has another fingerprint"),
            Self::Other(why) => write!(f, "is not taken ({why})"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsFailure {
    /// What is wrong, if another attempt cannot help. `shown` is the fingerprint of the certificate of
    /// the server, and whether it is not the expected one.
    pub(super) fn of(
        error: &rustls::Error,
        shown: Option<(Fingerprint, bool)>,
        is_handshake: bool,
    ) -> Option<Self> {
        use rustls::Error;
        Some(match error {
            Error::InvalidMessage(_) if is_handshake => Self::NotTls,
            Error::InvalidCertificate(why) => {
                let (shown, is_other) = shown?;
                let why = match is_other {
                    true => Distrust::OtherFingerprint,
                    false => Distrust::of(why),
                };
                Self::Untrusted { why, shown }
            }
            Error::PeerIncompatible(_) if is_handshake => Self::NoVersion,
            Error::AlertReceived(alert) => Self::of_alert(*alert)?,
            _ => return None,
        })
    }

    fn of_alert(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::NoCertificate
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                Self::Refused("it does not know its CA")
            }
            AlertDescription::CertificateExpired => Self::Refused("it has expired"),
            AlertDescription::CertificateRevoked => Self::Refused("it is revoked"),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown => Self::Refused("it gives no other reason"),
            AlertDescription::AccessDenied => Self::Refused("it permits no access with it"),
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NoVersion,
            AlertDescription::NoApplicationProtocol => Self::NoProtocol,
            AlertDescription::UnrecognisedName => Self::UnknownName,
            _ => return None,
        })
    }
}

impl Distrust {
    fn of(error: &CertificateError) -> Self {
        match error {
            // An authority that was made anew has the name of the old one, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(date(*not_after)),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(date(*not_before))
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names = presented.iter().take(MOST_NAMES);
                Self::OtherNames(names.map(|name| plain(name)).collect())
            }
            CertificateError::Other(why)
                if why.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                Self::SelfSigned
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Other("it is not for servers".to_owned())
            }
            other => Self::Other(printable(&other.to_string())),
        }
    }
}

/// A name as the library writes it, such as `DnsName("broker.lan")`.
fn plain(name: &str) -> String {
    let inside = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    printable(inside.unwrap_or(name).trim_matches('"'))
}

/// The day and the time, in UTC.
fn date(time: UnixTime) -> String {
    // A certificate may name a year that cannot be written.
    let seconds = time.as_secs().min(LAST_SECOND);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
