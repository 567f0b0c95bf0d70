//! The line protocol: requests in, engine calls and answers out.
//!
//! A batch is what one read brought. Its messages are gathered and delivered at its end, and only
//! then are its answers sent, so that a receipt or a PONG never runs ahead of what it promises.
//!
//! What is rare is kept out of line: with all of it in one frame, the stack of each idle connection
//! took a page more.

use std::collections::HashSet;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::time::Instant;

use bytes::Bytes;
use foldhash::fast::RandomState;
use memchr::{memchr, memchr_iter, memrchr};
use protocol::{
    Attributes, BadFilter, Code, DecodeError, Escaped, Filter, Filters, Framer, Name, RETAIN,
    RETAINED, Reply, Request, Step, Subject, Topic, Verb,
};

use crate::block::Block;
use crate::dispatch::{Added, Dispatch, Place};
use crate::engine::Engine;
use crate::interest::Subscriber;
use crate::ledger::Totals;
use crate::memory::Charge;
use crate::outbox::Held;
use crate::queue::{Orphan, Wording};
use crate::retained::{Full, Retained};
use crate::roster::Member;
use crate::run::Run;
use crate::wire::{Arrival, End, Source};

const PUBLISH: &[u8] = b"PUBLISH ";
const MESSAGE: &[u8] = b"MESSAGE ";

/// With more answers than this in hand the batch is ended early.
const ANSWER_BYTES: usize = 32 * 1024;

/// What a subscription takes, roughly.
const SUBSCRIPTION_BYTES: usize = 256;

/// So many bytes of retained messages are delivered at a time.
const GATHERED_BYTES: usize = 64 * 1024;

/// So many filters are handled under one hold of the outbox, during which publishers to this
/// client wait; with wildcards, and anything retained, one at a time.
const FILTERS_PER_HOLD: usize = 64;

/// What this wire's outboxes say by themselves, and where its messages end.
pub(crate) const WORDING: Wording = Wording {
    gap: |count| encoded(&Reply::Gap { count }),
    receipt: |answered, copies| encoded(&Reply::PubAck { answered, copies }),
    first: |lines| memchr(b'\n', lines).map_or(lines.len(), |at| at + 1),
    fitting: |lines, room| memrchr(b'\n', &lines[..room]).map_or(0, |at| at + 1),
    count: |lines| memchr_iter(b'\n', lines).count() as u64,
};

/// What a newcomer hears for whom there is no room.
pub(crate) fn busy(why: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    let text = format!("{why}; try again later or ask its operator for a higher limit");
    refusal(&mut answer, Code::Busy, Subject::Line, &text);
    answer
}

/// The limits of one conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) line_bytes: usize,
    pub(crate) subscriptions: usize,
}

/// One client's conversation.
pub(crate) struct Conversation<'a> {
    engine: &'a Engine,
    member: &'a Member,
    outbox: &'a Subscriber,
    limits: Limits,
    framer: Framer,
    dispatch: Dispatch,
    filters: HashSet<Box<str>, RandomState>,
    /// Answers to be sent after the batch has been delivered.
    answers: Vec<u8>,
    receipts: Receipts,
    /// What to publish if the client is cut off.
    will: Option<Will>,
    /// The last message of the batch, if the next may simply be added to it.
    last: Option<Last>,
    silence: Silence,
}

/// What PUBACK has to tell, and the connection's account.
#[derive(Default)]
struct Receipts {
    /// PUBLISH frames so far, refused ones too.
    published: u64,
    /// Those that a PUBACK has covered.
    covered: u64,
    /// Copies made so far.
    copies: u64,
    /// Those that a PUBACK has told of.
    told: u64,
    /// Whether one of those that none has covered was accepted.
    accepted: bool,
    /// Messages that somebody wanted.
    matched: u64,
    /// Messages that nobody wanted.
    unmatched: u64,
    /// Copies of retained messages, made for this client's own subscriptions.
    retained: u64,
    /// Frames refused.
    refused: u64,
    /// PUBLISH frames among them.
    refused_publishes: u64,
}

/// A PUBLISH that waits for the end of its connection.
struct Will {
    /// Without its line end.
    line: Vec<u8>,
    _charge: Charge,
}

struct Last {
    topic: Range<usize>,
    end: usize,
}

