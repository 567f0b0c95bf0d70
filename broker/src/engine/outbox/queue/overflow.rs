//! Overflow: which messages a full queue drops, by the client's overflow policies.
//!
//! Dropped messages are counted in their place: in a notice among the chunks, or in the count of drops
//! behind all of them.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use protocol::OverflowPolicy;

use super::{Data, Kind, Queue, QueueLimits};
use crate::clock::Moment;
use crate::engine::outbox::queue::chunk::Chunk;
use crate::engine::outbox::queue::drop_log::DropLog;
use crate::engine::outbox::run::Run;
use crate::engine::stats::tally::Reason;

impl Queue {
    /// Queues a run of which nothing is dropped.
    // Out of line, because it is rare.
    #[inline(never)]
    pub(super) fn push_pinned(&mut self, run: &Run<'_>, from: usize, limits: &QueueLimits) {
        self.report_gap(limits);
        let bytes = run.bytes();
        let at = match from {
            0 => 0,
            _ => (limits.encoder.fitting)(bytes, from),
        };
        let left = limits.count(&bytes[..at]);
        self.tally.written += left;
        // Queued messages with this policy stay.
        let stays = OverflowPolicy::DropNewest;
        self.push_part_as(stays, run, at..bytes.len(), run.messages() - left, limits);
        self.skip(from - at);
    }

