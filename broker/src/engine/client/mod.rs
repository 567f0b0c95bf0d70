//! A client in the engine: what it publishes, subscribes to and leaves behind, on any wire.
//!
//! Messages go through the engine as the lines that a client of the line protocol is sent; a wire
//! with other bytes says in its [`Encoder`](crate::engine::outbox::encoder::Encoder) how to make them from these. The
//! client is not answered here: its conversation does that, and may end earlier, also by a panic.

mod lifecycle;
mod publish;
mod subscribe;

use std::sync::Arc;
use std::time::Instant;

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::publish::Dispatch;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::store::Will;
use crate::engine::stats::ledger::Totals;

pub(crate) use lifecycle::{NoMemory, Seat};
pub(crate) use publish::MESSAGE;
pub(crate) use subscribe::TooMany;

/// A busy client hands in what it published when so many milliseconds have passed, if there were so
/// many messages for each topic that the work is next to nothing for each of them, or later.
const HAND_IN_MS: u64 = 1000;
const HAND_IN_MESSAGES: u64 = 64;
const HAND_IN_LATE_MS: u64 = 10_000;

/// One client's place in the engine.
pub(crate) struct Client<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) record: &'a Arc<ClientRecord>,
    /// Of the session, which may be older than the connection.
    pub(crate) outbox: Subscriber,
    pub(crate) dispatch: Dispatch,
    pub(crate) account: Account,
    /// When the client last sent something.
    heard: Moment,
    /// When it last handed in what it published, and what the clients's number of askers was then.
    handed_in: Option<HandIn>,
    asked: u64,
    pub(crate) most_subscriptions: usize,
    /// What to publish if the client is cut off.
    will: Option<Will>,
    /// What its client can come back to. Most have none, and idle connections shall be small.
    seat: Option<Box<Seat>>,
}

/// What the client has done with its own messages, to the end of the batch at hand.
#[derive(Default)]
pub(crate) struct Account {
    /// Messages accepted.
    pub(crate) published: u64,
    /// Messages that somebody wanted.
    matched: u64,
    /// Messages that nobody wanted.
    unmatched: u64,
    /// Copies made of them.
    copies: u64,
    /// Copies of retained messages, made for this client's own subscriptions.
    pub(crate) retained: u64,
    /// Frames refused.
    pub(crate) refused: u64,
    /// Bytes that came.
    bytes: u64,
}

/// When a client handed in what it published.
#[derive(Clone, Copy)]
struct HandIn {
    at: Moment,
    /// Its messages until then.
    published: u64,
}

impl Account {
    /// A message was accepted and so many copies made of it.
    #[inline]
    pub(crate) fn accept(&mut self, copies: u64) {
        self.published += 1;
        self.copies += copies;
        self.matched += u64::from(copies > 0);
        self.unmatched += u64::from(copies == 0);
    }
}

impl<'a> Client<'a> {
    /// In a box, because a thread's stack grows by whole pages and lives as long as the connection.
    #[inline(never)]
    pub(crate) fn new(
        engine: &'a Engine,
        record: &'a Arc<ClientRecord>,
        most_subscriptions: usize,
    ) -> Box<Self> {
        Box::new(Self {
            engine,
            record,
            outbox: record.outbox.clone(),
            dispatch: Dispatch::new(engine.router.clone(), engine.topic_stats.clone())
                .of(record.outbox.id()),
            account: Account::default(),
            heard: record.since,
            handed_in: None,
            asked: 0,
            most_subscriptions,
            will: None,
            seat: None,
        })
    }

    /// The client has sent so many bytes.
    pub(crate) fn note_heard(&mut self, bytes: usize) {
        self.heard = Moment::now();
        self.dispatch.set_now(self.heard);
        self.account.bytes += bytes as u64;
    }

    /// Begins a batch: see [`ClientRecord::begin`].
    pub(crate) fn begin(&self) {
        self.record.begin(&self.engine.clients);
    }

    /// All that has been published is delivered: enters it in the account that others may see.
    pub(crate) fn settle(&mut self) {
        self.note_latency();
        let asked = self.engine.clients.asked();
        if asked != self.asked || self.handed_in.is_none_or(|last| self.is_due(last)) {
            self.hand_in(asked);
        }
        let account = &self.account;
        let totals = Totals {
            published: account.published,
            matched: account.matched,
            unmatched: account.unmatched,
            refused: account.refused,
            copies: account.copies + account.retained,
            withdrawn: self.dispatch.withdrawn(),
            bytes: account.bytes,
        };
        self.record.settle(totals, self.heard, asked);
    }

