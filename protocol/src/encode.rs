//! Frames to bytes, in the order of `frame.rs`: the inverse of `decode.rs`.
//!
//! Everything is appended to a buffer of the caller. What a frame quotes can never end its line early.

use std::io::Write;
use std::ops::Range;

use crate::attributes::Attributes;
use crate::escape::Escaped;
use crate::frame::{Credential, Reply, Request, Subject};
use crate::limits::ECHO_BYTES;
use crate::message::MessageLine;
use crate::position::Position;
use crate::topic::Topic;
use crate::verb::Verb;

impl Request<'_> {
    /// Appends the frame with its line end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Publish {
                topic,
                payload,
                attributes,
            } => {
                message(out, Verb::Publish, *topic, payload, attributes);
            }
            Self::Subscribe {
                filters,
                attributes,
            } => {
                before(out, attributes);
                word(out, Verb::Subscribe, filters.as_bytes());
            }
            Self::Unsubscribe { filters } => word(out, Verb::Unsubscribe, filters.as_bytes()),
            Self::Ping { token } => optional(out, Verb::Ping, token),
            Self::Pong { token } => optional(out, Verb::Pong, token),
            Self::Help { verb } => {
                optional(out, Verb::Help, verb.map_or("", Verb::as_str).as_bytes());
            }
            Self::Will {
                topic,
                payload,
                attributes,
            } => {
                message(out, Verb::Will, *topic, payload, attributes);
            }
            Self::Name { name } => word(out, Verb::Name, name.as_str().as_bytes()),
            Self::Auth { credential: None } => optional(out, Verb::Auth, b""),
            Self::Auth {
                credential: Some(Credential { user, secret }),
            } => auth(out, *user, secret),
            Self::Quiet => optional(out, Verb::Quiet, b""),
            Self::Bye => optional(out, Verb::Bye, b""),
        }
    }
}

impl Reply<'_> {
    /// Appends the frame with its line end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message {
                topic,
                payload,
                attributes,
            } => {
                message(out, Verb::Message, *topic, payload, attributes);
            }
            Self::PubAck {
                answered,
                copies,
                reached,
            } => {
                if let Some(reached) = reached {
                    before(out, &reached.attributes());
                }
                line(out, format_args!("{} {answered} {copies}\n", Verb::PubAck));
            }
            Self::SubAck { filter, incomplete } => {
                if let Some(incomplete) = incomplete {
                    before(out, &incomplete.attributes());
                }
                word(out, Verb::SubAck, filter);
            }
            Self::UnsubAck { filter } => word(out, Verb::UnsubAck, filter),
            Self::WillAck { topic } => word(out, Verb::WillAck, topic),
            Self::NameAck { name } => word(out, Verb::NameAck, name),
            Self::AuthAck { name } => word(out, Verb::AuthAck, name),
            Self::QuietAck => optional(out, Verb::QuietAck, b""),
            Self::Error {
                code,
                subject,
                text,
            } => {
                line(out, format_args!("{} {code} ", Verb::Error));
                subject.encode(out);
                out.push(b' ');
                one_line(out, text);
            }
            Self::Current { filter, position } => {
                filter_and_position(out, Verb::Current, filter, *position);
            }
            Self::End { filter, position } => {
                filter_and_position(out, Verb::End, filter, *position);
            }
            Self::Gap { count } => line(out, format_args!("{} {count}\n", Verb::Gap)),
            Self::Ping { token } => optional(out, Verb::Ping, token),
            Self::Pong { token } => optional(out, Verb::Pong, token),
            Self::Help { text } => {
                line(out, format_args!("{} ", Verb::Help));
                one_line(out, text);
            }
            Self::Bye => optional(out, Verb::Bye, b""),
        }
    }
}

impl Subject<'_> {
    /// A filter is repeated up to [`ECHO_BYTES`], so that a long mistake gets a short answer.
    fn encode(self, out: &mut Vec<u8>) {
        let mut echo = |what: &[u8], name: &[u8]| {
            out.extend_from_slice(what);
            out.extend_from_slice(&name[..name.len().min(ECHO_BYTES)]);
        };
        match self {
            Self::Publish(number) => line(out, format_args!("publish:{number}")),
            Self::Subscribe(filter) => echo(b"subscribe:", filter),
            Self::Unsubscribe(filter) => echo(b"unsubscribe:", filter),
            Self::Line => echo(b"line", b""),
        }
    }
}

impl MessageLine<'_> {
    /// Appends the line with its line end; returns where its topic stands.
    pub fn encode(&self, out: &mut Vec<u8>) -> Range<usize> {
        message(
            out,
            Verb::Message,
            self.topic,
            &self.payload,
            &self.attributes,
        )
    }
}

fn message(
    out: &mut Vec<u8>,
    verb: Verb,
    topic: Topic<'_>,
    payload: &Escaped<'_>,
    attributes: &Attributes<'_>,
) -> Range<usize> {
    before(out, attributes);
    out.extend_from_slice(verb.as_str().as_bytes());
    out.push(b' ');
    let start = out.len();
    out.extend_from_slice(topic.as_str().as_bytes());
    let written = start..out.len();
    if !payload.is_empty() {
        out.push(b' ');
        payload.encode(out);
    }
    out.push(b'\n');
    written
}

/// The word of attributes before the verb.
fn before(out: &mut Vec<u8>, attributes: &Attributes<'_>) {
    if !attributes.is_empty() {
        out.push(b'@');
        out.extend_from_slice(attributes.as_word());
        out.push(b' ');
    }
}

fn auth(out: &mut Vec<u8>, user: Option<&[u8]>, secret: &Escaped<'_>) {
    out.extend_from_slice(Verb::Auth.as_str().as_bytes());
    if let Some(user) = user {
        out.push(b' ');
        out.extend_from_slice(user);
    }
    out.push(b' ');
    secret.encode(out);
    out.push(b'\n');
}

fn word(out: &mut Vec<u8>, verb: Verb, argument: &[u8]) {
    out.extend_from_slice(verb.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(argument);
    end(out);
}

fn optional(out: &mut Vec<u8>, verb: Verb, argument: &[u8]) {
    out.extend_from_slice(verb.as_str().as_bytes());
    if !argument.is_empty() {
        out.push(b' ');
        out.extend_from_slice(argument);
    }
    end(out);
}

fn filter_and_position(out: &mut Vec<u8>, verb: Verb, filter: &[u8], position: Option<Position>) {
    out.extend_from_slice(verb.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(filter);
    match position {
        Some(position) => line(out, format_args!(" {position}\n")),
        None => end(out),
    }
}

/// Ends a line. A reader drops one CR before the LF, so an argument that ends with CR gets a second.
fn end(out: &mut Vec<u8>) {
    if out.last() == Some(&b'\r') {
        out.push(b'\r');
    }
    out.push(b'\n');
}

/// Appends text and a line end; control bytes become spaces, because the text may quote any line.
fn one_line(out: &mut Vec<u8>, text: &str) {
    out.extend(
        text.bytes()
            .map(|byte| if byte < b' ' { b' ' } else { byte }),
    );
    out.push(b'\n');
}

fn line(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}
