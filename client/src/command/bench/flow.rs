//! Counters shared by all threads: how far publishers are ahead of subscribers, and the end of a
//! run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::layout::Layout;

/// Maximum bytes in flight to all subscribers together.
const MAX_BYTES_ON_THE_WAY: usize = 256 * 1024 * 1024;

/// Sleep between two checks of the counters.
const PAUSE: Duration = Duration::from_micros(100);

/// A counter in a cache line of its own, against false sharing.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// Published and received messages. Relaxed order is enough: a decision from two counters that are
/// not of one moment is corrected at the next check.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Published messages, for each group of subscribers.
    published: Vec<Counter>,
    /// Received or lost messages, for each subscriber.
    passed: Vec<Counter>,
    layout: Layout,
    /// Arrival of the last message, in nanoseconds since the beginning.
    last_ns: Counter,
    begin: Instant,
    /// Whether publishers have to stop.
    is_stopped: AtomicBool,
    /// Whether readers have to stop.
    is_closed: AtomicBool,
}

impl Flow {
    pub(crate) fn new(layout: &Layout) -> Self {
        let counters = |count: usize| (0..count).map(|_| Counter::default()).collect();
        Self {
            published: counters(layout.groups()),
            passed: counters(layout.subscribers),
            layout: layout.clone(),
            last_ns: Counter::default(),
            begin: Instant::now(),
            is_stopped: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Stops publishers and readers.
    pub(crate) fn close(&self) {
        self.stop();
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    pub(crate) fn add_published(&self, topic: usize, messages: u64) {
        if let Some(group) = self.published.get(self.layout.group_of(topic)) {
            group.0.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(crate) fn published(&self) -> u64 {
        let loaded = self.published.iter();
        loaded.map(|group| group.0.load(Ordering::Relaxed)).sum()
    }

    /// Sets how many messages a subscriber has received or lost.
    pub(crate) fn set_passed(&self, subscriber: usize, messages: u64, now_ns: u64) {
        self.passed[subscriber].0.store(messages, Ordering::Relaxed);
        self.last_ns.0.store(now_ns, Ordering::Relaxed);
    }

    pub(crate) fn passed(&self) -> u64 {
        let loaded = self.passed.iter();
        loaded
            .map(|subscriber| subscriber.0.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns.0.load(Ordering::Relaxed)
    }

    /// How many messages the slowest subscriber of a topic is behind.
    pub(crate) fn behind(&self, topic: usize) -> u64 {
        let group = self.layout.group_of(topic);
        let members = if self.layout.spread {
            &self.passed[group..=group]
        } else {
            &self.passed[..]
        };
        let Some(published) = self.published.get(group) else {
            return 0;
        };
        let slowest = members
            .iter()
            .map(|member| member.0.load(Ordering::Relaxed))
            .min();
        let published = published.0.load(Ordering::Relaxed);
        slowest.map_or(0, |slowest| published.saturating_sub(slowest))
    }

    /// Sleeps while a subscriber of the topic is too far behind. Returns `false` if the run is
    /// stopped or no subscriber has received anything for `patience`.
    pub(crate) fn wait_for_room(&self, topic: usize, room: u64, patience: Duration) -> bool {
        if self.behind(topic) < room {
            return true;
        }
        let mut last = (self.passed(), Instant::now());
        while self.behind(topic) >= room {
            if self.is_stopped() || !self.is_moving(&mut last, patience) {
                self.stop();
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// Waits until all published messages have arrived, or no subscriber has received anything for
    /// `patience`.
    pub(crate) fn wait_for_rest(&self, patience: Duration) {
        let mut last = (self.passed(), Instant::now());
        let expected = self.published() * self.layout.fan_out() as u64;
        while self.passed() < expected && !self.is_closed() {
            if !self.is_moving(&mut last, patience) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn is_moving(&self, last: &mut (u64, Instant), patience: Duration) -> bool {
        let passed = self.passed();
        if passed != last.0 {
            *last = (passed, Instant::now());
        }
        last.1.elapsed() < patience
    }
}

/// How many frames of this size one subscriber may be behind.
pub(crate) fn room(cap_bytes: usize, layout: &Layout, frame_bytes: usize) -> u64 {
    let cap = cap_bytes.min(MAX_BYTES_ON_THE_WAY / layout.subscribers.max(1));
    (cap / frame_bytes).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(subscribers: usize, topics: usize, spread: bool) -> Flow {
        Flow::new(&Layout {
            publishers: 1,
            subscribers,
            topics,
            spread,
        })
    }

    #[test]
    fn the_slowest_subscriber_counts() {
        let flow = flow(2, 1, false);
        flow.add_published(0, 10);
        flow.set_passed(0, 9, 1);
        flow.set_passed(1, 4, 2);
        assert_eq!((flow.behind(0), flow.passed(), flow.last_ns()), (6, 13, 2));
    }

    #[test]
    fn subscribers_of_other_topics_do_not_count() {
        let flow = flow(2, 2, true);
        flow.add_published(0, 10);
        flow.set_passed(0, 10, 1);
        flow.add_published(1, 10);
        assert_eq!((flow.behind(0), flow.behind(1)), (0, 10));
    }

    #[test]
    fn waits_end_after_the_patience() {
        let flow = flow(1, 1, false);
        flow.add_published(0, 2);
        assert!(flow.wait_for_room(0, 3, Duration::ZERO));
        assert!(!flow.wait_for_room(0, 2, Duration::ZERO));
        assert!(flow.is_stopped());
        flow.wait_for_rest(Duration::ZERO);
    }

    #[test]
    fn without_subscribers_there_is_always_room() {
        let flow = flow(0, 1, false);
        flow.add_published(0, 2);
        assert!(flow.wait_for_room(0, 1, Duration::ZERO));
    }
}
