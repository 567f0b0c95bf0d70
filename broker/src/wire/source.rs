//! The interface through which a conversation reads bytes, and learns of pauses and the shutdown.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::end::End;
use crate::wire::protocols::Protocol;

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

    /// Whether TLS protects what is said.
    fn security(&self) -> Security {
        Security::Plain
    }

    /// The client begins TLS, with what is in `buffer`: carries out the handshake. From then on bytes are
    /// read, and sent by the outbox, inside TLS.
    fn begin_tls(
        &mut self,
        _client: &mut Client<'_>,
        _buffer: &mut ReadBuffer,
        _framing: SendForm,
    ) -> ControlFlow<End> {
        ControlFlow::Break(End::NotSpoken(Protocol::Tls))
    }

    /// The client speaks another protocol than the one that was agreed on: tells it in TLS.
    fn refuse_tls(&mut self) {}

    /// The first whole line, request or CONNECT of the client has come.
    fn note_first_request(&mut self) {}

    /// Sets the silence that is reported; zero for never.
    fn set_interval(&mut self, interval: Duration);
}

/// Whether TLS protects what is said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    /// There is none, and the client must use it.
    Missing,
    /// There is, with the protocol inside that was agreed on, if one was (ALPN, RFC 7301). No other may follow, so
    /// that nothing meant for a server of one protocol is taken by that of another.
    Tls(Option<Protocol>),
}

/// How the bytes for a client are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendForm {
    Stream,
    /// Each line is sent by itself.
    Lines,
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
