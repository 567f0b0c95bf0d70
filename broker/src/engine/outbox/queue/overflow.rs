//! What a queue does with messages there is no room for, and with those whose client has chosen.
//!
//! Whatever is dropped leaves its count in its place: in a notice among the chunks, or in the count
//! of what was dropped behind all of them.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use protocol::Slow;

use super::{Chunk, Data, Kind, Queue, Terms, gap_chunk};
use crate::clock::Moment;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::run::Run;
use crate::engine::stats::tally::Reason;

impl Queue {
    /// There is not room for all of it, or the client has made choices. What has left as a whole is
    /// done with. Of a message for one of a group that has begun to leave all is kept, because it may
    /// have to go to another member.
    #[inline(never)]
    pub(super) fn take_as_chosen(&mut self, run: &Run<'_>, from: usize, terms: &Terms) {
        let bytes = run.bytes();
        let first = |at: usize| at + (terms.encoder.first)(&bytes[at..]);
        let (mut at, mut messages) = (0, run.messages());
        if from > 0 {
            at = (terms.encoder.fitting)(bytes, from);
            let left = terms.count(&bytes[..at]);
            self.tally.written += left;
            messages -= left;
        }
        if at < from {
            let begun = at;
            at = first(begun);
            messages -= 1;
            self.take_part(run, begun..at, 1, terms);
            self.skip(from - begun);
        }
        while at < bytes.len() {
            let slow = self.choice(run, at, terms);
            let (mut end, mut count) = (bytes.len(), messages);
            if self.policies.is_some() {
                (end, count) = (first(at), 1);
                while slow != Slow::Latest
                    && end < bytes.len()
                    && self.choice(run, end, terms) == slow
                {
                    (end, count) = (first(end), count + 1);
                }
            }
            self.take_as(slow, run, at..end, count, terms);
            (at, messages) = (end, messages - count);
        }
    }

    /// What is to happen to the message that begins there.
    fn choice(&mut self, run: &Run<'_>, at: usize, terms: &Terms) -> Slow {
        match (&mut self.policies, run.share()) {
            (None, _) => Slow::default(),
            (Some(policies), Some(filter)) => policies.of_group(filter),
            (Some(policies), None) => policies.of((terms.encoder.topic)(&run.bytes()[at..])),
        }
    }

    /// Queues whole messages, or drops some as was chosen.
    fn take_as(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        terms: &Terms,
    ) {
        if slow == Slow::Latest && self.replace(run, part.clone(), terms) {
            return;
        }
        if self.refuses_all || (self.refuses_newest && slow == Slow::DropNewest) {
            return self.drop_newest(messages, &run.bytes()[part], terms);
        }
        let (part, messages) = if self.message_bytes + part.len() <= terms.room() {
            (part, messages)
        } else if slow == Slow::DropNewest {
            self.refuse(run, part, messages, terms)
        } else {
            self.make_room(slow, run, part, messages, terms)
        };
        if messages == 0 {
            return;
        }
        let gap = mem::take(&mut self.gap);
        self.add_gap(gap, terms);
        if slow == Slow::Latest {
            self.take_latest(run, part, terms);
        } else {
            self.take_part_as(slow, run, part, messages, terms);
        }
        self.wants_backpressure |= slow == Slow::Block && self.message_bytes > terms.room() / 2;
    }

    /// DropLog the newest; returns what there is room for.
    fn refuse(
        &mut self,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        terms: &Terms,
    ) -> (Range<usize>, u64) {
        let bytes = &run.bytes()[part.clone()];
        let room = terms.room().saturating_sub(self.message_bytes);
        let mut fitting = (terms.encoder.fitting)(bytes, room.min(bytes.len()));
        if self.message_bytes == 0 && fitting == 0 {
            let first = (terms.encoder.first)(bytes);
            if first <= terms.memory.free() {
                fitting = first;
            }
        }
        let part = part.start..part.start + fitting;
        let taken = terms.count(&bytes[..fitting]);
        if taken > 0 {
            let gap = mem::take(&mut self.gap);
            self.add_gap(gap, terms);
            self.take_part_as(Slow::DropNewest, run, part.clone(), taken, terms);
        }
        self.refuses_newest = true;
        self.drop_newest(messages - taken, &bytes[fitting..], terms);
        (part.end..part.end, 0)
    }

