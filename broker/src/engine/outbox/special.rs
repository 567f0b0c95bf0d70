//! The part of an outbox that uses its delivery state, for clients for which each message is decided
//! separately.

use std::time::Instant;

use crate::engine::outbox::delivery::outgoing::Outgoing;
use crate::engine::outbox::delivery::{Fate, RunLine};
use crate::engine::outbox::run::{Redelivery, Run};
use crate::engine::stats::tally::Reason;

use super::guard::Sent;
use super::{FLUSH_BYTES, Inside, OutboxGuard, OutboxState};

impl Inside {
    /// Whether the shared encoding of the protocol is right for every message now.
    pub(super) fn is_plain(&self) -> bool {
        let delivery = self.delivery.as_deref();
        delivery.is_none_or(|delivery| delivery.is_plain() && !self.queue.has_untold())
    }

    /// Passes each message to the delivery state; returns the bytes to send.
    fn decide(&mut self, runs: &[&Run<'_>]) -> Outgoing {
        let mut outgoing = Outgoing::of(self.terms.encoder);
        let Some(mut delivery) = self.delivery.take() else {
            return outgoing;
        };
        let now = Instant::now();
        let room = self.terms.room().saturating_sub(self.queue.message_bytes);
        delivery.note_gap(self.queue.take_untold());
        for run in runs {
            let mut start = 0;
            let ends = memchr::memchr_iter(b'\n', run.bytes()).map(|at| at + 1);
            for (number, end) in ends.enumerate() {
                let message =
                    RunLine::new((run, number, start..end), (now, &self.terms.memory, room));
                match delivery.push(&message, &mut outgoing) {
                    Fate::Sent | Fate::Kept => {}
                    Fate::Unwanted => self.queue.tally.discarded += 1,
                    Fate::Dropped => self.queue.tally.dropped.add(Reason::Full, 1),
                }
                start = end;
            }
        }
        self.delivery = Some(delivery);
        self.pump_into(now, &mut outgoing);
        outgoing
    }

    /// Appends kept messages that may be sent now.
    fn pump_into(&mut self, now: Instant, outgoing: &mut Outgoing) {
        let waiting = self.queue.message_bytes + outgoing.bytes().len();
        if let Some(delivery) = &mut self.delivery
            && matches!(self.state, OutboxState::Idle(_) | OutboxState::Blocked(_))
            && waiting < FLUSH_BYTES
        {
            self.queue.tally.discarded += delivery.pump(now, FLUSH_BYTES - waiting, outgoing);
        }
    }
}

impl OutboxGuard<'_> {
    /// Whether no message needs a decision of the delivery state.
    pub(super) fn is_simple(&self) -> bool {
        let connected = matches!(
            self.inside.state,
            OutboxState::Idle(_) | OutboxState::Blocked(_)
        );
        connected && !self.inside.ending && self.inside.is_plain()
    }

    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn deliver_special(&mut self, runs: &[&Run<'_>]) {
        let outgoing = self.inside.decide(runs);
        self.send_outgoing(&outgoing);
    }

    /// Bytes of the messages that are kept until they are acknowledged.
    pub(crate) fn kept_bytes(&self) -> usize {
        let delivery = self.inside.delivery.as_ref();
        delivery.map_or(0, |delivery| delivery.kept_bytes())
    }

    /// Limits what waits for an absent client. Returns what another member of a group may receive instead.
    pub(crate) fn limit_absent(&mut self) -> Vec<Redelivery> {
        let Some(delivery) = &mut self.inside.delivery else {
            return Vec::new();
        };
        let (dropped, redeliveries) = delivery.limit_absent();
        let queue = &mut self.inside.queue;
        queue.tally.dropped.add(Reason::Memory, dropped);
        // They no longer count as given to this outbox.
        queue.taken -= redeliveries.len() as u64;
        redeliveries
    }

    /// Gives up the kept messages that the client may not receive: see [`DeliveryState::withhold`].
    ///
    /// [`DeliveryState::withhold`]: crate::engine::outbox::delivery::DeliveryState::withhold
    pub(crate) fn withhold(
        &mut self,
        may_receive: impl FnMut(&[u8], Option<&str>) -> bool,
    ) -> Vec<Redelivery> {
        let Some(delivery) = &mut self.inside.delivery else {
            return Vec::new();
        };
        let redeliveries = delivery.withhold(may_receive);
        // As in `limit_absent`.
        self.inside.queue.taken -= redeliveries.len() as u64;
        redeliveries
    }

    /// Sends kept messages that may be sent now.
    pub(crate) fn pump(&mut self) {
        let mut outgoing = Outgoing::of(self.inside.terms.encoder);
        self.inside.pump_into(Instant::now(), &mut outgoing);
        self.send_outgoing(&outgoing);
        if self.inside.following.is_some() {
            self.note_room();
        }
    }

    fn send_outgoing(&mut self, outgoing: &Outgoing) {
        let bytes = outgoing.bytes();
        if bytes.is_empty() {
            return;
        }
        let sent = self.send_or_queue(bytes, |inside, sent| {
            inside.queue.push_outgoing(outgoing, sent, &inside.terms);
        });
        match sent {
            Sent::All => self.inside.queue.tally.written += outgoing.messages(),
            Sent::Queued => {}
            Sent::Lost => self.inside.queue.give_up_outgoing(outgoing),
        }
    }

    /// Queues kept messages that may be sent now; returns whether there are any.
    pub(super) fn refill(&mut self) -> bool {
        let inside = &mut *self.inside;
        let Some(delivery) = &mut inside.delivery else {
            return false;
        };
        let mut outgoing = Outgoing::of(inside.terms.encoder);
        inside.queue.tally.discarded += delivery.pump(Instant::now(), FLUSH_BYTES, &mut outgoing);
        inside.queue.push_outgoing(&outgoing, 0, &inside.terms);
        !outgoing.bytes().is_empty()
    }
}
