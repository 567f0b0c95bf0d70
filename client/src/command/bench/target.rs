//! Which broker is measured, and by which protocol.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::server::Server;

use super::wire::{Line, Mqtt, Nats, Redis, Wire};

const WIRES: [&dyn Wire; 4] = [&Line, &Nats, &Redis, &Mqtt];

/// A broker under test.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) wire: &'static dyn Wire,
    pub(crate) server: Server,
}

/// Takes `HOST:PORT`, which is the line protocol, and each behind a protocol and `://`.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, place) = text.split_once("://").unwrap_or((Line.scheme(), text));
        let wire = WIRES.into_iter().find(|wire| wire.scheme() == scheme);
        let wire = wire.ok_or_else(|| {
            format!("{scheme:?} is no protocol of bench; give dallal, nats, redis or mqtt")
        })?;
        let server = Server::parse(place, wire.default_port())?;
        Ok(Self { wire, server })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.wire.scheme(), self.server)
    }
}

/// Where the broker is, and how long to wait for it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TargetArguments {
    /// The broker; also nats://, redis:// or mqtt://HOST:PORT
    #[arg(
        short,
        long = "server",
        value_name = "URL",
        env = "BROKER_URL",
        hide_env_values = true,
        default_value = "127.0.0.1:1373",
        hide_default_value = true
    )]
    server: Target,
    /// Another host than that of --server
    #[arg(long)]
    host: Option<String>,
    /// Another port than that of --server
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Wait so long for what should come
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    pub(crate) wait: Duration,
}

impl TargetArguments {
    /// What all of them together say.
    pub(crate) fn target(&self) -> Target {
        let Target { wire, server } = &self.server;
        let server = server.but_at(self.host.as_deref(), self.port);
        Target {
            wire: *wire,
            server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_stands_before_the_host() {
        for (text, shown) in [
            ("localhost", "dallal://localhost:1373"),
            ("dallal://localhost:1", "dallal://localhost:1"),
            ("nats://localhost", "nats://localhost:4222"),
            ("redis://localhost:99", "redis://localhost:99"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), shown);
        }
    }

    #[test]
    fn an_unknown_protocol_is_refused() {
        let refused = "amqp://localhost"
            .parse::<Target>()
            .map(|target| target.to_string());
        assert!(refused.is_err_and(|why| why.contains("give dallal, nats, redis or mqtt")));
    }
}
