//! The PROXY header with which a proxy tells whose connection it passes on.
//!
//! Specification: "The PROXY protocol, versions 1 & 2" of HAProxy. Takes the header from the first
//! bytes; returns the address of the client, or the end of the connection. Whether one has to come is
//! decided by `--proxy` alone, because a client that could choose would forge its address.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use proxy_header::{Error, ParseConfig, ProxyHeader};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::end::End;
use crate::wire::source::{Arrival, Source, take_limits};

/// Decides whether there is a place for a client from this address; if not, says why.
pub(crate) type Admit<'a> = &'a dyn Fn(IpAddr) -> Result<(), String>;

/// Maximum time until the header is complete. A proxy sends it at once; the specification asks for at
/// least three seconds, so that a lost packet can be sent again.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Maximum bytes of a header: the fixed part of version 2, and a length of 16 bits.
const HEADER_BYTES: usize = 16 + u16::MAX as usize;

/// Reads the header; `buffer` then contains what follows it. Continues with the address of the client,
/// or with none if the proxy speaks for itself, as it does to see whether the broker is well.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn read_header(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
) -> ControlFlow<End, Option<SocketAddr>> {
    let deadline = Instant::now() + HEADER_TIME;
    loop {
        match parse(buffer.unread()) {
            Ok((peer, len)) => {
                client.note_heard(len);
                buffer.consume(len);
                return ControlFlow::Continue(peer);
            }
            Err(Error::BufferTooShort) => {}
            Err(_) => return ControlFlow::Break(End::Refused(NO_HEADER.into())),
        }
        take_limits(client, source);
        match source.fill_by(buffer, HEADER_BYTES, deadline) {
            Arrival::Bytes | Arrival::Pause => {}
            Arrival::Silence if Instant::now() < deadline => {}
            Arrival::Silence => return ControlFlow::Break(End::Refused(LATE_HEADER.into())),
            Arrival::NoMemory => return ControlFlow::Break(End::Refused(NO_MEMORY.into())),
            Arrival::End => return ControlFlow::Break(End::Left),
            Arrival::Stopping => return ControlFlow::Break(End::Stopping),
            Arrival::Failed(err) => return ControlFlow::Break(err.into()),
        }
    }
}

const NO_HEADER: &str = "--proxy names its address, but it did not begin with a PROXY header; let \
                         the proxy send one (HAProxy: send-proxy-v2, nginx: proxy_protocol on), or \
                         take the address from --proxy";
const LATE_HEADER: &str =
    "--proxy names its address, but it sent no whole PROXY header within 10 s";
const NO_MEMORY: &str = "there is no memory for its PROXY header";

/// What follows the header in first bytes of a proxy; nothing until the header is whole.
pub(crate) fn behind_header(first: &[u8]) -> &[u8] {
    parse(first).map_or(&[], |(_, len)| &first[len..])
}

/// The address in a header, and the length of the header.
fn parse(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), Error> {
    if bytes.is_empty() {
        return Err(Error::BufferTooShort);
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, len) = ProxyHeader::parse(bytes, config)?;
    let peer = header.proxied_address().map(|address| {
        // A proxy with one socket for both families writes IPv4 as IPv6 (RFC 4291 §2.5.5.2).
        SocketAddr::new(address.source.ip().to_canonical(), address.source.port())
    });
    Ok((peer, len))
}
