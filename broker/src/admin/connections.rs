//! The state of each connection and each session.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use protocol::{Filter, decode_spaces};
use serde::Serialize;

use super::sight::Sight;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::session::clients::ClientRecord;

/// Maximum filters shown of one connection.
const SHOWN_FILTERS: usize = 10;

/// Connections in the order in which they came.
#[derive(Debug, Serialize)]
pub(crate) struct ConnectionsAnswer {
    /// Number of matches; there may be fewer rows.
    total: usize,
    pub(super) connections: Vec<ConnectionRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConnectionRow {
    id: u64,
    name: Option<Box<str>>,
    peer: String,
    identity: String,
    /// How the client showed its identity.
    kind: &'static str,
    wire: &'static str,
    /// Version and suite, with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsShown>,
    /// The name in the certificate of the client, if it has shown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Box<str>>,
    /// The session is detached: it waits for its client to reconnect.
    away: bool,
    connected_s: f64,
    /// Seconds since the client last sent something.
    idle_s: f64,
    subscriptions: usize,
    /// The first filters, at most [`SHOWN_FILTERS`].
    filters: Vec<Box<str>>,
    waiting: u64,
    waiting_bytes: usize,
    /// How long the queue has not been empty.
    lag_s: Option<f64>,
    published: u64,
    refused: u64,
    /// Copies made of the messages that this client published.
    copies: u64,
    written: u64,
    bytes: u64,
    dropped: BTreeMap<&'static str, u64>,
    dropped_last_s: Option<f64>,
    /// How long the client was not read from for the rate of its identity, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct TlsShown {
    version: &'static str,
    suite: &'static str,
}

impl ConnectionsAnswer {
    /// All records, or those with a subscription that overlaps `filter`: some topic matches both.
    pub(super) fn of(
        engine: &Engine,
        filter: Option<Filter<'_>>,
        limit: usize,
        sight: &Sight<'_>,
    ) -> Self {
        engine.clients.ask();
        let mut present = engine.clients.present();
        present.retain(|record| sight.record(record));
        if let Some(filter) = filter {
            present.retain(|record| has_overlapping(record, filter));
        }
        let now = Moment::now();
        Self {
            total: present.len(),
            connections: present
                .iter()
                .take(limit)
                .map(|record| ConnectionRow::of(engine, record, now))
                .collect(),
        }
    }
}

impl ConnectionRow {
    fn of(engine: &Engine, record: &Arc<ClientRecord>, now: Moment) -> Self {
        let totals = record.totals();
        let session = record.session();
        let identity = record.identity();
        let (stock, blocked_at) = session.outbox().backlog();
        let mut filters = Vec::new();
        session.subscriptions().look_at_filters(|filter| {
            filters.push(decode_spaces(filter).into());
            if filters.len() < SHOWN_FILTERS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        Self {
            id: record.id(),
            name: record.name(),
            peer: record.peer().to_string(),
            identity: identity.name.to_string(),
            kind: identity.kind(),
            wire: session.outbox().wire(),
            tls: record.security().map(|security| TlsShown {
                version: security.version,
                suite: security.suite,
            }),
            certificate: record
                .security()
                .and_then(|security| security.certificate.clone()),
            away: !record.is_connected(),
            connected_s: now.seconds_since(record.since),
            idle_s: now.seconds_since(record.heard()),
            subscriptions: session.subscriptions().len(),
            filters,
            waiting: stock.waiting,
            waiting_bytes: stock.waiting_bytes,
            lag_s: blocked_at.map(|since| now.seconds_since(since)),
            published: totals.published,
            refused: totals.refused,
            copies: totals.copies,
            written: stock.tally.written,
            bytes: stock.tally.bytes,
            dropped: stock.tally.dropped.by_name(),
            dropped_last_s: stock.dropped_at.map(|at| now.seconds_since(at)),
            throttled_s: engine
                .usages
                .rested(record.id(), Instant::now())
                .map(|time| time.as_secs_f64()),
        }
    }
}

pub(super) fn has_overlapping(record: &ClientRecord, wanted: Filter<'_>) -> bool {
    let mut found = false;
    record.session().subscriptions().look_at_filters(|text| {
        let overlaps = Filter::parse(text).is_ok_and(|filter| filter.overlaps(wanted));
        if overlaps {
            found = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    found
}
