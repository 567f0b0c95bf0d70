//! Memory that all connections share: how much may be taken, what a connection reads into, and how
//! free memory goes back to the system.

pub(crate) mod budget;
pub(crate) mod heap;
pub(crate) mod read_buffer;
