//! Statistics of each topic, and the filters that have subscribers.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::ops::ControlFlow;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};
use serde::Serialize;

use super::rows::meant;
use super::sight::Sight;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::stats::topic_stats::Seen;

/// Topics that were published to, in order.
#[derive(Debug, Serialize)]
pub(crate) struct TopicsAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    /// Number of topics evicted from the table since the broker began.
    forgotten: u64,
    pub(super) topics: Vec<TopicRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct TopicRow {
    #[serde(serialize_with = "meant")]
    topic: Box<str>,
    messages: u64,
    copies: u64,
    /// Messages a second.
    rate: f64,
    last_s: f64,
    /// Plain subscribers, plus one for each group.
    subscribers: usize,
    retained: Option<usize>,
}

impl TopicsAnswer {
    pub(super) fn of(engine: &Engine, filter: Filter<'_>, limit: usize, sight: &Sight<'_>) -> Self {
        engine.clients.ask();
        let mut seen = engine.topic_stats.matching(filter);
        seen.retain(|(name, _)| sight.topic(name));
        let now = Moment::now();
        Self {
            total: seen.len(),
            forgotten: engine.topic_stats.forgotten(),
            topics: seen
                .into_iter()
                .take(limit)
                .map(|(name, seen)| TopicRow::of(engine, name, &seen, now))
                .collect(),
        }
    }
}

impl TopicRow {
    fn of(engine: &Engine, name: Box<str>, seen: &Seen, now: Moment) -> Self {
        let topic = Topic::parse(name.as_bytes()).ok();
        let route = topic.map(|topic| {
            let hash = engine.router.hash(name.as_bytes());
            engine.router.route(topic, hash)
        });
        let retained = topic.and_then(|topic| engine.retained.read().find(topic));
        Self {
            messages: seen.messages,
            copies: seen.copies,
            rate: (seen.rate(now) * 1000.0).round() / 1000.0,
            last_s: now.seconds_since(seen.last),
            subscribers: route.map_or(0, |route| route.receivers()),
            retained: retained.map(|kept| kept.payload),
            topic: name,
        }
    }
}

/// Filters that have subscribers, in order.
#[derive(Debug, Serialize)]
pub(crate) struct FiltersAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    pub(super) filters: Vec<FilterRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct FilterRow {
    #[serde(serialize_with = "meant")]
    filter: Box<str>,
    subscribers: usize,
    /// Messages that matched since the filter has had subscribers.
    messages: u64,
}

impl FiltersAnswer {
    /// All filters, or those that overlap `wanted`: some topic matches both.
    pub(super) fn of(
        engine: &Engine,
        wanted: Option<Filter<'_>>,
        limit: usize,
        sight: &Sight<'_>,
    ) -> Self {
        engine.clients.ask();
        let hasher = RandomState::default();
        // Hashes instead of texts: for a million filters that is a million numbers, and `limit` texts.
        let mut known: HashSet<u64, RandomState> = HashSet::default();
        let mut first: BTreeSet<Box<str>> = BTreeSet::new();
        for record in engine.clients.present() {
            record.session().subscriptions().look_at_filters(|text| {
                let overlaps = wanted.is_none_or(|wanted| {
                    Filter::parse(text).is_ok_and(|filter| filter.overlaps(wanted))
                });
                if overlaps && sight.filter(text) && known.insert(hasher.hash_one(text)) {
                    let is_full = first.len() >= limit;
                    if !is_full || first.last().is_some_and(|last| text < &**last) {
                        first.insert(text.into());
                        if is_full {
                            first.pop_last();
                        }
                    }
                }
                ControlFlow::Continue(())
            });
        }
        let rows = first.into_iter().filter_map(|text| {
            let filter = Filter::parse(text.as_bytes()).ok()?;
            let (subscribers, messages) = engine.router.figures(filter);
            Some(FilterRow {
                subscribers,
                messages,
                filter: text,
            })
        });
        Self {
            total: known.len(),
            filters: rows.collect(),
        }
    }
}
