//! The delivery state of a session: decides for each message whether its client receives it and at
//! which QoS, and keeps it until it is acknowledged.
//!
//! Owned by the session's [`Outbox`](super::Outbox) and protected by its lock; it survives disconnects.
//! It receives each message as a line and appends what is to be sent to an [`Outgoing`]; the
//! connection's [`PacketWriter`] makes the bytes. It sends nothing itself and does not block. Outboxes
//! of other protocols than MQTT have none.

pub(crate) mod in_flight;
pub(crate) mod logged;
pub(crate) mod outgoing;
mod progress;
mod run_line;
pub(crate) mod subscriptions;
pub(crate) mod waiting;
pub(crate) mod writer;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use foldhash::fast::RandomState;
use protocol::Topic;

use crate::engine::limits::CachedLimits;
use crate::engine::memory::budget::Charge;
use crate::engine::outbox::run::Redelivery;

use in_flight::{Ack, AckEffect, InFlight, InFlightWindow, MAX_IN_FLIGHT};
use logged::{SentBefore, id_of};
use outgoing::{Outgoing, Span};
use run_line::LineHead;
use subscriptions::{Grant, Subscriptions};
use waiting::{Extras, KeptBytes, Queued, WaitingQueue};
use writer::{Details, PacketWriter, Written};

pub(crate) use run_line::RunLine;

/// Maximum topics for which the grants of the matching filters are cached.
const REMEMBERED_TOPICS: usize = 256;

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in the outgoing bytes.
    Sent,
    /// It is kept until it is acknowledged.
    Kept,
    /// The client does not receive it: no filter asks for it, or the client cannot accept it.
    Unwanted,
    /// The limit of kept messages is reached.
    Dropped,
}

/// The delivery state of one session.
pub(crate) struct DeliveryState {
    /// The number of the session, under which it publishes its own messages.
    session: u64,
    limits: CachedLimits,
    subscriptions: Arc<Subscriptions>,
    remembered: RememberedGrants,
    /// The writer of the connection, or of the last one.
    writer: Box<dyn PacketWriter>,
    /// Whether a connection is attached and welcomed.
    connected: bool,
    in_flight: InFlightWindow,
    waiting: WaitingQueue,
    kept: KeptBytes,
    /// Number of messages dropped before the next.
    gap: u64,
    /// Kept messages that were given up, and that [`DeliveryState::pump`] has not reported yet.
    given_up: u64,
    /// What an earlier process has sent of the log, if this session is from there.
    sent_before: Option<Box<SentBefore>>,
}

/// The grants of the filters that match a topic, by the topic as spelled in lines.
#[derive(Default)]
struct RememberedGrants {
    grants: HashMap<Box<[u8]>, Grant, RandomState>,
    /// The version of the subscriptions for which the cached grants are valid.
    version: u64,
}

impl DeliveryState {
    /// The delivery state of a session that begins with a connection.
    pub(crate) fn new(
        session: u64,
        limits: CachedLimits,
        subscriptions: Arc<Subscriptions>,
        writer: Box<dyn PacketWriter>,
        charge: Charge,
    ) -> Self {
        Self {
            session,
            limits,
            subscriptions,
            remembered: RememberedGrants::default(),
            writer,
            connected: true,
            in_flight: InFlightWindow::default(),
            waiting: WaitingQueue::default(),
            kept: KeptBytes::new(charge),
            gap: 0,
            given_up: 0,
            sent_before: None,
        }
    }

    /// Attaches a connection and its writer.
    pub(crate) fn attach(&mut self, writer: Box<dyn PacketWriter>) {
        self.writer = writer;
        self.kept.set_absent(false);
        self.connected = true;
    }

    /// Detaches the connection: nothing is sent until the next one. Messages in flight stay with this
    /// session, also those that it received as a member of a group [MQTT-4.8.2-4].
    pub(crate) fn detach(&mut self) {
        self.connected = false;
        self.in_flight.detach();
        self.kept.set_absent(true);
    }

    /// Drops the newest of the waiting messages until what is kept for the absent client is no more than
    /// its part of their share. Returns the number dropped, and those that another member of a group may
    /// receive instead.
    pub(crate) fn limit_absent(&mut self) -> (u64, Vec<Redelivery>) {
        let (mut dropped, mut redeliveries) = (0, Vec::new());
        while !self.connected
            && self.kept.exceeds_share()
            && let Some(message) = self.waiting.pop_newest()
        {
            self.kept.give_back(message.size());
            self.gap += message.gap();
            match message.redelivery() {
                Some(redelivery) => redeliveries.push(redelivery),
                None => {
                    self.gap += 1;
                    dropped += 1;
                }
            }
        }
        redeliveries.reverse();
        (dropped, redeliveries)
    }

    /// Ends the session: kept messages are lost, except for those that another member of a group may
    /// receive. Returns the number lost.
    pub(crate) fn end(&mut self, redeliveries: &mut Vec<Redelivery>) -> u64 {
        let in_flight = self.in_flight.take_unreleased();
        let lost = give_up(in_flight, self.waiting.take_all(), redeliveries);
        self.kept.give_all_back();
        lost + mem::take(&mut self.given_up)
    }

