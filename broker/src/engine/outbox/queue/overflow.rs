//! What a queue does with messages there is no room for, and with those whose client has chosen.
//!
//! Whatever is dropped leaves its count in its place: in a notice among the chunks, or in the count
//! of what was dropped behind all of them.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use protocol::Slow;

use super::{Data, Kind, Queue, QueueLimits};
use crate::clock::Moment;
use crate::engine::outbox::queue::chunk::Chunk;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::run::Run;
use crate::engine::stats::tally::Reason;

impl Queue {
    /// There is not room for all of it, or the client has made choices. What has left as a whole is
    /// done with. Of a message for one of a group that has begun to leave all is kept, because it may
    /// have to go to another member.
    #[inline(never)]
    pub(super) fn push_as_chosen(&mut self, run: &Run<'_>, from: usize, limits: &QueueLimits) {
        let bytes = run.bytes();
        let first = |at: usize| at + (limits.encoder.first)(&bytes[at..]);
        let (mut at, mut messages) = (0, run.messages());
        if from > 0 {
            at = (limits.encoder.fitting)(bytes, from);
            let left = limits.count(&bytes[..at]);
            self.tally.written += left;
            messages -= left;
        }
        if at < from {
            let begun = at;
            at = first(begun);
            messages -= 1;
            self.push_part(run, begun..at, 1, limits);
            self.skip(from - begun);
        }
        while at < bytes.len() {
            let slow = self.choice(run, at, limits);
            let (mut end, mut count) = (bytes.len(), messages);
            if self.policies.is_some() {
                (end, count) = (first(at), 1);
                while slow != Slow::Latest
                    && end < bytes.len()
                    && self.choice(run, end, limits) == slow
                {
                    (end, count) = (first(end), count + 1);
                }
            }
            self.push_as(slow, run, at..end, count, limits);
            (at, messages) = (end, messages - count);
        }
    }

    /// What is to happen to the message that begins there.
    fn choice(&mut self, run: &Run<'_>, at: usize, limits: &QueueLimits) -> Slow {
        match (&mut self.policies, run.share()) {
            (None, _) => Slow::default(),
            (Some(policies), Some(filter)) => policies.of_group(filter),
            (Some(policies), None) => policies.of((limits.encoder.topic)(&run.bytes()[at..])),
        }
    }

    /// Queues whole messages, or drops some as was chosen.
    fn push_as(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) {
        if slow == Slow::Latest && self.replace(run, part.clone(), limits) {
            return;
        }
        if self.refuses_all || (self.refuses_newest && slow == Slow::DropNewest) {
            return self.drop_newest(messages, &run.bytes()[part], limits);
        }
        let (part, messages) = if self.message_bytes + part.len() <= limits.room() {
            (part, messages)
        } else if slow == Slow::DropNewest {
            return self.refuse(run, part, messages, limits);
        } else {
            self.make_room(slow, run, part, messages, limits)
        };
        if messages == 0 {
            return;
        }
        self.report_gap(limits);
        if slow == Slow::Latest {
            self.push_latest(run, part, limits);
        } else {
            self.push_part_as(slow, run, part, messages, limits);
        }
        self.wants_backpressure |= slow == Slow::Block && self.message_bytes > limits.room() / 2;
    }

    /// Queues what there is room for and drops the rest, and from now on all for which that was chosen.
    fn refuse(&mut self, run: &Run<'_>, part: Range<usize>, messages: u64, limits: &QueueLimits) {
        let bytes = &run.bytes()[part.clone()];
        let room = limits.room().saturating_sub(self.message_bytes);
        let mut fitting = (limits.encoder.fitting)(bytes, room.min(bytes.len()));
        if self.message_bytes == 0 && fitting == 0 {
            let first = (limits.encoder.first)(bytes);
            if first <= limits.memory.free() {
                fitting = first;
            }
        }
        let taken = limits.count(&bytes[..fitting]);
        if taken > 0 {
            self.report_gap(limits);
            let part = part.start..part.start + fitting;
            self.push_part_as(Slow::DropNewest, run, part, taken, limits);
        }
        self.refuses_newest = true;
        self.drop_newest(messages - taken, &bytes[fitting..], limits);
    }

