//! The protocol of a connection, from its first bytes: all protocols share a port.

use memchr::{memchr, memmem};

use crate::wire::http::HEAD_BYTES;
use crate::wire::protocols::Protocol;

const HTTP_METHODS: [&[u8]; 6] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"DELETE ",
];

/// The form of a version of HTTP; each `0` is any digit.
const VERSION: &[u8] = b"HTTP/0.0";

/// The protocol of these first bytes; `None` if more bytes are needed.
pub(super) fn detect(first: &[u8]) -> Option<Protocol> {
    match first {
        [0x10, ..] => return Some(Protocol::Mqtt),
        [0x16, ..] => return Some(Protocol::Tls),
        _ if is_packet(first)? => return Some(Protocol::Mqtt),
        _ => {}
    }
    if HTTP_METHODS.iter().any(|method| first.starts_with(method)) {
        return Some(Protocol::Http);
    }
    match is_request(first) {
        Some(true) => Some(Protocol::Http),
        Some(false) => Some(Protocol::Line),
        None => (first.len() > HEAD_BYTES).then(|| likely(first)),
    }
}

/// Whether the first line has the form of a request of HTTP, whatever its method: a page may send any
/// method, and lines in its body, under a name that it has made to point here. `None` if more bytes are
/// needed.
fn is_request(first: &[u8]) -> Option<bool> {
    let end = memchr(b'\n', first);
    let line = &first[..end.unwrap_or(first.len())];
    let mut fields = fields(line);
    let (Some(method), Some(target)) = (fields.next(), fields.next()) else {
        return end.map(|_| false);
    };
    let version = fields.next().unwrap_or_default();
    let is_cut = end.is_none() && !line.last().is_some_and(u8::is_ascii_whitespace);
    let may_be_version = version.len() <= VERSION.len()
        && version.iter().zip(VERSION).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
    if !may_be_version || fields.next().is_some() {
        return Some(false);
    }
    let target_is_cut = is_cut && version.is_empty();
    if !target_is_cut && !is_addressed(method, target) {
        return Some(false);
    }
    end.map(|_| version.len() == VERSION.len())
}

/// The protocol of first bytes that are undecided and too many for the head of a request, or for the
/// memory. What can only be a request, or no valid line, is HTTP, which refuses it and ends: the rest of
/// a line would be skipped, and what follows it be read.
pub(super) fn likely(first: &[u8]) -> Protocol {
    let mut fields = fields(first);
    let is_http = match (fields.next(), fields.next()) {
        (Some(method), Some(target)) => is_addressed(method, target),
        (Some(method), None) => method.iter().all(is_of_token),
        (None, _) => false,
    };
    match is_http {
        true => Protocol::Http,
        false => Protocol::Line,
    }
}

/// The words of a request line, as tolerant readers find them (RFC 9112 §3).
fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = line.split(u8::is_ascii_whitespace);
    fields.filter(|field| !field.is_empty())
}

/// Whether this is, or begins, a target of HTTP (RFC 9112 §3.2).
fn is_addressed(method: &[u8], target: &[u8]) -> bool {
    target.starts_with(b"/")
        || target == b"*"
        || memmem::find(target, b"://").is_some()
        || method.eq_ignore_ascii_case(b"CONNECT")
}

