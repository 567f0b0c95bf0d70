//! Flags and environment in, one checked [`Config`] out.

mod manual;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::process;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

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

    /// The limits of a broker with so many connections at most, and so much memory.
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

/// A message broker that you can talk to with netcat.
#[derive(Debug, Parser)]
#[command(name = "broker", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Flags {
    /// Port to listen on; 0 picks a free one
    #[arg(short, long, env = "BROKER_PORT", default_value = "1373")]
    port: u16,
    /// Address to listen on; 0.0.0.0 or :: for all
    #[arg(long, env = "BROKER_HOST", default_value = "127.0.0.1", value_parser = host)]
    host: IpAddr,
    /// Listen there too, such as 0.0.0.0:1883; may be given several times
    #[arg(long, env = "BROKER_LISTEN", value_name = "HOST:PORT", value_delimiter = ',',
          value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Longest line taken
    #[arg(
        long,
        env = "BROKER_MAX_LINE",
        default_value = "64MiB",
        value_name = "BYTES"
    )]
    max_line: ByteSize,
    /// Most connections at a time [default: what the machine bears]
    #[arg(long, env = "BROKER_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<usize>,
    /// Most bytes that wait for one slow client; then it is sent a GAP
    #[arg(
        long,
        env = "BROKER_OUTBOX_BYTES",
        default_value = "64MiB",
        value_name = "BYTES"
    )]
    outbox_bytes: ByteSize,
    /// Most bytes that wait for all slow clients [default: half of the machine's]
    #[arg(long, env = "BROKER_MEMORY", value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// Longest wait of a publisher for subscribers with slow=block; 0s for never
    #[arg(long, env = "BROKER_MAX_BLOCK", default_value = "1s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    max_block: Duration,
    /// A client silent for so long is sent a PING; 0s for never
    #[arg(long, env = "BROKER_PING_INTERVAL", default_value = "30s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    ping_interval: Duration,
    /// How often changed figures are published under $SYS/broker/; 0s for never
    #[arg(long, env = "BROKER_SYS_INTERVAL", default_value = "10s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    sys_interval: Duration,
    /// Most subscriptions of one connection
    #[arg(
        long,
        env = "BROKER_MAX_SUBSCRIPTIONS",
        default_value = "250000",
        value_name = "N"
    )]
    max_subscriptions: usize,
    /// Most retained messages
    #[arg(
        long,
        env = "BROKER_MAX_RETAINED",
        default_value = "1000000",
        value_name = "N"
    )]
    max_retained: usize,
    /// Most bytes of retained messages
    #[arg(
        long,
        env = "BROKER_MAX_RETAINED_BYTES",
        default_value = "256MiB",
        value_name = "BYTES"
    )]
    max_retained_bytes: ByteSize,
    /// Most messages at QoS 1 and 2 that wait for one client of MQTT
    #[arg(
        long,
        env = "BROKER_MAX_QUEUED",
        default_value = "100000",
        value_name = "N"
    )]
    max_queued: usize,
    /// Longest that a session of MQTT waits for its client
    #[arg(long, env = "BROKER_SESSION_EXPIRY_MAX", default_value = "7d", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    session_expiry_max: Duration,
    /// Name that browsers may know it by, besides its addresses; repeatable
    #[arg(
        long = "name",
        env = "BROKER_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    names: Vec<String>,
    /// Site whose pages may use it, such as https://app.example; repeatable
    #[arg(
        long = "allow-origin",
        env = "BROKER_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    allow_origins: Vec<String>,
    /// Print the manual page and exit: broker --man | man -l -
    #[arg(long)]
    man: bool,
}

const AFTER_HELP: &str = "\
Examples:
  broker                                 serve programs on this machine
  broker --host 0.0.0.0 --port 1373      serve the network (anyone may publish)
  broker --listen 127.0.0.1:1883         the port of MQTT as well
  RUST_LOG=debug broker                  log refused lines too
  nc 127.0.0.1 1373                      talk to it; type HELP

Exit: 0 stopped by SIGTERM or SIGINT   1 cannot serve, such as a taken port   2 wrong usage";

impl From<Flags> for Config {
    fn from(flags: Flags) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self {
            host: flags.host,
            port: flags.port,
            listen: flags.listen,
            max_line: bytes(flags.max_line),
            max_connections: flags.max_connections,
            outbox_bytes: bytes(flags.outbox_bytes),
            memory: flags.memory.map(bytes),
            max_block: flags.max_block,
            ping_interval: flags.ping_interval,
            sys_interval: flags.sys_interval,
            max_subscriptions: flags.max_subscriptions,
            max_retained: flags.max_retained,
            max_retained_bytes: bytes(flags.max_retained_bytes),
            max_queued: flags.max_queued,
            session_expiry_max: flags.session_expiry_max,
            names: flags.names,
            allow_origins: flags.allow_origins,
        }
    }
}

impl Config {
    /// From this process's arguments and environment. Wrong usage, `--help`, `--version` and
    /// `--man` end the process, as is usual.
    #[must_use]
    pub fn from_arguments() -> Self {
        let flags = Flags::parse();
        if flags.man {
            print_manual();
        }
        let config = Self::from(flags);
        if let Err(why) = config.check() {
            Flags::command()
                .error(ErrorKind::ValueValidation, why)
                .exit();
        }
        config
    }
}

/// Prints the page and ends the process.
fn print_manual() -> ! {
    let mut page = Vec::new();
    let written = manual::write_page(&mut page, &Flags::command());
    let printed = written.and_then(|()| io::stdout().lock().write_all(&page));
    process::exit(i32::from(printed.is_err()))
}

/// A host with a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|err| err.to_string())?;
    found
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

/// An address, or a name that stands for one.
fn host(text: &str) -> Result<IpAddr, String> {
    let mut found = (text, 0).to_socket_addrs().map_err(|err| err.to_string())?;
    let first = found.next().ok_or("the name has no address")?;
    Ok(first.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_have_the_defaults_of_the_config() {
        let flags = Config::from(Flags::parse_from(["broker"]));
        assert_eq!(format!("{flags:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_longest_line_must_fit_into_an_outbox() {
        let flags = Flags::parse_from(["broker", "--max-line", "2KiB", "--outbox-bytes", "2047"]);
        assert!(matches!(
            Config::from(flags).check(),
            Err(BadConfig::OutboxBelowLine {
                outbox_bytes: 2047,
                max_line: 2048
            })
        ));
        let flags = Flags::parse_from(["broker", "--outbox-bytes", "1GiB", "--memory", "1MiB"]);
        let why = Config::from(flags).check().expect_err("it is less");
        assert!(why.to_string().contains("--memory (1048576)"), "{why}");
    }

    #[test]
    fn help_fits_a_screen() {
        use clap::CommandFactory;
        let help = Flags::command().render_help().to_string();
        assert!(help.lines().count() <= 50, "{}", help.lines().count());
    }
}
