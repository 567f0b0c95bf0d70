//! Publishers that speak the line protocol, while their subscribers speak another one.

use std::ops::Range;

use client::{AckLevel, Credential};

use super::line::LineProtocol;
use super::protocol::{Protocol, PublishOptions, WireEvent};

/// The protocol of publishers, with that of their subscribers.
#[derive(Debug)]
pub(crate) struct LinePublishers<S>(pub(crate) S);

impl<S: Protocol> Protocol for LinePublishers<S> {
    fn alpn(&self) -> Option<&'static str> {
        LineProtocol.alpn()
    }

    fn of_subscribers(&self) -> Option<&dyn Protocol> {
        Some(&self.0)
    }

    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>) {
        LineProtocol.connect(client, acked, out);
    }

    fn authenticate(&self, credential: &Credential, out: &mut Vec<u8>) -> Result<(), &'static str> {
        LineProtocol.authenticate(credential, out)
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        LineProtocol.subscribe(topics, these, out)
    }

    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>) {
        LineProtocol.publish(topic, payload, options, out);
    }

    fn level(&self, frame: &[u8]) -> Option<AckLevel> {
        LineProtocol.level(frame)
    }

    fn ping(&self, out: &mut Vec<u8>) {
        LineProtocol.ping(out);
    }

    fn pong(&self, token: &[u8], out: &mut Vec<u8>) {
        LineProtocol.pong(token, out);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        LineProtocol.scan(bytes)
    }
}
