//! The payloads of messages and presences, as JSON.
//!
//! Chats use one of two pairs of keys for a message: `nick` and `message`, or `user` and `say`. Both
//! are written, so that a program that knows only one of them reads it, and either is read.

use crate::visible;
use serde_json::{Map, Value};

/// The nick of a message without one.
const UNKNOWN_NICK: &str = "?";

/// The keys of a nick, and those of a text, in the order in which they are looked for.
const NICK_KEYS: [&str; 2] = ["nick", "user"];
const TEXT_KEYS: [&str; 2] = ["message", "say"];

/// A received message. Its text is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatMessage {
    pub(crate) nick: String,
    pub(crate) text: String,
}

impl ChatMessage {
    /// Parses a payload. A payload that is not JSON of this format is the text of a message without
    /// a nick.
    pub(crate) fn read(payload: &[u8]) -> Self {
        let (nick, text) = parse(payload).unwrap_or_else(|| {
            (
                UNKNOWN_NICK.to_owned(),
                String::from_utf8_lossy(payload).into_owned(),
            )
        });
        let nick = match visible::name(&nick) {
            nothing if nothing.is_empty() => UNKNOWN_NICK.to_owned(),
            nick => nick,
        };
        let text = visible::text(text.strip_suffix('\n').unwrap_or(&text));
        Self { nick, text }
    }
}

fn parse(payload: &[u8]) -> Option<(String, String)> {
    let object = object(payload)?;
    // A value that is no string is passed over, as if its key were missing.
    let first = |keys: [&str; 2]| {
        let texts = keys.iter().filter_map(|key| object.get(*key)?.as_str());
        texts.map(str::to_owned).next()
    };
    Some((first(NICK_KEYS)?, first(TEXT_KEYS)?))
}

fn object(payload: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(payload) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// Formats the payload of a message, with both pairs of keys.
pub(crate) fn message(nick: &str, text: &str) -> String {
    let [nick, text] = [nick, text].map(Value::from);
    format!(r#"{{"nick":{nick},"message":{text},"user":{nick},"say":{text}}}"#)
}

/// Identifies this run of the program among others with the same nick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) id: String,
    /// The start time, as in RFC 3339.
    pub(crate) since: String,
}

impl Presence {
    /// The payload of the presence.
    pub(crate) fn payload(&self, nick: &str) -> String {
        let Self { id, since } = self;
        let [nick, since, id] = [nick, since, id].map(Value::from);
        format!(r#"{{"nick":{nick},"since":{since},"id":{id}}}"#)
    }
}

/// The id in the payload of a presence, if it has one.
pub(crate) fn presence_id(payload: &[u8]) -> Option<String> {
    object(payload)?.get("id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, nick: &str, text: &str) {
        let said = ChatMessage::read(payload.as_bytes());
        assert_eq!((&*said.nick, &*said.text), (nick, text), "{payload}");
    }

    #[test]
    fn a_message_has_a_nick_and_a_text() {
        check(r#"{"nick":"ann","message":"hi"}"#, "ann", "hi");
        check(r#"{"message":"hi","x":[1],"nick":"ann"}"#, "ann", "hi");
        check(&message("آن", "a\"b\nc\x1b"), "آن", "a\"b\nc�");
    }

    #[test]
    fn a_message_is_written_with_both_pairs_of_keys() {
        let both = r#"{"nick":"ann","message":"a \"b\"","user":"ann","say":"a \"b\""}"#;
        assert_eq!(message("ann", "a \"b\""), both);
    }

    #[test]
    fn either_pair_of_keys_is_read() {
        check(r#"{"user":"ann","say":"hi"}"#, "ann", "hi");
        check(r#"{"say":"hi","x":[1],"user":"ann"}"#, "ann", "hi");
        check(r#"{"nick":"ann","say":"hi"}"#, "ann", "hi");
        check(r#"{"user":"ann","message":"hi"}"#, "ann", "hi");
        let two = r#"{"say":"no","user":"eve","message":"hi","nick":"ann"}"#;
        check(two, "ann", "hi");
        check(
            r#"{"nick":7,"message":null,"user":"ann","say":"hi"}"#,
            "ann",
            "hi",
        );
    }

    #[test]
    fn anything_else_is_shown_as_it_is() {
        for payload in [
            "hello there",
            "",
            "[1]",
            "7",
            r#"{"nick":"ann"}"#,
            r#"{"user":"ann"}"#,
            r#"{"message":"x"}"#,
            r#"{"say":"x"}"#,
            r#"{"nick":"ann","user":"eve"}"#,
            r#"{"nick":1,"message":"x"}"#,
            r#"{"user":"ann","say":["x"]}"#,
        ] {
            check(payload, "?", payload);
        }
        check("a line\n", "?", "a line");
        assert_eq!(ChatMessage::read(b"caf\xe9").text, "caf\u{fffd}");
    }

    #[test]
    fn a_name_cannot_look_like_something_else() {
        check(r#"{"nick":"","message":"x"}"#, "?", "x");
        check(
            r#"{"nick":"* ann left\nbob","message":"x"}"#,
            "*_ann_left_bob",
            "x",
        );
    }

    #[test]
    fn presence_tells_one_ann_from_another() {
        let own_presence = Presence {
            id: "7f".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
        };
        let payload = own_presence.payload("ann");
        assert_eq!(
            payload,
            r#"{"nick":"ann","since":"2026-01-01T00:00:00Z","id":"7f"}"#
        );
        assert_eq!(presence_id(payload.as_bytes()).as_deref(), Some("7f"));
        assert_eq!(presence_id(b"here"), None);
    }
}
