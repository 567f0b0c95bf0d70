//! Addresses of brokers, as they are typed.

use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};
use client::{Credential, Interrupt, Options, Secret, Tls, is_harmless};

/// The default port of the line protocol.
const DEFAULT_PORT: u16 = 1373;

/// The default ports, without TLS and with it, and the default path of a WebSocket.
const WEB_PORT: u16 = 80;
pub(crate) const SECURE_WEB_PORT: u16 = 443;
const WEB_PATH: &str = "/ws";

/// The maximum length of the path of a socket (unix(7)), without the zero byte at its end.
const MAX_PATH_BYTES: usize = 107;

/// Where a broker is, whether the connection is a WebSocket, and what the address says about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    place: Place,
    security: Security,
    /// The path of the WebSocket, if the connection is one.
    path: Option<String>,
}

/// What an address says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// It has no scheme.
    Unsaid,
    Plain,
    Tls,
    /// It is the path of a socket of this machine, which no other machine can read.
    Path,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Port {
        host: String,
        port: u16,
    },
    /// The path of a socket of this machine.
    Path(String),
}

/// Parses `HOST`, `HOST:PORT`, `[::1]:PORT`, and each of them after `dallal://`, `tls://`, `ws://` or
/// `wss://`; also `unix:PATH` and `ws+unix:PATH`.
impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::parse(text, DEFAULT_PORT);
        };
        check_scheme(scheme, &["dallal", "tls", "ws", "wss", "unix", "ws+unix"])?;
        match scheme {
            "ws" | "wss" => {
                let (place, path) = match rest.find('/') {
                    Some(at) if rest.len() > at + 1 => rest.split_at(at),
                    _ => (rest, WEB_PATH),
                };
                let server = match scheme {
                    "ws" => Self::parse(place, WEB_PORT)?.with(Security::Plain),
                    _ => Self::parse(place, SECURE_WEB_PORT)?.with(Security::Tls),
                };
                Ok(server.in_websocket(path))
            }
            "ws+unix" => Ok(Self::at_path(rest)?.in_websocket(WEB_PATH)),
            "unix" => Self::at_path(rest),
            "tls" => Ok(Self::parse(rest, DEFAULT_PORT)?.with(Security::Tls)),
            _ => Ok(Self::parse(rest, DEFAULT_PORT)?.with(Security::Plain)),
        }
    }
}

/// The scheme of an address, and what follows it: `SCHEME://`, or one that ends in `unix` before the
/// path of a socket.
pub(crate) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let before_path = text
        .split_once(':')
        .filter(|(scheme, _)| is_of_path(scheme));
    before_path.or_else(|| text.split_once("://"))
}

/// Whether the path of a socket follows this scheme.
pub(crate) fn is_of_path(scheme: &str) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    scheme == "unix" || scheme.ends_with("+unix")
}

/// What is wrong with the scheme of a protocol that another command speaks.
const ONLY_BENCH: &str = "is another kind of broker, which only `client bench` speaks with";
const ONLY_LINES: &str = "is for commands that publish, subscribe or ping; this one speaks lines";

