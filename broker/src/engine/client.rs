//! A client in the engine: what it publishes, subscribes to and leaves behind, on any wire.
//!
//! Messages go through the engine as the lines that a client of the line protocol is sent; a wire
//! with other bytes says in its [`Encoder`](crate::engine::outbox::encoder::Encoder) how to make them from these. The
//! client is not answered here: its conversation does that, and may end earlier, also by a panic.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::{memchr, memmem};
use protocol::{
    Attributes, Escaped, Filter, Framer, RETAIN, RETAINED, Reply, Request, Slow, TTL, Topic,
};

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::delivery::writer::PacketWriter;
use crate::engine::outbox::delivery::{DeliveryLimits, DeliveryState};
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::queue::policies::TooManyPolicies;
use crate::engine::outbox::run::{MESSAGE, PublishOptions, Redelivery, Run};
use crate::engine::outbox::{Outbox, OutboxGuard, Remains};
use crate::engine::publish::{Added, Dispatch, Place};
use crate::engine::retained::{Entry, Full, Retained};
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::store::Opened;
use crate::engine::session::{Expiry, Session, Will};
use crate::engine::stats::ledger::Totals;

/// What a subscription takes, roughly.
const SUBSCRIPTION_BYTES: usize = 256;

/// So many messages that a member of a group leaves behind go to another together.
const AT_ONCE: u64 = 64;

/// A busy client hands in what it published when so many milliseconds have passed, if there were so
/// many messages for each topic that the work is next to nothing for each of them, or later.
const HAND_IN_MS: u64 = 1000;
const HAND_IN_MESSAGES: u64 = 64;
const HAND_IN_LATE_MS: u64 = 10_000;

/// So many bytes of retained messages are delivered at a time.
const GATHERED_BYTES: usize = 64 * 1024;

/// One client's place in the engine.
pub(crate) struct Client<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) record: Arc<ClientRecord>,
    /// It may be older than the connection.
    session: Arc<Session>,
    pub(crate) outbox: Subscriber,
    pub(crate) dispatch: Dispatch,
    pub(crate) account: Account,
    /// When the client last sent something.
    heard: Moment,
    /// When it last handed in what it published, and what the clients's number of askers was then.
    handed_in: Option<HandIn>,
    asked: u64,
    pub(crate) most_subscriptions: usize,
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

/// The connection that has the session does not leave it.
pub(crate) struct SessionBusy;

/// There is no memory for a will.
pub(crate) struct NoMemory;

