//! Latency as a histogram: of copies, from the read of their message to the write of their last byte, and of syncs of the
//! store.
//!
//! Nothing is updated for each message. A batch is recorded once for all copies sent without queueing,
//! a chunk of a queue once for all its messages, with the age of the first.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Upper bounds of the buckets; one more bucket has the rest.
pub(crate) const BOUNDS: [Duration; 18] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Number of copies, or of syncs, by latency.
#[derive(Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of all latencies, in nanoseconds; overflows only after centuries of waiting.
    total: AtomicU64,
}

/// A snapshot of the figures.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// The number in each bucket, not cumulative.
    pub(crate) buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all latencies, in seconds.
    pub(crate) total_s: f64,
}

impl Latency {
    /// Records `count` of them with this latency.
    pub(crate) fn note(&self, time: Duration, count: u64) {
        // Relaxed: each number is valid by itself. A reader may see a bucket before the total.
        let bucket = BOUNDS.partition_point(|&bound| bound < time);
        self.buckets[bucket].fetch_add(count, Ordering::Relaxed);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.total
            .fetch_add(time.saturating_mul(count), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Latencies {
        Latencies {
            buckets: self
                .buckets
                .each_ref()
                .map(|bucket| bucket.load(Ordering::Relaxed)),
            total_s: Duration::from_nanos(self.total.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

impl Latencies {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The least bound that this part of all does not exceed; none without any, or beyond the highest bound.
    pub(crate) fn at_most(&self, part: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut so_far = 0;
        let bucket = self.buckets.iter().position(|count| {
            so_far += count;
            so_far >= wanted
        });
        BOUNDS.get(bucket?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_all_takes_at_most_the_bound_of_the_bucket_that_completes_it() {
        let latency = Latency::default();
        assert_eq!(latency.read().at_most(0.5), None);
        latency.note(Duration::from_micros(300), 99);
        let half = Some(Duration::from_micros(500));
        assert_eq!(latency.read().at_most(0.99), half);
        latency.note(Duration::from_millis(7), 2);
        let read = latency.read();
        assert_eq!(read.count(), 101);
        assert_eq!(read.at_most(0.5), half);
        assert_eq!(read.at_most(0.99), Some(Duration::from_millis(10)));
        latency.note(Duration::from_secs(61), 99);
        assert_eq!(latency.read().at_most(0.99), None);
    }

    #[test]
    fn a_time_goes_to_the_first_bucket_that_is_not_below_it() {
        let latency = Latency::default();
        latency.note(Duration::from_micros(10), 3);
        latency.note(Duration::from_nanos(10_001), 5);
        latency.note(Duration::from_secs(61), 7);
        let read = latency.read();
        assert_eq!((read.buckets[0], read.buckets[1]), (3, 5));
        assert_eq!(read.buckets[BOUNDS.len()], 7);
        assert_eq!(read.buckets.iter().sum::<u64>(), 15);
        let exact = 0.000_030 + 0.000_050_005 + 427.0;
        assert!((read.total_s - exact).abs() < 1e-6, "{}", read.total_s);
    }
}