/// Refuses a scheme that is none of `known`; the error says what to give instead.
pub(crate) fn check_scheme(scheme: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&scheme) {
        return Ok(());
    }
    let lower = scheme.to_ascii_lowercase();
    if is_of_path(scheme) {
        let instead = match &*lower {
            lower if known.contains(&lower) => "is written in lower case",
            "mqtt+unix" => ONLY_LINES,
            "redis+unix" => ONLY_BENCH,
            _ => "is not known; give unix:PATH, mqtt+unix:PATH or ws+unix:PATH",
        };
        return Err(format!("{scheme}: {instead}"));
    }
    let instead = match &*lower {
        "ssl" | "dallals" => {
            "is not known; give tls://HOST:PORT, mqtts://HOST:PORT or wss://HOST:PORT"
        }
        "http" => "is for HTTP; give ws://HOST:PORT for lines or MQTT in a WebSocket",
        "https" => "is for HTTP; give wss://HOST:PORT for lines or MQTT in a WebSocket",
        "redis" | "nats" | "rediss" | "nats+tls" => ONLY_BENCH,
        "amqp" | "amqps" | "kafka" | "stomp" | "file" => {
            "is not spoken here; give HOST:PORT, mqtt://HOST:PORT or ws://HOST:PORT"
        }
        "tcp" => "does not say which protocol; give HOST:PORT, or mqtt://HOST:PORT for MQTT",
        lower if known.contains(&lower) => "is written in lower case",
        "mqtt" | "mqtts" => ONLY_LINES,
        _ => "is not known; give HOST:PORT, mqtt://HOST:PORT or ws://HOST:PORT",
    };
    Err(format!("{scheme}:// {instead}"))
}

impl Server {
    /// Parses `HOST`, `HOST:PORT` and `[::1]:PORT`.
    pub(crate) fn parse(place: &str, default_port: u16) -> Result<Self, String> {
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = split(place);
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"/@[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_name) {
            let why = "give HOST:PORT, such as 127.0.0.1:1373, or unix:PATH";
            return Err(why.to_owned());
        }
        let port = match port {
            Some(digits) => match digits.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(format!(
                        "{digits:?} is not a port; give one from 1 to 65535"
                    ));
                }
            },
            None => default_port,
        };
        let host = host.to_owned();
        Ok(Self {
            place: Place::Port { host, port },
            security: Security::Unsaid,
            path: None,
        })
    }

    /// The broker whose socket is at this path.
    pub(crate) fn at_path(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err(
                "give the path of a socket, such as unix:/run/dallal/broker.sock".to_owned(),
            );
        }
        if !path.chars().all(is_harmless) {
            return Err("a path has no control characters; give another one".to_owned());
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(format!(
                "this path has {} bytes, and that of a socket at most {MAX_PATH_BYTES}; give a \
                 shorter one, such as one relative to this folder",
                path.len()
            ));
        }
        Ok(Self {
            place: Place::Path(path.to_owned()),
            security: Security::Path,
            path: None,
        })
    }

    /// The same address, which says this about TLS.
    pub(crate) fn with(self, security: Security) -> Self {
        Self { security, ..self }
    }

    /// What the address says about TLS.
    pub(crate) fn security(&self) -> Security {
        self.security
    }

    fn in_websocket(self, path: &str) -> Self {
        let path = Some(path.to_owned());
        Self { path, ..self }
    }
}

/// The host without brackets, and the text after its colon.
fn split(place: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = place.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => ("", None),
        };
    }
    match place.split_once(':') {
        // More than one colon means an IPv6 address without a port, which needs no brackets.
        Some((_, rest)) if rest.contains(':') => (place, None),
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    }
}

impl Server {
    /// This address with another host or port, if given.
    pub(crate) fn but_at(&self, host: Option<&str>, port: Option<u16>) -> Result<Self, String> {
        let mut other = self.clone();
        match &mut other.place {
            Place::Path(_) if host.is_some() || port.is_some() => {
                return Err(format!(
                    "--host and --port are for HOST:PORT, and the server is {self}; leave them \
                     out, or give --server HOST:PORT"
                ));
            }
            Place::Path(_) => {}
            Place::Port {
                host: old_host,
                port: old_port,
            } => {
                *old_host = host.unwrap_or(old_host).to_owned();
                *old_port = port.unwrap_or(*old_port);
            }
        }
        Ok(other)
    }

    /// The path of the WebSocket, if the connection is one.
    pub(crate) fn path(&self) -> Option<String> {
        self.path.clone()
    }

