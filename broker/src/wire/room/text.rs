//! What members of a room say and hear: nicks, texts, and the JSON in which chats write them.

use std::borrow::Cow;
use std::fmt::Write;

use protocol::is_harmless;
use serde::Serialize;

use crate::wire::json;

/// Maximum characters of a nick.
pub(super) const NICK_CHARS: usize = 32;

/// The word with which a member leaves.
pub(super) const BYE: &[u8] = b"bye";

/// How lines begin that the broker says itself.
const OWN: &str = "* ";

/// The keys of both kinds of chats.
#[derive(Serialize)]
struct Said<'a> {
    nick: &'a str,
    message: &'a str,
    user: &'a str,
    say: &'a str,
}

/// The presence of a member.
#[derive(Serialize)]
struct Presence<'a> {
    nick: &'a str,
    since: String,
}

/// Why a text is no nick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadNick {
    /// It is several words, or longer than [`NICK_CHARS`].
    NoWord,
    /// It has a character that the level of a topic or a terminal cannot have.
    BadCharacter,
}

impl BadNick {
    /// What its sender is told.
    pub(super) fn notice(self) -> &'static str {
        match self {
            Self::NoWord => "send your nick first",
            Self::BadCharacter => {
                "a nick has no / + # and no control characters; send another nick"
            }
        }
    }
}

/// Checks a nick. It is one level of a topic.
pub(crate) fn nick(text: &[u8]) -> Result<&str, BadNick> {
    let nick = str::from_utf8(text).map_err(|_| BadNick::BadCharacter)?;
    let nick = nick.trim();
    if nick.is_empty() || nick.contains(char::is_whitespace) || nick.chars().count() > NICK_CHARS {
        return Err(BadNick::NoWord);
    }
    match nick
        .chars()
        .all(|letter| is_harmless(letter) && !"/+#".contains(letter))
    {
        true => Ok(nick),
        false => Err(BadNick::BadCharacter),
    }
}

/// The payload of what a member says.
pub(crate) fn said(nick: &str, text: &[u8]) -> Vec<u8> {
    let text = &*String::from_utf8_lossy(text);
    json(&Said {
        nick,
        message: text,
        user: nick,
        say: text,
    })
}

/// The payload of a presence.
pub(super) fn presence(nick: &str) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    json(&Presence {
        nick,
        since: format!("{now:.0}"),
    })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts are valid JSON")
}

/// The line in which members hear a message with this payload, without its end.
pub(super) fn heard(payload: &[u8]) -> String {
    let chat = chat(payload);
    let line = match &chat {
        Some((Some(nick), text)) => escaped(&format!("{nick}: {text}")).into_owned(),
        Some((None, text)) => escaped(text).into_owned(),
        None => escaped(&String::from_utf8_lossy(payload)).into_owned(),
    };
    match line.starts_with(OWN) {
        // It is not the broker that says so.
        true => format!("{OWN}{line}"),
        false => line,
    }
}

/// The nick and the text in the JSON of a chat.
pub(crate) fn chat(payload: &[u8]) -> Option<(Option<String>, String)> {
    if payload.first() != Some(&b'{') {
        return None;
    }
    let [nick, user, message, say] = json::texts(payload, ["nick", "user", "message", "say"])?;
    let nick = [nick, user]
        .into_iter()
        .flatten()
        .find(|nick| !nick.is_empty());
    message.or(say).map(|text| (nick, text))
}

/// A text of one line that commands no terminal.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_harmless(letter) {
            true => escaped.push(letter),
            false => {
                let _ = write!(escaped, "{}", letter.escape_default());
            }
        }
    }
    escaped.into()
}

/// Cuts a line of more than `most` bytes, at the end of a character, and says so.
pub(super) fn cut(line: &mut String, most: usize) {
    const CUT: &str = "…";
    if line.len() > most {
        let end = line.floor_char_boundary(most.saturating_sub(CUT.len()));
        line.truncate(end);
        line.push_str(CUT);
    }
}

/// A line of the broker itself.
pub(crate) fn notice(text: &str) -> Vec<u8> {
    format!("{OWN}{text}\n").into_bytes()
}