    /// Gives up the kept messages that the client may not receive; `may_receive` is asked with the topic, and the
    /// filter of the group if it is for one member of that. Only between two connections. Returns those that
    /// another member may receive instead.
    pub(crate) fn withhold(
        &mut self,
        mut may_receive: impl FnMut(&[u8], Option<&str>) -> bool,
    ) -> Vec<Redelivery> {
        let mut holds = |message: &Queued| {
            let shared = message.extras.as_ref().and_then(|it| it.share.as_deref());
            LineHead::of(&message.line).is_some_and(|head| may_receive(head.topic, shared))
        };
        let in_flight = self.in_flight.take_unless(&mut holds);
        let waiting = self.waiting.take_unless(&mut holds);
        self.gap += waiting.iter().map(Queued::gap).sum::<u64>();
        let sizes = in_flight.iter().chain(&waiting).map(Queued::size);
        self.kept.give_back(sizes.sum());
        let mut redeliveries = Vec::new();
        // They are counted when the next are sent.
        self.given_up += give_up(in_flight, waiting, &mut redeliveries);
        redeliveries
    }

    /// Whether the shared encoding of the protocol is right for every message now.
    pub(crate) fn is_plain(&self) -> bool {
        self.connected
            && self.gap == 0
            && !self.has_earlier()
            && !self.subscriptions.is_special()
            && self.writer.is_plain()
    }

    /// Number of messages kept.
    pub(crate) fn kept(&self) -> u64 {
        (self.in_flight.unreleased() + self.waiting.len()) as u64 + self.given_up
    }

