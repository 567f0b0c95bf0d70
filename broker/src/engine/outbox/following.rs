//! What an outbox knows of the filters that its client follows, and the line of those that want to be read for.
//!
//! A follower that is *live* is given what is appended by the thread at the end of the log. One that is *behind*, because
//! it has just begun or because it reads slowly, has a place in the log, from which another thread reads for it whenever
//! its queue has room. It becomes live at the end of the log, under the lock of that end, so that no message is given twice
//! or not at all.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::engine::history::History;
use crate::engine::history::past::Past;
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

/// The followers that are behind and have room.
// Of any type, because this file lies below that of the outbox.
pub(crate) struct CatchUpQueue<F> {
    /// Lock order: after an outbox.
    waiting: Mutex<WaitingFollowers<F>>,
    asked: Condvar,
    /// The number of the last change of what any client follows.
    changes: AtomicU64,
}

struct WaitingFollowers<F> {
    outboxes: VecDeque<Weak<F>>,
    is_stopping: bool,
}

/// What one client follows.
pub(super) struct Following<F> {
    outbox: Weak<F>,
    queue: Arc<CatchUpQueue<F>>,
    pub(super) filters: Arc<[FollowedFilter]>,
    /// What is sent before anything else.
    pub(super) pasts: VecDeque<FollowedPast>,
    pub(super) state: FollowState,
    /// Messages that were removed from the log before they could be read for it, which it is not told yet.
    pub(super) missing: u64,
    /// The other thread has it, or will.
    pub(super) is_asked: bool,
    /// The first number of the batch that was accepted last. A batch may come in several parts.
    pub(super) batch: u64,
    /// The number of the last change, when a filter came or went.
    pub(super) change: u64,
    /// None while the client of a session is away.
    pub(super) present: Option<Present>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowState {
    /// It has had everything before this number, and is given what comes.
    Live { from: u64 },
    /// It has had everything before this number, which is read for it.
    Behind { next: u64 },
}

/// A filter that a client follows.
#[derive(Clone)]
pub(crate) struct FollowedFilter {
    pub(crate) filter: Box<str>,
    /// Messages with lower numbers are not for this filter, or have been given.
    pub(crate) from: u64,
    /// Whether a past was asked for with it, or only what is new.
    pub(super) has_past: bool,
    /// Another one than that of an earlier subscription with the same filter.
    pub(super) id: u64,
}

/// A past that a client has asked for.
pub(crate) struct FollowedPast {
    pub(crate) asked: NewPast,
    /// That of its filter.
    pub(super) id: u64,
}

/// What is to be done for a follower that is behind.
pub(crate) enum CatchUpTask {
    Past(FollowedPast),
    Log(LogTask),
}

/// A part of the log is to be read.
pub(crate) struct LogTask {
    /// From this number on.
    pub(crate) next: u64,
    pub(crate) filters: Arc<[FollowedFilter]>,
    pub(super) change: u64,
}

/// One follower, as the end of the log counts it.
pub(crate) struct Present(Arc<History>);

impl Present {
    pub(crate) fn new(history: &Arc<History>) -> Self {
        history.tail().enter(|| history.visible_end());
        Self(history.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.tail().leave();
    }
}

impl<F> Default for CatchUpQueue<F> {
    fn default() -> Self {
        let waiting = WaitingFollowers {
            outboxes: VecDeque::new(),
            is_stopping: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            asked: Condvar::default(),
            changes: AtomicU64::default(),
        }
    }
}

impl<F> CatchUpQueue<F> {
    /// Puts a follower at the end of the line.
    pub(crate) fn ask(&self, outbox: Weak<F>) {
        self.waiting.lock().outboxes.push_back(outbox);
        self.asked.notify_one();
    }

    /// The next one, once there is one; none after [`CatchUpQueue::stop`].
    pub(crate) fn next(&self) -> Option<Arc<F>> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.is_stopping {
                return None;
            }
            let Some(outbox) = waiting.outboxes.pop_front() else {
                self.asked.wait(&mut waiting);
                continue;
            };
            // It may be gone.
            if let Some(outbox) = outbox.upgrade() {
                return Some(outbox);
            }
        }
    }

