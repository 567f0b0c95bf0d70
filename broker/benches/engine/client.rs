//! Clients whose sinks do no system calls, so that a benchmark measures the engine alone.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::engine::memory::budget::Memory;
use crate::engine::outbox::{Outbox, Sink};
use crate::engine::routing::subscribers::Subscriber;
use crate::wire::line;

const OUTBOX_BYTES: usize = 1024 * 1024;

/// A sink that accepts all bytes.
struct Hole;

impl Sink for Hole {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn arm(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that accepts no bytes.
struct Wall;

impl Sink for Wall {
    fn send(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn arm(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A client whose sink accepts all bytes at once.
pub(crate) fn idle(id: u64) -> Subscriber {
    client(id, Box::new(Hole))
}

/// A client whose sink accepts no more bytes.
pub(crate) fn blocked(id: u64) -> Subscriber {
    client(id, Box::new(Wall))
}

/// A memory budget that no benchmark exhausts.
pub(crate) fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(usize::MAX))
}

fn client(id: u64, sink: Box<dyn Sink>) -> Subscriber {
    Arc::new(Outbox::new(
        id,
        OUTBOX_BYTES,
        memory(),
        &line::ENCODER,
        sink,
    ))
}
