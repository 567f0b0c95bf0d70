//! The answer to a client that cannot be served because the broker is full, in the protocol that the
//! client begins to speak.

use crate::wire::detect::detect;
use crate::wire::protocols::Protocol;
use crate::wire::{http, line, mqtt};

/// Maximum bytes that the protocol of a client is looked for in.
pub(crate) const FIRST_BYTES: usize = 256;

/// The answer to a client that has sent these first bytes, which may be empty; `None` if more bytes
/// decide on it.
pub(crate) fn busy(first: &[u8], why: &str) -> Option<Vec<u8>> {
    match detect(first)? {
        Protocol::Mqtt => mqtt::busy(first, why),
        Protocol::Http => Some(http::busy(first, why)),
        Protocol::Line | Protocol::WebSocket(_) | Protocol::Room => Some(line::busy(why)),
        Protocol::Tls => Some(Vec::new()),
    }
}

/// The same for a client from which no more bytes are waited for.
pub(crate) fn busy_at_last(first: &[u8], why: &str) -> Vec<u8> {
    busy(first, why).unwrap_or_else(|| match detect(first) {
        // Before CONNECT a server of MQTT sends nothing [MQTT-3.2.0-1].
        Some(Protocol::Mqtt) => Vec::new(),
        _ => line::busy(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_told_in_its_own_protocol_once_that_is_known() {
        let connect = |name: &str, level: u8| {
            let name = [&[0, name.len() as u8], name.as_bytes(), &[level, 2, 0, 0]].concat();
            [&[0x10, 19][..], &name].concat()
        };
        let told =
            |first: &[u8]| busy(first, "full").map(|answer| answer.escape_ascii().to_string());
        for (first, expected) in [
            (&b"PUBLISH a b\n"[..], "ERROR busy line full"),
            (b"\n", "ERROR busy line full"),
            (b"GET /", "HTTP/1.1 503 Service Unavailable\\r\\n"),
            (&connect("MQTT", 4), " \\x02\\x00\\x03"),
            (&connect("MQIsdp", 3), " \\x02\\x00\\x03"),
            (
                &connect("MQTT", 5),
                " \\n\\x00\\x89\\x07\\x1f\\x00\\x04full",
            ),
            (
                &connect("MQTT", 5)[..9],
                " \\n\\x00\\x89\\x07\\x1f\\x00\\x04full",
            ),
            (b"\xc0\0", ""),
            (&connect("MQTQ", 4), ""),
            (b"\x16\x03", ""),
        ] {
            let told = told(first).expect("it is decided");
            assert!(told.starts_with(expected), "{first:?}: {told}");
            assert_eq!(told.is_empty(), expected.is_empty(), "{first:?}: {told}");
        }
        let whole = connect("MQTT", 5);
        for first in (0..9).map(|end| &whole[..end]).chain([&b"P"[..], b"POST"]) {
            assert_eq!(told(first), None, "{first:?}");
            let last = busy_at_last(first, "full");
            assert_eq!(last.is_empty(), first.first() == Some(&0x10), "{first:?}");
        }
    }

    #[test]
    fn an_answer_of_http_says_when_to_come_again_and_head_gets_no_body() {
        let told = |first: &[u8]| String::from_utf8(busy(first, "full").expect("it is decided"));
        let get = told(b"GET / HTTP/1.1\r\n").expect("text").to_lowercase();
        assert!(get.contains("\r\nretry-after: 1\r\n"), "{get}");
        assert!(get.contains("\r\nconnection: close\r\n"), "{get}");
        assert!(get.contains("\r\n\r\nfull; "), "{get}");
        let head = told(b"HEAD / HTTP/1.1\r\n").expect("text");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }
}
