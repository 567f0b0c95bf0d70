//! How a conversation ended.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::wire::protocols::Protocol;

/// How a conversation ended. Most endings are ordinary, so this is not called an error.
#[derive(Debug)]
pub(crate) enum End {
    Left,
    /// Its system has reset the connection: bytes that were not read yet may be lost, also such that it sent
    /// before it closed.
    Reset,
    SaidBye,
    /// It has been sent its final answer.
    Answered,
    Vanished,
    Stopping,
    /// The operator has ended the connection.
    Kicked,
    /// The client's user or token is gone, is disabled, or has ended.
    AuthEnded,
    /// It speaks a protocol that the broker does not support.
    NotSpoken(Protocol),
    /// Its protocol requires the connection to end here.
    Refused(Cow<'static, str>),
    Failed(io::Error),
    Panicked,
}

impl From<io::Error> for End {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::ConnectionReset => Self::Reset,
            io::ErrorKind::BrokenPipe => Self::Left,
            io::ErrorKind::TimedOut => Self::Vanished,
            _ => Self::Failed(err),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => write!(f, "the client left"),
            Self::Reset => write!(f, "reset by the client; what was on its way is lost"),
            Self::SaidBye => write!(f, "the client said BYE"),
            Self::Answered => write!(f, "the last answer was sent"),
            Self::Vanished => write!(f, "the client vanished and answers no probe"),
            Self::Stopping => write!(f, "the broker stops"),
            Self::Kicked => write!(f, "the operator has ended it"),
            Self::AuthEnded => write!(f, "its user or its token has ended"),
            Self::NotSpoken(Protocol::Tls) => {
                write!(f, "it begins TLS, and this broker has no certificate")
            }
            Self::NotSpoken(protocol) => {
                write!(f, "it speaks {protocol}, which this broker does not yet")
            }
            Self::Refused(why) => write!(f, "it is refused: {why}"),
            Self::Failed(err) => write!(f, "the connection failed: {err}"),
            Self::Panicked => write!(f, "a bug of the broker, see the line before"),
        }
    }
}
