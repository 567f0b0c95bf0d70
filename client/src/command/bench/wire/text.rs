//! Lines and numbers in the bytes of protocols that are text.

use super::protocol::WireEvent;

/// The first line without its end, and the bytes it takes.
pub(super) fn first_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The first line of a head of HTTP, and the bytes that all of it takes.
pub(super) fn head(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let (line, _) = first_line(bytes)?;
    Some((line, end + 4))
}

/// A decimal number.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a text refuses.
pub(super) fn refused(text: &[u8]) -> WireEvent {
    WireEvent::Refused(String::from_utf8_lossy(text).replace(char::is_control, "?"))
}
