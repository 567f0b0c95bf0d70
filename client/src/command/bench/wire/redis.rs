//! The publish/subscribe commands of Redis in RESP2. The answer to PUBLISH, a number, is the
//! acknowledgement.

use std::ops::Range;

use super::protocol::{AckCount, Protocol, PublishOptions, WireEvent};
use super::text::{first_line, number, refused};

#[derive(Debug)]
pub(crate) struct Redis;

/// Maximum number of elements in an answer to these commands.
const MAX_ELEMENTS: usize = 8;

impl Protocol for Redis {
    fn subscribers_may_publish(&self) -> bool {
        false
    }

    fn check(&self, options: PublishOptions) -> Result<(), &'static str> {
        match options.retain || options.level.is_some() {
            true => Err("--retain and --ack are for dallal and MQTT"),
            false => Ok(()),
        }
    }

    fn connect(&self, _client: &str, _acked: bool, out: &mut Vec<u8>) {
        self.ping(out);
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let topics = topics[these].iter().map(String::as_bytes);
        let parts: Vec<_> = [&b"SUBSCRIBE"[..]].into_iter().chain(topics).collect();
        command(&parts, out);
        parts.len() - 1
    }

    fn publish(&self, topic: &str, payload: &[u8], _: PublishOptions, out: &mut Vec<u8>) {
        command(&[b"PUBLISH", topic.as_bytes(), payload], out);
    }

    fn ping(&self, out: &mut Vec<u8>) {
        command(&[b"PING"], out);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let (line, len) = first_line(bytes)?;
        let event = match line.split_first() {
            Some((b'*', digits)) => match number(digits) {
                Some(count @ ..=MAX_ELEMENTS) => return array(bytes, count, len),
                _ => refused(line),
            },
            Some((b':', _)) => WireEvent::Ack(AckCount::One),
            Some((b'+', b"PONG")) => WireEvent::Confirm,
            Some((b'+' | b'$', _)) => WireEvent::Other,
            _ => refused(line),
        };
        Some((event, len))
    }
}

/// Appends a command and its arguments.
pub(super) fn command(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// A push to a subscriber is an array whose first element is its kind.
fn array(bytes: &[u8], count: usize, head: usize) -> Option<(WireEvent, usize)> {
    let mut parts: [Range<usize>; MAX_ELEMENTS] = Default::default();
    let mut at = head;
    for slot in &mut parts[..count] {
        let (line, len) = first_line(&bytes[at..])?;
        let mut part = at..at + line.len();
        at += len;
        if let Some((b'$', digits)) = line.split_first()
            && let Some(size) = number(digits)
        {
            part = at..at.checked_add(size)?;
            at = part.end.checked_add(2)?;
        }
        *slot = part;
        if bytes.len() < at {
            return None;
        }
    }
    let [kind, first, second, third, ..] = parts;
    let event = match &bytes[kind] {
        b"message" => WireEvent::Message {
            topic: first,
            payload: second,
        },
        b"pmessage" => WireEvent::Message {
            topic: second,
            payload: third,
        },
        b"subscribe" | b"pong" => WireEvent::Confirm,
        _ => WireEvent::Other,
    };
    Some((event, at))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    #[test]
    fn a_message_is_an_array() {
        check_message(
            &Redis,
            b"*3\r\n$7\r\nmessage\r\n$3\r\na/b\r\n$2\r\nhi\r\n",
            "a/b",
        );
        check_message(
            &Redis,
            b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nhi\r\n",
            "a",
        );
    }

    #[test]
    fn each_topic_is_confirmed() {
        let mut out = Vec::new();
        assert_eq!(Redis.subscribe(&["a".to_owned()], 0..1, &mut out), 1);
        assert_eq!(out, b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n");
        let answer = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
        check(&Redis, answer, &WireEvent::Confirm);
    }

    #[test]
    fn a_number_acknowledges_one_message() {
        let out = written(|out| Redis.publish("a", b"hi", PublishOptions::ACKED, out));
        assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$2\r\nhi\r\n");
        check(&Redis, b":12\r\n", &WireEvent::Ack(AckCount::One));
    }

    #[test]
    fn a_ping_is_confirmed_to_publishers_and_to_subscribers() {
        check(&Redis, b"+PONG\r\n", &WireEvent::Confirm);
        check(
            &Redis,
            b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            &WireEvent::Confirm,
        );
    }

    #[test]
    fn an_error_is_a_refusal() {
        let text = "-NOAUTH Authentication required.".to_owned();
        check(
            &Redis,
            b"-NOAUTH Authentication required.\r\n",
            &WireEvent::Refused(text),
        );
    }
}
