//! Bytes to frames: the inverse of `encode.rs`.
//!
//! [`Framer`] finds the lines in a buffer of the caller; [`Decoder`] is a buffer with a framer, for
//! callers that have none. A frame borrows from its line. An incomplete line is not an error.

use std::ops::Range;

use memchr::memchr;

use crate::ack_level::Reached;
use crate::attributes::Attributes;
use crate::error::DecodeError;
use crate::escape::Escaped;
use crate::filter::Filters;
use crate::frame::{Credential, Reply, Request, Subject};
use crate::name::Name;
use crate::past::Incomplete;
use crate::position::Position;
use crate::topic::Topic;
use crate::verb::Verb;

/// The longest unknown verb that an error repeats; the rest is cut.
const SHOWN_WORD_BYTES: usize = 32;

/// A buffer of a decoder that grew beyond this is freed when it is empty.
const KEPT_BYTES: usize = 256 * 1024;

/// Finds line ends, scans no byte twice, and skips lines that are too long.
#[derive(Clone, Debug)]
pub struct Framer {
    max_line: usize,
    /// Unread bytes that were scanned and contain no line end.
    scanned: usize,
    skipping: bool,
}

/// What the unread bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A line of this many bytes, followed by its LF. See [`Framer::content`].
    Line(usize),
    /// This many bytes of a line that is too long: refuse it and drop them.
    TooLong(usize),
    /// This many more bytes of a refused line: drop them.
    Skip(usize),
    /// No complete line yet.
    More,
}

impl Framer {
    /// A framer for lines of up to `max_line` bytes, without their line end.
    pub fn new(max_line: usize) -> Self {
        Self {
            max_line,
            scanned: 0,
            skipping: false,
        }
    }

    /// From now on lines of up to `max_line` bytes are taken. A line that is being skipped stays refused.
    pub fn set_max_line(&mut self, max_line: usize) {
        self.max_line = max_line;
    }

    /// Takes the bytes that follow those of all earlier steps. After [`Step::More`], the next call
    /// takes the same bytes and more after them.
    #[inline]
    pub fn next(&mut self, unread: &[u8]) -> Step {
        if self.skipping {
            return self.skip(unread);
        }
        match memchr(b'\n', &unread[self.scanned..]) {
            Some(at) => {
                let len = self.scanned + at;
                self.scanned = 0;
                if len > self.max_line && Self::content(&unread[..len]).len() > self.max_line {
                    return Step::TooLong(len + 1);
                }
                Step::Line(len)
            }
            // One more byte than the limit may still be the CR of the line end.
            None if unread.len() > self.max_line.saturating_add(1) => {
                self.scanned = 0;
                self.skipping = true;
                Step::TooLong(unread.len())
            }
            None => {
                self.scanned = unread.len();
                Step::More
            }
        }
    }

    fn skip(&mut self, unread: &[u8]) -> Step {
        match memchr(b'\n', unread) {
            Some(at) => {
                self.skipping = false;
                Step::Skip(at + 1)
            }
            None if unread.is_empty() => Step::More,
            None => Step::Skip(unread.len()),
        }
    }

    /// A line without the one CR that may precede its LF.
    #[inline]
    pub fn content(line: &[u8]) -> &[u8] {
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Gives up the incomplete line for lack of memory; the rest of it will be skipped. `beginning` is
    /// the part that has arrived; the next call of [`Framer::next`] takes the bytes after it.
    pub fn give_up(&mut self, beginning: &[u8]) -> DecodeError {
        (self.scanned, self.skipping) = (0, true);
        let (_, rest) = split_attributes(beginning);
        DecodeError::NoMemory {
            begun: beginning.len(),
            verb: Verb::parse(split_word(rest).0),
        }
    }

    /// The error for a line that [`Step::TooLong`] reports, from its first bytes.
    pub fn refusal(&self, beginning: &[u8]) -> DecodeError {
        // Only the bytes that are always there, so that the error does not depend on how the line was cut.
        let known = &beginning[..beginning.len().min(self.max_line.saturating_add(1))];
        let (_, rest) = split_attributes(known);
        DecodeError::TooLong {
            max: self.max_line,
            verb: Verb::parse(split_word(rest).0),
        }
    }
}

/// Bytes in, frames out. How the bytes are cut into pieces makes no difference.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    framer: Framer,
}

