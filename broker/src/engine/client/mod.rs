//! A client in the engine, and the one gate to it: what a wire does, it asks for here.
//!
//! A batch is what one read brought. [`Client::begin`] begins it, messages are added to it, and
//! [`Client::finish_batch`] delivers them, sends the answers and waits for what has to be waited for. The bytes of
//! an answer are the wire's; when they may be sent is decided here. A conversation may end in the middle of
//! a batch, also by a panic.
//!
//! Messages go through the engine as the lines that a client of the line protocol is sent; a wire
//! with other bytes says in its [`Encoder`](crate::engine::outbox::encoder::Encoder) how to make them from these.

mod lifecycle;
mod publish;
mod subscribe;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::limits::{CachedLimits, Limits};
use crate::engine::memory::budget::Memory;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::Dispatch;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::Session;
use crate::engine::session::clients::ClientRecord;
use crate::engine::stats::ledger::Totals;
use crate::engine::stats::log_limit::Suppressed;
use crate::sync::Ordering;

pub(crate) use lifecycle::{NoMemory, SessionBusy};
pub(crate) use publish::{BrokersOwn, Message, PublishError};
pub(crate) use subscribe::SubscribeError;

/// A busy client hands in its figures by topic after this time, if there were enough messages for each
/// topic that the work is next to nothing for each of them.
const HAND_IN_MS: u64 = 1000;

/// Messages on each topic that are enough.
const HAND_IN_MESSAGES: u64 = 64;

/// It hands them in after this time however few there were.
const HAND_IN_LATE_MS: u64 = 10_000;

/// One client's place in the engine.
pub(crate) struct Client<'a> {
    engine: &'a Engine,
    record: Arc<ClientRecord>,
    /// It may be older than the connection.
    session: Arc<Session>,
    outbox: Subscriber,
    dispatch: Dispatch,
    account: PublishAccount,
    /// The last message of the batch, if the next may simply be added to it.
    last: Option<Last>,
    /// When the client last sent something.
    heard: Moment,
    /// When it last handed in what it published, and what the clients' number of askers was then.
    handed_in: Option<HandIn>,
    asked: u64,
    limits: CachedLimits,
}

/// What the client has done with its own messages, to the end of the batch at hand.
#[derive(Default)]
struct PublishAccount {
    /// Messages accepted.
    published: u64,
    /// Messages that had a subscriber. The others had none.
    matched: u64,
    /// Copies made of them.
    copies: u64,
    /// Copies of retained messages, made for this client's own subscriptions.
    retained: u64,
    /// Frames refused.
    refused: u64,
    /// Bytes that came.
    bytes: u64,
}

/// The last message of the batch, if the next may simply be added to it.
struct Last {
    /// Where its topic is: in the read buffer or beside it. A wire uses one of the two for all its lines.
    topic: Range<usize>,
    end: usize,
    options: PublishOptions,
}

/// When a client handed in what it published.
#[derive(Clone, Copy)]
struct HandIn {
    at: Moment,
    /// Its messages until then.
    published: u64,
}

/// What a client is told once its messages are delivered.
pub(crate) struct Answers<'a> {
    /// Emptied when they are sent.
    pub(crate) bytes: &'a mut Vec<u8>,
    /// How many messages are answered, and the copies made of them. Receipts that wait are merged.
    pub(crate) receipt: Option<(u64, u64)>,
    /// The client has acknowledged something, so that more can be sent to it.
    pub(crate) acknowledged: bool,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self {
            bytes,
            receipt: None,
            acknowledged: false,
        }
    }
}

impl PublishAccount {
    /// A message was accepted and this number of copies made of it.
    #[inline]
    fn accept(&mut self, copies: u64) {
        self.published += 1;
        self.copies += copies;
        self.matched += u64::from(copies > 0);
    }
}

