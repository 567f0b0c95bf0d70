//! Why an MQTT connection ends: a reason code of MQTT 5, and a text.
//!
//! Readers of packets return a [`Fault`]; the conversation ends the connection.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};

use crate::storage::NotKept;

/// Why a connection must end [MQTT-4.8.0-1] (3.1.1) [MQTT-4.13.1-1] (5.0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A reason code of MQTT 5.
    pub(super) code: MqttError,
    /// Tells the client what to do.
    pub(super) why: Cow<'static, str>,
}

/// Why a CONNECT is refused, and the return code of 3.1.1 if it has one for that.
pub(super) type Refusal = (Fault, Option<ConnectReturnCode>);

impl Fault {
    pub(super) fn new(code: MqttError, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            why: why.into(),
        }
    }

    pub(super) fn malformed(why: &'static str) -> Self {
        Self::new(MqttError::MalformedPacket, why)
    }

    pub(super) fn protocol(why: &'static str) -> Self {
        Self::new(MqttError::ProtocolError, why)
    }

    /// The store does not take what has to be kept of a session.
    pub(super) fn not_kept(why: NotKept) -> Self {
        match why {
            NotKept::NoRoom | NotKept::TooManyTopics => Self::new(
                MqttError::QuotaExceeded,
                "the disk of the broker is full, so that it cannot keep this session; try again later, or with a clean \
                 session that ends with its connection",
            ),
            NotKept::Failed => Self::new(
                MqttError::ServerUnavailable,
                "the disk of the broker has failed, so that it cannot keep this session; tell its operator",
            ),
        }
    }

    /// The reason code as a byte.
    pub(super) fn byte(&self) -> u8 {
        byte(self.code)
    }
}

/// The library's errors without a reason code mean that the packet is malformed.
fn byte(code: MqttError) -> u8 {
    u8::try_from(code as u16).unwrap_or(MqttError::MalformedPacket as u16 as u8)
}

/// The refusal of a CONNECT that asks for what its client may not do.
pub(super) fn not_allowed(why: impl Into<Cow<'static, str>>) -> Refusal {
    let why = Fault::new(MqttError::NotAuthorized, why);
    (why, Some(ConnectReturnCode::NotAuthorized))
}

pub(super) fn behind_the_end() -> Fault {
    Fault::malformed("bytes follow the last field of a packet")
}

/// The fault of an integer with more bytes than it needs.
pub(super) fn padded() -> Fault {
    Fault::malformed("a variable byte integer has more bytes than it needs")
}

pub(super) fn reserved() -> Fault {
    Fault::malformed("reserved bits of a fixed header are set")
}

pub(super) fn too_short() -> Fault {
    Fault::malformed("a packet ends before its last field")
}

pub(super) fn wrong(code: MqttError) -> Fault {
    match code {
        MqttError::ProtocolError => {
            Fault::protocol("a packet contains a field that does not belong to it")
        }
        MqttError::MalformedPacket => Fault::malformed("a packet cannot be read"),
        other => match MqttError::try_from(byte(other)) {
            Ok(code) => Fault::new(code, "a packet contains a value that is not allowed"),
            Err(_) => Fault::malformed("a packet cannot be read"),
        },
    }
}