    /// Drops the oldest, until half of what may wait does; returns what there is room for then.
    fn make_room(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) -> (Range<usize>, u64) {
        let bytes = &run.bytes()[part.clone()];
        // Meanwhile there may be more room: others give memory back.
        let excess = (self.message_bytes + bytes.len()).saturating_sub(limits.room() / 2);
        let freed = self.evict(excess, slow, limits);
        let room = limits.room().saturating_sub(self.message_bytes);
        // Once all that may go is gone, of what comes the oldest goes too.
        let keep = match bytes.len() {
            len if freed >= excess || len <= room / 2 => len,
            _ => room / 2,
        };
        let mut cut = end_at(bytes, bytes.len() - keep, limits);
        if cut == bytes.len() {
            // The last message is longer than that.
            let start = (limits.encoder.fitting)(bytes, bytes.len() - 1);
            let last = bytes.len() - start;
            if last <= room || (self.message_bytes == 0 && last <= limits.memory.free()) {
                cut = start;
            } else {
                self.refuses_all = true;
            }
        }
        let dropped = limits.count(&bytes[..cut]);
        self.drop_newest(dropped, &bytes[..cut], limits);
        (part.start + cut..part.end, messages - dropped)
    }

    /// Drops the oldest messages that may be dropped for others of this kind, at least `wanted` bytes of
    /// them. Returns how many bytes that were.
    pub(super) fn evict(&mut self, wanted: usize, by: Slow, limits: &QueueLimits) -> usize {
        self.split_begun(limits);
        let begun = usize::from(self.sent > 0);
        let mut kept: Vec<Chunk> = self.chunks.drain(..begun).collect();
        let mut freed = 0;
        while freed < wanted
            && let Some(mut chunk) = self.chunks.pop_front()
        {
            let messages = match chunk.kind {
                Kind::Messages(messages) if may_go(chunk.slow, by) => messages,
                Kind::Gap(count) => {
                    merge_gap(&mut kept, begun, count, limits);
                    continue;
                }
                Kind::Messages(_) | Kind::Kept | Kind::Answer | Kind::Receipt { .. } => {
                    kept.push(chunk);
                    continue;
                }
            };
            let bytes = chunk.data.as_slice();
            let cut = end_at(bytes, (wanted - freed).min(bytes.len()), limits);
            let dropped = match cut == bytes.len() {
                true => messages,
                false => (limits.encoder.count)(&bytes[..cut]),
            };
            freed += cut;
            self.message_bytes -= cut;
            self.count_dropped(limits.reason(), dropped, &bytes[..cut], limits);
            merge_gap(&mut kept, begun, dropped, limits);
            if dropped < messages {
                chunk.data.forget_front(cut);
                chunk.kind = Kind::Messages(messages - dropped);
                kept.push(chunk);
            } else {
                limits.memory.give_up(chunk);
            }
        }
        if let Some(&Chunk {
            kind: Kind::Gap(count),
            ..
        }) = self.chunks.front()
            && kept[begun..].last().is_some_and(Chunk::is_gap)
        {
            self.chunks.pop_front();
            merge_gap(&mut kept, begun, count, limits);
        }
        kept.into_iter()
            .rev()
            .for_each(|chunk| self.chunks.push_front(chunk));
        self.number_latest();
        freed
    }

    /// Makes a chunk of its own of what is behind the message that has begun to leave.
    fn split_begun(&mut self, limits: &QueueLimits) {
        if self.sent == 0 {
            return;
        }
        let Some(&Chunk {
            kind: Kind::Messages(messages),
            ref data,
            ..
        }) = self.chunks.front()
        else {
            return;
        };
        let bytes = data.as_slice();
        let end = end_at(bytes, self.sent, limits);
        if end == bytes.len() {
            return;
        }
        // Those that have left before the first that is here may be counted with it.
        let behind = (limits.encoder.count)(&bytes[end..]);
        let Some(mut rest) = self.chunks.pop_front() else {
            return;
        };
        let first = Chunk {
            data: rest.data.split_front(end),
            kind: Kind::Messages(messages - behind),
            slow: rest.slow,
            share: rest.share.clone(),
            options: rest.options,
            line: None,
            latest: None,
            since: rest.since,
        };
        rest.kind = Kind::Messages(behind);
        self.chunks.push_front(rest);
        if end == self.sent {
            self.tally.written += messages - behind;
            self.sent = 0;
        } else {
            self.chunks.push_front(first);
        }
    }

