//! The options for TLS, from flags, a server of the configuration file, and the environment.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use client::{Fingerprint, Tls, TlsOptions};

use crate::address::{Security, Server};

/// The flags as parsed. They are hidden so that the help fits a screen; `docs/client.md` explains them.
#[derive(Clone, Debug, clap::Args)]
struct RawTlsFlags {
    /// Speak TLS with HOST:PORT
    #[arg(long, hide = true, env = "BROKER_TLS", value_parser = FalseyValueParser::new())]
    tls: bool,
    /// Trust the authorities in this file
    #[arg(long, hide = true, env = "BROKER_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show this certificate to the broker
    #[arg(long, hide = true, env = "BROKER_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The key of --cert, if it is not in the same file
    #[arg(long, hide = true, env = "BROKER_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Take the certificate with this fingerprint, and no other
    #[arg(long, hide = true, env = "BROKER_FINGERPRINT", value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    /// The name in the broker's certificate, if it is not the host
    #[arg(long, hide = true, env = "BROKER_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
}

/// What one source says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    pub(crate) is_on: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) server_name: Option<String>,
}

/// What the flags and the environment say.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsArguments {
    typed: TlsSettings,
    variables: TlsSettings,
}

impl Args for TlsArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        RawTlsFlags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TlsArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = RawTlsFlags::from_arg_matches(matches)?;
        let of = |wanted: ValueSource| {
            let is = |name: &str| matches.value_source(name) == Some(wanted);
            TlsSettings {
                is_on: flags.tls && is("tls"),
                ca: flags.ca.clone().filter(|_| is("ca")),
                cert: flags.cert.clone().filter(|_| is("cert")),
                key: flags.key.clone().filter(|_| is("key")),
                fingerprint: flags.fingerprint.filter(|_| is("fingerprint")),
                server_name: flags.server_name.clone().filter(|_| is("server_name")),
            }
        };
        Ok(Self {
            typed: of(ValueSource::CommandLine),
            variables: of(ValueSource::EnvVariable),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl TlsSettings {
    /// Whether it says anything: who names an authority does not want a connection without TLS.
    fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// These settings, and those of `other` where they say nothing.
    fn or(self, other: Self) -> Self {
        // A key belongs to the certificate that was named with it.
        let (cert, key) = match self.cert {
            Some(_) => (self.cert, self.key),
            None => (other.cert, self.key.or(other.key)),
        };
        Self {
            is_on: self.is_on || other.is_on,
            ca: self.ca.or(other.ca),
            cert,
            key,
            fingerprint: self.fingerprint.or(other.fingerprint),
            server_name: self.server_name.or(other.server_name),
        }
    }

    /// The keys of the configuration file that say something.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        [
            ("tls", self.is_on),
            ("ca", self.ca.is_some()),
            ("cert", self.cert.is_some()),
            ("key", self.key.is_some()),
            ("fingerprint", self.fingerprint.is_some()),
            ("server-name", self.server_name.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_said)| is_said.then_some(key))
        .collect()
    }

    fn options(self) -> Result<TlsOptions, String> {
        let certificate = match (self.cert, self.key) {
            (None, None) => None,
            (Some(cert), None) => Some((cert.clone(), cert)),
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, Some(_)) => {
                return Err("--key is the key of a certificate; give --cert FILE, too".to_owned());
            }
        };
        Ok(TlsOptions {
            ca: self.ca,
            certificate,
            fingerprint: self.fingerprint,
            server_name: self.server_name,
        })
    }
}

impl TlsArguments {
    /// What protects the connections to this server, about which the configuration file may say
    /// something. `None` if nothing does.
    pub(crate) fn tls(
        &self,
        server: &Server,
        configured: Option<&TlsSettings>,
    ) -> Result<Option<Tls>, String> {
        let configured = configured.cloned().unwrap_or_default();
        let is_said = self.typed.is_any() || configured.is_any();
        let is_on = match server.security() {
            Security::Path if self.typed.is_any() => {
                return Err(format!(
                    "TLS is for HOST:PORT, and the server is {server}, a socket of this machine; \
                     leave out --tls and what belongs to it"
                ));
            }
            Security::Path => false,
            Security::Tls => true,
            Security::Plain => is_said,
            Security::Unsaid => is_said || self.variables.is_any(),
        };
        if !is_on {
            return Ok(None);
        }
        let settings = self.typed.clone().or(configured);
        let options = settings.or(self.variables.clone()).options()?;
        let tls = Tls::new(&options).map_err(|why| {
            let advice = if options.ca.is_none() && options.certificate.is_none() {
                "; give --ca FILE"
            } else {
                ""
            };
            format!("{why}{advice}")
        })?;
        Ok(Some(tls))
    }

    /// The options of this command that are to be typed for the same server. `is_in_address` says that
    /// its address asks for TLS already.
    pub(crate) fn typed_words(&self, is_in_address: bool) -> Vec<String> {
        let path = |path: &Option<PathBuf>| Some(path.as_ref()?.display().to_string());
        let typed = &self.typed;
        let words = [
            ("--ca", path(&typed.ca)),
            ("--cert", path(&typed.cert)),
            ("--key", path(&typed.key)),
            ("--fingerprint", typed.fingerprint.map(|it| it.to_string())),
            ("--server-name", typed.server_name.clone()),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
        .flatten();
        let on = (typed.is_on && !is_in_address).then(|| "--tls".to_owned());
        on.into_iter().chain(words).collect()
    }
}