    /// Queues a run that does not fit, or whose client has overflow policies. Messages sent as a whole
    /// are done. A partly sent message for one member of a group is kept in full, because it may have
    /// to be redelivered to another member.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
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
        self.push_messages_from(run, at, messages, limits);
    }

    /// Whether the queue has fewer bytes than the sink has made ready.
    pub(super) fn is_short_of_ahead(&self) -> bool {
        self.missing_ahead() > 0
    }

    /// Bytes that the sink has made ready and that are not queued yet.
    fn missing_ahead(&self) -> usize {
        let mut missing = self.sent + self.ahead;
        for chunk in &self.chunks {
            missing = missing.saturating_sub(chunk.data.as_slice().len());
            if missing == 0 {
                break;
            }
        }
        missing
    }

    /// Queues a run whose first bytes the sink has made ready. Whatever the limits are, the messages with
    /// these are kept.
    #[inline(never)]
    pub(super) fn push_ahead(&mut self, run: &Run<'_>, from: usize, limits: &QueueLimits) {
        let bytes = run.bytes();
        let start = match from {
            0 => 0,
            _ => (limits.encoder.fitting)(bytes, from),
        };
        let left = limits.count(&bytes[..start]);
        let ready = self.missing_ahead().min(bytes.len() - from);
        let end = end_at(bytes, from + ready, limits);
        let messages = match end == bytes.len() {
            true => run.messages() - left,
            false => limits.count(&bytes[start..end]),
        };
        self.tally.written += left;
        self.push_part(run, start..end, messages, limits);
        self.skip(from - start);
        self.push_messages_from(run, end, run.messages() - left - messages, limits);
    }

    /// Queues the messages from byte `at` on, or drops some by the policies.
    fn push_messages_from(
        &mut self,
        run: &Run<'_>,
        mut at: usize,
        mut messages: u64,
        limits: &QueueLimits,
    ) {
        let bytes = run.bytes();
        let first = |at: usize| at + (limits.encoder.first)(&bytes[at..]);
        while at < bytes.len() {
            let slow = self.choice(run, at, limits);
            let (mut end, mut count) = (bytes.len(), messages);
            if self.policies.is_some() {
                (end, count) = (first(at), 1);
                while slow != OverflowPolicy::Latest
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

    /// The overflow policy of the message that begins at `at`.
    fn choice(&mut self, run: &Run<'_>, at: usize, limits: &QueueLimits) -> OverflowPolicy {
        let slow = match (&mut self.policies, run.share()) {
            (None, _) => OverflowPolicy::default(),
            (Some(policies), Some(filter)) => policies.of_group(filter),
            (Some(policies), None) => policies.of((limits.encoder.topic)(&run.bytes()[at..])),
        };
        match slow {
            OverflowPolicy::Block if self.is_outrun => OverflowPolicy::DropOldest,
            slow => slow,
        }
    }

    /// Queues whole messages, or drops some by their policy.
    fn push_as(
        &mut self,
        slow: OverflowPolicy,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) {
        if slow == OverflowPolicy::Latest && self.replace(run, part.clone(), limits) {
            return;
        }
        if self.refuses_all || (self.refuses_newest && slow == OverflowPolicy::DropNewest) {
            return self.drop_newest(messages, &run.bytes()[part], limits);
        }
        let (part, messages) = if self.message_bytes + part.len() <= limits.room() {
            (part, messages)
        } else if slow == OverflowPolicy::DropNewest {
            return self.refuse(run, part, messages, limits);
        } else {
            self.make_room(slow, run, part, messages, limits)
        };
        if messages == 0 {
            return;
        }
        self.report_gap(limits);
        if slow == OverflowPolicy::Latest {
            self.push_latest(run, part, limits);
        } else {
            self.push_part_as(slow, run, part, messages, limits);
        }
        self.wants_backpressure |=
            slow == OverflowPolicy::Block && self.message_bytes > limits.room() / 2;
    }

    /// Queues what fits and drops the rest; from now on, messages with the policy `DropNewest` are
    /// refused.
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
            self.push_part_as(OverflowPolicy::DropNewest, run, part, taken, limits);
        }
        self.refuses_newest = true;
        self.drop_newest(messages - taken, &bytes[fitting..], limits);
    }

    /// Drops the oldest messages until half of the limit is queued; returns the part that fits then.
    fn make_room(
        &mut self,
        slow: OverflowPolicy,
        run: &Run<'_>,
        part: Range<usize>,
        messages: u64,
        limits: &QueueLimits,
    ) -> (Range<usize>, u64) {
        let bytes = &run.bytes()[part.clone()];
        // Meanwhile the limit may have risen, because other queues have released memory.
        let excess = (self.message_bytes + bytes.len()).saturating_sub(limits.room() / 2);
        let freed = self.evict(excess, slow, limits);
        let room = limits.room().saturating_sub(self.message_bytes);
        // If all queued messages that may be dropped are gone, the oldest of the new ones are dropped
        // too.
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

    /// Drops the oldest messages that may be dropped for others with the policy `by`, at least `wanted`
    /// bytes of them. Returns the number of bytes dropped.
    pub(super) fn evict(
        &mut self,
        wanted: usize,
        by: OverflowPolicy,
        limits: &QueueLimits,
    ) -> usize {
        self.split_begun(limits);
        let begun = self.begun();
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
                Kind::Messages(_) | Kind::Kept | Kind::Answer | Kind::Receipt(_) => {
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

    /// Splits the last chunk that has begun to leave behind the message that has.
    fn split_begun(&mut self, limits: &QueueLimits) {
        let Some(at) = self.begun().checked_sub(1) else {
            return;
        };
        let before = self.chunks.range(..at);
        let before: usize = before.map(|chunk| chunk.data.as_slice().len()).sum();
        let Chunk {
            kind: Kind::Messages(messages),
            ref data,
            ..
        } = self.chunks[at]
        else {
            return;
        };
        let bytes = data.as_slice();
        let end = end_at(bytes, self.sent + self.ahead - before, limits);
        if end == bytes.len() {
            return;
        }
        // Messages sent before the first one stored here may be counted with it.
        let behind = (limits.encoder.count)(&bytes[end..]);
        let Some(mut rest) = self.chunks.remove(at) else {
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
        self.chunks.insert(at, rest);
        if at == 0 && end == self.sent {
            self.tally.written += messages - behind;
            self.sent = 0;
        } else {
            self.chunks.insert(at, first);
        }
    }

    /// Replaces the queued message of the same topic. Returns false if there is none.
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
        let begun = self.begun();
        if at >= self.chunks.len() || at < begun {
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
        // The notice takes the place of the old message, before the new one.
        let before = at.checked_sub(1).filter(|&before| before >= begun);
        let notice = before.and_then(|before| self.chunks.get_mut(before));
        if !notice.is_some_and(|notice| notice.add_to_gap(1, limits)) {
            self.chunks.insert(at, Chunk::gap(1, limits));
            self.number_latest();
        }
        if self.message_bytes > limits.room() {
            let excess = self.message_bytes.saturating_sub(limits.room() / 2);
            self.evict(excess, OverflowPolicy::Latest, limits);
        }
        true
    }

    /// Queues the only message of its topic, behind an empty notice.
    fn push_latest(&mut self, run: &Run<'_>, part: Range<usize>, limits: &QueueLimits) {
        let topic: Arc<[u8]> = (limits.encoder.topic)(&run.bytes()[part.clone()]).into();
        // The notice counts messages that this one replaces, without moving the chunks behind it.
        if !self.waiting_back().is_some_and(|last| last.is_gap()) {
            self.chunks.push_back(Chunk::gap(0, limits));
        }
        let number = self.left.wrapping_add(self.chunks.len() as u64);
        if let Some(policies) = &mut self.policies {
            policies.latest.insert(topic.clone(), number);
        }
        let data = Data::of_run(run, part, limits);
        let chunk = Chunk::of_run(data, 1, OverflowPolicy::Latest, run);
        self.push_messages(Chunk {
            latest: Some(topic),
            ..chunk
        });
    }

    /// Recomputes the position of the newest message of each topic.
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

    /// Drops messages behind all chunks.
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

/// Adds to the notice at the end of `kept`, or appends one. The chunks before `begun` are partly sent.
fn merge_gap(kept: &mut Vec<Chunk>, begun: usize, count: u64, limits: &QueueLimits) {
    let last = kept[begun..].last_mut();
    if !last.is_some_and(|last| last.add_to_gap(count, limits)) {
        kept.push(Chunk::gap(count, limits));
    }
}

/// Whether a queued message may be dropped for another.
fn may_go(waiting: OverflowPolicy, by: OverflowPolicy) -> bool {
    match waiting {
        OverflowPolicy::Latest | OverflowPolicy::DropOldest => true,
        OverflowPolicy::Block => by == OverflowPolicy::Block,
        OverflowPolicy::DropNewest => false,
    }
}

/// The first end of a message at or after this byte, or the end of all.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::queue::tests::Client;
    use crate::engine::outbox::run::PublishOptions;

    #[test]
    fn a_queue_takes_what_fits_to_the_last_byte() {
        let mut client = Client::new(12);
        client.push("a1;a2;");
        client.push("a3;a4;");
        client.check_dropped("0 dropped");
        assert_eq!(client.queue.message_bytes, 12);
        assert_eq!(client.take_all(), "a1;a2;a3;a4;");
    }

    #[test]
    fn the_oldest_are_dropped_until_half_is_free_and_told_in_their_place() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        // Of fifteen bytes six may stay.
        client.check_dropped("3 dropped (3 full)");
        assert_eq!(client.take_all(), "<3>a4;a5;");
        // A run that does not fit by itself loses its own oldest messages.
        client.push("a6;a7;a8;a9;a0;");
        assert_eq!(client.take_all(), "<3>a9;a0;");
    }

    #[test]
    fn messages_sent_before_the_rest_was_queued_count_with_it_unless_their_end_is_known() {
        let mut client = Client::new(100);
        let run = Run::borrowed(b"a1;a2;a3;", 3);
        // Counting them takes time, so they count with the rest.
        client.push_rest(&run, 4);
        assert_eq!(client.queue.tally.written, 0);
        assert_eq!(client.take_all(), "2;a3;");
        assert_eq!(client.queue.tally.written, 3);
        // The rest begins with a message of its own.
        client.push_rest(&run, 3);
        assert_eq!(client.queue.tally.written, 4);
        assert_eq!(client.take_all(), "a2;a3;");
        assert_eq!(client.queue.tally.written, 6);
        // What a member of a group has been sent must not go to another one.
        let group: Arc<str> = "$share/g/a".into();
        client.push_rest(&run.for_one_of(&group), 4);
        assert_eq!(client.queue.tally.written, 7);
        assert_eq!(client.take_all(), "2;a3;");
        assert_eq!(client.queue.tally.written, 9);
    }

    #[test]
    fn notices_that_meet_are_one_notice() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        client.push("a6;a7;");
        client.push("a8;");
        client.check_dropped("6 dropped (6 full)");
        assert_eq!(client.take_all(), "<6>a7;a8;");
    }

    #[test]
    fn a_message_that_has_begun_to_leave_is_finished_before_the_notice() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        assert_eq!(client.take(1), "a");
        client.push("a5;");
        client.push("a6;");
        client.push("a7;");
        assert_eq!(client.take_all(), "1;<3>a5;a6;a7;");
        assert_eq!(client.queue.tally.written, 4);
        // A partly sent notice cannot be changed.
        client.push("b1;b2;b3;b4;");
        client.push("b5;");
        assert_eq!(client.take(1), "<");
        client.push("b6;b7;b8;");
        assert_eq!(client.take_all(), "3><3>b7;b8;");
    }

    #[test]
    fn messages_that_left_as_a_whole_are_written_and_not_dropped() {
        let mut client = Client::new(12);
        client.push("a1;a2;a3;a4;");
        assert_eq!(client.take(6), "a1;a2;");
        client.push("a5;a6;a7;");
        client.check_dropped("3 dropped (3 full)");
        assert_eq!(client.queue.tally.written, 2);
        assert_eq!(client.take_all(), "<3>a6;a7;");
        assert_eq!(client.queue.tally.written, 4);
    }

    #[test]
    fn the_newest_are_dropped_until_half_has_left() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::DropNewest)]);
        client.push("a1;a2;a3;");
        client.push("a4;a5;");
        client.check_dropped("1 dropped (1 full)");
        assert_eq!(client.take(3), "a1;");
        client.push("a6;");
        client.check_dropped("2 dropped (2 full)");
        // Now exactly half of the limit is queued.
        assert_eq!(client.take(3), "a2;");
        client.push("a7;");
        client.check_dropped("2 dropped (2 full)");
        assert_eq!(client.take_all(), "a3;a4;<2>a7;");
    }

    #[test]
    fn a_full_queue_takes_no_newest_message_and_tells_of_it_although_none_follows() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::DropNewest)]);
        client.push("a1;a2;a3;a4;");
        client.push("a5;");
        client.check_dropped("1 dropped (1 full)");
        assert_eq!(client.queue.message_bytes, 12);
        assert_eq!(client.take(usize::MAX), "a1;a2;a3;a4;<1>");
    }

    #[test]
    fn a_notice_behind_what_is_dropped_joins_that_of_what_is_dropped() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::DropNewest)]);
        client.push("b1;b2;b3;b4;");
        client.push("a1;");
        assert_eq!(client.take(3), "b1;");
        client.push("b5;");
        client.push("b6;");
        client.check_dropped("4 dropped (4 full)");
        assert_eq!(client.take_all(), "<4>b5;b6;");
    }

    #[test]
    fn other_messages_are_taken_while_the_newest_are_dropped() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::DropNewest)]);
        client.push("a1;a2;a3;a4;a5;");
        assert_eq!(client.take(3), "a1;");
        client.push("b1;");
        client.push("a6;");
        client.check_dropped("2 dropped (2 full)");
        assert_eq!(client.take_all(), "a2;a3;a4;<1>b1;<1>");
    }

    #[test]
    fn if_nothing_may_go_all_are_dropped_until_half_has_left() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::DropNewest)]);
        client.push("a1;a2;a3;a4;");
        client.push("b1;");
        client.check_dropped("1 dropped (1 full)");
        assert_eq!(client.take(3), "a1;");
        // It would fit, but then messages and notices would alternate.
        client.push("b2;");
        client.check_dropped("2 dropped (2 full)");
        assert_eq!(client.take(3), "a2;");
        client.push("b3;");
        assert_eq!(client.take_all(), "a3;a4;<2>b3;");
        client.check_dropped("2 dropped (2 full)");
    }

    #[test]
    fn of_each_topic_the_newest_is_kept_and_told_what_it_replaced() {
        let mut client = Client::choosing(
            30,
            &[("a", OverflowPolicy::Latest), ("b", OverflowPolicy::Latest)],
        );
        client.push("a1;b1;c1;");
        client.push("a2;");
        client.push("b2;");
        client.push("a3;");
        client.check_dropped("3 dropped (3 replaced)");
        assert_eq!(client.take(1), "<");
        // The notice is partly sent, the message is not.
        client.push("a4;");
        assert_eq!(client.take(3), "2><");
        client.push("a5;");
        assert_eq!(client.take_all(), "1><1>a5;<1>b2;c1;");
        assert_eq!(client.queue.tally.written, 3);
        client.push("a6;");
        assert_eq!(client.take_all(), "a6;");
    }

    #[test]
    fn a_newest_message_that_has_begun_to_leave_is_not_replaced() {
        let mut client = Client::choosing(30, &[("a", OverflowPolicy::Latest)]);
        client.push("a1;");
        assert_eq!(client.take(1), "a");
        client.push("a2;");
        client.check_dropped("0 dropped");
        assert_eq!(client.take_all(), "1;a2;");
    }

    #[test]
    fn a_longer_newest_message_makes_room_for_itself() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::Latest)]);
        client.push("a1;b1;b2;b3;");
        client.push("a22222;");
        // Of sixteen bytes six may stay, and the oldest is the one that came last.
        client.check_dropped("3 dropped (2 full, 1 replaced)");
        assert_eq!(client.take_all(), "<3>b2;b3;");
    }

    #[test]
    fn a_longer_newest_message_may_fill_the_queue_to_the_last_byte() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::Latest)]);
        client.push("a1;b1;b2;");
        client.push("a2222;");
        client.check_dropped("1 dropped (1 replaced)");
        assert_eq!(client.queue.message_bytes, 12);
        assert_eq!(client.take_all(), "<1>a2222;b1;b2;");
    }

    #[test]
    fn a_message_that_replaces_another_moves_none_behind_it() {
        let topics = ["a", "b", "c"].map(|topic| (topic, OverflowPolicy::Latest));
        let mut client = Client::choosing(30, &topics);
        let place_of_last = |client: &Client| {
            let policies = client.queue.policies.as_ref().expect("it has some");
            policies.latest.get(&b"c"[..]).copied()
        };
        client.push("a1;b1;c1;");
        let place = place_of_last(&client);
        assert!(place.is_some());
        // The first in the queue, and one behind another message.
        for message in ["a2;", "b2;"] {
            client.push(message);
            assert_eq!(place_of_last(&client), place, "{message}");
        }
        assert_eq!(client.take_all(), "<1>a2;<1>b2;c1;");
    }

    #[test]
    fn a_client_that_has_been_waited_for_long_enough_is_served_as_drop_oldest_until_it_is_empty() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::Block)]);
        client.push("a1;a2;a3;");
        client.queue.stop_blocking();
        assert!(!client.queue.take_backpressure());
        assert!(client.queue.is_half_empty(&client.limits));
        // What another policy leaves behind may take the place of what was queued under `Block`.
        client.push("b1;b2;");
        client.check_dropped("3 dropped (3 full)");
        client.push("a4;a5;");
        assert!(!client.queue.take_backpressure());
        let rest = client.take_all();
        assert!(rest.starts_with('<') && rest.ends_with("a4;a5;"), "{rest}");
        client.queue.rest();
        client.push("a6;a7;a8;");
        assert!(client.queue.take_backpressure());
        // An empty queue is not outrun.
        client.take_all();
        client.queue.rest();
        client.queue.stop_blocking();
        client.push("a6;a7;a8;");
        assert!(client.queue.take_backpressure());
    }

    #[test]
    fn publishers_wait_when_more_than_half_of_what_may_wait_does() {
        let mut client = Client::choosing(12, &[("a", OverflowPolicy::Block)]);
        client.push("a1;a2;");
        assert!(!client.queue.take_backpressure());
        client.push("b1;");
        assert!(!client.queue.take_backpressure(), "it was not for this");
        client.push("a3;");
        assert!(client.queue.take_backpressure());
        assert!(!client.queue.take_backpressure(), "it is asked for once");
        assert!(!client.queue.is_half_empty(&client.limits));
        assert_eq!(client.take(6), "a1;a2;");
        assert!(client.queue.is_half_empty(&client.limits));
    }

    #[test]
    fn each_choice_gives_way_to_some_and_keeps_its_place_before_others() {
        let gives_way = |waiting| OverflowPolicy::ALL.map(|by| may_go(waiting, by));
        for (by, expected) in OverflowPolicy::ALL
            .into_iter()
            .zip(gives_way(OverflowPolicy::Block))
        {
            assert_eq!(expected, by == OverflowPolicy::Block, "{by:?}");
        }
        assert_eq!(
            gives_way(OverflowPolicy::DropOldest),
            [true; OverflowPolicy::ALL.len()]
        );
        assert_eq!(
            gives_way(OverflowPolicy::Latest),
            [true; OverflowPolicy::ALL.len()]
        );
        assert_eq!(
            gives_way(OverflowPolicy::DropNewest),
            [false; OverflowPolicy::ALL.len()]
        );
    }

    #[test]
    fn an_empty_queue_takes_one_message_that_the_memory_has_room_for() {
        for slow in [
            OverflowPolicy::DropOldest,
            OverflowPolicy::DropNewest,
            OverflowPolicy::Block,
        ] {
            let memory = Arc::new(Memory::new(100));
            let mut client = Client::in_memory(5, &memory);
            client.queue.choose_for_all(slow);
            let long = format!("a{};", "x".repeat(98));
            client.push(&long);
            client.check_dropped("0 dropped");
            assert_eq!(client.take_all(), long);
            assert!(client.queue.stock().dropped_at.is_none());
            client.push(&format!("a{};", "x".repeat(99)));
            client.check_dropped("1 dropped (1 full)");
            assert_eq!(client.take_all(), "<1>");
        }
    }

    #[test]
    fn what_is_dropped_says_whether_the_queue_or_the_memory_was_full() {
        let memory = Arc::new(Memory::new(100));
        let mut client = Client::in_memory(12, &memory);
        let others = memory.charge(88);
        client.push("a1;a2;a3;a4;a5;");
        client.check_dropped("3 dropped (3 full)");
        assert_eq!(client.take_all(), "<3>a4;a5;");
        let more = memory.charge(1);
        client.push("a1;a2;a3;a4;");
        client.check_dropped("6 dropped (3 full, 3 memory)");
        drop((others, more));
    }

    #[test]
    fn queues_share_the_memory_and_leave_as_much_for_the_next() {
        // Long messages, each of which is charged for exactly its bytes.
        let message = format!("a{};", "x".repeat(1998));
        for count in 1..5 {
            let memory = Arc::new(Memory::new(1_200_000));
            let mut clients: Vec<_> = (0..count)
                .map(|_| Client::in_memory(usize::MAX, &memory))
                .collect();
            let is_full =
                |client: &Client| client.queue.message_bytes + 2000 > client.limits.room();
            while !clients.iter().all(is_full) {
                for client in clients.iter_mut().filter(|client| !is_full(client)) {
                    client.push(&message);
                    client.check_dropped("0 dropped");
                }
            }
            let share = 1_200_000 / (count + 1);
            for client in &clients {
                let bytes = client.queue.message_bytes;
                assert!(bytes.abs_diff(share) <= 4000, "{bytes} of {share}");
            }
            assert!(memory.free().abs_diff(share) <= 2000 * (count + 2));
            // One message more drops the oldest half of the queue.
            clients[0].push(&message);
            assert!(clients[0].queue.tally.dropped.total() > 0);
        }
    }

    #[test]
    fn what_was_dropped_is_known_by_topic() {
        let mut client = Client::new(12);
        client.push("a1;b1;a2;b2;");
        assert!(client.queue.dropped_on("a").is_none());
        assert!(client.queue.stock().dropped_at.is_none());
        client.push("a3;");
        let on = |topic| client.queue.dropped_on(topic).map(|(count, _)| count);
        assert_eq!((on("a"), on("b"), on("c")), (Some(2), Some(1), None));
        assert!(client.queue.stock().dropped_at.is_some());
    }

    #[test]
    fn a_cut_is_at_the_end_of_a_message() {
        let limits = Client::new(0).limits;
        let ends = [0, 3, 3, 3, 6, 6, 6].into_iter().enumerate();
        for (at, end) in ends {
            assert_eq!(end_at(b"a1;a2;", at, &limits), end, "{at}");
        }
    }

    #[test]
    fn a_chunk_takes_what_fits_to_the_last_byte() {
        let limits = Client::new(100).limits;
        let run = Run::borrowed(b"a1;", 1);
        let data = Data::collected(b"a1;", &limits);
        let Data::Owned(collected, _) = &data else {
            panic!("not its own");
        };
        let rest = vec![b'x'; collected.capacity() - collected.len()];
        let mut chunk = Chunk::of_run(data, 1, OverflowPolicy::Block, &run);
        let mut append =
            |bytes: &[u8]| chunk.append(bytes, 1, OverflowPolicy::Block, None, run.options());
        assert!(append(&rest));
        assert!(!append(b"x"));
    }

    #[test]
    fn only_messages_that_are_alike_share_a_chunk() {
        let limits = Client::new(100).limits;
        let group: Arc<str> = "$share/g/a".into();
        let run = Run::borrowed(b"a1;", 1);
        let chunk = || {
            let data = Data::collected(b"a1;", &limits);
            Chunk::of_run(data, 1, OverflowPolicy::Block, &run)
        };
        let options = run.options();
        assert!(chunk().append(b"a2;", 1, OverflowPolicy::Block, None, options));
        assert!(!chunk().append(b"a2;", 1, OverflowPolicy::Latest, None, options));
        assert!(!chunk().append(b"a2;", 1, OverflowPolicy::Block, Some(&group), options));
        assert!(!chunk().append(&[b'x'; 100_000], 1, OverflowPolicy::Block, None, options));
        let other = PublishOptions {
            qos: 2,
            retain: false,
        };
        assert!(chunk().append(b"a2;", 1, OverflowPolicy::Block, None, other));
        let of_others = Run::borrowed(b"a1;", 1).by(1, other);
        let data = Data::collected(b"a1;", &limits);
        let of_others = Chunk::of_run(data, 1, OverflowPolicy::Block, &of_others);
        assert_eq!(of_others.options, other, "it is redelivered with its own");
        let shared = || Chunk {
            share: Some(group.clone()),
            ..chunk()
        };
        assert!(shared().append(b"a2;", 1, OverflowPolicy::Block, Some(&group), options));
        assert!(!shared().append(b"a2;", 1, OverflowPolicy::Block, Some(&group), other));
        assert!(!shared().append(b"a2;", 1, OverflowPolicy::Block, None, options));
        let mut grown = chunk();
        grown.append(b"a2;a3;", 2, OverflowPolicy::Block, None, options);
        assert_eq!(grown.data.as_slice(), b"a1;a2;a3;");
        assert!(grown.kind == Kind::Messages(3));
        for own in [
            Chunk {
                line: Some(Default::default()),
                ..chunk()
            },
            Chunk {
                latest: Some(b"a"[..].into()),
                ..chunk()
            },
            Chunk {
                kind: Kind::Kept,
                ..chunk()
            },
        ] {
            let mut own = own;
            assert!(!own.append(b"a2;", 1, OverflowPolicy::Block, None, options));
        }
    }
}
