//! The web page of the broker: a chat room and a live view, compiled into the program.
//!
//! It loads only its own files, and its policy forbids all else, so that a payload that looks like
//! markup does nothing even if the page has a bug.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use super::request::RequestHead;
use super::response::Response;

/// A file of the page.
pub(super) struct Part {
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The file at a path.
pub(super) fn part(path: &str) -> Option<Part> {
    let (kind, bytes): (_, &'static [u8]) = match path {
        "/" | "/chat" => (HTML, include_bytes!("www/index.html")),
        "/www/style.css" => (CSS, include_bytes!("www/style.css")),
        "/www/page.js" => (SCRIPT, include_bytes!("www/page.js")),
        "/www/room.js" => (SCRIPT, include_bytes!("www/room.js")),
        "/www/live.js" => (SCRIPT, include_bytes!("www/live.js")),
        "/www/wire.js" => (SCRIPT, include_bytes!("www/wire.js")),
        "/www/words.js" => (SCRIPT, include_bytes!("www/words.js")),
        "/www/icon.svg" | "/favicon.ico" => (IMAGE, include_bytes!("www/icon.svg")),
        _ => return None,
    };
    Some(Part { kind, bytes })
}

pub(super) fn response(part: Part, head: &RequestHead) -> Response {
    let mut response = Response::new(StatusCode::OK, part.kind, part.bytes)
        // A new version of the broker may have a new page.
        .with(CACHE_CONTROL, "no-cache");
    // Some browsers do not include WebSocket in 'self'.
    let sockets = head
        .host
        .as_ref()
        .map_or(String::new(), |host| format!(" ws://{host} wss://{host}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
