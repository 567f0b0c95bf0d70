//! The walk over retained messages, as the outbox of its client sees it: newer messages wait until the
//! walk is over, and a walk is not repeated while its messages are on their way.

use std::collections::VecDeque;

use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::run::Run;
use crate::engine::stats::tally::Reason;

use super::queue::Kind;
use super::walks::{Held, HeldRun, MAX_REMEMBERED, PastWalk};
use super::{Inside, OutboxGuard, OutboxState};

impl Inside {
    pub(super) fn is_holding(&self) -> bool {
        self.walks.as_ref().is_some_and(|walks| walks.is_holding())
    }

    /// Number of messages held.
    pub(super) fn held(&self) -> u64 {
        self.walks.as_ref().map_or(0, |walks| walks.held())
    }

    /// The outbox is closed: what is held is lost, unless another member of a group can receive it.
    pub(super) fn give_up_held(&mut self) {
        let held = self.walks.take().and_then(|walks| walks.held);
        for run in held.into_iter().flat_map(|held| held.runs) {
            self.queue.give_up_run(&run.run());
        }
    }

    /// Number of messages that have left the outbox in any way.
    fn settled(&self) -> u64 {
        let tally = self.queue.tally;
        tally.written + tally.dropped.total() + tally.discarded
    }
}