/// Whether the name of a method may contain this byte (RFC 9110 §5.6.2).
fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Whether these bytes begin an MQTT packet and no text. A client whose first packet is not CONNECT
/// must be disconnected [MQTT-3.1.0-1], and would wait for that for ever if its bytes were taken for a
/// line. `None` if more bytes are needed.
fn is_packet(first: &[u8]) -> Option<bool> {
    Some(match *first.first()? {
        // The first byte of a terminal's function key.
        0x1b => false,
        // A CONNECT with reserved bits.
        0x11..0x20 => true,
        // No UTF-8 text begins with these.
        0x80..0xc2 => true,
        // The first byte of a multi-byte character must be followed by its second.
        0xc2..0xf5 => !(0x80..0xc0).contains(first.get(1)?),
        // A PUBLISH, whose topic is shorter than 256 bytes.
        b'0'..=b'?' => match first {
            [_, b'\n' | b'\r', ..] => false,
            [_, _, third, ..] => *third == 0,
            _ => return None,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide_the_protocol() {
        for (first, protocol) in [
            (&b"PUBLISH a "[..], Some(Protocol::Line)),
            (b"PUBLISH a", None),
            (b"PUBLISH a\n", Some(Protocol::Line)),
            (b"@", None),
            (b"@a=b PUBLISH ", Some(Protocol::Line)),
            (b"\n", Some(Protocol::Line)),
            (b"PU", None),
            (b"P\n", Some(Protocol::Line)),
            (b"POST", None),
            (b"POST ", Some(Protocol::Http)),
            (b"POSTER a ", Some(Protocol::Line)),
            (b"GET / HTTP/1.1", Some(Protocol::Http)),
            (b"\x10\x0c", Some(Protocol::Mqtt)),
            (b"\x11", Some(Protocol::Mqtt)),
            (b"\x01\n", Some(Protocol::Line)),
            (b"\xff\xfe\n", Some(Protocol::Line)),
            (b"\x1b[A\n", Some(Protocol::Line)),
            (b"\xc0", Some(Protocol::Mqtt)),
            (b"\xe0\x00", Some(Protocol::Mqtt)),
            (b"\xe0", None),
            ("\u{641}\n".as_bytes(), Some(Protocol::Line)),
            (b"\x82\x06", Some(Protocol::Mqtt)),
            (b"0\x05", None),
            (b"0\x05\x00", Some(Protocol::Mqtt)),
            (b"0 1\n", Some(Protocol::Line)),
            (b"1\n", Some(Protocol::Line)),
            (b"\x16\x03", Some(Protocol::Tls)),
            (b"", None),
        ] {
            assert_eq!(
                detect(first),
                protocol,
                "{:?}",
                first.escape_ascii().to_string()
            );
        }
    }
    #[test]
    fn a_first_line_in_the_form_of_a_request_is_http() {
        for line in [
            "get / HTTP/1.1",
            "PATCH /x HTTP/1.1",
            "PUBLISH /a HTTP/1.1",
            "@a=b /x HTTP/1.0",
            "PRI * HTTP/2.0",
            "QUERY http://h/x HTTP/1.1",
            "trace x://y HTTP/9.9",
            "CONNECT h:443 HTTP/1.1",
            "connect h HTTP/1.1",
            "PATCH  /x\tHTTP/1.1 ",
            " PATCH /x HTTP/1.1",
        ] {
            for end in ["\n", "\r\n", "\nPUBLISH a b\n"] {
                let whole = format!("{line}{end}");
                assert_eq!(detect(whole.as_bytes()), Some(Protocol::Http), "{whole:?}");
            }
            for cut in 0..=line.len() {
                assert_eq!(detect(&line.as_bytes()[..cut]), None, "{line:?} to {cut}");
            }
        }
    }

    #[test]
    fn another_first_line_is_a_line_as_soon_as_that_is_certain() {
        for (line, enough) in [
            ("PUBLISH log HTTP/1.1", 12),
            ("PATCH /x HTTP/1.1 x", 19),
            ("PATCH /x HTTP/1.10", 18),
            ("PATCH /x HTTP/1.x", 17),
            ("PATCH /x http/1.1", 10),
            ("PATCH /x HTTP/1", 16),
            ("PATCH ** HTTP/1.1", 9),
            ("SUBSCRIBE a:/b HTTP/1.1", 15),
            ("PUBLISH /a", 11),
            ("CONNECTED h HTTP/1.1", 12),
        ] {
            let whole = format!("{line}\n");
            for cut in 0..=whole.len() {
                let expected = (cut >= enough).then_some(Protocol::Line);
                let first = &whole.as_bytes()[..cut];
                assert_eq!(detect(first), expected, "{line:?} to {cut}");
            }
        }
    }

    #[test]
    fn first_bytes_that_stay_undecided_are_http_unless_a_line_begins_like_them() {
        let long = "a".repeat(HEAD_BYTES);
        for (begin, protocol) in [
            ("", Protocol::Http),
            ("PATCH /", Protocol::Http),
            ("PUBLISH /", Protocol::Http),
            ("QUERY http://", Protocol::Http),
            ("CONNECT ", Protocol::Http),
            ("PUBLISH ", Protocol::Line),
            ("PING ", Protocol::Line),
            ("@id=", Protocol::Line),
            ("\0", Protocol::Line),
        ] {
            let first = format!("{begin}{long}x");
            assert_eq!(detect(&first.as_bytes()[..HEAD_BYTES]), None, "{begin}");
            assert_eq!(detect(first.as_bytes()), Some(protocol), "{begin}");
        }
    }
}
