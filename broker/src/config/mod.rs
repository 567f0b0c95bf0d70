//! The configuration of a broker: one [`Config`], checked before use.
//!
//! `flags` fills it from arguments, environment and `file`, together with the [`Arguments`] that are of the
//! program alone. Only here do its limits become one [`Limits`].
//! Nothing here reads the machine or binds anything.

mod arguments;
mod check;
mod difference;
mod failure;
mod file;
mod flags;
mod origins;
mod parsers;
mod print;
mod store_flags;
mod store_tool;
mod tool;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use protocol::{AckLevel, Topic};

pub use arguments::{Arguments, LogFormat, LogSettings};
pub(crate) use difference::need_restart;
pub use store_tool::StoreTool;
pub use tool::{AccessTool, CertTool, SecretPlace, TokenTool, Tool, UserTool, UsersPlace};

use crate::admin::orders::MOST_DRAINING;
use crate::auth::access::AccessTable;
use crate::auth::identity::{JwtSettings, VerifierSettings};
use crate::engine::history::rules::KeepRule;
use crate::engine::limits::Limits;
use crate::net::endpoints::Endpoints;
use crate::net::tls::material::TlsMaterial;
use crate::net::tls::settings::TlsConfig;
use crate::net::unix_socket::UnixPlace;
use crate::wire::http::{self, SiteSettings};

/// The configuration of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses to listen on. Of several, those that this machine does not have are left out.
    pub host: Vec<IpAddr>,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// Further endpoints with the same protocols, each the addresses of one host and port.
    pub listen: Vec<Vec<SocketAddr>>,
    /// The paths of Unix sockets with the same protocols.
    pub unix: Vec<PathBuf>,
    /// The permissions of their files.
    pub unix_mode: u32,
    /// The numbers of the user and the group that own their files, where another than the broker's is
    /// wanted.
    pub unix_owner: (Option<u32>, Option<u32>),
    /// Rooms for raw text, each on a port of its own.
    pub rooms: Vec<RoomConfig>,
    /// Where lines in datagrams are received, each the addresses of one host and port.
    pub udp: Vec<Vec<SocketAddr>>,
    /// Maximum line length, in bytes without the line end.
    pub max_line: usize,
    /// Maximum simultaneous connections; by default what the machine's limits allow.
    pub max_connections: Option<usize>,
    /// Maximum of these from one address or one /64 of IPv6, except from this machine; zero for no limit,
    /// by default half of all.
    pub max_per_address: Option<usize>,
    /// Maximum bytes of messages queued for one client. Not less than `max_line`.
    pub outbox_bytes: usize,
    /// Maximum bytes of queued messages and incomplete lines of all clients together; by default half
    /// of the machine's memory. Not less than `outbox_bytes`.
    pub memory: Option<usize>,
    /// Maximum time that a publisher waits at a time for slow subscribers with `slow=block`; zero for
    /// never.
    pub max_block: Duration,
    /// Silence after which a client is sent a PING; zero for never.
    pub ping_interval: Duration,
    /// Interval at which the figures under `$SYS/broker/` are published; zero for never.
    pub sys_interval: Duration,
    /// Maximum subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Maximum retained messages.
    pub max_retained: usize,
    /// Maximum bytes of retained messages, with their topics.
    pub max_retained_bytes: usize,
    /// Maximum messages at QoS 1 and 2 queued for one MQTT client.
    pub max_queued: usize,
    /// Maximum time that an MQTT session is kept for a disconnected client; `Duration::MAX` for ever.
    pub session_expiry_max: Duration,
    /// Maximum sessions that outlast their connections, zero for no limit; by default ten for each of
    /// the maximum connections.
    pub max_sessions: Option<usize>,
    /// Maximum of these for one address, or for one /64 of IPv6; zero for no limit.
    pub max_sessions_per_address: usize,
    /// Maximum keep alive of a client of MQTT 5, in whole seconds; zero for any.
    pub max_keep_alive: Duration,
    /// Maximum members that a room has in datagrams.
    pub room_members: usize,
    /// Silence after which one of them is told so and forgotten.
    pub room_idle: Duration,
    /// The file of the users that clients have to be; without one, no client has to say who it is.
    pub users: Option<PathBuf>,
    /// The file of the keys that sign the JWTs by which clients may say who they are.
    pub jwt_keys: Option<PathBuf>,
    /// What `iss` of a JWT has to be, if it has to be something.
    pub jwt_issuer: Option<String>,
    /// What has to be among `aud` of a JWT, if something has to be.
    pub jwt_audience: Option<String>,
    /// The file of the rules who may do what; without one, users may do everything but give orders and slow down or
    /// inquire about others.
    pub access: Option<PathBuf>,
    /// Any client that can reach the broker may do everything: it may listen where others can reach it
    /// without knowing any users.
    pub open: bool,
    /// Host names by which browsers may address this broker, besides its addresses and `localhost`. A
    /// port is ignored.
    pub names: Vec<String>,
    /// Origins of other sites whose pages may use this broker, as in the header `Origin`, such as
    /// `https://app.example`, or `*` for all.
    pub allow_origins: Vec<String>,
    /// The path of the web chat, such as `/talking`, where nothing else of the broker is.
    pub talking: String,
    /// The time in which the broker drains before it stops; zero to stop at once. At most a day.
    pub drain: Duration,
    /// Addresses of proxies. Each of their connections begins with a PROXY header, which tells the
    /// address of the client.
    pub proxies: Vec<IpNet>,
    /// TLS, on the same ports.
    pub tls: TlsConfig,
    /// The file to which events of security are appended, if they are.
    pub security_log: Option<PathBuf>,
    /// The folder of what outlives the process, if anything does.
    pub data: Option<PathBuf>,
    /// How safe that is when its publisher is told so, unless it asks for a level.
    pub ack: AckLevel,
    /// Which topics keep what is published on them.
    pub keep: Vec<KeepRule>,
    /// Maximum bytes of the log with what they keep; none for 10 GiB in a folder, and 256 MiB in memory.
    pub keep_total: Option<u64>,
    /// Free bytes of the disk with that folder that are left to others.
    pub data_reserve: u64,
    /// Maximum topics that keep messages.
    pub keep_topics: usize,
    /// Maximum messages that a client asks for by their number, with `last` or `each`.
    pub history_max: u64,
    /// How often that is made durable.
    pub sync_interval: Duration,
}

