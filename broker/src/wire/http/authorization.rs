//! The credential in the head of a request, and the challenge to show one.

use base64::engine::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use http::header::{
    AUTHORIZATION, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE,
};
use memchr::memchr;
use zeroize::Zeroizing;

use super::request::{RequestHead, RequestRefusal};
use super::response::Response;
use super::upgrade;
use crate::auth::identity::{AuthRefusal, Secret};
use crate::engine::client::NotAuthenticated;

/// The challenges to a client that has to say who it is (RFC 7617 §2.1, RFC 6750 §3).
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"dallal\", charset=\"UTF-8\"");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// What the browser does with the answer. Set by browsers; scripts cannot set it.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Set by scripts that want no dialog, as many libraries do.
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Begins a token among the subprotocols of a WebSocket, for which scripts can set no header.
const TOKEN: &str = "auth.";

/// Parameters in which other servers take a secret.
const SECRETS: [&str; 4] = ["token", "access_token", "auth", "password"];

/// What the head of a request shows.
pub(super) struct ShownCredential {
    /// Empty with a token alone.
    pub(super) user: Zeroizing<Vec<u8>>,
    /// None if it is empty or too long.
    pub(super) secret: Option<Secret>,
}

impl ShownCredential {
    pub(super) fn of(head: &RequestHead) -> Result<Option<Self>, RequestRefusal> {
        let mut headers = head.headers.get_all(AUTHORIZATION).into_iter();
        let mut tokens = tokens(head);
        match (headers.next(), tokens.next()) {
            (None, None) => Ok(None),
            (Some(header), None) if headers.next().is_none() => {
                Self::parse(header.as_bytes()).map(Some)
            }
            (None, Some(token)) if tokens.next().is_none() => {
                let token = URL_SAFE_NO_PAD.decode(token);
                let token = token.map_err(|_| {
                    let text =
                        "the subprotocol auth. is followed by a token in base64url without padding";
                    RequestRefusal::bad(text)
                })?;
                Ok(Some(Self::of_token(token)))
            }
            _ => Err(RequestRefusal::bad(
                "a request shows one credential: one header Authorization, or one subprotocol auth.",
            )),
        }
    }

    fn parse(header: &[u8]) -> Result<Self, RequestRefusal> {
        let end = memchr(b' ', header).unwrap_or(header.len());
        let (scheme, rest) = header.split_at(end);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"basic") {
            // RFC 7617 §2: the first colon ends the name.
            let pair = STANDARD.decode(rest).map(Zeroizing::new).ok();
            let split = pair.and_then(|pair| {
                let colon = memchr(b':', &pair)?;
                let secret = Secret::shown(pair[colon + 1..].to_vec()).ok();
                let user = Zeroizing::new(pair[..colon].to_vec());
                Some(Self { user, secret })
            });
            let text = "Authorization: Basic is followed by <user>:<password> in Base64";
            split.ok_or_else(|| RequestRefusal::bad(text))
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            let is_token = !rest.is_empty() && rest.iter().all(is_of_token);
            match is_token {
                true => Ok(Self::of_token(rest.to_vec())),
                false => Err(RequestRefusal::bad(
                    "Authorization: Bearer is followed by one token",
                )),
            }
        } else {
            Err(RequestRefusal::unauthorized(
                "the schemes of Authorization are Basic and Bearer",
            ))
        }
    }

    fn of_token(token: Vec<u8>) -> Self {
        Self {
            user: Zeroizing::default(),
            secret: Secret::shown(token).ok(),
        }
    }
}

/// Whether a token of Bearer may contain this byte (RFC 6750 §2.1).
fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)
}

/// The tokens among the subprotocols of a WebSocket, still encoded.
fn tokens(head: &RequestHead) -> impl Iterator<Item = &str> {
    let offered = upgrade::is_asked(head).then(|| head.words(SEC_WEBSOCKET_PROTOCOL));
    let offered = offered.into_iter().flatten();
    offered.filter_map(|word| word.strip_prefix(TOKEN))
}

/// Refuses a secret in the address: proxies write addresses into their logs.
pub(super) fn check_query(head: &RequestHead) -> Result<(), RequestRefusal> {
    match secret_in_query(head) {
        None => Ok(()),
        Some(name) => Err(RequestRefusal::bad(format!(
            "a secret does not belong in an address, which ends in logs: instead of ?{name}= send a header \
             Authorization, or for a WebSocket the subprotocols line, auth.<token in base64url>; and take a \
             new one, as this one has been shown"
        ))),
    }
}

fn secret_in_query(head: &RequestHead) -> Option<&'static str> {
    let mut names = SECRETS.into_iter();
    names.find(|secret| {
        head.query
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(secret))
    })
}

/// Whether a request shows anything, well-formed or not.
pub(super) fn shows_any(head: &RequestHead) -> bool {
    head.headers.contains_key(AUTHORIZATION)
        || tokens(head).next().is_some()
        || secret_in_query(head).is_some()
}

