//! The close of a tunnel: the codes that a client may send, and the final frame it receives.
//!
//! Nothing here sends a frame. `wire/close.rs` decides when it is sent, and how long to wait for it.

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::frame::{CONTROL_BYTES, Violation, rule};
use crate::wire::end::End;

/// The state that determines the final frame of a tunnel.
#[derive(Default)]
pub(crate) struct TunnelEnd {
    pub(super) reason: Option<CloseReason>,
    /// The client has ended its side of the connection, so that no more can be read.
    pub(super) has_ended: bool,
}

/// Why a tunnel ends with a close frame.
pub(super) enum CloseReason {
    /// The client has sent a close frame, with or without a code.
    Asked(Option<CloseCode>),
    Violated(Violation),
}

impl TunnelEnd {
    /// Whether the tunnel is closing, because the client has closed it or has broken a rule.
    pub(crate) fn is_closing(&self) -> bool {
        self.reason.is_some()
    }

    /// The close frame after a conversation with this end; empty if the client is not there to receive
    /// it.
    pub(crate) fn last_frame(&self, end: &End) -> Vec<u8> {
        let close = |code, reason: &str| {
            let reason = reason.to_owned().into();
            Some(Frame::close(Some(CloseFrame { code, reason })))
        };
        let frame = match (&self.reason, end) {
            (Some(CloseReason::Violated(Violation { code, why })), _) => close(*code, why),
            (_, End::Stopping) => close(CloseCode::Away, "the broker stops"),
            (_, End::AuthEnded) => close(CloseCode::Policy, "your user or your token has ended"),
            (_, End::Kicked) => close(CloseCode::Policy, "the operator has ended this connection"),
            // RFC 6455 §5.5.1: a close frame is answered by another one, normally with the same code.
            (Some(CloseReason::Asked(Some(code))), _) => close(*code, ""),
            (Some(CloseReason::Asked(None)), _) => Some(Frame::close(None)),
            (None, End::SaidBye) => close(CloseCode::Normal, ""),
            // Another connection of the same client has taken its session over.
            (None, End::Refused(_)) if self.has_ended => close(CloseCode::Normal, ""),
            (None, End::Refused(why)) => close(CloseCode::Protocol, first_bytes(why)),
            (
                None,
                End::Left
                | End::Reset
                | End::Answered
                | End::Vanished
                | End::NotSpoken(_)
                | End::Failed(_)
                | End::Panicked,
            ) => None,
        };
        let mut bytes = Vec::new();
        if let Some(frame) = frame {
            frame
                .format(&mut bytes)
                .expect("writing to a vector does not fail");
        }
        bytes
    }
}

/// The code in the payload of a close frame, if present (RFC 6455 §5.5.1 and §7.4).
pub(super) fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(rule("a close frame has a code of two bytes, or nothing")),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if !code.is_allowed() {
                return Err(rule("a close frame has a code that may be sent"));
            }
            match str::from_utf8(reason) {
                Ok(_) => Ok(Some(code)),
                Err(_) => Err(Violation {
                    code: CloseCode::Invalid,
                    why: "the reason of a close frame is UTF-8",
                }),
            }
        }
    }
}

/// The part of a text that fits into a control frame with a code.
fn first_bytes(text: &str) -> &str {
    &text[..text.floor_char_boundary(CONTROL_BYTES as usize - 2)]
}
