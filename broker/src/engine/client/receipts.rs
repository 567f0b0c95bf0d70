//! How far what a client publishes is kept, when it is told so, and what it is told.

use std::mem;
use std::time::Instant;

use protocol::{AckLevel, Reached};

use super::acks::Acks;
use super::{Answers, Client};
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::waiting::WaitingAnswer;
use crate::storage::NotKept;

/// Answers of more bytes may not wait, or the client is not read from.
const WAITING_BYTES: usize = 64 * 1024;

impl Client<'_> {
    fn acks(&mut self) -> &mut Acks {
        let published = self.account.published;
        self.acks
            .get_or_insert_with(|| Box::new(Acks::new(published)))
    }

    /// A message is about to be published, and perhaps asks for a level.
    pub(super) fn note_asked(&mut self, asked: Option<AckLevel>) {
        if asked.is_some() {
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
    pub(super) fn note_kept(&mut self, sequence: u64, asked: Option<AckLevel>) {
        let Some(store) = self.engine.store.get() else {
            return;
        };
        // It is with the system already: there is no less than that.
        let level = asked.unwrap_or(store.level()).max(AckLevel::Os);
        if level < AckLevel::Disk && !self.is_told_levels() {
            // Most clients: they are told what they always were.
            return;
        }
        let reached = Reached {
            level,
            position: Some(store.position(sequence)),
        };
        self.acks().add(reached, sequence);
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

    /// A receipt for all that was published since the last one. `answered` is the number of all, and `copies` were
    /// made of those since then.
    pub(crate) fn receipt(&mut self, answered: u64, copies: u64) -> Receipt {
        let published = self.account.published;
        let reached = self.acks.as_mut().and_then(|acks| acks.take(published));
        Receipt {
            answered,
            copies,
            reached,
        }
    }

    /// Puts answers and the receipt that follows them before what is answered next. The receipt may have to say
    /// something else when it leaves.
    #[inline(never)]
    pub(crate) fn seal(&mut self, answers: &mut Vec<u8>, receipt: Receipt) {
        let answers = mem::take(answers);
        self.acks().sealed.push((answers, receipt));
    }

    /// Sends answers, as [`Client::send`] does, of a client that is told levels or waits for the disk.
    // Out of line, because it is rare.
    #[inline(never)]
    pub(super) fn send_acks(&mut self, answers: Answers<'_>) {
        let Some(acks) = &mut self.acks else {
            return;
        };
        let sealed = mem::take(&mut acks.sealed);
        let has_answers = !answers.bytes.is_empty() || answers.receipt.is_some();
        let until = match has_answers || !sealed.is_empty() {
            true => mem::take(&mut acks.until),
            false => 0,
        };
        let sealed = sealed.into_iter().map(|(bytes, receipt)| WaitingAnswer {
            until,
            bytes,
            receipt: Some(receipt),
        });
        let last = has_answers.then(|| WaitingAnswer {
            until,
            bytes: mem::take(answers.bytes),
            receipt: answers.receipt,
        });
        let mut guard = self.outbox.lock();
        let mut is_first = false;
        for answer in sealed.chain(last) {
            if until > 0 || guard.has_waiting() {
                is_first |= guard.answer_later(answer);
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
