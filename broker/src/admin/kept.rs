//! The topics that keep messages.

use protocol::{Filter, Position};
use serde::Serialize;

use super::rows::{meant, text};
use super::sight::Sight;
use crate::engine::Engine;
use crate::storage::now_ms;

/// Topics looked at under one lock: a publisher on a topic that has kept nothing yet waits for that lock.
const AT_A_TIME: usize = 4096;

/// Topics that keep messages, in order.
#[derive(Debug, Default, Serialize)]
pub(crate) struct KeptAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    /// Messages of all of them, and their bytes.
    messages: u64,
    bytes: u64,
    max_topics: usize,
    pub(super) kept: Vec<KeptRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct KeptRow {
    #[serde(serialize_with = "meant")]
    topic: Box<str>,
    messages: u64,
    bytes: u64,
    #[serde(serialize_with = "text")]
    oldest: Position,
    #[serde(serialize_with = "text")]
    newest: Position,
    /// Of the oldest; none if the log cannot be read.
    age_s: Option<f64>,
}

impl KeptAnswer {
    pub(super) fn of(engine: &Engine, filter: Filter<'_>, limit: usize, sight: &Sight<'_>) -> Self {
        let Some(history) = engine.router.history() else {
            return Self::default();
        };
        let mut answer = Self {
            max_topics: history.most_topics(),
            ..Self::default()
        };
        let now = now_ms();
        let mut next = Some(String::new());
        while let Some(from) = next {
            next = history.look(filter, &from, AT_A_TIME, |topic, kept| {
                if !sight.topic(topic) {
                    return;
                }
                answer.total += 1;
                answer.messages += kept.messages;
                answer.bytes += kept.bytes;
                if answer.kept.len() < limit {
                    let age_ms = kept.oldest_ms.map(|time| now.saturating_sub(time));
                    answer.kept.push(KeptRow {
                        topic: topic.into(),
                        messages: kept.messages,
                        bytes: kept.bytes,
                        oldest: kept.oldest,
                        newest: kept.newest,
                        age_s: age_ms.map(|age| age as f64 / 1000.0),
                    });
                }
            });
        }
        answer
    }
}
