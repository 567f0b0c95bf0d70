//! The clients that receive the messages of a topic, those with a filter that nearly matches, and
//! recent drops.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use protocol::{Filter, Topic};
use serde::Serialize;

use super::bad_argument::BadArgument;
use super::may::{self, MayAnswer};
use super::rows::{halve, meant};
use super::sight::Sight;
use super::suggestions::{Difference, Target};
use crate::auth::access::AskedRight;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::session::clients::ClientRecord;
use crate::engine::stats::denials::DenialRow;

/// Maximum nearly matching filters shown.
const MOST_NEAR: usize = 20;

/// The answer to `why` for one topic.
#[derive(Debug, Serialize)]
pub(crate) struct WhyAnswer {
    #[serde(serialize_with = "meant")]
    topic: String,
    matching: Vec<Matching>,
    near: Vec<Near>,
    /// What clients were denied here lately, the last first.
    denied: Vec<DenialRow>,
    retained: Option<RetainedHere>,
    seen: Option<SeenHere>,
    /// What the rules say of the identity that was asked about. The rest of the answer is what it may see.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    asked_as: Option<AsIdentity>,
}

/// What an identity may do with a topic.
#[derive(Debug, Serialize)]
struct AsIdentity {
    identity: String,
    publish: MayAnswer,
    subscribe: MayAnswer,
    /// Whether it may ask why.
    why: MayAnswer,
}

/// A filter that matches.
#[derive(Debug, Serialize)]
struct Matching {
    #[serde(serialize_with = "meant")]
    filter: Box<str>,
    #[serde(flatten)]
    held_by: Holders,
}

/// A filter that nearly matches.
#[derive(Debug, Serialize)]
struct Near {
    #[serde(serialize_with = "meant")]
    filter: Box<str>,
    difference: Difference,
    #[serde(flatten)]
    held_by: Holders,
}

/// The clients subscribed to a filter.
#[derive(Debug, Serialize)]
struct Holders {
    holders: Vec<Holder>,
    /// Number of clients; there may be fewer rows.
    total: usize,
}

#[derive(Debug, Serialize)]
struct Holder {
    id: u64,
    identity: String,
    /// Whether the rules let messages of this topic through to it.
    may_see: bool,
    name: Option<Box<str>>,
    peer: String,
    wire: &'static str,
    /// Whether it gets from the log what the filter matches.
    from_log: bool,
    waiting: u64,
    waiting_bytes: usize,
    limit_bytes: usize,
    /// Whether messages were dropped and the queue has not been empty since.
    is_full: bool,
    dropped: u64,
    dropped_here: Option<DroppedHere>,
}

/// Recent drops on this topic.
#[derive(Debug, Serialize)]
struct DroppedHere {
    at_least: u64,
    last_s: f64,
}

#[derive(Debug, Serialize)]
struct RetainedHere {
    bytes: usize,
    age_s: f64,
}

#[derive(Debug, Serialize)]
struct SeenHere {
    messages: u64,
    copies: u64,
    last_s: f64,
}

/// Whether a denial of this right is about a topic.
fn concerns(right: &str, object: &str, topic: Topic<'_>) -> bool {
    match right {
        "publish" | "retain" | "will" => object == topic.as_str(),
        "subscribe" => Filter::parse(object).is_ok_and(|filter| filter.matches(topic)),
        _ => false,
    }
}

/// The clients found to have a filter.
#[derive(Default)]
struct Found {
    records: Vec<Arc<ClientRecord>>,
    total: usize,
}

impl WhyAnswer {
    /// Answers `TOPIC`, or `TOPIC WHO` as another identity would be answered.
    pub(super) fn asked(
        client: &Client<'_>,
        argument: &[u8],
        limit: usize,
        sight: &Sight<'_>,
    ) -> Result<Self, BadArgument> {
        let engine = client.engine();
        let space = memchr::memchr(b' ', argument);
        let (name, who) = match space {
            Some(at) => (&argument[..at], Some(&argument[at + 1..])),
            None => (argument, None),
        };
        let topic = match name {
            [] => return Err(BadArgument::NoTopic),
            _ => Topic::parse(name).map_err(BadArgument::Topic)?,
        };
        let Some(who) = who else {
            return Ok(Self::of(engine, topic, limit, sight));
        };
        let who = String::from_utf8_lossy(who);
        let permissions = may::permissions_of(client, &who)?;
        let may = |right| MayAnswer::explained(&permissions, right, topic.as_str());
        let asked_as = AsIdentity {
            publish: may(AskedRight::Publish)?,
            subscribe: may(AskedRight::Subscribe)?,
            why: may(AskedRight::Inquire("why"))?,
            identity: who.into_owned(),
        };
        let sight = sight.shared_with(permissions.clone(), asked_as.why.allowed);
        Ok(Self {
            asked_as: Some(asked_as),
            ..Self::of(engine, topic, limit, &sight)
        })
    }

