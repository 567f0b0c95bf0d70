//! What is configured of TLS. The files are only named here; `material` reads them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The configuration of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A file with the authorities whose certificates clients may show.
    pub client_ca: Option<PathBuf>,
    /// A file with lists of certificates that these have revoked.
    pub client_crl: Option<PathBuf>,
    /// Whether clients show one; by default they are asked for one if there is an authority.
    pub client_cert: Option<ClientCertMode>,
    /// Where the name of a client is looked for in its certificate, in this order.
    pub client_names: Vec<ClientNameSource>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certs: Vec::new(),
            keys: Vec::new(),
            mode: None,
            min: TlsVersion::default(),
            client_ca: None,
            client_crl: None,
            client_cert: None,
            client_names: ClientNameSource::ALL.to_vec(),
        }
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertMode {
    /// They are not asked for one.
    Off,
    /// They may.
    Asked,
    /// They must.
    Required,
}

/// Where the name of a client is in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNameSource {
    /// An address `dallal:NAME` among the alternative names.
    Uri,
    /// The first name of a host among them.
    Dns,
    /// The common name of the subject.
    CommonName,
}

impl ClientNameSource {
    /// All of them, in the usual order.
    pub const ALL: [Self; 3] = [Self::Uri, Self::Dns, Self::CommonName];
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
        let pairs = self.certs.iter().chain(&self.keys);
        let of_clients = self.client_ca.iter().chain(&self.client_crl);
        let of_clients = of_clients.filter(|_| self.asks_clients());
        pairs.chain(of_clients).cloned().collect()
    }

    /// Whether clients are asked for certificates.
    pub(crate) fn asks_clients(&self) -> bool {
        self.client_ca.is_some() && self.client_cert != Some(ClientCertMode::Off)
    }

    /// Whether clients must use TLS at an address that is on loopback or not.
    pub(crate) fn is_required(&self, on_loopback: bool) -> bool {
        self.is_on() && TlsMode::is_required(self.mode, on_loopback)
    }

    /// What does not fit together, and what to do about it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (certs, keys) = (self.certs.len(), self.keys.len());
        if certs != keys {
            return Err(format!(
                "--tls-cert and --tls-key come in pairs; there are {certs} and {keys}"
            ));
        }
        if self.client_ca.is_some() && certs == 0 {
            return Err(
                "--client-ca needs a certificate of the broker: --tls-cert FILE --tls-key FILE"
                    .to_owned(),
            );
        }
        let is_wanted = matches!(
            self.client_cert,
            Some(ClientCertMode::Asked | ClientCertMode::Required)
        );
        if self.client_ca.is_none() && (is_wanted || self.client_crl.is_some()) {
            return Err("certificates of clients need an authority: --client-ca FILE".to_owned());
        }
        match self.mode {
            Some(mode @ (TlsMode::Offered | TlsMode::Required)) if certs == 0 => Err(format!(
                "--tls {mode} needs a certificate: --tls-cert FILE --tls-key FILE"
            )),
            _ => Ok(()),
        }
    }
}

impl TlsMode {
    /// Whether clients must use TLS, where there is a certificate.
    pub(crate) fn is_required(mode: Option<Self>, on_loopback: bool) -> bool {
        match mode {
            Some(mode) => mode == Self::Required,
            None => !on_loopback,
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

impl fmt::Display for ClientCertMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Asked => "asked",
            Self::Required => "required",
        })
    }
}

impl FromStr for ClientCertMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "asked" => Ok(Self::Asked),
            "required" => Ok(Self::Required),
            _ => Err("it is off, asked or required"),
        }
    }
}

impl fmt::Display for ClientNameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uri => "san-uri",
            Self::Dns => "san-dns",
            Self::CommonName => "cn",
        })
    }
}

impl FromStr for ClientNameSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "san-uri" => Ok(Self::Uri),
            "san-dns" => Ok(Self::Dns),
            "cn" => Ok(Self::CommonName),
            _ => Err("it is san-uri, san-dns, cn, or several of them"),
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