    /// DropLog the oldest, until half of what may wait does; returns what there is room for then.
    fn make_room(
        &mut self,
        slow: Slow,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        terms: &Terms,
    ) -> (Range<usize>, u64) {
        let bytes = &run.bytes()[part.clone()];
        // Meanwhile there may be more room: others give memory back.
        let excess = (self.message_bytes + bytes.len()).saturating_sub(terms.room() / 2);
        let freed = self.evict(excess, slow, terms);
        let room = terms.room().saturating_sub(self.message_bytes);
        // Once all that may go is gone, of what comes the oldest goes too.
        let keep = match bytes.len() {
            len if freed >= excess || len <= room / 2 => len,
            _ => room / 2,
        };
        let mut cut = end_at(bytes, bytes.len() - keep, terms);
        if cut == bytes.len() {
            // The last message is longer than that.
            let start = (terms.encoder.fitting)(bytes, bytes.len() - 1);
            let last = bytes.len() - start;
            if last <= room || (self.message_bytes == 0 && last <= terms.memory.free()) {
                cut = start;
            } else {
                self.refuses_all = true;
            }
        }
        let dropped = terms.count(&bytes[..cut]);
        self.drop_newest(dropped, &bytes[..cut], terms);
        (part.start + cut..part.end, messages - dropped)
    }

    /// DropLog the oldest messages that may be dropped for others of this kind, at least so many bytes
    /// of them. Returns how many bytes that were.
    pub(super) fn evict(&mut self, wanted: usize, by: Slow, terms: &Terms) -> usize {
        self.split_begun(terms);
        let begun = usize::from(self.sent > 0);
        let mut kept: Vec<Chunk> = self.chunks.drain(..begun).collect();
        let mut freed = 0;
        while freed < wanted
            && let Some(mut chunk) = self.chunks.pop_front()
        {
            let messages = match chunk.kind {
                Kind::Messages(messages) if may_go(chunk.slow, by) => messages,
                Kind::Gap(count) if kept.len() > begun && is_gap(kept.last()) => {
                    merge_gap(&mut kept, begun, count, terms);
                    continue;
                }
                Kind::Messages(_)
                | Kind::Kept
                | Kind::Gap(_)
                | Kind::Answer
                | Kind::Receipt { .. } => {
                    kept.push(chunk);
                    continue;
                }
            };
            let bytes = chunk.data.as_slice();
            let cut = end_at(bytes, (wanted - freed).min(bytes.len()), terms);
            let dropped = match cut == bytes.len() {
                true => messages,
                false => (terms.encoder.count)(&bytes[..cut]),
            };
            freed += cut;
            self.message_bytes -= cut;
            self.count_dropped(terms.reason(), dropped, &bytes[..cut], terms);
            merge_gap(&mut kept, begun, dropped, terms);
            if dropped < messages {
                chunk.data.forget_front(cut);
                chunk.kind = Kind::Messages(messages - dropped);
                kept.push(chunk);
            } else {
                terms.memory.give_up(chunk);
            }
        }
        if let Some(&Chunk {
            kind: Kind::Gap(count),
            ..
        }) = self.chunks.front()
            && kept.len() > begun
            && is_gap(kept.last())
        {
            self.chunks.pop_front();
            merge_gap(&mut kept, begun, count, terms);
        }
        kept.into_iter()
            .rev()
            .for_each(|chunk| self.chunks.push_front(chunk));
        self.number_latest();
        freed
    }

