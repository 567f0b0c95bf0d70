//! Replaces `sync.rs` of the broker: the same names, and at each of them the model checker decides
//! which thread runs next.
//!
//! The checker's memory is sequentially consistent: an `Ordering` that is too weak goes unnoticed.

use std::ops::{Deref, DerefMut};
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use shuttle::rand::{self, Rng};
use shuttle::sync::atomic;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::{sync, thread};

/// Lets other threads go on: time means nothing here.
pub(crate) fn sleep(_: Duration) {
    thread::yield_now();
}

/// A lock that a panic does not poison.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// Empty only while its thread waits.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("its thread does not wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("its thread does not wait")
    }
}

pub(crate) struct Condvar(sync::Condvar);

/// Whether the wait timed out.
pub(crate) struct TimedOut(bool);

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("its thread does not wait");
        let held = self.0.wait(held).unwrap_or_else(PoisonError::into_inner);
        guard.held = Some(held);
    }

    /// There is no clock here: a random choice decides whether the deadline comes first.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> TimedOut {
        let late = rand::thread_rng().gen_bool(0.5);
        if late {
            guard.held = None;
            thread::yield_now();
            guard.held = guard.mutex.lock().held;
        } else {
            self.wait(guard);
        }
        TimedOut(late)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl TimedOut {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

#[derive(Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Created in the checker at the first use: a router has thousands, of which a check uses few.
#[derive(Default)]
pub(crate) struct AtomicU64(u64, OnceLock<atomic::AtomicU64>);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(value, OnceLock::new())
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        self.known().load(ordering)
    }

    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        self.known().store(value, ordering);
    }

    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        self.known().fetch_add(value, ordering)
    }

    fn known(&self) -> &atomic::AtomicU64 {
        self.1.get_or_init(|| atomic::AtomicU64::new(self.0))
    }
}
