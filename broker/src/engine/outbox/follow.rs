//! Gives a client what it follows: what is appended while it is live, and what was read for it while it is behind.

use std::mem;
use std::sync::Arc;

use super::following::{
    CatchUpQueue, CatchUpTask, FollowState, FollowedFilter, FollowedPast, Following, LogTask,
    NewPast, Present,
};
use super::{Inside, Outbox, OutboxGuard, OutboxState};
use crate::engine::history::past::PastPiece;
use crate::engine::outbox::delivery::logged::{LoggedProgress, SentBefore};
use crate::engine::outbox::run::{PublishOptions, Run};

/// Bytes that wait for the client of a session, because it has to acknowledge others first. What is more stays in the log.
const SESSION_BYTES: usize = 256 * 1024;

/// What was read of the log for one client.
#[derive(Default)]
pub(crate) struct LogPiece {
    /// Messages that are missing before it.
    pub(crate) missing: u64,
    pub(crate) lines: Vec<u8>,
    /// Where each run of messages with the same options ends, and how many these are.
    runs: Vec<(usize, u64, PublishOptions)>,
}

impl LogPiece {
    pub(crate) fn clear(&mut self) {
        self.missing = 0;
        self.lines.clear();
        self.runs.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// A message was added to the lines.
    pub(crate) fn note_message(&mut self, options: PublishOptions) {
        let end = self.lines.len();
        match self.runs.last_mut() {
            Some(last) if last.2 == options => (last.0, last.1) = (end, last.1 + 1),
            _ => self.runs.push((end, 1, options)),
        }
    }

    fn runs(&self) -> Vec<Run<'_>> {
        let mut start = 0;
        let runs = self.runs.iter().map(|&(end, messages, options)| {
            let lines = &self.lines[mem::replace(&mut start, end)..end];
            Run::borrowed(lines, messages).by(0, options)
        });
        runs.collect()
    }
}

