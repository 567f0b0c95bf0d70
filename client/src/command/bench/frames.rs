//! Prepared frames, in which only numbers change from one write to the next.

use super::layout::{Layout, TOPIC_DIGITS};
use super::payload;
use super::wire::{Protocol, PublishOptions};

/// Size of one write.
const WRITE_BYTES: usize = 64 * 1024;

/// The frames of one write, all of one length.
#[derive(Debug)]
pub(crate) struct Frames {
    wire: &'static dyn Protocol,
    bytes: Vec<u8>,
    len: usize,
    /// The offset of the topic's number in a frame; `None` if there is only one topic.
    digits_at: Option<usize>,
    payload_at: usize,
    options: PublishOptions,
}

impl Frames {
    /// Prepares up to `most` frames, as many as fit into one write, at least one.
    pub(crate) fn new(
        wire: &'static dyn Protocol,
        publisher: usize,
        topics: &[usize],
        size: usize,
        options: PublishOptions,
        most: u64,
    ) -> Self {
        let mut payload = payload::blank(size);
        payload::set_publisher(&mut payload, publisher);
        let name = Layout::topic(wire, topics[0]);
        let mut frame = Vec::new();
        wire.publish(&name, &payload, options, &mut frame);
        let place = |part: &[u8]| memchr::memmem::find(&frame, part);
        let topic_at = place(name.as_bytes()).expect("a frame has its topic");
        let payload_at = place(&payload).expect("a frame has its payload");
        let fit = (WRITE_BYTES / frame.len()).max(1);
        let count = usize::try_from(most).unwrap_or(fit).clamp(1, fit);
        Self {
            wire,
            len: frame.len(),
            digits_at: (topics.len() > 1).then_some(topic_at + name.len() - TOPIC_DIGITS),
            payload_at,
            bytes: frame.repeat(count),
            options,
        }
    }

    /// Number of frames.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / self.len
    }

    /// Size of one frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.len
    }

    /// Sets a frame to the publisher's message `turn`, with this number on this topic.
    pub(crate) fn set(&mut self, index: usize, topic: usize, number: u64, turn: u64) {
        let frame = &mut self.bytes[index * self.len..(index + 1) * self.len];
        if let Some(at) = self.digits_at {
            put_decimal(&mut frame[at..at + TOPIC_DIGITS], topic);
        }
        payload::set_sequence(&mut frame[self.payload_at..], number);
        if self.options.acked {
            let options = self.options;
            self.wire.identify(frame, self.payload_at, options, turn);
        }
    }

    /// Sets the send time of the first `count` frames.
    pub(crate) fn stamp(&mut self, count: usize, time_ns: u64) {
        for frame in self.bytes.chunks_exact_mut(self.len).take(count) {
            payload::set_time(&mut frame[self.payload_at..], time_ns);
        }
    }

    /// The bytes of the first `count` frames.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        &self.bytes[..count * self.len]
    }
}

fn put_decimal(digits: &mut [u8], mut number: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use client::AckLevel;

    use super::super::wire::{
        JetStream, Kept, LineProtocol, Mqtt, Nats, Redis, RedisStreams, WebSocket, WireEvent,
    };
    use super::*;

    static V3: Mqtt = Mqtt::of(false);
    static V5: Mqtt = Mqtt::of(true);

    fn check(wire: &'static dyn Protocol) {
        let kept = PublishOptions {
            acked: true,
            retain: true,
            level: Some(AckLevel::Disk),
        };
        let all = [PublishOptions::PLAIN, PublishOptions::ACKED, kept];
        for options in all.into_iter().filter(|it| wire.check(*it).is_ok()) {
            let mut frames = Frames::new(wire, 3, &[1, 4], payload::MIN_BYTES, options, 2);
            assert_eq!(frames.count(), 2);
            for (index, topic) in [4, 1].into_iter().enumerate() {
                frames.set(index, topic, 70 + index as u64, 0);
            }
            frames.stamp(2, 99);
            let mut expected = Vec::new();
            for (index, topic) in [4, 1].into_iter().enumerate() {
                let mut payload = payload::blank(payload::MIN_BYTES);
                payload::set_publisher(&mut payload, 3);
                payload::set_sequence(&mut payload, 70 + index as u64);
                payload::set_time(&mut payload, 99);
                wire.publish(
                    &Layout::topic(wire, topic),
                    &payload,
                    options,
                    &mut expected,
                );
            }
            assert_eq!(frames.first(2), expected);
        }
    }

    #[test]
    fn a_ready_made_frame_is_as_if_made_anew() {
        for wire in [&LineProtocol as &dyn Protocol, &Nats, &Redis, &V3, &V5] {
            check(wire);
        }
        let websocket = WebSocket::at("ws://localhost/ws").expect("an address");
        check(Box::leak(Box::new(websocket)));
        for kept in [Kept::All, Kept::Newest(20)] {
            check(Box::leak(Box::new(JetStream::keeping(kept))));
            check(Box::leak(Box::new(RedisStreams::keeping(kept))));
        }
    }

    #[test]
    fn a_long_message_is_written_alone() {
        let frames = Frames::new(&V3, 0, &[0], 1_000_000, PublishOptions::PLAIN, 10);
        assert_eq!(frames.count(), 1);
        let event = V3.scan(frames.first(1)).map(|(event, _)| event);
        assert!(matches!(event, Some(WireEvent::Message { .. })));
    }
}
