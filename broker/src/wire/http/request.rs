//! The head of a request: the library parses it, this file checks it.
//!
//! Bytes that two readers might understand differently are refused, because that is how requests are
//! smuggled past a proxy.

use std::fmt;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING,
};
use http::uri::{Authority, Uri};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::engine::client::{Denied, OverLimit};

/// Maximum bytes of a head.
pub(crate) const HEAD_BYTES: usize = 16 * 1024;

/// Maximum headers.
const HEADERS: usize = 64;

/// The headers that may have a secret.
const SECRETS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL];

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// Undecoded, with percent signs.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// The host that the client addresses.
    pub(crate) host: Option<Authority>,
    pub(crate) framing: Framing,
    /// Whether the client supports chunked bodies.
    pub(crate) is_current: bool,
    /// Whether another request may follow.
    pub(crate) keeps_alive: bool,
}

/// The length of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// Why a request is refused, as an answer to its client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestRefusal {
    pub(crate) status: StatusCode,
    /// Tells the client what to do.
    pub(crate) text: String,
    /// The methods that the resource has, if the request has another.
    pub(crate) allowed: &'static str,
    /// The value of `Set-Cookie`, if the browser is to change its cookie.
    pub(crate) cookie: Option<HeaderValue>,
}

impl RequestRefusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            allowed: "",
            cookie: None,
        }
    }

    /// The client may not do this, or has to say who it is first.
    pub(super) fn denied(denied: &Denied) -> Self {
        let status = match denied.needs_auth {
            true => StatusCode::UNAUTHORIZED,
            false => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied.to_string())
    }

    /// The identity of the client has as much as it may have.
    pub(super) fn over_limit(over: &OverLimit) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, over.to_string())
    }

    /// The client has to say who it is, or what it said is wrong.
    pub(crate) fn unauthorized(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text)
    }

    /// The method is not one of these.
    pub(crate) fn not_allowed(allowed: &'static str) -> Self {
        let text = format!("this can be asked for with {allowed}");
        Self {
            allowed,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
        }
    }

    /// The message is longer than `most`, the maximum bytes of its line.
    pub(crate) fn too_long(most: usize) -> Self {
        let text = format!(
            "a message with its topic has at most {most} bytes, where line ends and backslashes \
             count twice; send less, or raise --max-line"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// The request is not as it has to be.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

/// Parses the head at the beginning of `bytes`, and returns it with its length; `None` if more bytes
/// are needed.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, RequestRefusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(too_large(format!(
                "the head of a request has at most {HEAD_BYTES} bytes"
            )));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Err(too_large(format!(
                "a request has at most {HEADERS} headers"
            )));
        }
        Err(httparse::Error::Version) => return parse_other_version(bytes),
        Err(err) => return Err(RequestRefusal::bad(format!("this is not a request: {err}"))),
    };
    Ok(Some((RequestHead::new(&request)?, len)))
}

/// Parses a head whose third field is not HTTP/1.1 or HTTP/1.0. A later version of HTTP/1 is read as 1.1
/// (RFC 9110 §2.5).
fn parse_other_version(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, RequestRefusal> {
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let line = bytes[start..].split(|&byte| byte == b'\n').next();
    let line = line.unwrap_or_default().trim_ascii_end();
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').take(4).collect();
    match *fields {
        [
            _,
            _,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'],
        ] => {
            let mut as_current = bytes.to_vec();
            as_current[start + line.len() - 1] = b'1';
            parse(&as_current)
        }
        [
            _,
            _,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'],
        ] => Err(RequestRefusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "this broker speaks HTTP/1.1 and HTTP/1.0",
        )),
        [_, _, _, _] => Err(RequestRefusal::bad(
            "a request is a method, a target and a version; a space in the target is written %20",
        )),
        _ => Err(RequestRefusal::bad(
            "a request ends its first line with HTTP/1.1",
        )),
    }
}

fn too_large(text: String) -> RequestRefusal {
    RequestRefusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
}

