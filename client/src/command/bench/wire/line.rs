//! The line protocol of `docs/protocol.md`.

use std::ops::Range;

use client::{AckLevel, Credential};

use super::protocol::{AckCount, Protocol, PublishOptions, WireEvent};
use super::text::{self, first_line, number, refused, unauthenticated};

#[derive(Debug)]
pub(crate) struct LineProtocol;

impl Protocol for LineProtocol {
    fn alpn(&self) -> Option<&'static str> {
        Some("dallal")
    }

    fn connect(&self, _client: &str, _acked: bool, out: &mut Vec<u8>) {
        self.ping(out);
    }

    fn authenticate(&self, credential: &Credential, out: &mut Vec<u8>) -> Result<(), &'static str> {
        credential.write_line(out)
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        let topics = &topics[these];
        out.extend_from_slice(b"SUBSCRIBE");
        for topic in topics {
            out.push(b' ');
            out.extend_from_slice(topic.as_bytes());
        }
        out.push(b'\n');
        topics.len()
    }

    fn publish(&self, topic: &str, payload: &[u8], options: PublishOptions, out: &mut Vec<u8>) {
        put_attributes(options, out);
        out.extend_from_slice(b"PUBLISH ");
        out.extend_from_slice(topic.as_bytes());
        out.push(b' ');
        out.extend_from_slice(payload);
        out.push(b'\n');
    }

    fn level(&self, frame: &[u8]) -> Option<AckLevel> {
        text::level(frame)
    }

    fn ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PING\n");
    }

    fn pong(&self, token: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG");
        if !token.is_empty() {
            out.push(b' ');
            out.extend_from_slice(token);
        }
        out.push(b'\n');
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let (line, len) = first_line(bytes)?;
        let space_from = |at: usize| memchr::memchr(b' ', &line[at..]).map(|found| at + found);
        let skipped = match (line.first(), space_from(0)) {
            (Some(b'@'), Some(space)) => space + 1,
            _ => 0,
        };
        let verb_end = space_from(skipped).unwrap_or(line.len());
        let rest = (verb_end + 1).min(line.len());
        let event = match &line[skipped..verb_end] {
            b"MESSAGE" => {
                let topic_end = space_from(rest).unwrap_or(line.len());
                WireEvent::Message {
                    topic: rest..topic_end,
                    payload: (topic_end + 1).min(line.len())..line.len(),
                }
            }
            b"PUBACK" => {
                let count_end = space_from(rest).unwrap_or(line.len());
                match number(&line[rest..count_end]) {
                    Some(count) => WireEvent::Ack(AckCount::Total(count as u64)),
                    None => refused(line),
                }
            }
            b"SUBACK" | b"PONG" | b"AUTHACK" => WireEvent::Confirm,
            b"ERROR" if line[rest..].starts_with(b"auth ") => unauthenticated(line),
            b"PING" => WireEvent::Ping {
                token: rest..line.len(),
            },
            b"GAP" | b"BYE" | b"HELP" | b"UNSUBACK" => WireEvent::Other,
            _ => refused(line),
        };
        Some((event, len))
    }
}

/// Writes the first word of a PUBLISH, unless it would be empty.
fn put_attributes(options: PublishOptions, out: &mut Vec<u8>) {
    let ack = options.level.map(|level| format!("ack={level}"));
    let retain = options.retain.then(|| "retain".to_owned());
    let attributes: Vec<_> = retain.into_iter().chain(ack).collect();
    if !attributes.is_empty() {
        out.extend_from_slice(format!("@{} ", attributes.join(";")).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, check_message, written};
    use super::*;

    #[test]
    fn a_message_may_have_attributes() {
        check_message(&LineProtocol, b"MESSAGE a/b hi\n", "a/b");
        check_message(&LineProtocol, b"@unit=C MESSAGE a/b hi\r\n", "a/b");
    }

    #[test]
    fn a_receipt_counts_all_before_it() {
        check(
            &LineProtocol,
            b"PUBACK 17 3\n",
            &WireEvent::Ack(AckCount::Total(17)),
        );
    }

    #[test]
    fn a_message_may_be_retained_and_ask_for_a_level() {
        let published = |retain, level| {
            let options = PublishOptions {
                acked: true,
                retain,
                level,
            };
            let out = written(|out| LineProtocol.publish("a", b"hi", options, out));
            String::from_utf8(out).expect("text")
        };
        let disk = Some(AckLevel::Disk);
        assert_eq!(published(false, None), "PUBLISH a hi\n");
        assert_eq!(published(true, None), "@retain PUBLISH a hi\n");
        assert_eq!(published(false, disk), "@ack=disk PUBLISH a hi\n");
        assert_eq!(published(true, disk), "@retain;ack=disk PUBLISH a hi\n");
    }

    #[test]
    fn a_receipt_may_say_a_level() {
        for (line, level) in [
            (
                "@level=disk;pos=k3f9.1:7 PUBACK 17 3\n",
                Some(AckLevel::Disk),
            ),
            ("@level=mem PUBACK 17 3\n", Some(AckLevel::Mem)),
            ("@level=paper PUBACK 17 3\n", None),
            ("PUBACK 17 3\n", None),
        ] {
            let total = WireEvent::Ack(AckCount::Total(17));
            check(&LineProtocol, line.as_bytes(), &total);
            assert_eq!(LineProtocol.level(line.as_bytes()), level, "{line}");
        }
    }

    #[test]
    fn answers_and_refusals_are_told_apart() {
        check(&LineProtocol, b"SUBACK a\n", &WireEvent::Confirm);
        check(&LineProtocol, b"PONG\n", &WireEvent::Confirm);
        check(&LineProtocol, b"GAP 3\n", &WireEvent::Other);
        for text in ["ERROR busy line no room", "+PONG"] {
            let refusal = WireEvent::Refused(text.to_owned());
            check(&LineProtocol, format!("{text}\n").as_bytes(), &refusal);
        }
    }

    #[test]
    fn a_client_says_who_it_is_and_may_be_refused() {
        let ann = Credential::password("ann", "a b");
        let out = written(|out| LineProtocol.authenticate(&ann, out).expect("a name"));
        assert_eq!(out, b"AUTH ann a b\n");
        check(&LineProtocol, b"AUTHACK ann\n", &WireEvent::Confirm);
        let text = "ERROR auth line say AUTH first".to_owned();
        let line = format!("{text}\n");
        let refusal = WireEvent::Unauthenticated(text);
        check(&LineProtocol, line.as_bytes(), &refusal);
    }

    #[test]
    fn a_question_is_answered_with_its_token() {
        check(
            &LineProtocol,
            b"PING a b\n",
            &WireEvent::Ping { token: 5..8 },
        );
        assert_eq!(written(|out| LineProtocol.pong(b"a b", out)), b"PONG a b\n");
        assert_eq!(written(|out| LineProtocol.pong(b"", out)), b"PONG\n");
    }

    #[test]
    fn several_topics_are_one_subscribe() {
        let topics = ["a".to_owned(), "b".to_owned()];
        let mut out = Vec::new();
        assert_eq!(LineProtocol.subscribe(&topics, 0..2, &mut out), 2);
        LineProtocol.publish("a", b"hi", PublishOptions::PLAIN, &mut out);
        assert_eq!(out, b"SUBSCRIBE a b\nPUBLISH a hi\n");
    }
}
