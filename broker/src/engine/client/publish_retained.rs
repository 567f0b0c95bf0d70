//! Publishes messages that are retained.

use protocol::{Attributes, Escaped, MessageLine, RETAINED, Topic};

use super::Client;
use super::publish::{PublishError, RetainOptions};
use crate::engine::outbox::run::PublishOptions;
use crate::engine::retained::{Full, Retained, RetainedInfo, RetainedOwner};
use crate::storage::record::{Record, RetainedRecord};
use crate::storage::store::Store;
use crate::storage::{NotKept, now_ms};
use crate::sync::MutexGuard;

impl Client<'_> {
    /// Publishes and retains a value of the broker itself. Without subscribers it is not counted as a
    /// message, so that the figures of a broker without clients stay constant.
    pub(crate) fn publish_own(&mut self, topic: Topic<'_>, value: Escaped<'_>) {
        let mut line = MessageLine {
            topic,
            payload: value,
            attributes: Attributes::default(),
        };
        let kept = retained_line(&mut line);
        self.last = None;
        // Locked until the message is delivered: see `publish_retained`.
        let mut retained = self.engine.retained.write();
        retained.set_own(topic, &kept, line.payload.unescape().len());
        let hash = self.engine.router.hash(topic.as_str().as_bytes());
        if !self.engine.router.route(topic, hash).is_empty() {
            // As above.
            let _ = self.add(&line, PublishOptions::LINE, None);
            self.dispatch.deliver(&[]);
        }
    }

    /// Sets the retained message of a topic and delivers it at once.
    pub(super) fn publish_retained(
        &mut self,
        buffer: &[u8],
        mut line: MessageLine<'_>,
        options: &RetainOptions<'_>,
    ) -> Result<u64, PublishError> {
        let whose = self.retained_for(options.will_of);
        let owner = whose.as_ref().map(|whose| &whose.owner);
        // Before the locks are taken, for which other publishers and subscribers wait.
        self.dispatch.deliver(buffer);
        let kept = RetainedLine::of(&mut line, options.publish.qos);
        // The message itself is kept, too, if the topic keeps all: it must not be refused when this one is retained.
        let (qos, bytes) = (options.publish.qos, kept_bytes(&line));
        let room = self.dispatch.make_room_for(line.topic, qos, bytes);
        let is_in_history = room.map_err(|why| self.not_kept(why))?;
        let engine = self.engine;
        // What the broker itself publishes, and bridges say of themselves, ends with it.
        let store = engine.store.get().filter(|store| {
            // Retained messages are in memory anyway.
            !line.topic.is_brokers_own() && (is_in_history || !store.is_in_memory())
        });
        let history = engine.router.history().filter(|_| is_in_history);
        let on_its_way = history.map(|history| history.note_retaining());
        // Lock order: the turn of the topic, the end of the log, which is released again, then the retained messages.
        // The disk is written to under the turn alone, so that a slow one is waited for by publishers of retained
        // messages and by no other client.
        let turn = match store {
            Some(store) => match self.keep(store, line.topic, kept.as_ref(), owner) {
                Ok((turn, sequence)) => {
                    if let Some(sequence) = sequence.filter(|_| !is_in_history) {
                        self.note_retained(sequence, options.asked);
                    }
                    Some(turn)
                }
                Err(KeepError::Full(full)) => return Err(self.not_retained(full, whose.as_ref())),
                Err(KeepError::NotKept(why)) => return Err(self.not_kept(why)),
            },
            None => None,
        };
        let is_kept = self
            .dispatch
            .keep_ahead(&line, options.publish, options.asked);
        // Lock order: retained messages, then the subscribers' outboxes. Locked until the message is
        // delivered, so that a client that subscribes meanwhile receives it exactly once: as the
        // retained message or by delivery.
        let mut retained = engine.retained.write();
        match &kept {
            None => retained.clear(line.topic),
            // Checked before it was kept: it cannot be refused now.
            Some(kept) if turn.is_some() => kept.put(&mut retained, line.topic, owner),
            Some(kept) => {
                if let Err(full) = kept.set(&mut retained, line.topic, owner) {
                    drop(retained);
                    return Err(self.not_retained(full, whose.as_ref()));
                }
            }
        }
        drop(on_its_way);
        if !is_kept.map_err(|why| self.not_kept(why))? {
            // It is retained, as the log has it, and not delivered; the client loses its connection.
            self.account.accept(0);
            return Ok(0);
        }
        let copies = self.add(&line, options.publish, options.asked);
        let copies = copies.map_err(|why| self.not_kept(why))?;
        self.dispatch.deliver(buffer);
        Ok(copies)
    }

    /// Keeps in the store that a message is retained, or none any more. Returns the turn of the topic, to be held
    /// until that is so, and the sequence number of the change; none in memory.
    fn keep<'s>(
        &self,
        store: &'s Store,
        topic: Topic<'_>,
        kept: Option<&RetainedLine>,
        owner: Option<&RetainedOwner>,
    ) -> Result<(MutexGuard<'s, ()>, Option<u64>), KeepError> {
        let name = topic.as_str();
        let turn = store.turn(name);
        let retained = self.engine.retained.read();
        let record = match kept {
            // Nothing to keep: the log would grow with each. What made it so is at the end of the log at most.
            None if retained.find(topic).is_none() => return Ok((turn, Some(store.last()))),
            None => Record::Cleared {
                topic: name.as_bytes(),
            },
            Some(kept) => {
                // Others may be retained until this one is, so that limits are exceeded by as many as publish at once.
                retained.check(topic, kept.line.len(), owner)?;
                Record::Retained(RetainedRecord {
                    line: &kept.line,
                    qos: kept.qos,
                    since_ms: now_ms(),
                    owner: owner.map_or(&[], |owner| owner.usage.name.as_str().as_bytes()),
                })
            }
        };
        drop(retained);
        if store.is_in_memory() {
            return Ok((turn, None));
        }
        let sequence = store.keep(&record)?;
        Ok((turn, Some(sequence)))
    }
}