impl RequestHead {
    fn new(request: &httparse::Request<'_, '_>) -> Result<Self, RequestRefusal> {
        let method = request.method.unwrap_or_default();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| RequestRefusal::bad("this is not a method of HTTP"))?;
        let target = request.path.unwrap_or_default();
        let uri: Uri = target
            .parse()
            .map_err(|err| RequestRefusal::bad(format!("the target of the request: {err}")))?;
        if uri
            .scheme_str()
            .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
        {
            return Err(RequestRefusal::bad(
                "the target of the request is a path, or begins with http:// or https://",
            ));
        }
        check_percents(target)?;
        // Its target is a host alone (RFC 9112 §3.2.3).
        let is_connect = method.as_str().eq_ignore_ascii_case("CONNECT");
        if uri.path().is_empty() && !is_connect {
            return Err(RequestRefusal::bad(
                "the target of the request is a path, such as /healthz",
            ));
        }
        let mut headers = HeaderMap::new();
        for header in &*request.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_bytes(header.value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(RequestRefusal::bad(format!(
                    "the header {} is no header",
                    header.name
                )));
            };
            // So that no text form shows it.
            value.set_sensitive(SECRETS.contains(&name));
            headers.append(name, value);
        }
        let is_current = request.version == Some(1);
        let query = uri.query().unwrap_or_default();
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(RequestRefusal::bad("the query is not UTF-8"));
        }
        Ok(Self {
            method,
            path: uri.path().to_owned(),
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            host: host(&uri, &headers, is_current)?,
            framing: framing(&headers, is_current)?,
            keeps_alive: is_current && !has_word(&headers, CONNECTION, "close"),
            headers,
            is_current,
        })
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a header contains this token, in any case.
    pub(crate) fn has_word(&self, name: HeaderName, word: &str) -> bool {
        has_word(&self.headers, name, word)
    }

    /// The items of a header that is a list.
    pub(crate) fn words(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        words(&self.headers, name)
    }

    pub(crate) fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) fn awaits_word(&self) -> bool {
        self.is_current && self.has_body() && self.has_word(EXPECT, "100-continue")
    }
}

/// Decodes a part of a path.
pub(crate) fn decoded(part: &str) -> Result<String, RequestRefusal> {
    let decoded = percent_decode_str(part).decode_utf8();
    let decoded = decoded.map_err(|_| RequestRefusal::bad("the path is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// A `%` that is no escape would be passed on as it is by one reader, and as something else by another.
fn check_percents(target: &str) -> Result<(), RequestRefusal> {
    let mut parts = target.split('%');
    parts.next();
    for part in parts {
        if !matches!(part.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
        {
            return Err(RequestRefusal::bad(
                "a % in the target of the request is followed by two hexadecimal digits; % itself is %25",
            ));
        }
    }
    Ok(())
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|each| each.eq_ignore_ascii_case(word))
}

/// The items of a list; empty ones are passed over (RFC 9110 §5.6.1.2).
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    // An item that is not text is still an item, and none that is known.
    let words = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    words.map(str::trim).filter(|word| !word.is_empty())
}

fn host(
    uri: &Uri,
    headers: &HeaderMap,
    is_current: bool,
) -> Result<Option<Authority>, RequestRefusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() || (first.is_none() && is_current) {
        return Err(RequestRefusal::bad(
            "a request of HTTP/1.1 has one header Host",
        ));
    }
    let host = match (uri.authority(), first) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(value)) => Some(
            Authority::try_from(value.as_bytes())
                .map_err(|_| RequestRefusal::bad("the header Host is no name of a host"))?,
        ),
        (None, None) => None,
    };
    let names = first.map(HeaderValue::as_bytes).into_iter();
    let mut names = names.chain(host.as_ref().map(|host| host.as_str().as_bytes()));
    // RFC 9110 §4.2.4, §7.2.
    if names.any(|name| name.contains(&b'@')) {
        return Err(RequestRefusal::bad(
            "a host is named without a user: no @ in Host and in the target",
        ));
    }
    Ok(host)
}

fn framing(headers: &HeaderMap, is_current: bool) -> Result<Framing, RequestRefusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(RequestRefusal::bad(
            "a request has one header Content-Length",
        ));
    }
    match (headers.contains_key(TRANSFER_ENCODING), length) {
        (false, None) => Ok(Framing::Length(0)),
        (false, Some(length)) => length
            .to_str()
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Framing::Length)
            .ok_or_else(|| RequestRefusal::bad("Content-Length is a number of bytes")),
        (true, Some(_)) => Err(RequestRefusal::bad(
            "Content-Length and Transfer-Encoding contradict each other; send one of them",
        )),
        (true, None) => {
            let mut codings = words(headers, TRANSFER_ENCODING);
            let first = codings.next().unwrap_or_default();
            if first.eq_ignore_ascii_case("chunked") && codings.next().is_none() && is_current {
                Ok(Framing::Chunked)
            } else {
                Err(RequestRefusal::new(
                    StatusCode::NOT_IMPLEMENTED,
                    "the only transfer encoding of this broker is chunked, in HTTP/1.1",
                ))
            }
        }
    }
}

