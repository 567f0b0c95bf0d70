//! The retained messages that a filter matches.

use protocol::Filter;
use serde::Serialize;

use super::rows::meant;
use super::sight::Sight;
use crate::clock::Moment;
use crate::engine::Engine;

/// Retained messages visited under one lock: a publisher of a retained message waits for that lock.
const AT_A_TIME: usize = 4096;

/// Retained messages, in the order of their topics.
#[derive(Debug, Serialize)]
pub(crate) struct RetainedAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    /// Bytes of all retained messages, with their topics.
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
    pub(super) retained: Vec<RetainedRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct RetainedRow {
    #[serde(serialize_with = "meant")]
    topic: Box<str>,
    /// Bytes of the payload.
    bytes: usize,
    age_s: f64,
}

impl RetainedAnswer {
    pub(super) fn of(engine: &Engine, filter: Filter<'_>, limit: usize, sight: &Sight<'_>) -> Self {
        let now = Moment::now();
        let size = engine.retained.read().size();
        let (mut total, mut rows) = (0, Vec::new());
        let mut from = String::new();
        loop {
            let retained = engine.retained.read();
            let next = retained.look(filter, &from, AT_A_TIME, |topic, kept| {
                if !sight.topic(topic) {
                    return;
                }
                total += 1;
                if rows.len() < limit {
                    rows.push(RetainedRow {
                        topic: topic.into(),
                        bytes: kept.payload,
                        age_s: now.seconds_since(kept.since),
                    });
                }
            });
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        Self {
            total,
            bytes: size.bytes,
            max_count: size.max_count,
            max_bytes: size.max_bytes,
            retained: rows,
        }
    }
}
