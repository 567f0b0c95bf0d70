//! All topics that keep messages, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{MessageLine, Topic};

use super::rules::KeepRules;
use super::topic::{KeptRun, KeptTopic};
use super::total::KeptTotal;
use crate::storage::NotKept;
use crate::sync::RwLock;

pub(crate) struct KeptTopics {
    rules: KeepRules,
    /// For each rule, what all its topics keep together, if that is limited.
    totals: Vec<Option<KeptTotal>>,
    most: usize,
    pub(super) all: RwLock<BTreeMap<Box<str>, Arc<KeptTopic>>>,
}

impl KeptTopics {
    /// None yet, and at most so many.
    pub(crate) fn new(rules: KeepRules, most: usize) -> Self {
        let totals = rules.totals().map(|most| most.map(KeptTotal::new));
        Self {
            totals: totals.collect(),
            rules,
            most,
            all: RwLock::default(),
        }
    }

    /// Maximum topics that keep messages.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether the topic keeps what is published on it.
    pub(super) fn keeps(&self, name: Topic<'_>) -> bool {
        self.rules.find(name).is_some()
    }

    /// The topic, if it keeps what is published on it.
    pub(crate) fn topic(&self, name: Topic<'_>) -> Result<Option<Arc<KeptTopic>>, NotKept> {
        let Some(found) = self.rules.find(name) else {
            return Ok(None);
        };
        let known = self.all.read().get(name.as_str()).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let mut topics = self.all.write();
        if topics.len() >= self.most && !topics.contains_key(name.as_str()) {
            return Err(NotKept::TooManyTopics);
        }
        let topic = topics
            .entry(name.as_str().into())
            .or_insert_with(|| Arc::new(KeptTopic::new(name.as_str(), found)));
        Ok(Some(topic.clone()))
    }

    /// Adds messages that are in the log to a topic, and forgets those that are too many then.
    pub(super) fn add(&self, topic: &Arc<KeptTopic>, run: KeptRun) {
        match self.total_of(topic) {
            Some(total) => total.add(topic, run),
            None => {
                topic.add(run);
            }
        }
    }

    /// Forgets messages of a topic with lower numbers than this; returns how many.
    pub(crate) fn forget_before(&self, topic: &KeptTopic, sequence: u64) -> u64 {
        match self.total_of(topic) {
            Some(total) => total.forget_before(topic, sequence),
            None => topic.forget_before(sequence),
        }
    }

    fn total_of(&self, topic: &KeptTopic) -> Option<&KeptTotal> {
        self.totals.get(topic.rule())?.as_ref()
    }

    /// The number of the oldest message of a topic that was not forgotten; one behind all if there is none.
    pub(crate) fn oldest_of(&self, name: &str) -> u64 {
        let topics = self.all.read();
        topics.get(name).map_or(u64::MAX, |topic| topic.oldest())
    }

    /// All topics, by their names.
    pub(crate) fn list(&self) -> Vec<Arc<KeptTopic>> {
        self.all.read().values().cloned().collect()
    }

