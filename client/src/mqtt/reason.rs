//! Reason codes as text.

/// The text for a reason code of MQTT 5. All codes from 0x80 are failures.
pub(super) fn words(code: u8) -> &'static str {
    match code {
        0x81 => "what was sent is malformed",
        0x82 => "what was sent does not fit the protocol",
        0x83 => "the broker cannot do that",
        0x84 => "the broker does not speak this version of MQTT; give another one with --mqtt",
        0x85 => "the broker does not take this client id; give another one with --id",
        0x86 => "the user name or the password is wrong",
        0x87 => "that is not allowed",
        0x88 => "the broker is not available",
        0x89 => "the broker is busy",
        0x8a => "this client is banned",
        0x8b => "the broker is stopping",
        0x8c => "the broker does not know this way to prove who one is",
        0x8d => "the broker heard nothing within the keep alive",
        0x8e => "another client took this client id; give each its own with --id",
        0x8f => "the broker does not take this filter",
        0x90 => "the broker does not take this topic",
        0x93 => "more messages are on the way than the broker takes",
        0x94 => "a topic alias is none",
        0x95 => "that is too large for the broker",
        0x96 => "messages come too fast for the broker",
        0x97 => "the broker's limit is reached",
        0x98 => "the broker's operator ended the connection",
        0x99 => "the payload is not what it says to be",
        0x9a => "the broker keeps no retained messages",
        0x9b => "the broker does not have this QoS; give a lower one with --qos",
        0x9c => "another broker is to be used for now",
        0x9d => "the broker has moved",
        0x9e => "the broker has no shared subscriptions",
        0x9f => "clients connect too fast for the broker",
        0xa0 => "the broker allows no longer connection",
        0xa1 => "the broker has no subscription identifiers",
        0xa2 => "the broker has no wildcards",
        _ => "the broker gives no reason",
    }
}

/// The MQTT 5 code for a return code of a CONNACK of 3.1.1.
pub(super) fn of_connack_3(code: u8) -> u8 {
    match code {
        0 => 0,
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        _ => 0x80,
    }
}

/// Whether the code means that this client is not authorized.
pub(super) fn is_denied(code: u8) -> bool {
    matches!(code, 0x87 | 0x8a)
}

/// The text for such a code.
pub(super) fn words_of_auth(code: u8) -> &'static str {
    match code {
        0x87 => "the user name or the password is wrong, or this client is not allowed to connect",
        code => words(code),
    }
}

/// Whether the end of a connection with this code means that the broker does not know who this client is.
/// Many servers say 0x87 (in 3.1.1: 5) to a wrong password.
pub(super) fn is_auth(code: u8) -> bool {
    matches!(code, 0x86 | 0x87 | 0x8c)
}

/// Whether a later attempt may succeed.
pub(super) fn is_passing(code: u8) -> bool {
    matches!(
        code,
        0x88 | 0x89 | 0x8b | 0x8d | 0x96 | 0x97 | 0x98 | 0x9c | 0x9d | 0x9f | 0xa0
    )
}
