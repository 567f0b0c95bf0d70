//! A subscriber of a publisher, its part of the batch, and the result of the delivery.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::engine::outbox::OutboxGuard;
use crate::engine::outbox::queue::COPY_BELOW_BYTES;
use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::routing::subscribers::Subscriber;

/// Counts of the batch's deliveries.
#[derive(Default)]
pub(super) struct Outcome {
    /// Copies whose subscriber had left or unsubscribed before delivery.
    pub(super) withdrawn: Cell<u64>,
    /// Copies of this batch that were sent without queueing.
    pub(super) direct: Cell<u64>,
    /// Subscribers that want backpressure.
    pub(super) slow_subscribers: RefCell<Vec<Subscriber>>,
    /// The numbers of the batch, if it is one for followers.
    pub(super) numbers: Cell<Option<(u64, u64)>>,
    /// Copies that followers have accepted.
    pub(super) accepted: Cell<u64>,
}

/// A subscriber, and its part of the batch.
pub(super) struct Slot {
    pub(super) outbox: Subscriber,
    pub(super) pieces: Vec<Piece>,
    pub(super) copied: Vec<u8>,
    /// The capacity of `copied`, as counted in the total of all slots.
    pub(super) counted: usize,
}

pub(super) enum Piece {
    /// The next bytes of `copied`; with `share` they are for one member of that group.
    Copied {
        bytes: usize,
        messages: u64,
        options: PublishOptions,
        share: Option<Arc<str>>,
    },
    /// A run of the batch, by its index.
    Run(usize),
}

impl Slot {
    /// Adds a run; returns the number of bytes copied.
    pub(super) fn add(&mut self, number: usize, run: &Run<'_>) -> usize {
        let len = run.bytes().len();
        if len >= COPY_BELOW_BYTES {
            self.pieces.push(Piece::Run(number));
            return 0;
        }
        self.copied.extend_from_slice(run.bytes());
        if let Some(Piece::Copied {
            bytes,
            messages,
            options,
            share,
        }) = self.pieces.last_mut()
            && share.as_ref() == run.share()
            && *options == run.options()
        {
            *bytes += len;
            *messages += run.messages();
        } else {
            self.pieces.push(Piece::Copied {
                bytes: len,
                messages: run.messages(),
                options: run.options(),
                share: run.share().cloned(),
            });
        }
        len
    }
}

impl Outcome {
    /// Delivers, and notes a subscriber that wants backpressure. Returns false if it is gone.
    pub(super) fn hand(
        &self,
        outbox: &Subscriber,
        guard: &mut OutboxGuard<'_>,
        runs: &[&Run<'_>],
    ) -> bool {
        if let Some(numbers) = self.numbers.get() {
            let accepted = guard.deliver_new(runs, numbers);
            self.accepted.set(self.accepted.get() + accepted);
            // What it does not accept is read for it later.
            return true;
        }
        let taken = guard.deliver(runs);
        if guard.take_backpressure() {
            self.slow_subscribers.borrow_mut().push(outbox.clone());
        } else if guard.has_room() {
            let copies: u64 = runs.iter().map(|run| run.messages()).sum();
            self.direct.set(self.direct.get() + copies);
        }
        taken
    }

    pub(super) fn withdraw(&self, copies: u64) {
        self.withdrawn.set(self.withdrawn.get() + copies);
    }
}
