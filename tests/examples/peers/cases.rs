//! All loads, and what their figures are compared with.

use crate::case::{Case, Group, Load, Reference, Wire};

pub(crate) const SINGLE_TOPIC: &str = "1x1 128 B";

/// What the cases of the web are compared with.
const LINES: &str = "web: lines 1x1000";
const LINES_IDLE: &str = "web: idle 1,000 lines";

/// What cases of the store are compared with.
pub(crate) const ALL_KEPT: &str = "store: 10,000 topics, all kept";
pub(crate) const NOTHING_KEPT: &str = "store: 1x1 nothing kept";

pub(crate) const CASES: [Case; 65] = [
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
    case(
        Group::Os,
        Load::Kept,
        "store: os window 1",
        1,
        "--subs 0 --window 1",
    )
    .over(Wire::Os),
    case(
        Group::Os,
        Load::Kept,
        "store: os window 1024",
        1024,
        "--subs 0 --window 1024",
    )
    .over(Wire::Os),
    case(
        Group::Os,
        Load::Kept,
        "store: os window 1024, asked for",
        1024,
        "--subs 0 --window 1024 --ack os",
    )
    .over(Wire::KeptLines),
    case(
        Group::Disk,
        Load::Kept,
        "store: disk window 1",
        1,
        "--subs 0 --window 1",
    )
    .over(Wire::Disk),
    case(
        Group::Disk,
        Load::Kept,
        "store: disk 16x0 window 1",
        16,
        "--pubs 16 --subs 0 --window 1",
    )
    .over(Wire::Disk),
    case(
        Group::Disk,
        Load::Kept,
        "store: disk 64x0 window 1",
        64,
        "--pubs 64 --subs 0 --window 1",
    )
    .over(Wire::Disk),
    case(
        Group::Disk,
        Load::Kept,
        "store: disk window 1024",
        1024,
        "--subs 0 --window 1024",
    )
    .over(Wire::Disk),
    case(
        Group::Limit,
        Load::Kept,
        "store: 10,000 topics, 20 kept",
        20,
        "--subs 0 --topics 10000 --window 1024",
    )
    .over(Wire::Twenty),
    case(
        Group::Limit,
        Load::Kept,
        ALL_KEPT,
        10_000,
        "--subs 0 --topics 10000 --window 1024",
    )
    .over(Wire::KeptLines),
    case(
        Group::KeptThroughput,
        Load::Throughput,
        NOTHING_KEPT,
        1,
        "--size 128",
    )
    .over(Wire::Lines),
    case(
        Group::KeptThroughput,
        Load::Throughput,
        "store: 1x1 kept",
        1,
        "--size 128",
    )
    .over(Wire::KeptLines),
];

impl Group {
    pub(crate) const ALL: [Self; 20] = [
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
        Self::Os,
        Self::Disk,
        Self::Limit,
        Self::KeptThroughput,
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
            | Self::TlsIdle
            | Self::Os
            | Self::Disk
            | Self::Limit => Reference::Nats,
            Self::Qos0 | Self::Qos1 => Reference::Mosquitto,
            Self::Web => Reference::OursIn(LINES),
            Self::WebIdle => Reference::OursIn(LINES_IDLE),
            Self::KeptThroughput => Reference::OursIn(NOTHING_KEPT),
            Self::Unix | Self::UnixRoundTrips => Reference::OverTcp,
        }
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

    const fn routed(mut self) -> Self {
        self.needs_routing = true;
        self
    }

    const fn over(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }
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

#[cfg(test)]
mod tests {
    use crate::case::Lengths;

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
