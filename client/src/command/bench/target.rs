//! Which broker is measured, and by which protocol.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::server::{Login, Server, Url};
use crate::wire::Version;

use super::wire::{Line, Mqtt, Nats, Redis, Wire};

const WIRES: [&dyn Wire; 4] = [&Line, &Nats, &Redis, &MQTT];

static MQTT: Mqtt = Mqtt::of(false);

/// A broker under test.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) wire: &'static dyn Wire,
    pub(crate) server: Server,
}

/// What `--server` says.
#[derive(Clone, Debug)]
struct Place {
    wire: &'static dyn Wire,
    server: Server,
    login: Login,
}

/// Takes `HOST:PORT`, which is the line protocol, and each behind a protocol and `://`.
impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, place) = text.split_once("://").unwrap_or((Line.scheme(), text));
        let wire = WIRES.into_iter().find(|wire| wire.scheme() == scheme);
        let wire = wire.ok_or_else(|| {
            format!("{scheme:?} is no protocol of bench; give dallal, nats, redis or mqtt")
        })?;
        if scheme == MQTT.scheme() {
            let Url { server, mqtt } = text.parse()?;
            let login = mqtt.unwrap_or_default();
            return Ok(Self {
                wire,
                server,
                login,
            });
        }
        Ok(Self {
            wire,
            server: Server::parse(place, wire.default_port())?,
            login: Login::default(),
        })
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
    server: Place,
    /// Another host than that of --server
    #[arg(long)]
    host: Option<String>,
    /// Another port than that of --server
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Speak MQTT 5 or 3.1.1; mqtt://HOST is 5
    #[arg(long, value_enum, value_name = "VERSION", hide_possible_values = true)]
    mqtt: Option<Version>,
    /// MQTT: subscribe with QoS 0 or 1
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(..=1))]
    qos: Option<u8>,
    /// Wait so long for what should come
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    pub(crate) wait: Duration,
}

impl TargetArguments {
    /// What all of them together say, for a run in which so many messages may be without their
    /// acknowledgement.
    pub(crate) fn target(&self, window: Option<u64>) -> Result<Target, String> {
        let Place {
            wire,
            server,
            login,
        } = &self.server;
        let server = server.but_at(self.host.as_deref(), self.port);
        let is_mqtt = wire.scheme() == MQTT.scheme() || self.mqtt.is_some();
        if !is_mqtt {
            return match self.qos {
                None => Ok(Target {
                    wire: *wire,
                    server,
                }),
                Some(_) => Err("--qos is for MQTT; give --mqtt, or mqtt://HOST:PORT".to_owned()),
            };
        }
        let mqtt = Mqtt {
            is_v5: self.mqtt != Some(Version::V3),
            acknowledges: self.qos == Some(1),
            window,
            login: login.clone(),
        };
        if mqtt.acknowledges && window.is_none() {
            return Err("--qos 1 needs --window: so many messages without a receipt".to_owned());
        }
        // There is one target, and it is spoken to until the program ends.
        let wire = Box::leak(Box::new(mqtt));
        Ok(Target { wire, server })
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
            let Place { wire, server, .. } = text.parse().expect(text);
            assert_eq!(Target { wire, server }.to_string(), shown);
        }
    }

    #[test]
    fn an_unknown_protocol_is_refused() {
        let refused = "amqp://localhost"
            .parse::<Place>()
            .map(|place| place.server.to_string());
        assert!(refused.is_err_and(|why| why.contains("give dallal, nats, redis or mqtt")));
    }
}
