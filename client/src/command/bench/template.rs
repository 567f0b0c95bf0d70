//! Recognises messages without parsing. All messages of a run have one length, and on one topic
//! they begin with the same bytes. Once a message of a topic has been parsed, later ones are
//! recognised by those bytes. Anything else is left to the parser.

use std::ops::Range;

use super::layout::{Layout, TOPIC_DIGITS};

/// The form of the messages of a run.
#[derive(Debug, Default)]
pub(crate) struct Template {
    len: usize,
    /// The offset of the topic's number.
    digits_at: usize,
    payload: Range<usize>,
    /// The bytes before the payload, by topic; `None` until a message of the topic was parsed.
    heads: Vec<Option<Box<[u8]>>>,
    tail: Vec<u8>,
}

/// The result of matching the start of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TemplateMatch<'a> {
    Message {
        topic: usize,
        payload: &'a [u8],
    },
    /// The beginning of a message.
    Partial,
    Unknown,
}

impl Template {
    pub(crate) fn new(topics: usize) -> Self {
        Self {
            heads: vec![None; topics],
            ..Self::default()
        }
    }

    /// The size of a recognised message.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn match_start<'a>(&self, bytes: &'a [u8]) -> TemplateMatch<'a> {
        let digits = bytes.get(self.digits_at..self.digits_at + TOPIC_DIGITS);
        let Some(topic) = digits.and_then(Layout::number) else {
            return TemplateMatch::Unknown;
        };
        let Some(Some(head)) = self.heads.get(topic) else {
            return TemplateMatch::Unknown;
        };
        if !bytes.starts_with(head) {
            return TemplateMatch::Unknown;
        }
        match bytes.get(self.payload.end..self.len) {
            None => TemplateMatch::Partial,
            // An empty tail is not compared: the pointer of an empty vector dangles, and the vector
            // comparison reads from it with a mask, which costs as much as everything else here.
            Some(tail) if self.tail.is_empty() || tail == self.tail => TemplateMatch::Message {
                topic,
                payload: &bytes[self.payload.clone()],
            },
            Some(_) => TemplateMatch::Unknown,
        }
    }

    /// Remembers the form of a parsed message; returns its topic, if it is one of this run.
    pub(crate) fn learn(
        &mut self,
        frame: &[u8],
        topic: Range<usize>,
        payload: Range<usize>,
    ) -> Option<usize> {
        let number = Layout::number(&frame[topic.clone()])?;
        let digits_at = topic.end - TOPIC_DIGITS;
        if self.len == 0 {
            self.len = frame.len();
            self.digits_at = digits_at;
            self.payload = payload.clone();
            self.tail = frame[payload.end..].to_vec();
        }
        let is_alike =
            (self.len, self.digits_at, &self.payload) == (frame.len(), digits_at, &payload);
        let head = self.heads.get_mut(number)?;
        if is_alike {
            *head = Some(frame[..payload.start].into());
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"MESSAGE a/00001 hi\n";

    fn template() -> Template {
        let mut template = Template::new(3);
        assert_eq!(template.match_start(FIRST), TemplateMatch::Unknown);
        assert_eq!(template.learn(FIRST, 8..15, 16..18), Some(1));
        template
    }

    #[test]
    fn a_message_of_known_form_is_recognised() {
        let template = template();
        let step = template.match_start(b"MESSAGE a/00001 yo\nMORE");
        assert_eq!(
            step,
            TemplateMatch::Message {
                topic: 1,
                payload: b"yo"
            }
        );
        assert_eq!(template.len(), FIRST.len());
    }

    #[test]
    fn the_beginning_of_a_message_is_partial() {
        assert_eq!(
            template().match_start(b"MESSAGE a/00001 y"),
            TemplateMatch::Partial
        );
    }

    #[test]
    fn a_message_of_other_form_is_left_to_the_parser() {
        for other in [
            &b"MESSAGE a/00002 yo\n"[..],
            b"MESSAGE b/00001 yo\n",
            b"MESSAGE a/00001 long\n",
            b"MESSAGE a/0000x yo\n",
            b"PING\n",
            b"",
        ] {
            assert_eq!(
                template().match_start(other),
                TemplateMatch::Unknown,
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_topic_beyond_those_of_the_run_is_none() {
        let frame = b"MESSAGE a/00003 hi\n";
        assert_eq!(template().learn(frame, 8..15, 16..18), None);
        assert_eq!(template().learn(b"MESSAGE x hi\n", 8..9, 10..12), None);
    }
}
