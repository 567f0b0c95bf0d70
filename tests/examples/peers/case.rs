//! The loads that every broker gets, and what is asked of them.

use crate::figure::Figure;

/// Cases that stand in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Payload,
    FanOut,
    Many,
    Receipts,
    RoundTrips,
    Latency,
    Idle,
    Qos0,
    Qos1,
    Web,
    WebIdle,
    Unix,
    UnixRoundTrips,
    Tls,
    TlsReceipts,
    TlsIdle,
}

/// What is spoken with the brokers of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// The protocol that each is known for.
    Own,
    /// MQTT 3.1.1.
    Mqtt,
    /// The line protocol, with our own broker alone.
    Lines,
    /// The line protocol over WebSocket.
    WebSocket,
    /// Server-sent events to subscribers; publishers speak the line protocol.
    Events,
    /// The protocol that each is known for, over TCP, with those that have Unix sockets as well.
    Tcp,
    /// The same over the Unix socket.
    Unix,
    /// The protocol that each is known for, inside of TLS.
    Tls,
}

/// What the figures of a table are shown as multiples of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The better of the two nats-servers.
    Nats,
    Mosquitto,
    /// Our own broker in another case.
    OursIn(&'static str),
    /// The same broker in the same case over TCP.
    OverTcp,
}

/// What `client bench` does, and so what it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Throughput,
    Receipts,
    RoundTrips,
    Latency,
    /// Until the last subscriber has a message.
    LatencyToAll,
    Idle,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) load: Load,
    pub(crate) wire: Wire,
    /// For `client bench`, but how long it takes.
    pub(crate) arguments: &'static str,
    /// Its position in a plot: bytes, subscribers, messages a second or connections.
    pub(crate) place: u32,
    /// Whether the result says nothing of a program that sends each message to all connections.
    pub(crate) needs_routing: bool,
}

const fn case(
    group: Group,
    load: Load,
    name: &'static str,
    place: u32,
    arguments: &'static str,
) -> Case {
    Case {
        name,
        group,
        load,
        wire: Wire::Own,
        arguments,
        place,
        needs_routing: false,
    }
}

impl Case {
    const fn routed(mut self) -> Self {
        self.needs_routing = true;
        self
    }

    const fn over(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }
}

pub(crate) const SINGLE_TOPIC: &str = "1x1 128 B";

/// What the cases of the web are compared with.
const LINES: &str = "web: lines 1x1000";
const LINES_IDLE: &str = "web: idle 1,000 lines";

