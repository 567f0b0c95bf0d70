//! The file format of `client record`, `client play`, `broker store export` and `broker store import`: one JSON object
//! per line.
//!
//! `{"offset_us":1500,"topic":"t","payload":"text"}` is a message with all members of `subscribe -o
//! json` and its time of arrival, in microseconds since the recording began.
//! `{"offset_us":1500,"gap":3}` means that three messages are missing.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::{
    Attributes, BadAttribute, BadTopic, REPLY, RETAINED, Topic, decode_spaces, encode_spaces,
};
use serde_json::{Map, Value};

use crate::json;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordedLine {
    /// Since the recording began.
    pub offset: Duration,
    /// What came then.
    pub event: RecordedEvent,
}

/// A message or a gap.
#[derive(Debug, PartialEq, Eq)]
pub enum RecordedEvent {
    /// A message.
    Message {
        /// A valid topic, as a line writes it.
        topic: String,
        /// What was published.
        payload: Vec<u8>,
        /// Those that it came with.
        attributes: Attributes<'static>,
    },
    /// The number of missing messages.
    Gap(u64),
}

/// Writes the line of a message.
///
/// # Errors
///
/// Those of `out`.
pub fn write_message(
    out: &mut impl Write,
    offset: Duration,
    topic: Topic<'_>,
    payload: &[u8],
    attributes: &Attributes<'_>,
) -> io::Result<()> {
    write!(out, "{{\"offset_us\":{},", offset.as_micros())?;
    json::write_members(out, &decode_spaces(topic.as_str()), payload, attributes)?;
    out.write_all(b"}\n")
}

/// Writes the line that tells of missing messages.
///
/// # Errors
///
/// Those of `out`.
pub fn write_gap(out: &mut impl Write, offset: Duration, count: u64) -> io::Result<()> {
    let offset = offset.as_micros();
    writeln!(out, "{{\"offset_us\":{offset},\"gap\":{count}}}")
}

/// Why a line is not part of a recording.
#[derive(Debug)]
pub enum BadLine {
    /// It is not JSON.
    Json(serde_json::Error),
    /// It is other JSON.
    NoObject,
    /// A member is missing or has the wrong type.
    Member {
        /// Its name.
        name: &'static str,
        /// What it should be, in words.
        should_be: &'static str,
    },
    /// An unknown member.
    Unknown(String),
    /// A topic on which nothing can be published.
    Topic(BadTopic),
    /// An attribute that no line can have.
    Attribute(BadAttribute),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(why) => write!(f, "this is not JSON: {why}"),
            Self::NoObject => write!(f, "this is not a JSON object"),
            Self::Member { name, should_be } => write!(f, "{name} should be {should_be}"),
            Self::Unknown(name) => write!(f, "the member {name:?} is not known"),
            Self::Topic(why) => write!(f, "the topic is invalid: {why}"),
            Self::Attribute(why) => why.fmt(f),
        }
    }
}

impl RecordedLine {
    /// Parses a line without its end.
    ///
    /// # Errors
    ///
    /// It is not a line of a recording.
    pub fn parse(line: &[u8]) -> Result<Self, BadLine> {
        let value = serde_json::from_slice(line).map_err(BadLine::Json)?;
        let Value::Object(mut members) = value else {
            return Err(BadLine::NoObject);
        };
        let offset = number(members.remove("offset_us"), "offset_us")?;
        let event = match members.remove("gap") {
            Some(count) => RecordedEvent::Gap(number(Some(count), "gap")?),
            None => message(&mut members)?,
        };
        match members.into_iter().next() {
            Some((name, _)) => Err(BadLine::Unknown(name)),
            None => Ok(Self {
                offset: Duration::from_micros(offset),
                event,
            }),
        }
    }
}

fn number(value: Option<Value>, name: &'static str) -> Result<u64, BadLine> {
    let should_be = "a whole number";
    let number = value.as_ref().and_then(Value::as_u64);
    number.ok_or(BadLine::Member { name, should_be })
}

fn message(members: &mut Map<String, Value>) -> Result<RecordedEvent, BadLine> {
    let Some(Value::String(topic)) = members.remove("topic") else {
        return Err(BadLine::Member {
            name: "topic",
            should_be: "a text",
        });
    };
    let topic = encode_spaces(&topic).into_owned();
    Topic::parse(&topic).map_err(BadLine::Topic)?;
    let payload = match (members.remove("payload"), members.remove("payload_base64")) {
        (Some(Value::String(text)), None) => Some(text.into_bytes()),
        (None, Some(Value::String(text))) => STANDARD.decode(text).ok(),
        _ => None,
    };
    let payload = payload.ok_or(BadLine::Member {
        name: "payload",
        should_be: "a text, or payload_base64 in its place",
    })?;
    let mut attributes = Attributes::default();
    match members.remove("attributes") {
        None => {}
        Some(Value::Object(object)) => {
            for (key, value) in &object {
                push_all(&mut attributes, key, value)?;
            }
        }
        Some(_) => return Err(BAD_ATTRIBUTES),
    }
    match members.remove("retained") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => attributes.push_flag(RETAINED).expect("it is a key"),
        Some(_) => {
            return Err(BadLine::Member {
                name: "retained",
                should_be: "true or false",
            });
        }
    }
    Ok(RecordedEvent::Message {
        topic,
        payload,
        attributes,
    })
}

