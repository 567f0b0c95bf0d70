//! Answers that wait until the store has made durable what they confirm.

use std::collections::VecDeque;

use super::receipt::Receipt;
use crate::storage::waiters::Synced;

/// What an entry takes besides its bytes.
const ENTRY_BYTES: usize = size_of::<WaitingAnswer>();

/// Answers, and the sequence number up to which all has to be durable before they leave.
pub(crate) struct WaitingAnswer {
    /// Zero if they wait for those before them alone.
    pub(crate) until: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) receipt: Option<Receipt>,
}

/// The answers of one client, in their order.
#[derive(Default)]
pub(super) struct WaitingAnswers {
    queue: VecDeque<WaitingAnswer>,
    bytes: usize,
}

impl WaitingAnswers {
    pub(super) fn push(&mut self, answer: WaitingAnswer) {
        // The first stays as it is: a client that publishes without a pause would put it off for ever.
        let can_change = self.queue.len() > 1;
        match self.queue.back_mut() {
            // Receipts become one, as in the queue, so that they do not accumulate.
            Some(last) if can_change && answer.bytes.is_empty() && last.receipt.is_some() => {
                last.until = last.until.max(answer.until);
                let merged = last.receipt.zip(answer.receipt);
                last.receipt = merged.map_or(last.receipt, |(last, next)| Some(last.and(next)));
            }
            _ => {
                self.bytes += answer.bytes.len() + ENTRY_BYTES;
                self.queue.push_back(answer);
            }
        }
    }

    /// Takes the first one, if it may leave.
    pub(super) fn pop(&mut self, synced: Synced) -> Option<WaitingAnswer> {
        let next = self.queue.front()?;
        let may_leave = match synced {
            Synced::Before(number) => next.until < number,
            Synced::Failed => true,
        };
        let answer = may_leave.then(|| self.queue.pop_front())??;
        self.bytes -= answer.bytes.len() + ENTRY_BYTES;
        Some(answer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