/// A room for raw text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomConfig {
    /// The addresses of one host and port, for TCP and UDP.
    pub addresses: Vec<SocketAddr>,
    /// Its topic, where clients may publish.
    pub topic: String,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            host: vec![Ipv4Addr::LOCALHOST.into()],
            port: 1373,
            listen: Vec::new(),
            unix: Vec::new(),
            unix_mode: 0o660,
            unix_owner: (None, None),
            rooms: Vec::new(),
            udp: Vec::new(),
            max_line: limits.line_bytes,
            max_connections: None,
            max_per_address: None,
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
            max_sessions: None,
            max_sessions_per_address: limits.sessions_per_address,
            max_keep_alive: limits.keep_alive,
            room_members: limits.room_members,
            room_idle: limits.room_idle,
            users: None,
            jwt_keys: None,
            jwt_issuer: None,
            jwt_audience: None,
            access: None,
            open: false,
            names: Vec::new(),
            allow_origins: Vec::new(),
            talking: http::CHAT_PATH.to_owned(),
            drain: Duration::ZERO,
            proxies: Vec::new(),
            tls: TlsConfig::default(),
            security_log: None,
            data: None,
            ack: AckLevel::Os,
            keep: Vec::new(),
            keep_total: None,
            data_reserve: 256 << 20,
            keep_topics: 1_000_000,
            history_max: limits.past_messages,
            sync_interval: Duration::from_millis(100),
        }
    }
}

/// Maximum of `max_line`: some line lengths are stored in 32 bits.
const MOST_LINE_BYTES: usize = 1 << 30;

/// Maximum bytes of a nick in a room: 32 characters.
const LONGEST_NICK: usize = 32 * 4;

/// Sessions for each connection, unless their number is configured.
const SESSIONS_PER_CONNECTION: usize = 10;

/// Maximum sessions, unless another number is asked for.
const MOST_SESSIONS_UNASKED: usize = 1_000_000;

/// A number for which zero means that there is no limit.
fn or_unlimited(most: usize) -> usize {
    match most {
        0 => usize::MAX,
        most => most,
    }
}

