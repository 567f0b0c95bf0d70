//! What the threads of the engine meet at: locks, a condition variable, numbers.
//!
//! Floor 1 takes them from here and from nowhere else, because `broker/tests/model` puts another file
//! in the place of this one: there each of them is a point where any other thread may go first.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
