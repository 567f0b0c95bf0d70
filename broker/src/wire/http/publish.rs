//! Publishing by `POST` and `PUT`: the body is one message, or each of its lines is one.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use memchr::{memchr, memrchr};
use protocol::{
    ACK, AckLevel, Attributes, BadAttribute, Escaped, RETAIN, Reached, Topic, decode_spaces,
    escape_spaces,
};
use serde::Serialize;

use super::body::{BodyError, RequestBody};
use super::request::{Framing, RequestHead, RequestRefusal, decoded};
use super::response::{JSON, Response};
use super::{HttpConversation, Next};
use crate::engine::client::{Answers, BrokersOwn, Client, Message, PublishError};
use crate::engine::memory::budget::Charge;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::storage::NotKept;
use crate::wire::Source;

/// How far what was published is kept, and where the last of it is, for a client that has asked.
const LEVEL: HeaderName = HeaderName::from_static("dallal-level");
const POSITION: HeaderName = HeaderName::from_static("dallal-position");

/// Bytes of a line besides its topic and payload: the verb and two spaces.
const FRAME_BYTES: usize = 10;

/// A message to publish, without its payload.
struct Envelope {
    topic: String,
    attributes: Attributes<'static>,
    /// Whether each line of the body is a message.
    by_lines: bool,
}

/// The answer to the publisher.
#[derive(Serialize)]
struct PublishReceipt<'a> {
    topic: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    copies: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

/// Counts of what was published.
#[derive(Default)]
struct Count {
    messages: u64,
    copies: u64,
}

/// A part of a body, and its charge to the memory budget.
struct Gathered {
    bytes: Vec<u8>,
    charge: Charge,
}

