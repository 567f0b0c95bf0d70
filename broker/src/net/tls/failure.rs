//! Why a handshake fails, in words for the operator.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake has failed.
#[derive(Debug)]
pub(super) enum HandshakeFailure {
    /// A rule of TLS, or one of its peers, has ended it.
    Tls(Error),
    /// The client comes back by a ticket, and its certificate is not valid any more; why.
    Expired(String),
    /// It has taken too long.
    TooLong,
    /// The client has left.
    Left,
    /// The system has ended the connection.
    Io(io::Error),
    /// The broker has a bug, or stops.
    Ended,
}

impl HandshakeFailure {
    /// Whether the certificate of the client is refused, or missing.
    pub(super) fn is_of_certificate(&self) -> bool {
        let Self::Tls(why) = self else {
            return false;
        };
        matches!(
            why,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented
        )
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(why) => f.write_str(&in_words(why)),
            Self::Expired(why) => f.write_str(why),
            Self::TooLong => write!(f, "it was not done within 10 s"),
            Self::Left => write!(f, "the client has left"),
            Self::Io(why) => write!(f, "the connection failed: {why}"),
            Self::Ended => write!(f, "the broker has ended it"),
        }
    }
}

fn in_words(why: &Error) -> String {
    let text = match why {
        Error::PeerIncompatible(why) => match why {
            // Before 1.2 there was no such extension.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired => "no shared version",
            PeerIncompatible::NoCipherSuitesInCommon => "no shared cipher suite",
            PeerIncompatible::NoKxGroupsInCommon => "no shared group for the exchange of keys",
            PeerIncompatible::NoSignatureSchemesInCommon => "no shared scheme for signatures",
            why => return format!("the client does not fit: {why:?}"),
        },
        Error::NoApplicationProtocol => "no shared protocol inside (ALPN)",
        Error::NoCertificatesPresented => "no certificate",
        Error::InvalidCertificate(why) => return of_certificate(why),
        Error::AlertReceived(alert) => return of_alert(*alert),
        Error::InvalidMessage(_) => "what it sends is no TLS",
        Error::PeerSentOversizedRecord => "a record is too long",
        why => return why.to_string(),
    };
    text.to_owned()
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            let end = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
            match jiff::Timestamp::from_second(end) {
                Ok(end) => format!("its certificate has expired on {end}"),
                Err(_) => "its certificate has expired".to_owned(),
            }
        }
        // One that begins after its end.
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::Revoked => "its certificate is revoked".to_owned(),
        CertificateError::UnknownIssuer => "its certificate is of no CA in --client-ca".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "--client-crl has no list of the CA of its certificate".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for clients".to_owned()
        }
        CertificateError::Other(why) => format!("its certificate is refused: {}", why.0),
        why => format!("its certificate is refused: {why}"),
    }
}

/// What the client has told, with the name of the alert (RFC 8446 §6).
fn of_alert(alert: AlertDescription) -> String {
    let (what, name) = match alert {
        AlertDescription::UnknownCA => ("the client does not trust this certificate", "unknown_ca"),
        AlertDescription::BadCertificate => (
            "the client does not trust this certificate",
            "bad_certificate",
        ),
        AlertDescription::CertificateUnknown => (
            "the client does not trust this certificate",
            "certificate_unknown",
        ),
        AlertDescription::CertificateExpired => (
            "for the client this certificate has expired",
            "certificate_expired",
        ),
        AlertDescription::UnsupportedCertificate => (
            "the client does not take this kind of certificate",
            "unsupported_certificate",
        ),
        AlertDescription::ProtocolVersion => ("no shared version", "protocol_version"),
        AlertDescription::HandshakeFailure => ("the client refuses", "handshake_failure"),
        alert => return format!("the client refuses: {alert:?}"),
    };
    format!("{what} ({name})")
}