impl<'a> Client<'a> {
    /// In a box, because a thread's stack grows by whole pages and lives as long as the connection.
    #[inline(never)]
    pub(crate) fn new(engine: &'a Engine, record: &Arc<ClientRecord>) -> Box<Self> {
        Box::new(Self {
            engine,
            record: record.clone(),
            session: record.own_session().clone(),
            outbox: record.outbox().clone(),
            dispatch: Dispatch::new(engine.router.clone(), engine.topic_stats.clone())
                .of(record.id()),
            account: PublishAccount::default(),
            last: None,
            heard: record.since,
            handed_in: None,
            asked: 0,
            limits: CachedLimits::new(&engine.limits),
        })
    }

    /// For the broker itself: what it publishes is in the sums, and it is in no list of clients.
    pub(crate) fn internal(engine: &'a Engine) -> Box<Self> {
        let unspecified = ([0, 0, 0, 0], 0).into();
        let outbox = Arc::new(Outbox::unconnected(engine.memory.clone()));
        let record = Arc::new(ClientRecord::new(outbox, unspecified));
        engine.clients.enter_internal(record.clone());
        Self::new(engine, &record)
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.record.id()
    }

    /// For what tells about the broker, and for what takes the client out of it; not for a wire.
    pub(crate) fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// What is known of the connection.
    pub(crate) fn record(&self) -> &Arc<ClientRecord> {
        &self.record
    }

