//! Publishing into a stream of NATS with JetStream. An acknowledgement is a message to the inbox of its publisher, and
//! comes when the stream has the message.

use std::ops::Range;
use std::process;

use serde_json::json;

use super::nats::Nats;
use super::protocol::{AckCount, Kept, Protocol, PublishOptions, WireEvent};
use super::text::refused;

/// The protocol of one connection.
#[derive(Debug)]
pub(crate) struct JetStream {
    kept: Kept,
    /// The subject of its answers.
    inbox: String,
}

impl JetStream {
    /// The protocol of a connection that publishes nothing, for a stream that keeps these messages.
    pub(crate) fn keeping(kept: Kept) -> Self {
        Self::at(kept, "run")
    }

    /// The inbox has the process id, so that runs at the same time do not get each other's answers.
    fn at(kept: Kept, name: &str) -> Self {
        Self {
            kept,
            inbox: format!("_INBOX.bench.{:08x}.{name}", process::id()),
        }
    }

    /// Appends a message that is answered at the inbox.
    fn ask(&self, subject: &str, payload: &[u8], out: &mut Vec<u8>) {
        let head = format!("PUB {subject} {} {}\r\n", self.inbox, payload.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

impl Protocol for JetStream {
    fn separator(&self) -> char {
        Nats.separator()
    }

    /// All acknowledgements to one inbox would go to each publisher.
    fn of_publisher(&self, publisher: usize) -> Option<&'static dyn Protocol> {
        // Leaked, because there is one run in the life of the program.
        let own = Box::new(Self::at(self.kept, &format!("p{publisher}")));
        Some(Box::leak(own))
    }

    fn check(&self, options: PublishOptions) -> Result<(), &'static str> {
        Nats.check(options)
    }

    /// Without `verbose`, whose `+OK` says nothing of the stream.
    fn connect(&self, client: &str, _acked: bool, out: &mut Vec<u8>) {
        Nats.connect(client, false, out);
        out.extend_from_slice(format!("SUB {} 1\r\n", self.inbox).as_bytes());
    }

    fn prepare(&self, topics: &[String], out: &mut Vec<u8>) {
        let (name, subjects) = stream(&topics[0]);
        let mut config = json!({"name": name, "subjects": [subjects], "storage": "file"});
        if let Kept::Newest(count) = self.kept {
            config["max_msgs_per_subject"] = count.into();
        }
        let subject = format!("$JS.API.STREAM.CREATE.{name}");
        self.ask(&subject, config.to_string().as_bytes(), out);
    }

    fn remove(&self, topics: &[String], out: &mut Vec<u8>) {
        let (name, _) = stream(&topics[0]);
        self.ask(&format!("$JS.API.STREAM.DELETE.{name}"), b"", out);
    }

    fn subscribe(&self, topics: &[String], these: Range<usize>, out: &mut Vec<u8>) -> usize {
        Nats.subscribe(topics, these, out)
    }

    fn publish(&self, topic: &str, payload: &[u8], _: PublishOptions, out: &mut Vec<u8>) {
        self.ask(topic, payload, out);
    }

    fn ping(&self, out: &mut Vec<u8>) {
        Nats.ping(out);
    }

    fn pong(&self, token: &[u8], out: &mut Vec<u8>) {
        Nats.pong(token, out);
    }

    fn scan(&self, bytes: &[u8]) -> Option<(WireEvent, usize)> {
        let (event, len) = Nats.scan(bytes)?;
        let event = match event {
            WireEvent::Message { topic, payload }
                if bytes[topic.clone()] == *self.inbox.as_bytes() =>
            {
                answer(&bytes[payload])
            }
            // Without JetStream a server does not answer at all.
            WireEvent::Other if !has(&bytes[..len], b"\"jetstream\":true") => WireEvent::Refused(
                "this server has no JetStream; start it with --jetstream".to_owned(),
            ),
            event => event,
        };
        Some((event, len))
    }
}

/// The name of the stream of a run, and its subjects, from one of its topics.
fn stream(topic: &str) -> (String, String) {
    let (run, _) = topic.rsplit_once('.').expect("topics have levels");
    (run.replace('.', "-"), format!("{run}.*"))
}

/// Answers to requests begin with their type, acknowledgements with the stream, refused messages with the error.
fn answer(payload: &[u8]) -> WireEvent {
    if payload.starts_with(b"{\"stream\":") {
        return WireEvent::Ack(AckCount::One);
    }
    match payload.starts_with(b"{\"type\":") && !has(payload, b"\"error\":") {
        true => WireEvent::Confirm,
        false => refused(payload),
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::{check, written};
    use super::*;

    /// A message to the inbox.
    fn answered(wire: &JetStream, payload: &str) -> Vec<u8> {
        format!("MSG {} 1 {}\r\n{payload}\r\n", wire.inbox, payload.len()).into_bytes()
    }

    #[test]
    fn an_acknowledgement_comes_to_the_inbox() {
        let wire = JetStream::keeping(Kept::All);
        let ack = answered(&wire, r#"{"stream":"bench-1", "seq":7}"#);
        check(&wire, &ack, &WireEvent::Ack(AckCount::One));
        let out = written(|out| wire.publish("a.b", b"hi", PublishOptions::ACKED, out));
        assert_eq!(
            out,
            format!("PUB a.b {} 2\r\nhi\r\n", wire.inbox).as_bytes()
        );
        let connect = written(|out| wire.connect("b", true, out));
        let connect = String::from_utf8(connect).expect("text");
        assert!(connect.contains("\"verbose\":false"), "{connect}");
        assert!(
            connect.ends_with(&format!("SUB {} 1\r\n", wire.inbox)),
            "{connect}"
        );
    }

    #[test]
    fn each_publisher_has_an_inbox_of_its_own() {
        let wire = JetStream::keeping(Kept::All);
        let published = |publisher| {
            let own = wire.of_publisher(publisher).expect("its own");
            written(|out| own.publish("a.b", b"hi", PublishOptions::ACKED, out))
        };
        assert_ne!(published(0), published(1));
        assert_eq!(published(1), published(1));
    }

    #[test]
    fn a_run_has_a_stream_of_its_own_and_removes_it() {
        let topics = ["bench.7.00000".to_owned(), "bench.7.00001".to_owned()];
        let wire = JetStream::keeping(Kept::Newest(20));
        let out = written(|out| wire.prepare(&topics, out));
        let out = String::from_utf8(out).expect("text");
        assert!(
            out.starts_with("PUB $JS.API.STREAM.CREATE.bench-7 _INBOX."),
            "{out}"
        );
        for part in [
            "\"bench.7.*\"",
            "\"storage\":\"file\"",
            "\"max_msgs_per_subject\":20",
        ] {
            assert!(out.contains(part), "{part} in {out}");
        }
        let all = written(|out| JetStream::keeping(Kept::All).prepare(&topics, out));
        assert!(!has(&all, b"max_msgs"));
        let out = written(|out| wire.remove(&topics, out));
        assert!(out.starts_with(b"PUB $JS.API.STREAM.DELETE.bench-7 _INBOX."));
    }

    #[test]
    fn requests_are_confirmed_or_refused() {
        let wire = JetStream::keeping(Kept::All);
        let made = r#"{"type":"io.nats.jetstream.api.v1.stream_create_response","config":{}}"#;
        check(&wire, &answered(&wire, made), &WireEvent::Confirm);
        for text in [
            r#"{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":500}}"#,
            r#"{"error":{"code":503},"stream":"bench-1","seq":0}"#,
        ] {
            let refusal = WireEvent::Refused(text.to_owned());
            check(&wire, &answered(&wire, text), &refusal);
        }
    }

    #[test]
    fn a_server_without_streams_is_refused_at_once() {
        let wire = JetStream::keeping(Kept::All);
        check(&wire, b"INFO {\"jetstream\":true}\r\n", &WireEvent::Other);
        let said = wire.scan(b"INFO {\"port\":1}\r\n").map(|(event, _)| event);
        assert!(matches!(said, Some(WireEvent::Refused(_))));
    }
}