/// The client has as many as it may have.
pub(crate) enum TooMany {
    Subscriptions(usize),
    /// Filters with wildcards and a choice of their own.
    OverflowPolicies,
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
        record: &Arc<ClientRecord>,
        most_subscriptions: usize,
    ) -> Box<Self> {
        Box::new(Self {
            engine,
            record: record.clone(),
            session: record.own_session().clone(),
            outbox: record.outbox().clone(),
            dispatch: Dispatch::new(engine.router.clone(), engine.topic_stats.clone())
                .of(record.id()),
            account: Account::default(),
            heard: record.since,
            handed_in: None,
            asked: 0,
            most_subscriptions,
        })
    }

    /// For the broker itself: what it publishes is in the sums, and it is in no list of clients.
    pub(crate) fn internal(engine: &'a Engine) -> Box<Self> {
        let unspecified = ([0, 0, 0, 0], 0).into();
        let outbox = Arc::new(Outbox::unconnected(engine.memory.clone()));
        let record = Arc::new(ClientRecord::new(outbox, unspecified));
        engine.clients.enter_internal(record.clone());
        Self::new(engine, &record, 0)
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.record.id()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Opens the session of the client with this identifier: the one it comes back to, or its own. A
    /// `clean` one is always its own. Returns whether it is an earlier one.
    #[inline(never)]
    pub(crate) fn open_session(
        &mut self,
        client_id: &str,
        clean: bool,
        expiry: Expiry,
        will: Option<Will>,
    ) -> Result<bool, SessionBusy> {
        // The connection that has the session may publish its will or hand messages over before it
        // leaves, and an audit would wait for this batch all that time.
        self.settle();
        // What was said before, in HTTP and in WebSocket, does not move to the outbox of the session.
        self.outbox.drain(None);
        let store = &self.engine.sessions;
        let opened = store.open(client_id, self.record.own_session(), clean, take_over);
        self.begin();
        let is_resumed = match opened {
            Opened::Busy => return Err(SessionBusy),
            Opened::New(before) => {
                if let Some(before) = before {
                    self.end_session(&before);
                }
                false
            }
            Opened::Resumed(session) => {
                self.session = session;
                true
            }
        };
        self.session.set_expiry(expiry);
        self.session.set_will(will);
        Ok(is_resumed)
    }

    /// Goes on with the session that was opened, and welcomes the client in the same breath, so that
    /// nothing comes before the welcome. From now on its messages are decided on and written one by one.
    pub(crate) fn attach_session(
        &mut self,
        encoder: &'static Encoder,
        writer: Box<dyn PacketWriter>,
        limits: DeliveryLimits,
        welcome: &[u8],
    ) {
        let own = self.record.own_session();
        let is_own = self.session.id() == own.id();
        // Taken out before the record names the other session: then the own outbox changes no more.
        let connected = if is_own {
            None
        } else {
            let connected = own.outbox().take_connection();
            self.engine.clients.resume(&self.record, &self.session);
            let outbox = self.session.outbox().clone();
            self.engine.flusher.register(self.record.id(), outbox);
            self.outbox = self.session.outbox().clone();
            self.dispatch.set_publisher(self.session.id());
            connected
        };
        let outbox = self.session.outbox();
        let mut guard = match connected {
            Some(connected) => outbox.attach(connected, encoder, writer),
            None if is_own => {
                let delivery = DeliveryState::new(
                    self.session.id(),
                    limits,
                    self.session.subscriptions().clone(),
                    writer,
                    self.engine.memory.charge(0),
                );
                outbox.begin_session(encoder, delivery)
            }
            // The connection has failed meanwhile; its thread will find out.
            None => outbox.lock(),
        };
        guard.answer(welcome);
        if guard.is_ending() {
            // Another connection has asked for the session before this one was welcomed.
            guard.answer(encoder.taken_over);
            guard.take_over();
        }
        guard.pump();
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

    /// Adds a message that does not stand in the block as it must leave.
    pub(crate) fn add_beside(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) -> Added {
        let retain = attributes.contains(RETAIN);
        let options = PublishOptions {
            retain,
            ..PublishOptions::LINE
        };
        self.add_beside_in(topic, payload, attributes, options)
    }

    /// The same in another manner.
    pub(crate) fn add_beside_in(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
        options: PublishOptions,
    ) -> Added {
        let beside = self.dispatch.beside();
        let start = beside.len();
        let attributes = attributes.without(&[RETAIN, RETAINED]);
        message(topic, payload, attributes).encode(beside);
        let end = beside.len();
        // `MESSAGE <topic>` ends the line or is followed by the payload; attributes have no spaces.
        let verb = match beside[start] {
            b'@' => start + memchr(b' ', &beside[start..]).map_or(0, |at| at + 1),
            _ => start,
        };
        let topic_start = verb + MESSAGE.len();
        let topic_range = topic_start..topic_start + topic.as_str().len();
        let added = self
            .dispatch
            .add_in(topic, Place::Beside, topic_range, start..end, options);
        self.account.accept(added.copies);
        added
    }

    /// Keeps the last value of a topic and delivers it at once, both under the lock of the
    /// retained messages: whoever subscribes in this moment gets it once, by one way or the other.
    /// What was added to the batch before is delivered first; `block` is all of the block.
    pub(crate) fn publish_retained(
        &mut self,
        buffer: &[u8],
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) -> Result<Added, Full> {
        self.publish_retained_at(buffer, topic, payload, attributes, PublishOptions::LINE.qos)
    }

    /// The same at another QoS.
    pub(crate) fn publish_retained_at(
        &mut self,
        buffer: &[u8],
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
        qos: u8,
    ) -> Result<Added, Full> {
        // Nobody need wait for what was added before.
        self.dispatch.deliver(buffer);
        let mut retained = self.engine.retained.write();
        retain(&mut retained, topic, payload, attributes, qos)?;
        let options = PublishOptions { qos, retain: true };
        let added = self.add_beside_in(topic, payload, attributes, options);
        self.dispatch.deliver(buffer);
        Ok(added)
    }

    /// Publishes a value of the broker's own and retains it. Without subscribers that is no message, so
    /// that the figures of a broker that nobody looks at do not move by themselves.
    pub(crate) fn publish_own(&mut self, topic: Topic<'_>, value: &Escaped<'_>) {
        let mut line = Vec::new();
        let marked = retained_mark(&Attributes::default());
        message(topic, value, marked).encode(&mut line);
        let mut retained = self.engine.retained.write();
        retained.set_own(topic, &line, value.unescape().len());
        let hash = self.engine.router.hash(topic.as_str().as_bytes());
        if !self.engine.router.route(topic, hash).is_empty() {
            self.add_beside(topic, value, &Attributes::default());
            self.dispatch.deliver(&[]);
        }
    }

    pub(crate) fn has_subscriptions(&self) -> bool {
        self.session.subscriptions().len() > 0
    }

    /// From now on the client gets what `filter` matches. `held` is its own outbox, in which its
    /// choice for messages of this filter is noted.
    pub(crate) fn subscribe(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'_>,
        slow: Option<Slow>,
    ) -> Result<(), TooMany> {
        let subscriptions = self.session.subscriptions();
        let is_known = subscriptions.contains(filter.as_str());
        let count = subscriptions.len();
        if !is_known && count >= self.most_subscriptions {
            return Err(TooMany::Subscriptions(count));
        }
        guard
            .choose(filter, slow)
            .map_err(|TooManyPolicies| TooMany::OverflowPolicies)?;
        if !is_known {
            subscriptions.insert(filter, SubscriptionOptions::default());
            self.engine.router.subscribe(filter, &self.outbox);
        }
        Ok(())
    }

    /// The same with options, which take the place of earlier ones. Returns whether the client had
    /// subscribed to the filter before.
    pub(crate) fn subscribe_with(
        &mut self,
        filter: Filter<'_>,
        options: SubscriptionOptions,
    ) -> Result<bool, TooMany> {
        let subscriptions = self.session.subscriptions();
        let count = subscriptions.len();
        if count >= self.most_subscriptions && !subscriptions.contains(filter.as_str()) {
            return Err(TooMany::Subscriptions(count));
        }
        // First the options, then the route: a message that comes by the new route finds what is granted.
        let is_known = subscriptions.insert(filter, options);
        if !is_known {
            self.engine.router.subscribe(filter, &self.outbox);
        }
        Ok(is_known)
    }

    /// Delivers retained messages to the client itself, many at a time.
    pub(crate) fn deliver_retained(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'_>,
        messages: &[Entry],
    ) {
        let filter: Arc<str> = filter.as_str().into();
        let mut deliver = |run: Run<'_>, qos| {
            let run = run.by(0, PublishOptions { qos, retain: true });
            let run = run.for_filter(&filter);
            match run.messages() {
                0 => 0,
                messages if guard.deliver(&[&run]) => messages,
                _ => 0,
            }
        };
        let (mut gathered, mut waiting, mut qos) = (Vec::new(), 0, 0);
        let now = Moment::now();
        for entry in messages {
            let Some(line) = fresh(entry, now) else {
                continue;
            };
            let (line, next) = (&line, &entry.qos);
            let is_long = line.len() > GATHERED_BYTES;
            if is_long || *next != qos || gathered.len() + line.len() > GATHERED_BYTES {
                let run = Run::borrowed(&gathered, mem::take(&mut waiting));
                self.account.retained += deliver(run, qos);
                gathered.clear();
                qos = *next;
            }
            if is_long {
                self.account.retained += deliver(Run::shared(line, 1, line.len()), qos);
            } else {
                gathered.extend_from_slice(line);
                waiting += 1;
            }
        }
        self.account.retained += deliver(Run::borrowed(&gathered, waiting), qos);
    }

    /// From now on it does not, on the strength of this filter. Returns whether it did.
    pub(crate) fn unsubscribe(&mut self, filter: Filter<'_>) -> bool {
        if self.session.subscriptions().remove(filter.as_str()) {
            self.engine.router.unsubscribe(filter, &self.outbox);
            // To take a choice back never fails.
            let _ = self.outbox.lock().choose(filter, None);
            true
        } else {
            false
        }
    }

    /// Ends all subscriptions of a client that gets no more messages.
    pub(crate) fn forget_filters(&mut self) {
        forget(self.engine, &self.session);
    }

    /// The connection has ended: the session ends with it, unless it outlasts its connections. Returns
    /// what is left over.
    #[inline(never)]
    pub(crate) fn end_connection(&mut self) -> Remains {
        self.engine.memory.note_returned(self.dispatch.scratch());
        if self.session.outlasts_connection() {
            return self.outbox.detach();
        }
        let remains = self.outbox.close();
        self.forget_filters();
        remains
    }

    /// Gives the session back, after [`Client::end_connection`] and all that was left to do. From now on
    /// another connection can have it.
    #[inline(never)]
    pub(crate) fn leave(&mut self) {
        if self.session.outlasts_connection() {
            // The list first: the next connection takes this record out of it.
            self.engine.clients.detach(&self.record);
            self.engine.sessions.detach(&self.session);
        } else {
            self.engine.clients.leave(&self.record);
            self.engine.sessions.end(&self.session);
        }
    }

    /// Ends a session whose client has not come back.
    #[inline(never)]
    pub(crate) fn end_session(&mut self, session: &Session) {
        let remains = session.outbox().close();
        forget(self.engine, session);
        self.engine.clients.end_detached(session);
        self.engine
            .metrics
            .dropped
            .add(remains.tally.dropped.total());
        self.redeliver(&remains.redeliveries);
        if let Some(will) = session.take_will() {
            self.publish_message(&will);
        }
    }

    /// A will for this client, if there is memory for it.
    pub(crate) fn new_will(
        &self,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
        qos: u8,
        delay: Duration,
    ) -> Result<Will, NoMemory> {
        let mut line = Vec::new();
        let will = Request::Publish {
            topic,
            payload,
            attributes,
        };
        will.encode(&mut line);
        line.pop();
        line.shrink_to_fit();
        if line.len() > self.engine.memory.free() {
            return Err(NoMemory);
        }
        let _charge = self.engine.memory.charge(line.len());
        Ok(Will {
            line,
            qos,
            delay,
            due: None,
            _charge,
        })
    }

    /// Sets what is published if the client is cut off. It takes the place of an earlier one.
    pub(crate) fn set_will(
        &mut self,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
        qos: u8,
    ) -> Result<(), NoMemory> {
        let will = self.new_will(topic, payload, attributes, qos, Duration::ZERO)?;
        self.session.set_will(Some(will));
        Ok(())
    }

    /// The client takes its leave: there is nothing to say for it.
    pub(crate) fn forget_will(&mut self) {
        self.session.set_will(None);
    }

    /// The connection has ended: what it did not take and others of its groups can, goes to them.
    #[inline(never)]
    pub(crate) fn redeliver(&mut self, redeliveries: &[Redelivery]) {
        self.dispatch.set_now(Moment::now());
        for redelivery in redeliveries {
            let mut rest = &redelivery.bytes[..];
            while let Some((topic, len, messages)) = stretch(rest) {
                let (lines, others) = rest.split_at(len);
                self.dispatch.redeliver(
                    &redelivery.filter,
                    topic,
                    lines,
                    messages,
                    redelivery.options,
                );
                rest = others;
            }
        }
    }

    /// The connection has ended without a goodbye: what the client wanted to be said then is
    /// published.
    #[inline(never)]
    pub(crate) fn publish_will(&mut self) {
        if let Some(will) = self.session.take_will_at_end() {
            self.publish_message(&will);
        }
    }

    /// Publishes a message that has waited.
    pub(crate) fn publish_message(&mut self, will: &Will) {
        // A panic may have left half a batch behind.
        self.dispatch.abandon();
        self.dispatch.set_now(Moment::now());
        if let Ok(Request::Publish {
            topic,
            payload,
            attributes,
        }) = Request::decode(&will.line)
        {
            let options = PublishOptions {
                qos: will.qos,
                retain: false,
            };
            if !attributes.contains(RETAIN) {
                self.add_beside_in(topic, &payload, &attributes, options);
                self.dispatch.deliver(&[]);
            } else if self
                .publish_retained_at(&[], topic, &payload, &attributes, will.qos)
                .is_err()
            {
                self.account.refused += 1;
            }
        }
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

/// The messages on one topic that these lines begin with: the topic, how many bytes they are, and how
/// many messages.
fn stretch(lines: &[u8]) -> Option<(Topic<'_>, usize, u64)> {
    let mut found: Option<(Topic<'_>, usize, u64)> = None;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
        let Ok(Reply::Message { topic, .. }) = Reply::decode(content) else {
            unreachable!("an outbox holds whole messages");
        };
        match &mut found {
            None => found = Some((topic, line.len(), 1)),
            Some((first, len, messages)) if *first == topic && *messages < AT_ONCE => {
                *len += line.len();
                *messages += 1;
            }
            Some(_) => break,
        }
    }
    found
}

/// Asks the connection that has a session to leave it. Its thread may wait for its client; it need not.
fn take_over(session: &Session) {
    session.outbox().lock().take_over();
    session.outbox().hurry();
}

/// Takes a session that gets no more messages out of the registry.
fn forget(engine: &Engine, session: &Session) {
    let filters = session.subscriptions().take_all();
    let ended = filters.len() * SUBSCRIPTION_BYTES;
    engine.memory.note_returned(ended);
    for text in filters {
        if let Ok(filter) = Filter::parse(text.as_bytes()) {
            engine.router.forget(filter, session.id());
        }
    }
}

/// The line of a retained message, with the seconds that are left of its time; none if none are.
fn fresh(entry: &Entry, now: Moment) -> Option<Bytes> {
    let line = &entry.message;
    if line[0] != b'@' || memmem::find(line, b"ttl=").is_none() {
        return Some(line.clone());
    }
    let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
    let Ok(Reply::Message {
        topic,
        payload,
        attributes,
    }) = Reply::decode(content)
    else {
        return Some(line.clone());
    };
    let seconds = attributes.get(TTL)?;
    let Some(seconds) = str::from_utf8(&seconds)
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
    else {
        return Some(line.clone());
    };
    let waited = now.ms_since(entry.kept.since);
    if waited > u64::from(seconds) * 1000 {
        return None;
    }
    let mut left = attributes.without(&[TTL]);
    let seconds = u64::from(seconds) - waited / 1000;
    left.push(TTL, seconds.to_string().as_bytes()).ok()?;
    let mut line = Vec::new();
    message(topic, &payload, left).encode(&mut line);
    Some(line.into())
}

fn retain(
    retained: &mut Retained,
    topic: Topic<'_>,
    payload: &Escaped<'_>,
    attributes: &Attributes<'_>,
    qos: u8,
) -> Result<(), Full> {
    if payload.is_empty() {
        retained.clear(topic);
        return Ok(());
    }
    let mut line = Vec::new();
    message(topic, payload, retained_mark(attributes)).encode(&mut line);
    retained.set(topic, &line, payload.unescape().len(), qos)
}

/// The attributes of a message that is retained.
fn retained_mark(attributes: &Attributes<'_>) -> Attributes<'static> {
    let mut marked = attributes.without(&[RETAIN, RETAINED]);
    marked
        .push_flag(RETAINED)
        .expect("`retained` is a valid key");
    marked
}

fn message<'a>(topic: Topic<'a>, payload: &Escaped<'a>, attributes: Attributes<'a>) -> Reply<'a> {
    Reply::Message {
        topic,
        payload: payload.clone(),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