    /// Its session, which may be older than the connection.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn memory(&self) -> &'a Arc<Memory> {
        &self.engine.memory
    }

    /// Messages accepted so far.
    pub(crate) fn published(&self) -> u64 {
        self.account.published
    }

    /// What the client calls itself.
    pub(crate) fn set_name(&self, name: &str) {
        self.record.set_name(name);
    }

    /// From now on everything is said in these words.
    pub(crate) fn set_encoder(&self, encoder: &'static Encoder) {
        self.outbox.set_encoder(encoder);
    }

    /// Tells the client something beside a batch.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        self.outbox.lock().answer(bytes);
    }

    /// Tells the client the last thing that it is told.
    pub(crate) fn farewell(&self, bytes: &[u8]) {
        self.outbox.lock().farewell(bytes);
    }

    /// The same, in the words of its encoder.
    pub(crate) fn goodbye(&self) {
        self.outbox.lock().goodbye();
    }

    /// Says goodbye in the words of the client's encoder, if it is time for that, and then sends `last` as
    /// it is, with nothing in between.
    pub(crate) fn say_last(&self, goodbye: bool, last: Option<&[u8]>) {
        let mut guard = self.outbox.lock();
        if goodbye {
            guard.goodbye();
        }
        if let Some(last) = last {
            guard.signal(last);
        }
    }

    /// Returns when nothing waits for the client any more, it is gone, or it is `deadline`. Without a
    /// deadline it also returns when the broker stops.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.outbox.drain(deadline);
    }

    /// Whether the client has been told its last.
    pub(crate) fn is_ending(&self) -> bool {
        self.outbox.lock().is_ending()
    }

    /// Whether something waits for the client; may be old by the time it is read.
    pub(crate) fn seems_blocked(&self) -> bool {
        self.outbox.seems_blocked()
    }

    /// Returns when the client has taken enough of its answers. Only between batches.
    pub(crate) fn wait_between_batches(&self) {
        self.outbox.wait_for_room();
    }

    /// The client does not answer a PING. Returns what the log says besides, if it is to say so.
    pub(crate) fn note_stale(&self) -> Option<Suppressed> {
        self.engine.metrics.stale.add(1);
        self.engine.stale_log.say(Instant::now())
    }

    /// Whether no client before this one came with a password.
    pub(crate) fn is_first_with_password(&self) -> bool {
        !self.engine.passwords_noted.swap(true, Ordering::Relaxed)
    }

    /// This many frames were refused.
    pub(crate) fn note_refused(&mut self, frames: u64) {
        self.account.refused += frames;
    }

    /// The client has sent this many bytes.
    pub(crate) fn note_heard(&mut self, bytes: usize) {
        self.heard = Moment::now();
        self.dispatch.set_now(self.heard);
        self.account.bytes += bytes as u64;
    }

    /// The limits that hold for the batch at hand.
    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        self.limits.get()
    }

    /// Takes the limits that hold for the next batch; returns whether they are others than before.
    #[inline]
    pub(crate) fn refresh_limits(&mut self) -> bool {
        self.limits.refresh()
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
            unmatched: account.published - account.matched,
            refused: account.refused,
            copies: account.copies + account.retained,
            withdrawn: self.dispatch.withdrawn(),
            bytes: account.bytes,
        };
        self.record.settle(totals, self.heard, asked);
    }

    /// The same for a client that asks about the broker: its own figures are complete then. An audit
    /// waits for the end of all batches, so a client that asks for one must not be inside its own.
    pub(crate) fn settle_all(&mut self) {
        self.dispatch.hand_in();
        self.settle();
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

    /// Ends a batch: delivers it, sends the answers, and returns when the client may be read from again.
    /// `buffer` is what its messages came in, if any are in a read buffer.
    pub(crate) fn finish_batch(&mut self, buffer: Option<&mut ReadBuffer>, answers: Answers<'_>) {
        self.last = None;
        match buffer {
            Some(buffer) => self.dispatch.deliver_last(buffer),
            None => {
                self.dispatch.deliver(&[]);
            }
        }
        self.send(answers);
        // Before any waiting: an audit waits until no client is inside a batch.
        self.settle();
        self.outbox.wait_for_room();
        if self.dispatch.wants_backpressure() {
            self.wait_for_slow();
        }
        if self.engine.memory.is_short() {
            self.wait_for_memory();
        }
    }

    /// Does all of a batch so far, and answers it. `buffer` is all of the read buffer.
    pub(crate) fn finish_part(&mut self, buffer: &[u8], answers: Answers<'_>) {
        self.last = None;
        self.dispatch.deliver(buffer);
        self.send(answers);
    }

    /// What the answers promise has been done: every message is in the outboxes of its subscribers.
    fn send(&self, answers: Answers<'_>) {
        let Answers {
            bytes,
            receipt,
            acknowledged,
        } = answers;
        if bytes.is_empty() && receipt.is_none() && !acknowledged {
            return;
        }
        let mut guard = self.outbox.lock();
        if !bytes.is_empty() {
            guard.answer(bytes);
            bytes.clear();
        }
        if let Some((answered, copies)) = receipt {
            guard.receipt(answered, copies);
        }
        if acknowledged {
            guard.pump();
        }
    }

    /// Ends the part of a batch that is finished, if the client does not read its answers: waits until
    /// it does, and begins the next part.
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
        let deadline = began + self.limits().max_block;
        for slow in self.dispatch.take_slow_subscribers() {
            let in_vain = slow.wait_for_half(deadline);
            if in_vain
                && !self.limits().max_block.is_zero()
                && let Some(more) = self.engine.block_log.say(Instant::now())
            {
                log::warn!(
                    "connection {} waited --max-block for connection {}, which still reads too \
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
pub(super) mod tests {
    use std::time::Duration;

    use protocol::{Attributes, Escaped, Filter, Topic};

    use super::*;
    use crate::engine::outbox::tests::{TestSink, outbox};

    /// An engine, and one client's record in it.
    pub(super) struct Scene {
        pub(super) engine: Engine,
        record: Arc<ClientRecord>,
        sink: TestSink,
    }

    impl Scene {
        /// Up to `retained` messages are retained.
        pub(super) fn new(retained: usize) -> Self {
            let limits = Limits {
                retained,
                retained_bytes: 1000,
                max_block: Duration::ZERO,
                ..Limits::default()
            };
            let engine = Engine::new(limits).expect("an engine");
            let (outbox, sink) = outbox(1, 10_000, usize::MAX);
            let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
            engine.clients.enter(record.clone());
            Self {
                engine,
                record,
                sink,
            }
        }

        /// The client, which has begun a batch.
        pub(super) fn client(&self, most_subscriptions: usize) -> Box<Client<'_>> {
            let limits = Limits {
                subscriptions: most_subscriptions,
                ..(*self.engine.limits.load()).clone()
            };
            self.engine.replace_limits(limits);
            let client = Client::new(&self.engine, &self.record);
            client.begin();
            client
        }

        /// What the client was sent since the last call.
        pub(super) fn heard(&self) -> String {
            self.sink.taken()
        }

        /// Another client, with these subscriptions.
        pub(super) fn subscriber(&self, id: u64, filters: &[&str]) -> (Subscriber, TestSink) {
            let (outbox, sink) = outbox(id, 10_000, usize::MAX);
            for filter in filters {
                let filter = Filter::parse(*filter).expect("a filter");
                self.engine.router.subscribe(filter, &outbox);
            }
            (outbox, sink)
        }
    }

    pub(super) fn message<'a>(name: &'a str, payload: &'a str) -> Message<'a> {
        Message::of_line(
            Topic::parse(name).expect("a topic"),
            Escaped::escape(payload.as_bytes()),
            Attributes::default(),
        )
    }

    pub(super) fn retained<'a>(name: &'a str, payload: &'a str) -> Message<'a> {
        let mut message = message(name, payload);
        message.options.retain = true;
        message
    }

    #[test]
    fn answers_are_sent_once_all_before_them_is_delivered() {
        let scene = Scene::new(0);
        scene
            .engine
            .router
            .subscribe(Filter::parse("a").expect("a filter"), scene.record.outbox());
        let mut client = scene.client(1);
        let mut bytes = b"answer\n".to_vec();
        assert_eq!(client.publish(&[], message("a", "1")), Ok(1));
        assert_eq!(scene.heard(), "");
        client.finish_part(&[], Answers::new(&mut bytes));
        assert_eq!(scene.heard(), "MESSAGE a 1\nanswer\n");
        assert!(bytes.is_empty());
        assert_eq!(client.publish(&[], message("a", "2")), Ok(1));
        let answers = Answers {
            receipt: Some((2, 2)),
            ..Answers::new(&mut bytes)
        };
        client.finish_batch(None, answers);
        assert_eq!(scene.heard(), "MESSAGE a 2\n<2:2>");
    }

    #[test]
    fn a_batch_that_is_finished_holds_off_no_audit() {
        let scene = Scene::new(0);
        let mut client = scene.client(1);
        assert_eq!(client.publish(&[], message("a", "1")), Ok(0));
        client.note_refused(2);
        client.finish_batch(None, Answers::new(&mut Vec::new()));
        assert_eq!(scene.heard(), "");
        let audit = scene.engine.clients.audit();
        assert!(audit.is_exact && audit.ledger.is_balanced());
        let totals = scene.record.totals();
        assert_eq!((totals.published, totals.refused), (1, 2));
        assert_eq!((totals.unmatched, client.published()), (1, 1));
    }

    #[test]
    fn what_came_in_the_read_buffer_is_delivered_from_there() {
        let scene = Scene::new(0);
        let (_other, others) = scene.subscriber(2, &["a"]);
        let mut client = scene.client(1);
        let mut buffer = ReadBuffer::new(client.memory());
        let lines = b"MESSAGE a 1\nMESSAGE a 2\n";
        let room = buffer.fill(1000).expect("there is memory");
        room.extend_from_slice(lines);
        let topic = Topic::parse("a").expect("a topic");
        assert_eq!(client.publish_in_place(topic, 8..9, 0..12), Ok(1));
        assert_eq!(
            client.publish_known(buffer.bytes(), 12..24, b"a 2"),
            Some(1)
        );
        buffer.consume(lines.len());
        client.finish_batch(Some(&mut buffer), Answers::new(&mut Vec::new()));
        assert_eq!(others.taken().as_bytes(), lines);
        assert_eq!(client.published(), 2);
    }

    #[test]
    fn a_busy_client_hands_in_what_it_published_when_there_is_much_or_someone_asks_or_late() {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let record = Arc::new(ClientRecord::new(
            outbox(1, 100, 0).0,
            ([127, 0, 0, 1], 1).into(),
        ));
        let mut client = Client::new(&engine, &record);
        let start = Moment::now();
        let mut seen_after = |messages: usize, ms: u64| {
            client.begin();
            for _ in 0..messages {
                assert_eq!(client.publish(&[], message("a", "x")), Ok(0));
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
