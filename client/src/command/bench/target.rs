//! The broker under test, and its protocol.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use client::{Credential, Tls};

use crate::address::{self, Login, SECURE_WEB_PORT, Security, Server, Url, UrlParser};
use crate::credentials::CredentialArguments;
use crate::duration;
use crate::tls_flags::TlsArguments;
use crate::wire::VersionFlag;

use super::wire::{
    FollowerLines, JetStream, Kept, LineProtocol, LinePublishers, Mqtt, Nats, Protocol, Redis,
    RedisStreams, Streams, WebSocket,
};

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Line,
    WebSocket,
    Events,
    Nats,
    Redis,
    Mqtt,
}

const SCHEMES: [Scheme; 6] = [
    Scheme::Line,
    Scheme::WebSocket,
    Scheme::Events,
    Scheme::Nats,
    Scheme::Redis,
    Scheme::Mqtt,
];

impl Scheme {
    /// The protocol that is spoken with a socket whose path this stands before.
    fn before_path(name: &str) -> Option<Self> {
        if name == "unix" {
            return Some(Self::Line);
        }
        let name = name.strip_suffix("+unix")?;
        let has_path = |scheme: &Self| !matches!(scheme, Self::Line | Self::Nats);
        let mut all = SCHEMES.into_iter().filter(has_path);
        all.find(|scheme| scheme.name() == name)
    }

    /// The text before `://`, if the connections are protected by TLS from their beginning.
    fn secure_name(self) -> &'static str {
        match self {
            Self::Line => "tls",
            Self::WebSocket => "wss",
            Self::Events => "https",
            Self::Nats => "nats+tls",
            Self::Redis => "rediss",
            Self::Mqtt => "mqtts",
        }
    }

    /// The text before `://`.
    fn name(self) -> &'static str {
        match self {
            Self::Line => "dallal",
            Self::WebSocket => "ws",
            Self::Events => "http",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Mqtt => "mqtt",
        }
    }

    /// The default port.
    fn port(self) -> u16 {
        match self {
            Self::Line => 1373,
            Self::WebSocket | Self::Events => 80,
            Self::Nats => 4222,
            Self::Redis => 6379,
            Self::Mqtt => 1883,
        }
    }
}

/// A broker under test.
#[derive(Clone, Debug)]
pub(crate) struct BenchTarget {
    scheme: Scheme,
    pub(crate) wire: &'static dyn Protocol,
    pub(crate) server: Server,
    pub(crate) tls: Option<Tls>,
    /// What the line protocol shows.
    pub(crate) credential: Option<Credential>,
}

/// The value of `--server`.
#[derive(Clone, Debug)]
struct BenchUrl {
    scheme: Scheme,
    server: Server,
    /// `None` if it has no place for one.
    login: Option<Login>,
}

/// Parses `HOST:PORT`, for the line protocol, `SCHEME://HOST:PORT`, `unix:PATH` and
/// `SCHEME+unix:PATH`.
impl FromStr for BenchUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, place) = address::split_scheme(text).unwrap_or((Scheme::Line.name(), text));
        if let Some(scheme) = Scheme::before_path(name) {
            // What differs between them is the protocol; the server is that of a WebSocket, or not.
            let same = match scheme {
                Scheme::WebSocket => text.to_owned(),
                _ => format!("unix:{place}"),
            };
            return Ok(Self {
                scheme,
                server: same.parse()?,
                login: None,
            });
        }
        let called = |scheme: &Scheme| scheme.name() == name || scheme.secure_name() == name;
        let scheme = SCHEMES.into_iter().find(called);
        let scheme = scheme.ok_or_else(|| {
            let why = address::check_scheme(name, &[]).expect_err("no scheme is known to it");
            format!(
                "{name:?} is not a protocol of bench; give dallal, ws, http, nats, redis or mqtt, or tls, \
                 wss, https, nats+tls, rediss or mqtts ({why})"
            )
        })?;
        let mut login = None;
        let server = match scheme {
            Scheme::Mqtt => {
                let Url { server, mqtt } = text.parse()?;
                login = mqtt;
                server
            }
            Scheme::WebSocket => text.parse()?,
            Scheme::Events if name == scheme.secure_name() => {
                Server::parse(place, SECURE_WEB_PORT)?
            }
            Scheme::Line | Scheme::Events | Scheme::Nats | Scheme::Redis => {
                Server::parse(place, scheme.port())?
            }
        };
        let has_scheme = address::split_scheme(text).is_some();
        let security = match name {
            name if name == scheme.secure_name() => Security::Tls,
            _ if has_scheme => Security::Plain,
            _ => Security::Unsaid,
        };
        Ok(Self {
            scheme,
            server: server.with(security),
            login,
        })
    }
}

