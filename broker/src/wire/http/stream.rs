//! Messages as a response without an end: the formats, and an encoder for each.
//!
//! Each message is a chunk of its own, so that one byte string serves all streams of a format, and the
//! outbox finds the end of a message from the size in front. HTTP/1.0 has no chunks: there the stream ends
//! with the connection, and a message with the line that ends it.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::Status;
use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};
use protocol::{
    Attributes, Framer, OverflowPolicy, POSITION, Position, REPLY, RETAINED, Reply, Topic,
    decode_spaces, decode_spaces_bytes,
};
use serde_json::{Map, Value, json};

use crate::engine::outbox::encoder::{Encode, Encoder};

/// The beginning of a message in JSON.
const TOPIC: &[u8] = b"{\"topic\":\"";

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The formats of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For `EventSource` in browsers.
    Events,
    /// One JSON object for each line.
    Json,
    /// The payloads, each with a line end.
    Raw,
}

const EVENTS: Encoder = Encoder {
    topic: topic_in_json,
    ..encoder(encode_events::<CHUNKED>, gap_event::<CHUNKED>)
};
/// For a client that goes on from the position of the last event if it connects again.
const FOLLOWED_EVENTS: Encoder = Encoder {
    encode: Some(encode_followed_events::<CHUNKED>),
    ..EVENTS
};
const JSON: Encoder = Encoder {
    topic: topic_in_json,
    ..encoder(encode_json::<CHUNKED>, gap_json::<CHUNKED>)
};
const RAW: Encoder = encoder(encode_raw, end_in_error);

/// For a client that asks for the latest payload alone: it has chosen to miss those before.
const RAW_LATEST: Encoder = encoder(encode_raw, no_gap);

/// Without chunks. Neither an event nor a line of JSON has a line end of its own inside.
const PLAIN_EVENTS: Encoder = Encoder {
    first: first_event,
    fitting: |events, room| memmem::rfind(&events[..room], EVENT_END).map_or(0, |at| at + 2),
    count: |events| memmem::find_iter(events, EVENT_END).count() as u64,
    topic: topic_in_json,
    goodbye: b"",
    kicked: b"",
    auth_ended: b"",
    ..encoder(encode_events::<PLAIN>, gap_event::<PLAIN>)
};
const PLAIN_FOLLOWED_EVENTS: Encoder = Encoder {
    encode: Some(encode_followed_events::<PLAIN>),
    ..PLAIN_EVENTS
};
const PLAIN_JSON: Encoder = Encoder {
    first: |lines| memchr(b'\n', lines).map_or(lines.len(), |at| at + 1),
    fitting: |lines, room| memrchr(b'\n', &lines[..room]).map_or(0, |at| at + 1),
    count: |lines| memchr_iter(b'\n', lines).count() as u64,
    topic: topic_in_json,
    goodbye: b"",
    kicked: b"",
    auth_ended: b"",
    ..encoder(encode_json::<PLAIN>, gap_json::<PLAIN>)
};

/// Whether messages are chunks.
const CHUNKED: bool = true;
const PLAIN: bool = false;

/// The end of an event.
const EVENT_END: &[u8] = b"\n\n";

/// The encoder of an outbox that answers requests: it has no notices.
pub(crate) const ANSWERS: Encoder = Encoder {
    goodbye: b"",
    kicked: b"",
    auth_ended: b"",
    ..encoder(encode_raw, no_gap)
};

const fn encoder(encode: Encode, gap: fn(u64) -> Vec<u8>) -> Encoder {
    Encoder {
        wire: "http",
        encode: Some(encode),
        answer: None,
        gap,
        receipt: |_| Vec::new(),
        first: first_chunk,
        fitting: |chunks, room| {
            ends(chunks)
                .take_while(|&end| end <= room)
                .last()
                .unwrap_or(0)
        },
        count: |chunks| ends(chunks).count() as u64,
        topic: |_| b"",
        goodbye: LAST_CHUNK,
        kicked: LAST_CHUNK,
        auth_ended: LAST_CHUNK,
        withdrawn: None,
        auth_ends_soon: b"",
        moves_when_told: false,
        taken_over: b"",
    }
}

