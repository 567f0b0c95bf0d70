//! Synchronization primitives of the engine: locks, a condition variable, atomics, and a sleep between two looks.
//!
//! The engine imports them only from here, because `broker/tests/model` replaces this file: there a
//! model checker decides at each of them which thread runs next.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) use std::thread::sleep;

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
