//! Lines and numbers in text protocols.

use client::AckLevel;

use super::protocol::WireEvent;

/// The first line without its end, and its size with the end.
pub(super) fn first_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The first line of an HTTP head, and the size of the head.
pub(super) fn head(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let (line, _) = first_line(bytes)?;
    Some((line, end + 4))
}

/// The value of the attribute `level` in the line of a receipt, which has no other text that could be taken for it.
pub(super) fn level(line: &[u8]) -> Option<AckLevel> {
    const KEY: &[u8] = b"level=";
    let value = &line[memchr::memmem::find(line, KEY)? + KEY.len()..];
    let end = memchr::memchr2(b';', b' ', value)?;
    AckLevel::parse(&value[..end]).ok()
}

/// Parses a decimal number.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A refusal with this text, because the broker does not know who the client is.
pub(super) fn unauthenticated(text: &[u8]) -> WireEvent {
    WireEvent::Unauthenticated(printable(text))
}

/// A refusal with this text.
pub(super) fn refused(text: &[u8]) -> WireEvent {
    WireEvent::Refused(printable(text))
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(char::is_control, "?")
}