impl Decoder {
    /// A decoder for lines of up to `max_line` bytes, without their line end.
    pub fn new(max_line: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            framer: Framer::new(max_line),
        }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > KEPT_BYTES {
                self.buffer = Vec::new();
            }
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame from a client; `None` until more bytes are pushed. After an error the next
    /// call continues with the next line.
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>, DecodeError> {
        match self.next_line()? {
            Some(line) => Request::decode(&self.buffer[line]).map(Some),
            None => Ok(None),
        }
    }

    /// The next frame from the broker; `None` until more bytes are pushed. After an error the next
    /// call continues with the next line.
    pub fn next_reply(&mut self) -> Result<Option<Reply<'_>>, DecodeError> {
        match self.next_line()? {
            Some(line) => Reply::decode(&self.buffer[line]).map(Some),
            None => Ok(None),
        }
    }

    /// The range of the next line that is not empty.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, DecodeError> {
        loop {
            let begin = self.start;
            let unread = &self.buffer[begin..];
            match self.framer.next(unread) {
                Step::Line(len) => {
                    self.start += len + 1;
                    let content = Framer::content(&unread[..len]).len();
                    if content > 0 {
                        return Ok(Some(begin..begin + content));
                    }
                }
                Step::TooLong(len) => {
                    self.start += len;
                    return Err(self.framer.refusal(&unread[..len]));
                }
                Step::Skip(len) => self.start += len,
                Step::More => return Ok(None),
            }
        }
    }
}

impl<'a> Request<'a> {
    /// Reads one line, without its line end and not empty.
    pub fn decode(line: &'a [u8]) -> Result<Self, DecodeError> {
        let Line {
            attributes,
            verb,
            word,
            rest,
        } = Line::split(line)?;
        match verb {
            Some(Verb::Publish) => {
                let (topic, payload) = topic_and_payload(Verb::Publish, rest)?;
                Ok(Self::Publish {
                    topic,
                    payload,
                    attributes: attributes?,
                })
            }
            Some(Verb::Subscribe) => Ok(Self::Subscribe {
                filters: Filters::from_line(required(Verb::Subscribe, rest)?),
                attributes: attributes?,
            }),
            Some(Verb::Unsubscribe) => Ok(Self::Unsubscribe {
                filters: Filters::from_line(required(Verb::Unsubscribe, rest)?),
            }),
            Some(Verb::Ping) => Ok(Self::Ping {
                token: rest.unwrap_or_default(),
            }),
            Some(Verb::Pong) => Ok(Self::Pong {
                token: rest.unwrap_or_default(),
            }),
            Some(Verb::Help) => match rest.unwrap_or_default() {
                b"" => Ok(Self::Help { verb: None }),
                name => match Verb::parse(name) {
                    Some(verb) => Ok(Self::Help { verb: Some(verb) }),
                    None => Err(unknown(name)),
                },
            },
            Some(Verb::Will) => {
                let (topic, payload) = topic_and_payload(Verb::Will, rest)?;
                Ok(Self::Will {
                    topic,
                    payload,
                    attributes: attributes?,
                })
            }
            Some(Verb::Name) => Ok(Self::Name {
                name: Name::parse(required(Verb::Name, rest)?).map_err(DecodeError::BadName)?,
            }),
            Some(Verb::Auth) => Ok(Self::Auth {
                credential: rest.filter(|rest| !rest.is_empty()).map(credential),
            }),
            Some(Verb::Quiet) => Ok(Self::Quiet),
            Some(Verb::Bye) => Ok(Self::Bye),
            Some(
                Verb::Message
                | Verb::PubAck
                | Verb::SubAck
                | Verb::UnsubAck
                | Verb::WillAck
                | Verb::NameAck
                | Verb::AuthAck
                | Verb::QuietAck
                | Verb::Error
                | Verb::Gap
                | Verb::Current
                | Verb::End,
            )
            | None => Err(unknown(word)),
        }
    }
}

