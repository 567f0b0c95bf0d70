//! Escaping of payloads: bytes to a line and back.
//!
//! A line encodes LF, CR and backslash as `\n`, `\r` and `\\`. A backslash before any other byte, or
//! at the end, is a backslash: every byte string decodes, and none is invalid.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr3};

/// A payload in its encoded form. Two are equal if they decode to the same bytes.
#[derive(Clone, Default)]
pub struct Escaped<'a>(Cow<'a, [u8]>);

impl<'a> Escaped<'a> {
    /// Encodes a payload. Copies only if a byte needs an escape.
    pub fn escape(payload: &'a [u8]) -> Self {
        if memchr3(b'\n', b'\r', b'\\', payload).is_none() {
            return Self(Cow::Borrowed(payload));
        }
        let mut line = Vec::with_capacity(payload.len() + payload.len() / 8);
        escape_into(payload, &mut line);
        Self(Cow::Owned(line))
    }

    /// Takes a payload from a line, which contains no LF.
    pub fn from_line(line: &'a [u8]) -> Self {
        debug_assert!(memchr(b'\n', line).is_none());
        Self(Cow::Borrowed(line))
    }

    /// Decodes the payload. Copies only if it contains a backslash.
    pub fn unescape(&self) -> Cow<'_, [u8]> {
        let Some(first) = memchr(b'\\', &self.0) else {
            return Cow::Borrowed(&self.0);
        };
        let mut payload = Vec::with_capacity(self.0.len());
        let (mut rest, mut next) = (&self.0[..], Some(first));
        while let Some(at) = next {
            payload.extend_from_slice(&rest[..at]);
            let (byte, used) = match rest.get(at + 1) {
                Some(b'n') => (b'\n', 2),
                Some(b'r') => (b'\r', 2),
                Some(b'\\') => (b'\\', 2),
                _ => (b'\\', 1),
            };
            payload.push(byte);
            rest = &rest[at + used..];
            next = memchr(b'\\', rest);
        }
        payload.extend_from_slice(rest);
        Cow::Owned(payload)
    }

    /// The encoded bytes.
    pub fn as_line(&self) -> &[u8] {
        &self.0
    }

    /// Whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the encoded bytes, valid anywhere in a line. A peer may have sent a bare CR; at the end
    /// of a line a reader would take it for half of a line end.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match memchr(b'\r', &self.0) {
            // A backslash before the CR is literal only until the CR is escaped, so all is encoded anew.
            Some(_) => escape_into(&self.unescape(), out),
            None => out.extend_from_slice(&self.0),
        }
    }
}

impl PartialEq for Escaped<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.unescape() == other.unescape()
    }
}

impl Eq for Escaped<'_> {}

/// Shows the decoded bytes.
impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.unescape().escape_ascii())
    }
}

fn escape_into(payload: &[u8], line: &mut Vec<u8>) {
    let mut rest = payload;
    while let Some(at) = memchr3(b'\n', b'\r', b'\\', rest) {
        line.extend_from_slice(&rest[..at]);
        line.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(line: &[u8], payload: &[u8]) {
        assert_eq!(Escaped::from_line(line).unescape(), payload);
    }

    #[test]
    fn exactly_three_bytes_are_escaped() {
        let all: Vec<u8> = (0..=255).collect();
        let escaped = Escaped::escape(&all);
        assert_eq!(escaped.as_line().len(), 256 + 3);
        assert_eq!(escaped.unescape(), all);
    }

    #[test]
    fn a_backslash_before_any_other_byte_or_at_the_end_is_a_backslash() {
        means(br"\x", br"\x");
        means(br"a\", br"a\");
        means(br"\\n", br"\n");
        means(br"\\\n", b"\\\n");
        means(br"\r\n", b"\r\n");
    }

    #[test]
    fn a_payload_without_escapes_is_not_copied() {
        assert!(matches!(Escaped::escape(b"plain").0, Cow::Borrowed(_)));
        assert!(matches!(
            Escaped::from_line(b"plain").unescape(),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn a_bare_carriage_return_is_escaped_when_written_again() {
        let mut out = Vec::new();
        Escaped::from_line(b"a\rb\r").encode(&mut out);
        assert_eq!(out, br"a\rb\r");
    }

    #[test]
    fn a_backslash_before_a_bare_carriage_return_keeps_its_meaning_when_written_again() {
        // An earlier version escaped only the CR: `\` CR `b` became `\\rb`, which decodes to `\rb`.
        let mut out = Vec::new();
        Escaped::from_line(b"a\\\rb").encode(&mut out);
        assert_eq!(out, br"a\\\rb");
        means(&out, b"a\\\rb");
    }
}
