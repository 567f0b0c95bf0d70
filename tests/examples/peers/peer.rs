//! The programs that are measured, and the settings they run with.
//!
//! Each gets what lets it carry most without giving up what it promises: nothing is written to
//! disk, no client is dropped for what the load makes wait for it, and small messages are not held
//! back in the kernel.

use crate::case::Case;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What stands before `://` in its address.
    pub(crate) scheme: &'static str,
    pub(crate) role: Role,
    pub(crate) program: Program,
    /// How it is called; `PORT` and `FILE` are filled in.
    pub(crate) arguments: &'static str,
    /// What stands in `FILE`.
    pub(crate) settings: &'static str,
    /// Why so, where that is not plain.
    pub(crate) note: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    Rival,
    /// Tells what the machine allows, and competes with nobody.
    Yardstick,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Built here.
    Broker,
    /// Built here as an example of that name.
    Example(&'static str),
    /// Found on the path.
    Installed(&'static str),
    /// Only where the command line says.
    Named,
}

pub(crate) const OURS: &str = "dallal";
pub(crate) const NATS: [&str; 2] = ["nats", "nats-debian"];
pub(crate) const REDIS: &str = "redis";
pub(crate) const RELAY: &str = "relay";

const NATS_SETTINGS: &str = "\
listen: 127.0.0.1:PORT
max_pending: 1GB
max_connections: 64K
";

const NATS_NOTE: &str = "`max_pending` lets so much wait for a subscriber before it is cut off.";

const REDIS_SETTINGS: &str = "\
bind 127.0.0.1
port PORT
save \"\"
appendonly no
client-output-buffer-limit pubsub 0 0 0
maxclients 15000
tcp-backlog 4096
";

const MOSQUITTO_SETTINGS: &str = "\
listener PORT 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
log_type error
";

pub(crate) const PEERS: [Peer; 6] = [
    Peer {
        name: OURS,
        what: "this broker",
        scheme: "dallal",
        role: Role::Ours,
        program: Program::Broker,
        arguments: "--port PORT",
        settings: "",
        note: "",
    },
    Peer {
        name: NATS[0],
        what: "nats-server, the newest that PyPI carries",
        scheme: "nats",
        role: Role::Rival,
        program: Program::Named,
        arguments: "-c FILE",
        settings: NATS_SETTINGS,
        note: NATS_NOTE,
    },
    Peer {
        name: NATS[1],
        what: "nats-server as Debian packages it",
        scheme: "nats",
        role: Role::Rival,
        program: Program::Installed("nats-server"),
        arguments: "-c FILE",
        settings: NATS_SETTINGS,
        note: NATS_NOTE,
    },
    Peer {
        name: REDIS,
        what: "redis-server as Debian packages it",
        scheme: "redis",
        role: Role::Rival,
        program: Program::Installed("redis-server"),
        arguments: "FILE",
        settings: REDIS_SETTINGS,
        note: "Nothing goes to disk, and no subscriber is cut off for what waits for it.",
    },
    Peer {
        name: "mosquitto",
        what: "mosquitto as Debian packages it, MQTT 3.1.1",
        scheme: "mqtt",
        role: Role::Rival,
        program: Program::Installed("mosquitto"),
        arguments: "-c FILE",
        settings: MOSQUITTO_SETTINGS,
        note: "Nothing goes to disk, and queues have no limit. Without `set_tcp_nodelay` it carries up to twice as many small \
               messages, and some of them wait for milliseconds.",
    },
    Peer {
        name: RELAY,
        what: "no broker but a yardstick, see below",
        scheme: "dallal",
        role: Role::Yardstick,
        program: Program::Example("relay"),
        arguments: "PORT",
        settings: "",
        note: "",
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

impl Peer {
    /// Why a case is nothing for it.
    pub(crate) fn cannot(&self, case: &Case) -> Option<&'static str> {
        let hands_all_to_all = self.role == Role::Yardstick;
        (hands_all_to_all && case.needs_routing)
            .then_some("it hands everything to everybody, and this case is about who gets what")
    }
}
