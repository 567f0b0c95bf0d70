//! A client of the engine: the only interface through which wires use it.
//!
//! A batch is what one read returned. [`Client::begin`] begins it, messages are added to it, and
//! [`Client::finish_batch`] delivers them, sends the answers, and waits where the client or a slow
//! subscriber requires it. The wire encodes the answers; this module decides when they are sent. A
//! conversation may end in the middle of a batch, also by a panic.
//!
//! Messages pass through the engine as lines of the line protocol. A wire with another format gives an
//! [`Encoder`](crate::engine::outbox::encoder::Encoder) that converts them.

mod acks;
mod checks;
mod follow;
mod hold_budget;
mod identity;
mod lifecycle;
mod over_limit;
mod paid_traffic;
mod past;
mod publish;
mod publish_retained;
mod receipts;
mod restriction;
mod rights;
mod security;
mod session_store;
#[cfg(test)]
pub(crate) mod slow_disk;
mod stored_session;
mod subscribe;
mod unsubscribe;
mod usage;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Moment;
use crate::clock::log_limit::Suppressed;
use crate::engine::Engine;
use crate::engine::limits::{CachedLimits, Limits};
use crate::engine::memory::budget::Memory;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::orders::LastReload;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::encoder::Parting;
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::Dispatch;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::Session;
use crate::engine::session::clients::ClientRecord;
use crate::engine::usage::ConnectionShare;
use crate::sync::Ordering;

use acks::Acks;
use hold_budget::HoldBudget;
use paid_traffic::PaidTraffic;
use rights::Rights;

pub(crate) use follow::FollowAnswers;
pub(crate) use identity::NotAuthenticated;
pub(crate) use lifecycle::{NoMemory, NoSession};
pub(crate) use over_limit::OverLimit;
pub(crate) use past::{PastError, PastStep};
pub(crate) use publish::{BROKERS_ATTRIBUTES, BrokersOwn, Message, PublishError};
pub(crate) use restriction::{Restriction, restrict, restrictions};
pub(crate) use rights::Denied;
pub(crate) use security::event_client;
pub(crate) use subscribe::{Answering, DENIED_FILTER, SubscribeError, Subscribed};

/// Interval at which a busy client reports its topic statistics, if it has published
/// [`HAND_IN_MESSAGES`] messages a topic: then the cost for each message is negligible.
const HAND_IN_MS: u64 = 1000;

/// Minimum messages for each topic.
const HAND_IN_MESSAGES: u64 = 64;

/// Interval after which it reports them whatever their number.
const HAND_IN_LATE_MS: u64 = 10_000;

/// One client of the engine.
pub(crate) struct Client<'a> {
    engine: &'a Engine,
    record: Arc<ClientRecord>,
    /// May be older than the connection.
    session: Arc<Session>,
    outbox: Subscriber,
    dispatch: Dispatch,
    account: PublishAccount,
    /// The last message of the batch, if the next one can be appended to its run.
    last: Option<Last>,
    /// When the client last sent bytes.
    heard: Moment,
    /// When it last reported its topic statistics, and the number of requests for them at that time.
    handed_in: Option<HandIn>,
    asked: u64,
    limits: CachedLimits,
    rights: Rights,
    /// The identifier of a client of MQTT that has no session yet.
    client_id: Option<Box<str>>,
    /// How long slow subscribers may still hold the client, once they have. In a box, because most are
    /// never held.
    hold_budget: Option<Box<HoldBudget>>,
    /// The place of the connection among those of its identity; none until that is known.
    share: Option<ConnectionShare>,
    /// Only with a rate.
    paid: Option<Box<PaidTraffic>>,
    acks: Option<Box<Acks>>,
}

/// Counts of what this client has published, up to the current batch.
#[derive(Default)]
struct PublishAccount {
    /// Messages accepted.
    published: u64,
    /// Messages that had a subscriber. The others had none.
    matched: u64,
    /// Copies made of the messages.
    copies: u64,
    /// Copies of retained messages, made for this client's own subscriptions.
    retained: u64,
    /// Frames refused.
    refused: u64,
    /// Bytes received.
    bytes: u64,
    /// Those of them with which messages were published.
    publish_bytes: u64,
}

/// The last message of the batch, if the next one can be appended to its run.
struct Last {
    /// The range of its topic, in the read buffer or beside it. A wire uses only one of the two for
    /// lines.
    topic: Range<usize>,
    end: usize,
    options: PublishOptions,
}

/// The last report of topic statistics.
#[derive(Clone, Copy)]
struct HandIn {
    at: Moment,
    /// Messages published until then.
    published: u64,
}

