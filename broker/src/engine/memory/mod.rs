//! Memory that connections share: the budget, the read buffers, and the return of freed memory to the
//! system.

pub(crate) mod budget;
pub(crate) mod heap;
pub(crate) mod read_buffer;
