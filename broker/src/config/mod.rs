//! What a broker is told before it begins: one [`Config`], checked before it is used.
//!
//! `flags` fills it from arguments and environment, `manual` writes the page about them. The limits in it
//! leave as one [`Limits`], here and nowhere else. Nothing here reads the machine or opens anything.

mod flags;
mod manual;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::engine::limits::Limits;

/// What a broker is told before it begins.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// More addresses to listen on, for the same wires.
    pub listen: Vec<SocketAddr>,
    /// The longest line taken, in bytes without its line end.
    pub max_line: usize,
    /// The most connections at a time; by default what the machine bears.
    pub max_connections: Option<usize>,
    /// The most bytes of messages that wait for one client. Not less than `max_line`.
    pub outbox_bytes: usize,
    /// The most bytes that messages for slow clients and lines that have begun may take together; by
    /// default half of the machine's memory. Not less than `outbox_bytes`.
    pub memory: Option<usize>,
    /// The longest that a publisher waits at a time for slow subscribers that ask for it by
    /// `slow=block`; zero for never.
    pub max_block: Duration,
    /// A client that has been silent so long is sent a PING; zero for never.
    pub ping_interval: Duration,
    /// How often the figures under `$SYS/broker/` are published; zero for never.
    pub sys_interval: Duration,
    /// The most subscriptions of one connection.
    pub max_subscriptions: usize,
    /// The most retained messages.
    pub max_retained: usize,
    /// The most bytes of retained messages, with their topics.
    pub max_retained_bytes: usize,
    /// The most messages at QoS 1 and 2 that wait for one client of MQTT.
    pub max_queued: usize,
    /// The longest that a session of MQTT waits for its client.
    pub session_expiry_max: Duration,
    /// Names that browsers may know this broker by, besides its addresses and `localhost`.
    pub names: Vec<String>,
    /// Pages of other sites that may use this broker: what stands in their header `Origin`, such as
    /// `https://app.example`, or `*` for all.
    pub allow_origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 1373,
            listen: Vec::new(),
            max_line: limits.line_bytes,
            max_connections: None,
            outbox_bytes: limits.outbox_bytes,
            memory: None,
            max_block: limits.max_block,
            ping_interval: limits.ping_interval,
            sys_interval: Duration::from_secs(10),
            max_subscriptions: limits.subscriptions,
            max_retained: limits.retained,
            max_retained_bytes: limits.retained_bytes,
            max_queued: limits.queued,
            session_expiry_max: limits.session_expiry,
            names: Vec::new(),
            allow_origins: Vec::new(),
        }
    }
}

/// The longest line that can be asked for: lengths of lines are counted in 32 bits here and there.
const MOST_LINE_BYTES: usize = 1 << 30;

impl Config {
    /// Checks what no single value shows.
    pub(crate) fn check(&self) -> Result<(), BadConfig> {
        if !(1..=MOST_LINE_BYTES).contains(&self.max_line) {
            return Err(BadConfig::Line);
        }
        if self.outbox_bytes < self.max_line {
            return Err(BadConfig::OutboxBelowLine {
                outbox_bytes: self.outbox_bytes,
                max_line: self.max_line,
            });
        }
        match self.memory {
            Some(memory) if memory < self.outbox_bytes => Err(BadConfig::MemoryBelowOutbox {
                memory,
                outbox_bytes: self.outbox_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// The limits of a broker with these for what the machine decides.
    pub(crate) fn limits(&self, connections: usize, memory_bytes: usize) -> Limits {
        Limits {
            line_bytes: self.max_line,
            connections,
            subscriptions: self.max_subscriptions,
            outbox_bytes: self.outbox_bytes,
            memory_bytes,
            max_block: self.max_block,
            ping_interval: self.ping_interval,
            retained: self.max_retained,
            retained_bytes: self.max_retained_bytes,
            queued: self.max_queued,
            session_expiry: self.session_expiry_max,
        }
    }

    /// All addresses to listen on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let first = SocketAddr::from((self.host, self.port));
        [&[first], &self.listen[..]].concat()
    }
}

/// Why a [`Config`] cannot be. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadConfig {
    /// `max_line` is nothing, or more than a gibibyte.
    Line,
    /// One message could be longer than what may wait for a client.
    OutboxBelowLine {
        /// The smaller one.
        outbox_bytes: usize,
        /// The larger one.
        max_line: usize,
    },
    /// One client's messages could take more than all clients' may.
    MemoryBelowOutbox {
        /// The smaller one.
        memory: usize,
        /// The larger one.
        outbox_bytes: usize,
    },
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => write!(f, "--max-line is from 1 byte to 1 GiB"),
            Self::OutboxBelowLine {
                outbox_bytes,
                max_line,
            } => write!(
                f,
                "--outbox-bytes ({outbox_bytes}) is less than --max-line ({max_line}), so the \
                 longest message would have no room; raise the one or lower the other"
            ),
            Self::MemoryBelowOutbox {
                memory,
                outbox_bytes,
            } => write!(
                f,
                "--memory ({memory}) is less than --outbox-bytes ({outbox_bytes}), which is for \
                 one client alone; raise the one or lower the other"
            ),
        }
    }
}

impl std::error::Error for BadConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_that_of_the_config() {
        let config = Config {
            max_line: 1,
            outbox_bytes: 2,
            max_block: Duration::from_secs(3),
            ping_interval: Duration::from_secs(4),
            max_subscriptions: 5,
            max_retained: 6,
            max_retained_bytes: 7,
            max_queued: 8,
            session_expiry_max: Duration::from_secs(9),
            ..Config::default()
        };
        let limits = Limits {
            line_bytes: 1,
            outbox_bytes: 2,
            max_block: Duration::from_secs(3),
            ping_interval: Duration::from_secs(4),
            subscriptions: 5,
            retained: 6,
            retained_bytes: 7,
            queued: 8,
            session_expiry: Duration::from_secs(9),
            connections: 10,
            memory_bytes: 11,
        };
        assert_eq!(config.limits(10, 11), limits);
    }

    #[test]
    fn the_longest_line_must_fit_into_an_outbox() {
        let config = Config {
            max_line: 2048,
            outbox_bytes: 2047,
            ..Config::default()
        };
        let why = BadConfig::OutboxBelowLine {
            outbox_bytes: 2047,
            max_line: 2048,
        };
        assert_eq!(config.check(), Err(why));
        let config = Config {
            outbox_bytes: 1 << 30,
            memory: Some(1 << 20),
            ..Config::default()
        };
        let why = config.check().expect_err("it is less");
        assert!(why.to_string().contains("--memory (1048576)"), "{why}");
        for max_line in [0, MOST_LINE_BYTES + 1] {
            let config = Config {
                max_line,
                outbox_bytes: 1 << 31,
                ..Config::default()
            };
            assert_eq!(config.check(), Err(BadConfig::Line));
        }
    }
}