impl Config {
    /// Checks that the values are valid and fit together.
    pub(crate) fn check(&self) -> Result<(), BadConfig> {
        let rooms = self.rooms.iter().map(|room| &room.addresses);
        if self.host.is_empty()
            || self
                .listen
                .iter()
                .chain(&self.udp)
                .chain(rooms)
                .any(Vec::is_empty)
        {
            return Err(BadConfig::NoAddress);
        }
        for room in &self.rooms {
            let bad = |why: &dyn fmt::Display| BadConfig::Room {
                topic: room.topic.clone(),
                why: why.to_string(),
            };
            // The longest name below it is that of a presence.
            let presence = format!("{}/$who/{}", room.topic, "x".repeat(LONGEST_NICK));
            let checked = Topic::parse(&room.topic).and_then(|_| Topic::parse(&presence));
            match checked {
                Err(why) => return Err(bad(&why)),
                Ok(topic) if topic.is_brokers_own() => {
                    return Err(bad(&"only the broker itself publishes there"));
                }
                Ok(_) => {}
            }
        }
        if self.max_connections == Some(0) {
            return Err(BadConfig::NoConnections);
        }
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
            Some(memory) if memory < self.outbox_bytes => {
                return Err(BadConfig::MemoryBelowOutbox {
                    memory,
                    outbox_bytes: self.outbox_bytes,
                });
            }
            _ => {}
        }
        if self.drain > MOST_DRAINING {
            return Err(BadConfig::Drain);
        }
        let names_tokens = self.jwt_issuer.is_some() || self.jwt_audience.is_some();
        if names_tokens && self.jwt_keys.is_none() {
            return Err(BadConfig::JwtWithoutKeys);
        }
        let asks_for_level =
            |rule: &KeepRule| rule.keeps.as_ref().is_some_and(|it| it.ack.is_some());
        if self.data.is_none() && self.keep.iter().any(asks_for_level) {
            return Err(BadConfig::LevelWithoutData);
        }
        self.tls.check().map_err(BadConfig::Tls)?;
        self.site_settings(&[])?;
        self.check_reach(&self.endpoints().wires.concat())
    }

    /// Checks that each client has to say who it is, or that the operator has said that it does not, where
    /// others can reach the broker. These are the addresses on which it serves all protocols.
    pub(crate) fn check_reach(&self, addresses: &[SocketAddr]) -> Result<(), BadConfig> {
        if self.open && (self.has_verifier() || self.access.is_some()) {
            return Err(BadConfig::OpenWithRules);
        }
        let asks = self.has_verifier() || self.tls.client_ca.is_some();
        match self.reached(addresses) {
            Some(reached) if !asks && !self.open => Err(BadConfig::Unprotected(reached)),
            _ => Ok(()),
        }
    }

    /// What others can reach, if they can: one of these addresses, or what passes on clients of anyone.
    fn reached(&self, addresses: &[SocketAddr]) -> Option<String> {
        let mut addresses = addresses.iter();
        let network = addresses.find(|address| !address.ip().to_canonical().is_loopback());
        let room = || Some(format!("the room {}", self.rooms.first()?.topic));
        let datagrams = || self.udp.iter().flatten().next();
        let datagrams = || Some(format!("{}, for lines in datagrams,", datagrams()?));
        let proxy = || {
            Some(format!(
                "what the proxy {} passes on",
                self.proxies.first()?
            ))
        };
        network
            .map(ToString::to_string)
            .or_else(room)
            .or_else(datagrams)
            .or_else(proxy)
    }

    /// Whether there are users, or keys of JWTs, by which a client can say who it is.
    pub(crate) fn has_verifier(&self) -> bool {
        self.users.is_some() || self.jwt_keys.is_some()
    }

    /// By what clients can say who they are.
    pub(crate) fn verifier_settings(&self) -> VerifierSettings {
        let jwt = self.jwt_keys.as_ref().map(|keys| JwtSettings {
            keys: keys.clone(),
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            check_rights: |rights| AccessTable::of_token(rights.iter()).map(drop),
        });
        let users = self.users.clone();
        VerifierSettings { users, jwt }
    }

    /// Reads the files of TLS, if there is a certificate. The error is each mistake in them.
    pub(crate) fn tls_material(&self) -> Result<Option<TlsMaterial>, Vec<String>> {
        let is_on = self.tls.is_on();
        let read = is_on.then(|| TlsMaterial::read(&self.tls, Timestamp::now()));
        read.transpose()
    }

    /// Whether clients without an identity may do nothing, unless rules say otherwise: there are users or keys of
    /// JWTs, or others can reach the broker and show certificates, and it is not open. These are the addresses on
    /// which it serves all protocols.
    pub(crate) fn asks_for_identities(&self, addresses: &[SocketAddr]) -> bool {
        let by_certificate = self.tls.client_ca.is_some() && !self.open;
        self.has_verifier() || (by_certificate && self.reached(addresses).is_some())
    }

    /// What is configured for browsers. The broker also has the names that are in its certificates.
    pub(crate) fn site_settings(
        &self,
        in_certificates: &[String],
    ) -> Result<SiteSettings, BadConfig> {
        let (mut names, origins) = (self.host_names()?, self.origins()?);
        let certified = in_certificates.iter();
        // One with a `*` is no name that a browser sends.
        names.extend(certified.filter_map(|name| origins::host_name(name).ok()));
        Ok(SiteSettings::new(&names, &origins, self.chat_path()?))
    }

    /// The names, as browsers send them.
    fn host_names(&self) -> Result<Vec<String>, BadConfig> {
        let names = self.names.iter();
        let parsed = names.map(|name| {
            origins::host_name(name).map_err(|why| BadConfig::Name {
                name: name.clone(),
                why,
            })
        });
        parsed.collect()
    }

    /// The allowed origins, as browsers send them.
    fn origins(&self) -> Result<Vec<String>, BadConfig> {
        let origins = self.allow_origins.iter();
        let parsed = origins.map(|origin| {
            origins::origin(origin).map_err(|why| BadConfig::Origin {
                origin: origin.clone(),
                why,
            })
        });
        parsed.collect()
    }

    /// The path of the web chat, as requests are compared with it.
    fn chat_path(&self) -> Result<&str, BadConfig> {
        http::chat_path(&self.talking).map_err(|why| BadConfig::Talking {
            path: self.talking.clone(),
            why: why.to_owned(),
        })
    }

    /// The limits of a broker; the two arguments are what the machine allows.
    pub(crate) fn limits(&self, connections: usize, memory_bytes: usize) -> Limits {
        Limits {
            line_bytes: self.max_line,
            connections,
            per_address: match self.max_per_address {
                Some(most) => or_unlimited(most),
                None => connections.div_ceil(2),
            },
            subscriptions: self.max_subscriptions,
            outbox_bytes: self.outbox_bytes,
            memory_bytes,
            max_block: self.max_block,
            ping_interval: self.ping_interval,
            retained: self.max_retained,
            retained_bytes: self.max_retained_bytes,
            queued: self.max_queued,
            session_expiry: self.session_expiry_max,
            sessions: match self.max_sessions {
                Some(most) => or_unlimited(most),
                None => connections
                    .saturating_mul(SESSIONS_PER_CONNECTION)
                    .min(MOST_SESSIONS_UNASKED),
            },
            sessions_per_address: or_unlimited(self.max_sessions_per_address),
            keep_alive: self.max_keep_alive,
            room_members: self.room_members,
            room_idle: self.room_idle,
            past_messages: self.history_max,
        }
    }

    /// All that is to be listened on.
    pub(crate) fn endpoints(&self) -> Endpoints {
        let with_port = |ip: &IpAddr| SocketAddr::from((*ip, self.port));
        let first = self.host.iter().map(with_port).collect();
        let rooms = self.rooms.iter();
        let unix = self.unix.iter();
        Endpoints {
            wires: [&[first], &self.listen[..]].concat(),
            unix: unix
                .map(|path| UnixPlace {
                    path: path.clone(),
                    mode: self.unix_mode,
                    owner: self.unix_owner,
                })
                .collect(),
            opened_unix: Vec::new(),
            rooms: rooms
                .map(|room| (room.addresses.clone(), room.topic.clone()))
                .collect(),
            datagrams: self.udp.concat(),
        }
    }
}

