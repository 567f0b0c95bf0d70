//! Keeps the messages of a batch that are on topics which keep them, before any of it is delivered.
//!
//! Room for them is taken when they are added, so that a message that cannot be kept is refused like any other, and
//! what was added can be kept. Only a disk that fails in between makes that untrue: then nothing of the batch is delivered,
//! and the publisher loses its connection instead of getting its receipts.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use protocol::{AckLevel, MessageLine, Topic};

use crate::engine::history::KeptLines;
use crate::engine::history::topic::KeptTopic;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::routing::route_cache::Known;
use crate::storage::NotKept;

use super::Dispatch;
use super::batch::{Batch, Place, To};
use super::kept_batch::{FRAME_BYTES, KeptBatch, KeptCount, KeptOutcome};

impl Dispatch {
    /// Whether a message is to be kept and cannot be.
    #[inline]
    pub(super) fn is_not_kept(
        &mut self,
        known: &mut Known,
        place: Place,
        bytes: &Range<usize>,
        options: PublishOptions,
    ) -> bool {
        self.batch.kept.is_last = false;
        if known.is_kept {
            match self.keep_last(place, bytes, options, None) {
                Ok(audience) => known.audience = audience,
                Err(_) => return true,
            }
        }
        false
    }

    /// Takes room for a message on the topic whose route was found last, if it is one to keep, and notes it. Returns the
    /// audience to which its publisher delivers it.
    #[inline(never)]
    pub(super) fn keep_last(
        &mut self,
        place: Place,
        bytes: &Range<usize>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<u32, NotKept> {
        let is_ahead = mem::take(&mut self.batch.kept.is_ahead);
        let Some(item) = self.cache.at(self.place) else {
            return Ok(0);
        };
        let audience = match options.qos {
            0 => item.log.unacknowledged,
            _ => item.known.audience,
        };
        let (topic, copies) = (item.log.kept.clone(), item.log.copies(options.qos));
        let is_wanted = item.log.keeps(options.qos);
        // A group has a member.
        let has_copies =
            item.known.groups.is_some() || !self.audiences[audience as usize].slots.is_empty();
        let is_kept = !is_ahead && is_wanted;
        if is_kept && let Err(why) = self.add_kept(topic, place, bytes, options, asked) {
            // It was counted when its route was found.
            if let Some(item) = self.cache.at(self.place) {
                item.count.messages -= 1;
            }
            return Err(why);
        }
        if is_wanted && !has_copies {
            match is_ahead {
                true => self.kept_count.without_copies += 1,
                // Counted once it is kept.
                false => self.batch.kept.without_copies += 1,
            }
        }
        self.followed += copies;
        Ok(audience)
    }

    /// Takes room for a message of this topic, or of one that is kept for sessions alone, and notes it.
    #[inline(never)]
    pub(super) fn add_kept(
        &mut self,
        topic: Option<Arc<KeptTopic>>,
        place: Place,
        bytes: &Range<usize>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<(), NotKept> {
        let Some(history) = self.router.history() else {
            return Ok(());
        };
        let kept = &mut self.batch.kept;
        kept.admit(history, bytes.len())?;
        kept.lines.push(KeptLines {
            level: history.level(topic.as_deref(), asked),
            topic,
            buffer: place as usize,
            bytes: bytes.clone(),
            messages: 1,
            qos: options.qos,
            retain: options.retain,
        });
        kept.is_last = true;
        Ok(())
    }

    /// Takes room for a message that is added next, if it is one to keep. Returns whether it is.
    pub(crate) fn make_room_for(
        &mut self,
        topic: Topic<'_>,
        qos: u8,
        bytes: usize,
    ) -> Result<bool, NotKept> {
        let Some(history) = self.router.history() else {
            return Ok(false);
        };
        if history.topic(topic)?.is_none() && !self.has_sessions(topic, qos) {
            return Ok(false);
        }
        let kept = &mut self.batch.kept;
        kept.admit(history, bytes)?;
        // It is counted when it is added.
        kept.bytes -= bytes as u64 + FRAME_BYTES;
        Ok(true)
    }

    /// Whether there are sessions for which a message with this QoS is kept.
    fn has_sessions(&self, topic: Topic<'_>, qos: u8) -> bool {
        let hash = self.router.hash(topic.as_str().as_bytes());
        qos > 0 && !self.router.route(topic, hash).sessions.is_empty()
    }

    /// Keeps a message that is added next, if it is one to keep, for a caller that adds it under a lock: the disk is not
    /// written to under that. Room was made for it, and nothing else waits to be delivered. Returns false if that fails.
    pub(crate) fn keep_ahead(
        &mut self,
        line: &MessageLine<'_>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<bool, NotKept> {
        let history = self.router.history().cloned();
        let topic = history.map_or(Ok(None), |history| history.topic(line.topic))?;
        if topic.is_none() && !self.has_sessions(line.topic, options.qos) {
            return Ok(true);
        }
        line.encode(&mut self.batch.beside);
        let bytes = 0..self.batch.beside.len();
        let added = self.add_kept(topic, Place::Beside, &bytes, options, asked);
        let is_kept = added.map(|()| self.keep(&[]));
        self.batch.beside.clear();
        self.batch.kept.is_ahead = is_kept == Ok(true);
        is_kept
    }

    /// Takes room for a message that follows the last one on its topic, and notes it. Returns false if there is none.
    #[inline(never)]
    pub(super) fn repeat_kept(&mut self, end: usize) -> bool {
        let (Some(history), Some(last)) = (self.router.history(), self.batch.kept.lines.last_mut())
        else {
            return false;
        };
        let bytes = end - last.bytes.end;
        last.bytes.end = end;
        last.messages += 1;
        let admitted = self.batch.kept.admit(history, bytes).is_ok();
        if !admitted && let Some(last) = self.batch.kept.lines.last_mut() {
            last.bytes.end -= bytes;
            last.messages -= 1;
            return false;
        }
        self.batch.kept.without_copies += u64::from(self.batch.copies == 0);
        self.followed += (self.cache.at(self.place)).map_or(0, |item| item.log.copies(1));
        admitted
    }

    /// The number of added messages that are to be kept.
    pub(crate) fn messages_to_keep(&self) -> u32 {
        let lines = self.batch.kept.lines.iter();
        lines.map(|lines| lines.messages).sum()
    }

    /// Delivers the added messages, and has a record kept right before those that are kept. Returns false if none are.
    pub(crate) fn deliver_with(&mut self, buffer: &[u8], record: Vec<u8>) -> bool {
        let kept = &mut self.batch.kept;
        let room = (self.router.history()).filter(|_| !kept.is_empty());
        let has_room = room.is_some_and(|history| kept.admit(history, record.len()).is_ok());
        kept.record = has_room.then_some(record);
        self.deliver(buffer);
        has_room
    }

    /// Keeps what was added. Returns false, with nothing kept and nothing left to deliver, if that fails.
    #[inline(never)]
    pub(super) fn keep(&mut self, buffer: &[u8]) -> bool {
        let KeptBatch {
            lines,
            without_copies,
            admitted,
            record,
            ..
        } = mem::take(&mut self.batch.kept);
        let Some(history) = self.router.history() else {
            return true;
        };
        let buffers = [buffer, &self.batch.beside];
        let appended = history.append(&lines, buffers, admitted, record.as_deref());
        match appended {
            Ok(first) => {
                let mut next = first;
                self.kept_count.without_copies += without_copies;
                for each in &lines {
                    self.kept_count.messages += u64::from(each.messages);
                    next += u64::from(each.messages);
                    self.kept
                        .add(u64::from(each.messages), each.level, next - 1);
                }
                true
            }
            Err(why) => {
                self.kept.failure = Some(why);
                self.kept.failed += lines.iter().map(|it| u64::from(it.messages)).sum::<u64>();
                self.withdraw_all();
                false
            }
        }
    }

    /// The messages that were kept so far.
    pub(crate) fn kept_count(&self) -> KeptCount {
        self.kept_count
    }

    /// What has been kept since this was asked last.
    pub(crate) fn take_kept(&mut self) -> Option<KeptOutcome> {
        let has_kept = self.kept.messages > 0 || self.kept.failure.is_some();
        has_kept.then(|| mem::take(&mut self.kept))
    }

    /// Gives back room that was taken for messages which are not published after all.
    pub(super) fn give_up_kept(&mut self) {
        let kept = mem::take(&mut self.batch.kept);
        if kept.admitted > 0
            && let Some(history) = self.router.history()
        {
            history.give_back(kept.admitted);
        }
    }

    /// Delivers nothing of the batch.
    fn withdraw_all(&mut self) {
        let Batch {
            segments, beside, ..
        } = &mut self.batch;
        for segment in segments.drain(..) {
            let copies = match segment.to {
                To::Audience(audience) => self.audiences[audience as usize].slots.len() as u64,
                To::Member(..) => 1,
            };
            self.outcome.withdraw(copies * segment.messages);
        }
        beside.clear();
    }
}
