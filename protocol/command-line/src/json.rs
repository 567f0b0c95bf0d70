//! A message as one JSON object:
//! `{"topic":"t","payload":"text","attributes":{"k":"v","flag":true},"retained":true}`.
//!
//! The last two members are left out if they are empty or false. A payload that is not UTF-8 is
//! written as `payload_base64`, and such a value of an attribute as `{"base64":"..."}`. A repeated
//! key has an array of its values.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use protocol::{Attributes, REPLY, RETAINED, decode_spaces_bytes, is_harmless};
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Serializer, Value, json};

/// Writes any value as JSON on one line, without a line end. Characters that are not harmless are
/// escaped also where JSON would not need it: the line may reach a terminal.
///
/// # Errors
///
/// Those of `out`.
pub fn to_writer(out: impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, HarmlessFormatter);
    Ok(value.serialize(&mut serializer)?)
}

/// The same as a text.
///
/// # Panics
///
/// If the value cannot be written as JSON, as a map whose keys are no text.
pub fn to_text(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    to_writer(&mut text, value).expect("a value of JSON fits into memory");
    String::from_utf8(text).expect("JSON is text")
}

struct HarmlessFormatter;

impl Formatter for HarmlessFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|letter| !is_harmless(letter)) {
            let (plain, from) = rest.split_at(at);
            let letter = from.chars().next().expect("it was found there");
            // None of them needs two units of UTF-16.
            write!(out, "{plain}\\u{:04x}", u32::from(letter))?;
            rest = &from[letter.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Writes a message without a line end. In its topic a space is a space.
///
/// # Errors
///
/// Those of `out`.
pub fn write_message(
    out: &mut impl Write,
    topic: &str,
    payload: &[u8],
    attributes: &Attributes<'_>,
) -> io::Result<()> {
    out.write_all(b"{")?;
    write_members(out, topic, payload, attributes)?;
    out.write_all(b"}")
}

/// The members without the braces, for an object with further members.
pub(crate) fn write_members(
    out: &mut impl Write,
    topic: &str,
    payload: &[u8],
    attributes: &Attributes<'_>,
) -> io::Result<()> {
    out.write_all(b"\"topic\":")?;
    to_writer(&mut *out, topic)?;
    match str::from_utf8(payload) {
        Ok(text) => {
            out.write_all(b",\"payload\":")?;
            to_writer(&mut *out, text)?;
        }
        Err(_) => {
            let payload = Base64Display::new(payload, &STANDARD);
            write!(out, ",\"payload_base64\":\"{payload}\"")?;
        }
    }
    if !attributes.is_empty() {
        write_attributes(out, attributes)?;
    }
    Ok(())
}

fn write_attributes(out: &mut impl Write, attributes: &Attributes<'_>) -> io::Result<()> {
    let mut object = Map::new();
    for (key, value) in attributes.iter().filter(|(key, _)| *key != RETAINED) {
        let value = value.map(|it| match key {
            // It is a topic as well.
            REPLY => text(&decode_spaces_bytes(&it)),
            _ => text(&it),
        });
        add(&mut object, key, value.unwrap_or(json!(true)));
    }
    if !object.is_empty() {
        out.write_all(b",\"attributes\":")?;
        to_writer(&mut *out, &object)?;
    }
    if attributes.contains(RETAINED) {
        out.write_all(b",\"retained\":true")?;
    }
    Ok(())
}

fn add(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        None => {
            object.insert(key.to_owned(), value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = json!([first.take(), value]),
    }
}

fn text(value: &[u8]) -> Value {
    match str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": Base64Display::new(value, &STANDARD).to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8], attributes: &[(&str, Option<&[u8]>)], expected: &str) {
        let mut pushed = Attributes::default();
        for (key, value) in attributes {
            match value {
                Some(value) => pushed.push(key, value),
                None => pushed.push_flag(key),
            }
            .expect("a key");
        }
        let mut shown = Vec::new();
        write_message(&mut shown, "t", payload, &pushed).expect("room");
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    #[test]
    fn a_message_is_an_object_on_one_line() {
        check(b"a\"b\n", &[], r#"{"topic":"t","payload":"a\"b\n"}"#);
    }

    #[test]
    fn no_text_can_command_a_terminal_or_end_a_line() {
        let harmful = "\u{9b}2J\u{7f}\u{85}\u{2028}\u{202e}\u{200f}\u{61c}";
        check(
            harmful.as_bytes(),
            &[("k", Some(harmful.as_bytes()))],
            r#"{"topic":"t","payload":"\u009b2J\u007f\u0085\u2028\u202e\u200f\u061c","attributes":{"k":"\u009b2J\u007f\u0085\u2028\u202e\u200f\u061c"}}"#,
        );
        let key = Map::from_iter([("\u{9b}".to_owned(), json!(1))]);
        assert_eq!(to_text(&key), r#"{"\u009b":1}"#);
        let read: Value = serde_json::from_str(&to_text(&json!(harmful))).expect("JSON");
        assert_eq!(read, json!(harmful));
    }

    #[test]
    fn a_payload_that_is_not_text_is_base64() {
        check(b"\xff\x00", &[], r#"{"topic":"t","payload_base64":"/wA="}"#);
    }

    #[test]
    fn attributes_are_an_object_and_retained_is_a_member_beside_it() {
        check(
            b"",
            &[("k", Some(b"v")), ("flag", None), (RETAINED, None)],
            r#"{"topic":"t","payload":"","attributes":{"flag":true,"k":"v"},"retained":true}"#,
        );
        check(
            b"",
            &[(RETAINED, None)],
            r#"{"topic":"t","payload":"","retained":true}"#,
        );
    }

    #[test]
    fn no_attribute_is_lost() {
        check(
            b"",
            &[("k", Some(b"1")), ("k", Some(b"2")), ("k", Some(b"\xff"))],
            r#"{"topic":"t","payload":"","attributes":{"k":["1","2",{"base64":"/w=="}]}}"#,
        );
    }
}
