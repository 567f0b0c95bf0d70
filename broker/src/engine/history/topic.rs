//! What one topic keeps: where its messages are in the log.

use std::collections::VecDeque;
use std::ops::Range;

use protocol::AckLevel;

use super::rules::KeepLimits;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Consecutive messages of a topic in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptRun {
    /// The sequence number of the first.
    pub(crate) first: u64,
    pub(crate) messages: u32,
    pub(crate) bytes: u32,
}

/// A topic that keeps messages.
pub(crate) struct KeptTopic {
    name: Box<str>,
    /// The number of the rule by which it keeps them.
    rule: usize,
    limits: KeepLimits,
    /// It has its place among the topics of a rule with a limit for all of them.
    is_ranked: AtomicBool,
    kept: Mutex<KeptRuns>,
}

#[derive(Default)]
struct KeptRuns {
    /// In the order of the log.
    runs: VecDeque<KeptRun>,
    messages: u64,
    bytes: u64,
    /// Messages that were forgotten since the start.
    forgotten: u64,
    /// The number behind the last of them.
    forgotten_end: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptSize {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// The sequence numbers of the oldest and of the newest message; zero if there is none.
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
}

impl KeptRun {
    /// The sequence number behind its last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.messages)
    }
}

impl KeptTopic {
    pub(super) fn new(name: &str, (rule, limits): (usize, KeepLimits)) -> Self {
        Self {
            name: name.into(),
            rule,
            limits,
            is_ranked: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How safe a message is before its publisher is told so, if this topic has a level of its own.
    pub(crate) fn level(&self) -> Option<AckLevel> {
        self.limits.ack
    }

    pub(super) fn rule(&self) -> usize {
        self.rule
    }

    /// Notes whether it has its place among the topics of its rule; returns whether it had.
    pub(super) fn set_ranked(&self, is_ranked: bool) -> bool {
        // Relaxed: read and written under the lock of the rule alone.
        self.is_ranked.swap(is_ranked, Ordering::Relaxed)
    }

    /// Adds messages that are in the log, and forgets those that are too many then. Returns how many bytes it has before
    /// and after.
    pub(super) fn add(&self, run: KeptRun) -> (u64, u64) {
        let mut kept = self.kept.lock();
        let before = kept.bytes;
        kept.messages += u64::from(run.messages);
        kept.bytes += u64::from(run.bytes);
        // Publishers come here after they have appended, so one may have been overtaken.
        let at = match kept.runs.back() {
            Some(last) if last.first > run.first => {
                kept.runs.partition_point(|other| other.first < run.first)
            }
            // Nearly always, and without a search in a list that may be long.
            _ => kept.runs.len(),
        };
        let is_last = at == kept.runs.len();
        match kept.runs.back_mut() {
            // Where bytes are limited, runs are dropped as they came, so that a start has the same result.
            Some(last)
                if is_last
                    && last.end() == run.first
                    && !self.limits.is_for_bytes()
                    && last.messages.checked_add(run.messages).is_some()
                    && last.bytes.checked_add(run.bytes).is_some() =>
            {
                last.messages += run.messages;
                last.bytes += run.bytes;
            }
            _ => kept.runs.insert(at, run),
        }
        if let Some(count) = self.limits.count {
            let excess = kept.messages.saturating_sub(count);
            kept.drop_messages(excess);
        }
        if let Some(bytes) = self.limits.bytes {
            while kept.bytes > bytes && kept.runs.len() > 1 {
                kept.drop_run();
            }
        }
        (before, kept.bytes)
    }

    /// Forgets the oldest messages that came together; returns how many bytes these were.
    pub(super) fn forget_oldest(&self) -> u64 {
        let mut kept = self.kept.lock();
        let before = kept.bytes;
        kept.drop_run();
        before - kept.bytes
    }

    /// Forgets messages with lower numbers than this; returns how many.
    pub(super) fn forget_before(&self, sequence: u64) -> u64 {
        let mut kept = self.kept.lock();
        let before = kept.messages;
        while let Some(first) = kept.runs.front().copied()
            && first.first < sequence
        {
            match sequence < first.end() {
                true => kept.drop_messages(sequence - first.first),
                false => kept.drop_run(),
            }
        }
        before - kept.messages
    }

    /// The age beyond which messages are forgotten, in milliseconds.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        self.limits.age_ms()
    }

    pub(crate) fn size(&self) -> KeptSize {
        let kept = self.kept.lock();
        KeptSize {
            messages: kept.messages,
            bytes: kept.bytes,
            oldest: kept.runs.front().map_or(0, |run| run.first),
            newest: kept.runs.back().map_or(0, |run| run.end() - 1),
        }
    }

    /// The number of the first of the newest messages before `end`, of which there are at most so many; `end` if there
    /// are none.
    pub(super) fn first_of_newest(&self, most: u64, end: u64) -> u64 {
        let mut runs = Vec::new();
        self.newest(most, end, &mut runs);
        runs.last().map_or(end, |run| run.first)
    }

    /// How many runs it has from this number on.
    pub(super) fn runs_from(&self, first: u64) -> u64 {
        let kept = self.kept.lock();
        let before = kept.runs.partition_point(|run| run.end() <= first);
        (kept.runs.len() - before) as u64
    }

    /// The number of the oldest message; one behind all if there is none.
    pub(crate) fn oldest(&self) -> u64 {
        let kept = self.kept.lock();
        kept.runs.front().map_or(u64::MAX, |run| run.first)
    }

    /// The number behind the last message that was forgotten since the start.
    pub(super) fn forgotten_end(&self) -> u64 {
        self.kept.lock().forgotten_end
    }

    /// How many messages it has had before this number since the start.
    pub(super) fn place_of(&self, number: u64) -> u64 {
        let kept = self.kept.lock();
        let runs = kept.runs.iter().take_while(|run| run.first < number);
        let before = runs.map(|run| run.end().min(number) - run.first);
        kept.forgotten + before.sum::<u64>()
    }

    /// Its messages with these numbers. Returns how many it has forgotten since the start.
    pub(super) fn runs_in(&self, numbers: Range<u64>, out: &mut Vec<KeptRun>) -> u64 {
        let kept = self.kept.lock();
        let before = kept.runs.partition_point(|run| run.end() <= numbers.start);
        let runs = kept.runs.range(before..);
        for run in runs.take_while(|run| run.first < numbers.end) {
            let first = run.first.max(numbers.start);
            let end = run.end().min(numbers.end);
            // How long each is was not noted: they are taken for equal.
            let bytes = u64::from(run.bytes) * (end - first) / u64::from(run.messages);
            out.push(KeptRun {
                first,
                messages: (end - first) as u32,
                bytes: bytes as u32,
            });
        }
        kept.forgotten
    }

    /// The newest messages, at most so many, before a sequence number; the newest first.
    pub(super) fn newest(&self, most: u64, before: u64, out: &mut Vec<KeptRun>) {
        let kept = self.kept.lock();
        let mut left = most;
        for run in kept.runs.iter().rev() {
            if left == 0 {
                return;
            }
            let end = run.end().min(before);
            let count = end.saturating_sub(run.first).min(left);
            if count > 0 {
                left -= count;
                out.push(KeptRun {
                    first: end - count,
                    messages: count as u32,
                    bytes: 0,
                });
            }
        }
    }
}

impl KeptRuns {
    /// Forgets the oldest messages.
    fn drop_messages(&mut self, mut count: u64) {
        while count > 0
            && let Some(first) = self.runs.front_mut()
        {
            if u64::from(first.messages) <= count {
                count -= u64::from(first.messages);
                self.drop_run();
                continue;
            }
            // How long each is was not noted: they are taken for equal.
            let bytes = u64::from(first.bytes) * count / u64::from(first.messages);
            first.first += count;
            self.forgotten_end = first.first;
            first.messages -= count as u32;
            first.bytes -= bytes as u32;
            self.messages -= count;
            self.bytes -= bytes;
            self.forgotten += count;
            return;
        }
    }

