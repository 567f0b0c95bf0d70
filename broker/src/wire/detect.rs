//! Detects the protocol of a connection and serves it.
//!
//! All protocols share a port: the first bytes decide. Reads from a [`Source`] and returns how the
//! conversation ended. Nothing here says goodbye or closes the connection.

use std::ops::ControlFlow;

use memchr::{memchr, memmem};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::close::Finished;
use crate::wire::end::End;
use crate::wire::http::{self, HEAD_BYTES, Site};
use crate::wire::protocols::{Protocol, Subprotocol};
use crate::wire::proxy::{self, Admit};
use crate::wire::source::{Arrival, Source, take_limits};
use crate::wire::websocket::{self, Tunnel};
use crate::wire::{line, mqtt};

/// Serves a client in the protocol that it begins to speak, until the conversation has ended. The
/// caller then calls [`close`](super::close::close). If a proxy passes the client on, its PROXY header
/// comes first, and `behind_proxy` decides on the address in it.
pub(crate) fn serve(
    client: &mut Client<'_>,
    source: &mut impl Source,
    site: &Site,
    behind_proxy: Option<Admit<'_>>,
) -> Finished {
    let mut buffer = ReadBuffer::new(client.memory());
    let mut protocol = match begin(client, source, &mut buffer, behind_proxy) {
        ControlFlow::Continue(protocol) => protocol,
        ControlFlow::Break(finished) => return finished,
    };
    loop {
        let end = match protocol {
            Protocol::Line => line::LineConversation::new(client).read_loop(source, &mut buffer),
            Protocol::Http => match serve_http(client, source, &mut buffer, site) {
                ControlFlow::Continue(inside) => {
                    protocol = Protocol::WebSocket(inside);
                    continue;
                }
                ControlFlow::Break(end) => end,
            },
            Protocol::WebSocket(inside) => {
                return serve_websocket(client, source, &mut buffer, inside);
            }
            Protocol::Mqtt => serve_mqtt(client, source, &mut buffer),
            Protocol::Tls => End::NotSpoken(protocol),
        };
        return Finished::new(protocol, end);
    }
}

/// Learns the protocol of a client, and turns the client away if there is no place for it.
#[inline(never)]
fn begin(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    behind_proxy: Option<Admit<'_>>,
) -> ControlFlow<Finished, Protocol> {
    // A client that has sent nothing ends like one with an incomplete line.
    let ended = |end| Finished::new(Protocol::Line, end);
    let mut no_place = None;
    if let Some(admit) = behind_proxy
        && let Some(peer) = proxy::read_header(client, source, buffer).map_break(ended)?
    {
        client.record().set_peer(peer);
        no_place = admit(peer.ip()).err();
    }
    let protocol = wait_for_protocol(client, source, buffer).map_break(ended)?;
    if client.record().is_for_health() && protocol != Protocol::Http {
        no_place = Some("as many connections are open as this broker takes".to_owned());
    }
    match no_place {
        None => ControlFlow::Continue(protocol),
        Some(why) => ControlFlow::Break(turn_away(client, protocol, buffer.unread(), &why)),
    }
}

fn turn_away(client: &Client<'_>, protocol: Protocol, first: &[u8], why: &str) -> Finished {
    client.answer(&match protocol {
        Protocol::Mqtt => mqtt::busy(first, why).unwrap_or_default(),
        Protocol::Http => http::busy(first, why),
        Protocol::Tls => Vec::new(),
        Protocol::Line | Protocol::WebSocket(_) => line::busy(why),
    });
    Finished::new(protocol, End::Refused("there is no place for it".into()))
}

#[inline(never)]
fn wait_for_protocol(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
) -> ControlFlow<End, Protocol> {
    loop {
        if let Some(protocol) = detect(buffer.unread()) {
            client.note_heard(buffer.unread().len());
            return ControlFlow::Continue(protocol);
        }
        take_limits(client, source);
        // Up to this length the first bytes may be undecided, whatever the length of a line may be.
        match source.fill(buffer, HEAD_BYTES) {
            Arrival::Bytes | Arrival::Pause | Arrival::Silence => {}
            // The conversation refuses what it has no memory for.
            Arrival::NoMemory => return ControlFlow::Continue(likely(buffer.unread())),
            Arrival::End => return ControlFlow::Break(End::Left),
            Arrival::Stopping => return ControlFlow::Break(End::Stopping),
            Arrival::Failed(err) => return ControlFlow::Break(err.into()),
        }
    }
}

