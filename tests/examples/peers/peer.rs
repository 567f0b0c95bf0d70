//! The programs that are measured, and the settings they run with.
//!
//! Each gets what lets it carry most without giving up what it promises: nothing is written to
//! disk unless that is what is compared, no client is dropped for what the load makes wait for it, and
//! small messages are not held back in the kernel.

use std::path::Path;

use crate::case::{Case, Wire};

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// The scheme of its address, before `://`, for its own protocol.
    scheme: &'static str,
    wires: &'static [Wire],
    pub(crate) role: Role,
    pub(crate) program: Program,
    /// How it is called; `PORT` and `FILE` are filled in.
    pub(crate) arguments: &'static str,
    pub(crate) settings: Settings,
    /// Where brokers of MQTT are compared, if that is something else.
    pub(crate) settings_in_mqtt: Option<Settings>,
    /// What makes it listen at a path as well, where Unix sockets are compared.
    pub(crate) unix: Option<Besides>,
    /// What makes it speak TLS, where that is compared.
    pub(crate) tls: Option<Besides>,
    /// What makes it keep messages, where that is compared.
    pub(crate) store: Option<Store>,
}

/// What makes a broker keep messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    /// It acknowledges what the system has.
    pub(crate) os: Keeping,
    /// It acknowledges what is durable, if its publishers ask for that.
    pub(crate) disk: Keeping,
    /// As `os`, with twenty messages of each topic at most, if its publishers ask for that.
    pub(crate) twenty: Keeping,
}

/// One way to keep messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    /// What the broker is told besides.
    pub(crate) besides: Besides,
    /// What `client bench` is told besides.
    load: &'static [&'static str],
}

impl Store {
    fn of(self, wire: Wire) -> Option<Keeping> {
        match wire {
            Wire::Os | Wire::KeptLines => Some(self.os),
            Wire::Disk => Some(self.disk),
            Wire::Twenty => Some(self.twenty),
            _ => None,
        }
    }
}

const fn keeping(besides: Besides, load: &'static [&'static str]) -> Keeping {
    Keeping { besides, load }
}

/// What a program is told besides; `SOCKET`, `CERT`, `KEY` and `DATA` are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Besides {
    Arguments(&'static str),
    /// At the end of `FILE`.
    Settings(&'static str),
}

/// The content of `FILE`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) text: &'static str,
    /// Why so, where that is not plain.
    pub(crate) note: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    Rival,
    /// Tells what the machine allows, and competes with no broker.
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
pub(crate) const MOSQUITTO: &str = "mosquitto";
pub(crate) const RUMQTTD: &str = "rumqttd";
pub(crate) const RELAY: &str = "relay";

const NONE: Settings = Settings { text: "", note: "" };

const NATS_SETTINGS: Settings = Settings {
    text: "\
listen: 127.0.0.1:PORT
max_pending: 1GB
max_connections: 64K
",
    note: "`max_pending` lets so much wait for a subscriber before it is cut off.",
};

/// Without `handshake_first` it says something before the handshake.
const NATS_TLS: &str = "\
tls {
  cert_file: \"CERT\"
  key_file: \"KEY\"
  handshake_first: true
}
";

const REDIS_SETTINGS: Settings = Settings {
    text: "\
bind 127.0.0.1
port PORT
save \"\"
appendonly no
client-output-buffer-limit pubsub 0 0 0
maxclients 15000
tcp-backlog 4096
",
    note: "Nothing goes to disk, and no subscriber is cut off for what waits for it.",
};

const MOSQUITTO_SETTINGS: Settings = Settings {
    text: "\
listener PORT 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
log_type error
",
    note: "Nothing goes to disk, and queues have no limit. Without `set_tcp_nodelay` it carries up to twice as many small \
           messages, and some of them wait for milliseconds.",
};

const MOSQUITTO_IN_MQTT: Settings = Settings {
    text: "\
listener PORT 127.0.0.1
allow_anonymous true
max_queued_messages 0
",
    note: "What it needs to be reached, and not to lose messages at QoS 1, of which a queue else holds 1,000. With that it \
           carries more than with the settings above.",
};

