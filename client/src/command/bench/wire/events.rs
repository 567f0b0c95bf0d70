//! Server-sent events to subscribers.

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use client::Credential;
use zeroize::Zeroizing;

use super::protocol::{Protocol, PublishOptions, WireEvent};
use super::text::{first_line, head, refused, unauthenticated};

/// The protocol of subscribers: one request with an endless answer.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// The value of the `Host` header.
    pub(crate) host: String,
    /// What the `Authorization` header shows.
    pub(crate) credential: Option<Credential>,
}

/// The bytes around the topic and the payload of a message.
const BEFORE_TOPIC: &[u8] = b"\ndata: {\"topic\":\"";
const BEFORE_PAYLOAD: &[u8] = b"\",\"payload\":\"";

/// Maximum length of the line with the size of a chunk.
const MAX_SIZE_BYTES: usize = 32;

impl Protocol for Streams {
    fn alpn(&self) -> Option<&'static str> {
        Some("http/1.1")
    }

    fn subscribers_may_publish(&self) -> bool {
        false
    }

    fn most_topics(&self) -> usize {
        1
    }

    /// Nothing to send: the handshake is part of the request.
    fn connect(&self, _client: &str, _acked: bool, _out: &mut Vec<u8>) {}

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let topics = &topics[these];
        for topic in topics {
            let host = &self.host;
            let request = format!(
                "GET /topics/{topic} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n"
            );
            out.extend_from_slice(request.as_bytes());
            if let Some(credential) = &self.credential {
                let authorization = authorization(credential);
                out.extend_from_slice(authorization.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        topics.len()
    }

    /// Each event has an id of its own, so messages do not begin alike.
    fn looks_alike(&self) -> bool {
        false
    }

    /// A subscriber cannot publish.
    fn publish(&self, _topic: &str, _payload: &[u8], _: PublishOptions, _out: &mut Vec<u8>) {}

    fn ping(&self, _out: &mut Vec<u8>) {}

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        if bytes.starts_with(b"HTTP/") {
            let (head, len) = head(bytes)?;
            let event = match head.split(|&byte| byte == b' ').nth(1) {
                Some(b"200") => WireEvent::Confirm,
                Some(b"401") => unauthenticated(head),
                _ => refused(head),
            };
            return Some((event, len));
        }
        let Some((digits, start)) = first_line(bytes) else {
            let is_none = bytes.len() > MAX_SIZE_BYTES;
            return is_none.then(|| (refused(b"a chunk without a length"), bytes.len()));
        };
        let size = std::str::from_utf8(digits).ok();
        let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let event = match size {
            None => refused(digits),
            Some(0) => refused(b"the stream has ended"),
            Some(size) => {
                let end = start.checked_add(size)?;
                let chunk = bytes.get(..end + 2)?;
                return Some((event(&chunk[..end], start), chunk.len()));
            }
        };
        Some((event, start))
    }
}

/// A user with its password is `Basic` (RFC 7617), a token `Bearer` (RFC 6750).
fn authorization(credential: &Credential) -> Zeroizing<String> {
    let secret = credential.secret().as_bytes();
    let value = match credential.user() {
        Some(user) => {
            let pair = Zeroizing::new([user.as_bytes(), b":", secret].concat());
            format!("Basic {}", BASE64_STANDARD.encode(&*pair))
        }
        None => format!("Bearer {}", String::from_utf8_lossy(secret)),
    };
    let value = Zeroizing::new(value.replace(char::is_control, ""));
    Zeroizing::new(format!("Authorization: {}\r\n", *value))
}