impl<'a> Reply<'a> {
    /// Reads one line, without its line end and not empty.
    pub fn decode(line: &'a [u8]) -> Result<Self, DecodeError> {
        let Line {
            attributes,
            verb,
            word,
            rest,
        } = Line::split(line)?;
        match verb {
            Some(Verb::Message) => {
                let (topic, payload) = topic_and_payload(Verb::Message, rest)?;
                Ok(Self::Message {
                    topic,
                    payload,
                    attributes: attributes?,
                })
            }
            Some(Verb::PubAck) => {
                let (answered, copies) = split_word(required(Verb::PubAck, rest)?);
                Ok(Self::PubAck {
                    answered: number(Verb::PubAck, answered)?,
                    copies: number(Verb::PubAck, copies.unwrap_or_default())?,
                    reached: attributes.ok().and_then(|it| Reached::of(&it)),
                })
            }
            Some(Verb::SubAck) => Ok(Self::SubAck {
                filter: required(Verb::SubAck, rest)?,
                incomplete: attributes.ok().and_then(|it| Incomplete::of(&it)),
            }),
            Some(Verb::UnsubAck) => Ok(Self::UnsubAck {
                filter: required(Verb::UnsubAck, rest)?,
            }),
            Some(Verb::WillAck) => Ok(Self::WillAck {
                topic: required(Verb::WillAck, rest)?,
            }),
            Some(Verb::NameAck) => Ok(Self::NameAck {
                name: required(Verb::NameAck, rest)?,
            }),
            Some(Verb::AuthAck) => Ok(Self::AuthAck {
                name: required(Verb::AuthAck, rest)?,
            }),
            Some(Verb::QuietAck) => Ok(Self::QuietAck),
            Some(Verb::Error) => {
                let (code, rest) = split_word(required(Verb::Error, rest)?);
                let (subject, text) = split_word(rest.unwrap_or_default());
                Ok(Self::Error {
                    code: String::from_utf8_lossy(code),
                    subject: Subject::decode(subject)?,
                    text: String::from_utf8_lossy(text.unwrap_or_default()),
                })
            }
            Some(Verb::Current) => {
                let (filter, position) = filter_and_position(Verb::Current, rest)?;
                Ok(Self::Current { filter, position })
            }
            Some(Verb::End) => {
                let (filter, position) = filter_and_position(Verb::End, rest)?;
                Ok(Self::End { filter, position })
            }
            Some(Verb::Gap) => Ok(Self::Gap {
                count: number(Verb::Gap, required(Verb::Gap, rest)?)?,
            }),
            Some(Verb::Ping) => Ok(Self::Ping {
                token: rest.unwrap_or_default(),
            }),
            Some(Verb::Pong) => Ok(Self::Pong {
                token: rest.unwrap_or_default(),
            }),
            Some(Verb::Help) => Ok(Self::Help {
                text: String::from_utf8_lossy(rest.unwrap_or_default()),
            }),
            Some(Verb::Bye) => Ok(Self::Bye),
            Some(
                Verb::Publish
                | Verb::Subscribe
                | Verb::Unsubscribe
                | Verb::Will
                | Verb::Name
                | Verb::Auth
                | Verb::Quiet,
            )
            | None => Err(unknown(word)),
        }
    }
}

impl<'a> Subject<'a> {
    fn decode(word: &'a [u8]) -> Result<Self, DecodeError> {
        match word.iter().position(|&byte| byte == b':') {
            Some(at) => match (&word[..at], &word[at + 1..]) {
                (b"publish", n) => Ok(Self::Publish(number(Verb::Error, n)?)),
                (b"subscribe", filter) => Ok(Self::Subscribe(filter)),
                (b"unsubscribe", filter) => Ok(Self::Unsubscribe(filter)),
                _ => Err(DecodeError::Malformed { verb: Verb::Error }),
            },
            None if word == b"line" => Ok(Self::Line),
            None => Err(DecodeError::Malformed { verb: Verb::Error }),
        }
    }
}

