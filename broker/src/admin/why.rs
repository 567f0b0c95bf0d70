//! Who gets the messages of a topic, who nearly would, and what came in between.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use protocol::{Filter, Topic};
use serde::Serialize;

use super::ago;
use super::suggestions::{Difference, Target};
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::session::clients::ClientRecord;

/// So many filters that nearly match are shown.
const MOST_NEAR: usize = 20;

/// Everything that is known about the way of a topic's messages.
#[derive(Debug, Serialize)]
pub(crate) struct Why {
    topic: String,
    matching: Vec<Matching>,
    near: Vec<Near>,
    retained: Option<Kept>,
    seen: Option<Seen>,
}

/// A filter that matches.
#[derive(Debug, Serialize)]
struct Matching {
    filter: Box<str>,
    #[serde(flatten)]
    guard: OutboxGuard,
}

/// A filter that nearly matches.
#[derive(Debug, Serialize)]
struct Near {
    filter: Box<str>,
    difference: Difference,
    #[serde(flatten)]
    guard: OutboxGuard,
}

/// Who has subscribed to a filter.
#[derive(Debug, Serialize)]
struct OutboxGuard {
    holders: Vec<Holder>,
    /// How many they are; there may be fewer rows.
    total: usize,
}

#[derive(Debug, Serialize)]
struct Holder {
    id: u64,
    name: Option<Box<str>>,
    peer: String,
    wire: &'static str,
    waiting: u64,
    waiting_bytes: usize,
    limit_bytes: usize,
    /// Whether it has not caught up since something was dropped.
    is_full: bool,
    dropped: u64,
    dropped_here: Option<Dropped>,
}

/// What was dropped lately on this topic.
#[derive(Debug, Serialize)]
struct Dropped {
    at_least: u64,
    last_s: f64,
}

#[derive(Debug, Serialize)]
struct Kept {
    bytes: usize,
    age_s: f64,
}

#[derive(Debug, Serialize)]
struct Seen {
    messages: u64,
    copies: u64,
    last_s: f64,
}

/// Who was found to have a filter.
#[derive(Default)]
struct Found {
    records: Vec<Arc<ClientRecord>>,
    total: usize,
}

impl Why {
    /// Looks at every filter of every client once. At most `limit` holders are told, of filters that
    /// match and of those that nearly do, and at most `limit` filters that match.
    pub(super) fn of(engine: &Engine, topic: Topic<'_>, limit: usize) -> Self {
        engine.clients.ask();
        let name = topic.as_str();
        let target = Target::new(name);
        let mut matching: BTreeMap<Box<str>, Found> = BTreeMap::new();
        let mut near: BTreeMap<(Difference, Box<str>), Found> = BTreeMap::new();
        let (mut told, mut told_near) = (0, 0);
        for record in engine.clients.present() {
            record.session().subscriptions().look_at_filters(|text| {
                let Ok(filter) = Filter::parse(text) else {
                    return ControlFlow::Continue(());
                };
                if filter.matches(topic) {
                    let found = matching.entry(text.into()).or_default();
                    found.add(&record, &mut told, limit);
                    if matching.len() > limit {
                        matching.pop_last();
                    }
                } else if let Some(difference) = target.difference(filter.pattern()) {
                    let found = near.entry((difference, text.into())).or_default();
                    found.add(&record, &mut told_near, limit);
                    // The last is not among the nearest, whoever else has it.
                    if near.len() > MOST_NEAR
                        && let Some((_, last)) = near.pop_last()
                    {
                        told_near -= last.records.len();
                    }
                }
                ControlFlow::Continue(())
            });
        }
        let now = Moment::now();
        let retained = engine.retained.read().find(topic);
        let seen = engine.topic_stats.find(name);
        Self {
            topic: name.to_owned(),
            matching: matching
                .into_iter()
                .map(|(filter, found)| Matching {
                    filter,
                    guard: found.guard(name, now),
                })
                .collect(),
            near: near
                .into_iter()
                .map(|((difference, filter), found)| Near {
                    filter,
                    difference,
                    guard: found.guard(name, now),
                })
                .collect(),
            retained: retained.map(|kept| Kept {
                bytes: kept.payload,
                age_s: ago(now, kept.since),
            }),
            seen: seen.map(|seen| Seen {
                messages: seen.messages,
                copies: seen.copies,
                last_s: ago(now, seen.last),
            }),
        }
    }

    /// Leaves out half of the holders of each filter, then half of the filters; false if there is none.
    pub(super) fn halve(&mut self) -> bool {
        let guard = self.matching.iter_mut().map(|row| &mut row.guard);
        let near = self.near.iter_mut().map(|row| &mut row.guard);
        let mut any = false;
        for guard in guard.chain(near) {
            any |= super::halve(&mut guard.holders);
        }
        any || super::halve(&mut self.near) || super::halve(&mut self.matching)
    }
}

impl Found {
    fn add(&mut self, record: &Arc<ClientRecord>, told: &mut usize, limit: usize) {
        self.total += 1;
        if *told < limit {
            *told += 1;
            self.records.push(record.clone());
        }
    }

    fn guard(self, topic: &str, now: Moment) -> OutboxGuard {
        let holders = self.records.iter();
        OutboxGuard {
            holders: holders
                .map(|record| Holder::of(record, topic, now))
                .collect(),
            total: self.total,
        }
    }
}

impl Holder {
    fn of(record: &ClientRecord, topic: &str, now: Moment) -> Self {
        let (stock, blocked_at) = record.outbox().backlog();
        let has_dropped_since = |since| stock.dropped_at.is_some_and(|at| at >= since);
        let here = record.outbox().dropped_on(topic);
        Self {
            id: record.id(),
            name: record.name(),
            peer: record.peer.to_string(),
            wire: record.outbox().wire(),
            waiting: stock.waiting,
            waiting_bytes: stock.waiting_bytes,
            limit_bytes: record.outbox().limit(),
            is_full: blocked_at.is_some_and(has_dropped_since),
            dropped: stock.tally.dropped.total(),
            dropped_here: here.map(|(at_least, last)| Dropped {
                at_least,
                last_s: ago(now, last),
            }),
        }
    }
}
