//! Statistics of each topic, as publishers report them from time to time.
//!
//! No message updates this table: a publisher counts in its own route cache, and reports when it
//! pauses, when it evicts a route, when an inquiry asks, and about once a second while it is busy. The
//! table has a limited number of topics and bytes of names, and evicts those not seen for longest.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use crate::clock::Moment;
use crate::engine::stats::metrics::Counter;
use crate::sync::Mutex;

/// Maximum topics, in shards with a lock each.
const MOST_TOPICS: usize = 100_000;

/// Maximum bytes of their names.
const MOST_BYTES: usize = 16 * 1024 * 1024;

const SHARDS: usize = 64;

/// Rates cover about this many milliseconds.
const WINDOW_MS: u64 = 10_000;

/// Topics that were published to.
pub(crate) struct TopicStats {
    hasher: RandomState,
    shards: Box<[Mutex<TopicShard>]>,
    forgotten: Counter,
}

#[derive(Default)]
struct TopicShard {
    topics: HashMap<Box<str>, Seen, RandomState>,
    /// Bytes of the names.
    bytes: usize,
}

/// The statistics of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) messages: u64,
    pub(crate) copies: u64,
    pub(crate) last: Moment,
    first: Moment,
    /// The start of the current window, and the messages in it and in the one before.
    window: Moment,
    recent: [u64; 2],
}

impl Default for TopicStats {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            forgotten: Counter::default(),
        }
    }
}

impl TopicStats {
    /// Adds the counts of a publisher.
    pub(crate) fn add(&self, topic: &str, messages: u64, copies: u64, now: Moment) {
        let mut shard = self.shard(topic).lock();
        if let Some(seen) = shard.topics.get_mut(topic) {
            return seen.add(messages, copies, now);
        }
        let forgotten = shard.make_room(topic.len());
        let mut seen = Seen::new(now);
        seen.add(messages, copies, now);
        shard.bytes += topic.len();
        shard.topics.insert(topic.into(), seen);
        drop(shard);
        if forgotten > 0 {
            self.forgotten.add(forgotten as u64);
        }
    }

    pub(crate) fn find(&self, topic: &str) -> Option<Seen> {
        self.shard(topic).lock().topics.get(topic).copied()
    }

    /// The topics that `filter` matches, in order.
    pub(crate) fn matching(&self, filter: Filter<'_>) -> Vec<(Box<str>, Seen)> {
        let mut found = Vec::new();
        // One shard at a time, so that publishers wait for a part of the table at most.
        for shard in &self.shards {
            let shard = shard.lock();
            let matching = shard.topics.iter().filter(|(name, _)| {
                Topic::parse(name.as_bytes()).is_ok_and(|topic| filter.matches(topic))
            });
            found.extend(matching.map(|(name, seen)| (name.clone(), *seen)));
        }
        found.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        found
    }

    /// Number of topics evicted.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.get()
    }

    fn shard(&self, topic: &str) -> &Mutex<TopicShard> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }
}

impl TopicShard {
    /// If there is no room for one more name of this length, evicts the topics not seen for longest, a
    /// quarter at a time. Returns how many.
    fn make_room(&mut self, bytes: usize) -> usize {
        let before = self.topics.len();
        while self.topics.len() >= MOST_TOPICS / SHARDS
            || (self.bytes + bytes > MOST_BYTES / SHARDS && !self.topics.is_empty())
        {
            let mut ages: Vec<Moment> = self.topics.values().map(|seen| seen.last).collect();
            let quarter = ages.len() / 4;
            let (_, &mut oldest, _) = ages.select_nth_unstable(quarter);
            // Of those last seen at the same time as the last to go, some may stay.
            let mut too_many = quarter + 1;
            self.topics.retain(|_, seen| {
                let goes = too_many > 0 && seen.last <= oldest;
                too_many -= usize::from(goes);
                !goes
            });
            self.bytes = self.topics.keys().map(|name| name.len()).sum();
        }
        before - self.topics.len()
    }
}

impl Seen {
    fn new(now: Moment) -> Self {
        Self {
            messages: 0,
            copies: 0,
            last: now,
            first: now,
            window: now,
            recent: [0, 0],
        }
    }

    fn add(&mut self, messages: u64, copies: u64, now: Moment) {
        (self.window, self.recent) = self.recent_at(now);
        self.recent[0] += messages;
        self.messages += messages;
        self.copies += copies;
        self.last = self.last.max(now);
    }

