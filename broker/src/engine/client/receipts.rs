//! How far what a client publishes is kept, when it is told so, and what it is told.

use std::io;
use std::mem;
use std::time::Instant;

use protocol::{AckLevel, Reached};

use super::acks::Acks;
use super::{Answers, Client};
use crate::engine::outbox::waiting::WaitingAnswer;
use crate::engine::publish::KeptOutcome;
use crate::engine::stats::ledger::Totals;
use crate::storage::NotKept;
use crate::storage::figures::StoreState;

/// Answers of more bytes may not wait, or the client is not read from.
const WAITING_BYTES: usize = 64 * 1024;

impl Client<'_> {
    /// Whether the store takes what is to be kept; none without one.
    pub(crate) fn store_state(&self) -> Option<StoreState> {
        self.engine.store.get().map(|store| store.state())
    }

    fn acks(&mut self) -> &mut Acks {
        let published = self.account.published;
        self.acks
            .get_or_insert_with(|| Box::new(Acks::new(published)))
    }

    /// A message is about to be published, and perhaps asks for a level. `buffer` is the whole read buffer.
    pub(super) fn note_asked(&mut self, buffer: &[u8], asked: Option<AckLevel>) {
        if asked.is_some() {
            if !self.is_told_levels() {
                // What came before it has another receipt, which says nothing of levels.
                self.deliver_part(buffer);
            }
            let acks = self.acks();
            acks.is_told = true;
            acks.last = Some(Reached {
                level: AckLevel::Mem,
                position: None,
            });
        } else if let Some(acks) = &mut self.acks {
            acks.last = None;
        }
    }

    /// The message to be published next is kept in the store. `asked` is the level that its publisher wants.
    pub(super) fn note_retained(&mut self, sequence: u64, asked: Option<AckLevel>) {
        let Some(store) = self.engine.store.get() else {
            return;
        };
        // It is with the system already: there is no less than that.
        let level = asked.unwrap_or(store.level()).max(AckLevel::Os);
        let until = if level == AckLevel::Disk { sequence } else { 0 };
        self.note_kept(&KeptOutcome {
            messages: 1,
            lowest: Some(level),
            last: sequence,
            until,
            failure: None,
            failed: 0,
        });
    }

    /// Messages of this client were kept, or could not be.
    pub(super) fn note_kept(&mut self, kept: &KeptOutcome) {
        if let Some(why) = kept.failure {
            self.engine.metrics.not_kept.add(why, kept.failed);
            // They were not delivered either. A receipt would say that all is well.
            let text = format!("what the client has published could not be kept: {why}");
            let id = self.record.id();
            // Clients connect again, and have the same happen to them.
            if let Some(more) = self.engine.not_kept_log.say(Instant::now()) {
                log::error!("connection {id} is closed: {text}{more}");
            }
            self.outbox.fail(id, io::Error::other(text));
        }
        let Some(store) = self.engine.store.get() else {
            return;
        };
        if kept.messages > 0 && (kept.until > 0 || self.is_told_levels()) {
            let position = store.position(kept.last);
            self.acks().add(kept, position);
        }
    }

    /// What became of all that the client has published.
    pub(super) fn totals(&self) -> Totals {
        let (account, kept) = (&self.account, self.dispatch.kept_count());
        let matched = account.matched + kept.without_copies;
        Totals {
            published: account.published,
            matched,
            unmatched: account.published - matched,
            kept: kept.messages,
            refused: account.refused,
            copies: account.copies + account.retained,
            withdrawn: self.dispatch.withdrawn(),
            bytes: account.bytes,
            publish_bytes: account.publish_bytes,
        }
    }

    /// Delivers the batch so far, so that it is known how far the last message is kept.
    pub(crate) fn deliver_part(&mut self, buffer: &[u8]) {
        self.last = None;
        self.dispatch.deliver(buffer);
        if let Some(kept) = self.dispatch.take_kept() {
            self.note_kept(&kept);
        }
    }

    /// Whether the client has asked for a level, so that its receipts say which was reached.
    pub(crate) fn is_told_levels(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.is_told)
    }

    /// How far the last message is kept once the answers that are sent next have left, if it asked for that. Only
    /// after [`Client::publish`].
    pub(crate) fn reached_by_last(&self) -> Option<Reached> {
        self.acks.as_ref().and_then(|acks| acks.last)
    }

    /// Sends answers, as [`Client::send`] does, of a client that is told levels or waits for the disk.
    // Out of line, because it is rare.
    #[inline(never)]
    pub(super) fn send_acks(&mut self, answers: Answers<'_>) {
        let Some(acks) = &mut self.acks else {
            return;
        };
        let mut receipt = answers.receipt;
        if let Some(receipt) = &mut receipt {
            receipt.reached = acks.take(self.account.published);
        }
        let answer = WaitingAnswer {
            bytes: mem::take(answers.bytes),
            receipt,
            until: 0,
        };
        let mut guard = self.outbox.lock();
        let mut is_first = false;
        if !answer.bytes.is_empty() || answer.receipt.is_some() {
            let until = mem::take(&mut acks.until);
            if until > 0 || guard.has_waiting() {
                is_first = guard.answer_later(WaitingAnswer { until, ..answer });
            } else {
                guard.send_answers(&answer);
            }
        }
        if answers.acknowledged {
            guard.pump();
        }
        drop(guard);
        if is_first && let Some(store) = self.engine.store.get() {
            store.wish(self.outbox.clone());
        }
    }

    /// Returns when all that the client was promised to be told has left, or it is gone. Only between parts of a
    /// batch; others may be delivered meanwhile.
    pub(crate) fn wait_for_receipts(&mut self) {
        if self.acks.is_some() {
            self.settle();
            self.outbox.wait_for_answers(None);
            self.begin();
        }
    }

    /// The same when the conversation has ended, until the deadline.
    pub(crate) fn wait_for_last_receipts(&self, deadline: Instant) {
        if self.acks.is_some() {
            self.outbox.wait_for_answers(Some(deadline));
        }
    }

    /// Waits until all that was published is as safe as was asked for, and returns how safe it is, for a client that
    /// has asked: for a wire that answers each request by itself. Only outside of batches.
    pub(crate) fn wait_until_kept(&mut self) -> Result<Option<Reached>, NotKept> {
        let published = self.account.published;
        let Some(acks) = &mut self.acks else {
            return Ok(None);
        };
        let reached = acks.take(published);
        let until = mem::take(&mut acks.until);
        let store = self.engine.store.get().filter(|_| until > 0);
        if store.is_none_or(|store| store.wait(until)) {
            return Ok(reached);
        }
        let mut reached = reached.ok_or(NotKept::Failed)?;
        reached.level = reached.level.min(AckLevel::Os);
        Ok(Some(reached))
    }

    /// Blocks until few enough answers wait, for the client or for the store. Only between batches.
    pub(super) fn wait_for_answers_to_leave(&self) {
        match self.acks {
            Some(_) => self.outbox.wait_for_room_and_answers(WAITING_BYTES),
            None => self.outbox.wait_for_room(),
        }
    }
}