    /// The options of a connection to it: `wait` bounds each wait, `interrupt` ends them all, and `tls`
    /// protects it.
    pub(crate) fn options(
        &self,
        wait: Duration,
        interrupt: &Interrupt,
        tls: Option<&Tls>,
    ) -> Options {
        Options {
            connect_timeout: wait,
            answer_timeout: wait,
            interrupt: Some(interrupt.clone()),
            websocket: self.path(),
            tls: tls.cloned(),
            ..Options::default()
        }
    }

    /// `HOST:PORT` or `unix:PATH`, to connect to.
    pub(crate) fn place(&self) -> String {
        match &self.place {
            Place::Path(path) => format!("unix:{path}"),
            Place::Port { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Port { host, port } => format!("{host}:{port}"),
        }
    }

    /// Whether what is sent to it stays on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match &self.place {
            Place::Path(_) => true,
            Place::Port { host, .. } => {
                let address = host.parse::<IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// The path of its socket, if it has one.
    pub(crate) fn socket_path(&self) -> Option<&str> {
        match &self.place {
            Place::Path(path) => Some(path),
            Place::Port { .. } => None,
        }
    }

    /// The host and the port as HTTP names them; behind a path there is but one host.
    pub(crate) fn authority(&self) -> String {
        match &self.place {
            Place::Path(_) => "localhost".to_owned(),
            Place::Port { .. } => self.place(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match (&self.path, self.security) {
            (None, Security::Tls) => write!(f, "tls://{place}"),
            (None, _) => f.write_str(&place),
            (Some(_), Security::Path) => write!(f, "ws+{place}"),
            (Some(path), Security::Tls) => write!(f, "wss://{place}{path}"),
            (Some(path), _) => write!(f, "ws://{place}{path}"),
        }
    }
}

/// Parses the value of `--server`. An error shows it without its password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UrlParser<T>(PhantomData<T>);

impl<T> UrlParser<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err = String> + Clone + Send + Sync + 'static> TypedValueParser for UrlParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        if let Some(text) = value.to_str()
            && let shown = without_password(text)
            && shown != text
        {
            return text.parse().map_err(|why: String| {
                let flag = argument.map(Arg::to_string).unwrap_or_default();
                let text = format!("invalid value '{shown}' for '{flag}': {why}\n");
                clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
            });
        }
        let parser = StringValueParser::new().try_map(|text: String| text.parse());
        parser.parse_ref(command, argument, value)
    }
}

/// A URL as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    let shown = || {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), url),
        };
        let (login, place) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}{user}:***@{place}"))
    };
    shown().unwrap_or_else(|| url.to_owned())
}

/// The default ports of MQTT, without TLS and with it.
const MQTT_PORT: u16 = 1883;
const SECURE_MQTT_PORT: u16 = 8883;

/// The value of `--server`: an address, and whether to speak MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) server: Server,
    /// The login, if it is a URL of MQTT.
    pub(crate) mqtt: Option<Login>,
}

/// User name and password, if given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// Parses what [`Server`] parses, and `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, `mqtts://...` and
/// `mqtt+unix:PATH`.
impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scheme = split_scheme(text);
        if let Some((scheme, _)) = scheme {
            let known = [
                "dallal",
                "tls",
                "ws",
                "wss",
                "unix",
                "ws+unix",
                "mqtt",
                "mqtts",
                "mqtt+unix",
            ];
            check_scheme(scheme, &known)?;
        }
        let (login, server) = match scheme {
            Some(("mqtt+unix", path)) => (Login::default(), Server::at_path(path)?),
            Some((scheme @ ("mqtt" | "mqtts"), rest)) => {
                let (login, place) = match rest.rsplit_once('@') {
                    Some((login, place)) => (Login::of(login), place),
                    None => (Login::default(), rest),
                };
                let server = match scheme {
                    "mqtt" => Server::parse(place, MQTT_PORT)?.with(Security::Plain),
                    _ => Server::parse(place, SECURE_MQTT_PORT)?.with(Security::Tls),
                };
                (login, server)
            }
            _ => {
                let server = text.parse()?;
                return Ok(Self { server, mqtt: None });
            }
        };
        let mqtt = Some(login);
        Ok(Self { server, mqtt })
    }
}