    /// Messages a second, over about the last ten seconds, or since the first if that is less.
    pub(crate) fn rate(&self, now: Moment) -> f64 {
        let (window, [this, before]) = self.recent_at(now);
        let within = now.ms_since(window).min(WINDOW_MS);
        // Of the previous window, the part within the last ten seconds.
        let overlap = (WINDOW_MS - within) as f64 / WINDOW_MS as f64;
        let messages = this as f64 + before as f64 * overlap;
        let ms = now.ms_since(self.first).clamp(1000, WINDOW_MS);
        messages * 1000.0 / ms as f64
    }

    /// The start of the window of `now`, and the messages in it and in the one before.
    fn recent_at(&self, now: Moment) -> (Moment, [u64; 2]) {
        let [this, before] = self.recent;
        match now.ms_since(self.window) / WINDOW_MS {
            0 => (self.window, [this, before]),
            1 => (self.window.later(WINDOW_MS), [0, this]),
            _ => (now, [0, 0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments by milliseconds since the test began.
    fn clock() -> impl Fn(u64) -> Moment {
        let start = Moment::now();
        move |ms| start.later(ms)
    }

    fn names(topic_stats: &TopicStats, filter: &str) -> Vec<String> {
        let filter = Filter::parse(filter).expect("a filter");
        let matching = topic_stats.matching(filter).into_iter();
        matching.map(|(name, _)| name.into()).collect()
    }

    #[test]
    fn what_several_publishers_bring_is_added_up() {
        let (topic_stats, at) = (TopicStats::default(), clock());
        topic_stats.add("b", 2, 4, at(0));
        topic_stats.add("a/x", 1, 0, at(1));
        topic_stats.add("b", 3, 3, at(2));
        topic_stats.add("$x", 1, 1, at(3));
        let seen = topic_stats.find("b").expect("it was seen");
        assert_eq!((seen.messages, seen.copies, seen.last), (5, 7, at(2)));
        assert_eq!(names(&topic_stats, "#"), ["a/x", "b"]);
        assert_eq!(names(&topic_stats, "+"), ["b"]);
        assert_eq!(names(&topic_stats, "$x"), ["$x"]);
        assert!(topic_stats.find("c").is_none());
    }

    #[test]
    fn those_not_seen_for_longest_make_room() {
        let (topic_stats, at) = (TopicStats::default(), clock());
        let count = MOST_TOPICS * 2;
        for number in 0..count {
            topic_stats.add(&format!("t/{number}"), 1, 0, at(number as u64));
            topic_stats.add("always", 1, 0, at(number as u64));
        }
        let kept = names(&topic_stats, "#").len();
        assert!((MOST_TOPICS / 2..=MOST_TOPICS).contains(&kept), "{kept}");
        assert_eq!(topic_stats.forgotten() as usize, count + 1 - kept);
        let always = topic_stats
            .find("always")
            .expect("it was seen all the time");
        assert_eq!(always.messages, count as u64);
        assert!(topic_stats.find("t/0").is_none());
        assert!(topic_stats.find(&format!("t/{}", count - 1)).is_some());
    }

    #[test]
    fn long_names_take_no_more_than_they_may() {
        let (topic_stats, at) = (TopicStats::default(), clock());
        for number in 0..MOST_TOPICS {
            topic_stats.add(&format!("{number}/{}", "x".repeat(1000)), 1, 0, at(0));
        }
        let bytes: usize = names(&topic_stats, "#").iter().map(String::len).sum();
        assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&bytes), "{bytes}");
    }

    #[test]
    fn many_short_names_make_room_for_a_long_one() {
        let (mut shard, at) = (TopicShard::default(), clock());
        let mut add = |name: String, ms: u64| {
            shard.make_room(name.len());
            shard.bytes += name.len();
            shard.topics.insert(name.into(), Seen::new(at(ms)));
            assert!(shard.bytes <= MOST_BYTES / SHARDS);
        };
        (0..1000).for_each(|number| add(number.to_string(), number));
        let long = "x".repeat(1000);
        (1000..2000).for_each(|number| add(format!("{number}{long}"), number));
    }

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        let at = clock();
        let mut seen = Seen::new(at(0));
        for second in 0..60 {
            seen.add(100, 0, at(second * 1000));
        }
        let rate = seen.rate(at(60_000));
        assert!((90.0..=110.0).contains(&rate), "{rate}");
        let rate = seen.rate(at(65_000));
        assert!((40.0..=60.0).contains(&rate), "{rate}");
        assert!(seen.rate(at(81_000)) < 1.0);
        // The rate of a new topic does not count the seconds before its first message.
        let mut seen = Seen::new(at(0));
        seen.add(300, 0, at(0));
        seen.add(300, 0, at(2000));
        let rate = seen.rate(at(3000));
        assert!((190.0..=210.0).contains(&rate), "{rate}");
    }
}