    /// Bytes accounted for them.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.get()
    }

    /// Whether kept messages are to be sent before a new one.
    fn has_earlier(&self) -> bool {
        !self.waiting.is_empty() || self.in_flight.next_again().is_some()
    }

    /// Whether the client has to acknowledge a message before another at QoS 1 or 2 is sent.
    fn is_window_full(&self) -> bool {
        // As many as the client accepts, beginning with the first [MQTT-4.9.0-1].
        self.in_flight.sent() >= self.writer.max_in_flight().min(MAX_IN_FLIGHT)
    }

    /// Whether messages wait, because the client has to acknowledge others first.
    pub(crate) fn holds_back(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Adds messages that were dropped before the next.
    pub(crate) fn note_gap(&mut self, count: u64) {
        self.gap += count;
    }

    /// Bytes of the messages that have not been sent yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Handles an acknowledgement of the client.
    pub(crate) fn acknowledge(&mut self, id: u16, ack: Ack) -> AckEffect {
        let (effect, freed) = self.in_flight.acknowledge(id, ack);
        if freed > 0 {
            self.kept.give_back(freed);
        }
        effect
    }

    /// Accepts one message. Bytes to be sent now are appended to `outgoing`.
    pub(crate) fn push(&mut self, message: &RunLine<'_>, outgoing: &mut Outgoing) -> Fate {
        let options = message.run.options();
        let only = message.run.only_filter();
        let before = self.sent_before.as_ref();
        if message.sequence > 0 && before.is_some_and(|it| it.is_done(message.sequence)) {
            return Fate::Unwanted;
        }
        let Some(head) = LineHead::of(message.line()) else {
            return Fate::Unwanted;
        };
        let grant = self.grant(&head, only);
        let own = message.run.publisher() == self.session;
        // [MQTT-3.8.3-3] of 5.0.
        if !grant.any || (own && !grant.local) {
            return Fate::Unwanted;
        }
        // Set for a new subscription [MQTT-3.3.1-8] of 3.1.1; otherwise only if the subscription wants
        // the flag as published: [MQTT-3.3.1-9] of 3.1.1, [MQTT-3.3.1-12] [MQTT-3.3.1-13] of 5.0.
        let retain = head.retained || (options.retain && grant.retain_as_published);
        // [MQTT-3.8.4-6] of 3.1.1, [MQTT-3.8.4-8] of 5.0.
        let qos = options.qos.min(grant.qos);
        let extras = Extras {
            identifiers: grant.identifiers,
            ttl: head.ttl,
            gap: 0,
            share: message.run.share().cloned(),
        };
        // Also while the client is disconnected [MQTT-3.1.2-5] of 3.1.1.
        if qos > 0 {
            return self.keep(message, qos, retain, extras);
        }
        if !self.connected {
            return Fate::Unwanted;
        }
        if self.has_earlier() {
            // The messages of a topic arrive in the order in which they were published, at whatever QoS.
            let room = message.room.saturating_sub(outgoing.bytes().len());
            self.given_up = self.pump(message.now, room, outgoing);
            // A full window delays only messages that are acknowledged [MQTT-3.3.4-10], so this one
            // overtakes them. Otherwise room is missing, for which messages at QoS 0 are dropped.
            if self.has_earlier() && !self.is_window_full() {
                self.gap += 1;
                return Fate::Dropped;
            }
        }
        self.send_now(message, retain, &extras, outgoing)
    }

    /// The combined grant of the matching filters, or that of `only`.
    fn grant(&mut self, head: &LineHead<'_>, only: Option<&Arc<str>>) -> Grant {
        if let Some(filter) = only {
            return self.subscriptions.grant_of(filter);
        }
        // Read before the grant is computed: if it changes in between, the cached grant is outdated and
        // is computed again for the next message.
        let version = self.subscriptions.version();
        if self.remembered.version != version {
            self.remembered.grants.clear();
            self.remembered.version = version;
        }
        if let Some(grant) = self.remembered.grants.get(head.topic) {
            return grant.clone();
        }
        let Ok(topic) = Topic::parse(head.topic) else {
            return Grant::default();
        };
        let grant = self.subscriptions.grant(topic);
        if self.remembered.grants.len() >= REMEMBERED_TOPICS {
            self.remembered.grants.clear();
        }
        self.remembered
            .grants
            .insert(head.topic.into(), grant.clone());
        grant
    }

    /// Keeps a message until it is acknowledged, if the limits allow it.
    fn keep(&mut self, message: &RunLine<'_>, qos: u8, retain: bool, extras: Extras) -> Fate {
        let extras = Extras {
            gap: self.gap,
            ..extras
        };
        let added = waiting::size(message.line(), extras.is_any());
        let free = match self.connected {
            true => message.memory.free().saturating_add(self.kept.charged()),
            false => message.memory.free_for_absent(),
        };
        self.limits.refresh();
        let limits = self.limits.get();
        let room = limits.outbox_bytes.min(free);
        let kept = self.waiting.len() + self.in_flight.len();
        // One message always has room, however long it is, but for clients that are there alone.
        let must_fit = kept > 0 || !self.connected;
        let is_full = kept >= limits.queued || (must_fit && self.kept.get() + added > room);
        // What comes from the log is read when there is room, and nothing of it is dropped.
        if is_full && message.sequence == 0 {
            self.gap += 1;
            return Fate::Dropped;
        }
        self.gap = 0;
        self.kept.add(added);
        self.waiting.push(Queued {
            line: message.keep(),
            sequence: message.sequence,
            came: message.now,
            qos,
            retain,
            extras: extras.is_any().then(|| Box::new(extras)),
        });
        Fate::Kept
    }

    /// Sends a message at QoS 0, once and without DUP [MQTT-4.3.1-1].
    fn send_now(
        &mut self,
        message: &RunLine<'_>,
        retain: bool,
        extras: &Extras,
        outgoing: &mut Outgoing,
    ) -> Fate {
        let gap = mem::take(&mut self.gap);
        if gap > 0 && self.write_gap(gap, outgoing.begin()) {
            outgoing.end(Span::Kept);
        }
        let details = Details {
            retain,
            identifiers: extras.identifiers.as_deref().unwrap_or_default(),
            gap,
            publisher: message.run.publisher(),
            ..Details::default()
        };
        let written = self
            .writer
            .write(message.line(), &details, outgoing.begin());
        let span = match (written, &extras.share) {
            // Counts as delivered [MQTT-3.1.2-25].
            (Written::TooLong, _) => return Fate::Unwanted,
            (Written::Pinned, None) => Span::Pinned,
            (Written::Yes, None) => Span::Messages(1),
            (_, Some(filter)) => Span::OneOf(Redelivery {
                filter: filter.clone(),
                bytes: Bytes::copy_from_slice(message.line()),
                options: message.run.options(),
            }),
        };
        outgoing.end(span);
        Fate::Sent
    }

    /// Appends kept messages that may be sent now, up to about `room` bytes. Returns the number of
    /// messages dropped because they have expired or the client cannot accept them; the others are
    /// still sent [MQTT-3.1.2-25].
    pub(crate) fn pump(&mut self, now: Instant, room: usize, outgoing: &mut Outgoing) -> u64 {
        let mut given_up = mem::take(&mut self.given_up);
        let begun = outgoing.begin().len();
        while self.connected && outgoing.begin().len() - begun < room {
            // A release takes no place in the window: the client has the message.
            let releases = self
                .in_flight
                .next_again()
                .is_some_and(InFlight::is_released);
            // Full until an acknowledgement arrives [MQTT-3.3.4-9] [MQTT-4.9.0-2]. Answers and messages
            // at QoS 0 do not pass here, so they do not wait for that [MQTT-3.3.4-10] [MQTT-4.9.0-3].
            if !releases && self.is_window_full() {
                break;
            }
            let sent = match self.in_flight.next_again() {
                Some(_) => self.send_again(now, outgoing.begin()),
                // Another message in flight has the identifier, 65,535 places before it, perhaps.
                None if self.is_next_id_taken() => break,
                None => match self.waiting.pop() {
                    Some(message) => self.send_first(message, now, outgoing.begin()),
                    None => break,
                },
            };
            given_up += u64::from(!sent);
        }
        self.waiting.shrink();
        if outgoing.begin().len() > begun {
            outgoing.end(Span::Kept);
        }
        given_up
    }

    /// Sends again what was in flight when the last connection ended [MQTT-4.4.0-1], with DUP
    /// [MQTT-3.3.1-1]. A message that was sent once does not expire [MQTT-4.3.3-7]. Returns false if
    /// the client cannot accept it.
    fn send_again(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(next) = self.in_flight.next_again() else {
            return true;
        };
        if next.is_released() {
            self.writer.write_release(next.id, out);
            self.in_flight.note_sent_again();
            return true;
        }
        let (id, message) = (next.id, next.message.clone());
        let is_written = self.write(&message, id, true, now, out);
        if is_written {
            self.in_flight.note_sent_again();
        } else if let Some(message) = self.in_flight.discard_again() {
            self.kept.give_back(message.size());
        }
        is_written
    }

    /// Sends a message for the first time: with an identifier, without DUP [MQTT-4.3.2-1]
    /// [MQTT-4.3.3-1] (3.1.1) [MQTT-4.3.2-2] [MQTT-4.3.3-2] (5.0). Returns false if it has expired, or
    /// the client cannot accept it.
    fn send_first(&mut self, message: Queued, now: Instant, out: &mut Vec<u8>) -> bool {
        let id = match message.sequence {
            0 => self.in_flight.next_id(),
            sequence => {
                let id = id_of(sequence);
                self.in_flight.take_id(id);
                id
            }
        };
        let before = self.sent_before.as_ref();
        let is_again = message.sequence > 0 && before.is_some_and(|it| message.sequence < it.end);
        let is_written = message.is_fresh(now) && self.write(&message, id, is_again, now, out);
        if is_written {
            self.in_flight.push(id, message);
        } else {
            self.in_flight.free(id);
            self.gap += message.gap();
            self.kept.give_back(message.size());
        }
        is_written
    }

    fn is_next_id_taken(&self) -> bool {
        let sequence = self.waiting.first().map_or(0, |message| message.sequence);
        sequence > 0 && self.in_flight.has(id_of(sequence))
    }

    /// Writes a kept message. Returns false if the client cannot accept it.
    fn write(
        &mut self,
        message: &Queued,
        id: u16,
        dup: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        let gap = message.gap();
        if gap > 0 {
            self.write_gap(gap, out);
        }
        let details = Details {
            qos: message.qos,
            retain: message.retain,
            id,
            dup,
            identifiers: message.identifiers(),
            gap,
            waited_s: now.duration_since(message.came).as_secs() as u32,
            publisher: 0,
        };
        self.writer.write(&message.line, &details, out) != Written::TooLong
    }

    /// Reports a gap that cannot be reported with the next message, if the client subscribes to the gap
    /// topic. Returns whether anything was written.
    fn write_gap(&mut self, count: u64, out: &mut Vec<u8>) -> bool {
        let Some(name) = self.writer.gap_topic() else {
            return false;
        };
        let is_wanted = Topic::parse(name).is_ok_and(|topic| self.subscriptions.grant(topic).any);
        let line = is_wanted.then(|| format!("MESSAGE {name} {count}\n"));
        line.is_some_and(|line| {
            let details = Details::default();
            self.writer.write(line.as_bytes(), &details, out) != Written::TooLong
        })
    }
}