    /// Enters how long the copies took that left at once.
    #[inline(never)]
    fn note_latency(&mut self) {
        let (came, copies) = self.dispatch.take_direct();
        if copies > 0 {
            let time = Moment::now().since(came);
            self.engine.latency.note(time, copies);
        }
    }

    #[inline(never)]
    fn hand_in(&mut self, asked: u64) {
        self.dispatch.hand_in();
        let handed_in = HandIn {
            at: self.heard,
            published: self.account.published,
        };
        (self.handed_in, self.asked) = (Some(handed_in), asked);
    }

    fn is_due(&self, last: HandIn) -> bool {
        let ms = self.heard.ms_since(last.at);
        let enough = || {
            let messages = self.account.published - last.published;
            messages >= HAND_IN_MESSAGES * self.dispatch.topics()
        };
        ms >= HAND_IN_LATE_MS || (ms >= HAND_IN_MS && enough())
    }

    /// Ends a batch that has been delivered; returns when the client may be read from again.
    pub(crate) fn rest(&mut self) {
        self.settle();
        self.outbox.wait_for_room();
        if self.dispatch.wants_backpressure() {
            self.wait_for_slow();
        }
        if self.engine.memory.is_short() {
            self.wait_for_memory();
        }
    }

    /// Ends the part of a batch that has been delivered, waits, and begins the next.
    pub(crate) fn wait_for_room(&mut self) {
        if self.outbox.seems_blocked() {
            self.settle();
            self.outbox.wait_for_room();
            self.begin();
        }
    }

    /// The client has been quiet for a moment: memory goes back, and so do the outboxes of others
    /// that remembered routes keep.
    pub(crate) fn pause(&mut self) {
        self.engine.memory.note_returned(self.dispatch.scratch());
        self.dispatch.forget();
        // What comes next may be little: it is handed in at once.
        self.handed_in = None;
    }

    /// Slow clients want their publishers to wait for them.
    #[inline(never)]
    fn wait_for_slow(&mut self) {
        let began = Instant::now();
        let deadline = began + self.engine.max_block;
        for slow in self.dispatch.take_slow_subscribers() {
            let in_vain = slow.wait_for_half(deadline);
            if in_vain
                && !self.engine.max_block.is_zero()
                && let Some(more) = self.engine.block_log.say(Instant::now())
            {
                log::warn!(
                    "connection {} waited --max-buffer for connection {}, which still reads too \
                     slowly and gets a GAP next{more}",
                    self.outbox.id(),
                    slow.id()
                );
            }
        }
        self.engine.metrics.blocks.add(1);
        let waited = began.elapsed().as_micros() as u64;
        self.engine.metrics.blocked.add(waited);
    }

    /// Slow clients take nearly all the memory: the next batch comes a little later.
    #[inline(never)]
    fn wait_for_memory(&self) {
        let began = Instant::now();
        self.engine.memory.wait_for_reserve();
        self.engine.metrics.waits.add(1);
        self.engine
            .metrics
            .waited
            .add(began.elapsed().as_micros() as u64);
        if let Some(more) = self.engine.memory_log.say(began) {
            log::warn!(
                "connection {}: messages that wait for slow clients take nearly all of --memory, \
                 so who sends waits a moment and slow clients get a GAP sooner{more}",
                self.outbox.id()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{Attributes, Escaped, Topic};

    use super::*;
    use crate::engine::outbox::tests::outbox;

    #[test]
    fn a_busy_client_hands_in_what_it_published_when_there_is_much_or_someone_asks_or_late() {
        let engine = Engine::new(10, 1000, usize::MAX, Duration::ZERO).expect("an engine");
        let record = Arc::new(ClientRecord::new(
            outbox(1, 100, 0).0,
            ([127, 0, 0, 1], 1).into(),
        ));
        let mut client = Client::new(&engine, &record, 10);
        let (start, topic) = (Moment::now(), Topic::parse("a").expect("a topic"));
        let mut seen_after = |messages: usize, ms: u64| {
            client.begin();
            for _ in 0..messages {
                client.add_beside(topic, &Escaped::escape(b"x"), &Attributes::default());
            }
            client.dispatch.deliver(&[]);
            client.heard = start.later(ms);
            client.settle();
            engine.topic_stats.find("a").map_or(0, |seen| seen.messages)
        };
        // The first is handed in at once, and may be the only one for long.
        assert_eq!(seen_after(1, 0), 1);
        assert_eq!(seen_after(100, 900), 1);
        assert_eq!(seen_after(1, 1000), 102);
        assert_eq!(seen_after(1, 3000), 102);
        engine.clients.ask();
        assert_eq!(seen_after(1, 3001), 104);
        assert_eq!(seen_after(1, 12_000), 104);
        assert_eq!(seen_after(1, 13_001), 106);
    }
}
