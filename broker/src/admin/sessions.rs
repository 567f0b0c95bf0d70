//! The sessions that outlast connections.

use std::time::Instant;

use protocol::Filter;
use serde::Serialize;

use super::connections::has_overlapping;
use super::sight::Sight;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::session::clients::ClientRecord;

/// Sessions in the order of their client identifiers.
#[derive(Debug, Serialize)]
pub(crate) struct SessionsAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    pub(super) sessions: Vec<SessionRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionRow {
    client_id: String,
    /// The identity that it belongs to.
    identity: String,
    /// The address of its client, or of the last connection of a client that is away.
    peer: String,
    wire: &'static str,
    away: bool,
    /// Seconds since the client last sent something.
    idle_s: f64,
    /// Seconds after which it ends if its client stays away; none for never.
    expires_s: Option<f64>,
    subscriptions: usize,
    waiting: u64,
    waiting_bytes: usize,
    /// Entries of the log behind its place; none if it gets nothing from there.
    lag: Option<u64>,
}

impl SessionsAnswer {
    /// All of them, or those with a subscription that overlaps `filter`: some topic matches both.
    pub(super) fn of(
        engine: &Engine,
        filter: Option<Filter<'_>>,
        limit: usize,
        sight: &Sight<'_>,
    ) -> Self {
        let (moment, now) = (Moment::now(), Instant::now());
        let mut present = engine.clients.present();
        present.retain(|record| {
            record.session().outlasts_connection()
                && sight.record(record)
                && filter.is_none_or(|filter| has_overlapping(record, filter))
        });
        let of = |record: &ClientRecord| record.session().key().cloned();
        present.sort_by_cached_key(|record| of(record));
        let rows = present.iter().take(limit);
        Self {
            total: present.len(),
            sessions: rows
                .map(|record| SessionRow::of(engine, record, moment, now))
                .collect(),
        }
    }
}

impl SessionRow {
    fn of(engine: &Engine, record: &ClientRecord, moment: Moment, now: Instant) -> Self {
        let session = record.session();
        let lag = engine.router.history().and_then(|history| {
            // Released at once, before the outbox is locked.
            let tail = *history.tail().lock();
            let next = history.next();
            let progress = session.outbox().lock().progress(tail)?;
            Some(next.saturating_sub(progress.next))
        });
        let stock = session.outbox().stock();
        let kept_bytes = session.outbox().lock().kept_bytes();
        Self {
            client_id: session.client_id().unwrap_or_default().to_owned(),
            identity: record.identity().name.to_string(),
            peer: record.peer().to_string(),
            wire: session.outbox().wire(),
            away: !record.is_connected(),
            idle_s: moment.seconds_since(record.heard()),
            expires_s: session.expires_after(now).map(|time| time.as_secs_f64()),
            subscriptions: session.subscriptions().len(),
            waiting: stock.waiting,
            waiting_bytes: stock.waiting_bytes + kept_bytes,
            lag,
        }
    }
}
