//! The memory budget that all connections share for queued messages and incomplete lines.
//!
//! A queue may grow as long as it is shorter than the free memory. So a single queue may take half of
//! the memory, and many queues converge to equal shares with some left for a new one (the dynamic
//! threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998). Publishers wait a
//! moment when little is free, but never for clients that take nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering};

/// Maximum time that a connection waits for memory.
const TURN: Duration = Duration::from_secs(1);

/// If no memory is released for this long, connections stop waiting until some is.
const STILL: Duration = Duration::from_millis(100);

/// Publishers wait when less than the limit divided by this is free.
const RESERVE: usize = 16;

/// What waits for absent clients takes at most the limit divided by this.
const ABSENT_SHARE: usize = 4;

/// Subscriptions take at most the limit divided by this.
const SUBSCRIPTIONS_SHARE: usize = 2;

/// The limit, and how much of it is taken.
pub(crate) struct Memory {
    limit: AtomicUsize,
    taken: AtomicUsize,
    /// How much of that waits for absent clients.
    absent: AtomicUsize,
    /// How much of that is for subscriptions.
    subscriptions: AtomicUsize,
    waiting: AtomicUsize,
    /// No memory has been released for [`STILL`], so waiting is useless.
    still: AtomicBool,
    turn: Mutex<()>,
    released: Condvar,
    /// Bytes released since the last call of [`Memory::take_returned`].
    returned: AtomicUsize,
}