    /// A number that no earlier change has had, so that what is read for a subscription is not taken for that of another.
    fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the waiting for good.
    pub(crate) fn stop(&self) {
        self.waiting.lock().is_stopping = true;
        self.asked.notify_all();
    }
}

impl<F> Following<F> {
    pub(super) fn new(
        outbox: &Arc<F>,
        queue: &Arc<CatchUpQueue<F>>,
        present: Option<Present>,
        from: u64,
    ) -> Self {
        Self {
            outbox: Arc::downgrade(outbox),
            queue: queue.clone(),
            filters: Arc::default(),
            pasts: VecDeque::new(),
            state: FollowState::Live { from },
            missing: 0,
            is_asked: false,
            batch: 0,
            change: 0,
            present,
        }
    }

    pub(super) fn ask(&mut self) {
        if !self.is_asked {
            self.is_asked = true;
            self.queue.ask(self.outbox.clone());
        }
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let removed = self.filters.iter().find(|it| &*it.filter == filter);
        let Some(id) = removed.map(|it| it.id) else {
            return;
        };
        self.change = self.queue.next_change();
        let others = self.filters.iter().filter(|it| it.id != id);
        self.filters = others.cloned().collect();
        self.pasts.retain(|past| past.id != id);
    }

    /// What is to be read from this number on.
    pub(super) fn log_task(&self, next: u64) -> LogTask {
        LogTask {
            next,
            filters: self.filters.clone(),
            change: self.change,
        }
    }

    /// A session of an earlier process, whose client is away.
    pub(super) fn away(
        outbox: &Arc<F>,
        queue: &Arc<CatchUpQueue<F>>,
        filters: impl IntoIterator<Item = (Box<str>, u64)>,
        next: u64,
    ) -> Self {
        let filters = filters.into_iter().map(|(filter, from)| FollowedFilter {
            filter,
            from,
            has_past: false,
            id: queue.next_change(),
        });
        Self {
            filters: filters.collect(),
            state: FollowState::Behind { next },
            ..Self::new(outbox, queue, None, next)
        }
    }

    /// Gives up what was read for it and is not delivered yet, so that it is read again.
    pub(super) fn begin_anew(&mut self) {
        self.change = self.queue.next_change();
    }

    /// What it has had everything before. `tail` is the end of the log as followers see it, under its lock.
    pub(super) fn had(&self, tail: u64) -> u64 {
        match self.state {
            FollowState::Live { from } => from.max(tail),
            FollowState::Behind { next } => next,
        }
    }

    /// Adds a filter: first its past, with what is said at the end of that, and then all from number `from` on.
    pub(super) fn add(&mut self, filter: &str, from: u64, past: Option<NewPast>, tail: u64) {
        self.remove(filter);
        self.change = self.queue.next_change();
        let had = self.had(tail);
        let id = self.change;
        let mut filters: Vec<FollowedFilter> = self.filters.to_vec();
        // What others have had is not read again for them, if reading goes back.
        for other in filters.iter_mut().filter(|_| from < had) {
            other.from = other.from.max(had);
        }
        let is_first = filters.is_empty();
        filters.push(FollowedFilter {
            filter: filter.into(),
            from,
            has_past: past.is_some(),
            id,
        });
        self.filters = filters.into();
        let next = if is_first { from } else { had.min(from) };
        // If the other thread has it, that has a past of another filter, perhaps.
        let has_past = past.is_some() || self.is_asked || !self.pasts.is_empty();
        let is_live = !has_past && self.is_live_at(next, tail);
        let past = past.map(|asked| FollowedPast { asked, id });
        self.pasts.extend(past);
        self.state = match is_live {
            true => FollowState::Live { from: next },
            false => FollowState::Behind { next },
        };
        if !is_live {
            self.ask();
        }
    }

    /// Whether it can be live if it has had everything before `next`.
    pub(super) fn is_live_at(&self, next: u64, tail: u64) -> bool {
        next >= tail && self.filters.iter().all(|it| it.from <= next)
    }
}

/// A past that is asked for with a filter.
pub(crate) struct NewPast {
    pub(crate) past: Past,
    /// What the client is told at its end.
    pub(crate) current: Vec<u8>,
    /// The version of the sieves that it was chosen by.
    pub(crate) sieves: u64,
}