/// The parts of every line.
struct Line<'a> {
    /// An error only counts for a verb that reads its attributes.
    attributes: Result<Attributes<'a>, DecodeError>,
    verb: Option<Verb>,
    word: &'a [u8],
    rest: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn split(line: &'a [u8]) -> Result<Self, DecodeError> {
        let (attributes, line) = split_attributes(line);
        let (word, rest) = split_word(line);
        let verb = Verb::parse(word);
        let attributes = match attributes {
            Some(text) => {
                Attributes::parse(text).map_err(|why| DecodeError::BadAttribute { verb, why })
            }
            None => Ok(Attributes::default()),
        };
        match (&attributes, verb) {
            (Err(refused), None) => Err(refused.clone()),
            _ => Ok(Self {
                attributes,
                verb,
                word,
                rest,
            }),
        }
    }
}

/// The word after `@`, if the line begins with one, and the rest.
fn split_attributes(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match line.split_first() {
        Some((b'@', tail)) => {
            let (word, rest) = split_word(tail);
            (Some(word), rest.unwrap_or_default())
        }
        _ => (None, line),
    }
}

/// The bytes before the first space, and those after it.
fn split_word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b' ', line) {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

fn required(verb: Verb, rest: Option<&[u8]>) -> Result<&[u8], DecodeError> {
    match rest {
        Some(rest) if !rest.is_empty() => Ok(rest),
        _ => Err(DecodeError::MissingArgument { verb }),
    }
}

fn filter_and_position(
    verb: Verb,
    rest: Option<&[u8]>,
) -> Result<(&[u8], Option<Position>), DecodeError> {
    let (filter, position) = split_word(required(verb, rest)?);
    let position = position.and_then(|text| Position::parse(text).ok());
    Ok((required(verb, Some(filter))?, position))
}

fn topic_and_payload(
    verb: Verb,
    rest: Option<&[u8]>,
) -> Result<(Topic<'_>, Escaped<'_>), DecodeError> {
    let (topic, payload) = split_word(required(verb, rest)?);
    let topic = Topic::parse(topic).map_err(|why| DecodeError::BadTopic { verb, why })?;
    Ok((topic, Escaped::from_line(payload.unwrap_or_default())))
}

/// A user and a secret, or a secret alone.
fn credential(rest: &[u8]) -> Credential<'_> {
    let (user, secret) = match split_word(rest) {
        (user, Some(secret)) => (Some(user), secret),
        (token, None) => (None, token),
    };
    Credential {
        user,
        secret: Escaped::from_line(secret),
    }
}

fn number(verb: Verb, digits: &[u8]) -> Result<u64, DecodeError> {
    str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(DecodeError::Malformed { verb })
}

