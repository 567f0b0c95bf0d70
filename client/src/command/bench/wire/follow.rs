//! Subscribers of the line protocol that follow their topics: they get from the log what those keep.

use std::ops::Range;

use client::Credential;

use super::line::LineProtocol;
use super::protocol::{Protocol, PublishOptions, WireEvent};
use super::text::first_line;

/// The protocol of subscribers.
#[derive(Debug)]
pub(crate) struct FollowerLines;

impl Protocol for FollowerLines {
    fn alpn(&self) -> Option<&'static str> {
        LineProtocol.alpn()
    }

    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>) {
        LineProtocol.connect(client, acked, out);
    }

    fn authenticate(&self, credential: &Credential, out: &mut Vec<u8>) -> Result<(), &'static str> {
        LineProtocol.authenticate(credential, out)
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(b"@since=now ");
        LineProtocol.subscribe(topics, these, out)
    }

    /// Each has a position of its own.
    fn looks_alike(&self) -> bool {
        false
    }

    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>) {
        LineProtocol.publish(topic, payload, options, out);
    }

    fn ping(&self, out: &mut Vec<u8>) {
        LineProtocol.ping(out);
    }

    fn pong(&self, token: &[u8], out: &mut Vec<u8>) {
        LineProtocol.pong(token, out);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        match first_line(bytes) {
            Some((line, len)) if line.starts_with(b"CURRENT ") => Some((WireEvent::Other, len)),
            _ => LineProtocol.scan(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::publishers::LinePublishers;
    use super::*;

    #[test]
    fn subscribers_ask_for_what_is_kept_from_now_on() {
        let mut out = Vec::new();
        let topics = ["a".to_owned(), "b".to_owned()];
        let wire = LinePublishers(FollowerLines);
        let subscribers = wire.of_subscribers().expect("another protocol");
        assert_eq!(subscribers.subscribe(&topics, 0..2, &mut out), 2);
        assert_eq!(out, b"@since=now SUBSCRIBE a b\n");
        let line = b"@pos=k3f9.1:7 MESSAGE a hi\n";
        let Some((WireEvent::Message { topic, payload }, len)) = subscribers.scan(line) else {
            panic!("a message");
        };
        assert_eq!((&line[topic], &line[payload]), (&b"a"[..], &b"hi"[..]));
        assert_eq!(len, line.len());
        let current = b"CURRENT a k3f9.1:7\n";
        assert_eq!(
            subscribers.scan(current),
            Some((WireEvent::Other, current.len()))
        );
    }
}