impl Login {
    /// What the line protocol shows; `None` without a secret.
    pub(crate) fn credential(&self) -> Option<Credential> {
        let secret = self.password.clone()?;
        Some(match &self.user {
            Some(user) => Credential::password(user, secret),
            None => Credential::token(secret),
        })
    }

    fn of(text: &str) -> Self {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password.into())),
            None => (text, None),
        };
        let user = Some(user.to_owned());
        Self { user, password }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, host: &str, port: u16) {
        let server: Server = text.parse().expect(text);
        let host = host.to_owned();
        assert_eq!(server.place, Place::Port { host, port }, "{text}");
        assert_eq!(server.path, None, "{text}");
    }

    #[test]
    fn a_websocket_has_a_path_and_the_port_of_the_web() {
        for (text, same) in [
            ("ws://a", "ws://a:80/ws"),
            ("ws://a/", "ws://a:80/ws"),
            ("ws://a:1373", "ws://a:1373/ws"),
            ("ws://[::1]:1/x/y", "ws://[::1]:1/x/y"),
        ] {
            let server: Server = text.parse().expect("a server");
            assert_eq!(server.to_string(), same);
        }
    }

    #[test]
    fn a_server_is_a_host_with_or_without_a_port() {
        check("localhost", "localhost", 1373);
        check("10.0.0.1:99", "10.0.0.1", 99);
        check("dallal://example.org:99", "example.org", 99);
        check("dallal://example.org/", "example.org", 1373);
    }

    #[test]
    fn an_ipv6_address_needs_brackets_before_a_port() {
        check("[::1]:99", "::1", 99);
        check("[::1]", "::1", 1373);
        check("::1", "::1", 1373);
        let server: Server = "[::1]:99".parse().expect("a server");
        assert_eq!(server.to_string(), "[::1]:99");
    }

    #[test]
    fn a_server_may_be_a_path() {
        for (text, place, path, is_mqtt) in [
            (
                "unix:/run/broker.sock",
                "unix:/run/broker.sock",
                None,
                false,
            ),
            ("unix:a b/1373", "unix:a b/1373", None, false),
            ("unix:///a://b", "unix:///a://b", None, false),
            ("ws+unix:/a", "unix:/a", Some("/ws"), false),
            ("mqtt+unix:a@b", "unix:a@b", None, true),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.server.place(), place);
            assert_eq!(url.server.path().as_deref(), path);
            assert_eq!(url.mqtt.is_some(), is_mqtt, "{text}");
            if !is_mqtt {
                assert_eq!(url.server.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_path_is_told() {
        let long = format!("unix:{}", "x".repeat(MAX_PATH_BYTES + 1));
        for (text, words) in [
            ("unix:", "give the path of a socket, such as unix:/"),
            ("unix:/a\0", "no control characters"),
            ("mqtt+unix:a\x1b", "no control characters"),
            (&*long, "has 108 bytes, and that of a socket at most 107"),
            ("UNIX:/a", "UNIX: is written in lower case"),
            (
                "http+unix:/a",
                "give unix:PATH, mqtt+unix:PATH or ws+unix:PATH",
            ),
            ("redis+unix:/a", "only `client bench`"),
        ] {
            let refused = text.parse::<Url>().expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
        }
        assert!("mqtt+unix:/a".parse::<Server>().is_err());
        let longest = format!("unix:{}", "x".repeat(MAX_PATH_BYTES));
        assert!(longest.parse::<Server>().is_ok());
    }

    #[test]
    fn a_path_has_no_host_and_no_port() {
        let server: Server = "unix:/a".parse().expect("a server");
        assert_eq!(server.but_at(None, None), Ok(server.clone()));
        for (host, port) in [(Some("b"), None), (None, Some(9))] {
            let refused = server.but_at(host, port).expect_err("a path");
            assert!(refused.contains("the server is unix:/a"), "{refused}");
        }
    }

    #[test]
    fn a_url_of_mqtt_may_contain_a_login() {
        let login = |user: Option<&str>, password: Option<&str>| Login {
            user: user.map(str::to_owned),
            password: password.map(Secret::from),
        };
        for (text, place, expected) in [
            ("mqtt://localhost", "localhost:1883", login(None, None)),
            ("mqtt://ann@[::1]:9", "[::1]:9", login(Some("ann"), None)),
            (
                "mqtt://a:b:c@d@e/",
                "e:1883",
                login(Some("a"), Some("b:c@d")),
            ),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.server.to_string(), place);
            assert_eq!(url.mqtt, Some(expected), "{text}");
        }
        let url: Url = "dallal://localhost".parse().expect("a URL");
        assert_eq!(
            (url.server.to_string(), url.mqtt),
            ("localhost:1373".to_owned(), None)
        );
        assert!("mqtt://".parse::<Url>().is_err());
    }

    #[test]
    fn only_what_stays_on_this_machine_is_local() {
        for (text, is_local) in [
            ("localhost", true),
            ("127.3.2.1", true),
            ("[::1]:99", true),
            ("unix:/a", true),
            ("10.0.0.1", false),
            ("broker.lan", false),
            ("localhost.example.org", false),
        ] {
            let server: Server = text.parse().expect(text);
            assert_eq!(server.is_local(), is_local, "{text}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("mqtt://ann:a:b@c@d", "mqtt://ann:***@d"),
            ("mqtt://ann@d:1", "mqtt://ann@d:1"),
            ("localhost:1", "localhost:1"),
            ("ann:a@localhost:1", "ann:***@localhost:1"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_scheme_says_whether_there_is_tls() {
        for (text, shown, security) in [
            ("a", "a:1373", Security::Unsaid),
            ("dallal://a", "a:1373", Security::Plain),
            ("tls://a", "tls://a:1373", Security::Tls),
            ("ws://a", "ws://a:80/ws", Security::Plain),
            ("wss://a", "wss://a:443/ws", Security::Tls),
            ("wss://a:1/x", "wss://a:1/x", Security::Tls),
            ("mqtt://a", "a:1883", Security::Plain),
            ("mqtts://ann@a", "tls://a:8883", Security::Tls),
            ("unix:/a", "unix:/a", Security::Path),
            ("ws+unix:/a", "ws+unix:/a", Security::Path),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.server.to_string(), shown);
            assert_eq!(url.server.security(), security, "{text}");
            assert_eq!(url.mqtt.is_some(), text.starts_with("mqtt"), "{text}");
        }
    }

    #[test]
    fn a_scheme_of_others_is_refused_in_words() {
        for (text, words) in [
            ("https://a", "give wss://HOST:PORT"),
            ("ssl://a", "give tls://HOST:PORT"),
            ("rediss://a", "only `client bench`"),
            ("http://a:1373", "give ws://HOST:PORT"),
            ("redis://a", "only `client bench`"),
            ("nats://a:4222", "only `client bench`"),
            ("tcp://a:1883", "mqtt://HOST:PORT for MQTT"),
            ("MQTT://a", "lower case"),
            ("gopher://a", "is not known"),
        ] {
            let refused = text.parse::<Url>().expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
            let (scheme, _) = text.split_once("://").expect("a scheme");
            assert!(refused.starts_with(&format!("{scheme}:// ")), "{refused}");
        }
        assert!("mqtt://a".parse::<Server>().is_err());
    }

    #[test]
    fn an_invalid_server_is_refused() {
        for text in [
            "", ":99", "a:", "a:0", "a:65536", "a b", "[::1", "[::1]99", "mqtt://a", "u@a",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text:?}");
        }
    }
}
