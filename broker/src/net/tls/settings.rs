//! What is configured of TLS. The files are only named here; `material` reads them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The configuration of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Files with certificates in PEM, each with its chain. The first is for clients that ask for none of
    /// their names. Without one there is no TLS.
    pub certs: Vec<PathBuf>,
    /// Files with their keys, in the same order. Others must not be allowed to read them.
    pub keys: Vec<PathBuf>,
    /// Whether clients may or must use TLS; by default they may on a loopback address, and must elsewhere.
    pub mode: Option<TlsMode>,
    /// The lowest version.
    pub min: TlsVersion,
}

/// Whether clients use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// There is none.
    Off,
    /// They may.
    Offered,
    /// They must, but on Unix sockets.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsConfig {
    /// Whether the files are to be read.
    pub(crate) fn is_on(&self) -> bool {
        !self.certs.is_empty() && self.mode != Some(TlsMode::Off)
    }

    /// All files that are read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.certs.iter().chain(&self.keys).cloned().collect()
    }

    /// What does not fit together, and what to do about it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (certs, keys) = (self.certs.len(), self.keys.len());
        if certs != keys {
            return Err(format!(
                "--tls-cert and --tls-key come in pairs; there are {certs} and {keys}"
            ));
        }
        match self.mode {
            Some(mode @ (TlsMode::Offered | TlsMode::Required)) if certs == 0 => Err(format!(
                "--tls {mode} needs a certificate: --tls-cert FILE --tls-key FILE"
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Offered => "offered",
            Self::Required => "required",
        })
    }
}

impl FromStr for TlsMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "offered" => Ok(Self::Offered),
            "required" => Ok(Self::Required),
            _ => Err("it is off, offered or required"),
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err("it is 1.2 or 1.3"),
        }
    }
}
