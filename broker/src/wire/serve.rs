//! Serves a connection in the protocol that its client begins to speak.
//!
//! Reads from a [`Source`] and returns how the conversation ended. Nothing here says goodbye or closes
//! the connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::close::Finished;
use crate::wire::detect::{detect, likely};
use crate::wire::end::End;
use crate::wire::http::{self, HEAD_BYTES, Site, SiteSettings};
use crate::wire::protocols::{Protocol, Subprotocol};
use crate::wire::proxy::{self, Admit};
use crate::wire::room::{self, Room};
use crate::wire::source::{Arrival, Security, SendForm, Source, take_limits};
use crate::wire::talking::{self, WebChat};
use crate::wire::websocket::{self, Tunnel};
use crate::wire::{line, mqtt};

/// What a port is for.
#[derive(Clone)]
pub(crate) enum Entrance {
    /// All protocols.
    Wires(Arc<Wires>),
    /// Raw text.
    Room(Arc<Room>),
}

/// What the conversations of all protocols share.
pub(crate) struct Wires {
    site: Site,
    chat: WebChat,
}

impl Entrance {
    pub(crate) fn wires(site: Site, chat: WebChat) -> Self {
        Self::Wires(Arc::new(Wires { site, chat }))
    }

    /// Replaces what is configured of the site for browsers.
    pub(crate) fn replace_site(&self, settings: SiteSettings) {
        if let Self::Wires(wires) = self {
            wires.site.replace(settings);
        }
    }

    /// Whether a client finds the same behind both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wires(one), Self::Wires(other)) => Arc::ptr_eq(one, other),
            (Self::Room(one), Self::Room(other)) => one.topic() == other.topic(),
            (Self::Wires(_), Self::Room(_)) | (Self::Room(_), Self::Wires(_)) => false,
        }
    }

    pub(crate) fn is_room(&self) -> bool {
        matches!(self, Self::Room(_))
    }
}

/// Serves a client until the conversation has ended; where all protocols are served, in the one that it
/// begins to speak. The caller then calls [`close`](super::close::close). If a proxy passes the client
/// on, its PROXY header comes first, and `behind_proxy` decides on the address in it.
pub(crate) fn serve(
    client: &mut Client<'_>,
    source: &mut impl Source,
    entrance: &Entrance,
    behind_proxy: Option<Admit<'_>>,
) -> Finished {
    let mut buffer = ReadBuffer::new(client.memory());
    let wires = match entrance {
        Entrance::Wires(wires) => wires,
        Entrance::Room(room) => return serve_room(client, source, &mut buffer, room, behind_proxy),
    };
    let mut protocol = match begin(client, source, &mut buffer, behind_proxy) {
        ControlFlow::Continue(protocol) => protocol,
        ControlFlow::Break(finished) => return finished,
    };
    loop {
        let end = match protocol {
            Protocol::Line => line::LineConversation::new(client).read_loop(source, &mut buffer),
            Protocol::Http => match serve_http(client, source, &mut buffer, &wires.site) {
                ControlFlow::Continue(inside) => {
                    protocol = Protocol::WebSocket(inside);
                    continue;
                }
                ControlFlow::Break(end) => end,
            },
            Protocol::WebSocket(inside) => {
                return serve_websocket(client, source, &mut buffer, inside, &wires.chat);
            }
            Protocol::Mqtt => serve_mqtt(client, source, &mut buffer),
            Protocol::Tls | Protocol::Room => End::NotSpoken(protocol),
        };
        return Finished::new(protocol, end);
    }
}

/// Why a client gets no place that has one for health checks only.
fn no_place(client: &Client<'_>) -> String {
    let why = match client.is_broker_draining() {
        true => "the broker is about to stop and takes no newcomers",
        false => "as many connections are open as this broker takes",
    };
    why.to_owned()
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
    let mut no_place = learn_address(client, source, buffer, behind_proxy).map_break(ended)?;
    let mut protocol = wait_for_protocol(client, source, buffer).map_break(ended)?;
    if protocol == Protocol::Tls && no_place.is_none() {
        protocol = begin_tls(client, source, buffer)?;
    } else if source.security() == Security::Missing && no_place.is_none() {
        return ControlFlow::Break(refuse_plain(client, source, buffer, protocol));
    }
    if client.record().is_for_health() && protocol != Protocol::Http {
        no_place = Some(self::no_place(client));
    }
    match no_place {
        None => ControlFlow::Continue(protocol),
        Some(why) => ControlFlow::Break(turn_away(client, protocol, buffer.unread(), &why)),
    }
}

/// Behind a proxy, reads its header. Continues with the reason if there is no place for the client.
fn learn_address(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    behind_proxy: Option<Admit<'_>>,
) -> ControlFlow<End, Option<String>> {
    let Some(admit) = behind_proxy else {
        return ControlFlow::Continue(None);
    };
    let Some(peer) = proxy::read_header(client, source, buffer)? else {
        return ControlFlow::Continue(None);
    };
    client.record().set_peer(peer.into());
    ControlFlow::Continue(admit(peer.ip()).err())
}

/// Serves a member of a room for raw text.
#[inline(never)]
fn serve_room(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    room: &Room,
    behind_proxy: Option<Admit<'_>>,
) -> Finished {
    let no_place = match learn_address(client, source, buffer, behind_proxy) {
        ControlFlow::Continue(no_place) => no_place,
        ControlFlow::Break(end) => return Finished::new(Protocol::Room, end),
    };
    if no_place.is_none()
        && let ControlFlow::Break(finished) = secure_room(client, source, buffer)
    {
        return finished;
    }
    let for_health = client.record().is_for_health();
    match no_place.or_else(|| for_health.then(|| self::no_place(client))) {
        None => room::serve(client, source, buffer, room),
        Some(why) => turn_away(client, Protocol::Room, &[], &why),
    }
}