impl OutboxGuard<'_> {
    /// Whether a walk for this client is worth while: there is a connection, and it goes on.
    pub(crate) fn is_open(&self) -> bool {
        let connected = matches!(
            self.inside.state,
            OutboxState::Idle(_) | OutboxState::Blocked(_)
        );
        connected && !self.inside.ending && !self.inside.hurried
    }

    /// A walk begins: messages wait from now on, except for those of the walk.
    pub(crate) fn hold(&mut self) {
        let charge = self.inside.terms.memory.charge(0);
        let walks = self.inside.walks.get_or_insert_default();
        walks.held.get_or_insert_with(|| Held {
            runs: VecDeque::new(),
            messages: 0,
            charge,
            bytes: 0,
            dropped: 0,
        });
    }

    /// Keeps messages until the walk is over. They are bounded as a queue is; the oldest are dropped.
    // Out of line: inlined, its locals would lie on the stack of every publisher.
    #[inline(never)]
    pub(super) fn keep_for_later(&mut self, runs: &[&Run<'_>]) {
        let inside = &mut *self.inside;
        let free = inside.terms.memory.free();
        let Some(held) = inside.walks.as_mut().and_then(|walks| walks.held.as_mut()) else {
            return;
        };
        let room = inside.terms.limit.min(free.saturating_add(held.bytes));
        let reason = match room < inside.terms.limit {
            true => Reason::Memory,
            false => Reason::Full,
        };
        for run in runs {
            held.runs.push_back(HeldRun::of(run));
            held.messages += run.messages();
            held.bytes += run.bytes().len();
        }
        held.charge.resize(held.bytes);
        while held.bytes > room
            && let Some(run) = held.pop()
        {
            held.dropped += run.messages;
            inside.queue.tally.dropped.add(reason, run.messages);
        }
    }

    /// The walk is over: delivers what was held, in order, behind the number of what was dropped.
    #[inline(never)]
    pub(crate) fn release_held(&mut self) {
        let walks = self.inside.walks.as_mut();
        let Some(mut held) = walks.and_then(|walks| walks.held.take()) else {
            return;
        };
        self.tell_gap(held.dropped);
        while let Some(run) = held.pop() {
            let run = run.run();
            // It was counted when it was held.
            self.inside.queue.taken -= run.messages();
            if !self.deliver(&[&run]) {
                self.inside.queue.taken += run.messages();
                self.inside.queue.give_up_run(&run);
            }
        }
        self.forget_past_walks();
        if self.inside.following.is_some() {
            self.note_room();
        }
    }

    /// Says that messages are missing here.
    pub(crate) fn tell_gap(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.inside.delivery {
            Some(delivery) => delivery.note_gap(count),
            None => {
                let bytes = (self.inside.terms.encoder.gap)(count);
                self.say(&bytes, Kind::Answer);
            }
        }
    }

    /// The messages of a walk have been delivered: until they have left, another walk for the same
    /// subscription is not worth while.
    pub(crate) fn note_walk(&mut self, filter: &str, options: SubscriptionOptions) {
        self.forget_past_walks();
        let end = self.inside.queue.taken;
        if self.inside.settled() < end {
            let walks = self.inside.walks.get_or_insert_default();
            if walks.past.len() == MAX_REMEMBERED {
                walks.past.remove(0);
            }
            walks.past.push(PastWalk {
                filter: filter.into(),
                options,
                end,
            });
        }
    }

    /// Whether the messages of an earlier walk for the same subscription are still on their way.
    pub(crate) fn is_walk_under_way(&mut self, filter: &str, options: SubscriptionOptions) -> bool {
        self.forget_past_walks();
        let walks = self.inside.walks.as_deref();
        walks.is_some_and(|walks| {
            let mut past = walks.past.iter();
            past.any(|walk| &*walk.filter == filter && walk.options == options)
        })
    }

    /// The subscription has ended: the next one is another.
    pub(crate) fn forget_walk(&mut self, filter: &str) {
        if let Some(walks) = &mut self.inside.walks {
            walks.past.retain(|walk| &*walk.filter != filter);
        }
    }

    fn forget_past_walks(&mut self) {
        let settled = self.inside.settled();
        if let Some(walks) = &mut self.inside.walks {
            walks.past.retain(|walk| walk.end > settled);
            if walks.past.is_empty() && !walks.is_holding() {
                self.inside.walks = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::Outbox;
    use crate::engine::outbox::tests::outbox;

    const OPTIONS: SubscriptionOptions = SubscriptionOptions {
        qos: 0,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };

    fn live(outbox: &Outbox, message: &str) {
        let run = Run::borrowed(message.as_bytes(), 1);
        assert!(outbox.lock().deliver(&[&run]));
    }

    fn of_walk(outbox: &Outbox, message: &str) {
        let run = Run::borrowed(message.as_bytes(), 1).for_filter(&"#".into());
        assert!(outbox.lock().deliver(&[&run]));
    }

    #[test]
    fn newer_messages_wait_until_the_walk_is_over() {
        let (outbox, sink) = outbox(1, 100, usize::MAX);
        of_walk(&outbox, "1;");
        outbox.lock().hold();
        live(&outbox, "4;");
        assert!(!outbox.lock().has_room());
        of_walk(&outbox, "2;");
        live(&outbox, "5;");
        of_walk(&outbox, "3;");
        let stock = outbox.stock();
        assert_eq!((stock.taken, stock.waiting), (5, 2));
        assert_eq!(sink.taken(), "1;2;3;");
        outbox.lock().release_held();
        live(&outbox, "6;");
        assert_eq!(sink.taken(), "4;5;6;");
        let stock = outbox.stock();
        assert_eq!((stock.taken, stock.tally.written, stock.waiting), (6, 6, 0));
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_dropped_is_told() {
        let (outbox, sink) = outbox(1, 10, usize::MAX);
        outbox.lock().hold();
        for message in ["1111;", "2222;", "3333;", "4;"] {
            live(&outbox, message);
        }
        of_walk(&outbox, "r;");
        outbox.lock().release_held();
        assert_eq!(sink.taken(), "r;<gap 2>3333;4;");
        let stock = outbox.stock();
        assert_eq!((stock.taken, stock.waiting), (5, 0));
        assert_eq!((stock.tally.written, stock.tally.dropped.total()), (3, 2));
    }

    #[test]
    fn what_waits_for_a_client_that_is_gone_is_counted_or_goes_to_another_member() {
        let (outbox, _) = outbox(1, 100, usize::MAX);
        outbox.lock().hold();
        live(&outbox, "1;");
        let shared = Run::borrowed(b"2;", 1).for_one_of(&"$share/g/a".into());
        assert!(outbox.lock().deliver(&[&shared]));
        assert!(outbox.lock().is_open());
        let remains = outbox.close();
        assert_eq!(remains.tally.discarded, 1);
        assert_eq!(remains.redeliveries.len(), 1);
        assert!(!outbox.lock().is_open());
        outbox.lock().release_held();
        assert_eq!(outbox.stock().taken, 1);
    }

    #[test]
    fn a_walk_is_under_way_until_its_messages_have_left() {
        let (outbox, sink) = outbox(1, 100, 3);
        of_walk(&outbox, "1;");
        of_walk(&outbox, "2;");
        outbox.lock().note_walk("#", OPTIONS);
        live(&outbox, "3;");
        let other = SubscriptionOptions { qos: 1, ..OPTIONS };
        assert!(outbox.lock().is_walk_under_way("#", OPTIONS));
        assert!(!outbox.lock().is_walk_under_way("#", other));
        assert!(!outbox.lock().is_walk_under_way("+", OPTIONS));
        outbox.lock().forget_walk("+");
        assert!(outbox.lock().is_walk_under_way("#", OPTIONS));
        sink.make_room(&outbox, 100);
        assert!(!outbox.lock().is_walk_under_way("#", OPTIONS));
        // With everything sent at once there is nothing to wait for.
        of_walk(&outbox, "4;");
        outbox.lock().note_walk("#", OPTIONS);
        assert!(!outbox.lock().is_walk_under_way("#", OPTIONS));
    }
}
