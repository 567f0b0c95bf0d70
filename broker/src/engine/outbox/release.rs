//! Sends answers that have waited for the store.
//!
//! They are answers like any other: they leave in turn, and the client is not read from while many wait. Messages
//! for the client pass them by. The thread that syncs the store sends them.

use std::io;
use std::time::Instant;

use protocol::AckLevel;

use super::waiting::WaitingAnswer;
use super::{Inside, Outbox, OutboxGuard};
use crate::storage::waiters::{Synced, Waiter};

/// The thread that syncs sends the answers that need not wait any more.
impl Waiter for Outbox {
    fn release(&self, synced: Synced) -> bool {
        let mut guard = self.lock();
        while let Some(answer) = guard.inside.next_released(synced) {
            if let Err(why) = guard.send_released(answer, synced) {
                guard.inside.state = guard.fail(why);
                guard.note_state();
                break;
            }
        }
        if guard.inside.waiters > 0 {
            self.moved.notify_all();
        }
        guard.has_waiting()
    }
}

impl Outbox {
    /// Returns when no answer waits for the store, the client is gone, or at `deadline`. Without a deadline it also
    /// returns when the broker stops.
    pub(crate) fn wait_for_answers(&self, deadline: Option<Instant>) {
        self.wait(deadline, |inside| {
            inside.waiting.is_none() || (deadline.is_none() && inside.hurried)
        });
    }

    /// The same as [`Outbox::wait_for_room`], which does not know of these answers.
    pub(crate) fn wait_for_room_and_answers(&self, most: usize) {
        self.wait(None, |inside| {
            let waiting = inside.waiting.as_ref().map_or(0, |waiting| waiting.bytes());
            inside.hurried || inside.queue.answer_bytes + waiting <= most
        });
    }
}

impl OutboxGuard<'_> {
    /// Whether answers wait for the store: others have to wait behind them.
    pub(crate) fn has_waiting(&self) -> bool {
        self.inside.waiting.is_some()
    }

    /// Keeps answers until the store has told by [`Outbox::release`] that they may leave. Returns whether they are
    /// the first.
    pub(crate) fn answer_later(&mut self, answer: WaitingAnswer) -> bool {
        let is_first = self.inside.waiting.is_none();
        let waiting = self.inside.waiting.get_or_insert_default();
        waiting.push(answer);
        is_first
    }

    /// Sends answers that need not wait.
    pub(crate) fn send_answers(&mut self, answer: &WaitingAnswer) {
        if !answer.bytes.is_empty() {
            self.answer(&answer.bytes);
        }
        if let Some(receipt) = answer.receipt {
            self.receipt(receipt);
        }
    }

    /// Drops what waits: the connection ends.
    pub(super) fn forget_waiting(&mut self) {
        self.inside.waiting = None;
    }

    fn send_released(&mut self, mut answer: WaitingAnswer, synced: Synced) -> io::Result<()> {
        if synced == Synced::Failed && answer.until > 0 {
            // A client that has asked for levels is told the truth; another one must not be told that all is well.
            let reached = answer.receipt.as_mut().and_then(|it| it.reached.as_mut());
            let Some(reached) = reached else {
                let text = "the store could not make durable what the client has published";
                return Err(io::Error::other(text));
            };
            reached.level = reached.level.min(AckLevel::Os);
        }
        self.send_answers(&answer);
        Ok(())
    }
}

