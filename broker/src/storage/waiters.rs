//! Those that wait until what they have appended is durable. The thread that syncs serves all of them with each sync.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// How far the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// Everything before this sequence number is durable.
    Before(u64),
    /// What was not durable before will not become so.
    Failed,
}

/// Waits until something is durable.
pub(crate) trait Waiter: Send + Sync {
    /// Takes note of it. Returns whether it still waits, for something later.
    fn release(&self, synced: Synced) -> bool;
}

/// All that wait.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Lock order: not held while a waiter is released, because that takes its lock.
    list: Mutex<WaitingList>,
    /// Signalled when there is a wish, or the end.
    changed: Condvar,
}

#[derive(Default)]
struct WaitingList {
    waiting: Vec<Arc<dyn Waiter>>,
    /// There is one that no sync has begun for.
    has_wish: bool,
    is_stopping: bool,
}

/// Why the thread that syncs goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Wish,
    Interval,
    Stop,
}

impl Waiters {
    /// Has the next sync tell a waiter.
    pub(crate) fn add(&self, waiter: Arc<dyn Waiter>) {
        let mut list = self.list.lock();
        list.waiting.push(waiter);
        self.wish(&mut list);
    }

    /// Wishes for a sync that no waiter waits for.
    pub(super) fn urge(&self) {
        self.wish(&mut self.list.lock());
    }

    fn wish(&self, list: &mut WaitingList) {
        // Set under the lock that the thread waits with, so that it does not fall asleep in between.
        list.has_wish = true;
        self.changed.notify_all();
    }

    /// Returns when there is a wish, which the next sync is for, at the deadline, or after [`Waiters::stop`].
    pub(crate) fn wait(&self, deadline: Instant) -> Wake {
        let mut list = self.list.lock();
        loop {
            if list.is_stopping {
                return Wake::Stop;
            }
            if mem::take(&mut list.has_wish) {
                return Wake::Wish;
            }
            if self.changed.wait_until(&mut list, deadline).timed_out() {
                return Wake::Interval;
            }
        }
    }

    /// Tells all how far the store is.
    pub(crate) fn release(&self, synced: Synced) {
        let mut released = mem::take(&mut self.list.lock().waiting);
        released.retain(|waiter| waiter.release(synced));
        if !released.is_empty() {
            // They wait for what was appended during this sync.
            let mut list = self.list.lock();
            list.waiting.append(&mut released);
            self.wish(&mut list);
        }
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.list.lock().waiting.len()
    }

    /// Ends the waiting of the thread that syncs.
    pub(crate) fn stop(&self) {
        self.list.lock().is_stopping = true;
        self.changed.notify_all();
    }
}

/// A thread that waits.
pub(super) struct WaitingThread {
    until: u64,
    is_durable: Mutex<Option<bool>>,
    released: Condvar,
}

impl WaitingThread {
    /// Waits for a sequence number.
    pub(super) fn new(until: u64) -> Self {
        Self {
            until,
            is_durable: Mutex::new(None),
            released: Condvar::new(),
        }
    }

    /// Returns whether it is durable once that is certain.
    pub(super) fn wait(&self) -> bool {
        let mut is_durable = self.is_durable.lock();
        loop {
            match *is_durable {
                Some(is_durable) => return is_durable,
                None => self.released.wait(&mut is_durable),
            }
        }
    }
}

impl Waiter for WaitingThread {
    fn release(&self, synced: Synced) -> bool {
        let answer = match synced {
            Synced::Before(next) if next <= self.until => return true,
            Synced::Before(_) => true,
            Synced::Failed => false,
        };
        *self.is_durable.lock() = Some(answer);
        self.released.notify_all();
        false
    }
}
