//! Errors of the client, and whether a new connection may help.

use std::fmt;
use std::io;
use std::time::Duration;

use protocol::{BadFilter, BadName, BadTopic, Code, DecodeError, Subject, Verb};

use crate::printable::{printable, reason};
use crate::tls::TlsError;

/// What a server is whose first bytes are of TLS.
pub(crate) const TLS_SERVER: &str = "a server of TLS";

/// Why a call failed. If [`is_disconnect`](Self::is_disconnect) holds, the connection is gone and a
/// new one may help; otherwise the connection stays usable.
#[derive(Debug)]
pub enum Error {
    /// No broker could be reached.
    Unreachable {
        /// The address that was tried.
        server: String,
        /// The error of the last attempt.
        why: io::Error,
    },
    /// The server is not spoken to over TLS.
    Tls(TlsError),
    /// The broker has no room for this connection; its own text.
    Busy(String),
    /// The broker ended this connection and may take another one; why.
    Ended(String),
    /// The broker sent BYE first: it is stopping.
    Stopping,
    /// The broker closed the connection without BYE.
    Closed,
    /// The server closed the connection before it had sent anything.
    ClosedUnanswered,
    /// The connection broke.
    Lost(io::Error),
    /// The broker sent nothing for the given time, not even an answer to PING.
    Silent(Duration),
    /// The server is something else, as its first bytes say.
    OtherServer {
        /// What it is, such as `an HTTP server`.
        kind: String,
        /// The protocol that was expected of it.
        wanted: &'static str,
    },
    /// The peer does not speak this protocol.
    NotTheProtocol(DecodeError),
    /// The broker refused a frame.
    Refused(Refusal),
    /// No answer to a frame arrived in time.
    NoAnswer {
        /// The verb of the frame.
        to: Verb,
        /// How long nothing was sent or received.
        after: Duration,
    },
    /// A request reached no subscriber, so there will be no answer.
    NobodyListens,
    /// No answer to a request arrived in time.
    NobodyAnswered {
        /// How long the client waited.
        within: Duration,
    },
    /// The broker does not answer this inquiry: it is older than this client, or does not permit
    /// it.
    NotInquirable {
        /// The verb of the frame.
        what: &'static str,
        /// The refusal of the broker.
        refusal: Refusal,
    },
    /// The answer to an inquiry cannot be used.
    BadAnswer {
        /// The verb of the frame.
        what: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
    /// Nothing was sent, because the topic is invalid.
    BadTopic(BadTopic),
    /// Nothing was sent, because the filter is invalid.
    BadFilter(BadFilter),
    /// Nothing was sent, because the name is invalid.
    BadName(BadName),
    /// An [`Interrupt`](crate::Interrupt) was raised.
    Interrupted,
}

impl Error {
    /// Connecting to a server failed.
    pub(crate) fn unreachable(server: String, why: io::Error) -> Self {
        match why.downcast::<TlsError>() {
            Ok(why) => Self::Tls(why),
            Err(why) => Self::Unreachable { server, why },
        }
    }

    /// Why a [`Transport`](crate::Transport) has failed: the connection broke, or the server ended TLS
    /// with a reason.
    pub fn lost(why: io::Error) -> Self {
        match why.downcast::<TlsError>() {
            Ok(why) => Self::Tls(why),
            Err(why) => Self::Lost(why),
        }
    }

    /// Whether the server spoke TLS, and this client did not.
    pub fn is_for_want_of_tls(&self) -> bool {
        matches!(self, Self::OtherServer { kind, .. } if kind == TLS_SERVER)
    }