/// Why a [`Config`] is invalid. `Display` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadConfig {
    /// `host`, an element of `listen` or `udp`, or the addresses of a room are empty.
    NoAddress,
    /// `max_connections` is zero.
    NoConnections,
    /// `max_line` is zero, or more than a gibibyte.
    Line,
    /// `drain` is more than a day.
    Drain,
    /// Others can reach this, and no client has to say who it is.
    Unprotected(String),
    /// There are `users`, `jwt_keys` or rules, and the broker is to be `open`.
    OpenWithRules,
    /// A rule of `keep` has a level, and there is no `data`.
    LevelWithoutData,
    /// There is `jwt_issuer` or `jwt_audience` and no `jwt_keys`.
    JwtWithoutKeys,
    /// One message could be longer than the queue limit of a client.
    OutboxBelowLine {
        /// The smaller one.
        outbox_bytes: usize,
        /// The larger one.
        max_line: usize,
    },
    /// The queue of one client could exceed the limit for all clients.
    MemoryBelowOutbox {
        /// The smaller one.
        memory: usize,
        /// The larger one.
        outbox_bytes: usize,
    },
    /// An element of `names` is no host name that a browser sends.
    Name {
        /// The element.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The topic of a room is none where its members may publish.
    Room {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
    /// The web chat cannot be at `talking`.
    Talking {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// What is configured of TLS does not fit together.
    Tls(String),
    /// An element of `allow_origins` is no origin that a browser sends.
    Origin {
        /// The element.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => write!(f, "there is no address to listen on"),
            Self::NoConnections => write!(f, "--max-connections is 1 or more"),
            Self::Drain => write!(f, "--drain is at most a day"),
            Self::Unprotected(reached) => write!(
                f,
                "{reached} can be reached by others, and no client has to say who it is. Add a user \
                 (broker user add ann --users FILE) and start with --users FILE, or say --open if any \
                 client may do everything"
            ),
            Self::OpenWithRules => write!(
                f,
                "--open says that any client may do everything, and --users, --jwt-keys and --access say that not all may; \
                 leave one of them out"
            ),
            Self::LevelWithoutData => f.write_str(
                "a rule of --keep has ack=, but without a folder messages are kept in memory; name one by --data DIR, or leave \
                 out ack=",
            ),
            Self::JwtWithoutKeys => write!(
                f,
                "--jwt-issuer and --jwt-audience say which JWTs count, but there is no file of keys to check any; \
                 name it by --jwt-keys FILE"
            ),
            Self::Tls(why) => f.write_str(why),
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
            Self::Name { name, why } => write!(f, "--name {name:?}: {why}"),
            Self::Room { topic, why } => write!(f, "--room with the topic {topic:?}: {why}"),
            Self::Talking { path, why } => write!(f, "--talking {path:?}: {why}"),
            Self::Origin { origin, why } => write!(f, "--allow-origin {origin:?}: {why}"),
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
            max_sessions: Some(12),
            max_sessions_per_address: 13,
            max_keep_alive: Duration::from_secs(12),
            room_members: 15,
            room_idle: Duration::from_secs(16),
            history_max: 17,
            max_per_address: Some(14),
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
            keep_alive: Duration::from_secs(12),
            room_members: 15,
            room_idle: Duration::from_secs(16),
            past_messages: 17,
            connections: 10,
            memory_bytes: 11,
            sessions: 12,
            sessions_per_address: 13,
            per_address: 14,
        };
        assert_eq!(config.limits(10, 11), limits);
        let config = Config {
            max_sessions: None,
            max_sessions_per_address: 0,
            max_per_address: None,
            ..config
        };
        let limits = config.limits(10, 11);
        assert_eq!(limits.per_address, 5);
        assert_eq!(
            (limits.sessions, limits.sessions_per_address),
            (100, usize::MAX)
        );
        assert_eq!(config.limits(200_000, 11).sessions, 1_000_000);
    }

    /// What the check of a configuration says about who can reach the broker.
    #[track_caller]
    fn check_reach(config: &Config, refused: Option<&str>) {
        let why = config.check().err().map(|why| why.to_string());
        let is_so = match (&why, refused) {
            (Some(why), Some(refused)) => why.contains(refused),
            (why, refused) => why.is_none() && refused.is_none(),
        };
        assert!(is_so, "{why:?}, not {refused:?}");
    }

    #[test]
    fn where_others_can_reach_it_clients_have_to_say_who_they_are_or_it_is_open() {
        let at = |address: &str| vec![address.parse().expect("an address")];
        let mut reachable = Vec::new();
        for host in ["0.0.0.0", "10.0.0.5", "::", "::ffff:10.0.0.5"] {
            let host = vec![host.parse().expect("an address")];
            let config = Config {
                host,
                ..Config::default()
            };
            reachable.push((config, "can be reached by others"));
        }
        for (config, refused) in [
            (
                Config {
                    listen: vec![at("127.0.0.1:1"), at("192.168.0.1:1883")],
                    ..Config::default()
                },
                "192.168.0.1:1883 can be",
            ),
            (
                Config {
                    rooms: vec![RoomConfig {
                        addresses: at("127.0.0.1:1"),
                        topic: "lobby".to_owned(),
                    }],
                    ..Config::default()
                },
                "the room lobby can be",
            ),
            (
                Config {
                    udp: vec![at("127.0.0.1:1")],
                    ..Config::default()
                },
                "127.0.0.1:1, for lines in datagrams, can be",
            ),
            (
                Config {
                    proxies: vec!["127.0.0.1/32".parse().expect("a range")],
                    ..Config::default()
                },
                "what the proxy 127.0.0.1/32 passes on can be",
            ),
        ] {
            reachable.push((config, refused));
        }
        for (config, refused) in reachable {
            check_reach(&config, Some(refused));
            let open = Config {
                open: true,
                ..config.clone()
            };
            check_reach(&open, None);
            let with_users = Config {
                users: Some("users".into()),
                ..config
            };
            check_reach(&with_users, None);
            let both = Config {
                open: true,
                ..with_users
            };
            check_reach(&both, Some("leave one of them out"));
        }
        for host in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let host = vec![host.parse().expect("an address")];
            let unix = vec!["/run/broker.sock".into()];
            let config = Config {
                host,
                unix,
                ..Config::default()
            };
            check_reach(&config, None);
        }
    }

    #[test]
    fn where_others_can_reach_it_and_show_certificates_those_without_one_may_do_nothing() {
        let here: [SocketAddr; 1] = [([127, 0, 0, 1], 1).into()];
        let there: [SocketAddr; 1] = [([10, 0, 0, 5], 1).into()];
        let mut config = Config::default();
        assert!(!config.asks_for_identities(&there));
        config.tls.client_ca = Some("ca.pem".into());
        assert!(!config.asks_for_identities(&here));
        // A service manager may have opened it, so it is not configured.
        assert!(config.asks_for_identities(&there));
        assert!(config.check_reach(&there).is_ok());
        config.udp = vec![here.to_vec()];
        assert!(config.asks_for_identities(&here));
        config.open = true;
        assert!(!config.asks_for_identities(&there));
    }

    #[test]
    fn the_web_chat_is_where_nothing_else_is() {
        let at = |path: &str| {
            let config = Config {
                talking: path.to_owned(),
                ..Config::default()
            };
            let found = config.chat_path().map(str::to_owned);
            assert_eq!(config.check(), found.clone().map(drop));
            found.map_err(|why| why.to_string())
        };
        for (path, found) in [
            ("/talking", "/talking"),
            ("/talking/", "/talking"),
            ("/a/b.c", "/a/b.c"),
            ("/apis", "/apis"),
        ] {
            assert_eq!(at(path), Ok(found.to_owned()));
        }
        for path in ["", "talking", "ws://x/talking", "*"] {
            let why = format!("--talking {path:?}: a path begins with /, such as /talking");
            assert_eq!(at(path), Err(why));
        }
        for path in ["/a b", "/a?b", "/a#", "/a%20b", "/\u{e9}"] {
            let why = at(path).expect_err("no path");
            assert!(why.contains("it has a character besides"), "{why}");
        }
        for path in [
            "/",
            "//",
            "/ws",
            "/ws/",
            "/mqtt",
            "/topics",
            "/topics/a",
            "/api",
            "/api/why",
            "/healthz",
            "/login",
            "/logout/",
            "/metrics",
            "/chat",
            "/www/page.js",
            "/www/x",
            "/favicon.ico",
        ] {
            let why = at(path).expect_err("it is taken");
            assert!(
                why.contains("something else of the broker"),
                "{path}: {why}"
            );
        }
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

    #[test]
    fn a_room_has_a_topic_with_space_for_presences() {
        let why = |topic: &str| {
            let config = Config {
                rooms: vec![RoomConfig {
                    addresses: vec![([127, 0, 0, 1], 1).into()],
                    topic: topic.to_owned(),
                }],
                open: true,
                ..Config::default()
            };
            config.check().map_err(|why| why.to_string())
        };
        assert_eq!(why("a/b"), Ok(()));
        let longest = protocol::limits::TOPIC_BYTES - "/$who/".len() - LONGEST_NICK;
        assert_eq!(why(&"a".repeat(longest)), Ok(()));
        let deep = "a/".repeat(protocol::limits::TOPIC_LEVELS - 2);
        for topic in ["", "a/#", "$SYS/a", &"a".repeat(longest + 1), &deep] {
            let why = why(topic).expect_err("it is none");
            assert!(why.starts_with("--room with the topic"), "{why}");
        }
    }
}
