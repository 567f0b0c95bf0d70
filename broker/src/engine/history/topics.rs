//! All topics that keep messages, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{MessageLine, Topic};

use super::rules::KeepRules;
use super::topic::{KeptRun, KeptTopic};
use crate::storage::NotKept;
use crate::sync::RwLock;

pub(crate) struct KeptTopics {
    rules: KeepRules,
    most: usize,
    pub(super) all: RwLock<BTreeMap<Box<str>, Arc<KeptTopic>>>,
}

impl KeptTopics {
    /// None yet, and at most so many.
    pub(crate) fn new(rules: KeepRules, most: usize) -> Self {
        Self {
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
        self.rules.limits(name).is_some()
    }

    /// The topic, if it keeps what is published on it.
    pub(crate) fn topic(&self, name: Topic<'_>) -> Result<Option<Arc<KeptTopic>>, NotKept> {
        let Some(limits) = self.rules.limits(name) else {
            return Ok(None);
        };
        let found = self.all.read().get(name.as_str()).cloned();
        if found.is_some() {
            return Ok(found);
        }
        let mut topics = self.all.write();
        if topics.len() >= self.most && !topics.contains_key(name.as_str()) {
            return Err(NotKept::TooManyTopics);
        }
        let topic = topics
            .entry(name.as_str().into())
            .or_insert_with(|| Arc::new(KeptTopic::new(name.as_str(), limits)));
        Ok(Some(topic.clone()))
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
                topic.add(run);
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
            topic.add(run);
        }
    }
}
