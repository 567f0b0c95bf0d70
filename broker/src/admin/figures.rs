//! What became of all messages, and how the broker as a whole is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ago, by_reason};
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::session::clients::ClientRecord;

/// Where every message and every copy is.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    balanced: bool,
    /// Whether no batch was under way. If one was, the figures may be out by what it holds.
    exact: bool,
    published: u64,
    matched: u64,
    unmatched: u64,
    refused: u64,
    copies: u64,
    written: u64,
    waiting: u64,
    dropped: BTreeMap<&'static str, u64>,
    discarded: u64,
    withdrawn: u64,
}

impl Audit {
    pub(super) fn of(engine: &Engine) -> Self {
        let audit = engine.clients.audit();
        let ledger = audit.ledger;
        Self {
            balanced: ledger.is_balanced(),
            exact: audit.is_exact,
            published: ledger.account.published,
            matched: ledger.account.matched,
            unmatched: ledger.account.unmatched,
            refused: ledger.account.refused,
            copies: ledger.account.copies,
            written: ledger.tally.written,
            waiting: ledger.waiting,
            dropped: by_reason(&ledger.tally),
            discarded: ledger.tally.discarded,
            withdrawn: ledger.account.withdrawn,
        }
    }
}

/// The broker in a few figures.
#[derive(Debug, Serialize)]
pub(crate) struct Broker {
    version: &'static str,
    uptime_s: f64,
    connections: usize,
    max_connections: usize,
    subscriptions: usize,
    memory: Memory,
    retained: Retained,
}

/// What waits for slow clients, and lines that have begun, in bytes.
#[derive(Debug, Serialize)]
struct Memory {
    used: usize,
    max: usize,
}

#[derive(Debug, Serialize)]
struct Retained {
    count: usize,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

impl Broker {
    pub(super) fn of(engine: &Engine) -> Self {
        let present = engine.clients.present();
        let filters = present
            .iter()
            .map(|record| ClientRecord::filter_count(record));
        let retained = engine.retained.read().size();
        let max = engine.memory.limit();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: ago(Moment::now(), engine.began),
            connections: engine.clients.connected(),
            max_connections: engine.limits.load().connections,
            subscriptions: filters.sum(),
            memory: Memory {
                used: max - engine.memory.free(),
                max,
            },
            retained: Retained {
                count: retained.count,
                bytes: retained.bytes,
                max_count: retained.max_count,
                max_bytes: retained.max_bytes,
            },
        }
    }
}
