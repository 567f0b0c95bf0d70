//! The interface through which a conversation reads bytes, and learns of pauses and the shutdown.

use std::io;
use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;

/// Maximum bytes of a first line whose verb has not come.
pub(crate) const FIRST_BYTES: usize = 64 * 1024;

/// Reads the bytes of one client.
pub(crate) trait Source {
    /// Waits for bytes and appends them to `buffer`. Lines have at most `most` bytes.
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival;

    /// The same, but returns [`Arrival::Silence`] at `deadline`.
    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, deadline: Instant) -> Arrival;

    /// The client sends nothing more: waits until the connection is closed altogether.
    fn wait_for_end(&mut self) -> Arrival;

    /// The first whole line, request or CONNECT of the client has come.
    fn note_first_request(&mut self) {}

    /// Sets the silence that is reported; zero for never.
    fn set_interval(&mut self, interval: Duration);
}

/// Loads the limits for the client's next batch; returns whether they have changed.
#[inline]
pub(crate) fn take_limits(client: &mut Client<'_>, source: &mut impl Source) -> bool {
    let changed = client.refresh_limits();
    if changed {
        source.set_interval(client.limits().ping_interval);
    }
    changed
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes,
    /// An incomplete line fills the buffer, and no memory is free for more of it.
    NoMemory,
    /// No bytes for a moment: time to release memory.
    Pause,
    /// No bytes for a whole interval between PINGs.
    Silence,
    /// The client has ended its side.
    End,
    /// The broker stops.
    Stopping,
    Failed(io::Error),
}
