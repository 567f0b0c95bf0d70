//! The steps between the end of a conversation and the close of its connection.
//!
//! [`Closing::of`] is the table: for every [`End`] and every [`Protocol`], whether the client is told
//! that the broker stops, how long queued bytes are sent, and whether the socket lingers. [`close`]
//! carries out the steps that need no socket; `net` does the rest.

use std::time::{Duration, Instant};

use crate::engine::client::Client;
use crate::engine::outbox::encoder::Parting;
use crate::wire::end::End;
use crate::wire::protocols::{Protocol, Subprotocol};
use crate::wire::websocket::TunnelEnd;

/// Maximum time to send a client that is refused its queued answers and the reason.
const LAST_WORDS: Duration = brief(Duration::from_secs(1));

/// Maximum time to send a close frame behind queued messages.
const CLOSE_FRAME: Duration = brief(Duration::from_millis(500));

/// No client reads in a fuzz target, and a second is worth hundreds of inputs there.
const fn brief(time: Duration) -> Duration {
    match cfg!(fuzzing) {
        true => Duration::ZERO,
        false => time,
    }
}

/// A conversation that has ended.
pub(crate) struct Finished {
    pub(crate) protocol: Protocol,
    pub(crate) end: End,
    /// The tunnel it used, unless that has been closed.
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

/// The steps between the end of a conversation and the close of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The client is told this.
    pub(crate) parting: Option<Parting>,
    pub(crate) drain: Drain,
    /// The socket is read from for a moment, until the client closes it too. Closing with unread bytes
    /// would send a reset, and the client's system would discard the last bytes sent.
    pub(crate) linger: bool,
    /// If the broker begins to stop meanwhile, this end becomes [`End::Stopping`].
    pub(crate) yields: bool,
}

/// How long queued bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    For(Duration),
    /// As long as the client reads, unless the broker stops.
    UntilStop,
    /// Until the deadline of the stopping broker.
    UntilDeadline,
}

impl Closing {
    const CUT: Self = Self {
        parting: None,
        drain: Drain::No,
        linger: false,
        yields: false,
    };

    /// The client is told why, but may refuse to read, hence the short time.
    const fn put_out(end: &End) -> Self {
        let parting = match end {
            End::AuthEnded => Parting::AuthEnded,
            _ => Parting::Kicked,
        };
        Self {
            parting: Some(parting),
            drain: Drain::For(LAST_WORDS),
            linger: true,
            yields: false,
        }
    }

    pub(crate) const fn of(protocol: Protocol, end: &End) -> Self {
        use Protocol::{Http, Line, Mqtt, Room, Tls, WebSocket};
        use Subprotocol::{Line as Lines, Mqtt as MqttInside, Talking as Chat};

        let at_once = Self {
            parting: None,
            drain: Drain::No,
            linger: false,
            // An MQTT conversation stops only where its own loop sees the shutdown: the end decides
            // whether the will is published. A TLS client would not understand what it is told.
            yields: matches!(protocol, Line | Http | WebSocket(_) | Room),
        };
        let lingering = Self {
            linger: true,
            ..at_once
        };
        match (end, protocol) {
            // All clients are told, and share one deadline. It may have passed when they have read
            // everything, so there is none to linger for.
            (End::Stopping, Line | Http | WebSocket(_) | Mqtt | Room) => Self {
                parting: Some(Parting::Stopping),
                drain: Drain::UntilDeadline,
                yields: false,
                ..at_once
            },
            (End::Kicked | End::AuthEnded, Line | Http | WebSocket(_) | Mqtt | Room) => {
                Self::put_out(end)
            }
            // `echo PUBLISH a b | nc`: the client has ended its side and still reads. It sends nothing,
            // so no bytes can be unread.
            (End::Left, Line | Http | WebSocket(Lines | Chat) | Room) => Self {
                drain: Drain::UntilStop,
                ..at_once
            },
            // MQTT has no half-closed connections: a client that ends its side is gone, and its queued messages
            // stay with its session. Within a handshake nothing may be said.
            (End::Left, Mqtt) | (End::Left | End::Stopping | End::Kicked | End::AuthEnded, Tls) => {
                at_once
            }
            // The client has asked for the end, or has all it asked for: the last answer must arrive,
            // however slowly the client reads, and whatever it has sent after its request.
            (End::SaidBye | End::Answered, Line | Http | WebSocket(Lines | Chat) | Room) => Self {
                drain: Drain::UntilStop,
                linger: true,
                ..at_once
            },
            // DISCONNECT is the last packet of both sides and has no answer [MQTT-3.14.4-1].
            (End::SaidBye | End::Answered, Mqtt | Tls) => lingering,
            // The client is told which rule it broke, but may refuse to read, hence the short time.
            (End::Refused(_), Http | Mqtt | WebSocket(MqttInside)) => Self {
                drain: Drain::For(LAST_WORDS),
                linger: true,
                ..at_once
            },
            // No queued answer has to arrive, or it was sent at once.
            (End::Refused(_), Line | WebSocket(Lines | Chat) | Tls | Room)
            | (End::NotSpoken(_), Line | Http | WebSocket(Lines | Chat) | Mqtt | Tls | Room) => {
                lingering
            }
            // The close frame follows queued bytes, and a browser that does not receive it reports an
            // error.
            (End::Left, WebSocket(MqttInside)) => Self {
                drain: Drain::For(CLOSE_FRAME),
                ..at_once
            },
            (End::SaidBye | End::Answered | End::NotSpoken(_), WebSocket(MqttInside)) => Self {
                drain: Drain::For(CLOSE_FRAME),
                linger: true,
                ..at_once
            },
            // The client cannot be reached any more.
            (
                End::Reset | End::Vanished | End::Failed(_),
                Line | Http | WebSocket(_) | Mqtt | Tls | Room,
            ) => at_once,
            // The queued bytes may be incomplete, so the connection ends as if it had been cut.
            (End::Panicked, Line | Http | WebSocket(_) | Mqtt | Tls | Room) => Self::CUT,
        }
    }
}

