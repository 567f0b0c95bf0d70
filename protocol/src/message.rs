//! The line of a message, the form in which a broker keeps messages and hands them on.
//!
//! It is what [`Reply::Message`] is to a client. Here it stands alone, for code that knows messages and
//! no other frame.

use crate::attributes::Attributes;
use crate::decode::Framer;
use crate::escape::Escaped;
use crate::frame::Reply;
use crate::topic::Topic;

/// `[@<attributes> ]MESSAGE <topic>[ <payload>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// What was published; may be empty.
    pub payload: Escaped<'a>,
    /// What stands before the verb.
    pub attributes: Attributes<'a>,
}

impl<'a> MessageLine<'a> {
    /// The verb and the space behind it.
    pub const VERB: &'static [u8] = b"MESSAGE ";

    /// Reads one line, with or without its line end; `None` if it is not the line of a message.
    pub fn decode(line: &'a [u8]) -> Option<Self> {
        let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
        match Reply::decode(content) {
            Ok(Reply::Message {
                topic,
                payload,
                attributes,
            }) => Some(Self {
                topic,
                payload,
                attributes,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attributes: &[&str], payload: &[u8], expected: &[u8]) {
        let mut line = MessageLine {
            topic: Topic::parse("a/b").expect("a topic"),
            payload: Escaped::escape(payload),
            attributes: Attributes::default(),
        };
        for key in attributes {
            line.attributes.push_flag(key).expect("a key");
        }
        // What is there already stays.
        let mut out = b"before\n".to_vec();
        let topic = line.encode(&mut out);
        assert_eq!(&out[topic], b"a/b");
        let written = &out[b"before\n".len()..];
        assert_eq!(written, expected);
        assert_eq!(MessageLine::decode(written), Some(line.clone()));
        let without_end = &written[..written.len() - 1];
        assert_eq!(MessageLine::decode(without_end), Some(line));
    }

    #[test]
    fn a_message_is_read_back_as_it_was_written() {
        check(&[], b"hi", b"MESSAGE a/b hi\n");
        check(&[], b"", b"MESSAGE a/b\n");
        check(&[], b"two words", b"MESSAGE a/b two words\n");
        check(&["retained", "k"], b"hi", b"@retained;k MESSAGE a/b hi\n");
    }

    #[test]
    fn a_carriage_return_at_the_end_of_a_payload_is_no_half_of_a_line_end() {
        check(&[], b"hi\r", b"MESSAGE a/b hi\\r\n");
        check(&[], b"a\nb", b"MESSAGE a/b a\\nb\n");
    }

    #[test]
    fn other_lines_are_no_messages() {
        for line in [
            &b""[..],
            b"\n",
            b"PUBLISH a hi",
            b"MESSAGE",
            b"MESSAGE a/#",
            b"BYE\n",
        ] {
            assert_eq!(MessageLine::decode(line), None);
        }
    }

    #[test]
    fn the_line_begins_with_its_verb_unless_it_has_attributes() {
        let line = MessageLine {
            topic: Topic::parse("a").expect("a topic"),
            payload: Escaped::default(),
            attributes: Attributes::default(),
        };
        let mut out = Vec::new();
        line.encode(&mut out);
        assert!(out.starts_with(MessageLine::VERB));
    }
}