/// Whether the client is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    No,
    Pinged,
    Stale,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(engine: &'a Engine, member: &'a Member, limits: Limits) -> Self {
        Self {
            engine,
            member,
            outbox: &member.outbox,
            limits,
            framer: Framer::new(limits.line_bytes),
            dispatch: Dispatch::new(engine.router.clone()),
            filters: HashSet::default(),
            answers: Vec::new(),
            receipts: Receipts::default(),
            will: None,
            last: None,
            silence: Silence::No,
        }
    }

    /// Serves the client until it says goodbye, leaves or vanishes. Nothing else it sends can end
    /// this loop. `block` holds what has been read already.
    pub(crate) fn read_loop(&mut self, source: &mut impl Source, block: &mut Block) -> End {
        loop {
            if let ControlFlow::Break(end) = self.handle(block) {
                return end;
            }
            match source.fill(block, self.limits.line_bytes) {
                Arrival::Bytes => self.silence = Silence::No,
                Arrival::NoMemory => self.give_up_line(block),
                Arrival::Pause => self.pause(),
                Arrival::Silence => self.ask(),
                Arrival::End if self.filters.is_empty() => return End::Left,
                Arrival::End => {
                    self.pause();
                    block.shrink();
                    return self.only_deliver(source);
                }
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// The connection has ended: what it did not take and others of its groups can, goes to them.
    #[inline(never)]
    pub(crate) fn hand_over(&mut self, orphans: &[Orphan]) {
        for orphan in orphans {
            let lines = orphan.bytes.split_inclusive(|&byte| byte == b'\n');
            for line in lines {
                let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
                match Reply::decode(content) {
                    Ok(Reply::Message { topic, .. }) => {
                        self.dispatch.hand_over(&orphan.filter, topic, line);
                    }
                    _ => unreachable!("an outbox holds whole messages"),
                }
            }
        }
    }

    /// The connection has ended without BYE: what the client wanted to be said then is published.
    #[inline(never)]
    pub(crate) fn publish_will(&mut self) {
        let Some(will) = self.will.take() else {
            return;
        };
        // A panic may have left half a batch behind.
        self.dispatch.abandon();
        if let Ok(Request::Publish {
            topic,
            payload,
            attributes,
        }) = Request::decode(&will.line)
        {
            if attributes.contains(RETAIN) {
                self.publish_retained(&[], topic, &payload, &attributes);
            } else {
                self.publish_beside(topic, &payload, &attributes);
                self.dispatch.deliver(&[]);
            }
        }
    }

    /// How many PUBLISH frames came.
    pub(crate) fn published(&self) -> u64 {
        self.receipts.published
    }

    /// Ends all subscriptions of a client that gets no more messages.
    pub(crate) fn forget_filters(&mut self) {
        let ended = self.filters.len() * SUBSCRIPTION_BYTES;
        self.engine.memory.note_returned(ended);
        for text in self.filters.drain() {
            if let Ok(filter) = Filter::parse(text.as_bytes()) {
                self.engine.router.forget(filter, self.outbox.id());
            }
        }
    }

    /// The client has ended its side and still has subscriptions, as in
    /// `echo SUBSCRIBE news | ncat ...`: it goes on receiving. If it is gone altogether, a PING
    /// finds out.
    #[inline(never)]
    fn only_deliver(&mut self, source: &mut impl Source) -> End {
        loop {
            self.outbox.hold().answer(b"PING\n");
            match source.wait_for_end() {
                Arrival::Bytes | Arrival::NoMemory | Arrival::Pause | Arrival::Silence => {}
                Arrival::End => return End::Left,
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// Handles all whole lines.
    fn handle(&mut self, block: &mut Block) -> ControlFlow<End> {
        self.member.begin(&self.engine.roster);
        loop {
            match self.framer.next(block.unread()) {
                Step::Line(len) => {
                    let start = block.start();
                    block.consume(len + 1);
                    if !self.publish_known(block, start, len) {
                        self.answer(block, start, len)?;
                    }
                }
                Step::TooLong(len) => {
                    let refused = self.framer.refusal(&block.unread()[..len]);
                    block.consume(len);
                    self.refuse(&refused);
                }
                Step::Skip(len) => block.consume(len),
                Step::More => break,
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(block.bytes());
                self.wait_for_room();
            }
        }
        self.dispatch.deliver_last(block);
        self.send_answers();
        self.settle();
        self.outbox.wait_for_room();
        if self.engine.memory.is_short() {
            self.wait_for_memory();
        }
        ControlFlow::Continue(())
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
        if let Some(more) = self.engine.memory_storm.say(began) {
            log::warn!(
                "connection {}: messages that wait for slow clients take nearly all of --memory, \
                 so who sends waits a moment and slow clients get a GAP sooner{more}",
                self.outbox.id()
            );
        }
    }

    /// There is no memory for more of a line that has begun: it is refused, the conversation goes on.
    #[inline(never)]
    fn give_up_line(&mut self, block: &mut Block) {
        let refused = self.framer.give_up(block.unread());
        block.give_up();
        self.refuse(&refused);
        self.send_answers();
    }

    /// Ends the batch before its time: all that was asked so far is done and answered.
    fn finish_part(&mut self, block: &[u8]) {
        self.dispatch.deliver(block);
        self.send_answers();
    }

    /// Ends the part of a batch that has been delivered, waits, and begins the next.
    fn wait_for_room(&mut self) {
        if self.outbox.seems_blocked() {
            self.settle();
            self.outbox.wait_for_room();
            self.member.begin(&self.engine.roster);
        }
    }

    /// All that has been published is delivered: enters it in the account.
    pub(crate) fn settle(&mut self) {
        let receipts = &self.receipts;
        self.member.settle(Totals {
            published: receipts.published - receipts.refused_publishes,
            matched: receipts.matched,
            unmatched: receipts.unmatched,
            refused: receipts.refused,
            copies: receipts.copies + receipts.retained,
            withdrawn: self.dispatch.withdrawn(),
        });
    }

    /// Sends the answers. What they promise has been done.
    fn send_answers(&mut self) {
        self.last = None;
        if !self.answers.is_empty() {
            self.receipts.write(&mut self.answers);
            self.outbox.hold().answer(&self.answers);
            self.answers.clear();
        } else if let Some((answered, copies)) = self.receipts.take() {
            self.outbox.hold().receipt(answered, copies);
        }
    }

    /// The short way for what nearly every line of a busy publisher is: a PUBLISH without
    /// attributes whose topic has been looked up before. Returns false for all others.
    #[inline]
    fn publish_known(&mut self, block: &mut Block, start: usize, len: usize) -> bool {
        let bytes = block.bytes();
        let line = &bytes[start..start + len];
        if !line.starts_with(PUBLISH) || line.ends_with(b"\r") {
            return false;
        }
        let rest = &line[PUBLISH.len()..];
        let end = start + len + 1;
        let copies = match &mut self.last {
            Some(last) if last.end == start && is_topic(rest, &bytes[last.topic.clone()]) => {
                last.end = end;
                self.dispatch.repeat(end)
            }
            _ => {
                let topic_start = start + PUBLISH.len();
                let topic = topic_start..topic_start + memchr(b' ', rest).unwrap_or(rest.len());
                match self.dispatch.add_known(bytes, topic.clone(), start..end) {
                    Some(added) => {
                        self.last = added.repeatable.then_some(Last { topic, end });
                        added.copies
                    }
                    None => return false,
                }
            }
        };
        block.bytes_mut()[start..start + MESSAGE.len()].copy_from_slice(MESSAGE);
        self.receipts.accept(copies);
        true
    }

    /// Handles any line.
    fn answer(&mut self, block: &mut Block, start: usize, len: usize) -> ControlFlow<End> {
        let bytes = block.bytes();
        let line = Framer::content(&bytes[start..start + len]);
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        match Request::decode(line) {
            Ok(Request::Publish {
                topic,
                payload,
                attributes,
            }) => {
                if topic.is_brokers_own() {
                    self.refuse_publish(Code::Denied, "only the broker publishes under $SYS/");
                } else if attributes.contains(RETAIN) {
                    self.finish_part(bytes);
                    self.publish_retained(bytes, topic, &payload, &attributes);
                } else if attributes.contains(RETAINED) || payload.as_line().ends_with(b"\r") {
                    self.publish_beside(topic, &payload, &attributes);
                } else {
                    let end = start + line.len() + 1;
                    let verb = self.publish_in_place(bytes, topic, start..end);
                    let bytes = block.bytes_mut();
                    bytes[verb..verb + MESSAGE.len()].copy_from_slice(MESSAGE);
                    // Of CR LF only an LF travels on.
                    bytes[end - 1] = b'\n';
                }
            }
            Ok(Request::Subscribe { filters, .. }) => {
                self.finish_part(bytes);
                self.subscribe(filters);
            }
            Ok(Request::Unsubscribe { filters }) => {
                self.finish_part(bytes);
                self.unsubscribe(filters);
            }
            Ok(Request::Ping { token }) => {
                self.receipts.write(&mut self.answers);
                Reply::Pong { token }.encode(&mut self.answers);
            }
            Ok(Request::Pong { .. }) => {}
            Ok(Request::Will {
                topic,
                payload,
                attributes,
            }) => self.set_will(topic, payload, attributes),
            Ok(Request::Name { name }) => self.set_name(name),
            Ok(Request::Help { verb }) => self.help(verb),
            Ok(Request::Bye) => {
                self.finish_part(bytes);
                self.forget_filters();
                self.will = None;
                self.outbox.hold().farewell(&encoded(&Reply::Bye));
                return ControlFlow::Break(End::SaidBye);
            }
            Err(refused) => self.refuse(&refused),
        }
        ControlFlow::Continue(())
    }

    /// Adds a message that can leave as it stands but for its verb; returns where the verb is.
    fn publish_in_place(&mut self, bytes: &[u8], topic: Topic<'_>, range: Range<usize>) -> usize {
        let verb = match bytes[range.start] {
            b'@' => range.start + memchr(b' ', &bytes[range.clone()]).map_or(0, |at| at + 1),
            _ => range.start,
        };
        let topic_start = verb + PUBLISH.len();
        let topic_range = topic_start..topic_start + topic.as_str().len();
        let added = self
            .dispatch
            .add(topic, Place::Block, topic_range.clone(), range.clone());
        self.last = added.repeatable.then_some(Last {
            topic: topic_range,
            end: range.end,
        });
        self.receipts.accept(added.copies);
        verb
    }

    /// Adds a message that must be written anew.
    #[inline(never)]
    fn publish_beside(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) {
        let added = self.add_beside(topic, payload, attributes);
        self.receipts.accept(added.copies);
    }

    fn add_beside(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
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
        self.dispatch
            .add(topic, Place::Beside, topic_range, start..end)
    }

    /// Keeps the last value of a topic and delivers it at once, both under the lock of the
    /// retained messages: whoever subscribes in this moment gets it once, by one way or the other.
    #[inline(never)]
    fn publish_retained(
        &mut self,
        block: &[u8],
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) {
        let mut retained = self.engine.retained.write();
        if let Err(full) = retain(&mut retained, topic, payload, attributes) {
            drop(retained);
            return self.refuse_publish(Code::TooMany, &full.to_string());
        }
        let added = self.add_beside(topic, payload, attributes);
        self.dispatch.deliver(block);
        drop(retained);
        self.receipts.accept(added.copies);
    }

    /// Subscribes under the hold of the outbox, so that a SUBACK comes before the first message
    /// and retained messages come before newer ones.
    #[inline(never)]
    fn subscribe(&mut self, filters: Filters<'_>) {
        let mut words = filters.iter().peekable();
        while words.peek().is_some() {
            let retained = self.engine.retained.read();
            // Found before the outbox is held: publishers to this client wait for that one.
            let mut found = Vec::new();
            let mut looked_up = false;
            while found.len() < FILTERS_PER_HOLD
                && !looked_up
                && let Some((word, filter)) = words.next()
            {
                let mut matching = Vec::new();
                if let Ok(filter) = filter
                    && filter.group().is_none()
                {
                    looked_up = !filter.is_exact() && !retained.is_empty();
                    matching.extend(retained.matching(filter).cloned());
                }
                found.push((word, filter, matching));
            }
            let outbox = self.outbox;
            let mut held = outbox.hold();
            for (word, filter, matching) in found {
                if self.add_filter(word, filter) && !matching.is_empty() {
                    held.answer(&self.answers);
                    self.answers.clear();
                    self.receipts.retained += deliver_all(&mut held, &matching);
                }
            }
            if !self.answers.is_empty() {
                held.answer(&self.answers);
                self.answers.clear();
            }
            drop((held, retained));
            self.wait_for_room();
        }
    }

    /// Answers one filter of a SUBSCRIBE; returns whether it is served.
    fn add_filter(&mut self, word: &[u8], filter: Result<Filter<'_>, BadFilter>) -> bool {
        let refused = match filter {
            Err(why) => (Code::BadFilter, why.to_string()),
            Ok(filter) => {
                let known = self.filters.contains(filter.as_str());
                if known || self.filters.len() < self.limits.subscriptions {
                    if !known {
                        self.filters.insert(filter.as_str().into());
                        self.engine.router.subscribe(filter, self.outbox);
                    }
                    Reply::SubAck { filter: word }.encode(&mut self.answers);
                    return true;
                }
                let text = format!(
                    "this connection has {} subscriptions and gets no more; UNSUBSCRIBE from some or use a wildcard",
                    self.filters.len()
                );
                (Code::TooMany, text)
            }
        };
        let (code, text) = refused;
        self.receipts.refused += 1;
        refusal(&mut self.answers, code, Subject::Subscribe(word), &text);
        false
    }

    #[inline(never)]
    fn unsubscribe(&mut self, filters: Filters<'_>) {
        for (word, filter) in filters.iter() {
            match filter {
                Ok(filter) => {
                    if self.filters.remove(filter.as_str()) {
                        self.engine.router.unsubscribe(filter, self.outbox);
                    }
                    Reply::UnsubAck { filter: word }.encode(&mut self.answers);
                }
                Err(why) => {
                    self.receipts.refused += 1;
                    refusal(
                        &mut self.answers,
                        Code::BadFilter,
                        Subject::Unsubscribe(word),
                        &why.to_string(),
                    );
                }
            }
            if self.answers.len() > ANSWER_BYTES {
                self.send_answers();
                self.wait_for_room();
            }
        }
    }

    #[inline(never)]
    fn set_will(&mut self, topic: Topic<'_>, payload: Escaped<'_>, attributes: Attributes<'_>) {
        self.receipts.write(&mut self.answers);
        if topic.is_brokers_own() {
            return self.refuse_line(Code::Denied, "only the broker publishes under $SYS/");
        }
        let mut line = Vec::new();
        let name = topic.as_str();
        let will = Request::Publish {
            topic,
            payload,
            attributes,
        };
        will.encode(&mut line);
        line.pop();
        line.shrink_to_fit();
        if line.len() > self.engine.memory.free() {
            return self.refuse_line(
                Code::TooMany,
                "there is no memory for this will now; send it again later, or a shorter one",
            );
        }
        let _charge = self.engine.memory.charge(line.len());
        self.will = Some(Will { line, _charge });
        let topic = name.as_bytes();
        Reply::WillAck { topic }.encode(&mut self.answers);
    }

    #[inline(never)]
    fn set_name(&mut self, name: Name<'_>) {
        self.receipts.write(&mut self.answers);
        self.member.set_name(name.as_str());
        log::info!(
            "connection {} is called {:?}",
            self.outbox.id(),
            name.as_str()
        );
        let name = name.as_str().as_bytes();
        Reply::NameAck { name }.encode(&mut self.answers);
    }

    #[inline(never)]
    fn help(&mut self, verb: Option<Verb>) {
        self.receipts.write(&mut self.answers);
        let verbs = match &verb {
            Some(verb) => std::slice::from_ref(verb),
            None => &Verb::OF_CLIENTS[..],
        };
        for verb in verbs {
            let text = match verb.help() {
                Some(text) => text.into(),
                None => format!("{verb} is what the broker says; docs/protocol.md has it").into(),
            };
            Reply::Help { text }.encode(&mut self.answers);
        }
    }

    #[inline(never)]
    fn refuse(&mut self, refused: &DecodeError) {
        let text = refused.to_string();
        if refused.is_publish() {
            self.refuse_publish(refused.code(), &text);
        } else {
            self.receipts.write(&mut self.answers);
            self.refuse_line(refused.code(), &text);
        }
    }

    fn refuse_line(&mut self, code: Code, text: &str) {
        self.log_refusal(code, text);
        refusal(&mut self.answers, code, Subject::Line, text);
    }

    /// A refused PUBLISH counts; the next PUBACK covers it.
    #[inline(never)]
    fn refuse_publish(&mut self, code: Code, text: &str) {
        if self.receipts.accepted {
            self.receipts.write(&mut self.answers);
        }
        self.receipts.published += 1;
        self.receipts.refused_publishes += 1;
        self.log_refusal(code, text);
        let subject = Subject::Publish(self.receipts.published);
        refusal(&mut self.answers, code, subject, text);
    }

    fn log_refusal(&mut self, code: Code, text: &str) {
        self.receipts.refused += 1;
        log::debug!("connection {}: refused, {code}: {text}", self.outbox.id());
    }

    /// The client has been quiet for a moment: memory goes back, and so do the outboxes of others
    /// that remembered routes keep.
    fn pause(&mut self) {
        self.dispatch.forget();
        self.answers.shrink_to_fit();
    }

    /// The client has been silent for an interval. It is asked once; that it does not answer is
    /// worth a line, and no more: whether it is dead is for TCP to find out.
    #[inline(never)]
    fn ask(&mut self) {
        match self.silence {
            Silence::No => {
                self.silence = Silence::Pinged;
                self.outbox
                    .hold()
                    .answer(&encoded(&Reply::Ping { token: b"" }));
            }
            Silence::Pinged => {
                self.silence = Silence::Stale;
                self.engine.metrics.stale.add(1);
                if let Some(more) = self.engine.stale_storm.say(Instant::now()) {
                    log::info!(
                        "connection {} is stale: no answer to PING, it stays{more}",
                        self.outbox.id()
                    );
                }
            }
            Silence::Stale => {}
        }
    }
}

impl Receipts {
    #[inline]
    fn accept(&mut self, copies: u64) {
        self.published += 1;
        self.copies += copies;
        self.matched += u64::from(copies > 0);
        self.unmatched += u64::from(copies == 0);
        self.accepted = true;
    }

    /// What a PUBACK would have to say now, if anything; it is said then.
    fn take(&mut self) -> Option<(u64, u64)> {
        if self.published == self.covered {
            return None;
        }
        self.covered = self.published;
        self.accepted = false;
        let copies = self.copies - mem::replace(&mut self.told, self.copies);
        Some((self.published, copies))
    }

    fn write(&mut self, answers: &mut Vec<u8>) {
        if let Some((answered, copies)) = self.take() {
            Reply::PubAck { answered, copies }.encode(answers);
        }
    }
}

/// Delivers retained messages, many at a time; returns how many were taken.
fn deliver_all(held: &mut Held<'_>, messages: &[Bytes]) -> u64 {
    let mut deliver = |run: Run<'_>| match run.messages() {
        0 => 0,
        messages if held.deliver(&[&run]) => messages,
        _ => 0,
    };
    let (mut gathered, mut waiting, mut taken) = (Vec::new(), 0, 0);
    for message in messages {
        let is_long = message.len() > GATHERED_BYTES;
        if is_long || gathered.len() + message.len() > GATHERED_BYTES {
            taken += deliver(Run::borrowed(&gathered, mem::take(&mut waiting)));
            gathered.clear();
        }
        if is_long {
            taken += deliver(Run::shared(message, 1, message.len()));
        } else {
            gathered.extend_from_slice(message);
            waiting += 1;
        }
    }
    taken + deliver(Run::borrowed(&gathered, waiting))
}

/// Whether the rest of a PUBLISH line is on this topic.
fn is_topic(rest: &[u8], topic: &[u8]) -> bool {
    rest.starts_with(topic) && matches!(rest.get(topic.len()), None | Some(b' '))
}

fn retain(
    retained: &mut Retained,
    topic: Topic<'_>,
    payload: &Escaped<'_>,
    attributes: &Attributes<'_>,
) -> Result<(), Full> {
    if payload.is_empty() {
        retained.clear(topic);
        return Ok(());
    }
    let mut marked = attributes.without(&[RETAIN, RETAINED]);
    marked
        .push_flag(RETAINED)
        .expect("`retained` is a valid key");
    retained.set(topic, &encoded(&message(topic, payload, marked)))
}

fn message<'a>(topic: Topic<'a>, payload: &Escaped<'a>, attributes: Attributes<'a>) -> Reply<'a> {
    Reply::Message {
        topic,
        payload: payload.clone(),
        attributes,
    }
}

fn refusal(answers: &mut Vec<u8>, code: Code, subject: Subject<'_>, text: &str) {
    Reply::Error {
        code: code.as_str().into(),
        subject,
        text: text.into(),
    }
    .encode(answers);
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    bytes
}