impl HttpConversation<'_, '_> {
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn publish(
        &mut self,
        head: &RequestHead,
        topic: &str,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Next {
        let envelope = match Envelope::new(self.client, head, topic, self.line_bytes) {
            Ok(envelope) => envelope,
            Err(refused) => return self.refuse(Some(head), &refused),
        };
        if head.awaits_word() && buffer.unread().is_empty() {
            self.client.answer(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let published = self.publish_body(head, &envelope, source, buffer);
        let published = published.and_then(|count| {
            let kept = self.client.wait_until_kept();
            let refused = |why| BodyError::Refused(not_published(&PublishError::NotKept(why)));
            Ok((count, kept.map_err(refused)?))
        });
        match published {
            Ok((count, reached)) => {
                let receipt = PublishReceipt::new(&envelope, &count, reached);
                self.conclude(head, receipt.response())
            }
            Err(BodyError::Refused(refused)) => self.refuse(Some(head), &refused),
            Err(BodyError::End(end)) => Next::Break(end),
        }
    }

    fn publish_body(
        &mut self,
        head: &RequestHead,
        envelope: &Envelope,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Result<Count, BodyError> {
        let most = match envelope.by_lines {
            true => usize::MAX,
            false => self.line_bytes,
        };
        let mut body = RequestBody::new(head.framing, most, self.site);
        body.may_rest = envelope.by_lines;
        let mut gathered = Gathered {
            bytes: Vec::new(),
            charge: self.client.memory().charge(0),
        };
        let mut count = Count::default();
        while let Some(piece) = body.next(source, buffer)? {
            let bytes = &buffer.bytes()[piece];
            self.client.note_heard(std::mem::take(&mut body.read));
            let begun = match memrchr(b'\n', bytes) {
                Some(end) if envelope.by_lines => {
                    let (whole, begun) = bytes.split_at(end + 1);
                    gathered.push(whole, usize::MAX)?;
                    self.publish_lines(envelope, &gathered.bytes, &mut count)?;
                    gathered.clear();
                    begun
                }
                _ => bytes,
            };
            gathered.push(begun, self.line_bytes)?;
        }
        if envelope.by_lines {
            self.publish_lines(envelope, &gathered.bytes, &mut count)?;
        } else {
            self.publish_one(envelope, &gathered.bytes, &mut count)?;
            self.finish();
        }
        Ok(count)
    }

    /// Publishes the complete lines, and bytes after the last line end if there are any.
    fn publish_lines(
        &mut self,
        envelope: &Envelope,
        mut lines: &[u8],
        count: &mut Count,
    ) -> Result<(), BodyError> {
        while !lines.is_empty() {
            let end = memchr(b'\n', lines).unwrap_or(lines.len());
            let line = &lines[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let published = self.publish_one(envelope, line, count);
            if published.is_err() {
                self.finish();
                published?;
            }
            lines = lines.get(end + 1..).unwrap_or_default();
        }
        self.finish();
        Ok(())
    }

    fn publish_one(
        &mut self,
        envelope: &Envelope,
        payload: &[u8],
        count: &mut Count,
    ) -> Result<(), BodyError> {
        let payload = Escaped::escape(payload);
        let len = payload.as_line().len() + envelope.topic.len() + FRAME_BYTES;
        if len > self.line_bytes {
            return Err(BodyError::Refused(RequestRefusal::too_long(
                self.line_bytes,
            )));
        }
        let topic = Topic::parse(&envelope.topic).expect("it was parsed before");
        self.client.begin();
        let message = Message::of_line(topic, payload, envelope.attributes.clone());
        let copies = self.client.publish(&[], message);
        let copies = copies.map_err(|refused| BodyError::Refused(not_published(&refused)))?;
        self.client.note_publish_bytes(len - FRAME_BYTES);
        count.messages += 1;
        count.copies += copies;
        Ok(())
    }

    /// Delivers the messages.
    fn finish(&mut self) {
        // The response is the answer; it follows when the whole body is published.
        self.client
            .finish_batch(None, Answers::new(&mut Vec::new()));
    }
}

impl<'a> PublishReceipt<'a> {
    fn new(envelope: &'a Envelope, count: &Count, reached: Option<Reached>) -> Self {
        let position = reached.and_then(|reached| reached.position);
        Self {
            topic: decode_spaces(&envelope.topic),
            messages: envelope.by_lines.then_some(count.messages),
            copies: count.copies,
            level: reached.map(|reached| reached.level.as_str()),
            position: position.map(|position| position.to_string()),
        }
    }

    fn response(&self) -> Response {
        let mut text = serde_json::to_string(self).expect("text and numbers serialise");
        text.push('\n');
        let mut response = Response::new(StatusCode::OK, JSON, text);
        let values = [(LEVEL, self.level), (POSITION, self.position.as_deref())];
        for (name, value) in values {
            let value = value.and_then(|value| HeaderValue::from_str(value).ok());
            response.headers.extend(value.map(|value| (name, value)));
        }
        response
    }
}

impl Envelope {
    fn new(
        client: &Client<'_>,
        head: &RequestHead,
        topic: &str,
        line_bytes: usize,
    ) -> Result<Self, RequestRefusal> {
        let topic = escape_spaces(&decoded(topic)?).into_owned();
        let checked = Topic::parse(&topic)
            .map_err(|why| RequestRefusal::new(StatusCode::BAD_REQUEST, why.to_string()))?;
        // Checked with the head alone, so that the client need not send the body.
        let asked = client.check_topic(checked);
        asked.map_err(|refused| not_published(&refused))?;
        let mut by_lines = false;
        let mut attributes = Attributes::default();
        for (name, value) in &head.query {
            let added = match name.as_str() {
                "lines" => {
                    by_lines = true;
                    Ok(())
                }
                "retain" => attributes.push_flag(RETAIN),
                "ack" => attributes.push(ACK, value.as_bytes()),
                name => match name.strip_prefix('@') {
                    Some(key) => add(&mut attributes, key, value),
                    None => return Err(unknown_parameter(name)),
                },
            };
            added.map_err(|why| RequestRefusal::new(StatusCode::BAD_REQUEST, why.to_string()))?;
        }
        if let Err(why) = AckLevel::asked(&attributes) {
            return Err(RequestRefusal::new(
                StatusCode::BAD_REQUEST,
                why.to_string(),
            ));
        }
        let mut encodings = head.words(CONTENT_ENCODING);
        if encodings.any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let text = "a body is published as it is; send it without Content-Encoding";
            return Err(RequestRefusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                text,
            ));
        }
        match head.framing {
            Framing::Length(length) if !by_lines && length > line_bytes as u64 => {
                Err(RequestRefusal::too_long(line_bytes))
            }
            _ => Ok(Self {
                topic,
                attributes,
                by_lines,
            }),
        }
    }
}

fn add(attributes: &mut Attributes<'static>, key: &str, value: &str) -> Result<(), BadAttribute> {
    match value {
        "" => attributes.push_flag(key),
        _ => attributes.push(key, value.as_bytes()),
    }
}

fn not_published(refused: &PublishError) -> RequestRefusal {
    match refused {
        PublishError::BrokersOwn => {
            RequestRefusal::new(StatusCode::FORBIDDEN, BrokersOwn.to_string())
        }
        PublishError::Denied(denied) => RequestRefusal::denied(denied),
        PublishError::Full(full) => {
            RequestRefusal::new(StatusCode::INSUFFICIENT_STORAGE, full.to_string())
        }
        PublishError::OverLimit(over) => RequestRefusal::over_limit(over),
        PublishError::BadAckLevel(why) => {
            RequestRefusal::new(StatusCode::BAD_REQUEST, why.to_string())
        }
        PublishError::NotKept(why) => RequestRefusal::new(
            match why {
                NotKept::NoRoom | NotKept::TooManyTopics => StatusCode::INSUFFICIENT_STORAGE,
                NotKept::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            },
            why.to_string(),
        ),
    }
}

fn unknown_parameter(name: &str) -> RequestRefusal {
    RequestRefusal::new(
        StatusCode::BAD_REQUEST,
        format!(
            "there is no parameter {name:?}; there is retain, ack, lines, and @<key>=<value> for attributes"
        ),
    )
}

impl Gathered {
    fn push(&mut self, bytes: &[u8], most: usize) -> Result<(), BodyError> {
        if self.bytes.len() + bytes.len() > most {
            return Err(BodyError::Refused(RequestRefusal::too_long(most)));
        }
        let capacity = (self.bytes.len() + bytes.len()).next_power_of_two();
        if capacity > self.bytes.capacity() {
            if !self.charge.grow(capacity) {
                return Err(BodyError::Refused(RequestRefusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "there is no memory for this message now; try again later",
                )));
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}
