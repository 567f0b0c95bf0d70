//! A connection that waits for memory is woken by a release.

use std::sync::Arc;

use shuttle::thread;

use crate::engine::memory::budget::Memory;

/// Each thread releases once, so no later signal wakes the waiter.
pub(crate) fn a_connection_that_waits_for_memory_is_woken() {
    let memory = Arc::new(Memory::new(100));
    let taken = [60, 40].map(|bytes| memory.charge(bytes));
    thread::scope(|scope| {
        for bytes in [30, 90] {
            let memory = &memory;
            scope.spawn(move || memory.wait(bytes));
        }
        for charge in taken {
            scope.spawn(move || drop(charge));
        }
    });
    assert_eq!(memory.free(), 100);
    assert!(memory.wait(100));
}
