//! Who a client is: what it shows is checked while its thread waits.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::{Client, Denied, OverLimit};
use crate::auth::access::LimitKind;
use crate::auth::identity::{
    AuthRefusal, ClientIdentity, Credential, IdentityKind, IdentityName, Secret, StoredPassword,
};
use crate::engine::session::clients::ConnectionSecurity;
use crate::sync::Mutex;

/// Why a client has not become who it says. `Display` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotAuthenticated {
    Refused(AuthRefusal),
    /// This broker knows no users.
    NotChecked,
    /// The client is this one already, and its session and its subscriptions are.
    Other(IdentityName),
    /// That identity has as many connections as it may have.
    OverLimit(OverLimit),
}

impl Client<'_> {
    pub(crate) fn identity(&self) -> Arc<ClientIdentity> {
        self.record.identity()
    }

    /// Whether clients can say who they are.
    pub(crate) fn has_users(&self) -> bool {
        self.engine.verifier.read().is_some()
    }

    /// Whether it can say who it is with a JWT.
    pub(crate) fn takes_jwt(&self) -> bool {
        let verifier = self.engine.verifier.read();
        verifier
            .as_ref()
            .is_some_and(|verifier| verifier.takes_jwt())
    }

    /// Checks what the client shows; `secret` is none if it was empty or too long. Waits for a comparison and after wrong answers, so
    /// all messages of the batch must be delivered.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(crate) fn verify(
        &mut self,
        user: &[u8],
        secret: Option<&Secret>,
    ) -> Result<Arc<ClientIdentity>, NotAuthenticated> {
        let verified = self.compare(user, secret);
        self.note_verified(user, secret, &verified);
        verified
    }

    fn compare(
        &mut self,
        user: &[u8],
        secret: Option<&Secret>,
    ) -> Result<Arc<ClientIdentity>, NotAuthenticated> {
        let verifier = self.engine.verifier.read().clone();
        let verifier = verifier.ok_or(NotAuthenticated::NotChecked)?;
        let wrong = NotAuthenticated::Refused(AuthRefusal::Wrong);
        let secret = secret.ok_or_else(|| wrong.clone())?;
        let user = str::from_utf8(user).map_err(|_| wrong)?;
        // An audit waits for the end of all batches, and must not wait for this.
        self.settle();
        let address = self.record.peer().ip();
        let attempts = self.engine.access.address_attempts();
        let attempts = attempts.map(|limit| limit.most);
        let verified = verifier.verify_limited(Credential { user, secret }, address, attempts);
        self.begin();
        let metrics = &self.engine.metrics;
        match &verified {
            Ok(_) => metrics.auth_ok.add(1),
            Err(AuthRefusal::TooManyAttempts) => metrics.limited.add(LimitKind::Attempts),
            Err(why) => {
                metrics.auth_failed.add(1);
                self.note_refused_jwt(why);
            }
        }
        verified.map(Arc::new).map_err(NotAuthenticated::Refused)
    }

    /// Tells the operator why a JWT is refused, which its client is not told.
    fn note_refused_jwt(&self, refused: &AuthRefusal) {
        if let AuthRefusal::WrongJwt(why) = refused
            && let Some(before) = self.engine.jwt_log.say(Instant::now())
        {
            let peer = self.record.peer();
            log::info!(
                "connection {} from {peer}: a JWT is refused: {why}{before}",
                self.id()
            );
        }
    }

    /// Makes the client who it says, for the rest of its connection. Returns the subscriptions that have ended,
    /// because it has fewer rights now, and why.
    #[inline(never)]
    pub(crate) fn authenticate(
        &mut self,
        user: &[u8],
        secret: Option<&Secret>,
    ) -> Result<Vec<(Box<str>, Denied)>, NotAuthenticated> {
        let verified = self.compare(user, secret);
        let current = self.identity();
        let verified = verified.and_then(|identity| {
            let is_other = current.is_shown() && current.name != identity.name;
            match is_other {
                true => Err(NotAuthenticated::Other(current.name.clone())),
                false => Ok(identity),
            }
        });
        let verified = verified.inspect_err(|why| self.note_auth_failed(user, secret, why));
        let identity = verified?;
        let has_other_rights = !identity.has_rights_of(&current);
        let limits = self.engine.access.limits_of(&identity);
        let share = self.take_share(&identity, limits.as_deref());
        let share = share.map_err(NotAuthenticated::OverLimit);
        let share = share.inspect_err(|why| self.note_auth_failed(user, secret, why))?;
        self.note_auth_ok(&identity);
        self.record.set_identity(Some(identity));
        self.renew_rights();
        self.set_share(share);
        Ok(match has_other_rights {
            true => self.restrict_session(),
            false => Vec::new(),
        })
    }

    /// The hash of the password that shows this identity, if one does; another one after each change of it.
    pub(crate) fn stored_password(&self, identity: &ClientIdentity) -> Option<StoredPassword> {
        let verifier = self.engine.verifier.read().clone();
        let verifier = verifier.filter(|_| identity.kind == IdentityKind::Password);
        verifier.and_then(|verifier| verifier.stored_password(&identity.name))
    }

    /// What has become of an identity that was shown before; none if it counts no more.
    pub(crate) fn renewed(&self, identity: &ClientIdentity) -> Option<ClientIdentity> {
        self.engine.renewed(identity)
    }

    /// Makes the client this one, or with none the one that its socket gives, for the request that follows.
    pub(crate) fn assume(&mut self, identity: Option<Arc<ClientIdentity>>) {
        if identity.is_none() {
            self.depart();
        }
        if self.record.set_identity(identity) {
            self.renew_rights();
        }
    }

    /// Takes over what TLS says of the connection, with the identity of the client's certificate.
    #[inline(never)]
    pub(crate) fn take_security(&mut self, mut security: ConnectionSecurity) {
        let name = security.certificate.as_deref();
        let name = name.and_then(|name| name.parse().ok());
        let identity = name.map(|name| {
            let renewed = self.engine.renewed(&ClientIdentity::of_certificate(name));
            Arc::new(renewed.unwrap_or_else(ClientIdentity::anonymous))
        });
        security.identity = Mutex::new(identity);
        let name = security.certificate.clone();
        self.record.set_security(security);
        self.renew_rights();
        if let Some(name) = name {
            self.note_certificate(&name);
        }
    }

    /// Takes the identifier of a client of MQTT, which rules may be about, before it has a session.
    pub(crate) fn note_client_id(&mut self, client_id: &str) {
        self.client_id = Some(client_id.into());
        self.renew_rights();
    }
}

impl fmt::Display for NotAuthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => why.fmt(f),
            Self::NotChecked => f.write_str(
                "this broker knows no users; the operator adds one (broker user add ann --users FILE) \
                 and starts the broker with --users FILE",
            ),
            Self::Other(name) => write!(
                f,
                "this connection belongs to {name}; connect again to be another"
            ),
            Self::OverLimit(over) => over.fmt(f),
        }
    }
}