    /// Puts a message into the place of the one on its topic that waits. Returns false if none does.
    fn replace(&mut self, run: &Run<'_>, part: Range<usize>, limits: &QueueLimits) -> bool {
        let topic = (limits.encoder.topic)(&run.bytes()[part.clone()]);
        let number = match &self.policies {
            Some(policies) => policies.latest.get(topic).copied(),
            None => None,
        };
        let Some(number) = number else {
            return false;
        };
        let at = number.wrapping_sub(self.left) as usize;
        if at >= self.chunks.len() || (at == 0 && self.sent > 0) {
            return false;
        }
        let data = Data::of_run(run, part, limits);
        let chunk = &mut self.chunks[at];
        self.message_bytes += data.as_slice().len();
        self.message_bytes -= chunk.data.as_slice().len();
        let old = mem::replace(&mut chunk.data, data);
        chunk.share = run.share().cloned();
        chunk.line = run.line().cloned();
        self.count_dropped(Reason::Replaced, 1, old.as_slice(), limits);
        // The notice stands where the old message would have been heard of: before the new one.
        let begun = usize::from(self.sent > 0);
        let before = at.checked_sub(1).filter(|&before| before >= begun);
        let notice = before.and_then(|before| self.chunks.get_mut(before));
        if !notice.is_some_and(|notice| notice.add_to_gap(1, limits)) {
            self.chunks.insert(at, Chunk::gap(1, limits));
            self.number_latest();
        }
        if self.message_bytes > limits.room() {
            let excess = self.message_bytes.saturating_sub(limits.room() / 2);
            self.evict(excess, Slow::Latest, limits);
        }
        true
    }

    /// Queues the only message of its topic, behind a place for a notice.
    fn push_latest(&mut self, run: &Run<'_>, part: Range<usize>, limits: &QueueLimits) {
        let topic: Arc<[u8]> = (limits.encoder.topic)(&run.bytes()[part.clone()]).into();
        // A message that replaces this one is told of there, without moving all that waits behind it.
        if !self.waiting_back().is_some_and(|last| last.is_gap()) {
            self.chunks.push_back(Chunk::gap(0, limits));
        }
        let number = self.left.wrapping_add(self.chunks.len() as u64);
        if let Some(policies) = &mut self.policies {
            policies.latest.insert(topic.clone(), number);
        }
        let data = Data::of_run(run, part, limits);
        let chunk = Chunk::of_run(data, 1, Slow::Latest, run);
        self.push_messages(Chunk {
            latest: Some(topic),
            ..chunk
        });
    }

    /// Finds out anew where the newest message of each topic waits.
    pub(super) fn number_latest(&mut self) {
        let Some(policies) = &mut self.policies else {
            return;
        };
        policies.latest.clear();
        for (at, chunk) in self.chunks.iter().enumerate() {
            if let Some(topic) = &chunk.latest {
                let number = self.left.wrapping_add(at as u64);
                policies.latest.insert(topic.clone(), number);
            }
        }
    }

    /// Drops messages behind all that waits.
    fn drop_newest(&mut self, messages: u64, bytes: &[u8], limits: &QueueLimits) {
        self.gap += messages;
        self.count_dropped(limits.reason(), messages, bytes, limits);
    }

    fn count_dropped(&mut self, reason: Reason, messages: u64, bytes: &[u8], limits: &QueueLimits) {
        if messages > 0 {
            self.tally.dropped.add(reason, messages);
            let now = Moment::now();
            let drop_log = self
                .drop_log
                .get_or_insert_with(|| Box::new(DropLog::new(now)));
            drop_log.add(bytes, limits.encoder.first, limits.encoder.topic, now);
        }
    }
}

/// Adds to the notice at the end of `kept`, or makes one there. Those that have begun to leave stand
/// before `begun`.
fn merge_gap(kept: &mut Vec<Chunk>, begun: usize, count: u64, limits: &QueueLimits) {
    let last = kept[begun..].last_mut();
    if !last.is_some_and(|last| last.add_to_gap(count, limits)) {
        kept.push(Chunk::gap(count, limits));
    }
}

/// Whether a message may be dropped for another.
fn may_go(waiting: Slow, by: Slow) -> bool {
    match waiting {
        Slow::Latest | Slow::DropOldest => true,
        Slow::Block => by == Slow::Block,
        Slow::DropNewest => false,
    }
}

/// The first end of a message at or behind this byte, or the end of all.
fn end_at(messages: &[u8], at: usize, limits: &QueueLimits) -> usize {
    if at == 0 || at == messages.len() {
        return at;
    }
    let end = (limits.encoder.fitting)(messages, at);
    if end == at {
        end
    } else {
        end + (limits.encoder.first)(&messages[end..])
    }
}