/// Gives up messages that were in flight, and messages that were not: those that another member of a group may
/// receive are added to `redeliveries`. Returns the number of the others, which are lost.
fn give_up(
    in_flight: impl IntoIterator<Item = Queued>,
    waiting: impl IntoIterator<Item = Queued>,
    redeliveries: &mut Vec<Redelivery>,
) -> u64 {
    let mut lost = 0;
    // A message at QoS 2 that may have arrived must not be sent to another member as well [MQTT-4.8.2-5].
    let in_flight = in_flight.into_iter().filter(|message| {
        let is_lost = message.qos == 2;
        lost += u64::from(is_lost);
        !is_lost
    });
    let messages: Vec<Queued> = in_flight.chain(waiting).collect();
    for message in messages {
        match message.redelivery() {
            Some(redelivery) => redeliveries.push(redelivery),
            None => lost += 1,
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Filter;

    use super::logged::LoggedProgress;
    use super::subscriptions::SubscriptionOptions;
    use super::*;
    use crate::engine::limits::{Limits, SharedLimits};
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::encoder::Encoder;
    use crate::engine::outbox::run::{PublishOptions, Run};

    const SESSION: u64 = 7;

    /// Writes a message as `<qos>:<id><d if DUP is set>:<gap>:<its line>`.
    struct TestWriter {
        window: usize,
        longest: usize,
        gap_topic: Option<&'static str>,
    }

    impl PacketWriter for TestWriter {
        fn is_plain(&self) -> bool {
            self.longest == usize::MAX
        }

        fn max_in_flight(&self) -> usize {
            self.window
        }

        fn write(&mut self, line: &[u8], details: &Details<'_>, out: &mut Vec<u8>) -> Written {
            if line.len() > self.longest {
                return Written::TooLong;
            }
            let Details {
                qos, id, dup, gap, ..
            } = *details;
            let dup = if dup { "d" } else { "" };
            out.extend(format!("{qos}:{id}{dup}:{gap}:").bytes());
            out.extend(line);
            Written::Yes
        }

        fn write_release(&mut self, id: u16, out: &mut Vec<u8>) {
            out.extend(format!("release {id}\n").bytes());
        }

        fn gap_topic(&self) -> Option<&str> {
            self.gap_topic
        }
    }

    /// A session, and the bytes sent to its client.
    struct Bench {
        state: DeliveryState,
        subscriptions: Arc<Subscriptions>,
        memory: Arc<Memory>,
    }

    impl Bench {
        fn new(window: usize, limits: Limits) -> Self {
            let memory = Arc::new(Memory::new(1 << 20));
            let subscriptions = Arc::<Subscriptions>::default();
            let state = DeliveryState::new(
                SESSION,
                CachedLimits::new(&Arc::new(SharedLimits::new(limits))),
                subscriptions.clone(),
                Box::new(writer(window)),
                memory.charge(0),
            );
            Self {
                state,
                subscriptions,
                memory,
            }
        }

        fn subscribe(&self, filter: &str, qos: u8) {
            self.subscribe_with(
                filter,
                SubscriptionOptions {
                    qos,
                    ..SubscriptionOptions::default()
                },
            );
        }

        fn subscribe_with(&self, filter: &str, options: SubscriptionOptions) {
            let filter = Filter::parse(filter).expect("a filter");
            self.subscriptions.insert(filter, options);
        }

        /// Pushes a message of another client at this QoS.
        fn push(&mut self, line: &str, qos: u8) -> (Fate, String) {
            let options = PublishOptions { qos, retain: false };
            self.push_run(Run::borrowed(line.as_bytes(), 1).by(SESSION + 1, options))
        }

        fn push_run(&mut self, run: Run<'_>) -> (Fate, String) {
            let mut outgoing = Outgoing::of(&Encoder::NONE);
            let whole = 0..run.bytes().len();
            let message = RunLine::new((&run, 0, whole), (Instant::now(), &self.memory, 1000));
            let fate = self.state.push(&message, &mut outgoing);
            (fate, text(&outgoing))
        }

        fn pump(&mut self) -> String {
            self.pump_at(Instant::now()).0
        }

        /// Pumps; returns the bytes sent, and the number of messages dropped.
        fn pump_at(&mut self, now: Instant) -> (String, u64) {
            let mut outgoing = Outgoing::of(&Encoder::NONE);
            let given_up = self.state.pump(now, 1000, &mut outgoing);
            (text(&outgoing), given_up)
        }
    }

    fn roomy() -> Limits {
        Limits {
            queued: 100,
            outbox_bytes: 100_000,
            ..Limits::default()
        }
    }

    fn writer(window: usize) -> TestWriter {
        TestWriter {
            window,
            longest: usize::MAX,
            gap_topic: None,
        }
    }

    fn text(outgoing: &Outgoing) -> String {
        String::from_utf8(outgoing.bytes().to_vec()).expect("text")
    }

    #[test]
    fn a_message_is_sent_at_the_lower_of_its_qos_and_that_of_the_subscription() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        let (fate, sent) = bench.push("MESSAGE a x\n", 0);
        assert_eq!((fate, &*sent), (Fate::Sent, "0:0:0:MESSAGE a x\n"));
        let (fate, sent) = bench.push("MESSAGE a y\n", 2);
        assert_eq!((fate, &*sent), (Fate::Kept, ""));
        assert_eq!(bench.pump(), "1:1:0:MESSAGE a y\n");
        let (fate, sent) = bench.push("MESSAGE b z\n", 2);
        assert_eq!((fate, &*sent), (Fate::Unwanted, ""));
    }

    #[test]
    fn a_change_of_subscriptions_counts_for_the_next_message() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Kept);
        bench.subscribe("a", 0);
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Sent);
        bench.subscriptions.remove("a");
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Unwanted);
    }

    #[test]
    fn own_messages_come_unless_the_client_does_not_want_them() {
        let own = |line: &'static str| {
            Run::borrowed(line.as_bytes(), 1).by(SESSION, PublishOptions::LINE)
        };
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        assert_eq!(bench.push_run(own("MESSAGE a x\n")).0, Fate::Kept);
        bench.subscribe_with(
            "a",
            SubscriptionOptions {
                qos: 1,
                no_local: true,
                ..SubscriptionOptions::default()
            },
        );
        assert_eq!(bench.push_run(own("MESSAGE a x\n")).0, Fate::Unwanted);
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Kept);
    }

    #[test]
    fn for_the_sake_of_one_filter_only_that_one_counts() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a/#", 2);
        bench.subscribe("a/b", 0);
        let filter: Arc<str> = "a/b".into();
        let options = PublishOptions {
            qos: 2,
            retain: true,
        };
        let run = Run::borrowed(b"MESSAGE a/b x\n", 1).by(0, options);
        assert_eq!(bench.push_run(run.for_filter(&filter)).0, Fate::Sent);
        let run = Run::borrowed(b"MESSAGE a/b x\n", 1).by(0, options);
        assert_eq!(bench.push_run(run).0, Fate::Kept);
    }

    #[test]
    fn no_more_is_in_flight_than_the_client_takes() {
        let mut bench = Bench::new(2, roomy());
        bench.subscribe("a", 1);
        for payload in 1..=3 {
            bench.push(&format!("MESSAGE a {payload}\n"), 1);
        }
        assert_eq!(bench.pump(), "1:1:0:MESSAGE a 1\n1:2:0:MESSAGE a 2\n");
        assert_eq!(bench.pump(), "");
        assert!(bench.state.holds_back());
        assert_eq!(bench.state.kept(), 3);
        assert_eq!(bench.state.acknowledge(2, Ack::Accepted), AckEffect::Done);
        assert_eq!(bench.pump(), "1:3:0:MESSAGE a 3\n");
        assert!(!bench.state.holds_back());
        assert_eq!(bench.state.kept(), 2);
    }

    #[test]
    fn a_message_at_qos_0_keeps_its_place_among_others() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 2);
        assert_eq!(bench.push("MESSAGE a 1\n", 0).1, "0:0:0:MESSAGE a 1\n");
        bench.push("MESSAGE a 2\n", 1);
        bench.push("MESSAGE a 3\n", 2);
        let (fate, sent) = bench.push("MESSAGE a 4\n", 0);
        let expected = "1:1:0:MESSAGE a 2\n2:2:0:MESSAGE a 3\n0:0:0:MESSAGE a 4\n";
        assert_eq!((fate, &*sent), (Fate::Sent, expected));
        assert_eq!(bench.pump(), "");
        // What was in flight on an earlier connection is older, too.
        bench.state.detach();
        bench.state.attach(Box::new(writer(10)));
        let (_, sent) = bench.push("MESSAGE a 5\n", 0);
        let expected = "1:1d:0:MESSAGE a 2\n2:2d:0:MESSAGE a 3\n0:0:0:MESSAGE a 5\n";
        assert_eq!(sent, expected);
        // Also when nothing else is kept for this client any more.
        bench.state.detach();
        bench.state.attach(Box::new(writer(10)));
        bench.subscribe("a", 0);
        assert!(!bench.state.is_plain());
        bench.pump();
        assert!(bench.state.is_plain());
    }

    #[test]
    fn a_message_at_qos_0_overtakes_those_that_wait_for_an_acknowledgement() {
        let mut bench = Bench::new(1, roomy());
        bench.subscribe("a", 1);
        bench.push("MESSAGE a 1\n", 1);
        bench.push("MESSAGE a 2\n", 1);
        let (fate, sent) = bench.push("MESSAGE a 3\n", 0);
        let expected = "1:1:0:MESSAGE a 1\n0:0:0:MESSAGE a 3\n";
        assert_eq!((fate, &*sent), (Fate::Sent, expected));
        assert_eq!(bench.state.kept(), 2);
    }

    #[test]
    fn without_room_for_earlier_messages_one_at_qos_0_is_dropped_and_told() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        let long = format!("MESSAGE a {}\n", "x".repeat(600));
        for _ in 0..3 {
            bench.push(&long, 1);
        }
        let (fate, sent) = bench.push("MESSAGE a 4\n", 0);
        assert_eq!((fate, sent.matches('x').count()), (Fate::Dropped, 1200));
        bench.push("MESSAGE a 5\n", 1);
        assert!(bench.pump().ends_with("x\n1:4:1:MESSAGE a 5\n"));
    }

    #[test]
    fn what_is_given_up_on_the_way_is_reported_with_the_rest() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        bench.push("@ttl=0 MESSAGE a old\n", 1);
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(bench.push("MESSAGE a new\n", 0).0, Fate::Sent);
        assert_eq!(bench.state.kept(), 1);
        assert_eq!(bench.pump_at(Instant::now()), (String::new(), 1));
        assert_eq!(bench.state.kept(), 0);
    }

    #[test]
    fn what_is_in_flight_is_sent_again_before_what_waits() {
        let mut bench = Bench::new(2, roomy());
        bench.subscribe("a", 2);
        bench.push("MESSAGE a 1\n", 2);
        bench.push("MESSAGE a 2\n", 1);
        bench.pump();
        let received = Ack::Received { refused: false };
        assert_eq!(bench.state.acknowledge(1, received), AckEffect::Release);
        bench.state.detach();
        bench.push("MESSAGE a 3\n", 1);
        assert_eq!(bench.pump(), "", "nothing is sent without a connection");
        bench.state.attach(Box::new(writer(2)));
        // A release takes no place in the window: the client has the message.
        assert_eq!(bench.pump(), "release 1\n1:2d:0:MESSAGE a 2\n");
        bench.state.acknowledge(1, Ack::Completed);
        assert_eq!(bench.pump(), "1:3:0:MESSAGE a 3\n");
    }

    #[test]
    fn over_the_limit_messages_are_dropped_and_the_next_one_tells() {
        let limits = Limits {
            queued: 1,
            ..roomy()
        };
        let mut bench = Bench::new(1, limits);
        bench.subscribe("a", 1);
        assert_eq!(bench.push("MESSAGE a 1\n", 1).0, Fate::Kept);
        assert_eq!(bench.push("MESSAGE a 2\n", 1).0, Fate::Dropped);
        assert_eq!(bench.push("MESSAGE a 3\n", 1).0, Fate::Dropped);
        assert_eq!(bench.pump(), "1:1:0:MESSAGE a 1\n");
        assert_eq!(bench.push("MESSAGE a 4\n", 1).0, Fate::Dropped);
        bench.state.acknowledge(1, Ack::Accepted);
        assert!(!bench.state.is_plain(), "there is a gap to tell");
        assert_eq!(bench.push("MESSAGE a 5\n", 1).0, Fate::Kept);
        assert_eq!(bench.pump(), "1:2:3:MESSAGE a 5\n");
    }

    #[test]
    fn bytes_are_limited_too_but_for_the_first_message() {
        let limits = Limits {
            outbox_bytes: 150,
            ..roomy()
        };
        let mut bench = Bench::new(10, limits);
        bench.subscribe("a", 1);
        let long = format!("MESSAGE a {}\n", "x".repeat(200));
        assert_eq!(bench.push(&long, 1).0, Fate::Kept);
        assert_eq!(bench.push("MESSAGE a 2\n", 1).0, Fate::Dropped);
        bench.pump();
        bench.state.acknowledge(1, Ack::Accepted);
        assert_eq!(bench.push("MESSAGE a 3\n", 1).0, Fate::Kept);
        assert_eq!(bench.push("MESSAGE a 4\n", 1).0, Fate::Dropped);
    }

    #[test]
    fn what_has_waited_too_long_is_given_up() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        bench.push("@ttl=1 MESSAGE a old\n", 1);
        bench.push("MESSAGE a new\n", 1);
        let later = Instant::now() + Duration::from_secs(2);
        let (sent, given_up) = bench.pump_at(later);
        assert_eq!((&*sent, given_up), ("1:2:0:MESSAGE a new\n", 1));
        assert_eq!(bench.state.kept(), 1);
    }

    #[test]
    fn what_the_client_cannot_take_is_given_up_also_when_it_was_in_flight() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        bench.push("MESSAGE a long\n", 1);
        bench.pump();
        bench.state.detach();
        bench.state.attach(Box::new(TestWriter {
            longest: 12,
            ..writer(10)
        }));
        assert_eq!(bench.pump_at(Instant::now()), (String::new(), 1));
        assert_eq!(bench.state.kept(), 0);
        assert_eq!(bench.push("MESSAGE a long\n", 0).0, Fate::Unwanted);
        assert_eq!(bench.push("MESSAGE a x\n", 0).0, Fate::Sent);
        assert_eq!(bench.memory.free(), bench.memory.limit());
    }

    #[test]
    fn a_gap_is_told_on_its_topic_to_a_client_that_asks_for_it() {
        let mut bench = Bench::new(10, roomy());
        bench.state.attach(Box::new(TestWriter {
            gap_topic: Some("$SYS/gap/ann"),
            ..writer(10)
        }));
        bench.subscribe("a", 0);
        bench.state.note_gap(3);
        assert_eq!(bench.push("MESSAGE a x\n", 0).1, "0:0:3:MESSAGE a x\n");
        bench.subscribe("$SYS/gap/+", 0);
        bench.state.note_gap(4);
        assert_eq!(
            bench.push("MESSAGE a x\n", 0).1,
            "0:0:0:MESSAGE $SYS/gap/ann 4\n0:0:4:MESSAGE a x\n"
        );
    }

    #[test]
    fn a_session_at_qos_0_without_a_connection_keeps_nothing() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 0);
        assert!(bench.state.is_plain());
        bench.state.detach();
        assert!(!bench.state.is_plain());
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Unwanted);
        assert_eq!(bench.state.kept(), 0);
    }

    #[test]
    fn at_its_end_another_member_of_the_group_gets_what_this_one_may_not_have() {
        let mut bench = Bench::new(2, roomy());
        let group: Arc<str> = "$share/g/a".into();
        bench.subscribe(&group, 2);
        bench.subscribe("b", 1);
        let mut push = |line: &'static str, qos| {
            let options = PublishOptions { qos, retain: false };
            let run = Run::borrowed(line.as_bytes(), 1).by(SESSION + 1, options);
            bench.push_run(run.for_one_of(&group)).0
        };
        assert_eq!(push("MESSAGE a 1\n", 2), Fate::Kept);
        assert_eq!(push("MESSAGE a 2\n", 1), Fate::Kept);
        assert_eq!(push("MESSAGE a 3\n", 2), Fate::Kept);
        bench.push("MESSAGE b 4\n", 1);
        bench.pump();
        let mut redeliveries = Vec::new();
        // The first may have arrived at QoS 2, and the last is for this client alone.
        assert_eq!(bench.state.end(&mut redeliveries), 2);
        let lines: Vec<_> = redeliveries.iter().map(|each| &each.bytes[..]).collect();
        assert_eq!(lines, [b"MESSAGE a 2\n", b"MESSAGE a 3\n"]);
        assert_eq!(bench.state.kept(), 0);
        assert_eq!(bench.memory.free(), bench.memory.limit());
    }

    /// The line of a message from the log.
    fn logged(sequence: u64) -> String {
        format!("@pos=k3f9.1:{sequence} MESSAGE a {sequence}\n")
    }

    fn progress(outstanding: &[u64], released: &[u64], next: u64) -> LoggedProgress {
        LoggedProgress {
            outstanding: outstanding.iter().copied().collect(),
            released: released.iter().copied().collect(),
            next,
        }
    }

    #[test]
    fn a_message_from_the_log_has_its_identifier_from_its_place_and_counts_as_progress() {
        let mut bench = Bench::new(2, roomy());
        bench.subscribe("a", 2);
        assert_eq!(bench.push(&logged(41), 1).0, Fate::Kept);
        let with_attributes = "@pos=k3f9.1:43;id=7 MESSAGE a 43\n";
        assert_eq!(bench.push(with_attributes, 2).0, Fate::Kept);
        assert_eq!(bench.push(&logged(44), 1).0, Fate::Kept);
        let sent = "1:42:0:MESSAGE a 41\n2:44:0:@id=7 MESSAGE a 43\n";
        assert_eq!(bench.pump(), sent);
        assert_eq!(bench.state.progress(50), progress(&[41, 43], &[], 44));
        let released = [42, 44, 45].map(|id| bench.state.to_be_released(id));
        assert_eq!(released, [None, Some(43), None]);
        let received = Ack::Received { refused: false };
        assert_eq!(bench.state.acknowledge(44, received), AckEffect::Release);
        assert_eq!(bench.state.progress(50), progress(&[41], &[43], 44));
        bench.state.acknowledge(42, Ack::Accepted);
        assert_eq!(bench.pump(), "1:45:0:MESSAGE a 44\n");
        assert_eq!(bench.state.progress(50), progress(&[44], &[43], 50));
        bench.state.acknowledge(44, Ack::Completed);
        bench.state.acknowledge(45, Ack::Accepted);
        assert_eq!(bench.state.progress(50), progress(&[], &[], 50));
    }

    #[test]
    fn what_an_earlier_process_has_sent_is_sent_again_unless_it_is_done() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 2);
        // The release of 41 was kept after the progress.
        bench.state.go_on(progress(&[40, 41], &[41, 43], 44), 46);
        assert_eq!(bench.pump(), "release 42\nrelease 44\n");
        assert_eq!(bench.state.progress(40), progress(&[40], &[41, 43], 44));
        let fates: Vec<Fate> = (40..=46).map(|it| bench.push(&logged(it), 2).0).collect();
        let (kept, unwanted) = (Fate::Kept, Fate::Unwanted);
        let expected = [kept, unwanted, unwanted, unwanted, kept, kept, kept];
        assert_eq!(fates, expected);
        let sent = "2:41d:0:MESSAGE a 40\n2:45d:0:MESSAGE a 44\n2:46d:0:MESSAGE a 45\n2:47:0:MESSAGE a 46\n";
        assert_eq!(bench.pump(), sent);
        bench.state.acknowledge(44, Ack::Completed);
        let now = progress(&[40, 44, 45, 46], &[41], 47);
        assert_eq!(bench.state.progress(47), now);
    }

    #[test]
    fn an_identifier_that_is_in_use_is_waited_for() {
        let mut bench = Bench::new(10, roomy());
        bench.subscribe("a", 1);
        let (first, second) = (logged(41), logged(41 + 65_535));
        for line in [&first, &second, &logged(42 + 65_535)] {
            assert_eq!(bench.push(line, 1).0, Fate::Kept);
        }
        assert_eq!(bench.pump(), "1:42:0:MESSAGE a 41\n");
        bench.state.acknowledge(42, Ack::Accepted);
        assert_eq!(
            bench.pump(),
            "1:42:0:MESSAGE a 65576\n1:43:0:MESSAGE a 65577\n"
        );
    }

    #[test]
    fn nothing_from_the_log_is_dropped_and_what_was_not_sent_is_given_back() {
        let limits = Limits {
            queued: 2,
            ..roomy()
        };
        let mut bench = Bench::new(1, limits);
        bench.subscribe("a", 1);
        assert_eq!(bench.push("MESSAGE a x\n", 1).0, Fate::Kept);
        for sequence in 41..=43 {
            assert_eq!(bench.push(&logged(sequence), 1).0, Fate::Kept);
        }
        assert_eq!(bench.push("MESSAGE a y\n", 1).0, Fate::Dropped);
        assert_eq!(bench.pump(), "1:1:0:MESSAGE a x\n");
        bench.state.detach();
        assert_eq!(bench.state.progress(44), progress(&[], &[], 41));
        let before = bench.state.kept();
        assert_eq!(bench.state.give_back_logged(), Some((3, 41)));
        assert_eq!((bench.state.kept(), before), (1, 4));
        assert_eq!(bench.state.give_back_logged(), None);
        assert_eq!(bench.state.waiting_bytes(), 0);
    }
}