/// What a client is told that must use TLS and does not.
const TLS_ONLY: &str = "this port speaks TLS only";

/// Maximum time for the bytes by which such a client can be answered.
const ANSWERABLE_TIME: Duration = Duration::from_secs(10);

/// Tells a client in its own protocol that it must use TLS.
#[inline(never)]
fn refuse_plain(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    protocol: Protocol,
) -> Finished {
    let deadline = Instant::now() + ANSWERABLE_TIME;
    let answer = loop {
        let answer = match protocol {
            Protocol::Mqtt => mqtt::not_secured(buffer.unread(), TLS_ONLY),
            Protocol::Http => Some(http::not_here(TLS_ONLY)),
            Protocol::Tls => Some(Vec::new()),
            Protocol::Line | Protocol::WebSocket(_) => Some(line::not_secured(TLS_ONLY)),
            Protocol::Room => Some(room::notice(TLS_ONLY)),
        };
        match answer {
            Some(answer) => break answer,
            // A CONNECT whose version has not come.
            None => match source.fill_by(buffer, HEAD_BYTES, deadline) {
                Arrival::Bytes | Arrival::Pause => {}
                Arrival::Silence if Instant::now() < deadline => {}
                Arrival::Silence
                | Arrival::NoMemory
                | Arrival::End
                | Arrival::Stopping
                | Arrival::Failed(_) => break Vec::new(),
            },
        }
    };
    client.signal(&answer);
    Finished::new(protocol, End::Refused("it must use TLS".into()))
}

/// Begins TLS and learns the protocol inside.
#[inline(never)]
fn begin_tls(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
) -> ControlFlow<Finished, Protocol> {
    let failed = |end| Finished::new(Protocol::Tls, end);
    source
        .begin_tls(client, buffer, SendForm::Stream)
        .map_break(failed)?;
    let agreed = match source.security() {
        Security::Tls(agreed) => agreed,
        Security::Plain | Security::Missing => None,
    };
    // If the connection ends before the first byte, the client is told so in what it has agreed on.
    if agreed == Some(Protocol::Mqtt) {
        client.set_encoder(mqtt::ENCODERS.v3);
    } else if agreed == Some(Protocol::Http) {
        client.set_encoder(&http::ENCODER);
    }
    let inside = wait_for_protocol(client, source, buffer);
    let inside = inside.map_break(|end| Finished::new(Protocol::Line, end))?;
    if inside == Protocol::Tls {
        return ControlFlow::Break(Finished::new(
            Protocol::Line,
            End::Refused("it begins TLS inside of TLS".into()),
        ));
    }
    match agreed {
        Some(agreed) if agreed != inside => {
            source.refuse_tls();
            let why = format!("it speaks {inside} and has agreed on {agreed} (ALPN)");
            ControlFlow::Break(Finished::new(Protocol::Line, End::Refused(why.into())))
        }
        _ => ControlFlow::Continue(inside),
    }
}

/// Waits for the first byte of a member of a room, and begins TLS if that does. Nothing is said there before.
fn secure_room(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
) -> ControlFlow<Finished> {
    let ended = |end| ControlFlow::Break(Finished::new(Protocol::Room, end));
    client.set_encoder(&room::ENCODER);
    while buffer.unread().is_empty() {
        take_limits(client, source);
        match source.fill(buffer, HEAD_BYTES) {
            Arrival::Bytes | Arrival::Pause | Arrival::Silence => {}
            Arrival::NoMemory => break,
            Arrival::End => return ended(End::Left),
            Arrival::Stopping => return ended(End::Stopping),
            Arrival::Failed(err) => return ended(err.into()),
        }
    }
    match detect(buffer.unread()) {
        // In a handshake nothing can be said as text, also not that the broker stops.
        Some(Protocol::Tls) => source
            .begin_tls(client, buffer, SendForm::Lines)
            .map_break(|end| Finished::new(Protocol::Tls, end)),
        _ if source.security() == Security::Missing => {
            ControlFlow::Break(refuse_plain(client, source, buffer, Protocol::Room))
        }
        _ => {
            client.note_heard(buffer.unread().len());
            ControlFlow::Continue(())
        }
    }
}

fn turn_away(client: &Client<'_>, protocol: Protocol, first: &[u8], why: &str) -> Finished {
    client.answer(&match protocol {
        Protocol::Mqtt => mqtt::busy(first, why).unwrap_or_default(),
        Protocol::Http => http::busy(first, why),
        Protocol::Tls => Vec::new(),
        Protocol::Line | Protocol::WebSocket(_) => line::busy(why),
        Protocol::Room => room::busy(why),
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
    chat: &WebChat,
) -> Finished {
    client.set_encoder(inside.encoder());
    let record = client.record().clone();
    let mut buffer = ReadBuffer::new(client.memory());
    let mut tunnel = Tunnel::new(source, &record, inside, raw);
    let end = match inside {
        Subprotocol::Talking => {
            let encoder = inside.encoder();
            talking::serve(client, &mut tunnel, &mut buffer, encoder, chat)
        }
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

#[cfg(test)]
mod tests {
    use std::mem;
    use std::sync::Arc;

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
        let site = Site::new(SiteSettings::default(), &engine.limits);
        let entrance = Entrance::wires(site, WebChat::default());
        let finished = serve(&mut client, &mut Stopped(bytes), &entrance, None);
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
}
