//! The fields of which packets of MQTT are made: integers, strings and binary data, read in place.
//!
//! Each reader returns its value and what follows it. Which fields a packet has is for `packet` and
//! `property`.

use super::fault::{Fault, behind_the_end, padded, too_short};

/// A variable byte integer, and how many bytes it takes.
pub(super) fn varint(bytes: &[u8]) -> Result<(usize, usize), Fault> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte == 0 && at > 0 {
            return Err(padded());
        }
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(Fault::malformed("a variable byte integer does not end"))
}

pub(super) fn packet_id(bytes: &[u8]) -> Result<(u16, &[u8]), Fault> {
    let (id, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    match u16::from_be_bytes(*id) {
        0 => Err(Fault::protocol("a packet identifier is zero")),
        id => Ok((id, rest)),
    }
}

/// A string with its length before it, and what follows.
pub(super) fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let (text, rest) = data(bytes)?;
    let text = str::from_utf8(text).map_err(|_| Fault::malformed("a string is not UTF-8"))?;
    check_text(text)?;
    Ok((text, rest))
}

/// Bytes with their length before them, and what follows.
#[inline]
pub(super) fn data(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (len, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    let len = usize::from(u16::from_be_bytes(*len));
    rest.split_at_checked(len).ok_or_else(too_short)
}

#[inline]
pub(super) fn check_text(text: &str) -> Result<(), Fault> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(_) => Err(Fault::malformed("a string holds U+0000")),
    }
}

pub(super) fn expect_end(used: usize, body: &[u8]) -> Result<(), Fault> {
    if used == body.len() {
        return Ok(());
    }
    Err(behind_the_end())
}