impl OutboxGuard<'_> {
    /// The client follows a filter from now on: see [`Following::add`].
    pub(crate) fn follow(
        &mut self,
        filter: &str,
        from: u64,
        past: Option<NewPast>,
        (outbox, queue, present): (&Arc<Outbox>, &Arc<CatchUpQueue<Outbox>>, Present),
        tail: u64,
    ) {
        let new = || Box::new(Following::new(outbox, queue, Some(present), from));
        let following = self.inside.following.get_or_insert_with(new);
        following.add(filter, from, past, tail);
    }

    /// The client follows a filter no more. Returns whether it did.
    pub(crate) fn unfollow(&mut self, filter: &str) -> bool {
        let follows = self.follows(filter);
        if follows && let Some(following) = &mut self.inside.following {
            following.remove(filter);
            if following.filters.is_empty() {
                self.inside.following = None;
            }
        }
        follows
    }

    /// The session follows these filters, each from a number on, since before this process; its client is away.
    pub(crate) fn follow_while_away(
        &mut self,
        filters: impl IntoIterator<Item = (Box<str>, u64)>,
        next: u64,
        (outbox, queue): (&Arc<Outbox>, &Arc<CatchUpQueue<Outbox>>),
    ) {
        let following = Following::away(outbox, queue, filters, next);
        self.inside.following = Some(Box::new(following));
    }

    /// The client of a session is away: what comes is read for it when it is back. `tail` is the end of the log as
    /// followers see it, under its lock.
    pub(crate) fn pause_following(&mut self, tail: u64) {
        let Inside {
            following,
            delivery,
            queue,
            ..
        } = &mut *self.inside;
        let Some(following) = following else {
            return;
        };
        let mut next = following.had(tail);
        let given_back = delivery.as_mut().and_then(|it| it.give_back_logged());
        if let Some((count, first)) = given_back {
            next = next.min(first);
            // They are counted once more when they are read again.
            queue.tally.discarded += count;
        }
        following.state = FollowState::Behind { next };
        following.is_asked = false;
        following.present = None;
        // What is being read for it comes too late.
        following.begin_anew();
    }

    /// The client of a session is back.
    pub(crate) fn resume_following(&mut self, present: Present) {
        if let Some(following) = &mut self.inside.following {
            following.present = Some(present);
            following.ask();
        }
    }

    /// How far the client of a session is with what comes from the log; none if it follows nothing. `tail` is the end of
    /// the log as followers see it, under its lock.
    pub(crate) fn progress(&self, tail: u64) -> Option<LoggedProgress> {
        let next = self.inside.following.as_ref()?.had(tail);
        Some(self.inside.delivery.as_ref()?.progress(next))
    }

    /// What the client of a session had of an earlier process.
    pub(crate) fn had_before(&self) -> Option<SentBefore> {
        self.inside.delivery.as_ref()?.sent_before().cloned()
    }

    /// The number from which on it follows this filter, if it does.
    pub(crate) fn followed_from(&self, filter: &str) -> Option<u64> {
        let following = self.inside.following.as_ref()?;
        let mut filters = following.filters.iter();
        filters.find(|it| &*it.filter == filter).map(|it| it.from)
    }

    /// Whether it follows this filter.
    pub(crate) fn follows(&self, filter: &str) -> bool {
        let following = self.inside.following.as_ref();
        following.is_some_and(|it| it.filters.iter().any(|it| &*it.filter == filter))
    }

    /// The number before which it has had everything, or none in its place if it is live; none at all if it follows
    /// nothing.
    pub(crate) fn followed_to(&self) -> Option<Option<u64>> {
        let following = self.inside.following.as_ref()?;
        // What a session reads whose client is away is not late.
        following.present.as_ref()?;
        Some(match following.state {
            FollowState::Live { .. } => None,
            FollowState::Behind { next } => Some(next),
        })
    }

    /// Whether it follows this filter and has asked for a past with it.
    pub(crate) fn has_past(&self, filter: &str) -> bool {
        let following = self.inside.following.as_ref();
        let is_it = |it: &FollowedFilter| &*it.filter == filter && it.has_past;
        following.is_some_and(|following| following.filters.iter().any(is_it))
    }

    /// Accepts messages at the end of the log, of a batch with these numbers, if the client is live and has room.
    /// Otherwise they are read for it later. Returns how many were accepted.
    pub(crate) fn deliver_new(&mut self, runs: &[&Run<'_>], (first, end): (u64, u64)) -> u64 {
        let has_room = self.has_room_for(2);
        let Some(following) = &mut self.inside.following else {
            return 0;
        };
        match following.state {
            FollowState::Behind { .. } => return 0,
            FollowState::Live { from } if from >= end => return 0,
            FollowState::Live { .. } if following.batch == first => {}
            FollowState::Live { from } if from > first || !has_room => {
                following.state = FollowState::Behind {
                    next: from.max(first),
                };
                // Without room, it asks when it has some.
                if has_room {
                    following.ask();
                }
                return 0;
            }
            FollowState::Live { .. } => following.batch = first,
        }
        match self.deliver_pinned(runs) {
            true => runs.iter().map(|run| run.messages()).sum(),
            false => 0,
        }
    }

    /// What is to be done for the client, which is behind; none if it has no room, is live, or is gone.
    pub(crate) fn catch_up_task(&mut self) -> Option<CatchUpTask> {
        let has_room = self.has_room_for(4);
        let following = self.inside.following.as_mut()?;
        let FollowState::Behind { next } = following.state else {
            following.is_asked = false;
            return None;
        };
        if !has_room {
            following.is_asked = false;
            return None;
        }
        if let Some(past) = following.pasts.pop_front() {
            return Some(CatchUpTask::Past(past));
        }
        let missing = mem::take(&mut following.missing);
        let task = following.log_task(next);
        self.tell_gap(missing);
        Some(CatchUpTask::Log(task))
    }

    /// Sends what was read of a past. Returns the number of messages accepted.
    pub(crate) fn deliver_past(
        &mut self,
        past: FollowedPast,
        piece: PastPiece,
        lines: &[u8],
    ) -> u64 {
        let following = self.inside.following.as_ref();
        let is_wanted = following.is_some_and(|it| it.filters.iter().any(|it| it.id == past.id));
        if !is_wanted {
            return 0;
        }
        let delivered = self.deliver_piece(piece, lines);
        if piece.is_last {
            self.answer(&past.asked.current);
        } else if let Some(following) = &mut self.inside.following {
            following.pasts.push_front(past);
        }
        delivered
    }

    /// Sends what was read of the log, up to the number `next`. Returns the number of messages accepted.
    pub(crate) fn deliver_log(&mut self, task: &LogTask, next: u64, piece: &LogPiece) -> u64 {
        match &mut self.inside.following {
            Some(following) if following.change == task.change => {
                following.state = FollowState::Behind { next };
            }
            // It is read again for the filters that there are now.
            _ => return 0,
        }
        self.tell_gap(piece.missing);
        let runs = piece.runs();
        let runs: Vec<&Run<'_>> = runs.iter().collect();
        match !runs.is_empty() && self.deliver_pinned(&runs) {
            true => runs.iter().map(|run| run.messages()).sum(),
            false => 0,
        }
    }

    /// Makes the client live, if it has had everything before the end of the log, of which the caller has the lock.
    pub(crate) fn try_live(&mut self, tail: u64) -> bool {
        let Some(following) = &mut self.inside.following else {
            return true;
        };
        let FollowState::Behind { next } = following.state else {
            return true;
        };
        let is_told = following.pasts.is_empty() && following.missing == 0;
        let is_live = is_told && following.is_live_at(next, tail);
        if is_live {
            following.state = FollowState::Live { from: next };
            following.is_asked = false;
        }
        is_live
    }

    /// The number behind the last message that the client has had, if it follows anything. `tail` is the end of the log as
    /// followers see it.
    pub(crate) fn had(&self, tail: u64) -> Option<u64> {
        let following = self.inside.following.as_ref()?;
        Some(following.had(tail))
    }

    /// What would be read for the client of messages before this number, which are about to be removed from the log. It is
    /// not live afterwards. `tail` is the end of the log as followers see it, under its lock.
    pub(crate) fn unread_before(&mut self, before: u64, tail: u64) -> Option<LogTask> {
        let following = self.inside.following.as_mut()?;
        let next = following.had(tail);
        if next >= before {
            return None;
        }
        if let FollowState::Live { .. } = following.state {
            following.state = FollowState::Behind { next };
            following.ask();
        }
        // What was read meanwhile comes no more: the number of the missing messages stands for it.
        following.begin_anew();
        Some(following.log_task(next))
    }

    /// Counts the messages of the task that are `missing`; the client goes on at `before`. Returns false if its filters have
    /// changed since, and it has to be counted again.
    pub(crate) fn pass_over(&mut self, task: &LogTask, before: u64, missing: u64) -> bool {
        match &mut self.inside.following {
            None => true,
            Some(following) if following.change == task.change => {
                following.state = FollowState::Behind { next: before };
                following.missing += missing;
                true
            }
            Some(_) => false,
        }
    }

    fn deliver_piece(&mut self, piece: PastPiece, lines: &[u8]) -> u64 {
        self.tell_gap(piece.missing);
        let run = Run::borrowed(lines, piece.messages);
        match piece.messages > 0 && self.deliver_pinned(&[&run]) {
            true => piece.messages,
            false => 0,
        }
    }

    /// Asks for more, if the client is behind and has room.
    // Out of line, because most clients follow nothing.
    #[inline(never)]
    pub(super) fn note_room(&mut self) {
        let has_room = self.has_room_for(4);
        if let Some(following) = &mut self.inside.following
            && matches!(following.state, FollowState::Behind { .. })
            && has_room
        {
            following.ask();
        }
    }

    /// Whether at most this part of the queue is full, and messages may be sent.
    fn has_room_for(&self, part: usize) -> bool {
        let is_open = matches!(
            self.inside.state,
            OutboxState::Idle(_) | OutboxState::Blocked(_)
        );
        let queued = self.inside.queue.message_bytes;
        let has_room = match &self.inside.delivery {
            None => queued <= self.inside.terms.room() / part,
            Some(delivery) => queued + delivery.waiting_bytes() <= SESSION_BYTES / part,
        };
        is_open && !self.inside.is_holding() && has_room
    }
}