impl Form {
    /// The encoder of a follower, see [`Form::encoder`].
    pub(crate) fn follower_encoder(self, is_chunked: bool) -> Option<&'static Encoder> {
        match (self, is_chunked) {
            (Self::Events, CHUNKED) => Some(&FOLLOWED_EVENTS),
            (Self::Events, PLAIN) => Some(&PLAIN_FOLLOWED_EVENTS),
            _ => self.encoder(is_chunked, None),
        }
    }

    /// The encoder for a client with this overflow policy, with messages as chunks or not; `None` if the
    /// end of a message would be unknown.
    pub(crate) fn encoder(
        self,
        is_chunked: bool,
        slow: Option<OverflowPolicy>,
    ) -> Option<&'static Encoder> {
        Some(match (self, is_chunked) {
            (Self::Events, CHUNKED) => &EVENTS,
            (Self::Json, CHUNKED) => &JSON,
            (Self::Raw, CHUNKED) if slow == Some(OverflowPolicy::Latest) => &RAW_LATEST,
            (Self::Raw, CHUNKED) => &RAW,
            (Self::Events, PLAIN) => &PLAIN_EVENTS,
            (Self::Json, PLAIN) => &PLAIN_JSON,
            (Self::Raw, PLAIN) => return None,
        })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Json => "application/x-ndjson",
            Self::Raw => "application/octet-stream",
        }
    }

    /// The beginning of a stream; `last` is the last event that a reconnecting client has received.
    pub(crate) fn greeting(self, is_chunked: bool, last: Option<&str>) -> Vec<u8> {
        let mut chunks = Vec::new();
        if self == Self::Events {
            push(&mut chunks, is_chunked, b": subscribed\n\n");
            if let Some(last) = last {
                let data = json!({ "count": null, "since": last });
                push(
                    &mut chunks,
                    is_chunked,
                    format!("event: gap\ndata: {data}\n\n").as_bytes(),
                );
            }
        }
        chunks
    }

    /// The notice before the past that some of what was asked for is missing.
    pub(crate) fn incomplete(self, is_chunked: bool, oldest: Option<Position>) -> Vec<u8> {
        let oldest = oldest.map(|oldest| oldest.to_string());
        self.notice(
            is_chunked,
            ("incomplete", ""),
            &json!({ "oldest": oldest }),
            &json!({ "incomplete": { "oldest": oldest } }),
        )
    }

    /// The notice between the past and what is new. A client that reconnects without another event goes on from its
    /// position.
    pub(crate) fn current(self, is_chunked: bool, position: Option<Position>) -> Vec<u8> {
        let position = position.map(|position| position.to_string());
        let id = position
            .as_ref()
            .map(|position| format!("id: {position}\n"));
        self.notice(
            is_chunked,
            ("current", &id.unwrap_or_default()),
            &json!({ "position": position }),
            &json!({ "current": { "position": position } }),
        )
    }

    /// A notice among the messages. A stream of raw payloads has none.
    fn notice(
        self,
        is_chunked: bool,
        (event, id): (&str, &str),
        data: &Value,
        line: &Value,
    ) -> Vec<u8> {
        let mut chunk = Vec::new();
        let bytes = match self {
            Self::Events => format!("event: {event}\n{id}data: {data}\n\n"),
            Self::Json => format!("{line}\n"),
            Self::Raw => return chunk,
        };
        push(&mut chunk, is_chunked, bytes.as_bytes());
        chunk
    }

    /// The bytes that show that the stream is alive; empty if they would be part of a payload.
    pub(crate) fn heartbeat(self, is_chunked: bool) -> Vec<u8> {
        let mut chunk = Vec::new();
        match self {
            Self::Events => push(&mut chunk, is_chunked, b":\n\n"),
            Self::Json => push(&mut chunk, is_chunked, b"\n"),
            Self::Raw => {}
        }
        chunk
    }
}