impl Inside {
    fn next_released(&mut self, synced: Synced) -> Option<WaitingAnswer> {
        let waiting = self.waiting.as_mut()?;
        let answer = waiting.pop(synced);
        if waiting.is_empty() {
            self.waiting = None;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use protocol::Reached;

    use super::*;
    use crate::engine::outbox::encoder::Encoder;
    use crate::engine::outbox::receipt::Receipt;
    use crate::engine::outbox::run::Run;
    use crate::engine::outbox::tests::{ENCODER, TestSink, outbox, receipt};

    /// Receipts with their levels.
    const LEVELS: Encoder = Encoder {
        receipt: |receipt| {
            let level = receipt.reached.map_or("", |reached| reached.level.as_str());
            format!("<{}:{}{level}>", receipt.answered, receipt.copies).into_bytes()
        },
        ..ENCODER
    };

    fn scene() -> (Arc<Outbox>, TestSink) {
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        outbox.set_encoder(&LEVELS);
        (outbox, sink)
    }

    fn later(outbox: &Outbox, until: u64, bytes: &[u8], receipt: Option<Receipt>) -> bool {
        outbox.lock().answer_later(WaitingAnswer {
            until,
            bytes: bytes.to_vec(),
            receipt,
        })
    }

    fn disk(answered: u64) -> Option<Receipt> {
        Some(Receipt {
            reached: Some(Reached {
                level: AckLevel::Disk,
                position: None,
            }),
            ..receipt(answered, 0)
        })
    }

    #[test]
    fn answers_leave_in_turn_and_none_before_what_it_confirms_is_durable() {
        let (outbox, sink) = scene();
        assert!(later(&outbox, 5, b"a", disk(1)));
        assert!(!later(&outbox, 0, b"b", None));
        assert!(!later(&outbox, 7, b"c", None));
        outbox.lock().deliver(&[&Run::borrowed(b"m;", 1)]);
        assert!(outbox.release(Synced::Before(5)));
        assert_eq!(sink.taken(), "m;");
        assert!(outbox.release(Synced::Before(6)));
        assert_eq!(sink.taken(), "a<1:0disk>b");
        assert!(!outbox.release(Synced::Before(8)));
        assert_eq!(sink.taken(), "c");
        // The next one asks for a sync again.
        assert!(later(&outbox, 9, b"d", None));
    }

    #[test]
    fn receipts_become_one_and_none_is_put_off_for_ever() {
        let (outbox, sink) = scene();
        later(&outbox, 1, b"", disk(1));
        // It comes while the sync for the first one goes on, and so do the next ones.
        for number in 2..=5 {
            later(&outbox, number, b"", disk(number));
        }
        assert!(outbox.release(Synced::Before(3)));
        assert_eq!(sink.taken(), "<1:0disk>");
        later(&outbox, 6, b"", disk(6));
        assert!(outbox.release(Synced::Before(6)));
        assert_eq!(sink.taken(), "<5:0disk>");
        assert!(!outbox.release(Synced::Before(7)));
        assert_eq!(sink.taken(), "<6:0disk>");
    }

    #[test]
    fn after_a_failed_sync_no_answer_says_that_all_is_well() {
        let (outbox, sink) = scene();
        later(&outbox, 5, b"", disk(1));
        assert!(!outbox.release(Synced::Failed));
        assert_eq!(sink.taken(), "<1:0os>");
        // A client that is not told levels would take an answer for a promise.
        for receipt in [None, Some(receipt(2, 0))] {
            let (outbox, sink) = scene();
            later(&outbox, 5, b"a", receipt);
            assert!(!outbox.release(Synced::Failed));
            assert_eq!(sink.taken(), "");
            let failure = outbox.close().failure.expect("it has failed");
            assert!(failure.to_string().contains("durable"), "{failure}");
        }
    }

    #[test]
    fn nothing_that_waits_follows_the_last_answer() {
        let (outbox, sink) = scene();
        later(&outbox, 5, b"a", None);
        outbox.lock().farewell(b"bye");
        assert!(!outbox.release(Synced::Before(9)));
        assert_eq!(sink.taken(), "bye");
    }

    #[test]
    fn a_client_with_many_answers_that_wait_is_not_read_from() {
        let (outbox, _) = scene();
        later(&outbox, 5, &[b'x'; 100], None);
        outbox.wait_for_room_and_answers(1000);
        thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| outbox.wait_for_room_and_answers(100)),
                scope.spawn(|| outbox.wait_for_answers(None)),
                scope.spawn(|| outbox.drain(None)),
            ];
            while outbox.inside.lock().waiters < 3 {
                thread::yield_now();
            }
            assert!(waiting.iter().all(|thread| !thread.is_finished()));
            outbox.release(Synced::Before(6));
        });
    }
}