impl fmt::Display for BenchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, place) = (self.scheme, self.server.place());
        match self.server.socket_path() {
            Some(_) if scheme == Scheme::Line => f.write_str(&place),
            Some(_) => write!(f, "{}+{place}", scheme.name()),
            None => {
                let path = self.server.path().unwrap_or_default();
                let name = match self.tls {
                    Some(_) => scheme.secure_name(),
                    None => scheme.name(),
                };
                write!(f, "{name}://{place}{path}")
            }
        }
    }
}

/// The address of the broker, and the timeout.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TargetArguments {
    /// The broker; also mqtt:// and others
    #[arg(
        short,
        long = "server",
        value_name = "URL",
        env = "BROKER_URL",
        hide_env_values = true,
        default_value = "127.0.0.1:1373",
        hide_default_value = true,
        value_parser = UrlParser::<BenchUrl>::new()
    )]
    server: BenchUrl,
    /// Another host than that of --server
    #[arg(long)]
    host: Option<String>,
    /// Another port than that of --server
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Speak MQTT 5 or 3.1.1; mqtt://HOST is 5
    #[arg(long, value_enum, value_name = "VERSION", hide_possible_values = true)]
    mqtt: Option<VersionFlag>,
    /// MQTT: subscribe with QoS 0 or 1
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(..=1))]
    qos: Option<u8>,
    /// Subscribers get from the log what topics keep
    #[arg(long, conflicts_with_all = ["mqtt", "qos"])]
    follow: bool,
    /// NATS, Redis: into streams with N of a topic, or all
    #[arg(long, value_name = "N", requires = "window")]
    pub(crate) keep: Option<Kept>,
    /// Wait at most TIME for the broker
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    credential: CredentialArguments,
}

