//! The client protocol of NATS. Acknowledgements are the `+OK` of its verbose mode.

use std::ops::Range;

use super::protocol::{AckCount, Protocol, PublishOptions, WireEvent};
use super::text::{first_line, number, refused};

#[derive(Debug)]
pub(crate) struct Nats;

impl Protocol for Nats {
    fn separator(&self) -> char {
        '.'
    }

    fn check(&self, options: PublishOptions) -> Result<(), &'static str> {
        match options.retain || options.level.is_some() {
            true => Err("--retain and --ack are for dallal and MQTT"),
            false => Ok(()),
        }
    }

    fn connect(&self, client: &str, acked: bool, out: &mut Vec<u8>) {
        let options = format!(
            "CONNECT {{\"verbose\":{acked},\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\
             \"name\":\"{client}\"}}\r\n"
        );
        out.extend_from_slice(options.as_bytes());
        self.ping(out);
    }

    /// Each subscription has an id of its own. All ids have the same length, so that all messages
    /// of a run have the same length.
    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let digits = topics.len().saturating_sub(1).to_string().len();
        for (id, topic) in these.clone().zip(&topics[these]) {
            out.extend_from_slice(format!("SUB {topic} {id:0digits$}\r\n").as_bytes());
        }
        self.ping(out);
        1
    }

    fn publish(&self, topic: &str, payload: &[u8], _: PublishOptions, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("PUB {topic} {}\r\n", payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PING\r\n");
    }

    fn pong(&self, _token: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let (line, len) = first_line(bytes)?;
        if line.starts_with(b"MSG ") {
            return message(bytes, line, len);
        }
        let event = match line {
            b"PING" => WireEvent::Ping { token: 0..0 },
            b"PONG" => WireEvent::Confirm,
            b"+OK" => WireEvent::Ack(AckCount::One),
            _ if line.starts_with(b"INFO ") => WireEvent::Other,
            _ => refused(line),
        };
        Some((event, len))
    }
}

/// `MSG <subject> <id> [<reply>] <length>` and a payload of that length.
fn message(bytes: &[u8], line: &[u8], head: usize) -> Option<(WireEvent, usize)> {
    let topic = 4..4 + memchr::memchr(b' ', &line[4..]).unwrap_or(line.len() - 4);
    let last = memchr::memrchr(b' ', line).map_or(0, |space| space + 1);
    let Some(size) = number(&line[last..]) else {
        return Some((refused(line), head));
    };
    let end = head.checked_add(size)?.checked_add(2)?;
    let payload = head..head + size;
    (bytes.len() >= end).then_some((WireEvent::Message { topic, payload }, end))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    #[test]
    fn a_message_has_its_length_last() {
        check_message(&Nats, b"MSG a.b 1 2\r\nhi\r\n", "a.b");
        check_message(&Nats, b"MSG a.b 1 reply 2\r\nhi\r\n", "a.b");
    }

    #[test]
    fn in_verbose_mode_each_message_is_acknowledged() {
        check(&Nats, b"+OK\r\n", &WireEvent::Ack(AckCount::One));
        let connect = written(|out| Nats.connect("b", true, out));
        let connect = String::from_utf8(connect).expect("text");
        assert!(connect.contains("\"verbose\":true"), "{connect}");
        assert!(connect.ends_with("}\r\nPING\r\n"), "{connect}");
    }

    #[test]
    fn a_subscription_is_confirmed_by_the_ping_behind_it() {
        let mut out = Vec::new();
        assert_eq!(Nats.subscribe(&["a".to_owned()], 0..1, &mut out), 1);
        assert_eq!(out, b"SUB a 0\r\nPING\r\n");
        check(&Nats, b"PONG\r\n", &WireEvent::Confirm);
        check(&Nats, b"PING\r\n", &WireEvent::Ping { token: 0..0 });
    }

    // Ids that restarted with each part of the topics replaced earlier subscriptions.
    #[test]
    fn no_two_subscriptions_of_a_connection_have_one_id() {
        let topics: Vec<String> = (0..11).map(|topic| format!("t{topic}")).collect();
        let mut out = Vec::new();
        Nats.subscribe(&topics, 0..1, &mut out);
        Nats.subscribe(&topics, 9..11, &mut out);
        assert_eq!(
            out,
            b"SUB t0 00\r\nPING\r\nSUB t9 09\r\nSUB t10 10\r\nPING\r\n"
        );
    }

    #[test]
    fn a_published_message_says_its_length() {
        let out = written(|out| Nats.publish("a", b"hi", PublishOptions::PLAIN, out));
        assert_eq!(out, b"PUB a 2\r\nhi\r\n");
    }

    #[test]
    fn errors_and_other_protocols_are_refusals() {
        check(&Nats, b"INFO {\"a\":1}\r\n", &WireEvent::Other);
        for text in ["-ERR 'Slow Consumer'", "ERROR unknown-verb line"] {
            let refusal = WireEvent::Refused(text.to_owned());
            check(&Nats, format!("{text}\r\n").as_bytes(), &refusal);
        }
    }
}