    /// Whether the connection is gone, so that a new one may help.
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Busy(_)
            | Self::Ended(_)
            | Self::Stopping
            | Self::Closed
            | Self::ClosedUnanswered
            | Self::Lost(_)
            | Self::Silent(_) => true,
            Self::Tls(_)
            | Self::OtherServer { .. }
            | Self::NotTheProtocol(_)
            | Self::Refused(_)
            | Self::NoAnswer { .. }
            | Self::NobodyListens
            | Self::NobodyAnswered { .. }
            | Self::NotInquirable { .. }
            | Self::BadAnswer { .. }
            | Self::BadTopic(_)
            | Self::BadFilter(_)
            | Self::BadName(_)
            | Self::Interrupted => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { server, why } => {
                write!(f, "no broker at {server} ({})", reason(why))
            }
            Self::Tls(why) => why.fmt(f),
            Self::Busy(text) => write!(f, "the broker is full: {text}"),
            Self::Ended(why) => f.write_str(why),
            Self::Stopping => write!(f, "the broker is stopping"),
            Self::Closed => write!(f, "the broker closed the connection"),
            Self::ClosedUnanswered => write!(
                f,
                "the broker closed the connection without an answer; it may speak another protocol"
            ),
            Self::OtherServer { kind, wanted } => {
                write!(f, "this is {kind}, not a broker that speaks {wanted}")
            }
            Self::Lost(why) => write!(f, "the connection broke: {}", reason(why)),
            Self::Silent(time) => write!(f, "the broker has been silent for {time:?}"),
            Self::NotTheProtocol(why) => {
                write!(f, "the peer does not speak this protocol: {why}")
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoAnswer { to, after } => write!(f, "no answer to {to} within {after:?}"),
            Self::NobodyListens => write!(f, "no subscriber on this topic"),
            Self::NobodyAnswered { within } => write!(f, "no answer within {within:?}"),
            Self::NotInquirable { what, refusal } => {
                write!(
                    f,
                    "this broker does not answer the inquiry `{what}`: {refusal}"
                )
            }
            Self::BadAnswer { what, why } => write!(f, "the answer to `{what}` {why}"),
            Self::BadTopic(why) => why.fmt(f),
            Self::BadFilter(why) => why.fmt(f),
            Self::BadName(why) => why.fmt(f),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { why, .. } | Self::Lost(why) => Some(why),
            Self::Tls(why) => Some(why),
            Self::NotTheProtocol(why) => Some(why),
            Self::BadTopic(why) => Some(why),
            Self::BadFilter(why) => Some(why),
            Self::BadName(why) => Some(why),
            Self::Refused(refusal) | Self::NotInquirable { refusal, .. } => Some(refusal),
            Self::Busy(_)
            | Self::Ended(_)
            | Self::Stopping
            | Self::Closed
            | Self::ClosedUnanswered
            | Self::OtherServer { .. }
            | Self::Silent(_)
            | Self::NoAnswer { .. }
            | Self::NobodyListens
            | Self::NobodyAnswered { .. }
            | Self::BadAnswer { .. }
            | Self::Interrupted => None,
        }
    }
}

/// An `ERROR` of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code for programs: one of [`Code`], or a code of a newer broker.
    pub code: String,
    /// The refused frame, as on the wire: `publish:3`, `subscribe:a/#`, `unsubscribe:a/#` or
    /// `line`.
    pub subject: String,
    /// The text for people.
    pub text: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, subject: Subject<'_>, text: &str) -> Self {
        let named = |what: &str, name| format!("{what}:{}", String::from_utf8_lossy(name));
        let subject = match subject {
            Subject::Publish(number) => format!("publish:{number}"),
            Subject::Subscribe(filter) => named("subscribe", filter),
            Subject::Unsubscribe(filter) => named("unsubscribe", filter),
            Subject::Line => "line".to_owned(),
        };
        Self {
            code: printable(code),
            subject: printable(&subject),
            text: printable(text),
        }
    }

    /// Whether the broker does not permit it to this client.
    pub fn is_denied(&self) -> bool {
        self.code == Code::Denied.as_str()
    }

    /// Whether the broker wants to know first who this client is, or what it has shown is wrong or over.
    pub fn is_auth(&self) -> bool {
        self.code == Code::Auth.as_str()
    }

    /// Whether the broker has no room for this connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.code == Code::Busy.as_str()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.text, self.code, self.subject)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_frame() {
        let refusal = Refusal::new("denied", Subject::Subscribe(b"a/#"), "ask for b/#");
        assert_eq!(refusal.to_string(), "ask for b/# (denied subscribe:a/#)");
        assert!(refusal.is_denied());
    }

    #[test]
    fn a_refusal_cannot_command_a_terminal() {
        let refusal = Refusal::new("x", Subject::Line, "\x1b[2J\n\u{9b}\u{202e}\u{2028}");
        assert_eq!(refusal.text, "?[2J????");
    }
}