    /// Takes back messages that an earlier process has kept, the first of them with this number.
    pub(crate) fn take_back(&self, first: u64, lines: &[u8]) {
        let mut run: Option<(Arc<KeptTopic>, KeptRun)> = None;
        for (sequence, line) in (first..).zip(lines.split_inclusive(|&byte| byte == b'\n')) {
            let name = MessageLine::decode(line).map(|message| message.topic);
            let bytes = line.len() as u32;
            match (&mut run, name) {
                (Some((topic, run)), Some(name)) if topic.name() == name.as_str() => {
                    run.messages += 1;
                    run.bytes += bytes;
                    continue;
                }
                _ => {}
            }
            if let Some((topic, run)) = run.take() {
                self.add(&topic, run);
            }
            // Its rule may be another one now, or none.
            let topic = name.and_then(|name| self.topic(name).ok()?);
            run = topic.map(|topic| {
                let first = KeptRun {
                    first: sequence,
                    messages: 1,
                    bytes,
                };
                (topic, first)
            });
        }
        if let Some((topic, run)) = run {
            self.add(&topic, run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{KeepLimits, KeepRule};
    use super::*;

    /// Bytes of each message.
    const BYTES: u64 = 10;

    fn topics(rules: &[(&str, KeepLimits)]) -> KeptTopics {
        let rules = rules.iter().map(|&(filter, keeps)| KeepRule {
            filter: filter.to_owned(),
            keeps: Some(keeps),
        });
        KeptTopics::new(KeepRules::new(rules.collect()), 100_000)
    }

    fn total(messages: u64) -> KeepLimits {
        KeepLimits {
            total: Some(messages * BYTES),
            ..KeepLimits::default()
        }
    }

    fn add(topics: &KeptTopics, name: &str, first: u64, messages: u32) {
        let topic = topics.topic(Topic::parse(name).expect("a topic"));
        let topic = topic.ok().flatten().expect("it keeps");
        let bytes = messages * BYTES as u32;
        let run = KeptRun {
            first,
            messages,
            bytes,
        };
        topics.add(&topic, run);
    }

    /// The numbers of all messages, in their order.
    fn numbers(topics: &KeptTopics) -> Vec<u64> {
        let mut runs = Vec::new();
        for topic in topics.all.read().values() {
            topic.newest(u64::MAX, u64::MAX, &mut runs);
        }
        let mut numbers: Vec<_> = runs.iter().flat_map(|run| run.first..run.end()).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn the_oldest_of_all_topics_of_a_rule_go_first() {
        let topics = topics(&[("a/#", total(4)), ("b/#", total(1))]);
        add(&topics, "a/x", 1, 2);
        add(&topics, "a/y", 3, 1);
        add(&topics, "b/x", 4, 1);
        add(&topics, "a/z", 5, 1);
        assert_eq!(numbers(&topics), [1, 2, 3, 4, 5]);
        // Those that came together go together.
        add(&topics, "a/z", 6, 1);
        assert_eq!(numbers(&topics), [3, 4, 5, 6]);
        // The other rule has a sum of its own.
        add(&topics, "b/y", 7, 1);
        assert_eq!(numbers(&topics), [3, 5, 6, 7]);
        // The newest stay however long they are.
        add(&topics, "a/x", 8, 9);
        assert_eq!(numbers(&topics), [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        add(&topics, "a/x", 17, 1);
        assert_eq!(numbers(&topics), [7, 17]);
    }

    #[test]
    fn what_other_limits_remove_makes_room_for_others() {
        let two = KeepLimits {
            count: Some(2),
            ..total(4)
        };
        let topics = topics(&[("#", two)]);
        add(&topics, "a", 1, 1);
        add(&topics, "b", 2, 1);
        for number in 3..50 {
            add(&topics, "a", number, 1);
        }
        assert_eq!(numbers(&topics), [2, 48, 49]);
        let a = topics.all.read()["a"].clone();
        assert_eq!(topics.forget_before(&a, 100), 2);
        for number in 50..53 {
            add(&topics, &number.to_string(), number, 1);
        }
        assert_eq!(numbers(&topics), [2, 50, 51, 52]);
        add(&topics, "b", 53, 1);
        assert_eq!(numbers(&topics), [50, 51, 52, 53]);
    }

    #[test]
    fn topics_that_are_no_more_take_no_room_among_the_others() {
        let topics = topics(&[("#", total(3))]);
        for number in 1..10_000 {
            let name = number.to_string();
            add(&topics, &name, number, 1);
            let mut all = topics.all.write();
            all.retain(|_, topic| topic.size().messages > 0);
        }
        let total = topics.totals[0].as_ref().expect("it has one");
        assert!(total.places() < 200, "{}", total.places());
        assert_eq!(numbers(&topics), [9997, 9998, 9999]);
    }

    /// A start has the same result as the process before, whatever came in which batch.
    #[test]
    fn a_start_keeps_what_was_kept_before() {
        let line = |name: &str| format!("MESSAGE {name} 1\n");
        let rules = [(
            "#",
            KeepLimits {
                count: Some(7),
                total: Some(20 * line("a").len() as u64),
                ..KeepLimits::default()
            },
        )];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let (before, after) = (topics(&rules), topics(&rules));
            let mut next = 1;
            for _ in 0..60 {
                let name = ["a", "b", "c", "d", "e"][random.usize(..5)];
                let messages = random.u32(1..5);
                let lines = line(name).repeat(messages as usize);
                let topic = before.topic(Topic::parse(name).expect("a topic"));
                let topic = topic.ok().flatten().expect("it keeps");
                let run = KeptRun {
                    first: next,
                    messages,
                    bytes: lines.len() as u32,
                };
                before.add(&topic, run);
                after.take_back(next, lines.as_bytes());
                next += u64::from(messages);
            }
            assert_eq!(numbers(&before), numbers(&after));
        }
    }
}