impl FromStr for Form {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "sse" => Ok(Self::Events),
            "json" => Ok(Self::Json),
            "raw" => Ok(Self::Raw),
            _ => Err(()),
        }
    }
}

/// Adds a message, as a chunk if it is to be one.
fn push(messages: &mut Vec<u8>, is_chunked: bool, bytes: &[u8]) {
    if !is_chunked {
        messages.extend_from_slice(bytes);
        return;
    }
    messages.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    messages.extend_from_slice(bytes);
    messages.extend_from_slice(b"\r\n");
}

fn first_event(events: &[u8]) -> usize {
    memmem::find(events, EVENT_END).map_or(events.len(), |at| at + EVENT_END.len())
}

fn first_chunk(chunks: &[u8]) -> usize {
    match httparse::parse_chunk_size(chunks) {
        Ok(Status::Complete((head, size))) => chunks
            .len()
            .min(head + usize::try_from(size).unwrap_or(usize::MAX - head - 2) + 2),
        _ => chunks.len(),
    }
}

/// The ends of the chunks.
fn ends(chunks: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &chunks[at..];
        at += first_chunk(rest);
        (!rest.is_empty()).then_some(at)
    })
}

/// Writes each message, as a chunk if it is to be one; `write` also receives its index.
fn encode(
    lines: &[u8],
    is_chunked: bool,
    mut write: impl FnMut(&mut Vec<u8>, usize, &StreamMessage<'_>),
) -> Vec<u8> {
    let mut chunks = Vec::with_capacity(lines.len() + lines.len() / 2);
    let mut body = Vec::new();
    for (at, line) in lines.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let content = Framer::content(line.strip_suffix(b"\n").unwrap_or(line));
        let Ok(Reply::Message {
            topic,
            payload,
            attributes,
        }) = Reply::decode(content)
        else {
            unreachable!("an outbox is handed whole messages");
        };
        body.clear();
        let payload = &payload.unescape();
        write(
            &mut body,
            at,
            &StreamMessage {
                topic,
                payload,
                attributes: &attributes,
            },
        );
        push(&mut chunks, is_chunked, &body);
    }
    chunks
}

struct StreamMessage<'a> {
    topic: Topic<'a>,
    payload: &'a [u8],
    attributes: &'a Attributes<'a>,
}

impl StreamMessage<'_> {
    /// The same format as `client -o json`.
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TOPIC[..TOPIC.len() - 1]);
        write(out, &decode_spaces(self.topic.as_str()));
        match str::from_utf8(self.payload) {
            Ok(text) => {
                out.extend_from_slice(b",\"payload\":");
                write(out, &text);
            }
            Err(_) => {
                out.extend_from_slice(b",\"payload_base64\":");
                write(out, &STANDARD.encode(self.payload));
            }
        }
        let others = self.attributes.iter().filter(|(key, _)| *key != RETAINED);
        let mut object = Map::new();
        for (key, value) in others {
            let value = value.map(|value| match key {
                // It is a topic as well.
                REPLY => text(&decode_spaces_bytes(&value)),
                _ => text(&value),
            });
            add(&mut object, key, value.unwrap_or(json!(true)));
        }
        if !object.is_empty() {
            out.extend_from_slice(b",\"attributes\":");
            write(out, &object);
        }
        if self.attributes.contains(RETAINED) {
            out.extend_from_slice(b",\"retained\":true");
        }
        out.extend_from_slice(b"}");
    }
}

fn write(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value)
        .expect("text serialises, and writing to a vector does not fail");
}

fn text(bytes: &[u8]) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// Adds a value; a repeated key has an array of its values.
fn add(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        None => {
            object.insert(key.to_owned(), value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(before) => *before = json!([before.take(), value]),
    }
}

fn encode_events<const IS_CHUNKED: bool>(lines: &[u8]) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = now.as_micros();
    encode(lines, IS_CHUNKED, |event, at, message| {
        event.extend_from_slice(format!("id: {now}-{at}\ndata: ").as_bytes());
        message.write_json(event);
        event.extend_from_slice(b"\n\n");
    })
}

