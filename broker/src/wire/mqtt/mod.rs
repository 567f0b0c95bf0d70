//! MQTT 3.1, 3.1.1 and 5.0: packets in, engine calls and packets out.
//!
//! `packet` and `property` parse what clients send, `reply` writes the answers, `message` converts
//! between packets and lines of the engine, `writer` writes the packets of a session, `connect` opens
//! sessions, and `conversation` serves one connection. `docs/mqtt.md` is the contract.

mod authentication;
mod connect;
mod conversation;
mod credential;
mod fault;
mod field;
mod message;
mod packet;
mod property;
mod reply;
mod version;
mod writer;

use crate::engine::outbox::encoder::Encoder;

pub(crate) use connect::{busy, not_secured};
pub(crate) use conversation::MqttConversation;
pub(crate) use version::{Dialect, Version};

/// The encoder for clients of 3.1.1.
pub(crate) const ENCODER_3: Encoder = Encoder {
    wire: "mqtt 3.1.1",
    encode: Some(|lines| message::encode(lines, Version::V3)),
    goodbye: &[],
    kicked: &[],
    auth_ended: &[],
    moves_when_told: false,
    taken_over: &[],
    ..ENCODER_5
};

/// The encoder for clients of 5.0. The goodbye says that the server shuts down.
pub(crate) const ENCODER_5: Encoder = Encoder {
    wire: "mqtt 5.0",
    encode: Some(|lines| message::encode(lines, Version::V5)),
    answer: None,
    gap: |_| Vec::new(),
    receipt: |_| Vec::new(),
    first: message::first_packet,
    fitting: message::fitting_packets,
    count: message::count_packets,
    topic: |_| b"",
    // DISCONNECT, server shutting down [MQTT-4.13.1-1].
    goodbye: &[0xe0, 2, 0x8b, 0],
    // DISCONNECT, administrative action [MQTT-4.13.1-1].
    kicked: &[0xe0, 2, 0x98, 0],
    // DISCONNECT, not authorized [MQTT-4.13.1-1].
    auth_ended: &[0xe0, 2, 0x87, 0],
    withdrawn: None,
    auth_ends_soon: &[],
    moves_when_told: true,
    // DISCONNECT, session taken over [MQTT-3.1.4-3].
    taken_over: &[0xe0, 2, 0x8e, 0],
};

/// The encoders of both versions.
#[derive(Clone, Copy)]
pub(crate) struct Encoders {
    pub(crate) v3: &'static Encoder,
    pub(crate) v5: &'static Encoder,
}

/// The encoders for packets sent unchanged.
pub(crate) const ENCODERS: Encoders = Encoders {
    v3: &ENCODER_3,
    v5: &ENCODER_5,
};

impl Encoders {
    fn of(self, version: Version) -> &'static Encoder {
        match version {
            Version::V3 => self.v3,
            Version::V5 => self.v5,
        }
    }
}