// These functions and the one above are out of line: inlined, their locals would lie on the stack of
// every connection, and most connections speak lines.

/// Serves requests; continues with the inner protocol if the client switches to WebSocket.
#[inline(never)]
fn serve_http(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    site: &Site,
) -> ControlFlow<End, Subprotocol> {
    client.set_encoder(&http::ENCODER);
    http::HttpConversation::new(client, site).read_loop(source, buffer)
}

/// `raw` contains bytes of the tunnel that were read already.
#[inline(never)]
fn serve_websocket(
    client: &mut Client<'_>,
    source: &mut impl Source,
    raw: &mut ReadBuffer,
    inside: Subprotocol,
) -> Finished {
    client.set_encoder(inside.encoder());
    let record = client.record().clone();
    let mut buffer = ReadBuffer::new(client.memory());
    let mut tunnel = Tunnel::new(source, &record, inside, raw);
    let end = match inside {
        Subprotocol::Line => {
            line::LineConversation::new(client).read_loop(&mut tunnel, &mut buffer)
        }
        Subprotocol::Mqtt => {
            mqtt::MqttConversation::new(client, websocket::MQTT).read_loop(&mut tunnel, &mut buffer)
        }
    };
    Finished {
        protocol: Protocol::WebSocket(inside),
        end,
        tunnel: Some(tunnel.into_end()),
    }
}

#[inline(never)]
fn serve_mqtt(client: &mut Client<'_>, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
    // Until CONNECT is accepted the version is unknown, and no packet comes before CONNACK [MQTT-3.2.0-1]: the
    // goodbye of 3.1.1 is empty.
    client.set_encoder(mqtt::ENCODERS.v3);
    mqtt::MqttConversation::new(client, mqtt::ENCODERS).read_loop(source, buffer)
}

const HTTP_METHODS: [&[u8]; 6] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"DELETE ",
];

/// The form of a version of HTTP; each `0` is any digit.
const VERSION: &[u8] = b"HTTP/0.0";

/// The protocol of these first bytes; `None` if more bytes are needed.
pub(super) fn detect(first: &[u8]) -> Option<Protocol> {
    match first {
        [0x10, ..] => return Some(Protocol::Mqtt),
        [0x16, ..] => return Some(Protocol::Tls),
        _ if is_packet(first)? => return Some(Protocol::Mqtt),
        _ => {}
    }
    if HTTP_METHODS.iter().any(|method| first.starts_with(method)) {
        return Some(Protocol::Http);
    }
    match is_request(first) {
        Some(true) => Some(Protocol::Http),
        Some(false) => Some(Protocol::Line),
        None => (first.len() > HEAD_BYTES).then(|| likely(first)),
    }
}

/// Whether the first line has the form of a request of HTTP, whatever its method: a page may send any
/// method, and lines in its body, under a name that it has made to point here. `None` if more bytes are
/// needed.
fn is_request(first: &[u8]) -> Option<bool> {
    let end = memchr(b'\n', first);
    let line = &first[..end.unwrap_or(first.len())];
    let mut fields = fields(line);
    let (Some(method), Some(target)) = (fields.next(), fields.next()) else {
        return end.map(|_| false);
    };
    let version = fields.next().unwrap_or_default();
    let is_cut = end.is_none() && !line.last().is_some_and(u8::is_ascii_whitespace);
    let may_be_version = version.len() <= VERSION.len()
        && version.iter().zip(VERSION).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
    if !may_be_version || fields.next().is_some() {
        return Some(false);
    }
    let target_is_cut = is_cut && version.is_empty();
    if !target_is_cut && !is_addressed(method, target) {
        return Some(false);
    }
    end.map(|_| version.len() == VERSION.len())
}