    /// Visits every filter of every client once. Shows at most `limit` clients of matching filters,
    /// `limit` clients of nearly matching ones, and `limit` matching filters.
    fn of(engine: &Engine, topic: Topic<'_>, limit: usize, sight: &Sight<'_>) -> Self {
        engine.clients.ask();
        let name = topic.as_str();
        let is_visible = sight.topic(name);
        let target = Target::new(name);
        let mut matching: BTreeMap<Box<str>, Found> = BTreeMap::new();
        let mut near: BTreeMap<(Difference, Box<str>), Found> = BTreeMap::new();
        let (mut told, mut told_near) = (0, 0);
        for record in engine.clients.present() {
            record.session().subscriptions().look_at_filters(|text| {
                let Ok(filter) = Filter::parse(text) else {
                    return ControlFlow::Continue(());
                };
                if !sight.filter(text) {
                    return ControlFlow::Continue(());
                }
                if filter.matches(topic) {
                    let found = matching.entry(text.into()).or_default();
                    found.add(&record, &mut told, limit);
                    if matching.len() > limit {
                        matching.pop_last();
                    }
                } else if let Some(difference) = target.difference(filter.pattern()) {
                    let found = near.entry((difference, text.into())).or_default();
                    found.add(&record, &mut told_near, limit);
                    // A filter with the largest difference may be removed, however many other clients
                    // have it.
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
        let retained = engine.retained.read().find(topic).filter(|_| is_visible);
        let seen = engine.topic_stats.find(name).filter(|_| is_visible);
        let mut denied = engine.denials.rows(Instant::now(), |right, object| {
            is_visible && concerns(right, object, topic)
        });
        denied.truncate(limit);
        Self {
            topic: name.to_owned(),
            matching: matching
                .into_iter()
                .map(|(filter, found)| Matching {
                    held_by: found.holders(engine, &filter, name, now),
                    filter,
                })
                .collect(),
            near: near
                .into_iter()
                .map(|((difference, filter), found)| Near {
                    held_by: found.holders(engine, &filter, name, now),
                    filter,
                    difference,
                })
                .collect(),
            denied,
            retained: retained.map(|kept| RetainedHere {
                bytes: kept.payload,
                age_s: now.seconds_since(kept.since),
            }),
            seen: seen.map(|seen| SeenHere {
                messages: seen.messages,
                copies: seen.copies,
                last_s: now.seconds_since(seen.last),
            }),
            asked_as: None,
        }
    }

    /// Drops half of the clients of each filter, then half of the filters; returns false if there are
    /// none.
    pub(super) fn halve(&mut self) -> bool {
        let matching = self.matching.iter_mut().map(|row| &mut row.held_by);
        let near = self.near.iter_mut().map(|row| &mut row.held_by);
        let mut any = false;
        for held_by in matching.chain(near) {
            any |= halve(&mut held_by.holders);
        }
        any || halve(&mut self.near) || halve(&mut self.matching)
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

    fn holders(self, engine: &Engine, filter: &str, topic: &str, now: Moment) -> Holders {
        let holders = self.records.iter();
        Holders {
            holders: holders
                .map(|record| Holder::of(engine, record, (filter, topic), now))
                .collect(),
            total: self.total,
        }
    }
}

impl Holder {
    fn of(
        engine: &Engine,
        record: &ClientRecord,
        (filter, topic): (&str, &str),
        now: Moment,
    ) -> Self {
        let identity = record.identity();
        let permissions = engine
            .access
            .permissions(&identity, record.session().client_id());
        let (stock, blocked_at) = record.outbox().backlog();
        let has_dropped_since = |since| stock.dropped_at.is_some_and(|at| at >= since);
        let here = record.outbox().dropped_on(topic);
        let from_log = record.outbox().lock().follows(filter);
        Self {
            id: record.id(),
            identity: identity.name.to_string(),
            may_see: Topic::parse(topic).is_ok_and(|topic| permissions.may_see(topic)),
            name: record.name(),
            peer: record.peer().to_string(),
            wire: record.outbox().wire(),
            from_log,
            waiting: stock.waiting,
            waiting_bytes: stock.waiting_bytes,
            limit_bytes: record.outbox().limit(),
            is_full: blocked_at.is_some_and(has_dropped_since),
            dropped: stock.tally.dropped.total(),
            dropped_here: here.map(|(at_least, last)| DroppedHere {
                at_least,
                last_s: now.seconds_since(last),
            }),
        }
    }
}
