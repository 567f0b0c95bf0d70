//! MQTT 3.1.1 at QoS 0, and at QoS 1 for publishers that want acknowledgements.

use std::ops::Range;

use super::{Ack, Event, Wire};

#[derive(Debug)]
pub(crate) struct Mqtt;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const QOS_1: u8 = 0x02;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;

/// The longest length that a packet can say.
const MAX_LENGTH_BYTES: usize = 4;

impl Wire for Mqtt {
    fn scheme(&self) -> &'static str {
        "mqtt"
    }

    fn default_port(&self) -> u16 {
        1883
    }

    fn hello(&self, client: &str, _acked: bool, out: &mut Vec<u8>) {
        out.push(CONNECT);
        put_length(12 + client.len(), out);
        put_text("MQTT", out);
        // Version 4, a clean session, and no keep-alive: silence is part of a measurement.
        out.extend_from_slice(&[4, 2, 0, 0]);
        put_text(client, out);
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let topics = &topics[these];
        let filters: usize = topics.iter().map(|topic| topic.len() + 3).sum();
        out.push(SUBSCRIBE);
        put_length(2 + filters, out);
        out.extend_from_slice(&[0, 1]);
        for topic in topics {
            put_text(topic, out);
            out.push(0);
        }
        1
    }

    fn publish(&self, topic: &str, payload: &[u8], acked: bool, out: &mut Vec<u8>) {
        let (flags, id): (u8, &[u8]) = if acked { (QOS_1, &[0, 1]) } else { (0, &[]) };
        out.push(PUBLISH | flags);
        put_length(2 + topic.len() + id.len() + payload.len(), out);
        put_text(topic, out);
        out.extend_from_slice(id);
        out.extend_from_slice(payload);
    }

    fn identify(&self, frame: &mut [u8], payload_at: usize, number: u64) {
        let id = (number % u64::from(u16::MAX)) as u16 + 1;
        frame[payload_at - 2..payload_at].copy_from_slice(&id.to_be_bytes());
    }

    fn ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[PINGREQ, 0]);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(Event, usize)> {
        let &kind = bytes.first()?;
        let Some((body, len)) = length(bytes)? else {
            let text = "a packet whose length is none".to_owned();
            return Some((Event::Refused(text), bytes.len()));
        };
        if bytes.len() < len {
            return None;
        }
        let event = match kind & 0xf0 {
            PUBLISH => publish(kind, bytes, body, len),
            CONNACK => match bytes.get(body + 1) {
                Some(0) => Event::Confirm,
                code => Event::Refused(format!("CONNACK with code {code:?}")),
            },
            SUBACK if bytes[body..len].contains(&0x80) => {
                Event::Refused("SUBACK with a failure".to_owned())
            }
            SUBACK | PINGRESP => Event::Confirm,
            PUBACK => Event::Ack(Ack::One),
            _ => Event::Other,
        };
        Some((event, len))
    }
}

fn publish(kind: u8, bytes: &[u8], body: usize, len: usize) -> Event {
    let id = if kind & 0x06 == 0 { 0 } else { 2 };
    let topic = body + 2;
    let size = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let fits = len >= topic && len >= topic + size(body) + id;
    if !fits {
        return Event::Refused("a PUBLISH shorter than its topic".to_owned());
    }
    let topic = topic..topic + size(body);
    let payload = topic.end + id..len;
    Event::Message { topic, payload }
}

/// Where the body of the first packet begins and where it ends. `Some(None)` if it says no length.
fn length(bytes: &[u8]) -> Option<Option<(usize, usize)>> {
    let mut length = 0;
    for index in 0..MAX_LENGTH_BYTES {
        let byte = *bytes.get(1 + index)?;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let body = 2 + index;
            return Some(Some((body, body + length)));
        }
    }
    Some(None)
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_message, said};
    use super::*;

    #[test]
    fn what_is_published_is_what_is_delivered() {
        let frame = said(|out| Mqtt.publish("a/b", b"hi", false, out));
        check_message(&Mqtt, &frame, "a/b");
        let frame = said(|out| Mqtt.publish("a/b", b"hi", true, out));
        check_message(&Mqtt, &frame, "a/b");
    }

    #[test]
    fn an_acknowledged_message_has_a_number_that_is_never_zero() {
        let mut frame = said(|out| Mqtt.publish("a", b"hi", true, out));
        let payload_at = frame.len() - 2;
        for (number, id) in [(0, [0, 1]), (65_534, [0xff, 0xff]), (65_535, [0, 1])] {
            Mqtt.identify(&mut frame, payload_at, number);
            assert_eq!(frame[payload_at - 2..payload_at], id);
        }
    }

    #[test]
    fn a_long_packet_says_its_length_in_several_bytes() {
        let frame = said(|out| Mqtt.publish("a", &[b'x'; 20_000], false, out));
        let Some((Event::Message { payload, .. }, len)) = Mqtt.scan(&frame) else {
            panic!("no message");
        };
        assert_eq!((payload.len(), len), (20_000, frame.len()));
    }

    #[test]
    fn answers_and_refusals_are_told_apart() {
        check(&Mqtt, &[CONNACK, 2, 0, 0], &Event::Confirm);
        check(&Mqtt, &[SUBACK, 3, 0, 1, 0], &Event::Confirm);
        check(&Mqtt, &[PINGRESP, 0], &Event::Confirm);
        check(&Mqtt, &[PUBACK, 2, 0, 1], &Event::Ack(Ack::One));
        for refusal in [&[CONNACK, 2, 0, 5][..], &[SUBACK, 3, 0, 1, 0x80]] {
            let event = Mqtt.scan(refusal).map(|(event, _)| event);
            assert!(matches!(event, Some(Event::Refused(_))), "{event:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_does_not_panic() {
        for nonsense in [
            &[PUBLISH, 0][..],
            &[PUBLISH, 2, 9, 9],
            &[0x30, 255, 255, 255, 255, 1],
        ] {
            let event = Mqtt.scan(nonsense).map(|(event, _)| event);
            assert!(matches!(event, Some(Event::Refused(_))), "{event:?}");
        }
    }
}
