//! Lines in datagrams: each datagram is a conversation of its own that only publishes.

use memchr::memchr;
use protocol::{ACK, Attributes, Code, Escaped, Framer, Reply, Request, Subject, Topic};

use super::refusals::{not_kept, refusal};
use crate::engine::client::{Client, Message, PublishError};

/// Maximum bytes of an answer. What would be longer is left out.
const ANSWER_BYTES: usize = 1024;

/// The only value of [`ACK`]: the answer confirms that the message is in the queues of its subscribers.
const MEM: &[u8] = b"mem";

/// What the lines of one datagram did.
#[derive(Default)]
struct DatagramConversation {
    answers: Vec<u8>,
    /// Messages that asked for an answer, and the copies made of them.
    answered: u64,
    copies: u64,
    /// The number of PUBLISH lines so far.
    published: u64,
}

/// Handles the lines of a datagram; returns the answer, which may be empty. A line at the end needs no line
/// end.
pub(crate) fn handle_datagram(client: &mut Client<'_>, datagram: &[u8]) -> Vec<u8> {
    let mut conversation = DatagramConversation::default();
    client.refresh_limits();
    client.begin();
    client.note_heard(datagram.len());
    let mut rest = datagram;
    while !rest.is_empty() && conversation.answers.len() < ANSWER_BYTES {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = Framer::content(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        if !line.is_empty() {
            conversation.take(client, line);
        }
    }
    // Before the answer, which confirms the delivery.
    client.finish_without_waiting();
    conversation.confirm();
    conversation.answers
}

impl DatagramConversation {
    fn take(&mut self, client: &mut Client<'_>, line: &[u8]) {
        let most = client.line_bytes();
        if line.len() > most {
            let text = format!("a line has at most {most} bytes here");
            return self.refuse(client, Code::TooLong, Subject::Line, &text);
        }
        match Request::decode(line) {
            Ok(Request::Publish {
                topic,
                payload,
                attributes,
            }) => {
                self.published += 1;
                client.note_publish_bytes(line.len());
                if let Err((code, text)) = self.publish(client, topic, payload, &attributes) {
                    self.refuse(client, code, Subject::Publish(self.published), &text);
                }
            }
            Ok(Request::Ping { token }) => self.say(&Reply::Pong { token }),
            Ok(Request::Pong { .. }) => {}
            // A datagram has no connection that could be of one identity, and anyone can send one.
            Ok(Request::Auth { .. }) => {
                let text =
                    "what a datagram holds is anonymous; connect over TCP to say who you are";
                self.refuse(client, Code::Auth, Subject::Line, text);
            }
            Ok(_) => {
                let text = "a datagram holds PUBLISH and PING; connect over TCP for anything else";
                self.refuse(client, Code::Denied, Subject::Line, text);
            }
            Err(why) => {
                let subject = match why.is_publish() {
                    true => {
                        self.published += 1;
                        Subject::Publish(self.published)
                    }
                    false => Subject::Line,
                };
                self.refuse(client, why.code(), subject, &why.to_string());
            }
        }
    }

    fn publish(
        &mut self,
        client: &mut Client<'_>,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: &Attributes<'_>,
    ) -> Result<(), (Code, String)> {
        let asks = match attributes.get(ACK).as_deref() {
            None => false,
            Some(MEM) => true,
            Some(_) => {
                let text = "in a datagram, `ack` has the value mem";
                return Err((Code::BadAttribute, text.to_owned()));
            }
        };
        let message = Message::of_line(topic, payload, attributes.without(&[ACK]));
        let copies = client.publish(&[], message).map_err(|why| match why {
            PublishError::BrokersOwn => {
                let text = "only the broker itself publishes there; connect over TCP to ask it";
                (Code::Denied, text.to_owned())
            }
            PublishError::Denied(denied) => {
                let text = format!("{denied}: a datagram cannot say who sent it; connect over TCP");
                (Code::Denied, text)
            }
            PublishError::Full(full) => (Code::TooMany, full.to_string()),
            PublishError::OverLimit(over) => (Code::TooMany, over.to_string()),
            PublishError::NotKept(why) => (not_kept(why), why.to_string()),
            PublishError::BadAckLevel(why) => (Code::BadAttribute, why.to_string()),
        })?;
        if asks {
            self.answered += 1;
            self.copies += copies;
        }
        Ok(())
    }

    fn refuse(&mut self, client: &mut Client<'_>, code: Code, subject: Subject<'_>, text: &str) {
        client.note_refused(1);
        let before = self.answers.len();
        refusal(&mut self.answers, code, subject, text);
        self.limit(before);
    }

    fn say(&mut self, reply: &Reply<'_>) {
        let before = self.answers.len();
        reply.encode(&mut self.answers);
        self.limit(before);
    }

    fn confirm(&mut self) {
        if self.answered > 0 {
            self.say(&Reply::PubAck {
                answered: self.answered,
                copies: self.copies,
                reached: None,
            });
        }
    }

    /// Leaves out the last answer if all are too long.
    fn limit(&mut self, before: usize) {
        if self.answers.len() > ANSWER_BYTES {
            self.answers.truncate(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::limits::Limits;

    #[track_caller]
    fn check(datagram: &[u8], expected: &str) {
        let engine = Engine::new(Limits {
            line_bytes: 100,
            ..Limits::default()
        });
        let engine = Arc::new(engine.expect("an engine"));
        let mut client = Client::internal(&engine);
        let answer = handle_datagram(&mut client, datagram);
        let answer = String::from_utf8(answer).expect("text");
        let begins = expected.strip_suffix("...");
        let is_so = begins.map_or(answer == expected, |begin| answer.starts_with(begin));
        assert!(is_so, "{}: {answer:?}", datagram.escape_ascii());
        let audit = engine.clients.audit();
        assert!(audit.is_exact && audit.ledger.is_balanced());
    }

    #[test]
    fn a_datagram_publishes_and_is_answered_only_if_it_asks_or_is_wrong() {
        check(b"", "");
        check(b"PUBLISH news hi", "");
        check(b"PUBLISH news hi\r\nPUBLISH news\n\n", "");
        check(b"@ack=mem PUBLISH news hi", "PUBACK 1 0\n");
        check(
            b"@ack=mem PUBLISH a\nPUBLISH b\n@retain;ack=mem PUBLISH c x",
            "PUBACK 2 0\n",
        );
        check(b"PING", "PONG\n");
        check(b"PING 1\n@ack=mem PUBLISH a", "PONG 1\nPUBACK 1 0\n");
        check(b"PONG", "");
        check(
            b"@ack=disk PUBLISH a",
            "ERROR bad-attribute publish:1 in a datagram...",
        );
        check(
            b"PUBLISH a\nPUBLISH $SYS/x",
            "ERROR denied publish:2 only the broker...",
        );
        check(b"PUBLISH a/#", "ERROR bad-topic publish:1 ...");
        check(
            b"SUBSCRIBE a",
            "ERROR denied line a datagram holds PUBLISH and PING...",
        );
        for auth in [&b"AUTH"[..], b"AUTH ann hunter2"] {
            check(
                auth,
                "ERROR auth line what a datagram holds is anonymous...",
            );
        }
        check(b"hello", "ERROR unknown-verb line ...");
        check(b"\xff\0", "ERROR unknown-verb line ...");
        check(
            &[b'x'; 101],
            "ERROR too-long line a line has at most 100 bytes...",
        );
    }

    #[test]
    fn an_answer_is_short_whatever_comes() {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let mut client = Client::internal(&engine);
        let many = b"x\n".repeat(1000);
        let long = [b"PING ".to_vec(), vec![b'x'; 2 * ANSWER_BYTES]].concat();
        for datagram in [many, long] {
            let answer = handle_datagram(&mut client, &datagram);
            assert!(answer.len() <= ANSWER_BYTES, "{}", answer.len());
        }
    }
}
