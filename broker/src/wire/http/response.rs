//! Answers: a status, some headers, a body.

use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, SET_COOKIE,
};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::request::{RequestHead, RequestRefusal};

/// Maximum idle time between two requests. Longer than the minute after which proxies close their side:
/// a request would meet the close if both did so at the same moment.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(75);

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
/// How long the connection is kept (RFC 2068 §19.7.1.1).
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// A response to be sent.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
    /// Whether another request may follow it.
    pub(crate) keeps_alive: bool,
}

impl Response {
    pub(crate) fn new(status: StatusCode, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Self {
            status,
            headers,
            body: body.into(),
            keeps_alive: true,
        }
    }

    /// The response to a refused request.
    pub(crate) fn refusal(refused: &RequestRefusal) -> Self {
        let mut response = Self::new(refused.status, TEXT, format!("{}\n", refused.text));
        if let Some(cookie) = &refused.cookie {
            response.headers.insert(SET_COOKIE, cookie.clone());
        }
        match refused.allowed {
            "" => response,
            allowed => response.with(ALLOW, allowed),
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Makes it the last one on its connection.
    pub(crate) fn last(mut self) -> Self {
        self.keeps_alive = false;
        self
    }

    /// Its bytes, for this request or for one that could not be parsed.
    pub(crate) fn encode(&self, head: Option<&RequestHead>) -> Vec<u8> {
        let mut headers = self.headers.clone();
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, self.body.len().into());
        }
        match self.keeps_alive {
            true => {
                let timeout = format!("timeout={}", IDLE_TIME.as_secs());
                let timeout = HeaderValue::try_from(timeout).expect("it is text");
                headers.insert(KEEP_ALIVE, timeout);
            }
            false => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let mut bytes = encode_head(self.status, &headers);
        if head.is_none_or(|head| head.method != Method::HEAD) {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The response to a request that begins with these bytes, from a broker that is full.
pub(crate) fn busy(first: &[u8], why: &str) -> Vec<u8> {
    let text = format!("{why}; try again later\n");
    let response = Response::new(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
        .with(RETRY_AFTER, "1")
        .last();
    let mut bytes = response.encode(None);
    if first.starts_with(b"HEAD ") {
        bytes.truncate(bytes.len() - response.body.len());
    }
    bytes
}

/// The response to a request on a port where HTTP is not served.
pub(crate) fn not_here(text: &str) -> Vec<u8> {
    Response::new(StatusCode::BAD_REQUEST, TEXT, format!("{text}\n"))
        .last()
        .encode(None)
}

/// The status line, the headers with the date (RFC 9110 §6.6.1), and the empty line after them.
pub(crate) fn encode_head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    // It fails for years before 0 only.
    let date = date.unwrap_or_default();
    let line = format!("HTTP/1.1 {} {reason}\r\ndate: {date}\r\n", status.as_u16());
    let mut bytes = line.into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
