//! Threads that measure.

use std::io;
use std::thread::ScopedJoinHandle;

/// What a thread of the measurement found out; that it panicked is an error like others.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    let panicked = |_| io::Error::other("a thread of the measurement panicked");
    thread.join().map_err(panicked)?
}
