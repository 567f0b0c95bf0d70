//! `/ws`, `/mqtt`, `/` and the path of the web chat: a request that turns its connection into a WebSocket.

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode};
use tungstenite::handshake::derive_accept_key;

use super::request::{RequestHead, RequestRefusal};
use super::response::encode_head;
use crate::wire::protocols::Subprotocol;

/// The subprotocols; of several that a client offers, the first of this list is chosen.
const SUBPROTOCOLS: [(&str, Subprotocol); 3] = [
    ("line", Subprotocol::Line),
    ("mqtt", Subprotocol::Mqtt),
    ("mqttv3.1", Subprotocol::Mqtt),
];

/// The path of the page, which clients use that are given no path; the subprotocol must be named.
const ROOT: &str = "/";

/// The paths for WebSocket alone. A final slash, which some clients add, means nothing.
const FOR_ALL: &str = "/ws";

/// The path that most MQTT clients use; it offers MQTT only.
const FOR_MQTT: &str = "/mqtt";

/// Whether a path is for WebSocket alone. `chat` is that of the web chat.
pub(super) fn is_path(path: &str, chat: &str) -> bool {
    [FOR_ALL, FOR_MQTT, chat].contains(&without_slash(path))
}

/// Whether the client wants a WebSocket. A proxy that does not know of it removes all but the key.
pub(super) fn is_asked(head: &RequestHead) -> bool {
    head.has_word(UPGRADE, "websocket") || head.headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Whether this handshake is from a program: a browser names the site of the page in each (RFC 6455
/// §10.2), and no page can set the headers of a handshake.
pub(super) fn is_of_program(head: &RequestHead) -> bool {
    is_asked(head) && !head.headers.contains_key(ORIGIN)
}

fn without_slash(path: &str) -> &str {
    match path {
        ROOT => path,
        path => path.strip_suffix('/').unwrap_or(path),
    }
}

/// The inner protocol and the response, if the connection can switch. `chat` is the path of the web chat.
pub(super) fn accept(
    head: &RequestHead,
    chat: &str,
) -> Result<(Subprotocol, Vec<u8>), RequestRefusal> {
    let bad = |text: &str| RequestRefusal::new(StatusCode::BAD_REQUEST, text);
    if !is_path(&head.path, chat) && head.path != ROOT {
        let text = format!(
            "there is no WebSocket at {:?}; open ws://.../ws, or /mqtt, or {chat} for the web chat",
            head.path
        );
        return Err(RequestRefusal::new(StatusCode::NOT_FOUND, text));
    }
    let asks = head.has_word(UPGRADE, "websocket") && head.has_word(CONNECTION, "upgrade");
    if head.method != Method::GET || !asks {
        let text = format!(
            "this is for WebSocket; open ws://.../ws, or /mqtt, or {chat} for the web chat; a proxy in between \
             must pass on Upgrade and Connection"
        );
        return Err(RequestRefusal::new(StatusCode::UPGRADE_REQUIRED, text));
    }
    // RFC 6455 §11.3.1, §11.3.5.
    for (name, text) in [
        (
            SEC_WEBSOCKET_KEY,
            "a WebSocket has one header Sec-WebSocket-Key",
        ),
        (
            SEC_WEBSOCKET_VERSION,
            "a WebSocket has one header Sec-WebSocket-Version",
        ),
    ] {
        if head.headers.get_all(name).iter().count() > 1 {
            return Err(bad(text));
        }
    }
    if head.header(SEC_WEBSOCKET_VERSION) != Some("13") {
        let text = "the version of WebSocket is 13";
        return Err(RequestRefusal::new(StatusCode::UPGRADE_REQUIRED, text));
    }
    if !head.is_current || head.has_body() {
        return Err(bad(
            "a WebSocket begins with a GET of HTTP/1.1 without a body",
        ));
    }
    let key = head.headers.get(SEC_WEBSOCKET_KEY);
    let key = key.filter(|key| {
        let decoded = STANDARD.decode(key.as_bytes());
        decoded.is_ok_and(|bytes| bytes.len() == 16)
    });
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is 16 bytes in Base64"))?;
    let mut headers = HeaderMap::new();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.expect("Base64 is text"));
    let inside = match without_slash(&head.path) == chat {
        // Of the subprotocols that a client offers there, none is chosen (RFC 6455 §4.2.2).
        true => Subprotocol::Talking,
        false => match choose(head).map_err(bad)? {
            None => Subprotocol::Line,
            Some((name, inside)) => {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
                inside
            }
        },
    };
    let answer = encode_head(StatusCode::SWITCHING_PROTOCOLS, &headers);
    Ok((inside, answer))
}

/// The subprotocol to announce; none if the client offers none, which only `/ws` allows.
fn choose(head: &RequestHead) -> Result<Option<(&'static str, Subprotocol)>, &'static str> {
    let path = without_slash(&head.path);
    if path == FOR_ALL && !head.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let asked = SUBPROTOCOLS.into_iter().find(|&(name, inside)| {
        // Compared exactly (RFC 6455 §4.1).
        let is_offered = head
            .words(SEC_WEBSOCKET_PROTOCOL)
            .any(|offered| offered == name);
        is_offered && (inside == Subprotocol::Mqtt || path != FOR_MQTT)
    });
    match (asked, path) {
        (Some(asked), _) => Ok(Some(asked)),
        (None, FOR_MQTT) => Err("the subprotocol here is mqtt; the line protocol is at /ws"),
        (None, ROOT) => {
            Err("the subprotocol here is mqtt, mqttv3.1 or line; at /ws none is needed for lines")
        }
        (None, _) => {
            Err("the subprotocol is line, mqtt or mqttv3.1; a client that asks for none gets line")
        }
    }
}
