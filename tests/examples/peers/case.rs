//! What a load on every broker is: what it is called, what is spoken, and what is told of it. All of them stand in `cases.rs`.

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
    Os,
    Disk,
    Limit,
    KeptThroughput,
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
    /// The protocol that each is known for, with brokers that keep all messages; they acknowledge what the system has.
    Os,
    /// The same, and they acknowledge what is durable.
    Disk,
    /// As [`Wire::Os`], but of each topic only the newest twenty messages are kept.
    Twenty,
    /// As [`Wire::Os`], with our own broker alone.
    KeptLines,
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
    /// Receipts alone, for messages that no subscriber gets.
    Kept,
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

impl Load {
    /// What is told of such a run, the most telling first.
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Throughput => &[Figure::Delivered, Figure::Cpu, Figure::Peak],
            Self::Receipts | Self::Kept => &[
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

impl Wire {
    /// Whether messages are kept on the disk.
    pub(crate) fn is_stored(self) -> bool {
        matches!(self, Self::Os | Self::Disk | Self::Twenty | Self::KeptLines)
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
    /// All that `client bench` is told, but where the broker is.
    pub(crate) fn bench_arguments(&self, lengths: Lengths) -> Vec<String> {
        let times = match self.load {
            Load::Throughput | Load::Receipts | Load::Kept | Load::RoundTrips => {
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
            Load::Throughput | Load::Receipts | Load::Kept | Load::RoundTrips => lengths.seconds,
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
            | Load::Kept
            | Load::RoundTrips
            | Load::Latency
            | Load::LatencyToAll => 1000 + OTHERS,
        }
    }
}