pub(crate) const CASES: [Case; 54] = [
    case(
        Group::Payload,
        Load::Throughput,
        "1x1 16 B",
        16,
        "--size 16",
    ),
    case(
        Group::Payload,
        Load::Throughput,
        SINGLE_TOPIC,
        128,
        "--size 128",
    ),
    case(
        Group::Payload,
        Load::Throughput,
        "1x1 1 KiB",
        1024,
        "--size 1024",
    ),
    case(
        Group::Payload,
        Load::Throughput,
        "1x1 64 KiB",
        65_536,
        "--size 65536",
    ),
    case(
        Group::FanOut,
        Load::Throughput,
        "1x10 128 B",
        10,
        "--subs 10",
    ),
    case(
        Group::FanOut,
        Load::Throughput,
        "1x100 128 B",
        100,
        "--subs 100",
    ),
    case(
        Group::FanOut,
        Load::Throughput,
        "1x1000 128 B",
        1000,
        "--subs 1000",
    ),
    case(Group::Many, Load::Throughput, "8x1 128 B", 8, "--pubs 8"),
    case(
        Group::Many,
        Load::Throughput,
        "8x8 separate topics",
        8,
        "--pubs 8 --subs 8 --topics 8 --spread",
    )
    .routed(),
    case(
        Group::Many,
        Load::Throughput,
        "10,000 topics, 1 subscriber",
        10_000,
        "--topics 10000",
    )
    .routed(),
    case(
        Group::Many,
        Load::Throughput,
        "10,000 topics, 10 subscribers",
        10_000,
        "--topics 10000 --subs 10 --spread",
    )
    .routed(),
    case(Group::Receipts, Load::Receipts, "window 1", 1, "--window 1"),
    case(
        Group::Receipts,
        Load::Receipts,
        "window 1024",
        1024,
        "--window 1024",
    ),
    case(
        Group::RoundTrips,
        Load::RoundTrips,
        "round trips",
        1,
        "--request",
    )
    .routed(),
    case(
        Group::Latency,
        Load::Latency,
        "latency 1x1 1,000/s",
        1000,
        "--rate 1000",
    ),
    case(
        Group::Latency,
        Load::Latency,
        "latency 1x1 5,000/s",
        5000,
        "--rate 5000",
    ),
    case(
        Group::Latency,
        Load::Latency,
        "latency 1x1 20,000/s",
        20_000,
        "--rate 20000",
    ),
    case(
        Group::Latency,
        Load::Latency,
        "latency 1x1 50,000/s",
        50_000,
        "--rate 50000",
    ),
    case(
        Group::Latency,
        Load::LatencyToAll,
        "latency 1x100 100/s",
        100,
        "--rate 100 --subs 100",
    ),
    case(Group::Idle, Load::Idle, "idle 1,000", 1000, "--idle 1000"),
    case(Group::Idle, Load::Idle, "idle 5,000", 5000, "--idle 5000"),
    case(Group::Idle, Load::Idle, "idle 9,000", 9000, "--idle 9000"),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 1x1 16 B",
        1,
        "--cap 256KiB --size 16",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 1x100 16 B",
        100,
        "--cap 256KiB --size 16 --subs 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 8x8 16 B",
        8,
        "--cap 256KiB --size 16 --pubs 8 --subs 8 --topics 8 --spread",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 1x1 128 B",
        1,
        "--cap 256KiB --size 128",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 1x100 128 B",
        100,
        "--cap 256KiB --size 128 --subs 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos0,
        Load::Throughput,
        "MQTT QoS 0 8x8 128 B",
        8,
        "--cap 256KiB --size 128 --pubs 8 --subs 8 --topics 8 --spread",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 1x1 16 B",
        1,
        "--cap 256KiB --size 16 --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 1x100 16 B",
        100,
        "--cap 256KiB --size 16 --subs 100 --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 8x8 16 B",
        8,
        "--cap 256KiB --size 16 --pubs 8 --subs 8 --topics 8 --spread --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 1x1 128 B",
        1,
        "--cap 256KiB --size 128 --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 1x100 128 B",
        100,
        "--cap 256KiB --size 128 --subs 100 --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(
        Group::Qos1,
        Load::Throughput,
        "MQTT QoS 1 8x8 128 B",
        8,
        "--cap 256KiB --size 128 --pubs 8 --subs 8 --topics 8 --spread --qos 1 --window 100",
    )
    .over(Wire::Mqtt),
    case(Group::Web, Load::Throughput, LINES, 1000, "--subs 1000").over(Wire::Lines),
    case(
        Group::Web,
        Load::Throughput,
        "web: WebSocket 1x1000",
        1000,
        "--subs 1000",
    )
    .over(Wire::WebSocket),
    case(
        Group::Web,
        Load::Throughput,
        "web: events 1x1000",
        1000,
        "--subs 1000",
    )
    .over(Wire::Events),
    case(Group::WebIdle, Load::Idle, LINES_IDLE, 1000, "--idle 1000").over(Wire::Lines),
    case(
        Group::WebIdle,
        Load::Idle,
        "web: idle 1,000 WebSockets",
        1000,
        "--idle 1000",
    )
    .over(Wire::WebSocket),
    case(
        Group::WebIdle,
        Load::Idle,
        "web: idle 1,000 event streams",
        1000,
        "--idle 1000",
    )
    .over(Wire::Events),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: TCP 1x1 16 B",
        16,
        "--size 16",
    )
    .over(Wire::Tcp),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: socket 1x1 16 B",
        16,
        "--size 16",
    )
    .over(Wire::Unix),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: TCP 1x1 128 B",
        128,
        "--size 128",
    )
    .over(Wire::Tcp),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: socket 1x1 128 B",
        128,
        "--size 128",
    )
    .over(Wire::Unix),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: TCP 1x100 128 B",
        100,
        "--subs 100",
    )
    .over(Wire::Tcp),
    case(
        Group::Unix,
        Load::Throughput,
        "unix: socket 1x100 128 B",
        100,
        "--subs 100",
    )
    .over(Wire::Unix),
    case(
        Group::UnixRoundTrips,
        Load::RoundTrips,
        "unix: TCP round trips",
        1,
        "--request",
    )
    .over(Wire::Tcp),
    case(
        Group::UnixRoundTrips,
        Load::RoundTrips,
        "unix: socket round trips",
        1,
        "--request",
    )
    .over(Wire::Unix),
    case(
        Group::Tls,
        Load::Throughput,
        "TLS 1x1 128 B",
        1,
        "--size 128",
    )
    .over(Wire::Tls),
    case(
        Group::Tls,
        Load::Throughput,
        "TLS 1x100 128 B",
        100,
        "--subs 100",
    )
    .over(Wire::Tls),
    case(
        Group::Tls,
        Load::Throughput,
        "TLS 1x1000 128 B",
        1000,
        "--subs 1000",
    )
    .over(Wire::Tls),
    case(
        Group::TlsReceipts,
        Load::Receipts,
        "TLS 1x100 window 1",
        100,
        "--subs 100 --window 1",
    )
    .over(Wire::Tls),
    case(
        Group::TlsReceipts,
        Load::Receipts,
        "TLS 1x1000 window 1",
        1000,
        "--subs 1000 --window 1",
    )
    .over(Wire::Tls),
    case(
        Group::TlsIdle,
        Load::Idle,
        "TLS idle 1,000",
        1000,
        "--idle 1000",
    )
    .over(Wire::Tls),
];

