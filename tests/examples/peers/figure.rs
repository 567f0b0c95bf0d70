//! What is measured of a broker.

use crate::number::Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Delivered,
    Acked,
    RoundTrips,
    /// Of a message on its way, of a receipt, of a round trip: the case says which.
    P50,
    P99,
    /// Processor time of the broker for each delivered message.
    Cpu,
    Peak,
    /// What it grew by for all idle connections.
    Resident,
    PerConnection,
    Connected,
    Broadcast,
    Lost,
    Doubled,
    Reordered,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

impl Figure {
    pub(crate) const FAULTS: [Self; 3] = [Self::Lost, Self::Doubled, Self::Reordered];

    /// Its name among the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Delivered => "delivered_per_s",
            Self::Acked => "acked_per_s",
            Self::RoundTrips => "round_trips_per_s",
            Self::P50 => "p50_ns",
            Self::P99 => "p99_ns",
            Self::Cpu => "cpu_ns_per_message",
            Self::Peak => "peak_bytes",
            Self::Resident => "resident_bytes",
            Self::PerConnection => "resident_bytes_per_connection",
            Self::Connected => "connected_per_s",
            Self::Broadcast => "broadcast_p50_ns",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Delivered => "messages/s",
            Self::Acked => "receipts/s",
            Self::RoundTrips => "round trips/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Cpu => "processor a message",
            Self::Peak => "peak memory",
            Self::Resident => "memory for all",
            Self::PerConnection => "memory a connection",
            Self::Connected => "connects/s",
            Self::Broadcast => "one message to all",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Delivered
            | Self::Acked
            | Self::RoundTrips
            | Self::Connected
            | Self::Lost
            | Self::Doubled
            | Self::Reordered => Unit::Count,
            Self::P50 | Self::P99 | Self::Cpu | Self::Broadcast => Unit::Nanoseconds,
            Self::Peak | Self::Resident | Self::PerConnection => Unit::Bytes,
        }
    }

    pub(crate) fn better(self) -> Better {
        match self {
            Self::Delivered | Self::Acked | Self::RoundTrips | Self::Connected => Better::More,
            Self::P50
            | Self::P99
            | Self::Cpu
            | Self::Peak
            | Self::Resident
            | Self::PerConnection
            | Self::Broadcast
            | Self::Lost
            | Self::Doubled
            | Self::Reordered => Better::Less,
        }
    }
}

impl Better {
    /// Whether `one` is better than `other`.
    pub(crate) fn prefers(self, one: f64, other: f64) -> bool {
        match self {
            Self::More => one > other,
            Self::Less => one < other,
        }
    }

    /// The better of them.
    pub(crate) fn best(self, values: impl IntoIterator<Item = f64>) -> Option<f64> {
        let better = |best, value| {
            if self.prefers(value, best) {
                value
            } else {
                best
            }
        };
        values.into_iter().reduce(better)
    }

    /// How many times as good `one` is as `other`.
    pub(crate) fn advantage(self, one: f64, other: f64) -> f64 {
        match self {
            Self::More => one / other,
            Self::Less => other / one,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_is_the_one_that_is_preferred() {
        assert_eq!(Better::More.best([1.0, 3.0, 2.0]), Some(3.0));
        assert_eq!(Better::Less.best([2.0, 1.0, 3.0]), Some(1.0));
        assert_eq!(Better::More.best([]), None);
        assert!((Better::Less.advantage(5.0, 10.0) - 2.0).abs() < 1e-9);
    }
}