/// The protocol of first bytes that are undecided and too many for the head of a request, or for the
/// memory. What can only be a request, or no valid line, is HTTP, which refuses it and ends: the rest of
/// a line would be skipped, and what follows it be read.
fn likely(first: &[u8]) -> Protocol {
    let mut fields = fields(first);
    let is_http = match (fields.next(), fields.next()) {
        (Some(method), Some(target)) => is_addressed(method, target),
        (Some(method), None) => method.iter().all(is_of_token),
        (None, _) => false,
    };
    match is_http {
        true => Protocol::Http,
        false => Protocol::Line,
    }
}

/// The words of a request line, as tolerant readers find them (RFC 9112 §3).
fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = line.split(u8::is_ascii_whitespace);
    fields.filter(|field| !field.is_empty())
}

/// Whether this is, or begins, a target of HTTP (RFC 9112 §3.2).
fn is_addressed(method: &[u8], target: &[u8]) -> bool {
    target.starts_with(b"/")
        || target == b"*"
        || memmem::find(target, b"://").is_some()
        || method.eq_ignore_ascii_case(b"CONNECT")
}

/// Whether the name of a method may contain this byte (RFC 9110 §5.6.2).
fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Whether these bytes begin an MQTT packet and no text. A client whose first packet is not CONNECT
/// must be disconnected [MQTT-3.1.0-1], and would wait for that for ever if its bytes were taken for a
/// line. `None` if more bytes are needed.
fn is_packet(first: &[u8]) -> Option<bool> {
    Some(match *first.first()? {
        // The first byte of a terminal's function key.
        0x1b => false,
        // A CONNECT with reserved bits.
        0x11..0x20 => true,
        // No UTF-8 text begins with these.
        0x80..0xc2 => true,
        // The first byte of a multi-byte character must be followed by its second.
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
    use std::mem;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::engine::Engine;
    use crate::engine::limits::Limits;
    use crate::engine::outbox::tests::outbox;
    use crate::engine::session::clients::ClientRecord;
    use crate::wire::close::close;

    /// A client that sends these bytes, and then the broker stops.
    struct Stopped<'b>(&'b [u8]);

    impl Source for Stopped<'_> {
        fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
            if self.0.is_empty() {
                return Arrival::Stopping;
            }
            let room = buffer.fill(most).expect("there is memory");
            room.extend_from_slice(mem::take(&mut self.0));
            Arrival::Bytes
        }

        fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _: Instant) -> Arrival {
            self.fill(buffer, most)
        }

        fn wait_for_end(&mut self) -> Arrival {
            Arrival::Stopping
        }

        fn set_interval(&mut self, _: Duration) {}
    }

    /// What a client is told that has sent these bytes when the broker stops.
    fn told_at_stop(bytes: &[u8]) -> String {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        // As `net` begins a connection.
        outbox.set_encoder(&line::ENCODER);
        let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
        let mut client = Client::new(&engine, &record);
        let site = Site::new(&[], &[], &engine.limits);
        let finished = serve(&mut client, &mut Stopped(bytes), &site, None);
        let finished = close(&mut client, finished, || Some(Instant::now()));
        assert!(matches!(finished.end, End::Stopping), "{}", finished.end);
        let told = mem::take(&mut sink.0.lock().taken);
        told.escape_ascii().to_string()
    }

    #[test]
    fn a_client_is_told_that_the_broker_stops_in_the_protocol_that_it_speaks() {
        for (bytes, told) in [
            (&b""[..], "BYE\\n"),
            (b"PUBL", "BYE\\n"),
            // No packet comes before CONNACK [MQTT-3.2.0-1].
            (b"\x10", ""),
            (b"\x10\x0d\0\x04MQTT\x05\x02", ""),
            // 3.1.1 has no packet for it.
            (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a", " \\x02\\x00\\x00"),
        ] {
            assert_eq!(told_at_stop(bytes), told, "{}", bytes.escape_ascii());
        }
        let told = told_at_stop(b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01a");
        assert!(told.ends_with("\\xe0\\x02\\x8b\\x00"), "{told}");
    }

    #[test]
    fn the_first_bytes_decide_the_protocol() {
        for (first, protocol) in [
            (&b"PUBLISH a "[..], Some(Protocol::Line)),
            (b"PUBLISH a", None),
            (b"PUBLISH a\n", Some(Protocol::Line)),
            (b"@", None),
            (b"@a=b PUBLISH ", Some(Protocol::Line)),
            (b"\n", Some(Protocol::Line)),
            (b"PU", None),
            (b"P\n", Some(Protocol::Line)),
            (b"POST", None),
            (b"POST ", Some(Protocol::Http)),
            (b"POSTER a ", Some(Protocol::Line)),
            (b"GET / HTTP/1.1", Some(Protocol::Http)),
            (b"\x10\x0c", Some(Protocol::Mqtt)),
            (b"\x11", Some(Protocol::Mqtt)),
            (b"\x01\n", Some(Protocol::Line)),
            (b"\xff\xfe\n", Some(Protocol::Line)),
            (b"\x1b[A\n", Some(Protocol::Line)),
            (b"\xc0", Some(Protocol::Mqtt)),
            (b"\xe0\x00", Some(Protocol::Mqtt)),
            (b"\xe0", None),
            ("\u{641}\n".as_bytes(), Some(Protocol::Line)),
            (b"\x82\x06", Some(Protocol::Mqtt)),
            (b"0\x05", None),
            (b"0\x05\x00", Some(Protocol::Mqtt)),
            (b"0 1\n", Some(Protocol::Line)),
            (b"1\n", Some(Protocol::Line)),
            (b"\x16\x03", Some(Protocol::Tls)),
            (b"", None),
        ] {
            assert_eq!(
                detect(first),
                protocol,
                "{:?}",
                first.escape_ascii().to_string()
            );
        }
    }
    #[test]
    fn a_first_line_in_the_form_of_a_request_is_http() {
        for line in [
            "get / HTTP/1.1",
            "PATCH /x HTTP/1.1",
            "PUBLISH /a HTTP/1.1",
            "@a=b /x HTTP/1.0",
            "PRI * HTTP/2.0",
            "QUERY http://h/x HTTP/1.1",
            "trace x://y HTTP/9.9",
            "CONNECT h:443 HTTP/1.1",
            "connect h HTTP/1.1",
            "PATCH  /x\tHTTP/1.1 ",
            " PATCH /x HTTP/1.1",
        ] {
            for end in ["\n", "\r\n", "\nPUBLISH a b\n"] {
                let whole = format!("{line}{end}");
                assert_eq!(detect(whole.as_bytes()), Some(Protocol::Http), "{whole:?}");
            }
            for cut in 0..=line.len() {
                assert_eq!(detect(&line.as_bytes()[..cut]), None, "{line:?} to {cut}");
            }
        }
    }

    #[test]
    fn another_first_line_is_a_line_as_soon_as_that_is_certain() {
        for (line, enough) in [
            ("PUBLISH log HTTP/1.1", 12),
            ("PATCH /x HTTP/1.1 x", 19),
            ("PATCH /x HTTP/1.10", 18),
            ("PATCH /x HTTP/1.x", 17),
            ("PATCH /x http/1.1", 10),
            ("PATCH /x HTTP/1", 16),
            ("PATCH ** HTTP/1.1", 9),
            ("SUBSCRIBE a:/b HTTP/1.1", 15),
            ("PUBLISH /a", 11),
            ("CONNECTED h HTTP/1.1", 12),
        ] {
            let whole = format!("{line}\n");
            for cut in 0..=whole.len() {
                let expected = (cut >= enough).then_some(Protocol::Line);
                let first = &whole.as_bytes()[..cut];
                assert_eq!(detect(first), expected, "{line:?} to {cut}");
            }
        }
    }

    #[test]
    fn first_bytes_that_stay_undecided_are_http_unless_a_line_begins_like_them() {
        let long = "a".repeat(HEAD_BYTES);
        for (begin, protocol) in [
            ("", Protocol::Http),
            ("PATCH /", Protocol::Http),
            ("PUBLISH /", Protocol::Http),
            ("QUERY http://", Protocol::Http),
            ("CONNECT ", Protocol::Http),
            ("PUBLISH ", Protocol::Line),
            ("PING ", Protocol::Line),
            ("@id=", Protocol::Line),
            ("\0", Protocol::Line),
        ] {
            let first = format!("{begin}{long}x");
            assert_eq!(detect(&first.as_bytes()[..HEAD_BYTES]), None, "{begin}");
            assert_eq!(detect(first.as_bytes()), Some(protocol), "{begin}");
        }
    }
}
