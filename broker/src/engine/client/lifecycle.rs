//! A client's session: how it is opened, taken over and ended, the will, and the messages left over
//! when a connection ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use protocol::{Attributes, Escaped, MessageLine, RETAIN, Topic};

use super::Client;
use super::OverLimit;
use super::publish::Message;
use super::unsubscribe::forget;
use super::usage::most;
use crate::auth::access::LimitKind;
use crate::auth::address::AddressBlock;
use crate::clock::Moment;
use crate::engine::limits::CachedLimits;
use crate::engine::outbox::delivery::DeliveryState;
use crate::engine::outbox::delivery::writer::PacketWriter;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::following::Present;
use crate::engine::outbox::run::{PublishOptions, Redelivery};
use crate::engine::outbox::{OutboxGuard, Remains};
use crate::engine::session::key::SessionKey;
use crate::engine::session::store::{Claim, Opened, TooManySessions};
use crate::engine::session::{Expiry, Session, Will, WillOwner};
use crate::storage::NotKept;

/// Maximum messages redelivered to another group member at once.
const MAX_REDELIVERED: u64 = 64;

/// Why a session cannot be opened.
pub(crate) enum NoSession {
    /// The connection that has it did not leave it in time.
    Busy,
    TooMany(TooManySessions),
    /// Its identity has as many as it may have.
    OverLimit(OverLimit),
    /// The store does not take it.
    NotKept(NotKept),
}

/// The memory budget has no room for the will.
pub(crate) struct NoMemory;

