//! How a client comes and goes: its session, its will, and what is left over when its connection has
//! ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{Attributes, Escaped, Filter, MessageLine, RETAIN, Topic};

use super::Client;
use super::publish::Message;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::outbox::Remains;
use crate::engine::outbox::run::{PublishOptions, Redelivery};
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::store::{Ended, Will};

/// What a subscription takes, roughly.
const SUBSCRIPTION_BYTES: usize = 256;

/// So many messages that a member of a group leaves behind go to another together.
const AT_ONCE: u64 = 64;

/// The place of a session that others may take over and its client may come back to.
pub(crate) struct Seat {
    pub(crate) client: Box<str>,
    pub(crate) session: Arc<ClientRecord>,
    /// How long it is kept for a client that is away; none for ever.
    pub(crate) expiry: Option<Duration>,
    /// How long the will waits for the client to come back.
    pub(crate) will_delay: Duration,
}

/// There is no memory for a will.
pub(crate) struct NoMemory;

impl Client<'_> {
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
        self.will = Some(Will { line, qos, _charge });
        Ok(())
    }

    /// The client takes its leave: there is nothing to say for it.
    pub(crate) fn forget_will(&mut self) {
        self.will = None;
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
        if let Some(line) = MessageLine::decode(&will.line) {
            let options = PublishOptions {
                qos: will.qos,
                retain: line.attributes.contains(RETAIN),
            };
            let message = Message {
                topic: line.topic,
                payload: line.payload,
                attributes: line.attributes,
                options,
            };
            if self.publish_now(message).is_err() {
                self.account.refused += 1;
            }
        }
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

    /// The same for a session, which knows itself what it may subscribe to.
    pub(crate) fn subscribe_session(&mut self, filter: Filter<'_>) {
        self.holder().add_filter(filter.as_str());
        self.engine.router.subscribe(filter, &self.outbox);
    }

    pub(crate) fn unsubscribe_session(&mut self, filter: Filter<'_>) {
        self.holder().remove_filter(filter.as_str());
        self.engine.router.unsubscribe(filter, &self.outbox);
    }

    /// Whose subscriptions the client's are.
    fn holder(&self) -> &ClientRecord {
        self.seat.as_ref().map_or(self.record, |seat| &seat.session)
    }

    /// Ends all subscriptions of a client that gets no more messages.
    pub(crate) fn forget_filters(&mut self) {
        forget(self.engine, self.holder());
    }
}

/// The messages on one topic that these lines begin with: the topic, how many bytes they are, and how
/// many messages.
fn stretch(lines: &[u8]) -> Option<(Topic<'_>, usize, u64)> {
    let mut found: Option<(Topic<'_>, usize, u64)> = None;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let Some(MessageLine { topic, .. }) = MessageLine::decode(line) else {
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
