//! What each end of a conversation asks for before its connection is closed.
//!
//! [`Closing::of`] is the table: for every [`End`] and every [`Protocol`], whether the client is told that the
//! broker stops, how long it may take what waits for it, and whether the socket lingers. [`close`] does what
//! the table says, as far as it takes no socket; `net` does the rest.

use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::wire::end::End;
use crate::wire::protocols::{Protocol, Subprotocol};
use crate::wire::websocket::TunnelEnd;

/// How long a client that breaks a rule of MQTT may take the answers before its end, and the reason.
const LAST_WORDS: Duration = brief(Duration::from_secs(1));

/// How long a close frame is waited for that stands behind messages.
const CLOSE_FRAME: Duration = brief(Duration::from_millis(500));

/// No client takes anything in a fuzz target, and a second is worth hundreds of inputs there.
const fn brief(time: Duration) -> Duration {
    match cfg!(fuzzing) {
        true => Duration::ZERO,
        false => time,
    }
}

/// A conversation that is over.
pub(crate) struct Finished {
    pub(crate) protocol: Protocol,
    pub(crate) end: End,
    /// The tunnel that it went through, as long as that has not been closed.
    pub(crate) tunnel: Option<TunnelEnd>,
}

impl Finished {
    pub(crate) fn new(protocol: Protocol, end: End) -> Self {
        Self {
            protocol,
            end,
            tunnel: None,
        }
    }
}

/// What is done between the end of a conversation and that of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The client is told that the broker stops.
    pub(crate) goodbye: bool,
    pub(crate) drain: Drain,
    /// The socket is read from until the client closes it too, for a moment. With bytes unread, the close
    /// would be a reset, and the client's system would throw away what it was sent last.
    pub(crate) linger: bool,
    /// If the broker stops by then, this end becomes [`End::Stopping`].
    pub(crate) yields: bool,
}

/// How long what waits for the client goes on being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    For(Duration),
    /// As long as the client takes, unless the broker stops.
    UntilStop,
    /// To the deadline of a broker that stops.
    UntilDeadline,
}

impl Closing {
    pub(crate) const fn of(protocol: Protocol, end: &End) -> Self {
        use Protocol::{Http, Line, Mqtt, Tls, WebSocket};
        use Subprotocol::{Line as LineInside, Mqtt as MqttInside};

        let at_once = Self {
            goodbye: false,
            drain: Drain::No,
            linger: false,
            // MQTT yields to nothing but the stop that its own loop has seen: whether a will is published
            // depends on the end. TLS is not told anything, because it would not understand it.
            yields: matches!(protocol, Line | Http | WebSocket(_)),
        };
        match (end, protocol) {
            // All clients are told, and share one deadline. It may be over by the time they have read all,
            // so there is none to linger for.
            (End::Stopping, Line | Http | WebSocket(_) | Mqtt | Tls) => Self {
                goodbye: true,
                drain: Drain::UntilDeadline,
                yields: false,
                ..at_once
            },
            // `echo PUBLISH a b | nc`: the client has ended its side and still reads. It has nothing to
            // send, so nothing can be left unread.
            (End::Left, Line | Http | WebSocket(LineInside)) => Self {
                drain: Drain::UntilStop,
                ..at_once
            },
            // MQTT is never half closed: a client that ends its side is gone, and what waits stays with its
            // session.
            (End::Left, Mqtt | Tls) => at_once,
            // The client has asked for the end, or has had all it asked for: the last answer must arrive,
            // however far behind the client is, and whatever it has sent on after its request.
            (End::SaidBye | End::Answered, Line | Http | WebSocket(LineInside)) => Self {
                drain: Drain::UntilStop,
                linger: true,
                ..at_once
            },
            // DISCONNECT is the last packet of both sides and has no answer [MQTT-3.14.4-1].
            (End::SaidBye | End::Answered, Mqtt | Tls) => Self {
                linger: true,
                ..at_once
            },
            // The client is to learn which rule it broke, and is not trusted to take that.
            (End::Refused(_), Mqtt | WebSocket(MqttInside)) => Self {
                drain: Drain::For(LAST_WORDS),
                linger: true,
                ..at_once
            },
            // Nothing was said that waits, or it has left at once.
            (End::Refused(_), Line | Http | WebSocket(LineInside) | Tls)
            | (End::NotSpoken(_), Line | Http | WebSocket(LineInside) | Mqtt | Tls) => Self {
                linger: true,
                ..at_once
            },
            // The close frame stands behind what waits, and a browser that does not get it reports an error.
            (End::Left, WebSocket(MqttInside)) => Self {
                drain: Drain::For(CLOSE_FRAME),
                ..at_once
            },
            (End::SaidBye | End::Answered | End::NotSpoken(_), WebSocket(MqttInside)) => Self {
                drain: Drain::For(CLOSE_FRAME),
                linger: true,
                ..at_once
            },
            // There is no way to the client any more.
            (End::Vanished | End::Failed(_), Line | Http | WebSocket(_) | Mqtt | Tls) => at_once,
            // What waits may be half of something, and the connection ends as if it had been cut.
            (End::Panicked, Line | Http | WebSocket(_) | Mqtt | Tls) => Self {
                yields: false,
                ..at_once
            },
        }
    }
}