/// Ends a conversation as [`Closing`] says: sends queued bytes and the final answer. `stop` returns the
/// deadline if the broker stops. Returns the end, which is another if the broker stops meanwhile.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn close(
    client: &mut Client<'_>,
    finished: Finished,
    stop: impl Fn() -> Option<Instant>,
) -> Finished {
    // An audit must not wait for a client that reads its final answer slowly.
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
        if matches!(end, End::Left | End::Reset)
            && tunnel.as_ref().is_some_and(TunnelEnd::is_closing)
        {
            end = End::Answered;
        }
        let closing = Closing::of(protocol, &end);
        // RFC 6455 §5.5.1: no frame follows a close frame, so this is sent last.
        let close_frame = tunnel.take().map(|tunnel| tunnel.last_frame(&end));
        let parting = closing.parting.filter(|_| !is_closed);
        // Before the last words, behind which nothing is sent.
        match closing.drain {
            Drain::No | Drain::UntilStop => {}
            Drain::For(time) => client.wait_for_last_receipts(Instant::now() + time),
            Drain::UntilDeadline => {
                client.wait_for_last_receipts(deadline.unwrap_or_else(Instant::now))
            }
        }
        client.say_last(parting, close_frame.as_deref());
        is_closed |= close_frame.is_some();
        match closing.drain {
            Drain::No => {}
            Drain::For(time) => client.drain(Some(Instant::now() + time)),
            Drain::UntilStop => client.drain(None),
            Drain::UntilDeadline => client.drain(deadline),
        }
        // A shutdown that has begun meanwhile has ended the wait, and the client has yet to be told of
        // it.
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

    const PROTOCOLS: [Protocol; 8] = [
        Protocol::Line,
        Protocol::Http,
        Protocol::WebSocket(Subprotocol::Line),
        Protocol::WebSocket(Subprotocol::Talking),
        Protocol::WebSocket(Subprotocol::Mqtt),
        Protocol::Mqtt,
        Protocol::Tls,
        Protocol::Room,
    ];

    /// A row as text: the goodbye, the wait, and the linger.
    fn row(closing: Closing) -> &'static str {
        let is_told = closing.parting == Some(Parting::Stopping);
        match (is_told, closing.drain, closing.linger) {
            _ if closing.parting == Some(Parting::Kicked) => "kicked, words, linger",
            _ if closing.parting == Some(Parting::AuthEnded) => "ended, words, linger",
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

    /// The end of a conversation if the broker begins to stop when `stop` has been called
    /// `asked_before` times, and the bytes sent to the client.
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
        // If the broker stops first, the goodbye of the inner protocol comes first.
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
        let kicked = "kicked, words, linger";
        let ended = "ended, words, linger";
        // Line, HTTP, lines and the web chat in WebSocket, MQTT in WebSocket, MQTT, TLS, raw text.
        let table: [(End, [&str; 8]); 12] = [
            (
                End::Left,
                [drain, drain, drain, drain, "frame", "-", "-", drain],
            ),
            (
                End::SaidBye,
                [
                    both,
                    both,
                    both,
                    both,
                    "frame, linger",
                    "linger",
                    "linger",
                    both,
                ],
            ),
            (
                End::Answered,
                [
                    both,
                    both,
                    both,
                    both,
                    "frame, linger",
                    "linger",
                    "linger",
                    both,
                ],
            ),
            (
                End::Refused("".into()),
                [
                    "linger",
                    "words, linger",
                    "linger",
                    "linger",
                    "words, linger",
                    "words, linger",
                    "linger",
                    "linger",
                ],
            ),
            (
                End::NotSpoken(Protocol::Tls),
                [
                    "linger",
                    "linger",
                    "linger",
                    "linger",
                    "frame, linger",
                    "linger",
                    "linger",
                    "linger",
                ],
            ),
            (End::Reset, ["-"; 8]),
            (End::Vanished, ["-"; 8]),
            (failed(), ["-"; 8]),
            (End::Panicked, ["-"; 8]),
            (End::Stopping, [all, all, all, all, all, all, "-", all]),
            (
                End::Kicked,
                [kicked, kicked, kicked, kicked, kicked, kicked, "-", kicked],
            ),
            (
                End::AuthEnded,
                [ended, ended, ended, ended, ended, ended, "-", ended],
            ),
        ];
        for (end, rows) in table {
            for (protocol, expected) in PROTOCOLS.into_iter().zip(rows) {
                let closing = Closing::of(protocol, &end);
                assert_eq!(row(closing), expected, "{protocol}: {end}");
                let is_final = matches!(
                    end,
                    End::Stopping | End::Kicked | End::AuthEnded | End::Panicked
                );
                let keeps = matches!(protocol, Protocol::Mqtt | Protocol::Tls);
                assert_eq!(closing.yields, !is_final && !keeps, "{protocol}: {end}");
            }
        }
    }
}
