//! `/login` and `/logout`: a browser shows a password or a token once, and then a cookie.

use std::mem;
use std::time::Instant;

use http::StatusCode;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authorization::{check_query, refusal};
use super::body::{BodyError, RequestBody};
use super::logins::{LoginKey, no_cookie};
use super::request::{Framing, RequestHead, RequestRefusal};
use super::response::{JSON, Response, TEXT};
use super::site::SiteSettings;
use super::{HttpConversation, Next};
use crate::auth::identity::Secret;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::Source;
use crate::wire::credential::note_unchecked;

/// Maximum bytes of the body with name and secret.
const LOGIN_BYTES: usize = 4 * 1024;

/// What a browser sends to log in.
#[derive(Deserialize)]
struct SaidLogin {
    /// Empty with a token alone.
    #[serde(default)]
    user: String,
    secret: String,
}

/// The answer to the question who one is.
#[derive(Serialize)]
struct LoginState<'a> {
    name: &'a str,
    kind: &'static str,
    needs_login: bool,
}

impl HttpConversation<'_, '_> {
    /// Logs a browser in. Another login of this browser ends.
    #[inline(never)]
    pub(super) fn log_in(
        &mut self,
        head: &RequestHead,
        settings: &SiteSettings,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Next {
        let said = check_page(head, settings)
            .and_then(|()| check_query(head))
            .map_err(BodyError::Refused)
            .and_then(|()| self.read_login(head, source, buffer));
        let said = match said {
            Ok(said) => said,
            Err(BodyError::Refused(refused)) => return self.refuse(Some(head), &refused),
            Err(BodyError::End(end)) => return Next::Break(end),
        };
        let response = self.begin_login(head, said).unwrap_or_else(|refused| {
            self.note_refusal(&refused);
            Response::refusal(&refused)
        });
        self.conclude(head, response)
    }

    /// Ends the login of a browser.
    #[inline(never)]
    pub(super) fn log_out(&mut self, head: &RequestHead, settings: &SiteSettings) -> Next {
        if let Err(refused) = check_page(head, settings) {
            return self.refuse(Some(head), &refused);
        }
        self.end_login(head);
        let mut response = Response::new(StatusCode::NO_CONTENT, TEXT, "");
        response.headers.insert(SET_COOKIE, no_cookie(self.client));
        self.answer(head, response)
    }

    /// Says who the client is.
    pub(super) fn who(&self) -> Response {
        let identity = self.client.identity();
        let who = LoginState {
            name: identity.name.as_str(),
            kind: identity.kind(),
            needs_login: self.client.is_shut_out(),
        };
        let mut text = serde_json::to_string(&who).expect("text serialises");
        text.push('\n');
        Response::new(StatusCode::OK, JSON, text)
    }

    fn begin_login(
        &mut self,
        head: &RequestHead,
        said: SaidLogin,
    ) -> Result<Response, RequestRefusal> {
        let secret = Secret::shown(said.secret.into_bytes()).ok();
        if !self.client.has_users() {
            note_unchecked(self.client);
            return Ok(self.who());
        }
        let verified = self.client.verify(said.user.as_bytes(), secret.as_ref());
        self.client.settle();
        let identity = verified.map_err(refusal)?;
        let password = self.client.stored_password(&identity);
        let key = self.site.logins.begin(&identity, password, Instant::now());
        let key = key.map_err(|why| {
            let text = format!("the system gives no random bytes: {why}; try again later");
            RequestRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        // Another identity has another key, so that what knew the old one is not let in by it.
        self.end_login(head);
        self.client.assume(Some(identity));
        let mut response = self.who();
        response.headers.insert(SET_COOKIE, key.cookie(self.client));
        Ok(response)
    }

    fn end_login(&self, head: &RequestHead) {
        if let Ok(Some(key)) = LoginKey::of(self.client, head) {
            self.site.logins.end(&key);
        }
    }

    fn read_login(
        &mut self,
        head: &RequestHead,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Result<SaidLogin, BodyError> {
        let form = LoginForm::of(head).map_err(BodyError::Refused)?;
        if matches!(head.framing, Framing::Length(length) if length > LOGIN_BYTES as u64) {
            return Err(BodyError::Refused(too_long()));
        }
        if head.awaits_word() && buffer.unread().is_empty() {
            self.client.answer(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut body = RequestBody::new(head.framing, LOGIN_BYTES, self.site);
        // All of it at once: what a vector leaves behind as it grows is not overwritten.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LOGIN_BYTES));
        while let Some(piece) = body.next(source, buffer).map_err(of_login)? {
            self.client.note_heard(mem::take(&mut body.read));
            bytes.extend_from_slice(&buffer.bytes()[piece]);
        }
        form.parse(&bytes).map_err(BodyError::Refused)
    }
}

/// How name and secret are written.
enum LoginForm {
    Json,
    Fields,
}

impl LoginForm {
    fn of(head: &RequestHead) -> Result<Self, RequestRefusal> {
        let kind = head.header(CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match &*kind.to_ascii_lowercase() {
            JSON => Ok(Self::Json),
            "application/x-www-form-urlencoded" => Ok(Self::Fields),
            _ => Err(RequestRefusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a login is application/json or application/x-www-form-urlencoded",
            )),
        }
    }

    /// A refusal quotes nothing, because all of it may be the secret.
    fn parse(&self, body: &[u8]) -> Result<SaidLogin, RequestRefusal> {
        match self {
            Self::Json => serde_json::from_slice(body).map_err(|_| {
                RequestRefusal::bad(r#"a login is {"user":"...","secret":"..."}, each once"#)
            }),
            Self::Fields => {
                let bad = || RequestRefusal::bad("a login is user=...&secret=..., each once");
                let (mut user, mut secret) = (None, None);
                for (name, value) in form_urlencoded::parse(body) {
                    let field = match &*name {
                        "user" => &mut user,
                        "secret" => &mut secret,
                        _ => continue,
                    };
                    if field.replace(value.into_owned()).is_some() {
                        return Err(bad());
                    }
                }
                Ok(SaidLogin {
                    user: user.unwrap_or_default(),
                    secret: secret.ok_or_else(bad)?,
                })
            }
        }
    }
}

/// A page could log a browser in as another user without a word to the one in front of it.
fn check_page(head: &RequestHead, settings: &SiteSettings) -> Result<(), RequestRefusal> {
    match settings.acts_for_user(head) {
        true => Ok(()),
        false => Err(RequestRefusal::new(
            StatusCode::FORBIDDEN,
            "only a page of the broker, or of a site that --allow-origin names, may log a browser in or out",
        )),
    }
}

fn too_long() -> RequestRefusal {
    let text = format!("a login has at most {LOGIN_BYTES} bytes");
    RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// Says of a body that is too long what holds here, and not for messages.
fn of_login(err: BodyError) -> BodyError {
    match err {
        BodyError::Refused(refused) if refused.status == StatusCode::PAYLOAD_TOO_LARGE => {
            BodyError::Refused(too_long())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: &LoginForm, body: &str, expected: Option<(&str, &str)>) {
        let said = form.parse(body.as_bytes());
        let said = said.as_ref().map(|said| (&*said.user, &*said.secret));
        match said {
            Ok(said) => assert_eq!(Some(said), expected, "{body}"),
            Err(refused) => {
                assert_eq!((refused.status.as_u16(), expected), (400, None), "{body}");
                assert!(!refused.text.contains("canary"), "{refused}");
            }
        }
    }

    #[test]
    fn a_login_has_a_user_and_a_secret_each_once() {
        for (body, expected) in [
            (r#"{"user":"ann","secret":"right"}"#, Some(("ann", "right"))),
            (
                r#"{"secret":"\u00e4 \"","more":[1]}"#,
                Some(("", "\u{e4} \"")),
            ),
            (r#"{"user":"ann"}"#, None),
            (r#"{"user":"ann","secret":["canary"]}"#, None),
            (r#"{"user":7,"secret":"canary"}"#, None),
            (r#"{"secret":"canary","secret":"canary"}"#, None),
            (r#"{"secret":"canary"} canary"#, None),
            ("canary", None),
            ("", None),
        ] {
            check(&LoginForm::Json, body, expected);
        }
        for (body, expected) in [
            ("user=ann&secret=a+b%26c%3D", Some(("ann", "a b&c="))),
            ("secret=x&more=y", Some(("", "x"))),
            ("user=ann", None),
            ("secret=canary&secret=canary", None),
            ("user=a&user=b&secret=canary", None),
            ("canary", None),
            ("", None),
        ] {
            check(&LoginForm::Fields, body, expected);
        }
    }
}
