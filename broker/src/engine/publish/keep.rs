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
use crate::storage::NotKept;

use super::Dispatch;
use super::batch::{Batch, Place, To};
use super::kept_batch::{FRAME_BYTES, KeptBatch, KeptOutcome};

impl Dispatch {
    /// Takes room for a message on the topic whose route was found last, and notes it.
    #[inline(never)]
    pub(super) fn keep_last(
        &mut self,
        place: Place,
        bytes: &Range<usize>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<(), NotKept> {
        if mem::take(&mut self.batch.kept.is_ahead) {
            self.followed += self.cache.at(self.place).map_or(0, |item| item.followers);
            return Ok(());
        }
        let item = self.cache.at(self.place);
        let Some((topic, followers)) = item.and_then(|it| Some((it.kept.clone()?, it.followers)))
        else {
            return Ok(());
        };
        let kept = self.add_kept(&topic, place, bytes, options, asked);
        match (kept, self.cache.at(self.place)) {
            (Ok(()), _) => self.followed += followers,
            // It was counted when its route was found.
            (Err(_), Some(item)) => item.count.messages -= 1,
            (Err(_), None) => {}
        }
        kept
    }

    /// Takes room for a message of this topic, and notes it.
    #[inline(never)]
    pub(super) fn add_kept(
        &mut self,
        topic: &Arc<KeptTopic>,
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
            topic: topic.clone(),
            buffer: place as usize,
            bytes: bytes.clone(),
            messages: 1,
            qos: options.qos,
            level: history.level(topic, asked),
        });
        kept.is_last = true;
        Ok(())
    }

    /// Takes room for a message that is added next, if its topic keeps messages. Returns whether it does.
    pub(crate) fn make_room_for(
        &mut self,
        topic: Topic<'_>,
        bytes: usize,
    ) -> Result<bool, NotKept> {
        let Some(history) = self.router.history() else {
            return Ok(false);
        };
        if history.topic(topic)?.is_none() {
            return Ok(false);
        }
        let kept = &mut self.batch.kept;
        kept.admit(history, bytes)?;
        // It is counted when it is added.
        kept.bytes -= bytes as u64 + FRAME_BYTES;
        Ok(true)
    }

    /// Keeps a message that is added next, if its topic keeps messages, for a caller that adds it under a lock: the disk is
    /// not written to under that. Room was made for it, and nothing else waits to be delivered. Returns false if that
    /// fails.
    pub(crate) fn keep_ahead(
        &mut self,
        line: &MessageLine<'_>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<bool, NotKept> {
        let history = self.router.history().cloned();
        let topic = history.map_or(Ok(None), |history| history.topic(line.topic))?;
        let Some(topic) = topic else {
            return Ok(true);
        };
        line.encode(&mut self.batch.beside);
        let bytes = 0..self.batch.beside.len();
        let added = self.add_kept(&topic, Place::Beside, &bytes, options, asked);
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
        self.followed += self.cache.at(self.place).map_or(0, |item| item.followers);
        admitted
    }

    /// Keeps what was added. Returns false, with nothing kept and nothing left to deliver, if that fails.
    #[inline(never)]
    pub(super) fn keep(&mut self, buffer: &[u8]) -> bool {
        let KeptBatch {
            lines, admitted, ..
        } = mem::take(&mut self.batch.kept);
        let Some(history) = self.router.history() else {
            return true;
        };
        let appended = history.append(&lines, [buffer, &self.batch.beside], admitted);
        match appended {
            Ok(first) => {
                let mut next = first;
                for each in &lines {
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
