//! Conversations: bytes on one side, the engine on the other.
//!
//! The first bytes of a connection decide its wire. A wire gets its bytes from a [`Source`] and
//! says everything through the client's outbox.

pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod mqtt;
pub(crate) mod websocket;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;

/// Where the bytes of one client come from.
pub(crate) trait Source {
    /// Waits for bytes and appends them to `block`. A line gets at most `most` bytes long.
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
fn take_limits(client: &mut Client<'_>, source: &mut impl Source) -> bool {
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
    /// The line that has begun fills the block, and there is no memory for more of it.
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

/// How a conversation ended. Most endings are ordinary, so this is not called an error.
#[derive(Debug)]
pub(crate) enum End {
    Left,
    SaidBye,
    /// It has been sent the last answer that it gets.
    Answered,
    Vanished,
    Stopping,
    /// It speaks what the broker does not.
    NotSpoken(Wire),
    /// Its wire demands that it ends here.
    Refused(Cow<'static, str>),
    Failed(io::Error),
    Panicked,
}

impl From<io::Error> for End {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Left,
            io::ErrorKind::TimedOut => Self::Vanished,
            _ => Self::Failed(err),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => write!(f, "the client left"),
            Self::SaidBye => write!(f, "the client said BYE"),
            Self::Answered => write!(f, "the last answer was sent"),
            Self::Vanished => write!(f, "the client vanished and answers no probe"),
            Self::Stopping => write!(f, "the broker stops"),
            Self::NotSpoken(wire) => write!(f, "it speaks {wire}, which this broker does not yet"),
            Self::Refused(why) => write!(f, "it is refused: {why}"),
            Self::Failed(err) => write!(f, "the connection failed: {err}"),
            Self::Panicked => write!(f, "a bug of the broker, see the line before"),
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Line,
    Http,
    Mqtt,
    Tls,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "the line protocol",
            Self::Http => "HTTP",
            Self::Mqtt => "MQTT",
            Self::Tls => "TLS",
        })
    }
}

const HTTP_METHODS: [&[u8]; 6] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"DELETE ",
];

/// Which wire these first bytes belong to; `None` if it takes more of them to tell.
pub(crate) fn sniff(first: &[u8]) -> Option<Wire> {
    match first {
        [0x10, ..] => return Some(Wire::Mqtt),
        [0x16, ..] => return Some(Wire::Tls),
        _ if is_packet(first)? => return Some(Wire::Mqtt),
        _ => {}
    }
    if HTTP_METHODS.iter().any(|method| first.starts_with(method)) {
        return Some(Wire::Http);
    }
    let undecided = HTTP_METHODS.iter().any(|method| method.starts_with(first));
    (!undecided).then_some(Wire::Line)
}

/// Whether this is the head of an MQTT packet and no text: then somebody does not begin with the
/// CONNECT that a broker waits for, and has to be closed for that. `None` if it takes more bytes to tell.
fn is_packet(first: &[u8]) -> Option<bool> {
    Some(match *first.first()? {
        // What begins a key of a terminal.
        0x1b => false,
        // A CONNECT with reserved bits.
        0x11..0x20 => true,
        // No text begins so.
        0x80..0xc2 => true,
        // What begins a letter of several bytes is followed by its second.
        0xc2..0xf5 => !(0x80..0xc0).contains(first.get(1)?),
        // A PUBLISH, whose topic is shorter than 256 bytes.
        b'0'..=b'?' => match first {
            [_, b'\n' | b'\r', ..] => false,
            [_, _, third, ..] => *third == 0,
            _ => return None,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide_the_wire() {
        for (first, wire) in [
            (&b"PUBLISH a"[..], Some(Wire::Line)),
            (b"@", Some(Wire::Line)),
            (b"\n", Some(Wire::Line)),
            (b"get /", Some(Wire::Line)),
            (b"PU", None),
            (b"PUB", Some(Wire::Line)),
            (b"P\n", Some(Wire::Line)),
            (b"POST", None),
            (b"POST ", Some(Wire::Http)),
            (b"POSTER", Some(Wire::Line)),
            (b"GET / HTTP/1.1", Some(Wire::Http)),
            (b"\x10\x0c", Some(Wire::Mqtt)),
            (b"\x11", Some(Wire::Mqtt)),
            (b"\x01", Some(Wire::Line)),
            (b"\xff\xfe", Some(Wire::Line)),
            (b"\x1b[A", Some(Wire::Line)),
            (b"\xc0", Some(Wire::Mqtt)),
            (b"\xe0\x00", Some(Wire::Mqtt)),
            (b"\xe0", None),
            ("\u{641}".as_bytes(), Some(Wire::Line)),
            (b"\x82\x06", Some(Wire::Mqtt)),
            (b"0\x05", None),
            (b"0\x05\x00", Some(Wire::Mqtt)),
            (b"0 1", Some(Wire::Line)),
            (b"1\n", Some(Wire::Line)),
            (b"\x16\x03", Some(Wire::Tls)),
            (b"", None),
        ] {
            assert_eq!(sniff(first), wire, "{:?}", first.escape_ascii().to_string());
        }
    }
}