/// A client that comes back tells the last of these positions.
fn encode_followed_events<const IS_CHUNKED: bool>(lines: &[u8]) -> Vec<u8> {
    encode(lines, IS_CHUNKED, |event, _, message| {
        if let Some(position) = message.attributes.get(POSITION) {
            event.extend_from_slice(b"id: ");
            event.extend_from_slice(&position);
            event.push(b'\n');
        }
        event.extend_from_slice(b"data: ");
        message.write_json(event);
        event.extend_from_slice(b"\n\n");
    })
}

/// The topic as spelled in the chunk, with JSON's escapes.
fn topic_in_json(chunk: &[u8]) -> &[u8] {
    let Some(at) = memmem::find(chunk, TOPIC) else {
        return b"";
    };
    let rest = &chunk[at + TOPIC.len()..];
    let mut end = 0;
    while let Some(at) = memchr2(b'"', b'\\', &rest[end..]) {
        end += at;
        if rest[end] == b'"' {
            return &rest[..end];
        }
        // Each escape here is one byte after the backslash.
        end = rest.len().min(end + 2);
    }
    b""
}

fn gap_event<const IS_CHUNKED: bool>(count: u64) -> Vec<u8> {
    let mut chunk = Vec::new();
    let event = format!("event: gap\ndata: {{\"count\":{count}}}\n\n");
    push(&mut chunk, IS_CHUNKED, event.as_bytes());
    chunk
}

fn encode_json<const IS_CHUNKED: bool>(lines: &[u8]) -> Vec<u8> {
    encode(lines, IS_CHUNKED, |line, _, message| {
        message.write_json(line);
        line.push(b'\n');
    })
}

fn gap_json<const IS_CHUNKED: bool>(count: u64) -> Vec<u8> {
    let mut chunk = Vec::new();
    let line = format!("{{\"gap\":{count}}}\n");
    push(&mut chunk, IS_CHUNKED, line.as_bytes());
    chunk
}

fn encode_raw(lines: &[u8]) -> Vec<u8> {
    encode(lines, CHUNKED, |body, _, message| {
        body.extend_from_slice(message.payload);
        body.push(b'\n');
    })
}

/// A raw stream consists of payloads only, so a gap ends it: this is no size of a chunk (RFC 9112 §7.1), by
/// which every client of HTTP knows that the stream is not whole, and many show the line.
fn end_in_error(count: u64) -> Vec<u8> {
    format!("messages missing here: {count}\r\n").into_bytes()
}