/// The event in a chunk whose text begins at `start`. Comments and gaps are ignored.
fn event(chunk: &[u8], start: usize) -> WireEvent {
    let message = || {
        let text = chunk[start..].strip_prefix(b"id: ")?;
        let id = memchr::memchr(b'\n', text)?;
        text[id..].starts_with(BEFORE_TOPIC).then_some(())?;
        let topic = chunk.len() - text.len() + id + BEFORE_TOPIC.len();
        let topic = topic..topic + memchr::memchr(b'"', &chunk[topic..])?;
        let rest = &chunk[topic.end..];
        rest.starts_with(BEFORE_PAYLOAD).then_some(())?;
        let payload = topic.end + BEFORE_PAYLOAD.len();
        let payload = payload..payload + memchr::memchr(b'"', &chunk[payload..])?;
        Some(WireEvent::Message { topic, payload })
    };
    message().unwrap_or(WireEvent::Other)
}

#[cfg(test)]
mod tests {
    use super::super::LinePublishers;
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    fn streams() -> Streams {
        Streams {
            host: "localhost:1373".to_owned(),
            credential: None,
        }
    }

    fn chunk(text: &str) -> Vec<u8> {
        format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn a_subscriber_asks_once() {
        assert!(written(|out| streams().connect("b", false, out)).is_empty());
        let mut out = Vec::new();
        let confirms = streams().subscribe(&["a/b".to_owned()], 0..1, &mut out);
        assert_eq!(confirms, 1);
        let request = String::from_utf8(out).expect("text");
        assert!(
            request.starts_with("GET /topics/a/b HTTP/1.1\r\nHost: localhost:1373\r\n"),
            "{request}"
        );
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        check(&streams(), head, &WireEvent::Confirm);
        check(&streams(), &chunk(": subscribed\n\n"), &WireEvent::Other);
    }

    #[test]
    fn a_subscriber_says_who_it_is() {
        for (credential, header) in [
            (
                Credential::password("ann", "a b"),
                "\r\nAuthorization: Basic YW5uOmEgYg==\r\n\r\n",
            ),
            (
                Credential::token("dlt_a_b"),
                "\r\nAuthorization: Bearer dlt_a_b\r\n\r\n",
            ),
        ] {
            let streams = Streams {
                credential: Some(credential),
                ..streams()
            };
            let mut out = Vec::new();
            streams.subscribe(&["a".to_owned()], 0..1, &mut out);
            let request = String::from_utf8(out).expect("text");
            assert!(request.ends_with(header), "{request}");
        }
        let text = "HTTP/1.1 401 Unauthorized".to_owned();
        let head = format!("{text}\r\n\r\n");
        check(
            &streams(),
            head.as_bytes(),
            &WireEvent::Unauthenticated(text),
        );
    }

    #[test]
    fn a_message_is_an_event_with_json() {
        let text = "id: 1700000000000000-12\ndata: {\"topic\":\"a/b\",\"payload\":\"hi\"}\n\n";
        check_message(&streams(), &chunk(text), "a/b");
        check(
            &streams(),
            &chunk("event: gap\ndata: {\"count\":3}\n\n"),
            &WireEvent::Other,
        );
    }

    #[test]
    fn an_end_and_an_error_are_refusals() {
        let event = streams().scan(b"0\r\n\r\n").map(|(event, _)| event);
        assert_eq!(
            event,
            Some(WireEvent::Refused("the stream has ended".to_owned()))
        );
        let text = "HTTP/1.1 503 Service Unavailable".to_owned();
        check(
            &streams(),
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
            &WireEvent::Refused(text),
        );
        for nonsense in [&b"PONG\r\n"[..], &[b'x'; 99]] {
            let event = streams().scan(nonsense).map(|(event, _)| event);
            assert!(matches!(event, Some(WireEvent::Refused(_))), "{event:?}");
        }
    }

    #[test]
    fn publishers_speak_in_lines() {
        let events = LinePublishers(streams());
        let out = written(|out| events.publish("a", b"hi", PublishOptions::PLAIN, out));
        assert_eq!(out, b"PUBLISH a hi\n");
        check(&events, b"PONG\n", &WireEvent::Confirm);
        assert!(events.of_subscribers().is_some());
    }
}
