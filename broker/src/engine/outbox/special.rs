//! The part of an outbox that deals with its adapter: for clients to whom each message is something
//! by itself.

use std::any::Any;
use std::io::IoSlice;
use std::time::Instant;

use crate::engine::outbox::delivery_state::{Adapter, Fate, Message, Outgoing};
use crate::engine::outbox::run::Run;
use crate::engine::stats::tally::Reason;

use super::{FLUSH_BYTES, Inside, OutboxGuard, State, send};

impl Inside {
    /// Whether messages go out in the words that all of the wire share.
    pub(super) fn is_plain(&self) -> bool {
        let adapter = self.adapter.as_deref();
        adapter.is_none_or(|adapter| adapter.is_plain() && !self.queue.has_untold())
    }

    /// Has the adapter take each message; returns what is to be sent.
    fn adapted(&mut self, runs: &[&Run<'_>]) -> Outgoing {
        let mut outgoing = Outgoing::of(self.terms.encoder);
        let Some(mut adapter) = self.adapter.take() else {
            return outgoing;
        };
        let now = Instant::now();
        adapter.note_gap(self.queue.take_untold());
        for run in runs {
            let mut start = 0;
            let ends = memchr::memchr_iter(b'\n', run.bytes()).map(|at| at + 1);
            for (number, end) in ends.enumerate() {
                let message = Message {
                    run,
                    number,
                    range: start..end,
                    now,
                    memory: &self.terms.memory,
                };
                match adapter.take(&message, &mut outgoing) {
                    Fate::Sent | Fate::Kept => {}
                    Fate::Unwanted => self.queue.tally.discarded += 1,
                    Fate::Dropped => self.queue.tally.dropped.add(Reason::Full, 1),
                }
                start = end;
            }
        }
        self.adapter = Some(adapter);
        self.pump_into(now, &mut outgoing);
        outgoing
    }

    /// Adds what the adapter has kept and may be sent.
    fn pump_into(&mut self, now: Instant, outgoing: &mut Outgoing) {
        let waiting = self.queue.message_bytes + outgoing.bytes().len();
        if let Some(adapter) = &mut self.adapter
            && matches!(self.state, State::Idle(_) | State::Blocked(_))
            && waiting < FLUSH_BYTES
        {
            let pumped = adapter.pump(now, FLUSH_BYTES - waiting, outgoing);
            self.queue.tally.discarded += pumped.discarded;
        }
    }
}

impl OutboxGuard<'_> {
    /// Whether the adapter need not see the messages.
    pub(super) fn is_simple(&self) -> bool {
        let connected = matches!(self.inside.state, State::Idle(_) | State::Blocked(_));
        connected && !self.inside.ending && self.inside.is_plain()
    }

    #[inline(never)]
    pub(super) fn deliver_adapted(&mut self, runs: &[&Run<'_>]) {
        let outgoing = self.inside.adapted(runs);
        self.send_outgoing(&outgoing);
    }

    /// The adapter, if it is this wire's.
    pub(crate) fn adapter<T: Adapter>(&mut self) -> Option<&mut T> {
        let adapter: &mut dyn Any = self.inside.adapter.as_deref_mut()?;
        adapter.downcast_mut()
    }

    /// Sends of what the adapter keeps as much as may be sent now.
    pub(crate) fn pump(&mut self) {
        let mut outgoing = Outgoing::of(self.inside.terms.encoder);
        self.inside.pump_into(Instant::now(), &mut outgoing);
        self.send_outgoing(&outgoing);
    }

    /// The client has acknowledged so many messages that the adapter kept.
    pub(crate) fn note_acknowledged(&mut self, messages: u64) {
        self.inside.queue.tally.written += messages;
    }

    fn send_outgoing(&mut self, outgoing: &Outgoing) {
        let bytes = outgoing.bytes();
        if bytes.is_empty() {
            return;
        }
        self.inside.state = match self.take_state() {
            State::Idle(sink) => match send(|| sink.send(&[IoSlice::new(bytes)])) {
                Ok(sent) => {
                    self.inside.queue.tally.bytes += sent as u64;
                    if sent == bytes.len() {
                        self.inside.queue.tally.written += outgoing.messages();
                        State::Idle(sink)
                    } else {
                        let inside = &mut *self.inside;
                        inside.queue.push_outgoing(outgoing, sent, &inside.terms);
                        self.block(sink)
                    }
                }
                Err(failure) => {
                    self.inside.queue.give_up_outgoing(outgoing);
                    self.fail(failure)
                }
            },
            State::Blocked(sink) => {
                let inside = &mut *self.inside;
                inside.queue.push_outgoing(outgoing, 0, &inside.terms);
                State::Blocked(sink)
            }
            gone @ (State::Away | State::Closed) => {
                self.inside.queue.give_up_outgoing(outgoing);
                gone
            }
        };
        self.note_state();
    }

    /// Queues what the adapter has kept and may be sent now; returns whether there is any.
    pub(super) fn refill(&mut self) -> bool {
        let inside = &mut *self.inside;
        let Some(adapter) = &mut inside.adapter else {
            return false;
        };
        let mut outgoing = Outgoing::of(inside.terms.encoder);
        let pumped = adapter.pump(Instant::now(), FLUSH_BYTES, &mut outgoing);
        inside.queue.tally.discarded += pumped.discarded;
        inside.queue.push_outgoing(&outgoing, 0, &inside.terms);
        !outgoing.bytes().is_empty()
    }
}
