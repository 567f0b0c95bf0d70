//! The objects that a client of the web chat is sent by the broker itself.
//!
//! WebSocket and the web chat need them both, and neither needs the other.

use serde::Serialize;

/// The final object when the broker stops.
pub(crate) const GOODBYE: &[u8] =
    br#"{"type":"notice","message":"the broker stops; connect again later"}"#;

/// The notice for a client that the operator has put out.
pub(crate) const KICKED: &[u8] =
    br#"{"type":"notice","message":"the operator has ended your connection"}"#;

/// The notice for a client whose identity is none any more.
pub(crate) const AUTH_ENDED: &[u8] =
    br#"{"type":"notice","message":"your user or your token has ended; log in again"}"#;

/// The notice for a client whose identity ends soon.
pub(crate) const AUTH_ENDS_SOON: &[u8] =
    br#"{"type":"notice","message":"your token ends in less than a minute; log in again"}"#;

/// A message from elsewhere.
#[derive(Serialize)]
struct HeardObject<'a> {
    r#type: &'static str,
    nickname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    message: &'a str,
}

/// Words of the broker itself.
#[derive(Serialize)]
struct ToldObject<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    message: &'a str,
}

/// A message that was said elsewhere in a room.
pub(crate) fn of_room(nickname: &str, room: &str, message: &str) -> Vec<u8> {
    bytes(&HeardObject {
        r#type: "room",
        nickname,
        room: Some(room),
        message,
    })
}

/// A private message that was said elsewhere.
pub(crate) fn of_private(nickname: &str, message: &str) -> Vec<u8> {
    bytes(&HeardObject {
        r#type: "private",
        nickname,
        room: None,
        message,
    })
}

/// Why an object is refused.
pub(crate) fn error(message: &str) -> Vec<u8> {
    told("error", None, message)
}

/// What a client should know.
pub(crate) fn notice(message: &str) -> Vec<u8> {
    told("notice", None, message)
}

/// The object for messages that were dropped at its place.
pub(crate) fn missing(count: u64) -> Vec<u8> {
    let message = match count {
        1 => "1 message is missing here".to_owned(),
        _ => format!("{count} messages are missing here"),
    };
    told("missing", Some(count), &message)
}

fn told(r#type: &'static str, count: Option<u64>, message: &str) -> Vec<u8> {
    bytes(&ToldObject {
        r#type,
        count,
        message,
    })
}

fn bytes(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).expect("texts and numbers are valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_the_broker_are_json() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is text");
        assert_eq!(
            text(of_room("ann", "lobby", "\"hi\"\n\u{1b}")),
            r#"{"type":"room","nickname":"ann","room":"lobby","message":"\"hi\"\n\u001b"}"#
        );
        assert_eq!(
            text(of_private("ann", "hi")),
            r#"{"type":"private","nickname":"ann","message":"hi"}"#
        );
        assert_eq!(
            text(error("no \"type\"")),
            r#"{"type":"error","message":"no \"type\""}"#
        );
        assert_eq!(
            text(missing(1)),
            r#"{"type":"missing","count":1,"message":"1 message is missing here"}"#
        );
        assert_eq!(
            text(missing(17)),
            r#"{"type":"missing","count":17,"message":"17 messages are missing here"}"#
        );
        assert_eq!(GOODBYE, notice("the broker stops; connect again later"));
        assert_eq!(KICKED, notice("the operator has ended your connection"));
        for (text, object) in [
            (
                "your user or your token has ended; log in again",
                AUTH_ENDED,
            ),
            (
                "your token ends in less than a minute; log in again",
                AUTH_ENDS_SOON,
            ),
        ] {
            assert_eq!(object, notice(text));
        }
    }
}
