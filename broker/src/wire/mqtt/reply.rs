//! Answers to MQTT clients: packets of `mqtt-protocol-core`, and the few bytes of frequent answers.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, AuthenticationMethod, MaximumPacketSize, Properties, ReasonString,
    ReceiveMaximum, ServerKeepAlive, SessionExpiryInterval, TopicAliasMaximum, UserProperty,
    v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, SubackReasonCode, SubackReturnCode,
    UnsubackReasonCode,
};
use protocol::Reached;

use super::Version;
use super::fault::Fault;
use super::packet::kind;

/// The answer to each PINGREQ [MQTT-3.12.4-1].
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];

/// Whether and how reason strings may be sent to a client of MQTT 5.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyLimits {
    /// The client has not turned off problem information.
    pub(super) wanted: bool,
    /// Maximum bytes of a packet for the client.
    pub(super) most: u32,
}

impl ReplyLimits {
    /// The limits before CONNECT is known.
    pub(super) const ANY: Self = Self {
        wanted: true,
        most: u32::MAX,
    };

    /// A client that has turned off problem information receives reason strings only in CONNACK and
    /// DISCONNECT [MQTT-3.1.2-29].
    fn anyway(self) -> Self {
        Self {
            wanted: true,
            ..self
        }
    }
}

/// Maximum bytes of a PUBACK or PUBREC that says how far its message is kept.
const REACHED_BYTES: usize = 80;

/// Maximum bytes of a reason string; longer ones would not help.
const REASON_BYTES: usize = 400;

impl ReplyLimits {
    /// The packet, or nothing if it is longer than the client accepts [MQTT-3.1.2-24].
    pub(super) fn fitting(self, packet: Vec<u8>) -> Vec<u8> {
        match packet.len() <= self.most as usize {
            true => packet,
            false => Vec::new(),
        }
    }

    fn properties(self, why: &str) -> Option<Properties> {
        // A reason string must not make a packet longer than the client accepts: CONNACK
        // [MQTT-3.2.2-19], PUBACK [MQTT-3.4.2-2], PUBREC [MQTT-3.5.2-2], DISCONNECT [MQTT-3.14.2-3].
        // Without the string none has more than 32 bytes.
        let fits = why.len() <= REASON_BYTES && why.len() + 32 <= self.most as usize;
        if !self.wanted || !fits || why.is_empty() {
            return None;
        }
        ReasonString::new(why)
            .ok()
            .map(|reason| vec![reason.into()])
    }
}

/// The contents of a CONNACK, most of them for MQTT 5 only.
#[derive(Clone, Copy)]
pub(super) struct Welcome<'a> {
    pub(super) session_present: bool,
    /// The authentication method of CONNECT.
    pub(super) method: Option<&'a str>,
    /// The client identifier that the broker has assigned.
    pub(super) assigned: Option<&'a str>,
    /// The session expiry interval, if it differs from the requested one.
    pub(super) expiry: Option<u32>,
    /// The keep alive, if it differs from the requested one.
    pub(super) keep_alive: Option<u16>,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes: u32,
    pub(super) aliases: u16,
}