impl TargetArguments {
    /// Combines the options, for a run with this window of unacknowledged messages.
    pub(crate) fn target(&self, window: Option<u64>) -> Result<BenchTarget, String> {
        let BenchUrl {
            scheme,
            server,
            login,
        } = &self.server;
        let server = server.but_at(self.host.as_deref(), self.port)?;
        let tls = self.tls.tls(&server, None)?;
        let scheme = match (scheme, self.mqtt) {
            (Scheme::Line, Some(_)) => Scheme::Mqtt,
            (Scheme::WebSocket | Scheme::Events | Scheme::Nats | Scheme::Redis, Some(_)) => {
                return Err(
                    "--mqtt is for HOST:PORT, mqtt://HOST:PORT, unix:PATH and mqtt+unix:PATH"
                        .to_owned(),
                );
            }
            (scheme, _) => *scheme,
        };
        if scheme != Scheme::Line && self.follow {
            return Err(
                "--follow is for the line protocol; leave out --mqtt, and the scheme".to_owned(),
            );
        }
        if scheme != Scheme::Mqtt && self.qos.is_some() {
            return Err("--qos is for MQTT; give --mqtt, or mqtt://HOST:PORT".to_owned());
        }
        if !matches!(scheme, Scheme::Nats | Scheme::Redis) && self.keep.is_some() {
            return Err(
                "--keep is for NATS and Redis; dallal keeps what `broker --keep` says".to_owned(),
            );
        }
        let login = match scheme {
            Scheme::Nats | Scheme::Redis if self.credential.is_typed() => {
                return Err(
                    "bench logs in to no server of NATS or Redis; leave out --user and the secret"
                        .to_owned(),
                );
            }
            // What variables say is for brokers of the other protocols.
            Scheme::Nats | Scheme::Redis => Login::default(),
            Scheme::Line | Scheme::WebSocket | Scheme::Events | Scheme::Mqtt => {
                let is_mqtt = scheme == Scheme::Mqtt;
                let in_url = login.as_ref();
                self.credential
                    .login(&server, tls.is_some(), in_url, None, is_mqtt)?
            }
        };
        let wire: &'static dyn Protocol = match scheme {
            Scheme::Line if self.follow => &LinePublishers(FollowerLines),
            Scheme::Line => &LineProtocol,
            // Leaked, here and below, because there is one target for the whole run of the program.
            Scheme::Nats => match self.keep {
                Some(kept) => Box::leak(Box::new(JetStream::keeping(kept))),
                None => &Nats,
            },
            Scheme::Redis => match self.keep {
                Some(kept) => Box::leak(Box::new(RedisStreams::keeping(kept))),
                None => &Redis,
            },
            Scheme::WebSocket => {
                let path = server.path().unwrap_or_default();
                let url = format!("ws://{}{path}", server.authority());
                Box::leak(Box::new(WebSocket::at(&url)?))
            }
            Scheme::Events => {
                let host = server.authority();
                let credential = login.credential();
                let streams = Streams { host, credential };
                Box::leak(Box::new(LinePublishers(streams)))
            }
            Scheme::Mqtt => Box::leak(Box::new(self.mqtt(window, &login)?)),
        };
        Ok(BenchTarget {
            scheme,
            wire,
            server,
            tls,
            credential: login.credential(),
        })
    }

    fn mqtt(&self, window: Option<u64>, login: &Login) -> Result<Mqtt, String> {
        let acknowledges = self.qos == Some(1);
        if acknowledges && window.is_none() {
            return Err(
                "--qos 1 needs --window, the number of messages without a receipt".to_owned(),
            );
        }
        Ok(Mqtt {
            acknowledges,
            window,
            login: login.clone(),
            ..Mqtt::of(self.mqtt != Some(VersionFlag::V3))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target of this address.
    fn shown(address: &str) -> Result<String, String> {
        shown_keeping(address, None)
    }

    /// The same for streams.
    fn shown_keeping(address: &str, keep: Option<Kept>) -> Result<String, String> {
        let arguments = TargetArguments {
            server: address.parse()?,
            host: None,
            port: None,
            mqtt: None,
            qos: None,
            follow: false,
            keep,
            wait: Duration::ZERO,
            tls: TlsArguments::default(),
            credential: CredentialArguments::default(),
        };
        Ok(arguments.target(None)?.to_string())
    }

    #[test]
    fn the_scheme_is_before_the_host() {
        for (text, expected) in [
            ("localhost", "dallal://localhost:1373"),
            ("dallal://localhost:1", "dallal://localhost:1"),
            ("ws://localhost:1373", "ws://localhost:1373/ws"),
            ("http://localhost:1373", "http://localhost:1373"),
            ("nats://localhost", "nats://localhost:4222"),
            ("redis://localhost:99", "redis://localhost:99"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("unix:/a", "unix:/a"),
            ("ws+unix:a", "ws+unix:a"),
            ("http+unix:/a", "http+unix:/a"),
            ("redis+unix:/a", "redis+unix:/a"),
            ("mqtt+unix:/a", "mqtt+unix:/a"),
            ("tls://localhost", "tls://localhost:1373"),
            ("wss://localhost", "wss://localhost:443/ws"),
            ("https://localhost", "https://localhost:443"),
            ("nats+tls://localhost", "nats+tls://localhost:4222"),
            ("rediss://localhost", "rediss://localhost:6379"),
            ("mqtts://localhost", "mqtts://localhost:8883"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn streams_are_for_brokers_that_have_them() {
        let keep = |address| shown_keeping(address, Some(Kept::All));
        assert!(keep("nats://localhost").is_ok());
        assert!(keep("redis+unix:/a").is_ok());
        let refused = keep("localhost");
        assert!(refused.is_err_and(|why| why.contains("broker --keep")));
    }

    #[test]
    fn an_unknown_protocol_is_refused() {
        let refused = shown("amqp://localhost");
        assert!(refused.is_err_and(|why| why.contains("give dallal, ws, http, nats")));
        for text in ["nats+unix:/a", "dallal+unix:/a", "unix:"] {
            let refused = shown(text);
            assert!(refused.is_err_and(|why| why.contains("unix:")), "{text}");
        }
    }
}
