//! What a client publishes: the message becomes a line, and is retained if it is to be.
//!
//! Messages go through the engine as the lines that a client of the line protocol is sent.

use memchr::memchr;
use protocol::{Attributes, Escaped, RETAIN, RETAINED, Reply, Topic};

use super::Client;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::{Added, Place};
use crate::engine::retained::{Full, Retained};

/// What a message begins with on its way through the engine, attributes aside.
pub(crate) const MESSAGE: &[u8] = b"MESSAGE ";

impl Client<'_> {
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

pub(super) fn message<'a>(
    topic: Topic<'a>,
    payload: &Escaped<'a>,
    attributes: Attributes<'a>,
) -> Reply<'a> {
    Reply::Message {
        topic,
        payload: payload.clone(),
        attributes,
    }
}