const BAD_ATTRIBUTES: BadLine = BadLine::Member {
    name: "attributes",
    should_be: "an object of texts, of true for flags, of {\"base64\":text}, or of arrays of these",
};

fn push_all(attributes: &mut Attributes<'_>, key: &str, value: &Value) -> Result<(), BadLine> {
    match value {
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| push(attributes, key, value)),
        value => push(attributes, key, value),
    }
}

fn push(attributes: &mut Attributes<'_>, key: &str, value: &Value) -> Result<(), BadLine> {
    let pushed = match value {
        Value::Bool(true) => attributes.push_flag(key),
        Value::String(text) if key == REPLY => attributes.push(key, encode_spaces(text).as_bytes()),
        Value::String(text) => attributes.push(key, text.as_bytes()),
        Value::Object(object) => {
            let bytes = object.get("base64").and_then(Value::as_str);
            let bytes = bytes.and_then(|text| STANDARD.decode(text).ok());
            attributes.push(key, &bytes.ok_or(BAD_ATTRIBUTES)?)
        }
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::Array(_) => {
            return Err(BAD_ATTRIBUTES);
        }
    };
    pushed.map_err(BadLine::Attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: Duration = Duration::from_micros(1_500_000);

    fn check(payload: &[u8], attributes: &[(&str, Option<&[u8]>)], line: &str) {
        let mut pushed = Attributes::default();
        for (key, value) in attributes {
            match value {
                Some(value) => pushed.push(key, value),
                None => pushed.push_flag(key),
            }
            .expect("a key");
        }
        let topic = Topic::parse("a/b").expect("a topic");
        let mut out = Vec::new();
        write_message(&mut out, OFFSET, topic, payload, &pushed).expect("room");
        assert_eq!(String::from_utf8_lossy(&out), format!("{line}\n"));
        let entry = RecordedLine::parse(line.as_bytes()).expect(line);
        let event = RecordedEvent::Message {
            topic: "a/b".to_owned(),
            payload: payload.to_vec(),
            attributes: pushed,
        };
        assert_eq!((entry.offset, entry.event), (OFFSET, event));
    }

    #[test]
    fn a_written_line_can_be_parsed() {
        check(
            b"x\n",
            &[],
            r#"{"offset_us":1500000,"topic":"a/b","payload":"x\n"}"#,
        );
        check(
            b"\xff",
            &[
                ("k", Some(b"1")),
                ("k", Some(b"\xff")),
                ("l", None),
                (RETAINED, None),
            ],
            r#"{"offset_us":1500000,"topic":"a/b","payload_base64":"/w==","attributes":{"k":["1",{"base64":"/w=="}],"l":true},"retained":true}"#,
        );
    }

    #[test]
    fn a_gap_is_a_line_of_its_own() {
        let mut out = Vec::new();
        write_gap(&mut out, OFFSET, 3).expect("room");
        assert_eq!(out, b"{\"offset_us\":1500000,\"gap\":3}\n");
        let entry = RecordedLine::parse(&out).expect("a gap");
        assert_eq!((entry.offset, entry.event), (OFFSET, RecordedEvent::Gap(3)));
    }

    #[test]
    fn a_line_that_is_not_of_a_recording_is_refused_with_a_reason() {
        for (line, why) in [
            ("", "this is not JSON"),
            ("hello", "this is not JSON"),
            ("[1]", "this is not a JSON object"),
            (
                r#"{"topic":"a","payload":""}"#,
                "offset_us should be a whole number",
            ),
            (
                r#"{"offset_us":-1,"topic":"a","payload":""}"#,
                "offset_us should be",
            ),
            (r#"{"offset_us":1,"payload":""}"#, "topic should be a text"),
            (
                r#"{"offset_us":1,"topic":"a+","payload":""}"#,
                "the topic is invalid",
            ),
            (r#"{"offset_us":1,"topic":"a"}"#, "payload should be"),
            (
                r#"{"offset_us":1,"topic":"a","payload_base64":"!"}"#,
                "payload should be",
            ),
            (r#"{"offset_us":1,"gap":"many"}"#, "gap should be"),
            (
                r#"{"offset_us":1,"gap":1,"x":2}"#,
                "the member \"x\" is not known",
            ),
            (
                r#"{"offset_us":1,"topic":"a","payload":"","attributes":[]}"#,
                "attributes should be",
            ),
            (
                r#"{"offset_us":1,"topic":"a","payload":"","attributes":{"k":1}}"#,
                "attributes should be",
            ),
            (
                r#"{"offset_us":1,"topic":"a","payload":"","attributes":{"K":"1"}}"#,
                "the key of an attribute",
            ),
            (
                r#"{"offset_us":1,"topic":"a","payload":"","retained":1}"#,
                "retained should be",
            ),
        ] {
            let refused = RecordedLine::parse(line.as_bytes())
                .expect_err(line)
                .to_string();
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }
}
