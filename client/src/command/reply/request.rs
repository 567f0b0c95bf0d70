//! A request to answer, and its answer.

use client::{Attributes, ERROR, Error, Escaped, ID, Publisher, REPLY, Topic};

use crate::stderr::say;
use crate::visible;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) id: Option<Vec<u8>>,
    /// The topic of the answer; `None` if the request wants none.
    reply: Option<String>,
}

impl Request {
    /// Reads a request from a message.
    pub(super) fn new(
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
    ) -> Self {
        let reply = attributes.get(REPLY).and_then(|reply| {
            let checked = Topic::parse(&*reply);
            if let Err(bad) = &checked {
                say(format_args!(
                    "client: a request on {} cannot be answered: {bad}",
                    shown(topic.as_str())
                ));
            }
            checked.ok().map(|reply| reply.to_string())
        });
        Self {
            topic: topic.to_string(),
            payload: payload.unescape().into_owned(),
            id: attributes.get(ID).map(|id| id.into_owned()),
            reply,
        }
    }

    /// The topic, safe to print.
    pub(super) fn shown_topic(&self) -> String {
        shown(&self.topic)
    }

    /// The answer, if the request wants one. `error` is the exit status of a failed command.
    pub(super) fn answer(self, payload: Vec<u8>, error: Option<i32>) -> Option<ReplyMessage> {
        let mut attributes = Attributes::default();
        if let Some(id) = &self.id {
            attributes.push(ID, id).expect("it is a key");
        }
        if let Some(error) = error {
            let pushed = attributes.push(ERROR, error.to_string().as_bytes());
            pushed.expect("it is a key");
        }
        Some(ReplyMessage {
            topic: self.reply?,
            payload,
            attributes,
        })
    }
}

fn shown(topic: &str) -> String {
    visible::line(topic)
}

/// An answer to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReplyMessage {
    topic: String,
    payload: Vec<u8>,
    attributes: Attributes<'static>,
}

impl ReplyMessage {
    pub(super) fn publish(&self, publisher: &mut Publisher<'_>) -> Result<(), Error> {
        publisher.publish_with(&self.topic, &self.payload, &self.attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(attributes: &[(&str, &[u8])], error: Option<i32>) -> Option<String> {
        let mut pushed = Attributes::default();
        for (key, value) in attributes {
            pushed.push(key, value).expect("a key");
        }
        let topic = Topic::parse("jobs").expect("a topic");
        let request = Request::new(topic, &Escaped::escape(b"x"), &pushed);
        let answer = request.answer(b"done".to_vec(), error)?;
        let attributes = answer.attributes.iter().map(|(key, value)| {
            let value = value.expect("all have values");
            format!("{key}={} ", value.escape_ascii())
        });
        Some(attributes.collect::<String>() + &answer.topic)
    }

    #[test]
    fn an_answer_goes_to_the_reply_topic_with_the_id_of_its_request() {
        let request: [(&str, &[u8]); 3] = [("unit", b"C"), (REPLY, b"here"), (ID, b"7")];
        assert_eq!(answered(&request, None).as_deref(), Some("id=7 here"));
        assert_eq!(answered(&request[..2], None).as_deref(), Some("here"));
    }

    #[test]
    fn a_failure_is_told_in_the_answer() {
        let request: [(&str, &[u8]); 2] = [(REPLY, b"here"), (ID, b"a b")];
        let answer = answered(&request, Some(3));
        assert_eq!(answer.as_deref(), Some("id=a b error=3 here"));
    }

    #[test]
    fn a_message_without_a_topic_to_reply_to_has_no_answer() {
        assert_eq!(answered(&[], None), None);
        assert_eq!(answered(&[(REPLY, b"no+topic")], None), None);
        assert_eq!(answered(&[(REPLY, b"")], None), None);
    }
}
