//! Collects the answers to this client's requests from all deliveries.
//!
//! Answers arrive on a topic with a random name, which only this client uses. An answer to an
//! earlier request is dropped. The buffer is bounded like that of other messages.

use protocol::{Attributes, ID, REPLY};

use crate::backlog::{self, Backlog};
use crate::message::{Delivery, Message};

/// Wildcards do not match topics below it, so a subscriber of `#` does not receive the answers of
/// others.
const ANSWERS: &str = "$reply";

/// The topic of the answers, and the answers that have arrived.
#[derive(Debug)]
pub(crate) struct Inbox {
    topic: String,
    /// Number of requests so far; the number of each is its id.
    asked: u64,
    /// The id of the request whose answers are collected.
    open: Option<String>,
    answers: Backlog,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self::on(format!("{ANSWERS}/{:016x}", fastrand::u64(..)))
    }

    fn on(topic: String) -> Self {
        Self {
            topic,
            asked: 0,
            open: None,
            answers: Backlog::default(),
        }
    }

    /// The topic that the client has to subscribe to.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Collects the answers to a new request, and no longer those of the one before. Returns the
    /// attributes of the request, with `reply` and `id` added.
    pub(crate) fn open(&mut self, attributes: &Attributes<'_>) -> Attributes<'static> {
        self.asked += 1;
        let id = self.asked.to_string();
        let mut attributes = attributes.without(&[REPLY, ID]);
        for (key, value) in [(REPLY, &self.topic), (ID, &id)] {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("both are keys");
        }
        self.answers = Backlog::default();
        self.open = Some(id);
        attributes
    }

    /// Stops collecting answers.
    pub(crate) fn close(&mut self) {
        self.open = None;
        self.answers = Backlog::default();
    }

    /// Keeps an answer, or drops it if it is too late; returns any other delivery.
    pub(crate) fn take_answer<'d>(&mut self, delivery: Delivery<'d>) -> Option<Delivery<'d>> {
        let Delivery::Message {
            topic, attributes, ..
        } = &delivery
        else {
            return Some(delivery);
        };
        if topic.as_str() != self.topic {
            return Some(delivery);
        }
        if let (Some(open), Some(id)) = (&self.open, attributes.get(ID))
            && open.as_bytes() == &*id
        {
            self.answers.push(delivery);
        }
        None
    }

    /// The oldest answer that has arrived.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut missed = 0;
        while let Some(line) = self.answers.pop() {
            match backlog::delivery(&line).into_message(missed) {
                Ok(message) => return Some(message),
                Err(count) => missed += count,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes(inbox: &mut Inbox, line: &str) -> bool {
        inbox
            .take_answer(backlog::delivery(line.as_bytes()))
            .is_none()
    }

    fn payloads(inbox: &mut Inbox) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| inbox.next().map(|message| message.payload)).collect()
    }

    #[test]
    fn no_two_inboxes_have_the_same_topic_and_no_wildcard_finds_one() {
        let inbox = Inbox::new();
        assert_ne!(inbox.topic(), Inbox::new().topic());
        let topic = protocol::Topic::parse(inbox.topic()).expect("a topic");
        assert!(topic.is_hidden());
    }

    #[test]
    fn only_answers_to_the_open_request_are_kept() {
        let mut inbox = Inbox::on("$reply/x".to_owned());
        inbox.open(&Attributes::default());
        let second = inbox.open(&Attributes::default());
        assert_eq!(second.get(ID).as_deref(), Some(&b"2"[..]));
        assert_eq!(second.get(REPLY).as_deref(), Some(&b"$reply/x"[..]));
        assert!(comes(&mut inbox, "@id=1 MESSAGE $reply/x late"));
        assert!(comes(&mut inbox, "@id=2 MESSAGE $reply/x one"));
        assert!(comes(&mut inbox, "MESSAGE $reply/x whose?"));
        assert!(comes(&mut inbox, "@a;id=2 MESSAGE $reply/x two"));
        assert_eq!(payloads(&mut inbox), [&b"one"[..], b"two"]);
        inbox.close();
        assert!(comes(&mut inbox, "@id=2 MESSAGE $reply/x three"));
        assert!(payloads(&mut inbox).is_empty());
    }

    #[test]
    fn a_delivery_that_is_not_an_answer_is_returned() {
        let mut inbox = Inbox::on("$reply/x".to_owned());
        inbox.open(&Attributes::default());
        assert!(!comes(&mut inbox, "@id=1 MESSAGE a 1"));
        assert!(!comes(&mut inbox, "GAP 3"));
        assert!(payloads(&mut inbox).is_empty());
    }

    #[test]
    fn a_request_keeps_its_attributes_but_for_those_that_lead_elsewhere() {
        let mut attributes = Attributes::default();
        attributes.push("unit", b"C").expect("a key");
        attributes.push(REPLY, b"elsewhere").expect("a key");
        let opened = Inbox::on("$reply/x".to_owned()).open(&attributes);
        let keys: Vec<_> = opened.iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys, ["unit", REPLY, ID]);
        assert_eq!(opened.get(REPLY).as_deref(), Some(&b"$reply/x"[..]));
    }
}