/// A message as it is retained.
struct RetainedLine {
    line: Vec<u8>,
    /// Bytes of the payload.
    payload: usize,
    qos: u8,
}

enum KeepError {
    Full(Full),
    NotKept(NotKept),
}

impl RetainedLine {
    /// None for an empty message, which is not retained [MQTT-3.3.1-11] (3.1.1) [MQTT-3.3.1-7] (5.0), but delivered
    /// like any other [MQTT-3.3.1-10] (3.1.1).
    fn of(line: &mut MessageLine<'_>, qos: u8) -> Option<Self> {
        (!line.payload.is_empty()).then(|| Self {
            line: retained_line(line),
            payload: line.payload.unescape().len(),
            qos,
        })
    }

    fn set(
        &self,
        retained: &mut Retained,
        topic: Topic<'_>,
        owner: Option<&RetainedOwner>,
    ) -> Result<(), Full> {
        retained.set_for(topic, &self.line, self.payload, self.qos, owner)
    }

    fn put(&self, retained: &mut Retained, topic: Topic<'_>, owner: Option<&RetainedOwner>) {
        let owner = owner.map(|owner| owner.usage.clone());
        let kept = RetainedInfo::new(self.payload);
        retained.put(topic, &self.line, kept, self.qos, owner);
    }
}

/// The bytes that a message takes as a line, at most.
fn kept_bytes(line: &MessageLine<'_>) -> usize {
    let mut bytes = Vec::new();
    line.encode(&mut bytes);
    bytes.len()
}

/// The line to retain, with the `retained` flag. `line` has no such flag, neither before nor after.
fn retained_line(line: &mut MessageLine<'_>) -> Vec<u8> {
    line.attributes
        .push_flag(RETAINED)
        .expect("`retained` is a valid key");
    let mut kept = Vec::new();
    line.encode(&mut kept);
    line.attributes = line.attributes.without(&[RETAINED]);
    kept
}

impl From<Full> for KeepError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<NotKept> for KeepError {
    fn from(why: NotKept) -> Self {
        Self::NotKept(why)
    }
}
