//! Messages as objects for one client.

use std::borrow::Cow;
use std::sync::Arc;

use protocol::MessageLine;

use super::topics::Purpose;
use super::web_chat::ChatSessions;
use crate::engine::outbox::delivery::writer::{Details, PacketWriter, Written};
use crate::wire::chat_object;
use crate::wire::json;
use crate::wire::room;

/// The nick of a message that has none, as other chats show it.
const NO_NICK: &str = "?";

/// Writes messages for a client of the web chat.
pub(super) struct ObjectWriter {
    sessions: Arc<ChatSessions>,
}

impl ObjectWriter {
    pub(super) fn new(sessions: &Arc<ChatSessions>) -> Self {
        Self {
            sessions: sessions.clone(),
        }
    }
}

impl PacketWriter for ObjectWriter {
    fn is_plain(&self) -> bool {
        false
    }

    fn max_in_flight(&self) -> usize {
        0
    }

    /// Gaps are told by the encoder's own object, never in a message.
    fn write(&mut self, line: &[u8], details: &Details<'_>, out: &mut Vec<u8>) -> Written {
        let Some(message) = MessageLine::decode(line) else {
            return Written::TooLong;
        };
        let purpose = Purpose::of(message.topic);
        let payload = message.payload.unescape();
        // This lock is taken under that of the outbox, and none under it.
        let is_own = self.sessions.contains(details.publisher);
        match purpose {
            // Any client may publish there, and what is no object would end the script of a page.
            Purpose::Objects if !is_own && !is_object(&payload) => return Written::TooLong,
            Purpose::Objects => out.extend_from_slice(&payload),
            // The object comes as well.
            Purpose::Room | Purpose::Private if is_own => return Written::TooLong,
            Purpose::Room | Purpose::Private => {
                let (nick, text) = heard(&payload);
                let nick = nick.as_deref().unwrap_or(NO_NICK);
                let object = match purpose {
                    Purpose::Private => chat_object::of_private(nick, &text),
                    _ => chat_object::of_room(nick, message.topic.as_str(), &text),
                };
                out.extend_from_slice(&object);
            }
        }
        Written::Yes
    }

    fn write_release(&mut self, _: u16, _: &mut Vec<u8>) {}
}

fn is_object(payload: &[u8]) -> bool {
    str::from_utf8(payload).is_ok_and(json::is_object)
}

/// The nick, if there is one, and the text of a message from elsewhere.
fn heard(payload: &[u8]) -> (Option<String>, Cow<'_, str>) {
    match room::chat(payload) {
        Some((nick, text)) => (nick, text.into()),
        None => (None, String::from_utf8_lossy(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client is sent for a message of session 1, while session 2 is one of the web chat.
    fn written(line: &str, publisher: u64) -> Option<String> {
        let sessions = Arc::<ChatSessions>::default();
        let _session = sessions.enter(2);
        let mut out = Vec::new();
        let details = Details {
            publisher,
            ..Details::default()
        };
        let written = ObjectWriter::new(&sessions).write(line.as_bytes(), &details, &mut out);
        assert_eq!(written == Written::Yes, !out.is_empty());
        (written == Written::Yes).then(|| String::from_utf8(out).expect("text"))
    }

    #[track_caller]
    fn check(line: &str, publisher: u64, expected: Option<&str>) {
        assert_eq!(written(line, publisher).as_deref(), expected, "{line}");
    }

    #[test]
    fn a_message_from_elsewhere_is_an_object_and_an_object_is_itself() {
        for (line, expected) in [
            (
                "MESSAGE lobby {\"user\":\"ann\",\"say\":\"hi\"}\n",
                r#"{"type":"room","nickname":"ann","room":"lobby","message":"hi"}"#,
            ),
            (
                "@retained MESSAGE lobby hi\\nall\n",
                r#"{"type":"room","nickname":"?","room":"lobby","message":"hi\nall"}"#,
            ),
            (
                "MESSAGE lobby\n",
                r#"{"type":"room","nickname":"?","room":"lobby","message":""}"#,
            ),
            (
                "MESSAGE $private/bob/lobby {\"nick\":\"ann\",\"message\":\"hi\"}\n",
                r#"{"type":"private","nickname":"ann","message":"hi"}"#,
            ),
            ("MESSAGE $talking/lobby {\\n \"x\" :\\\\}\n", ""),
            (
                "MESSAGE $talking/lobby {\\n \"\\\\u0041\" :1}\n",
                "{\n \"\\u0041\" :1}",
            ),
        ] {
            check(line, 1, Some(expected).filter(|it| !it.is_empty()));
        }
    }

    #[test]
    fn texts_whose_objects_come_are_left_out_and_so_is_what_is_no_object() {
        let object = "MESSAGE $private/bob/$talking {}\n";
        check(object, 2, Some("{}"));
        check("MESSAGE lobby hi\n", 2, None);
        check("MESSAGE $private/bob/lobby hi\n", 2, None);
        for payload in ["hi", "[]", "{}{}", ""] {
            check(&format!("MESSAGE $talking/lobby {payload}\n"), 1, None);
        }
    }
}