fn no_gap(_count: u64) -> Vec<u8> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"MESSAGE a hi\\nthere\n@retained;k=v MESSAGE b/c \xff\nMESSAGE d\n";

    #[track_caller]
    fn check(form: Form, chunks: &[&str]) {
        let encoder = form.encoder(CHUNKED, None).expect("an encoder");
        let encode = encoder.encode.expect("it has a form of its own");
        let bytes = encode(LINES);
        let mut rest = &bytes[..];
        let mut fitting = Vec::new();
        for expected in chunks {
            let len = (encoder.first)(rest);
            let (chunk, behind) = rest.split_at(len);
            let head = chunk
                .iter()
                .position(|&byte| byte == b'\n')
                .expect("a size")
                + 1;
            let size = String::from_utf8_lossy(&chunk[..head - 2]);
            let size = usize::from_str_radix(&size, 16).expect("a size");
            assert_eq!(len, head + size + 2);
            let text = String::from_utf8_lossy(&chunk[head..]);
            assert!(text.contains(expected), "{text:?}");
            fitting.push(bytes.len() - behind.len());
            rest = behind;
        }
        assert!(rest.is_empty());
        let topic = if form == Form::Raw { "" } else { "a" };
        assert_eq!((encoder.topic)(&bytes), topic.as_bytes());
        assert_eq!((encoder.count)(&bytes), chunks.len() as u64);
        for room in 0..=bytes.len() {
            let fits = fitting.iter().rev().find(|&&end| end <= room);
            assert_eq!((encoder.fitting)(&bytes, room), fits.copied().unwrap_or(0));
        }
    }

    #[test]
    fn a_message_is_one_chunk_in_each_form() {
        check(
            Form::Json,
            &[
                "{\"topic\":\"a\",\"payload\":\"hi\\nthere\"}\n",
                "{\"topic\":\"b/c\",\"payload_base64\":\"/w==\",\"attributes\":{\"k\":\"v\"},\"retained\":true}\n",
                "{\"topic\":\"d\",\"payload\":\"\"}\n",
            ],
        );
        check(
            Form::Events,
            &[
                "\ndata: {\"topic\":\"a\",\"payload\":\"hi\\nthere\"}\n\n",
                "-1\ndata: {\"topic\":\"b/c\"",
                "-2\ndata: {\"topic\":\"d\",\"payload\":\"\"}\n\n",
            ],
        );
        check(Form::Raw, &["hi\nthere\n", "\n", "\n"]);
    }

    #[test]
    fn a_gap_in_raw_payloads_is_no_chunk_unless_only_the_latest_are_wanted() {
        let gap = |slow| {
            let encoder = Form::Raw.encoder(CHUNKED, Some(slow));
            (encoder.expect("an encoder").gap)(3)
        };
        let told = gap(OverflowPolicy::DropOldest);
        assert_eq!(told, b"messages missing here: 3\r\n");
        assert!(httparse::parse_chunk_size(&told).is_err());
        assert!(gap(OverflowPolicy::Latest).is_empty());
    }

    #[test]
    fn without_chunks_a_message_ends_with_its_line() {
        for form in [Form::Events, Form::Json] {
            let encoder = form.encoder(PLAIN, None).expect("an encoder");
            let encode = encoder.encode.expect("it has a form of its own");
            let notices = [form.greeting(PLAIN, Some("1-2")), form.heartbeat(PLAIN)].concat();
            let bytes = [notices, (encoder.gap)(3), encode(LINES)].concat();
            let mut ends = Vec::new();
            while ends.last() != Some(&bytes.len()) {
                let at = ends.last().copied().unwrap_or(0);
                ends.push(at + (encoder.first)(&bytes[at..]));
            }
            // Of events there are a greeting and a gap at the beginning as well.
            let expected = if form == Form::Events { 7 } else { 5 };
            assert_eq!(ends.len(), expected);
            assert_eq!((encoder.count)(&bytes), expected as u64);
            for room in 0..=bytes.len() {
                let fits = ends.iter().rev().find(|&&end| end <= room);
                assert_eq!((encoder.fitting)(&bytes, room), fits.copied().unwrap_or(0));
            }
            assert_eq!((encoder.topic)(&encode(LINES)), b"a");
            assert!(encoder.goodbye.is_empty());
        }
        assert!(Form::Raw.encoder(PLAIN, None).is_none());
    }

    #[test]
    fn topics_are_told_apart_as_json_spells_them() {
        let lines = br#"MESSAGE a"b\c"} {"topic":"x"}"#;
        let chunk = encode_json::<CHUNKED>(&[&lines[..], b"\n"].concat());
        assert_eq!(topic_in_json(&chunk), br#"a\"b\\c\"}"#);
        let chunk = encode_json::<CHUNKED>(b"@reply=my\\\\sown MESSAGE a\\sb x\n");
        let text = String::from_utf8_lossy(&chunk);
        assert!(
            text.contains(r#"{"topic":"a b","payload":"x","attributes":{"reply":"my own"}}"#),
            "{text}"
        );
    }

    #[test]
    fn a_client_that_comes_back_is_told_that_it_missed_something() {
        let greeting = Form::Events.greeting(CHUNKED, Some("12-0"));
        let text = String::from_utf8(greeting).expect("text");
        assert!(
            text.contains("event: gap\ndata: {\"count\":null,\"since\":\"12-0\"}\n\n"),
            "{text}"
        );
        assert!(!String::from_utf8_lossy(&Form::Events.greeting(PLAIN, None)).contains("gap"));
    }
}
