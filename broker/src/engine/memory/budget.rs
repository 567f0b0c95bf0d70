//! The memory that all connections share for messages that wait and lines that have begun.
//!
//! A queue may grow as long as it is shorter than what is still free. So a single one may take half
//! of the memory, and many share it evenly with something left for a newcomer, whoever came first
//! (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998).
//! Publishers wait a moment when little is left, but never for those who take nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering};

/// The longest that somebody waits for memory.
const TURN: Duration = Duration::from_secs(1);

/// If nothing is given back for so long, nobody waits any more until something is.
const STILL: Duration = Duration::from_millis(100);

/// Publishers wait when less than this part is free.
const RESERVE: usize = 16;

/// How much there is and how much of it is taken.
pub(crate) struct Memory {
    limit: AtomicUsize,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    /// Nothing has moved for a while: waiting is of no use.
    still: AtomicBool,
    turn: Mutex<()>,
    released: Condvar,
    /// Given back since somebody last asked.
    returned: AtomicUsize,
}

/// Some memory that is taken until this is dropped.
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            taken: AtomicUsize::new(0),
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

    /// Changes how much there is. What is taken stays taken, also if it is more.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        // More room is as good as something given back: waiting may be of use again.
        self.still.store(false, Ordering::Relaxed);
        // Under the lock a waiter has either seen the new limit or is asleep by now.
        drop(self.turn.lock());
        self.released.notify_all();
    }

    pub(crate) fn free(&self) -> usize {
        self.limit()
            .saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Takes it whether it is free or not.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        if bytes > 0 {
            self.taken.fetch_add(bytes, Ordering::SeqCst);
        }
        Charge {
            memory: self.clone(),
            bytes,
        }
    }

    /// Whether publishers shall wait.
    pub(crate) fn is_short(&self) -> bool {
        self.free() < self.limit() / RESERVE
    }

    /// Returns when there is enough for publishers, or waiting for it is of no use.
    pub(crate) fn wait_for_reserve(&self) {
        self.wait(self.limit() / RESERVE);
    }

    /// Returns whether so much is free, perhaps after a while.
    pub(crate) fn wait(&self, bytes: usize) -> bool {
        if self.free() >= bytes {
            return true;
        }
        if self.still.load(Ordering::Relaxed) {
            return false;
        }
        let end = Instant::now() + TURN;
        let mut turn = self.turn.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let enough = loop {
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
            if !moved && self.taken.load(Ordering::SeqCst) >= before {
                self.still.store(true, Ordering::Relaxed);
                break false;
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        enough
    }

    /// Gives back what was dropped for want of room, which gives nobody hope who waits for slow
    /// clients to take something.
    pub(crate) fn give_up<T>(&self, dropped: T) {
        let still = self.still.load(Ordering::Relaxed);
        drop(dropped);
        if still {
            self.still.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that so much has been given back that is not counted here.
    pub(crate) fn note_returned(&self, bytes: usize) {
        self.returned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much has been given back since the last call.
    pub(crate) fn take_returned(&self) -> usize {
        self.returned.swap(0, Ordering::Relaxed)
    }

    fn release(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::SeqCst);
        self.note_returned(bytes);
        if self.still.load(Ordering::Relaxed) {
            self.still.store(false, Ordering::Relaxed);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever waits has either seen what was released or is asleep by now.
            drop(self.turn.lock());
            self.released.notify_all();
        }
    }
}

impl Charge {
    /// Takes more or gives some back, whether it is free or not.
    pub(crate) fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.memory
                .taken
                .fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else if bytes < self.bytes {
            self.memory.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Takes as much more as makes it this, if that leaves as much again.
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
    fn who_waits_goes_on_when_enough_is_given_back() {
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
    fn nobody_waits_long_for_those_who_give_nothing_back() {
        let memory = Arc::new(Memory::new(1600));
        let mut taken = memory.charge(1600);
        assert!(!memory.wait(100));
        // The next one does not even try, until something moves.
        assert!(memory.still.load(Ordering::Relaxed));
        assert!(!memory.wait(100));
        taken.resize(1599);
        assert!(!memory.still.load(Ordering::Relaxed));
    }
}
