//! What all topics of a rule keep together: the oldest messages of any of them go first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

use super::topic::{KeptRun, KeptTopic};
use crate::sync::Mutex;

/// Topics that are no more are looked for when there may be so many.
const LEAST_TIDY: usize = 64;

/// The limit of a rule for all its topics.
pub(super) struct KeptTotal {
    most_bytes: u64,
    /// Lock order: before a topic of the rule.
    kept: Mutex<TotalKept>,
}

#[derive(Default)]
struct TotalKept {
    bytes: u64,
    /// Each topic that has messages, with the number of its oldest message, or one that was the oldest before: it is put right
    /// when it comes to the top.
    oldest: BinaryHeap<Reverse<OldestOf>>,
    /// At this number of topics, those that are no more are removed.
    tidy_at: usize,
    /// The number of the first of the messages that came last.
    newest: u64,
}

/// A topic in the order of oldest messages. It is not kept alive by that: one that keeps nothing is forgotten.
struct OldestOf {
    number: u64,
    topic: Weak<KeptTopic>,
}

impl KeptTotal {
    pub(super) fn new(most_bytes: u64) -> Self {
        Self {
            most_bytes,
            kept: Mutex::default(),
        }
    }

    /// Adds messages to a topic of the rule, and forgets those that are too many then, of this topic or others. The newest
    /// stay however long they are.
    pub(super) fn add(&self, topic: &Arc<KeptTopic>, run: KeptRun) {
        let mut kept = self.kept.lock();
        // Within the lock of the rule, so that its sum is that of its topics.
        let (before, after) = topic.add(run);
        kept.bytes = kept.bytes + after - before;
        kept.newest = kept.newest.max(run.first);
        kept.rank(topic);
        while kept.bytes > self.most_bytes && kept.forget_oldest() {}
    }

    /// Forgets messages of a topic of the rule with lower numbers than this; returns how many.
    pub(super) fn forget_before(&self, topic: &KeptTopic, sequence: u64) -> u64 {
        let mut kept = self.kept.lock();
        // Within the lock of the rule, as above.
        let before = topic.size().bytes;
        let forgotten = topic.forget_before(sequence);
        kept.bytes = kept.bytes + topic.size().bytes - before;
        forgotten
    }
}

#[cfg(test)]
impl KeptTotal {
    /// How many topics have a place among the others, or had one.
    pub(super) fn places(&self) -> usize {
        self.kept.lock().oldest.len()
    }
}

impl TotalKept {
    /// Has a topic take its place among the others, unless it has one or keeps nothing.
    fn rank(&mut self, topic: &Arc<KeptTopic>) {
        let number = topic.oldest();
        if number == u64::MAX || topic.set_ranked(true) {
            return;
        }
        if self.oldest.len() >= self.tidy_at {
            self.oldest
                .retain(|Reverse(it)| it.topic.strong_count() > 0);
            self.tidy_at = 2 * self.oldest.len() + LEAST_TIDY;
        }
        let topic = Arc::downgrade(topic);
        self.oldest.push(Reverse(OldestOf { number, topic }));
    }

    /// Forgets the oldest messages that came together. Returns false if there are none but the newest.
    fn forget_oldest(&mut self) -> bool {
        while let Some(Reverse(oldest)) = self.oldest.pop() {
            let Some(topic) = oldest.topic.upgrade() else {
                continue;
            };
            topic.set_ranked(false);
            let number = topic.oldest();
            let is_right = number == oldest.number;
            let is_newest = number >= self.newest;
            if is_right && !is_newest {
                self.bytes -= topic.forget_oldest();
            }
            self.rank(&topic);
            if is_right {
                return !is_newest;
            }
        }
        false
    }
}

impl PartialEq for OldestOf {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for OldestOf {}

impl PartialOrd for OldestOf {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OldestOf {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}