/// The notice of messages that were dropped here.
pub(super) fn missing(count: u64) -> Vec<u8> {
    notice(&match count {
        1 => "1 message is missing here".to_owned(),
        _ => format!("{count} messages are missing here"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nick_is_one_word_that_a_topic_and_a_terminal_bear() {
        for good in [
            "ann",
            "  ann\t",
            "李明",
            "$ann",
            "*",
            &"a".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(nick(good.as_bytes()), Ok(good.trim()));
        }
        for several in ["", " ", "hi everyone", "a\u{a0}b", &"a".repeat(33)] {
            assert_eq!(nick(several.as_bytes()), Err(BadNick::NoWord), "{several}");
        }
        for bad in [
            &b"a/b"[..],
            b"#",
            b"a+",
            b"\x1b[2J",
            b"\xff",
            "a\u{202e}".as_bytes(),
        ] {
            assert_eq!(nick(bad), Err(BadNick::BadCharacter), "{bad:?}");
        }
    }

    #[test]
    fn what_is_said_has_the_keys_of_both_chats() {
        let expected = r#"{"nick":"ann","message":"\"hi\"\n","user":"ann","say":"\"hi\"\n"}"#;
        assert_eq!(said("ann", b"\"hi\"\n"), expected.as_bytes());
        assert_eq!(heard(expected.as_bytes()), r#"ann: "hi"\n"#);
        let presence = String::from_utf8(presence("ann")).expect("JSON is text");
        assert!(
            presence.starts_with(r#"{"nick":"ann","since":"2"#),
            "{presence}"
        );
        assert!(presence.ends_with(r#"Z"}"#), "{presence}");
    }

    #[test]
    fn both_pairs_of_keys_are_heard_and_any_other_payload_as_it_is() {
        for (payload, expected) in [
            (r#"{"nick":"a","message":"hi"}"#, "a: hi"),
            (r#"{"user":"a","say":"hi"}"#, "a: hi"),
            (r#"{"say":"hi","nick":"a"}"#, "a: hi"),
            (r#"{"nick":"a","user":"b","message":"c","say":"d"}"#, "a: c"),
            (
                r#"{"nick":1,"user":"b","message":null,"say":"d","x":[]}"#,
                "b: d",
            ),
            (r#"{"nick":"","message":"hi"}"#, "hi"),
            (r#"{"message":"hi"}"#, "hi"),
            (r#"{"nick":"a"}"#, r#"{"nick":"a"}"#),
            (
                r#"{"nick":"a","message":"hi""#,
                r#"{"nick":"a","message":"hi""#,
            ),
            ("hi", "hi"),
            ("[1]", "[1]"),
            ("", ""),
        ] {
            assert_eq!(heard(payload.as_bytes()), expected, "{payload}");
        }
        assert_eq!(heard(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_message_is_heard_whatever_else_is_in_its_json() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let payload = format!(r#"{{"nick":"a","x":{deep},"say":{deep},"message":"hi"}}"#);
        assert_eq!(heard(payload.as_bytes()), "a: hi");
    }

    #[test]
    fn what_is_heard_is_one_harmless_line_that_the_broker_did_not_say() {
        for (payload, expected) in [
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\x1b[2J\u{202e}", r"\u{1b}[2J\u{202e}"),
            ("* ann joined", "* * ann joined"),
            (r#"{"nick":"* ann","message":"hi"}"#, "* * ann: hi"),
            (r#"{"nick":"a\nb","message":"hi\u0007"}"#, r"a\nb: hi\u{7}"),
            ("*", "*"),
            ("*hi", "*hi"),
        ] {
            assert_eq!(heard(payload.as_bytes()), expected, "{payload:?}");
        }
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        let mut line = "aééé".to_owned();
        cut(&mut line, 7);
        assert_eq!(line, "aééé");
        cut(&mut line, 6);
        assert_eq!(line, "aé…");
        cut(&mut line, 3);
        assert_eq!(line, "…");
    }

    #[test]
    fn missing_messages_are_counted() {
        assert_eq!(missing(1), b"* 1 message is missing here\n");
        assert_eq!(missing(17), b"* 17 messages are missing here\n");
    }
}
