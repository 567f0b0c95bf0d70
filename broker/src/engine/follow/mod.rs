//! The two threads that give followers what is in the log: one at its end, for all that are live, and one that reads for
//! each that is behind.
//!
//! `engine/outbox/following.rs` has the states of a follower. Each of the two is a publisher of its own: it counts the
//! copies that it delivers, in batches that an audit waits for.

mod catch_up;
mod figures;
mod pass_over;
mod tailer;
#[cfg(test)]
mod tests;
mod wanted;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use memchr::memchr2;

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::run::MESSAGE;
use crate::engine::session::clients::ClientRecord;
use crate::engine::stats::ledger::Totals;

pub(crate) use catch_up::catch_up_loop;
pub(crate) use figures::FollowerFigures;
pub(crate) use pass_over::{oldest_unread, pass_over};
pub(crate) use tailer::tail_loop;

/// The account of one of the threads.
struct FollowAccount<'a> {
    engine: &'a Engine,
    record: Arc<ClientRecord>,
    totals: Totals,
}

impl<'a> FollowAccount<'a> {
    fn new(engine: &'a Engine) -> Self {
        let unspecified = ([0, 0, 0, 0], 0).into();
        let outbox = Arc::new(Outbox::unconnected(engine.memory.clone()));
        let record = Arc::new(ClientRecord::new(outbox, unspecified));
        engine.clients.enter_internal(record.clone());
        Self {
            engine,
            record,
            totals: Totals::default(),
        }
    }

    fn begin(&self) {
        self.record.begin(&self.engine.clients);
    }

    /// Ends a batch in which so many copies were delivered.
    fn settle(&mut self, copies: u64) {
        self.totals.copies += copies;
        let asked = self.engine.clients.asked();
        self.record.settle(self.totals, Moment::now(), asked);
    }
}

/// Ends both threads.
pub(crate) fn stop(engine: &Engine) {
    if let Some(history) = engine.router.history() {
        history.tail().stop();
    }
    engine.catch_up.stop();
}

/// Says that the log cannot be read.
fn log_not_readable(engine: &Engine, err: &io::Error) {
    if let Some(more) = engine.not_read_log.say(Instant::now()) {
        log::error!("the store cannot be read, so that followers miss messages: {err}{more}");
    }
}

/// The topic of a line without its position, such as `MESSAGE a b` or `@id=7 MESSAGE a b`.
fn topic_of(line: &[u8]) -> &[u8] {
    let verb = match line.first() {
        Some(b'@') => memchr::memchr(b' ', line).map_or(line.len(), |at| at + 1),
        _ => 0,
    };
    let rest = line.get(verb + MESSAGE.len()..).unwrap_or_default();
    let end = memchr2(b' ', b'\n', rest).unwrap_or(rest.len());
    &rest[..end]
}