/// A part of the budget, released when it is dropped.
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            taken: AtomicUsize::new(0),
            absent: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            still: AtomicBool::new(false),
            turn: Mutex::new(()),
            released: Condvar::new(),
            returned: AtomicUsize::new(0),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit. What is taken stays taken, even if it exceeds the limit.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        // A higher limit is as good as released memory: waiting may be useful again.
        self.still.store(false, Ordering::Relaxed);
        // Under the lock a waiter has either seen the new limit or is asleep by now.
        drop(self.turn.lock());
        self.released.notify_all();
    }

    pub(crate) fn free(&self) -> usize {
        self.limit()
            .saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// How much more may wait for absent clients. Like a queue, what waits for one of them may be as long
    /// as this, so many of them converge to equal parts of their share.
    pub(crate) fn free_for_absent(&self) -> usize {
        let share = self.limit() / ABSENT_SHARE;
        let absent = self.absent.load(Ordering::Relaxed);
        share.saturating_sub(absent).min(self.free())
    }

    /// Bytes that are taken wait for absent clients from now on.
    pub(crate) fn add_absent(&self, bytes: usize) {
        self.absent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back one call of [`Memory::add_absent`].
    pub(crate) fn remove_absent(&self, bytes: usize) {
        self.absent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes`, even if they exceed the limit.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        if bytes > 0 {
            // SeqCst as every change of `taken`: `release` and `wait` rely on one order of those and of
            // the changes of `waiting`.
            self.taken.fetch_add(bytes, Ordering::SeqCst);
        }
        Charge {
            memory: self.clone(),
            bytes,
        }
    }

    /// Takes `bytes` for a subscription if all of them together stay within their share. Messages that wait
    /// do not count: a slow client could else keep all others from subscribing.
    pub(crate) fn take_for_subscription(&self, bytes: usize) -> bool {
        let share = self.limit() / SUBSCRIPTIONS_SHARE;
        let before = self.subscriptions.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= share;
        if has_room {
            // SeqCst as in `Memory::charge`.
            self.taken.fetch_add(bytes, Ordering::SeqCst);
        } else {
            self.subscriptions.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes `bytes` for a subscription that was there before, even if they exceed its share.
    pub(crate) fn restore_subscription(&self, bytes: usize) {
        self.subscriptions.fetch_add(bytes, Ordering::Relaxed);
        // SeqCst as in `Memory::charge`.
        self.taken.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Gives back what subscriptions have taken.
    pub(crate) fn give_back_subscriptions(&self, bytes: usize) {
        self.subscriptions.fetch_sub(bytes, Ordering::Relaxed);
        self.release(bytes);
    }

    /// Whether publishers should wait.
    pub(crate) fn is_short(&self) -> bool {
        self.free() < self.limit() / RESERVE
    }

    /// Returns when publishers may go on, or waiting for memory is useless.
    pub(crate) fn wait_for_reserve(&self) {
        self.wait(self.limit() / RESERVE);
    }

    /// Returns whether this much is free, after waiting for it if necessary.
    pub(crate) fn wait(&self, bytes: usize) -> bool {
        if self.free() >= bytes {
            return true;
        }
        if self.still.load(Ordering::Relaxed) {
            return false;
        }
        let end = Instant::now() + TURN;
        let mut turn = self.turn.lock();
        // The waiter first raises `waiting`, then reads `taken`; `release` first lowers `taken`, then
        // reads `waiting`. With SeqCst one of the two sees the other, so no wake-up is lost. Checked by
        // the model check a_connection_that_waits_for_memory_is_woken.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A release wakes all waiters and another one may have taken the memory, so each checks again,
        // until there is enough, its time is over, or nothing was released for a while ("No wait under a
        // lock" in docs/architecture.md).
        let enough = loop {
            // SeqCst: this read follows the raising of `waiting`.
            let before = self.taken.load(Ordering::SeqCst);
            if self.limit().saturating_sub(before) >= bytes {
                break true;
            }
            let now = Instant::now();
            if now >= end {
                break false;
            }
            let moved = !self
                .released
                .wait_until(&mut turn, end.min(now + STILL))
                .timed_out();
            // The wait timed out, and memory released meanwhile, if any, was taken again. SeqCst like
            // every read of `taken` by a waiter.
            if !moved && self.taken.load(Ordering::SeqCst) >= before {
                self.still.store(true, Ordering::Relaxed);
                break false;
            }
        };
        // SeqCst as above. A `release` that still counts this waiter wakes no thread, which is
        // harmless.
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        enough
    }

    /// Drops `dropped` for lack of room. That does not restart waiting, which is for memory that slow
    /// clients release by reading.
    pub(crate) fn give_up<T>(&self, dropped: T) {
        // Dropping clears `still`, so it is set again. If a client takes something in between, the next
        // connection does not wait although it could, until the next release.
        let still = self.still.load(Ordering::Relaxed);
        drop(dropped);
        if still {
            self.still.store(true, Ordering::Relaxed);
        }
    }

    /// Adds to the released bytes without changing the budget.
    pub(crate) fn note_returned(&self, bytes: usize) {
        self.returned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes released since the last call.
    pub(crate) fn take_returned(&self) -> usize {
        self.returned.swap(0, Ordering::Relaxed)
    }

    fn release(&self, bytes: usize) {
        // SeqCst: before the read of `waiting` below, in the one order that `wait` relies on.
        self.taken.fetch_sub(bytes, Ordering::SeqCst);
        self.note_returned(bytes);
        if self.still.load(Ordering::Relaxed) {
            self.still.store(false, Ordering::Relaxed);
        }
        // SeqCst: a connection that raises `waiting` after this read sees the release above.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // A waiter keeps `turn` locked from its read of `taken` until it sleeps. Once the lock is
            // ours, it has seen the release, or is asleep and receives the signal.
            drop(self.turn.lock());
            self.released.notify_all();
        }
    }
}

impl Charge {
    /// Changes the charge to `bytes`, even if they exceed the limit.
    pub(crate) fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            // SeqCst as in `Memory::charge`.
            self.memory
                .taken
                .fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else if bytes < self.bytes {
            self.memory.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Raises the charge to `bytes`, if that much is free.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let grows = self.memory.free() >= bytes.saturating_sub(self.bytes);
        if grows {
            self.resize(self.bytes.max(bytes));
        }
        grows
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let memory = Arc::new(Memory::new(100));
        let mut one = memory.charge(30);
        let two = memory.charge(50);
        assert_eq!(memory.free(), 20);
        assert!(!one.grow(51));
        assert!(one.grow(40));
        assert_eq!(memory.free(), 10);
        one.resize(5);
        drop(two);
        assert_eq!(memory.free(), 95);
        let over = memory.charge(1000);
        assert_eq!(memory.free(), 0);
        drop((one, over));
        assert_eq!(memory.free(), 100);
    }

    #[test]
    fn subscriptions_have_half_of_the_memory_whatever_waits() {
        let memory = Arc::new(Memory::new(100));
        assert!(memory.take_for_subscription(40));
        assert_eq!(memory.free(), 60);
        let messages = memory.charge(60);
        assert!(memory.take_for_subscription(10));
        assert!(!memory.take_for_subscription(1));
        drop(messages);
        assert_eq!(memory.free(), 50);
        memory.give_back_subscriptions(50);
        assert_eq!(memory.free(), 100);
        assert!(memory.take_for_subscription(50));
    }

    #[test]
    fn absent_clients_have_a_share_of_their_own() {
        let memory = Arc::new(Memory::new(400));
        assert_eq!(memory.free_for_absent(), 100);
        memory.add_absent(30);
        assert_eq!(memory.free_for_absent(), 70);
        let taken = memory.charge(350);
        assert_eq!(memory.free_for_absent(), 50);
        memory.add_absent(90);
        assert_eq!(memory.free_for_absent(), 0);
        memory.remove_absent(120);
        drop(taken);
        assert_eq!(memory.free_for_absent(), 100);
    }

    #[test]
    fn a_connection_that_waits_goes_on_when_enough_is_given_back() {
        let memory = Arc::new(Memory::new(1600));
        let mut taken = memory.charge(1600);
        assert!(memory.is_short());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.wait(500));
            while memory.waiting.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            taken.resize(1000);
            assert!(waiting.join().expect("it does not panic"));
        });
        assert!(!memory.is_short());
    }

    #[test]
    fn another_limit_holds_at_once_and_takes_nothing_back() {
        let memory = Arc::new(Memory::new(1600));
        let taken = memory.charge(1600);
        assert!(!memory.wait(500));
        memory.set_limit(2100);
        assert!(!memory.still.load(Ordering::Relaxed));
        assert!(memory.wait(500));
        memory.set_limit(1000);
        assert_eq!((memory.limit(), memory.free()), (1000, 0));
        drop(taken);
        assert_eq!(memory.free(), 1000);
    }

    #[test]
    fn what_is_dropped_for_want_of_room_is_no_reason_to_wait_again() {
        let memory = Arc::new(Memory::new(1600));
        let (dropped, _other) = (memory.charge(100), memory.charge(1500));
        assert!(!memory.wait(200));
        memory.give_up(dropped);
        assert_eq!(memory.free(), 100);
        assert!(memory.still.load(Ordering::Relaxed));
    }

    #[test]
    fn no_connection_waits_long_for_clients_that_give_nothing_back() {
        let memory = Arc::new(Memory::new(1600));
        let mut taken = memory.charge(1600);
        assert!(!memory.wait(100));
        // The next connection does not wait, until memory is released.
        assert!(memory.still.load(Ordering::Relaxed));
        assert!(!memory.wait(100));
        taken.resize(1599);
        assert!(!memory.still.load(Ordering::Relaxed));
    }

    #[test]
    fn memory_is_short_when_less_than_the_reserve_is_free() {
        let memory = Arc::new(Memory::new(1600));
        let mut taken = memory.charge(1500);
        assert!(!memory.is_short());
        memory.wait_for_reserve();
        assert!(!memory.still.load(Ordering::Relaxed), "it did not wait");
        taken.resize(1501);
        assert!(memory.is_short());
        memory.wait_for_reserve();
        assert!(memory.still.load(Ordering::Relaxed), "it waited in vain");
    }

    #[test]
    fn a_charge_grows_by_what_is_free_and_never_shrinks_by_that() {
        let memory = Arc::new(Memory::new(100));
        let mut one = memory.charge(30);
        let _other = memory.charge(50);
        assert!(!one.grow(51));
        assert_eq!(memory.free(), 20);
        assert!(one.grow(50));
        assert_eq!(memory.free(), 0);
        assert!(one.grow(10));
        assert_eq!(memory.free(), 0);
    }

    #[test]
    fn what_was_given_back_is_counted_until_it_is_asked_for() {
        let memory = Arc::new(Memory::new(100));
        let mut one = memory.charge(30);
        one.resize(20);
        one.resize(20);
        one.resize(25);
        memory.note_returned(7);
        assert_eq!(memory.take_returned(), 17);
        assert_eq!(memory.take_returned(), 0);
        drop(one);
        drop(memory.charge(0));
        assert_eq!(memory.take_returned(), 25);
    }

    #[test]
    fn giving_up_what_was_dropped_leaves_waiting_worth_its_while() {
        let memory = Arc::new(Memory::new(100));
        memory.give_up(memory.charge(10));
        assert!(!memory.still.load(Ordering::Relaxed));
    }
}