impl Client<'_> {
    /// Opens the session of the client with this identifier: resumes an earlier one, or begins a new
    /// one. `clean` always begins a new one. Returns whether an earlier one was resumed.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(crate) fn open_session(
        &mut self,
        client_id: &str,
        clean: bool,
        expiry: Expiry,
        will: Option<Will>,
    ) -> Result<bool, NoSession> {
        // Taking over the session may block: its connection may publish its will or redeliver messages
        // before it leaves. Settle first, so that an audit does not wait for this batch.
        self.settle();
        // Answers sent before, in HTTP and in WebSocket, do not move to the outbox of the session.
        self.outbox.drain(None);
        let store = &self.engine.sessions;
        let kept_in = self
            .engine
            .session_store()
            .filter(|_| expiry != Expiry::AtOnce);
        if let Some(why) = kept_in.and_then(|store| store.state().refusal()) {
            return Err(NoSession::NotKept(why));
        }
        // Those of this moment: others may be in force when the store has decided.
        let limits = self.rights.limits.clone();
        let claim = (expiry != Expiry::AtOnce).then(|| Claim {
            address: AddressBlock::of(self.record.peer().ip()),
            most: self.limits().sessions,
            most_per_address: self.limits().sessions_per_address,
            most_per_owner: most(limits.as_deref(), LimitKind::Sessions),
        });
        let own = self.record.own_session();
        let key = Arc::new(SessionKey {
            owner: self.record.identity().name.clone(),
            client_id: client_id.into(),
        });
        let opened = store.open(&key, own, clean, claim.as_ref(), |session| {
            self.note_takeover(&key, session);
            take_over(session);
        });
        self.begin();
        let is_resumed = match opened {
            Opened::Busy => return Err(NoSession::Busy),
            Opened::Full(TooManySessions::OfOwner(has)) => {
                let over = self.over_sessions(has, limits.as_deref());
                return Err(NoSession::OverLimit(over));
            }
            Opened::Full(full) => return Err(NoSession::TooMany(full)),
            Opened::New(before) => {
                if let Some(before) = before {
                    self.end_session(&before);
                }
                false
            }
            Opened::Resumed(session) => {
                self.session = session;
                self.restrict_resumed();
                true
            }
        };
        self.session.set_expiry(expiry);
        // A will belongs to the session in 5.0 [MQTT-3.1.2-7]. If CONNECT has none, an earlier one is
        // removed, in 3.1.1 [MQTT-3.1.2-12].
        self.session.set_will(will);
        if kept_in.is_some() {
            self.session.outbox().set_stored();
        }
        if let Err(why) = self.keep_session(Session::keep_terms) {
            if !is_resumed {
                // It ends with this connection, and has not begun for its client.
                self.session.set_expiry(Expiry::AtOnce);
            }
            return Err(NoSession::NotKept(why));
        }
        Ok(is_resumed)
    }

    /// The session was made by a client that may have had other rights: with another token, or with the groups of
    /// that time.
    fn restrict_resumed(&self) {
        let last = self.engine.clients.last_of(&self.session);
        let identity = self.identity();
        if last.is_none_or(|last| !identity.has_rights_of(&last.identity())) {
            self.restrict_session();
        }
    }

    /// Attaches the connection to the opened session and sends CONNACK under the same lock, so that
    /// nothing is sent before it. From then on the session's delivery state decides on each message.
    pub(crate) fn attach_session(
        &mut self,
        encoder: &'static Encoder,
        writer: Box<dyn PacketWriter>,
        welcome: &[u8],
    ) {
        let own = self.record.own_session();
        let is_own = self.session.id() == own.id();
        // Before the outbox is locked: it takes the lock of the end of the log.
        let history = self.engine.router.history();
        let history = history.filter(|_| self.session.is_stored());
        let present = history.map(Present::new);
        // The sink moves before the record names the other session, so the own outbox changes no more
        // after that.
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
                    CachedLimits::new(&self.engine.limits),
                    self.session.subscriptions().clone(),
                    writer,
                    self.engine.memory.charge(0),
                );
                outbox.begin_session(encoder, delivery)
            }
            // The connection has failed meanwhile; its thread will notice.
            None => outbox.lock(),
        };
        // What waits came by the rules of that time, and for the rights that the client had then.
        let withheld = match is_own {
            true => Vec::new(),
            false => self.withhold(&mut guard),
        };
        guard.answer(welcome);
        if guard.is_ending() {
            // Another connection has requested the session before this one was welcomed. CONNACK is
            // sent first: no packet may precede it [MQTT-3.14.0-1].
            guard.answer(encoder.taken_over);
            guard.take_over();
        }
        guard.pump();
        if let Some(present) = present {
            guard.resume_following(present);
        }
        drop(guard);
        self.redeliver(&withheld);
    }

    /// Gives up what waits in the session and what the client may not see now. `guard` locks its outbox.
    fn withhold(&self, guard: &mut OutboxGuard<'_>) -> Vec<Redelivery> {
        // Many messages have few topics.
        type TopicAndGroup = (Box<[u8]>, Option<Box<str>>);
        let mut known: HashMap<TopicAndGroup, bool, RandomState> = HashMap::default();
        guard.withhold(|topic, shared| {
            let key = (topic.into(), shared.map(Into::into));
            *known.entry(key).or_insert_with(|| {
                Topic::parse(topic).is_ok_and(|topic| self.may_receive(topic, shared))
            })
        })
    }

    /// Ends the connection. The session ends with it, and not before [MQTT-4.1.0-2] (3.1.1), unless it
    /// outlasts its connections [MQTT-3.1.2-23] (5.0). Returns what is left in the outbox.
    #[inline(never)]
    pub(crate) fn end_connection(&mut self) -> Remains {
        self.engine.memory.note_returned(self.dispatch.scratch());
        if self.session.outlasts_connection() {
            let remains = self.outbox.detach();
            self.pause_following();
            return remains;
        }
        let remains = self.outbox.close();
        self.forget_filters();
        remains
    }

    /// Releases the session, after [`Client::end_connection`] and the work that follows it. From then
    /// on another connection can take it.
    #[inline(never)]
    pub(crate) fn leave(&mut self) {
        // Before the session: the connection that waits for that takes the place of this one.
        self.depart();
        self.engine.usages.forget_rests(self.id());
        if self.session.outlasts_connection() {
            self.keep_last_progress();
            // First the list of clients: the next connection replaces this record there.
            self.engine.clients.detach(&self.record);
            self.engine.sessions.detach(&self.session);
            self.keep_terms();
        } else {
            self.keep_end_of(&self.session);
            self.engine.clients.leave(&self.record);
            self.engine.sessions.end(&self.session);
        }
    }

    /// The client of this session is away: limits what waits for it to its share.
    #[inline(never)]
    pub(crate) fn limit_absent(&mut self, session: &Session) {
        let redeliveries = session.outbox().lock().limit_absent();
        self.redeliver(&redeliveries);
    }

    /// Ends a session that has expired.
    #[inline(never)]
    pub(crate) fn end_session(&mut self, session: &Session) {
        let remains = session.outbox().close();
        self.keep_end_of(session);
        forget(self.engine, session);
        self.engine.clients.end_detached(session);
        self.engine
            .metrics
            .dropped
            .add(remains.tally.dropped.total());
        self.redeliver(&remains.redeliveries);
        // The will does not wait longer than its session [MQTT-3.1.2-8] of 5.0.
        if let Some(will) = session.take_will() {
            self.publish_message(&will);
        }
    }

    /// Makes a will for this client, if the memory budget has room for it.
    pub(crate) fn new_will(
        &self,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
        qos: u8,
        delay: Duration,
    ) -> Result<Will, NoMemory> {
        let mut line = Vec::new();
        let will = MessageLine {
            topic,
            payload,
            attributes,
        };
        will.encode(&mut line);
        line.shrink_to_fit();
        if line.len() > self.engine.memory.free() {
            return Err(NoMemory);
        }
        let _charge = self.engine.memory.charge(line.len());
        Ok(Will {
            line,
            qos,
            owner: WillOwner {
                identity: self.identity(),
                client_id: self
                    .session
                    .client_id()
                    .map(Into::into)
                    .or_else(|| self.client_id.clone()),
            },
            delay,
            due: None,
            _charge,
        })
    }

    /// Sets the message to publish if the connection is lost; replaces an earlier one.
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

    /// Removes the will, because the client has disconnected in order.
    pub(crate) fn forget_will(&mut self) {
        self.session.set_will(None);
    }

    /// The connection has ended without an orderly disconnect: publishes the will [MQTT-3.1.2-8].
    #[inline(never)]
    pub(crate) fn publish_will(&mut self) {
        if let Some(will) = self.session.take_will_at_end() {
            self.publish_message(&will);
        }
    }

    /// Publishes a will.
    pub(crate) fn publish_message(&mut self, will: &Will) {
        // A panic may have left an incomplete batch.
        self.dispatch.abandon();
        self.dispatch.set_now(Moment::now());
        if let Some(line) = MessageLine::decode(&will.line) {
            let options = PublishOptions {
                qos: will.qos,
                retain: line.attributes.contains(RETAIN),
            };
            if !self.may_publish_will(will, line.topic, options.retain) {
                self.account.refused += 1;
                return;
            }
            let message = Message {
                topic: line.topic,
                payload: line.payload,
                attributes: line.attributes,
                options,
            };
            let owner = Some(&*will.owner.identity);
            if self.publish_allowed_now(message, owner).is_err() {
                self.account.refused += 1;
            }
        }
    }

    /// Redelivers messages that this client did not take to other members of their groups.
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

    /// Ends all subscriptions of a client whose outbox is closed.
    pub(crate) fn forget_filters(&mut self) {
        forget(self.engine, &self.session);
    }
}

/// The longest prefix of messages on one topic: the topic, the number of bytes, and the number of
/// messages.
fn stretch(lines: &[u8]) -> Option<(Topic<'_>, usize, u64)> {
    let mut found: Option<(Topic<'_>, usize, u64)> = None;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let Some(MessageLine { topic, .. }) = MessageLine::decode(line) else {
            unreachable!("an outbox holds whole messages");
        };
        match &mut found {
            None => found = Some((topic, line.len(), 1)),
            Some((first, len, messages)) if *first == topic && *messages < MAX_REDELIVERED => {
                *len += line.len();
                *messages += 1;
            }
            Some(_) => break,
        }
    }
    found
}

/// Asks the connection that has the session to leave it [MQTT-3.1.4-2] (3.1.1) [MQTT-3.1.4-3] (5.0). It
/// ends the wait of the connection's thread for a slow client.
fn take_over(session: &Session) {
    session.outbox().lock().take_over();
    session.outbox().hurry();
}
