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
        "/www/login.js" => (SCRIPT, include_bytes!("www/login.js")),
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
    let sockets = head.host.as_ref().filter(|host| is_plain(host.as_str()));
    let sockets = sockets.map_or(String::new(), |host| format!(" ws://{host} wss://{host}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Whether a host has only what a policy takes for a host: any client may ask for the page, and name any.
fn is_plain(host: &str) -> bool {
    host.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    #[track_caller]
    fn policy(host: &str) -> String {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = parse(text.as_bytes())
            .expect("a request")
            .expect("a whole one")
            .0;
        let response = response(part("/").expect("the page"), &head);
        let policy = response.headers.get(CONTENT_SECURITY_POLICY);
        let policy = policy.and_then(|policy| policy.to_str().ok());
        policy.expect("a policy").to_owned()
    }

    #[test]
    fn a_host_adds_sockets_to_the_policy_and_nothing_else() {
        assert!(policy("[::1]:1373").contains("'self' ws://[::1]:1373 wss://[::1]:1373;"));
        for host in ["a;script-src*", "a,b", "a'b"] {
            assert!(policy(host).contains("connect-src 'self';"), "{host}");
        }
    }
}