    /// Makes a chunk of its own of what is behind the message that has begun to leave.
    fn split_begun(&mut self, terms: &Terms) {
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
        let end = end_at(bytes, self.sent, terms);
        if end == bytes.len() {
            return;
        }
        // Those that have left before the first that is here may be counted with it.
        let behind = (terms.encoder.count)(&bytes[end..]);
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
    fn replace(&mut self, run: &Run<'_>, part: Range<usize>, terms: &Terms) -> bool {
        let topic = (terms.encoder.topic)(&run.bytes()[part.clone()]);
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
        let data = Data::new(run, part, terms);
        let chunk = &mut self.chunks[at];
        self.message_bytes += data.as_slice().len();
        self.message_bytes -= chunk.data.as_slice().len();
        let old = mem::replace(&mut chunk.data, data);
        chunk.share = run.share().cloned();
        chunk.line = run.line().cloned();
        self.count_dropped(Reason::Replaced, 1, old.as_slice(), terms);
        let before = at.wrapping_sub(1);
        match self.chunks.get_mut(before) {
            Some(
                notice @ &mut Chunk {
                    kind: Kind::Gap(count),
                    ..
                },
            ) if before > 0 || self.sent == 0 => *notice = gap_chunk(count + 1, terms),
            _ => {
                self.chunks.insert(at, gap_chunk(1, terms));
                self.number_latest();
            }
        }
        if self.message_bytes > terms.room() {
            let excess = self.message_bytes.saturating_sub(terms.room() / 2);
            self.evict(excess, Slow::Latest, terms);
        }
        true
    }

    /// Queues the only message of its topic, behind a place for a notice.
    fn take_latest(&mut self, run: &Run<'_>, part: Range<usize>, terms: &Terms) {
        let topic: Arc<[u8]> = (terms.encoder.topic)(&run.bytes()[part.clone()]).into();
        if !is_gap(self.chunks.back()) || (self.chunks.len() == 1 && self.sent > 0) {
            self.chunks.push_back(gap_chunk(0, terms));
        }
        let number = self.left.wrapping_add(self.chunks.len() as u64);
        if let Some(policies) = &mut self.policies {
            policies.latest.insert(topic.clone(), number);
        }
        let data = Data::new(run, part, terms);
        self.push_part(data, 1, Slow::Latest, run);
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.latest = Some(topic);
        }
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

    /// DropLog messages behind all that waits.
    fn drop_newest(&mut self, messages: u64, bytes: &[u8], terms: &Terms) {
        self.gap += messages;
        self.count_dropped(terms.reason(), messages, bytes, terms);
    }

    fn count_dropped(&mut self, reason: Reason, messages: u64, bytes: &[u8], terms: &Terms) {
        if messages > 0 {
            self.tally.dropped.add(reason, messages);
            let now = Moment::now();
            let drop_log = self
                .drop_log
                .get_or_insert_with(|| Box::new(DropLog::new(now)));
            drop_log.add(bytes, terms.encoder.first, terms.encoder.topic, now);
        }
    }
}

/// Adds to the notice at the end of `kept`, or makes one there. Those that have begun to leave stand
/// before `begun`.
fn merge_gap(kept: &mut Vec<Chunk>, begun: usize, count: u64, terms: &Terms) {
    let before = match kept.last() {
        Some(&Chunk {
            kind: Kind::Gap(before),
            ..
        }) if kept.len() > begun => {
            kept.pop();
            before
        }
        _ => 0,
    };
    kept.push(gap_chunk(before + count, terms));
}

/// Whether a message may be dropped for another.
fn may_go(waiting: Slow, by: Slow) -> bool {
    match waiting {
        Slow::Latest | Slow::DropOldest => true,
        Slow::Block => by == Slow::Block,
        Slow::DropNewest => false,
    }
}

fn is_gap(chunk: Option<&Chunk>) -> bool {
    matches!(
        chunk,
        Some(Chunk {
            kind: Kind::Gap(_),
            ..
        })
    )
}

/// The first end of a message at or behind this byte, or the end of all.
fn end_at(messages: &[u8], at: usize, terms: &Terms) -> usize {
    if at == 0 || at == messages.len() {
        return at;
    }
    let end = (terms.encoder.fitting)(messages, at);
    if end == at {
        end
    } else {
        end + (terms.encoder.first)(&messages[end..])
    }
}