impl fmt::Display for RequestRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn head(text: &str) -> RequestHead {
        let (head, len) = parse(text.as_bytes())
            .expect("it is a request")
            .expect("it is whole");
        assert_eq!(len, text.len());
        head
    }

    #[track_caller]
    fn check_refused(text: &str, status: u16) {
        let refused = parse(text.as_bytes()).expect_err("it is to be refused");
        assert_eq!(refused.status.as_u16(), status, "{text:?}: {refused}");
        assert!(!refused.text.is_empty());
    }

    #[test]
    fn a_request_has_a_path_a_query_and_headers() {
        let head = head(
            "POST /topics/a%2Fb/%C3%A9?retain&@id=a+b HTTP/1.1\r\nHost: h:1\r\n\
             Content-Length: 5\r\nConnection: Upgrade, close\r\n\r\n",
        );
        assert_eq!(head.method, Method::POST);
        assert_eq!(decoded(&head.path).as_deref(), Ok("/topics/a/b/é"));
        let query = head.query.iter().map(|(name, value)| (&**name, &**value));
        assert!(query.eq([("retain", ""), ("@id", "a b")]));
        assert_eq!(head.framing, Framing::Length(5));
        assert_eq!(
            head.host.map(|host| host.to_string()),
            Some("h:1".to_owned())
        );
        assert!(!head.keeps_alive);
    }

    #[test]
    fn any_beginning_of_a_request_asks_for_more() {
        let text = "GET /healthz HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
        for end in 0..text.len() {
            let part = parse(&text.as_bytes()[..end]).expect("it is a beginning");
            assert!(part.is_none(), "{:?}", &text[..end]);
        }
        assert!(head(text).keeps_alive);
    }

    #[test]
    fn an_old_client_needs_no_host_and_is_answered_once() {
        let head = head("GET / HTTP/1.0\r\n\r\n");
        assert!(!head.keeps_alive && !head.is_current && head.host.is_none());
    }

    #[test]
    fn a_later_version_of_http_1_is_read_as_1_1() {
        for version in ["1.2", "1.9"] {
            let text = format!("\r\nGET /healthz HTTP/{version}\r\nHost: h\r\n\r\n");
            for end in 0..text.len() {
                let part = parse(&text.as_bytes()[..end]).expect("it is a beginning");
                assert!(part.is_none(), "{:?}", &text[..end]);
            }
            let head = head(&text);
            assert!(head.is_current && head.keeps_alive, "{version}");
        }
    }

    #[test]
    fn empty_items_of_a_list_are_passed_over() {
        for coding in [
            "chunked",
            ", chunked",
            "Chunked ,, ",
            "chunked\r\nTransfer-Encoding: ",
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
            assert_eq!(head(&text).framing, Framing::Chunked, "{coding}");
        }
        let head = head("GET / HTTP/1.1\r\nHost: a\r\nConnection: , close,\r\n\r\n");
        assert!(!head.keeps_alive);
        assert!(head.words(CONNECTION).eq(["close"]));
    }

    #[test]
    fn an_absolute_target_is_of_http() {
        for target in ["http://h:1/a", "HTTPS://h:1/a"] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n");
            let head = head(&text);
            assert_eq!(
                head.host.map(|host| host.to_string()).as_deref(),
                Some("h:1")
            );
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                501,
            ),
            (
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                501,
            ),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a b HTTP/2.0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTX/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a% HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /?a=%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /?a=%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: user:word@a:1\r\n\r\n", 400),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET ws://a/ws HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,\r\n\r\n",
                501,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{e9}, chunked\r\n\r\n",
                501,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                501,
            ),
            ("GET news HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET h:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("@a=b /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ] {
            check_refused(text, status);
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_BYTES));
        check_refused(&long, 431);
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(HEADERS)
        );
        check_refused(&many, 431);
    }
}
