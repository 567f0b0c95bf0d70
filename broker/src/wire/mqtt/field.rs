//! The fields of MQTT packets: integers, strings and binary data, read in place.
//!
//! Each reader returns its value and the bytes after it. `packet` and `property` know which fields a
//! packet has.

use super::fault::{Fault, behind_the_end, padded, too_short};

/// A variable byte integer, and the number of its bytes.
pub(super) fn varint(bytes: &[u8]) -> Result<(usize, usize), Fault> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        // A last byte of zero adds nothing: the integer has more bytes than it needs [MQTT-1.5.5-1].
        if byte == 0 && at > 0 {
            return Err(padded());
        }
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(Fault::malformed("a variable byte integer does not end"))
}

/// A packet identifier, which is never zero [MQTT-2.3.1-1] (3.1.1) [MQTT-2.2.1-3] (5.0), and the bytes
/// after it.
pub(super) fn packet_id(bytes: &[u8]) -> Result<(u16, &[u8]), Fault> {
    let (id, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    match u16::from_be_bytes(*id) {
        0 => Err(Fault::protocol("a packet identifier is zero")),
        id => Ok((id, rest)),
    }
}

/// A string preceded by its length, and the bytes after it.
pub(super) fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let (text, rest) = data(bytes)?;
    // Strings are UTF-8 without surrogates [MQTT-1.5.3-1] (3.1.1) [MQTT-1.5.4-1] (5.0). U+FEFF is an
    // ordinary character: `from_utf8` removes no byte order mark [MQTT-1.5.3-3] (3.1.1) [MQTT-1.5.4-3]
    // (5.0).
    let text = str::from_utf8(text).map_err(|_| Fault::malformed("a string is not UTF-8"))?;
    check_text(text)?;
    Ok((text, rest))
}

/// Binary data preceded by its length, and the bytes after it.
#[inline]
pub(super) fn data(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (len, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    let len = usize::from(u16::from_be_bytes(*len));
    rest.split_at_checked(len).ok_or_else(too_short)
}

/// No string contains U+0000 [MQTT-1.5.3-2] (3.1.1) [MQTT-1.5.4-2] (5.0), and so no topic name and no
/// filter does [MQTT-4.7.3-2].
#[inline]
pub(super) fn check_text(text: &str) -> Result<(), Fault> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(_) => Err(Fault::malformed("a string contains U+0000")),
    }
}

/// Checks that no bytes follow the `used` ones.
pub(super) fn expect_end(used: usize, body: &[u8]) -> Result<(), Fault> {
    if used == body.len() {
        return Ok(());
    }
    Err(behind_the_end())
}