/// Ends a conversation on this side as [`Closing`] says: what waits is sent, the last is said. `stop` gives
/// the deadline if the broker stops. The end that is returned may be another: the broker may stop meanwhile.
#[inline(never)]
pub(crate) fn close(
    client: &mut Client<'_>,
    finished: Finished,
    stop: impl Fn() -> Option<Instant>,
) -> Finished {
    // An audit must not wait for a client that takes its last slowly.
    client.settle();
    let Finished {
        protocol,
        mut end,
        mut tunnel,
    } = finished;
    let mut is_closed = false;
    loop {
        let deadline = stop();
        if deadline.is_some() && Closing::of(protocol, &end).yields {
            end = End::Stopping;
        }
        if matches!(end, End::Left) && tunnel.as_ref().is_some_and(TunnelEnd::is_closing) {
            end = End::Answered;
        }
        let closing = Closing::of(protocol, &end);
        // RFC 6455 §5.5.1: no frame follows a close frame, so this is the last that is said.
        let close_frame = tunnel.take().map(|tunnel| tunnel.last_frame(&end));
        client.say_last(closing.goodbye && !is_closed, close_frame.as_deref());
        is_closed |= close_frame.is_some();
        match closing.drain {
            Drain::No => {}
            Drain::For(time) => client.drain(Some(Instant::now() + time)),
            Drain::UntilStop => client.drain(None),
            Drain::UntilDeadline => client.drain(deadline),
        }
        // A stop that has begun meanwhile has ended the wait, and the client has yet to be told of it.
        if !closing.yields || stop().is_none() {
            return Finished::new(protocol, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::mem;
    use std::sync::Arc;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::limits::Limits;
    use crate::engine::outbox::tests::outbox;
    use crate::engine::session::clients::ClientRecord;
    use crate::wire::line;

    const PROTOCOLS: [Protocol; 6] = [
        Protocol::Line,
        Protocol::Http,
        Protocol::WebSocket(Subprotocol::Line),
        Protocol::WebSocket(Subprotocol::Mqtt),
        Protocol::Mqtt,
        Protocol::Tls,
    ];

    /// A row as text: what is said and waited for, and whether it lingers.
    fn row(closing: Closing) -> &'static str {
        match (closing.goodbye, closing.drain, closing.linger) {
            (false, Drain::No, false) => "-",
            (false, Drain::No, true) => "linger",
            (false, Drain::UntilStop, false) => "drain",
            (false, Drain::UntilStop, true) => "drain, linger",
            (false, Drain::For(CLOSE_FRAME), false) => "frame",
            (false, Drain::For(CLOSE_FRAME), true) => "frame, linger",
            (false, Drain::For(LAST_WORDS), true) => "words, linger",
            (true, Drain::UntilDeadline, false) => "goodbye, drain",
            other => panic!("no row is like this: {other:?}"),
        }
    }

    /// How a conversation ends if the broker begins to stop when it has been asked so many times whether it
    /// does, and what the client is told.
    fn closed(finished: Finished, asked_before: usize) -> (End, String) {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let (outbox, sink) = outbox(1, 1000, usize::MAX);
        outbox.set_encoder(match finished.protocol {
            Protocol::WebSocket(inside) => inside.encoder(),
            _ => &line::ENCODER,
        });
        let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
        let mut client = Client::new(&engine, &record);
        let asked = Cell::new(0);
        let finished = close(&mut client, finished, || {
            asked.set(asked.get() + 1);
            (asked.get() > asked_before).then(Instant::now)
        });
        let said = mem::take(&mut sink.0.lock().taken);
        (finished.end, said.escape_ascii().to_string())
    }

    fn lines(end: End) -> Finished {
        Finished::new(Protocol::Line, end)
    }

    fn in_tunnel(end: End) -> Finished {
        Finished {
            protocol: Protocol::WebSocket(Subprotocol::Line),
            end,
            tunnel: Some(TunnelEnd::default()),
        }
    }

    #[test]
    fn a_stop_takes_the_place_of_the_end_and_is_told_once_also_if_it_begins_meanwhile() {
        let (end, said) = closed(lines(End::Left), usize::MAX);
        assert!(matches!(end, End::Left), "{end:?}");
        assert_eq!(said, "");
        for asked_before in [0, 1] {
            let (end, said) = closed(lines(End::Left), asked_before);
            assert!(matches!(end, End::Stopping), "{end:?}");
            assert_eq!(said, "BYE\\n");
        }
        let (end, said) = closed(Finished::new(Protocol::Mqtt, End::SaidBye), 0);
        assert!(matches!(end, End::SaidBye), "{end:?}");
        assert_eq!(said, "");
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        // RFC 6455 §5.5.1.
        let normal = "\\x88\\x02\\x03\\xe8";
        let (_, said) = closed(in_tunnel(End::SaidBye), usize::MAX);
        assert_eq!(said, normal);
        let (end, said) = closed(in_tunnel(End::SaidBye), 1);
        assert!(matches!(end, End::Stopping), "{end:?}");
        assert_eq!(said, normal);
        // If the broker stops before, the goodbye of the protocol inside comes first.
        let (_, said) = closed(in_tunnel(End::SaidBye), 0);
        let away = "\\x88\\x12\\x03\\xe9the broker stops";
        assert_eq!(said, format!("\\x81\\x04BYE\\n{away}"));
    }

    #[test]
    fn every_end_of_every_protocol_has_its_row() {
        let failed = || End::Failed(io::ErrorKind::Other.into());
        let drain = "drain";
        let both = "drain, linger";
        let all = "goodbye, drain";
        // Line, HTTP, lines in WebSocket, MQTT in WebSocket, MQTT, TLS.
        let table: [(End, [&str; 6]); 9] = [
            (End::Left, [drain, drain, drain, "frame", "-", "-"]),
            (
                End::SaidBye,
                [both, both, both, "frame, linger", "linger", "linger"],
            ),
            (
                End::Answered,
                [both, both, both, "frame, linger", "linger", "linger"],
            ),
            (
                End::Refused("".into()),
                [
                    "linger",
                    "linger",
                    "linger",
                    "words, linger",
                    "words, linger",
                    "linger",
                ],
            ),
            (
                End::NotSpoken(Protocol::Tls),
                [
                    "linger",
                    "linger",
                    "linger",
                    "frame, linger",
                    "linger",
                    "linger",
                ],
            ),
            (End::Vanished, ["-"; 6]),
            (failed(), ["-"; 6]),
            (End::Panicked, ["-"; 6]),
            (End::Stopping, [all; 6]),
        ];
        for (end, rows) in table {
            for (protocol, expected) in PROTOCOLS.into_iter().zip(rows) {
                let closing = Closing::of(protocol, &end);
                assert_eq!(row(closing), expected, "{protocol}: {end}");
                let is_final = matches!(end, End::Stopping | End::Panicked);
                let keeps = matches!(protocol, Protocol::Mqtt | Protocol::Tls);
                assert_eq!(closing.yields, !is_final && !keeps, "{protocol}: {end}");
            }
        }
    }
}
