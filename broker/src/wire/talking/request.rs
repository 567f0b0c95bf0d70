//! What clients of the web chat ask for.

use crate::wire::json;

/// The keys for the nick that a private message is for, in the order in which they count. Tutorials have
/// no common name.
const TO: [&str; 6] = [
    "to",
    "recipient",
    "receiver",
    "target",
    "toUser",
    "toNickname",
];

/// How a client logs in, for texts that say so.
const LOGIN: &str = r#"{"type":"login","nickname":"ann","room":"lobby"}"#;

/// Maximum characters of [`quoted`] words.
const QUOTED_CHARS: usize = 32;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChatRequest {
    Login {
        nickname: String,
        room: String,
    },
    /// A message to the room. If the object names a room, it has to be that of the login.
    Room {
        room: Option<String>,
        text: String,
    },
    Private {
        to: String,
        text: String,
    },
}

impl ChatRequest {
    /// What an object asks for, or why it is refused.
    pub(super) fn parse(object: &[u8]) -> Result<Self, String> {
        let keys = [
            "type", "nickname", "room", "message", "text", "msg", TO[0], TO[1], TO[2], TO[3],
            TO[4], TO[5],
        ];
        let Some(texts) = json::texts(object, keys) else {
            return Err(format!(
                "this is no object of JSON; send one, such as {LOGIN}"
            ));
        };
        let [kind, nickname, room, message, text, msg, to @ ..] = texts;
        let text = message.or(text).or(msg);
        let no_text = || r#"the object has no text; give it in "message""#.to_owned();
        match kind.as_deref() {
            Some("login") => match (nickname, room) {
                (Some(nickname), Some(room)) => Ok(Self::Login { nickname, room }),
                _ => Err(format!(r#"a login has a "nickname" and a "room": {LOGIN}"#)),
            },
            Some("room") => Ok(Self::Room {
                room,
                text: text.ok_or_else(no_text)?,
            }),
            Some("private") => {
                let to = to.into_iter().flatten().next();
                let to = to.ok_or(r#"a private message has a nick in "to""#)?;
                let text = text.ok_or_else(no_text)?;
                Ok(Self::Private { to, text })
            }
            Some(other) => Err(format!(
                "there is no type {:?}; it is login, room or private",
                quoted(other)
            )),
            None => Err(r#"the object has no "type", which is login, room or private"#.to_owned()),
        }
    }
}

/// A client's own words in an error.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

/// Why a message of a client that has not logged in is refused.
pub(super) fn login_first() -> String {
    format!("log in first: {LOGIN}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(object: &str) -> Result<ChatRequest, String> {
        ChatRequest::parse(object.as_bytes())
    }

    fn some(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn what_a_client_asks_for_is_read_and_all_other_keys_are_ignored() {
        let login =
            r#" {"connectedAt":1, "room":"lobby", "x":[{}], "nickname":"ann","type":"login"}"#;
        let expected = ChatRequest::Login {
            nickname: some("ann"),
            room: some("lobby"),
        };
        assert_eq!(parsed(login), Ok(expected));
        for (object, room, text) in [
            (r#"{"type":"room","message":"hi"}"#, None, "hi"),
            (r#"{"type":"room","text":"hi","room":"a"}"#, Some("a"), "hi"),
            (r#"{"type":"room","msg":"\u0068i","room":7}"#, None, "hi"),
            (r#"{"type":"room","msg":"1","text":"2"}"#, None, "2"),
            (
                r#"{"type":"room","msg":"1","text":"2","message":"3"}"#,
                None,
                "3",
            ),
            (
                r#"{"type":"room","msg":"1","text":"","message":3}"#,
                None,
                "",
            ),
        ] {
            let expected = ChatRequest::Room {
                room: room.map(some),
                text: some(text),
            };
            assert_eq!(parsed(object), Ok(expected), "{object}");
        }
        for key in TO {
            let object = format!(r#"{{"type":"private","{key}":"bob","message":"hi"}}"#);
            let expected = ChatRequest::Private {
                to: some("bob"),
                text: some("hi"),
            };
            assert_eq!(parsed(&object), Ok(expected), "{object}");
        }
    }

    #[test]
    fn what_is_refused_is_told_what_to_do() {
        for (object, why) in [
            (
                "hi",
                "this is no object of JSON; send one, such as {\"type\":",
            ),
            ("[1]", "this is no object of JSON"),
            ("", "this is no object of JSON"),
            (
                r#"{"type":"room","message":"hi""#,
                "this is no object of JSON",
            ),
            ("{}", r#"the object has no "type""#),
            (r#"{"type":1}"#, r#"the object has no "type""#),
            (
                r#"{"type":"Room","message":"hi"}"#,
                r#"there is no type "Room"; it is login, room or private"#,
            ),
            (
                r#"{"type":"login"}"#,
                r#"a login has a "nickname" and a "room": {"#,
            ),
            (
                r#"{"type":"login","nickname":"ann"}"#,
                r#"a login has a "nickname" and a "room""#,
            ),
            (
                r#"{"type":"login","room":"lobby","nickname":["ann"]}"#,
                r#"a login has a "nickname" and a "room""#,
            ),
            (
                r#"{"type":"room"}"#,
                r#"the object has no text; give it in "message""#,
            ),
            (
                r#"{"type":"private","message":"hi"}"#,
                r#"a private message has a nick in "to""#,
            ),
            (r#"{"type":"private","to":"bob"}"#, "the object has no text"),
        ] {
            let told = parsed(object).expect_err("it is refused");
            assert!(told.starts_with(why), "{object}: {told}");
        }
        let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(100));
        let told = parsed(&long).expect_err("it is refused");
        assert!(told.len() < 100, "{told}");
    }
}
