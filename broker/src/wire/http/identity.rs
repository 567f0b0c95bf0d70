//! The identity of a request: of its credential, else of its login, else of its socket. Each request of a
//! connection has its own, because a proxy sends those of several clients.

use std::time::Instant;

use http::StatusCode;

use super::HttpConversation;
use super::authorization::{ShownCredential, check_query, refusal, shows_any};
use super::logins::{LoginKey, login_ended};
use super::request::{RequestHead, RequestRefusal};
use super::site::SiteSettings;
use crate::wire::credential::{ShutOut, note_unchecked};

impl HttpConversation<'_, '_> {
    /// Makes the client, until the next request, the user that this one is of. A credential or a login that
    /// fails is a refusal, and never passed over for a weaker one.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn identify(
        &mut self,
        head: &RequestHead,
        settings: &SiteSettings,
    ) -> Result<(), RequestRefusal> {
        if !self.client.has_users() {
            if shows_any(head) {
                note_unchecked(self.client);
            }
            return Ok(());
        }
        check_query(head)?;
        if let Some(shown) = ShownCredential::of(head)? {
            let verified = self.client.verify(&shown.user, shown.secret.as_ref());
            self.client.settle();
            self.client.assume(Some(verified.map_err(refusal)?));
        } else if settings.acts_for_user(head)
            && let Some(key) = LoginKey::of(self.client, head)?
        {
            let login = self.site.logins.used(&key, Instant::now());
            let renewed = login.and_then(|login| {
                let password = self.client.stored_password(&login.identity);
                let renewed = self.client.renewed(&login.identity);
                renewed.filter(|_| password == login.password)
            });
            let renewed = renewed.ok_or_else(|| {
                self.site.logins.end(&key);
                login_ended(self.client)
            })?;
            self.client.assume(Some(renewed.into()));
        }
        Ok(())
    }

    /// Counts the request as a connection of its client, for as long as it lasts.
    pub(super) fn enter(&mut self) -> Result<(), RequestRefusal> {
        let entered = self.client.count_connection();
        entered.map_err(|over| RequestRefusal::over_limit(&over))?;
        self.line_bytes = self.client.line_bytes();
        Ok(())
    }

    /// Refuses a client that may do nothing.
    pub(super) fn check_identified(&self) -> Result<(), RequestRefusal> {
        match ShutOut::of(self.client) {
            None => Ok(()),
            Some(ShutOut::NotShown) => Err(RequestRefusal::unauthorized(
                "this broker serves only clients that say who they are; send a header Authorization with a \
                 user and a password (Basic) or a token (Bearer), or log in at /login",
            )),
            Some(ShutOut::NoRights(why)) => Err(RequestRefusal::new(StatusCode::FORBIDDEN, why)),
        }
    }
}