fn unknown(word: &[u8]) -> DecodeError {
    let shown = &word[..word.len().min(SHOWN_WORD_BYTES)];
    // It is quoted where it is shown, which escapes the rest.
    let word = String::from_utf8_lossy(shown).replace(char::is_control, "?");
    DecodeError::UnknownVerb { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_BYTES;
    use crate::{BadAttribute, BadName, BadTopic};

    const NEXT: &[u8] = b"PING next\n";

    /// The frames decoded from `arrivals`, with errors in their place.
    fn decoded(arrivals: &[&[u8]], max_line: usize) -> Vec<String> {
        let mut decoder = Decoder::new(max_line);
        let mut seen = Vec::new();
        for bytes in arrivals {
            decoder.push(bytes);
            loop {
                match decoder.next_request() {
                    Ok(Some(request)) => seen.push(format!("{request:?}")),
                    Ok(None) => break,
                    Err(refused) => seen.push(format!("{refused:?}")),
                }
            }
        }
        seen
    }

    #[test]
    fn another_longest_line_holds_for_the_line_that_has_begun_and_for_none_that_is_skipped() {
        let mut framer = Framer::new(4);
        assert_eq!(framer.next(b"12345"), Step::More);
        framer.set_max_line(6);
        assert_eq!(framer.next(b"123456\n"), Step::Line(6));
        framer.set_max_line(4);
        assert_eq!(framer.next(b"123456"), Step::TooLong(6));
        framer.set_max_line(100);
        assert_eq!(framer.next(b"78\n"), Step::Skip(3));
        assert_eq!(framer.next(b"123456\n"), Step::Line(6));
    }

    /// In one piece, byte by byte, and with the next frame directly after.
    fn arrives(bytes: &[u8], max_line: usize, expected: &[String]) {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(decoded(&[bytes], max_line), expected, "whole: {text:?}");
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decoded(&each, max_line), expected, "bytes: {text:?}");
        let joined = [bytes, NEXT].concat();
        let mut seen = decoded(&[&joined], max_line);
        let next = seen.pop().expect("the next frame");
        assert_eq!(next, format!("{:?}", Request::Ping { token: b"next" }));
        assert_eq!(seen, expected, "joined: {text:?}");
    }

    fn reads(bytes: &[u8], expected: Request<'_>) {
        arrives(bytes, LINE_BYTES, &[format!("{expected:?}")]);
    }

    fn refuses(bytes: &[u8], expected: DecodeError) {
        arrives(bytes, LINE_BYTES, &[format!("{expected:?}")]);
    }

    /// Both directions, and the three ways of arrival.
    fn check(frame: Request<'_>, bytes: &[u8]) {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(
            String::from_utf8_lossy(&encoded),
            String::from_utf8_lossy(bytes)
        );
        reads(bytes, frame);
    }

    fn check_reply(frame: Reply<'_>, bytes: &[u8]) {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(
            String::from_utf8_lossy(&encoded),
            String::from_utf8_lossy(bytes)
        );
        let mut decoder = Decoder::new(LINE_BYTES);
        for byte in bytes {
            assert_eq!(decoder.next_reply(), Ok(None));
            decoder.push(&[*byte]);
        }
        assert_eq!(decoder.next_reply(), Ok(Some(frame.clone())));
        decoder.push(&[bytes, b"BYE\n"].concat());
        assert_eq!(decoder.next_reply(), Ok(Some(frame)));
        assert_eq!(decoder.next_reply(), Ok(Some(Reply::Bye)));
    }

    fn topic(name: &str) -> Topic<'_> {
        Topic::parse(name).expect("a topic")
    }

    fn publish<'a>(name: &'a str, payload: &'a [u8]) -> Request<'a> {
        Request::Publish {
            topic: topic(name),
            payload: Escaped::escape(payload),
            attributes: Attributes::default(),
        }
    }

    fn filters(words: &str) -> Filters<'_> {
        Filters::from_words(words.as_bytes()).expect("filters")
    }

    fn attributes(items: &[(&str, Option<&str>)]) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        for (key, value) in items {
            match value {
                Some(value) => attributes.push(key, value.as_bytes()),
                None => attributes.push_flag(key),
            }
            .expect("a valid key");
        }
        attributes
    }

    #[test]
    fn a_payload_is_the_rest_of_the_line() {
        check(publish("news", b"hi"), b"PUBLISH news hi\n");
        check(
            publish("news", b" two  spaces "),
            b"PUBLISH news  two  spaces \n",
        );
        check(publish("news", b""), b"PUBLISH news\n");
        reads(b"PUBLISH news \n", publish("news", b""));
    }

    #[test]
    fn a_payload_may_contain_a_line_end() {
        let mut decoder = Decoder::new(LINE_BYTES);
        decoder.push(b"PUBLISH news a\\nb\\r\\\\\n");
        let Ok(Some(Request::Publish { payload, .. })) = decoder.next_request() else {
            panic!("a publish");
        };
        assert_eq!(payload.unescape(), &b"a\nb\r\\"[..]);
        let mut encoded = Vec::new();
        publish("news", b"a\nb\r\\").encode(&mut encoded);
        assert_eq!(encoded, b"PUBLISH news a\\nb\\r\\\\\n");
    }

    #[test]
    fn a_payload_may_be_any_bytes() {
        reads(b"PUBLISH b \xff\x00\xfe\n", publish("b", b"\xff\x00\xfe"));
    }

    #[test]
    fn attributes_precede_the_verb() {
        check(
            Request::Publish {
                topic: topic("t"),
                payload: Escaped::escape(b"x"),
                attributes: attributes(&[("retain", None), ("unit", Some("a b"))]),
            },
            b"@retain;unit=a\\sb PUBLISH t x\n",
        );
        reads(b"@whatever=1 PING x\n", Request::Ping { token: b"x" });
        reads(b"@BAD PING x\n", Request::Ping { token: b"x" });
        refuses(
            b"@BAD PUBLISH t x\n",
            DecodeError::BadAttribute {
                verb: Some(Verb::Publish),
                why: BadAttribute::InKey(b'B'),
            },
        );
        refuses(
            b"@ FOO\n",
            DecodeError::BadAttribute {
                verb: None,
                why: BadAttribute::EmptyKey,
            },
        );
    }

    #[test]
    fn every_other_request_in_both_directions() {
        check(
            Request::Subscribe {
                filters: filters("a/+ b/#"),
                attributes: Attributes::default(),
            },
            b"SUBSCRIBE a/+ b/#\n",
        );
        check(
            Request::Subscribe {
                filters: filters("a"),
                attributes: attributes(&[("slow", Some("latest"))]),
            },
            b"@slow=latest SUBSCRIBE a\n",
        );
        check(
            Request::Will {
                topic: topic("t"),
                payload: Escaped::escape(b"gone"),
                attributes: attributes(&[("retain", None)]),
            },
            b"@retain WILL t gone\n",
        );
        check(
            Request::Name {
                name: Name::parse("Ann Lee").expect("a name"),
            },
            b"NAME Ann Lee\n",
        );
        check(
            Request::Unsubscribe {
                filters: filters("a"),
            },
            b"UNSUBSCRIBE a\n",
        );
        check(Request::Ping { token: b"" }, b"PING\n");
        check(Request::Ping { token: b"a b" }, b"PING a b\n");
        check(Request::Pong { token: b"7" }, b"PONG 7\n");
        check(Request::Help { verb: None }, b"HELP\n");
        check(
            Request::Help {
                verb: Some(Verb::Gap),
            },
            b"HELP GAP\n",
        );
        check(Request::Auth { credential: None }, b"AUTH\n");
        check(auth(None, b"dlt_k3f9_x"), b"AUTH dlt_k3f9_x\n");
        check(auth(Some(b"ann"), b" a\nb "), b"AUTH ann  a\\nb \n");
        check(auth(Some(b"ann"), b""), b"AUTH ann \n");
        check(Request::Quiet, b"QUIET\n");
        check(Request::Bye, b"BYE\n");
    }

    fn auth<'a>(user: Option<&'a [u8]>, secret: &'a [u8]) -> Request<'a> {
        Request::Auth {
            credential: Some(Credential {
                user,
                secret: Escaped::escape(secret),
            }),
        }
    }

    #[test]
    fn a_secret_is_in_no_output_for_debugging() {
        for (line, shown) in [
            (&b"AUTH ann hunter2"[..], "Credential(\"ann\" ***)"),
            (b"AUTH hunter2", "Credential(***)"),
        ] {
            let text = format!("{:?}", Request::decode(line));
            assert!(text.contains(shown) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn every_reply_in_both_directions() {
        let message = |payload, attributes| Reply::Message {
            topic: topic("t/u"),
            payload: Escaped::escape(payload),
            attributes,
        };
        check_reply(
            message(b"hi there", Attributes::default()),
            b"MESSAGE t/u hi there\n",
        );
        check_reply(
            message(b"", attributes(&[(crate::RETAINED, None)])),
            b"@retained MESSAGE t/u\n",
        );
        check_reply(
            Reply::PubAck {
                answered: 3,
                copies: 12,
                reached: None,
            },
            b"PUBACK 3 12\n",
        );
        let position = crate::Position::parse(b"k3f9.2:1042").ok();
        check_reply(
            Reply::PubAck {
                answered: 3,
                copies: 12,
                reached: Some(Reached {
                    level: crate::AckLevel::Disk,
                    position,
                }),
            },
            b"@level=disk;pos=k3f9.2:1042 PUBACK 3 12\n",
        );
        let suback = |incomplete| Reply::SubAck {
            filter: b"a/#",
            incomplete,
        };
        check_reply(suback(None), b"SUBACK a/#\n");
        let incomplete = |oldest| suback(Some(Incomplete { oldest }));
        check_reply(incomplete(None), b"@incomplete SUBACK a/#\n");
        let oldest = Position::parse(b"k3f9.2:7").ok();
        check_reply(
            incomplete(oldest),
            b"@incomplete;oldest=k3f9.2:7 SUBACK a/#\n",
        );
        check_reply(Reply::UnsubAck { filter: b"a/#" }, b"UNSUBACK a/#\n");
        for (subject, word) in [
            (Subject::Publish(7), "publish:7"),
            (Subject::Subscribe(b"a:#b"), "subscribe:a:#b"),
            (Subject::Unsubscribe(b""), "unsubscribe:"),
            (Subject::Line, "line"),
        ] {
            let error = Reply::Error {
                code: "bad-topic".into(),
                subject,
                text: "do this".into(),
            };
            check_reply(
                error,
                format!("ERROR bad-topic {word} do this\n").as_bytes(),
            );
        }
        check_reply(Reply::Gap { count: 9 }, b"GAP 9\n");
        let end = |position| Reply::End {
            filter: b"a/#",
            position,
        };
        check_reply(end(position), b"END a/# k3f9.2:1042\n");
        check_reply(end(None), b"END a/#\n");
        let current = |position| Reply::Current {
            filter: b"a/#",
            position,
        };
        check_reply(current(position), b"CURRENT a/# k3f9.2:1042\n");
        check_reply(current(None), b"CURRENT a/#\n");
        check_reply(Reply::Ping { token: b"" }, b"PING\n");
        check_reply(Reply::Pong { token: b"x" }, b"PONG x\n");
        check_reply(
            Reply::Help {
                text: "PING - x".into(),
            },
            b"HELP PING - x\n",
        );
        check_reply(Reply::AuthAck { name: b"ann" }, b"AUTHACK ann\n");
        check_reply(Reply::QuietAck, b"QUIETACK\n");
        check_reply(Reply::Bye, b"BYE\n");
    }

    #[test]
    fn verbs_are_read_in_any_case_and_one_cr_is_dropped() {
        reads(b"publish t x\n", publish("t", b"x"));
        reads(b"Publish t x\r\n", publish("t", b"x"));
        reads(b"PUBLISH t x\r\r\n", publish("t", b"x\r"));
        reads(b"PUBLISH t\r\n", publish("t", b""));
    }

    #[test]
    fn a_carriage_return_of_an_argument_is_not_taken_for_a_line_end() {
        // An earlier version wrote a bare LF after the token `a` CR, which decodes to `a`.
        check(Request::Ping { token: b"a\r" }, b"PING a\r\r\n");
        check_reply(Reply::Pong { token: b"\r" }, b"PONG \r\r\n");
        let suback = Reply::SubAck {
            filter: b"a\r",
            incomplete: None,
        };
        check_reply(suback, b"SUBACK a\r\r\n");
        let end = Reply::End {
            filter: b"a\r",
            position: None,
        };
        check_reply(end, b"END a\r\r\n");
    }

    #[test]
    fn empty_lines_are_ignored() {
        arrives(b"\n\r\n\n", LINE_BYTES, &[]);
    }

    #[test]
    fn fields_are_separated_by_exactly_one_space() {
        let why = BadTopic::Empty;
        let verb = Verb::Publish;
        refuses(b"PUBLISH  t x\n", DecodeError::BadTopic { verb, why });
        let verb = Verb::Will;
        refuses(b"WILL  t x\n", DecodeError::BadTopic { verb, why });
        refuses(
            b"NAME \x07\n",
            DecodeError::BadName(BadName::Control('\x07')),
        );
        refuses(
            b" PING\n",
            DecodeError::UnknownVerb {
                word: String::new(),
            },
        );
        let seen: Vec<_> = filters("a  b").iter().map(|(word, _)| word).collect();
        assert_eq!(seen, [&b"a"[..], b"", b"b"]);
    }

    #[test]
    fn a_missing_argument_and_an_unknown_verb_are_refused() {
        for (line, verb) in [
            (&b"PUBLISH\n"[..], Verb::Publish),
            (b"PUBLISH \n", Verb::Publish),
            (b"SUBSCRIBE\n", Verb::Subscribe),
            (b"UNSUBSCRIBE\n", Verb::Unsubscribe),
        ] {
            refuses(line, DecodeError::MissingArgument { verb });
        }
        let verb = Verb::End;
        let missing = Err(DecodeError::MissingArgument { verb });
        assert_eq!(Reply::decode(b"END  k3f9.2:1042"), missing);
        for word in ["PUBLSH", "MESSAGE", "SUBACK"] {
            let line = format!("{word} a\n");
            let word = word.to_owned();
            refuses(line.as_bytes(), DecodeError::UnknownVerb { word });
        }
        let quoted = DecodeError::UnknownVerb {
            word: r#""hi""#.to_owned(),
        };
        assert_eq!(
            quoted.to_string(),
            r#"no verb is called "\"hi\""; try HELP"#
        );
        refuses(b"\"hi\" a\n", quoted);
        let word = "\u{e9}t\u{e9}\u{202e}".to_owned();
        let turned = DecodeError::UnknownVerb { word };
        assert_eq!(
            turned.to_string(),
            r#"no verb is called "été\u{202e}"; try HELP"#
        );
        refuses("été\u{202e} a\n".as_bytes(), turned);
        let word = String::new();
        refuses(b"@retain\n", DecodeError::UnknownVerb { word });
        refuses(
            b"\xff\xfe\x01 a\n",
            DecodeError::UnknownVerb {
                word: "\u{fffd}\u{fffd}?".into(),
            },
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let too_long = |verb| format!("{:?}", DecodeError::TooLong { max: 12, verb });
        arrives(
            b"PUBLISH t 12\n",
            12,
            &[format!("{:?}", publish("t", b"12"))],
        );
        arrives(
            b"PUBLISH t 12\r\n",
            12,
            &[format!("{:?}", publish("t", b"12"))],
        );
        arrives(b"PUBLISH t 123\n", 12, &[too_long(Some(Verb::Publish))]);
        arrives(
            b"@a PUBLISH t 123\r\n",
            12,
            &[too_long(Some(Verb::Publish))],
        );
        let endless = [&b"x".repeat(100)[..], b"\n"].concat();
        arrives(&endless, 12, &[too_long(None)]);
    }

    #[test]
    fn a_line_that_is_given_up_is_skipped_to_its_end() {
        let mut framer = Framer::new(100);
        let begun = b"@a PUBLISH t 12";
        assert!(matches!(framer.next(begun), Step::More));
        let refused = framer.give_up(begun);
        assert!(refused.is_publish());
        assert_eq!(refused.code(), crate::Code::TooMany);
        assert!(matches!(framer.next(b"345"), Step::Skip(3)));
        assert!(matches!(framer.next(b"67\nPING\n"), Step::Skip(3)));
        assert!(matches!(framer.next(b"PING\n"), Step::Line(4)));
    }

    #[test]
    fn a_line_that_is_too_long_for_its_verb_gets_the_same_error_in_any_pieces() {
        // An earlier version looked for the verb in all bytes that had arrived, so the count of
        // PUBLISH frames depended on how the line was cut.
        let too_long = |max, verb| [format!("{:?}", DecodeError::TooLong { max, verb })];
        arrives(b"UNSUBSCRIBE a\n", 9, &too_long(9, None));
        arrives(b"UNSUBSCRIBE\n", 10, &too_long(10, Some(Verb::Unsubscribe)));
        arrives(b"@abcdefgh PUBLISH t\n", 9, &too_long(9, None));
    }

    #[test]
    fn a_long_line_is_scanned_once() {
        let mut framer = Framer::new(100);
        assert_eq!(framer.next(b"PUBL"), Step::More);
        assert_eq!(framer.scanned, 4);
        assert_eq!(framer.next(b"PUBLISH t x\n"), Step::Line(11));
        assert_eq!(framer.scanned, 0);
    }

    #[test]
    fn no_more_than_the_limit_of_a_line_is_buffered() {
        let mut decoder = Decoder::new(1000);
        for _ in 0..1000 {
            decoder.push(&[b'x'; 100]);
            let _ = decoder.next_request();
            assert!(decoder.buffer.len() - decoder.start <= 1001);
            assert!(decoder.buffer.capacity() < 5000);
        }
    }
}