    fn drop_run(&mut self) {
        if let Some(run) = self.runs.pop_front() {
            self.messages -= u64::from(run.messages);
            self.bytes -= u64::from(run.bytes);
            self.forgotten += u64::from(run.messages);
            self.forgotten_end = run.end();
        }
        // A topic that had very much once has little now.
        if self.runs.len() < self.runs.capacity() / 8 {
            self.runs.shrink_to(self.runs.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn topic(limits: KeepLimits) -> KeptTopic {
        KeptTopic::new("a", (0, limits))
    }

    fn run(first: u64, messages: u32) -> KeptRun {
        KeptRun {
            first,
            messages,
            bytes: 10 * messages,
        }
    }

    /// The numbers of all messages.
    fn all(topic: &KeptTopic) -> Vec<u64> {
        let mut runs = Vec::new();
        topic.newest(u64::MAX, u64::MAX, &mut runs);
        runs.iter()
            .rev()
            .flat_map(|run| run.first..run.end())
            .collect()
    }

    #[test]
    fn no_more_is_kept_than_the_limits_allow() {
        let by_count = topic(KeepLimits {
            count: Some(4),
            ..KeepLimits::default()
        });
        by_count.add(run(1, 3));
        by_count.add(run(4, 2));
        assert_eq!(all(&by_count), [2, 3, 4, 5]);
        by_count.add(run(10, 1));
        assert_eq!(all(&by_count), [3, 4, 5, 10]);
        let size = by_count.size();
        assert_eq!(
            (size.messages, size.bytes, size.oldest, size.newest),
            (4, 40, 3, 10)
        );
        by_count.add(run(20, 9));
        assert_eq!(all(&by_count), [25, 26, 27, 28]);
        let by_bytes = topic(KeepLimits {
            bytes: Some(50),
            ..KeepLimits::default()
        });
        by_bytes.add(run(1, 3));
        by_bytes.add(run(4, 2));
        assert_eq!(all(&by_bytes), [1, 2, 3, 4, 5]);
        by_bytes.add(run(6, 1));
        assert_eq!(all(&by_bytes), [4, 5, 6]);
        // The newest stays, however long it is.
        by_bytes.add(run(7, 9));
        assert_eq!(all(&by_bytes), [7, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn what_was_appended_earlier_and_comes_later_is_in_its_place() {
        let topic = topic(KeepLimits {
            age: Some(Duration::from_secs(2)),
            ..KeepLimits::default()
        });
        for first in [5, 1, 9, 3] {
            topic.add(run(first, 2));
        }
        assert_eq!(all(&topic), [1, 2, 3, 4, 5, 6, 9, 10]);
        assert_eq!((topic.forget_before(4), topic.age_ms()), (3, Some(2000)));
        assert_eq!(all(&topic), [4, 5, 6, 9, 10]);
        assert_eq!(topic.forget_before(100), 5);
        assert_eq!((all(&topic).len(), topic.size()), (0, KeptSize::default()));
    }

    #[test]
    fn the_newest_before_a_number_are_found() {
        let topic = topic(KeepLimits::default());
        for first in [1, 11, 21] {
            topic.add(run(first, 3));
        }
        let mut found = Vec::new();
        topic.newest(4, 22, &mut found);
        let numbers: Vec<_> = found.iter().map(|run| (run.first, run.messages)).collect();
        assert_eq!(numbers, [(21, 1), (11, 3)]);
        assert_eq!(topic.first_of_newest(4, 22), 11);
        assert_eq!(topic.first_of_newest(2, 22), 13);
        assert_eq!((topic.first_of_newest(9, 1), topic.runs_from(13)), (1, 2));
        let mut found = Vec::new();
        topic.runs_in(2..23, &mut found);
        let numbers: Vec<_> = found.iter().map(|run| (run.first, run.messages)).collect();
        assert_eq!(numbers, [(2, 2), (11, 3), (21, 2)]);
    }
}
