//! How far the followers are that are not behind, and how publishers wake the thread that serves them.

use std::time::Instant;

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

/// The end of the log as followers see it.
#[derive(Default)]
pub(crate) struct HistoryTail {
    /// The number behind the last message that was given to them. Held while messages are given, and while a follower
    /// joins or stops being behind, so that none is given in between. Lock order: before an outbox.
    next: Mutex<u64>,
    followers: AtomicUsize,
    /// Lock order: before `next`.
    entering: Mutex<()>,
    /// Something was appended that the thread has not seen.
    has_news: AtomicBool,
    is_stopping: Mutex<bool>,
    woken: Condvar,
}

/// Why the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailWake {
    News,
    /// Nothing has come until the deadline.
    Quiet,
    Stop,
}

impl HistoryTail {
    /// Waits for the messages that are being given, and has no others given meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, u64> {
        self.next.lock()
    }

    /// One more follows. `end` reads the end of the log, under the lock that publishers append with.
    pub(crate) fn enter(&self, end: impl Fn() -> u64) {
        // One after the other, so that none comes before the first one has found the end.
        let _entering = self.entering.lock();
        // Relaxed, because the lock that `end` takes orders it: what is not before this end is appended by a publisher
        // that sees this follower in `wake`.
        if self.followers.fetch_add(1, Ordering::Relaxed) == 0 {
            // Without followers the thread is not woken, and has not seen what was appended meanwhile. The end is read first:
            // a disk may be waited for, and others wait for the lock with the retained messages locked.
            let end = end();
            *self.next.lock() = end;
        }
    }

    pub(crate) fn leave(&self) {
        self.followers.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many follow.
    pub(crate) fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// Messages were appended.
    pub(crate) fn wake(&self) {
        if self.followers() == 0 {
            return;
        }
        // AcqRel: with the swap in `wait`, the thread that takes the news finds what was appended before.
        if !self.has_news.swap(true, Ordering::AcqRel) {
            // After the lock that the thread falls asleep with, so that it has either seen the news or is asleep.
            drop(self.is_stopping.lock());
            self.woken.notify_one();
        }
    }

    /// Returns when something was appended since the last call, at the deadline, if there is one, or after
    /// [`HistoryTail::stop`].
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> TailWake {
        let mut is_stopping = self.is_stopping.lock();
        loop {
            if *is_stopping {
                return TailWake::Stop;
            }
            // AcqRel: see `wake`.
            if self.has_news.swap(false, Ordering::AcqRel) {
                return TailWake::News;
            }
            let Some(deadline) = deadline else {
                self.woken.wait(&mut is_stopping);
                continue;
            };
            let waited = self.woken.wait_until(&mut is_stopping, deadline);
            if waited.timed_out() {
                return TailWake::Quiet;
            }
        }
    }

    /// Ends the waiting for good.
    pub(crate) fn stop(&self) {
        *self.is_stopping.lock() = true;
        self.woken.notify_all();
    }
}