/// Answers to send once the batch is delivered.
pub(crate) struct Answers<'a> {
    /// Cleared when they are sent.
    pub(crate) bytes: &'a mut Vec<u8>,
    /// What is said of the messages acknowledged. Consecutive receipts in the queue are merged.
    pub(crate) receipt: Option<Receipt>,
    /// The client has acknowledged messages, so that more can be sent to it.
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
    /// Counts one accepted message and its copies.
    #[inline]
    fn accept(&mut self, copies: u64) {
        self.published += 1;
        self.copies += copies;
        self.matched += u64::from(copies > 0);
    }
}

impl<'a> Client<'a> {
    /// Boxed: the value would otherwise lie on the thread's stack, which grows by whole pages and never
    /// shrinks while the connection lives.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(crate) fn new(engine: &'a Engine, record: &Arc<ClientRecord>) -> Box<Self> {
        // Before the permissions: if the rules change in between, the first batch asks again.
        let version = engine.access.version();
        let (permissions, limits) = match record.shown_identity() {
            Some(identity) => (
                engine.access.permissions(&identity, None),
                engine.access.limits_of(&identity),
            ),
            None => engine.access.anonymous(),
        };
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
            rights: Rights::of(version, permissions, limits),
            client_id: None,
            hold_budget: None,
            share: None,
            paid: None,
            acks: None,
        })
    }

    /// A client for the broker's own messages: counted in the sums, but in no list of clients. It may do
    /// everything.
    pub(crate) fn internal(engine: &'a Engine) -> Box<Self> {
        let mut client = Self::unlisted(engine);
        client.rights = Rights::of_broker();
        client
    }

    /// A client for what comes without a connection, with the rights of clients that have shown no identity. In no
    /// list of clients.
    pub(crate) fn unlisted(engine: &'a Engine) -> Box<Self> {
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

    /// For `admin`, and for code that removes the client from the engine; not for wires.
    pub(crate) fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The record of the connection.
    pub(crate) fn record(&self) -> &Arc<ClientRecord> {
        &self.record
    }

    /// The session, which may be older than the connection.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn memory(&self) -> &'a Arc<Memory> {
        &self.engine.memory
    }

    /// The number of messages accepted so far.
    pub(crate) fn published(&self) -> u64 {
        self.account.published
    }

    /// Sets the client's name.
    pub(crate) fn set_name(&self, name: &str) {
        self.record.set_name(name);
    }

    /// Whether the broker is about to stop and takes no newcomers.
    pub(crate) fn is_broker_draining(&self) -> bool {
        self.engine.orders.is_draining()
    }

    /// The last reload of the broker, if there was one.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.engine.orders.last_reload()
    }

    /// The number of connected clients.
    pub(crate) fn connected(&self) -> usize {
        self.engine.clients.connected()
    }

    /// Sets the encoder for everything sent from now on.
    pub(crate) fn set_encoder(&self, encoder: &'static Encoder) {
        self.outbox.set_encoder(encoder);
    }

    /// Sends an answer outside a batch.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        self.outbox.lock().answer(bytes);
    }

    /// Sends bytes outside a batch, unchanged whatever the encoder does with answers.
    pub(crate) fn signal(&self, bytes: &[u8]) {
        self.outbox.lock().signal(bytes);
    }

    /// Sends the final answer; nothing follows it.
    pub(crate) fn farewell(&self, bytes: &[u8]) {
        self.outbox.lock().farewell(bytes);
    }

    /// Sends the goodbye of the client's encoder as the final answer.
    pub(crate) fn goodbye(&self) {
        self.outbox.lock().part(Parting::Stopping);
    }

    /// Sends what the client's encoder says in this case, if one is given, and then `last` unchanged, under
    /// one lock.
    pub(crate) fn say_last(&self, why: Option<Parting>, last: Option<&[u8]>) {
        let mut guard = self.outbox.lock();
        if let Some(why) = why {
            guard.part(why);
        }
        if let Some(last) = last {
            guard.signal(last);
        }
    }

    /// Returns when the queue is empty, the client is gone, or at `deadline`. Without a deadline it
    /// also returns when the broker stops.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.outbox.drain(deadline);
    }

    /// Whether the final answer has been sent or queued.
    pub(crate) fn is_ending(&self) -> bool {
        self.outbox.lock().is_ending()
    }

    /// Whether the queue is not empty; may be outdated when it is read.
    pub(crate) fn seems_blocked(&self) -> bool {
        self.outbox.seems_blocked()
    }

    /// Blocks until few enough answers are queued. Only between batches.
    pub(crate) fn wait_between_batches(&self) {
        self.outbox.wait_for_room();
    }

    /// Counts a client that did not answer a PING. Returns what was suppressed, if the event is to be
    /// logged.
    pub(crate) fn note_stale(&self) -> Option<Suppressed> {
        self.engine.metrics.stale.add(1);
        self.engine.stale_log.say(Instant::now())
    }

    /// Whether this client is the first one with a password.
    pub(crate) fn is_first_with_password(&self) -> bool {
        !self.engine.passwords_noted.swap(true, Ordering::Relaxed)
    }

    /// Counts refused frames.
    pub(crate) fn note_refused(&mut self, frames: u64) {
        self.account.refused += frames;
    }

    /// Counts received bytes.
    pub(crate) fn note_heard(&mut self, bytes: usize) {
        self.heard = Moment::now();
        self.dispatch.set_now(self.heard);
        self.account.bytes += bytes as u64;
    }

    /// Counts bytes with which messages were published.
    pub(crate) fn note_publish_bytes(&mut self, bytes: usize) {
        self.account.publish_bytes += bytes as u64;
    }

    /// The limits of the current batch.
    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        self.limits.get()
    }

    /// Loads the limits for the next batch, and the rules for what is decided before it; returns whether the
    /// limits have changed.
    #[inline]
    pub(crate) fn refresh_limits(&mut self) -> bool {
        self.refresh_rights();
        self.limits.refresh()
    }

    /// Begins a batch with the rules in force: see [`ClientRecord::begin`].
    pub(crate) fn begin(&mut self) {
        // The rules after the beginning: who replaces them waits for batches, so one that began before and has
        // read the old ones is waited for, and a later one reads the new ones.
        if self.record.begin(&self.engine.clients) {
            self.refresh_rights();
        }
    }

    /// Ends the batch, whose messages are all delivered: publishes its counts in the record.
    pub(crate) fn settle(&mut self) {
        self.note_latency();
        let asked = self.engine.clients.asked();
        if asked != self.asked || self.handed_in.is_none_or(|last| self.is_due(last)) {
            self.hand_in(asked);
        }
        self.record.settle(self.totals(), self.heard, asked);
    }

    /// Settles with complete figures, for a client that asks about the broker. An audit waits for the
    /// end of all batches, so a client that requests one must be outside its own.
    pub(crate) fn settle_all(&mut self) {
        self.dispatch.hand_in();
        self.settle();
    }

    /// Records the latency of the copies that were sent without queueing.
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

    /// Ends a batch: delivers it, sends the answers, and returns when the client may be read from
    /// again. `buffer` is the read buffer that holds its messages, if any.
    pub(crate) fn finish_batch(&mut self, buffer: Option<&mut ReadBuffer>, answers: Answers<'_>) {
        self.last = None;
        match buffer {
            Some(buffer) => self.dispatch.deliver_last(buffer),
            None => {
                self.dispatch.deliver(&[]);
            }
        }
        self.send(answers);
        // Before any wait: an audit waits until no client is inside a batch.
        self.settle();
        self.wait_for_answers_to_leave();
        if self.dispatch.wants_backpressure() {
            self.wait_for_slow();
        }
        if self.engine.memory.is_short() {
            self.wait_for_memory();
        }
        if self.rights.is_rated {
            self.pay();
        }
    }

    /// Ends a batch without answers, and waits for neither slow subscribers nor memory: for a thread that
    /// serves many clients.
    pub(crate) fn finish_without_waiting(&mut self) {
        self.deliver_part(&[]);
        self.dispatch.take_slow_subscribers().clear();
        self.settle();
    }

    /// Whether queued messages take nearly all the memory, so that publishers should wait.
    pub(crate) fn should_wait_for_memory(&self) -> bool {
        self.engine.memory.is_short()
    }

    /// Delivers and answers the batch so far. `buffer` is the whole read buffer.
    pub(crate) fn finish_part(&mut self, buffer: &[u8], answers: Answers<'_>) {
        self.last = None;
        self.dispatch.deliver(buffer);
        self.send(answers);
    }

    /// Sends the answers. Every message they confirm is in the outboxes of its subscribers.
    fn send(&mut self, answers: Answers<'_>) {
        if let Some(kept) = self.dispatch.take_kept() {
            self.note_kept(&kept);
        }
        if self.acks.is_some() {
            return self.send_acks(answers);
        }
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
        if let Some(receipt) = receipt {
            guard.receipt(receipt);
        }
        if acknowledged {
            guard.pump();
        }
    }

    /// If the client does not read its answers: settles the delivered part of the batch, waits until
    /// the client reads, and begins the next part.
    pub(crate) fn wait_for_room(&mut self) {
        if self.outbox.seems_blocked() {
            self.settle();
            self.outbox.wait_for_room();
            self.begin();
        }
    }

    /// The client has been quiet for a moment: releases memory, and the cached routes, which keep
    /// outboxes of other clients alive.
    pub(crate) fn pause(&mut self) {
        self.engine.memory.note_returned(self.dispatch.scratch());
        self.dispatch.forget();
        // The next messages may be few, so they are reported at once.
        self.handed_in = None;
    }

    /// Waits for slow subscribers that want backpressure.
    #[inline(never)]
    fn wait_for_slow(&mut self) {
        let began = Instant::now();
        let max_block = self.limits().max_block;
        let budget = self
            .hold_budget
            .get_or_insert_with(|| Box::new(HoldBudget::new(began)));
        let left = budget.left(began);
        let deadline = began + max_block.min(left);
        for slow in self.dispatch.take_slow_subscribers() {
            let in_vain = slow.wait_for_half(deadline);
            if in_vain && left <= max_block {
                slow.stop_blocking();
            }
            if in_vain
                && !max_block.is_zero()
                && let Some(more) = self.engine.block_log.say(Instant::now())
            {
                log::warn!(
                    "connection {} waited {} for connection {}, which still reads too slowly and \
                     gets a GAP next{more}",
                    self.outbox.id(),
                    match left <= max_block {
                        true => "half of the time",
                        false => "--max-block",
                    },
                    slow.id()
                );
            }
        }
        let waited = began.elapsed();
        if let Some(budget) = &mut self.hold_budget {
            budget.spend(waited);
        }
        self.engine.metrics.blocks.add(1);
        self.engine.metrics.blocked.add(waited.as_micros() as u64);
    }

    /// If queued messages take nearly all the memory, waits a moment before the next batch.
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
                 so publishers wait a moment and slow clients get a GAP sooner{more}",
                self.outbox.id()
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use protocol::{Attributes, Escaped, Filter, Topic};

    use super::*;
    use crate::engine::outbox::tests::{TestSink, outbox};

    /// An engine, and the record of one client.
    pub(crate) struct Scene {
        pub(crate) engine: Engine,
        record: Arc<ClientRecord>,
        sink: TestSink,
    }

    impl Scene {
        /// Allows up to `retained` retained messages.
        pub(super) fn new(retained: usize) -> Self {
            Self::with(Limits {
                retained,
                retained_bytes: 1000,
                max_block: Duration::ZERO,
                ..Limits::default()
            })
        }

        pub(super) fn with(limits: Limits) -> Self {
            let engine = Engine::new(limits).expect("an engine");
            let (outbox, sink) = outbox(1, 1 << 30, usize::MAX);
            let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
            engine.clients.enter(record.clone());
            Self {
                engine,
                record,
                sink,
            }
        }

        /// The client, inside a batch.
        pub(crate) fn client(&self, most_subscriptions: usize) -> Box<Client<'_>> {
            let limits = Limits {
                subscriptions: most_subscriptions,
                ..(*self.engine.limits.load()).clone()
            };
            self.engine.replace_limits(limits);
            let mut client = Client::new(&self.engine, &self.record);
            client.begin();
            client
        }

        /// The client takes nothing, until it reads on.
        pub(super) fn stop_reading(&self) {
            self.sink.set_room(0);
        }

        pub(super) fn read_on(&self) {
            self.sink.make_room(self.record.outbox(), usize::MAX);
        }

        /// The bytes sent to the client since the last call.
        pub(super) fn heard(&self) -> String {
            self.sink.taken()
        }

        /// Adds another client with these subscriptions.
        pub(super) fn subscriber(&self, id: u64, filters: &[&str]) -> (Subscriber, TestSink) {
            let (outbox, sink) = outbox(id, 10_000, usize::MAX);
            for filter in filters {
                let filter = Filter::parse(*filter).expect("a filter");
                self.engine.router.subscribe(filter, &outbox);
            }
            (outbox, sink)
        }
    }

    pub(crate) fn message<'a>(name: &'a str, payload: &'a str) -> Message<'a> {
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
            receipt: Some(Receipt {
                answered: 2,
                copies: 2,
                reached: None,
            }),
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
        // The first is reported at once, because there may be no other for a long time.
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
