//! The ledger of all messages, and an overview of the broker.

use std::collections::BTreeMap;

use serde::Serialize;

use super::store::StoreAnswer;
use crate::clock::Moment;
use crate::engine::Engine;

/// The ledger: every message and every copy by its state.
#[derive(Debug, Serialize)]
pub(crate) struct AuditAnswer {
    balanced: bool,
    /// Whether no batch was in progress. If one was, the figures may differ by its messages.
    exact: bool,
    published: u64,
    matched: u64,
    unmatched: u64,
    kept: u64,
    refused: u64,
    copies: u64,
    written: u64,
    waiting: u64,
    dropped: BTreeMap<&'static str, u64>,
    discarded: u64,
    withdrawn: u64,
}

impl AuditAnswer {
    pub(super) fn of(engine: &Engine) -> Self {
        let audit = engine.clients.audit();
        let ledger = audit.ledger;
        Self {
            balanced: ledger.is_balanced(),
            exact: audit.is_exact,
            published: ledger.account.published,
            matched: ledger.account.matched,
            unmatched: ledger.account.unmatched,
            kept: ledger.account.kept,
            refused: ledger.account.refused,
            copies: ledger.account.copies,
            written: ledger.tally.written,
            waiting: ledger.waiting,
            dropped: ledger.tally.dropped.by_name(),
            discarded: ledger.tally.discarded,
            withdrawn: ledger.account.withdrawn,
        }
    }
}

/// An overview of the broker.
#[derive(Debug, Serialize)]
pub(crate) struct BrokerAnswer {
    version: &'static str,
    uptime_s: f64,
    connections: usize,
    max_connections: usize,
    subscriptions: usize,
    memory: MemoryFigures,
    retained: RetainedFigures,
    /// None without one.
    store: Option<StoreAnswer>,
}

/// Memory taken by queued messages and incomplete lines, in bytes.
#[derive(Debug, Serialize)]
struct MemoryFigures {
    used: usize,
    max: usize,
}

#[derive(Debug, Serialize)]
struct RetainedFigures {
    count: usize,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

impl BrokerAnswer {
    pub(super) fn of(engine: &Engine) -> Self {
        let retained = engine.retained.read().size();
        let max = engine.memory.limit();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: Moment::now().seconds_since(engine.began),
            connections: engine.clients.connected(),
            max_connections: engine.limits.load().connections,
            subscriptions: engine.clients.subscriptions(),
            memory: MemoryFigures {
                used: max - engine.memory.free(),
                max,
            },
            retained: RetainedFigures {
                count: retained.count,
                bytes: retained.bytes,
                max_count: retained.max_count,
                max_bytes: retained.max_bytes,
            },
            store: StoreAnswer::of(engine),
        }
    }
}
