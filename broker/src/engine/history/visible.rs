//! Up to where followers may see the log: a message that is to be durable before its publisher is told so is shown when
//! it is.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::tail::HistoryTail;
use crate::storage::store::Store;
use crate::storage::waiters::{Synced, Waiter};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};

/// What of the log is not shown yet.
pub(super) struct Visible {
    /// Numbers of messages that wait for the disk, in their order. Held while such messages are appended, so that none is
    /// seen before it is here. Lock order: before the end of the log.
    hidden: Mutex<VecDeque<Range<u64>>>,
    /// The first of them has this number or a higher one; higher than all if there is none.
    first: AtomicU64,
    waiting: Arc<WaitingTail>,
}

/// Wakes followers when a sync has ended.
struct WaitingTail {
    tail: Arc<HistoryTail>,
    is_waiting: AtomicBool,
}

/// Messages that are about to be appended, and wait for the disk.
pub(super) struct Hiding<'v>(MutexGuard<'v, VecDeque<Range<u64>>>);

impl Visible {
    pub(super) fn new(tail: &Arc<HistoryTail>) -> Self {
        Self {
            hidden: Mutex::default(),
            first: AtomicU64::new(u64::MAX),
            waiting: Arc::new(WaitingTail {
                tail: tail.clone(),
                is_waiting: AtomicBool::default(),
            }),
        }
    }

    /// Messages are appended next that wait for the disk.
    pub(super) fn hide(&self, store: &Store) -> Hiding<'_> {
        let hidden = self.hidden.lock();
        if hidden.is_empty() {
            // Release, before they are appended: a follower that sees their end begins before them.
            let next = store.log().next_seen();
            self.first.store(next, Ordering::Release);
        }
        Hiding(hidden)
    }

    /// A number that is not behind the first message which is not shown; it waits for nothing.
    pub(super) fn first_hidden(&self) -> u64 {
        // Acquire: see `hide`.
        self.first.load(Ordering::Acquire)
    }

    /// The number behind the last message that may be shown. If there are others, followers are woken when more may be.
    pub(super) fn end(&self, store: &Store) -> u64 {
        let mut hidden = self.hidden.lock();
        // Inside that lock, as where they are appended.
        let (next, durable) = store.log().ends();
        while hidden.front().is_some_and(|range| range.end <= durable) {
            hidden.pop_front();
        }
        let first = hidden.front().map(|range| range.start);
        // Release: what is shown from now on is before this number.
        self.first
            .store(first.unwrap_or(u64::MAX), Ordering::Release);
        let Some(first) = first else {
            return next;
        };
        drop(hidden);
        // AcqRel: one waiter at a time, which sees what was hidden before.
        if !self.waiting.is_waiting.swap(true, Ordering::AcqRel) {
            store.wish(self.waiting.clone());
        }
        first
    }
}

impl Hiding<'_> {
    /// They have these numbers.
    pub(super) fn note(mut self, numbers: Range<u64>) {
        match self.0.back_mut() {
            Some(last) if last.end == numbers.start => last.end = numbers.end,
            _ => self.0.push_back(numbers),
        }
    }
}

impl Waiter for WaitingTail {
    fn release(&self, _synced: Synced) -> bool {
        // Release: before followers look again, so that they wait again if they find that there is more.
        self.is_waiting.store(false, Ordering::Release);
        self.tail.wake();
        false
    }
}
