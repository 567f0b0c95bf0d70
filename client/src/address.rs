//! Addresses of brokers, as they are typed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use client::{Interrupt, Options};

/// The default port of the line protocol.
const DEFAULT_PORT: u16 = 1373;

/// The default port and path of a WebSocket.
const WEB_PORT: u16 = 80;
const WEB_PATH: &str = "/ws";

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    port: u16,
    /// The path, if the connection is a WebSocket.
    path: Option<String>,
}

/// Parses `HOST`, `HOST:PORT`, `[::1]:PORT`, and each of them after `dallal://` or `ws://`.
impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, _)) = text.split_once("://") {
            check_scheme(scheme, &["dallal", "ws"])?;
        }
        if let Some(place) = text.strip_prefix("ws://") {
            let (place, path) = match place.find('/') {
                Some(at) if place.len() > at + 1 => place.split_at(at),
                _ => (place, WEB_PATH),
            };
            let mut server = Self::parse(place, WEB_PORT)?;
            server.path = Some(path.to_owned());
            return Ok(server);
        }
        let place = text.strip_prefix("dallal://").unwrap_or(text);
        Self::parse(place, DEFAULT_PORT)
    }
}

/// Refuses a scheme that is none of `known`; the error says what to give instead.
pub(crate) fn check_scheme(scheme: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&scheme) {
        return Ok(());
    }
    let instead = match &*scheme.to_ascii_lowercase() {
        "mqtts" | "wss" | "https" | "rediss" | "ssl" | "tls" | "dallals" | "nats+tls" => {
            "is for TLS, which this client does not speak; give mqtt://HOST:PORT or ws://HOST:PORT, \
             and let a proxy or a tunnel add TLS"
        }
        "http" => "is for HTTP; give ws://HOST:PORT for lines or MQTT in a WebSocket",
        "redis" | "nats" => "is another kind of broker, which only `client bench` speaks with",
        "amqp" | "amqps" | "kafka" | "stomp" | "unix" | "file" => {
            "is not spoken here; give HOST:PORT, mqtt://HOST:PORT or ws://HOST:PORT"
        }
        "tcp" => "does not say which protocol; give HOST:PORT, or mqtt://HOST:PORT for MQTT",
        lower if known.contains(&lower) => "is written in lower case",
        "mqtt" => "is for commands that publish, subscribe or ping; this one speaks lines",
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
            return Err("give HOST:PORT, such as 127.0.0.1:1373".to_owned());
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
            host,
            port,
            path: None,
        })
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
    pub(crate) fn but_at(&self, host: Option<&str>, port: Option<u16>) -> Self {
        Self {
            host: host.unwrap_or(&self.host).to_owned(),
            port: port.unwrap_or(self.port),
            path: self.path.clone(),
        }
    }

    /// The path of the WebSocket, if the connection is one.
    pub(crate) fn path(&self) -> Option<String> {
        self.path.clone()
    }

    /// The options of a connection to it: `wait` bounds each wait, and `interrupt` ends them all.
    pub(crate) fn options(&self, wait: Duration, interrupt: &Interrupt) -> Options {
        Options {
            connect_timeout: wait,
            answer_timeout: wait,
            interrupt: Some(interrupt.clone()),
            websocket: self.path(),
            ..Options::default()
        }
    }

    /// `HOST:PORT` for the socket.
    pub(crate) fn place(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str(&self.place()),
            Some(path) => write!(f, "ws://{}{path}", self.place()),
        }
    }
}

/// The default port of MQTT.
const MQTT_PORT: u16 = 1883;

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
    pub(crate) password: Option<String>,
}

/// Parses what [`Server`] parses, and `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`.
impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, _)) = text.split_once("://") {
            check_scheme(scheme, &["dallal", "ws", "mqtt"])?;
        }
        let Some(rest) = text.strip_prefix("mqtt://") else {
            let server = text.parse()?;
            return Ok(Self { server, mqtt: None });
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Login::of(login), place),
            None => (Login::default(), rest),
        };
        let server = Server::parse(place, MQTT_PORT)?;
        let mqtt = Some(login);
        Ok(Self { server, mqtt })
    }
}

impl Login {
    fn of(text: &str) -> Self {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
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
        let host = host.to_owned();
        let path = None;
        assert_eq!(text.parse(), Ok(Server { host, port, path }), "{text}");
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
    fn a_url_of_mqtt_may_contain_a_login() {
        let login = |user: Option<&str>, password: Option<&str>| Login {
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
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
    fn a_scheme_of_others_is_refused_in_words() {
        for (text, words) in [
            ("mqtts://a", "TLS"),
            ("wss://a/ws", "TLS"),
            ("https://a", "TLS"),
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