impl Group {
    pub(crate) const ALL: [Self; 16] = [
        Self::Payload,
        Self::FanOut,
        Self::Many,
        Self::Receipts,
        Self::RoundTrips,
        Self::Latency,
        Self::Idle,
        Self::Qos0,
        Self::Qos1,
        Self::Web,
        Self::WebIdle,
        Self::Unix,
        Self::UnixRoundTrips,
        Self::Tls,
        Self::TlsReceipts,
        Self::TlsIdle,
    ];

    pub(crate) fn cases(self) -> impl Iterator<Item = &'static Case> {
        CASES.iter().filter(move |case| case.group == self)
    }

    pub(crate) fn reference(self) -> Reference {
        match self {
            Self::Payload
            | Self::FanOut
            | Self::Many
            | Self::Receipts
            | Self::RoundTrips
            | Self::Latency
            | Self::Idle
            | Self::Tls
            | Self::TlsReceipts
            | Self::TlsIdle => Reference::Nats,
            Self::Qos0 | Self::Qos1 => Reference::Mosquitto,
            Self::Web => Reference::OursIn(LINES),
            Self::WebIdle => Reference::OursIn(LINES_IDLE),
            Self::Unix | Self::UnixRoundTrips => Reference::OverTcp,
        }
    }
}

impl Load {
    /// What is told of such a run, the most telling first.
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Throughput => &[Figure::Delivered, Figure::Cpu, Figure::Peak],
            Self::Receipts => &[
                Figure::Acked,
                Figure::P50,
                Figure::P99,
                Figure::Cpu,
                Figure::Peak,
            ],
            Self::RoundTrips => &[
                Figure::RoundTrips,
                Figure::P50,
                Figure::P99,
                Figure::Cpu,
                Figure::Peak,
            ],
            Self::Latency | Self::LatencyToAll => {
                &[Figure::P50, Figure::P99, Figure::Cpu, Figure::Peak]
            }
            Self::Idle => &[
                Figure::PerConnection,
                Figure::Connected,
                Figure::Broadcast,
                Figure::Peak,
            ],
        }
    }
}

/// How long the runs are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) seconds: f64,
}