impl Welcome<'_> {
    pub(super) fn encode(&self, version: Version) -> Vec<u8> {
        // Session present is the only flag that may be set [MQTT-3.2.2-1].
        if version == Version::V3 {
            return vec![0x20, 2, u8::from(self.session_present), 0];
        }
        // No response information [MQTT-3.1.2-28]. The authentication method is that of CONNECT
        // [MQTT-4.12.0-5], and there is none if that has none [MQTT-4.12.0-6]. A client with an empty identifier is told its assigned
        // one [MQTT-3.1.3-7]; without a server keep alive the client's own applies [MQTT-3.2.2-22], and
        // otherwise the client uses that one [MQTT-3.2.2-21].
        let mut properties = Properties::new();
        properties.extend(
            self.expiry
                .and_then(|seconds| SessionExpiryInterval::new(seconds).ok().map(Into::into)),
        );
        properties.extend(
            self.keep_alive
                .and_then(|seconds| ServerKeepAlive::new(seconds).ok().map(Into::into)),
        );
        properties.extend(
            ReceiveMaximum::new(self.receive_maximum)
                .ok()
                .map(Into::into),
        );
        properties.extend(
            MaximumPacketSize::new(self.packet_bytes)
                .ok()
                .map(Into::into),
        );
        properties.extend(TopicAliasMaximum::new(self.aliases).ok().map(Into::into));
        properties.extend(
            self.assigned
                .and_then(|id| AssignedClientIdentifier::new(id).ok().map(Into::into)),
        );
        properties.extend(
            self.method
                .and_then(|method| AuthenticationMethod::new(method).ok().map(Into::into)),
        );
        let packet = v5_0::Connack::builder()
            .session_present(self.session_present)
            .reason_code(ConnectReasonCode::Success)
            .props(properties)
            .build();
        packet.map_or_else(
            |_| vec![0x20, 3, 0, 0, 0],
            |packet| packet.to_continuous_buffer(),
        )
    }
}

/// CONNACK with an error, for a client of 5.0. Session present is not set [MQTT-3.2.2-6], and the code
/// is valid in CONNACK [MQTT-3.2.2-8].
pub(super) fn refuse_5(fault: &Fault, reply_limits: ReplyLimits) -> Vec<u8> {
    let code = ConnectReasonCode::try_from(fault.byte());
    let code = code.unwrap_or(ConnectReasonCode::UnspecifiedError);
    let mut packet = v5_0::Connack::builder()
        .session_present(false)
        .reason_code(code);
    if let Some(properties) = reply_limits.anyway().properties(&fault.why) {
        packet = packet.props(properties);
    }
    let packet = packet.build();
    packet.map_or_else(
        |_| vec![0x20, 3, 0, code as u8, 0],
        |packet| packet.to_continuous_buffer(),
    )
}

/// CONNACK with an error, for a client of 3.1.1. Session present is not set [MQTT-3.2.2-4].
pub(super) fn refuse_3(code: ConnectReturnCode) -> Vec<u8> {
    let packet = v3_1_1::Connack::builder()
        .session_present(false)
        .return_code(code)
        .build();
    packet.map_or_else(
        |_| vec![0x20, 2, 0, code as u8],
        |packet| packet.to_continuous_buffer(),
    )
}

