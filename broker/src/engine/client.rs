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
use crate::engine::limits::{CachedLimits, Limits};
use crate::engine::outbox::queue::policies::TooManyPolicies;
use crate::engine::outbox::run::{PublishOptions, Redelivery, Run};
use crate::engine::outbox::{OutboxGuard, Remains};
use crate::engine::publish::{Added, Dispatch, Place};
use crate::engine::retained::{Entry, Full, Retained};
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::store::{Ended, Will};
use crate::engine::stats::ledger::Totals;

/// What a message begins with on its way through the engine, attributes aside.
pub(crate) const MESSAGE: &[u8] = b"MESSAGE ";

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
    limits: CachedLimits,
    /// What to publish if the client is cut off.
    will: Option<Will>,
    /// What its client can come back to. Most have none, and idle connections shall be small.
    seat: Option<Box<Seat>>,
}

/// The place of a session that others may take over and its client may come back to.
pub(crate) struct Seat {
    pub(crate) client: Box<str>,
    pub(crate) session: Arc<ClientRecord>,
    /// How long it is kept for a client that is away; none for ever.
    pub(crate) expiry: Option<Duration>,
    /// How long the will waits for the client to come back.
    pub(crate) will_delay: Duration,
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
    pub(crate) fn new(engine: &'a Engine, record: &'a Arc<ClientRecord>) -> Box<Self> {
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
            limits: CachedLimits::new(&engine.limits),
            will: None,
            seat: None,
        })
    }

    /// The client has come back to an earlier session, or may come back to this one.
    pub(crate) fn sit_down(&mut self, seat: Seat) {
        if seat.session.outbox.id() != self.record.outbox.id() {
            self.record.set_session(&seat.session);
        }
        self.outbox = seat.session.outbox.clone();
        self.dispatch.set_publisher(self.outbox.id());
        self.seat = Some(Box::new(seat));
    }

    pub(crate) fn seat(&mut self) -> Option<&mut Seat> {
        self.seat.as_deref_mut()
    }

    /// The client has sent so many bytes.
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
        self.record.filter_count() > 0
    }

    /// From now on the client gets what `filter` matches. `held` is its own outbox, in which its
    /// choice for messages of this filter is noted.
    pub(crate) fn subscribe(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'_>,
        slow: Option<Slow>,
    ) -> Result<(), TooMany> {
        let is_known = self.record.has_filter(filter.as_str());
        let subscriptions = self.record.filter_count();
        if !is_known && subscriptions >= self.limits().subscriptions {
            return Err(TooMany::Subscriptions(subscriptions));
        }
        guard
            .choose(filter, slow)
            .map_err(|TooManyPolicies| TooMany::OverflowPolicies)?;
        if is_known {
            return Ok(());
        }
        self.record.add_filter(filter.as_str());
        self.engine.router.subscribe(filter, &self.outbox);
        Ok(())
    }

    /// The same for a session, which knows itself what it may subscribe to.
    pub(crate) fn subscribe_session(&mut self, filter: Filter<'_>) {
        self.holder().add_filter(filter.as_str());
        self.engine.router.subscribe(filter, &self.outbox);
    }

    pub(crate) fn unsubscribe_session(&mut self, filter: Filter<'_>) {
        self.holder().remove_filter(filter.as_str());
        self.engine.router.unsubscribe(filter, &self.outbox);
    }

    /// Delivers retained messages to the client itself, many at a time.
    pub(crate) fn deliver_retained(&mut self, guard: &mut OutboxGuard<'_>, messages: &[Entry]) {
        let mut deliver = |run: Run<'_>, qos| {
            let run = run.by(0, PublishOptions { qos, retain: true });
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

    /// From now on it does not, on the strength of this filter.
    pub(crate) fn unsubscribe(&mut self, filter: Filter<'_>) {
        if self.record.remove_filter(filter.as_str()) {
            self.engine.router.unsubscribe(filter, &self.outbox);
            // To take a choice back never fails.
            let _ = self.outbox.lock().choose(filter, None);
        }
    }

    /// Ends all subscriptions of a client that gets no more messages.
    pub(crate) fn forget_filters(&mut self) {
        forget(self.engine, self.holder());
    }

    /// Whose subscriptions the client's are.
    fn holder(&self) -> &ClientRecord {
        self.seat.as_ref().map_or(self.record, |seat| &seat.session)
    }

    /// The connection has ended: the session ends with it, unless its client may come back. Returns
    /// what is left over.
    #[inline(never)]
    pub(crate) fn part(&mut self) -> Remains {
        self.engine.memory.note_returned(self.dispatch.scratch());
        if self.outbox.outlives() {
            return self.outbox.detach();
        }
        let remains = self.outbox.close();
        self.forget_filters();
        remains
    }

    /// Leaves the seat, and keeps it for a client that may come back.
    #[inline(never)]
    pub(crate) fn stand_up(&mut self) {
        let Some(seat) = self.seat.take() else {
            return self.engine.clients.leave(self.record);
        };
        let me = self.record.outbox.id();
        let now = Instant::now();
        let lasts = self.outbox.outlives();
        if lasts && self.outbox.id() == me {
            self.engine.clients.stay(self.record);
        } else {
            self.engine.clients.leave(self.record);
        }
        if lasts {
            let until = seat.expiry.map(|expiry| now + expiry);
            let will = self.will.take().map(|will| (now + seat.will_delay, will));
            self.engine.seats.keep(&seat.client, me, until, will);
        } else {
            if self.outbox.id() != me {
                self.engine.clients.leave(&seat.session);
            }
            self.engine.seats.end(&seat.client, me);
        }
    }

    /// Ends a session whose client has not come back.
    #[inline(never)]
    pub(crate) fn end_session(&mut self, ended: Ended) {
        let remains = ended.session.outbox.close();
        forget(self.engine, &ended.session);
        self.engine.clients.leave(&ended.session);
        self.engine
            .metrics
            .dropped
            .add(remains.tally.dropped.total());
        self.redeliver(&remains.redeliveries);
        if let Some(will) = ended.will {
            self.publish_message(&will);
        }
    }

    /// Sets what is published if the client is cut off. It takes the place of an earlier one.
    pub(crate) fn set_will(
        &mut self,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
        qos: u8,
    ) -> Result<(), NoMemory> {
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
        self.will = Some(Will { line, qos, _charge });
        Ok(())
    }

    /// The client takes its leave: there is nothing to say for it.
    pub(crate) fn forget_will(&mut self) {
        self.will = None;
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
        let waits = self
            .seat
            .as_ref()
            .is_some_and(|seat| !seat.will_delay.is_zero());
        if waits && self.outbox.outlives() {
            return;
        }
        if let Some(will) = self.will.take() {
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

/// Takes a client that gets no more messages out of the registry.
fn forget(engine: &Engine, holder: &ClientRecord) {
    let filters = holder.take_filters();
    let ended = filters.len() * SUBSCRIPTION_BYTES;
    engine.memory.note_returned(ended);
    for text in filters {
        if let Ok(filter) = Filter::parse(text.as_bytes()) {
            engine.router.forget(filter, holder.outbox.id());
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
    use super::*;
    use crate::engine::outbox::tests::outbox;

    #[test]
    fn a_busy_client_hands_in_what_it_published_when_there_is_much_or_someone_asks_or_late() {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let record = Arc::new(ClientRecord::new(
            outbox(1, 100, 0).0,
            ([127, 0, 0, 1], 1).into(),
        ));
        let mut client = Client::new(&engine, &record);
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
