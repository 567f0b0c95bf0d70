//! Why a connection to an MQTT broker ended, or a packet was refused.

use std::io;

use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::Code;

use super::reason;
use crate::error::{Error, Refusal};
use crate::printable::printable;

/// What a refusal of CONNECT, and DISCONNECT, are about.
const CONNECTION: &str = "connection";

/// A refusal with this reason code.
pub(super) fn refusal(code: u8, text: Option<String>, subject: String) -> Refusal {
    let is_auth = subject == CONNECTION && reason::is_auth(code);
    let text = text.unwrap_or_else(|| match is_auth {
        true => reason::words_of_auth(code).to_owned(),
        false => reason::words(code).to_owned(),
    });
    let word = match code {
        _ if is_auth => Code::Auth.to_string(),
        code if reason::is_denied(code) => Code::Denied.to_string(),
        code => format!("0x{code:02x}"),
    };
    Refusal {
        code: word,
        subject: printable(&subject),
        text: printable(&text),
    }
}

/// The error for a connection that the broker ended with this code.
pub(super) fn end_error(code: u8, text: Option<String>) -> Error {
    match code {
        0x00..0x80 => Error::Closed,
        0x8b => Error::Stopping,
        code if reason::is_passing(code) => {
            Error::Busy(printable(text.as_deref().unwrap_or(reason::words(code))))
        }
        code => Error::Refused(refusal(code, text, CONNECTION.to_owned())),
    }
}

/// The error for a packet that cannot be encoded.
pub(super) fn encode_error(subject: &str, error: MqttError) -> Error {
    Error::Refused(Refusal {
        code: "unsayable".to_owned(),
        subject: printable(subject),
        text: format!("MQTT has no such packet ({error})"),
    })
}

/// The error for a violation of the protocol.
pub(super) fn protocol_error(error: MqttError) -> Error {
    let text = format!("what answers there does not speak this MQTT ({error})");
    Error::Lost(io::Error::new(io::ErrorKind::InvalidData, text))
}