/// DISCONNECT, which only clients of 5.0 can be sent. The code is valid in DISCONNECT [MQTT-3.14.2-1];
/// a broker must not send the session expiry interval in it [MQTT-3.14.2-2].
pub(super) fn disconnect(fault: &Fault, reply_limits: ReplyLimits) -> Vec<u8> {
    let code = DisconnectReasonCode::try_from(fault.byte());
    let code = code.unwrap_or(DisconnectReasonCode::UnspecifiedError);
    let plain = || vec![0xe0, 2, code as u8, 0];
    let Some(properties) = reply_limits.anyway().properties(&fault.why) else {
        return plain();
    };
    let packet = v5_0::Disconnect::builder()
        .reason_code(code)
        .props(properties)
        .build();
    packet.map_or_else(|_| plain(), |packet| packet.to_continuous_buffer())
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, with the identifier of the PUBLISH it answers [MQTT-2.3.1-6]
/// (3.1.1) [MQTT-2.2.1-5] (5.0). `code` is valid in the packet [MQTT-3.4.2-1] [MQTT-3.5.2-1]
/// [MQTT-3.6.2-1] [MQTT-3.7.2-1]; 3.1.1 has no codes, so it is zero there.
pub(super) fn ack(out: &mut Vec<u8>, kind: u8, id: u16, code: u8) {
    // Only PUBREL has a flag [MQTT-3.6.1-1].
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = id.to_be_bytes();
    match code {
        0 => out.extend([kind << 4 | flags, 2, high, low]),
        // With fewer than four bytes the length of the properties may be left out (5.0 §3.4.2.2.1).
        code => out.extend([kind << 4 | flags, 3, high, low, code]),
    }
}

/// PUBACK or PUBREC that refuses a message, with a reason string for a client of 5.0.
pub(super) fn refuse_publish(
    out: &mut Vec<u8>,
    kind: u8,
    id: u16,
    fault: &Fault,
    reply_limits: ReplyLimits,
) {
    match reply_limits.properties(&fault.why) {
        Some(properties) => ack_with(out, kind, id, fault.byte(), &properties),
        None => ack(out, kind, id, fault.byte()),
    }
}

/// PUBACK or PUBREC of a message that asked for a level, with the user properties `level` and `pos` for a client of
/// 5.0.
pub(super) fn ack_reached(
    out: &mut Vec<u8>,
    kind: u8,
    id: u16,
    code: u8,
    reached: Reached,
    reply_limits: ReplyLimits,
) {
    // Without them it has few bytes. A client that has turned off problem information receives none
    // [MQTT-3.1.2-29].
    let fits = REACHED_BYTES <= reply_limits.most as usize;
    if !reply_limits.wanted || !fits {
        return ack(out, kind, id, code);
    }
    let attributes = reached.attributes();
    let properties = attributes.iter().filter_map(|(key, value)| {
        let value = String::from_utf8(value?.into_owned()).ok()?;
        UserProperty::new(key, value).ok().map(Into::into)
    });
    ack_with(out, kind, id, code, &properties.collect());
}

fn ack_with(out: &mut Vec<u8>, kind: u8, id: u16, code: u8, properties: &Properties) {
    let mut bytes = Vec::new();
    for property in properties {
        bytes.extend(property.to_continuous_buffer());
    }
    let mut body = id.to_be_bytes().to_vec();
    body.push(code);
    super::message::push_varint(&mut body, bytes.len());
    body.extend(bytes);
    out.push(kind << 4);
    super::message::push_varint(out, body.len());
    out.extend(body);
}

/// SUBACK, with the identifier of the SUBSCRIBE [MQTT-2.3.1-7] (3.1.1) [MQTT-2.2.1-6] (5.0)
/// [MQTT-3.8.4-2] and a code for each filter, in their order [MQTT-3.9.3-1]. Codes are those of MQTT 5;
/// for 3.1.1, which lacks most of them, they become its failure code [MQTT-3.9.3-2].
pub(super) fn suback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[u8]) {
    let refused = SubackReasonCode::UnspecifiedError;
    let packet = match version {
        Version::V3 => {
            let code =
                |code: &u8| SubackReturnCode::try_from(*code).unwrap_or(SubackReturnCode::Failure);
            v3_1_1::Suback::builder()
                .packet_id(id)
                .return_codes(codes.iter().map(code).collect())
                .build()
                .map(|packet| packet.to_continuous_buffer())
        }
        Version::V5 => {
            let code = |code: &u8| SubackReasonCode::try_from(*code).unwrap_or(refused);
            v5_0::Suback::builder()
                .packet_id(id)
                .reason_codes(codes.iter().map(code).collect())
                // The length of the properties is present and zero [MQTT-2.2.2-1].
                .props(Properties::new())
                .build()
                .map(|packet| packet.to_continuous_buffer())
        }
    };
    out.extend(packet.unwrap_or_default());
}

/// UNSUBACK, with the identifier of the UNSUBSCRIBE [MQTT-2.3.1-7] (3.1.1) [MQTT-2.2.1-6] (5.0) and a
/// code for each filter, in their order [MQTT-3.11.3-1], each valid in UNSUBACK [MQTT-3.11.3-2]. 3.1.1
/// has no codes there.
pub(super) fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[u8]) {
    if version == Version::V3 {
        let [high, low] = id.to_be_bytes();
        return out.extend([0xb0, 2, high, low]);
    }
    let refused = UnsubackReasonCode::UnspecifiedError;
    let code = |code: &u8| UnsubackReasonCode::try_from(*code).unwrap_or(refused);
    let packet = v5_0::Unsuback::builder()
        .packet_id(id)
        .reason_codes(codes.iter().map(code).collect())
        .props(Properties::new())
        .build()
        .map(|packet| packet.to_continuous_buffer());
    out.extend(packet.unwrap_or_default());
}
