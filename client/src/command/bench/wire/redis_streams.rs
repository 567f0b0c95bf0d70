//! Publishing into streams of Redis: a topic is the key of a stream. The answer to XADD, the number of the entry, is the
//! acknowledgement.

use std::ops::Range;

use super::protocol::{AckCount, Kept, Protocol, PublishOptions, WireEvent};
use super::redis::{Redis, command};
use super::text::{first_line, number, refused};

#[derive(Debug)]
pub(crate) struct RedisStreams {
    kept: Kept,
}

/// The name of the one field of an entry. A stream has names in it as well, so it is short.
const FIELD: &[u8] = b"d";

impl RedisStreams {
    /// The protocol for streams that keep these messages.
    pub(crate) fn keeping(kept: Kept) -> Self {
        Self { kept }
    }
}

impl Protocol for RedisStreams {
    fn subscribers_may_publish(&self) -> bool {
        Redis.subscribers_may_publish()
    }

    fn check(&self, options: PublishOptions) -> Result<(), &'static str> {
        Redis.check(options)
    }

    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>) {
        Redis.connect(client, acked, out);
    }

    fn remove(&self, topics: &[String], out: &mut Vec<u8>) {
        let keys = topics.iter().map(String::as_bytes);
        let parts: Vec<_> = [&b"UNLINK"[..]].into_iter().chain(keys).collect();
        command(&parts, out);
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        Redis.subscribe(topics, these, out)
    }

    /// Limited exactly, as the other brokers do it.
    fn publish(&self, topic: &str, payload: &[u8], _: PublishOptions, out: &mut Vec<u8>) {
        let key = topic.as_bytes();
        match self.kept {
            Kept::All => command(&[b"XADD", key, b"*", FIELD, payload], out),
            Kept::Newest(count) => {
                let count = count.to_string();
                let most = [&b"MAXLEN"[..], count.as_bytes()];
                let parts = [&[b"XADD", key], &most[..], &[b"*", FIELD, payload]];
                command(&parts.concat(), out);
            }
        }
    }

    fn ping(&self, out: &mut Vec<u8>) {
        Redis.ping(out);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let (line, head) = first_line(bytes)?;
        match line.split_first() {
            Some((b'$', digits)) => {
                let Some(size) = number(digits) else {
                    return Some((refused(line), head));
                };
                let end = head.checked_add(size)?.checked_add(2)?;
                (bytes.len() >= end).then_some((WireEvent::Ack(AckCount::One), end))
            }
            // How many streams were removed.
            Some((b':', _)) => Some((WireEvent::Confirm, head)),
            _ => Redis.scan(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, written};
    use super::*;

    #[test]
    fn the_number_of_an_entry_acknowledges_a_message() {
        let wire = RedisStreams::keeping(Kept::All);
        let out = written(|out| wire.publish("a/b", b"hi", PublishOptions::ACKED, out));
        assert_eq!(
            out,
            b"*5\r\n$4\r\nXADD\r\n$3\r\na/b\r\n$1\r\n*\r\n$1\r\nd\r\n$2\r\nhi\r\n"
        );
        check(&wire, b"$5\r\n174-0\r\n", &WireEvent::Ack(AckCount::One));
        check(&wire, b"+PONG\r\n", &WireEvent::Confirm);
    }

    #[test]
    fn a_stream_may_have_a_limit() {
        let wire = RedisStreams::keeping(Kept::Newest(20));
        let out = written(|out| wire.publish("a", b"hi", PublishOptions::ACKED, out));
        assert!(out.starts_with(
            b"*7\r\n$4\r\nXADD\r\n$1\r\na\r\n$6\r\nMAXLEN\r\n$2\r\n20\r\n$1\r\n*\r\n"
        ));
    }

    #[test]
    fn what_a_run_has_left_is_removed() {
        let wire = RedisStreams::keeping(Kept::All);
        let topics = ["a".to_owned(), "b".to_owned()];
        let out = written(|out| wire.remove(&topics, out));
        assert_eq!(out, b"*3\r\n$6\r\nUNLINK\r\n$1\r\na\r\n$1\r\nb\r\n");
        check(&wire, b":2\r\n", &WireEvent::Confirm);
    }

    #[test]
    fn an_error_is_a_refusal() {
        let wire = RedisStreams::keeping(Kept::All);
        for text in ["-OOM command not allowed", "$x"] {
            let refusal = WireEvent::Refused(text.to_owned());
            check(&wire, format!("{text}\r\n").as_bytes(), &refusal);
        }
    }
}