const RUMQTTD_SETTINGS: Settings = Settings {
    text: "\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v4.1]
name = \"v4-1\"
listen = \"127.0.0.1:PORT\"
next_connection_delay_ms = 1

[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 100
dynamic_filters = true
",
    note: "All numbers are those of the configuration that comes with it.",
};

/// A publisher gets the level `os` if it does not ask, and asks for `disk` in each message.
const OUR_STORE: Store = Store {
    os: keeping(ALL_OF_OURS, &[]),
    disk: keeping(ALL_OF_OURS, &["--ack", "disk"]),
    twenty: keeping(Besides::Arguments("--data DATA --keep bench/#=20"), &[]),
};

const ALL_OF_OURS: Besides = Besides::Arguments("--data DATA --keep bench/#=all");

/// `client bench` makes streams with these limits.
const ALL: &[&str] = &["--keep", "all"];
const TWENTY: &[&str] = &["--keep", "20"];

const NATS_JETSTREAM: Besides = Besides::Settings("jetstream {\n  store_dir: \"DATA\"\n}\n");

const NATS_STORE: Store = Store {
    os: keeping(NATS_JETSTREAM, ALL),
    disk: keeping(
        Besides::Settings("jetstream {\n  store_dir: \"DATA\"\n  sync_interval: always\n}\n"),
        ALL,
    ),
    twenty: keeping(NATS_JETSTREAM, TWENTY),
};

/// The last of two lines with one name holds. It writes no second file meanwhile.
const REDIS_EVERYSEC: Besides = Besides::Settings(
    "dir \"DATA\"\nappendonly yes\nappendfsync everysec\nauto-aof-rewrite-percentage 0\n",
);

const REDIS_STORE: Store = Store {
    os: keeping(REDIS_EVERYSEC, ALL),
    disk: keeping(
        Besides::Settings(
            "dir \"DATA\"\nappendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0\n",
        ),
        ALL,
    ),
    twenty: keeping(REDIS_EVERYSEC, TWENTY),
};

/// The scheme of the address, before `://`, for each broker of MQTT.
const MQTT: &str = "mqtt";

pub(crate) const PEERS: [Peer; 7] = [
    Peer {
        name: OURS,
        what: "this broker",
        scheme: "dallal",
        wires: &[
            Wire::Own,
            Wire::Mqtt,
            Wire::Lines,
            Wire::WebSocket,
            Wire::Events,
            Wire::Tcp,
            Wire::Unix,
            Wire::Tls,
            Wire::Os,
            Wire::Disk,
            Wire::Twenty,
            Wire::KeptLines,
        ],
        role: Role::Ours,
        program: Program::Broker,
        arguments: "--port PORT",
        settings: NONE,
        settings_in_mqtt: None,
        unix: Some(Besides::Arguments("--unix SOCKET")),
        tls: Some(Besides::Arguments("--tls-cert CERT --tls-key KEY")),
        store: Some(OUR_STORE),
    },
    Peer {
        name: NATS[0],
        what: "nats-server from PyPI",
        scheme: "nats",
        wires: &[Wire::Own, Wire::Tls, Wire::Os, Wire::Disk, Wire::Twenty],
        role: Role::Rival,
        program: Program::Named,
        arguments: "-c FILE",
        settings: NATS_SETTINGS,
        settings_in_mqtt: None,
        unix: None,
        tls: Some(Besides::Settings(NATS_TLS)),
        store: Some(NATS_STORE),
    },
    Peer {
        name: NATS[1],
        what: "nats-server as Debian packages it",
        scheme: "nats",
        wires: &[Wire::Own],
        role: Role::Rival,
        program: Program::Installed("nats-server"),
        arguments: "-c FILE",
        settings: NATS_SETTINGS,
        settings_in_mqtt: None,
        unix: None,
        tls: None,
        store: None,
    },
    Peer {
        name: REDIS,
        what: "redis-server as Debian packages it",
        scheme: "redis",
        wires: &[
            Wire::Own,
            Wire::Tcp,
            Wire::Unix,
            Wire::Os,
            Wire::Disk,
            Wire::Twenty,
        ],
        role: Role::Rival,
        program: Program::Installed("redis-server"),
        arguments: "FILE",
        settings: REDIS_SETTINGS,
        settings_in_mqtt: None,
        unix: Some(Besides::Settings("unixsocket SOCKET\n")),
        tls: None,
        store: Some(REDIS_STORE),
    },
    Peer {
        name: MOSQUITTO,
        what: "mosquitto as Debian packages it, MQTT 3.1.1",
        scheme: MQTT,
        wires: &[Wire::Own, Wire::Mqtt, Wire::Tls],
        role: Role::Rival,
        program: Program::Installed("mosquitto"),
        arguments: "-c FILE",
        settings: MOSQUITTO_SETTINGS,
        settings_in_mqtt: Some(MOSQUITTO_IN_MQTT),
        unix: None,
        tls: Some(Besides::Settings("certfile CERT\nkeyfile KEY\n")),
        store: None,
    },
    Peer {
        name: RUMQTTD,
        what: "the broker of the rumqtt project, MQTT 3.1.1",
        scheme: MQTT,
        wires: &[Wire::Mqtt],
        role: Role::Rival,
        program: Program::Named,
        arguments: "--quiet --config FILE",
        settings: RUMQTTD_SETTINGS,
        settings_in_mqtt: None,
        unix: None,
        tls: None,
        store: None,
    },
    Peer {
        name: RELAY,
        what: "no broker but a yardstick, see below",
        scheme: "dallal",
        wires: &[Wire::Own],
        role: Role::Yardstick,
        program: Program::Example("relay"),
        arguments: "PORT",
        settings: NONE,
        settings_in_mqtt: None,
        unix: None,
        tls: None,
        store: None,
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

impl Peer {
    /// Whether it is measured in a case at all.
    pub(crate) fn takes_part(&self, case: &Case) -> bool {
        self.wires.contains(&case.wire)
    }

    pub(crate) fn settings(&self, case: &Case) -> Settings {
        match (case.wire, self.settings_in_mqtt) {
            (Wire::Mqtt, Some(settings)) => settings,
            _ => self.settings,
        }
    }

    /// What it is told besides in a case.
    pub(crate) fn besides(&self, case: &Case) -> Option<Besides> {
        match case.wire {
            Wire::Tcp | Wire::Unix => self.unix,
            Wire::Tls => self.tls,
            Wire::Os | Wire::Disk | Wire::Twenty | Wire::KeptLines => {
                self.keeping(case).map(|keeping| keeping.besides)
            }
            Wire::Own | Wire::Mqtt | Wire::Lines | Wire::WebSocket | Wire::Events => None,
        }
    }

    fn keeping(&self, case: &Case) -> Option<Keeping> {
        self.store?.of(case.wire)
    }

    /// The address for `client bench` in a case, and what it is told besides.
    pub(crate) fn address(
        &self,
        case: &Case,
        port: u16,
        socket: &Path,
    ) -> (String, &'static [&'static str]) {
        let scheme = match case.wire {
            Wire::Own | Wire::Lines | Wire::Tcp | Wire::Unix => self.scheme,
            Wire::Os | Wire::Disk | Wire::Twenty | Wire::KeptLines => self.scheme,
            Wire::Mqtt => MQTT,
            Wire::WebSocket => "ws",
            Wire::Events => "http",
            Wire::Tls => match self.scheme {
                "nats" => "nats+tls",
                MQTT => "mqtts",
                _ => "tls",
            },
        };
        let address = match (case.wire, self.role) {
            (Wire::Unix, Role::Ours) => format!("unix:{}", socket.display()),
            (Wire::Unix, _) => format!("{scheme}+unix:{}", socket.display()),
            _ => format!("{scheme}://127.0.0.1:{port}"),
        };
        let flags: &[&str] = match self.keeping(case) {
            Some(keeping) => keeping.load,
            None if matches!(scheme, MQTT | "mqtts") => &["--mqtt", "3.1.1"],
            None => &[],
        };
        (address, flags)
    }

    /// Why a case is nothing for it.
    pub(crate) fn cannot(&self, case: &Case) -> Option<&'static str> {
        let hands_all_to_all = self.role == Role::Yardstick;
        (hands_all_to_all && case.needs_routing)
            .then_some("it sends each message to all connections, and this case is about routing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    #[test]
    fn an_address_is_that_of_the_wire() {
        let address = |peer: &str, case: &str| {
            let peer = find(peer).expect("a broker");
            let case = Case::find(case).expect("a case");
            peer.address(case, 9, Path::new("/a")).0
        };
        assert_eq!(address(OURS, "unix: TCP 1x1 16 B"), "dallal://127.0.0.1:9");
        assert_eq!(address(OURS, "unix: socket 1x1 16 B"), "unix:/a");
        assert_eq!(address(REDIS, "unix: socket round trips"), "redis+unix:/a");
        assert_eq!(address(OURS, "MQTT QoS 0 1x1 16 B"), "mqtt://127.0.0.1:9");
        assert_eq!(address(OURS, "TLS 1x1 128 B"), "tls://127.0.0.1:9");
        assert_eq!(address(NATS[0], "TLS 1x1 128 B"), "nats+tls://127.0.0.1:9");
        assert_eq!(address(MOSQUITTO, "TLS 1x1 128 B"), "mqtts://127.0.0.1:9");
    }

    #[test]
    fn those_with_unix_sockets_or_tls_or_a_store_are_told_of_it() {
        let is_one =
            |case: &&Case| matches!(case.wire, Wire::Unix | Wire::Tls) || case.wire.is_stored();
        for case in CASES.iter().filter(is_one) {
            let mut told = PEERS.iter().filter(|peer| peer.takes_part(case));
            assert!(told.clone().count() > 1 || case.wire == Wire::KeptLines);
            assert!(told.all(|peer| peer.besides(case).is_some()));
        }
    }

    #[test]
    fn what_a_publisher_asks_for_is_that_of_the_case() {
        let flags = |peer: &str, case: &str| {
            let peer = find(peer).expect("a broker");
            let case = Case::find(case).expect("a case");
            peer.address(case, 9, Path::new("/a")).1.join(" ")
        };
        assert_eq!(flags(OURS, "store: disk window 1"), "--ack disk");
        assert_eq!(flags(OURS, "store: 1x1 kept"), "");
        assert_eq!(flags(REDIS, "store: disk window 1"), "--keep all");
        assert_eq!(flags(NATS[0], "store: 10,000 topics, 20 kept"), "--keep 20");
        assert_eq!(flags(MOSQUITTO, "1x1 16 B"), "--mqtt 3.1.1");
    }
}