impl Lengths {
    /// At low rates there are few messages, and their rare cases are what is looked for.
    const LATENCY_TIMES: f64 = 2.0;
    const MAX_WARMUP: f64 = 0.5;
    /// By then a broker has given back what a connection needs only at first.
    const MAX_HOLD: f64 = 3.0;

    pub(crate) fn latency(self) -> f64 {
        Self::LATENCY_TIMES * self.seconds
    }

    pub(crate) fn warmup(self) -> f64 {
        Self::MAX_WARMUP.min(self.seconds / 2.0)
    }

    pub(crate) fn hold(self) -> f64 {
        Self::MAX_HOLD.min(1.5 * self.seconds)
    }
}

impl Case {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// The same case over TCP, if this is one that is compared with it.
    pub(crate) fn over_tcp(&self) -> Option<&'static Self> {
        let mut same = self
            .group
            .cases()
            .filter(|case| case.arguments == self.arguments);
        same.find(|case| case.wire == Wire::Tcp)
    }

    /// All that `client bench` is told, but where the broker is.
    pub(crate) fn bench_arguments(&self, lengths: Lengths) -> Vec<String> {
        let times = match self.load {
            Load::Throughput | Load::Receipts | Load::RoundTrips => {
                format!("--duration {}", lengths.seconds)
            }
            Load::Latency | Load::LatencyToAll => {
                let (duration, warmup) = (lengths.latency(), lengths.warmup());
                format!("--duration {duration} --warmup {warmup}")
            }
            Load::Idle => format!("--hold {}", lengths.hold()),
        };
        let words = self.arguments.split(' ').chain(times.split(' '));
        words.map(str::to_owned).collect()
    }

    /// How long a run takes about, without the start and the end of the broker.
    pub(crate) fn seconds(&self, lengths: Lengths) -> f64 {
        match self.load {
            Load::Throughput | Load::Receipts | Load::RoundTrips => lengths.seconds,
            Load::Latency | Load::LatencyToAll => lengths.latency() + lengths.warmup(),
            Load::Idle => lengths.hold() + f64::from(self.place) / 2500.0,
        }
    }

    /// How many open files the broker and the bench need each.
    pub(crate) fn open_files(&self) -> u64 {
        /// Publishers, standard streams, epoll and the like.
        const OTHERS: u64 = 200;
        match self.load {
            Load::Idle => u64::from(self.place) + OTHERS,
            Load::Throughput
            | Load::Receipts
            | Load::RoundTrips
            | Load::Latency
            | Load::LatencyToAll => 1000 + OTHERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cases_have_one_name() {
        for (at, case) in CASES.iter().enumerate() {
            let same = CASES[..at].iter().any(|other| other.name == case.name);
            assert!(!same, "{}", case.name);
        }
    }

    #[test]
    fn all_cases_stand_in_a_group() {
        let grouped = Group::ALL.into_iter().flat_map(Group::cases).count();
        assert_eq!(grouped, CASES.len());
    }

    #[test]
    fn each_case_of_unix_sockets_has_one_over_tcp() {
        for case in CASES.iter().filter(|case| case.wire == Wire::Unix) {
            let over_tcp = case.over_tcp().map(|case| case.name);
            let expected = case.name.replace("socket", "TCP");
            assert_eq!(over_tcp, Some(&*expected));
        }
        let other = Case::find(SINGLE_TOPIC).expect("a case");
        assert!(other.over_tcp().is_none());
    }

    #[test]
    fn a_run_is_as_long_as_was_asked_for() {
        let lengths = Lengths { seconds: 0.5 };
        let told = |name| Case::find(name).map(|case| case.bench_arguments(lengths).join(" "));
        assert_eq!(
            told("window 1").as_deref(),
            Some("--window 1 --duration 0.5")
        );
        assert_eq!(
            told("latency 1x1 1,000/s").as_deref(),
            Some("--rate 1000 --duration 1 --warmup 0.25")
        );
        assert_eq!(
            told("idle 1,000").as_deref(),
            Some("--idle 1000 --hold 0.75")
        );
    }
}
