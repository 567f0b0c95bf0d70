//! Where a conversation gets its bytes from, and what else it is told while it waits for them.

use std::io;
use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;

/// Where the bytes of one client come from.
pub(crate) trait Source {
    /// Waits for bytes and appends them to `buffer`. A line gets at most `most` bytes long.
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival;

    /// The same until `deadline`, and then it is [`Arrival::Silence`].
    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival;

    /// The client sends nothing more: waits until the connection is gone altogether.
    fn wait_for_end(&mut self) -> Arrival;

    /// From now on a silence is this long; zero for endless.
    fn set_interval(&mut self, interval: Duration);
}

/// Takes the limits that hold for the client's next batch; returns whether they are others than before.
#[inline]
pub(crate) fn take_limits(client: &mut Client<'_>, source: &mut impl Source) -> bool {
    let changed = client.refresh_limits();
    if changed {
        source.set_interval(client.limits().ping_interval);
    }
    changed
}

/// What came.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes,
    /// The line that has begun fills the buffer, and there is no memory for more of it.
    NoMemory,
    /// Nothing for a moment: time to give back memory.
    Pause,
    /// Nothing for a whole interval between PINGs.
    Silence,
    /// The client has ended its side.
    End,
    /// The broker stops.
    Stopping,
    Failed(io::Error),
}