/// The refusal of a credential.
pub(super) fn refusal(why: NotAuthenticated) -> RequestRefusal {
    let text = why.to_string();
    match why {
        NotAuthenticated::Refused(AuthRefusal::TooMany | AuthRefusal::Stopping) => {
            RequestRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotAuthenticated::OverLimit(over) => RequestRefusal::over_limit(&over),
        NotAuthenticated::Refused(AuthRefusal::TooManyAttempts) => {
            RequestRefusal::new(StatusCode::TOO_MANY_REQUESTS, text)
        }
        NotAuthenticated::Refused(
            AuthRefusal::Wrong
            | AuthRefusal::WrongJwt(_)
            | AuthRefusal::Disabled
            | AuthRefusal::Expired,
        )
        | NotAuthenticated::NotChecked
        | NotAuthenticated::Other(_) => RequestRefusal::unauthorized(text),
    }
}

/// The challenges for a request that is refused with 401. A page gets none for which its browser would open a
/// dialog of its own.
pub(super) fn challenges(
    head: Option<&RequestHead>,
    response: &Response,
) -> impl Iterator<Item = HeaderValue> + use<> {
    // Browsers say what they ask for to hosts with TLS and this machine alone. To others they name an origin with
    // most requests of scripts; for the rest a script has to say itself what it is.
    let is_script = head.is_some_and(|head| {
        head.header(SEC_FETCH_DEST) == Some("empty")
            || head.headers.contains_key(ORIGIN)
            || head.headers.contains_key(X_REQUESTED_WITH)
    });
    // The page has a form for a login that has ended.
    let is_page = is_script || response.headers.contains_key(SET_COOKIE);
    let basic = (!is_page).then_some(BASIC);
    basic.into_iter().chain([BEARER])
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    fn head(headers: &str) -> RequestHead {
        let text = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        let head = parse(text.as_bytes()).expect("a request");
        head.expect("a whole one").0
    }

    /// What a request shows, as `user secret`, or the status of the refusal.
    #[track_caller]
    fn check(headers: &str, expected: Result<Option<(&str, &str)>, u16>) {
        let shown = ShownCredential::of(&head(headers));
        let shown = shown.as_ref().map(|shown| {
            shown.as_ref().map(|shown| {
                let secret = shown.secret.as_ref().map_or(&b""[..], Secret::expose);
                let text = |bytes| str::from_utf8(bytes).expect("text");
                (text(&shown.user), text(secret))
            })
        });
        let shown = shown.map_err(|refused| refused.status.as_u16());
        assert_eq!(shown, expected, "{headers}");
    }

    #[test]
    fn a_request_shows_one_credential_in_one_of_three_ways() {
        check("", Ok(None));
        for (header, user, secret) in [
            ("Basic YW5uOnJpZ2h0", "ann", "right"),
            ("bAsIc   YW5uOnJpZ2h0", "ann", "right"),
            // The first colon ends the name.
            ("Basic YW5uOmE6Yg==", "ann", "a:b"),
            ("Basic w6Rubjp3w7ZydA==", "änn", "wört"),
            ("Basic Og==", "", ""),
            ("Basic YW5uOg==", "ann", ""),
            ("Bearer dlt_k3f9_x", "", "dlt_k3f9_x"),
            ("bearer a.b-c~d+e/f==", "", "a.b-c~d+e/f=="),
        ] {
            check(
                &format!("Authorization: {header}"),
                Ok(Some((user, secret))),
            );
        }
        let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Protocol: line, auth.ZGx0X2szZjlfeA";
        check(upgrade, Ok(Some(("", "dlt_k3f9_x"))));
        // Without a WebSocket the header means nothing.
        check(
            "Sec-WebSocket-Protocol: line, auth.ZGx0X2szZjlfeA",
            Ok(None),
        );
    }

    #[test]
    fn what_could_be_two_credentials_or_is_none_is_refused() {
        for header in [
            "Basic",
            "Basic ",
            "Basic ann:right",
            "Basic YW5u",
            "Basic YW5uOg",
            "Basic YW5uOnJpZ2h0 x",
            "Bearer",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \u{e4}",
        ] {
            check(&format!("Authorization: {header}"), Err(400));
        }
        for header in [
            "Digest username=ann",
            "ann:right",
            "",
            "Basic\tYW5uOnJpZ2h0",
        ] {
            check(&format!("Authorization: {header}"), Err(401));
        }
        let basic = "Authorization: Basic YW5uOnJpZ2h0";
        check(&format!("{basic}\r\n{basic}"), Err(400));
        let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Protocol: line, auth.";
        for offered in ["", "YW5u=", "YW5u+", "YW5u, auth.YW5u"] {
            let status = if offered.is_empty() {
                Ok(Some(("", "")))
            } else {
                Err(400)
            };
            check(&format!("{upgrade}{offered}"), status);
        }
        check(&format!("{basic}\r\n{upgrade}YW5u"), Err(400));
    }

    #[test]
    fn no_text_form_of_a_request_shows_a_secret() {
        for header in [
            "Authorization: Bearer canary",
            "Cookie: dallal=canary",
            "Sec-WebSocket-Protocol: line, auth.canary",
        ] {
            let shown = format!("{:?}", head(header));
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_page_is_not_asked_in_a_way_that_opens_a_dialog() {
        let challenges = |headers: &str, response: &Response| -> Vec<String> {
            let challenges = challenges(Some(&head(headers)), response);
            let text = |value: HeaderValue| value.to_str().expect("text").to_owned();
            challenges.map(text).collect()
        };
        let refused = Response::refusal(&RequestRefusal::unauthorized("no"));
        let both = ["Basic realm=\"dallal\", charset=\"UTF-8\"", "Bearer"];
        for headers in ["", "Sec-Fetch-Dest: document", "Sec-Fetch-Dest: image"] {
            assert_eq!(challenges(headers, &refused), both, "{headers}");
        }
        for headers in [
            "Sec-Fetch-Dest: empty",
            "Origin: http://localhost",
            "X-Requested-With: fetch",
        ] {
            assert_eq!(challenges(headers, &refused), ["Bearer"], "{headers}");
        }
        let mut ended = refused;
        let cookie = HeaderValue::from_static("dallal=; Max-Age=0");
        ended.headers.insert(SET_COOKIE, cookie);
        assert_eq!(challenges("", &ended), ["Bearer"]);
    }
}
