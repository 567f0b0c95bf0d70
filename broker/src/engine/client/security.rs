//! What the security log is told of a client.

use std::sync::Arc;
use std::time::Instant;

use super::Client;
use super::identity::NotAuthenticated;
use crate::auth::access::Denial;
use crate::auth::address::AddressBlock;
use crate::auth::identity::{AuthRefusal, ClientIdentity, IdentityKind, Secret};
use crate::engine::event_client::{EventClient, clipped};
use crate::engine::peer::Peer;
use crate::engine::security_events::{EventKind, SecurityEvent};
use crate::engine::session::Session;
use crate::engine::session::clients::ClientRecord;
use crate::engine::session::key::SessionKey;

/// A client as events name it. Asks the outbox for its wire, so the caller must not have locked that.
pub(crate) fn event_client(record: &ClientRecord) -> EventClient {
    let wire = record.outbox().wire();
    EventClient {
        // Without the version, which MQTT may not know yet.
        wire: Some(wire.split_once(' ').map_or(wire, |(wire, _)| wire)),
        ..client_of_any_wire(record)
    }
}

/// The same without the wire, for callers that may have locked the outbox.
fn client_of_any_wire(record: &ClientRecord) -> EventClient {
    let identity = record.identity();
    EventClient {
        identity: Some(identity.name.to_string()),
        kind: identity.kind(),
        connection: record.id(),
        address: address(&record.peer()),
        wire: None,
    }
}

fn address(peer: &Peer) -> String {
    match peer {
        Peer::Network(address) => address.ip().to_canonical().to_string(),
        Peer::Unix(_) => clipped(&peer.to_string()),
    }
}

// These are out of line: inlined, their locals would lie on the stack of every idle connection.
impl Client<'_> {
    fn block(&self) -> AddressBlock {
        AddressBlock::of(self.record.peer().ip())
    }

    /// What came of a credential. `user` and `secret` are what the client has shown.
    #[inline(never)]
    pub(super) fn note_verified(
        &self,
        user: &[u8],
        secret: Option<&Secret>,
        verified: &Result<Arc<ClientIdentity>, NotAuthenticated>,
    ) {
        match verified {
            Ok(identity) => self.note_auth_ok(identity),
            Err(why) => self.note_auth_failed(user, secret, why),
        }
    }

    #[inline(never)]
    pub(super) fn note_auth_ok(&self, identity: &ClientIdentity) {
        if !self.engine.security.is_on() {
            return;
        }
        let client = EventClient {
            identity: Some(identity.name.to_string()),
            kind: identity.kind(),
            ..event_client(&self.record)
        };
        let wire = client.wire.unwrap_or_default();
        let kind = EventKind::Ok(identity.name.to_string(), wire, self.block());
        self.engine
            .security
            .note_repeated(kind, Instant::now(), || SecurityEvent::AuthOk { client });
    }

    #[inline(never)]
    pub(super) fn note_auth_failed(
        &self,
        user: &[u8],
        secret: Option<&Secret>,
        why: &NotAuthenticated,
    ) {
        if !self.engine.security.is_on() {
            return;
        }
        let verifier = self.engine.verifier.read().clone();
        let shown = secret.map_or("password", Secret::kind);
        // A name that is none of a user may be a secret in the wrong place, so it is not written.
        let user = str::from_utf8(user).unwrap_or_default();
        let name = verifier.and_then(|verifier| verifier.user_shown(user, secret));
        let reason = match why {
            NotAuthenticated::Refused(AuthRefusal::WrongJwt(why)) => why.to_string(),
            NotAuthenticated::Refused(AuthRefusal::Wrong) => match (secret, &name, shown) {
                (None, ..) => "there is no secret, or it is too long".to_owned(),
                (_, None, "password") => "there is no such user".to_owned(),
                _ => format!("the {shown} is wrong"),
            },
            why => why.to_string(),
        };
        self.note_failure(shown, name.map(|name| name.to_string()), &reason);
    }

    /// The client has to say who it is, and has not.
    #[inline(never)]
    pub(crate) fn note_not_shown(&self) {
        self.note_failure("none", None, "it has not said who it is");
    }

    /// The user in the certificate of the client is kept out.
    fn note_certificate_refused(&self, name: &str) {
        let reason = AuthRefusal::Disabled.to_string();
        self.note_failure("certificate", Some(clipped(name)), &reason);
    }

    /// The handshake of TLS has failed because of the certificate of the client.
    pub(crate) fn note_handshake_refused(&self, reason: &str) {
        self.note_failure("certificate", None, reason);
    }

    fn note_failure(&self, shown: &'static str, identity: Option<String>, reason: &str) {
        let kind = EventKind::Failed(shown, self.block());
        self.engine
            .security
            .note_repeated(kind, Instant::now(), || SecurityEvent::AuthFailed {
                client: EventClient {
                    identity,
                    kind: shown,
                    ..event_client(&self.record)
                },
                reason: clipped(reason),
            });
    }

    #[inline(never)]
    pub(super) fn note_denied(&self, right: &'static str, object: &str, denial: &Denial) {
        if !self.engine.security.is_on() {
            return;
        }
        let client = client_of_any_wire(&self.record);
        let rule = denial.rule().map(|rule| clipped(&rule.to_string()));
        let kind = EventKind::Denied(
            client.identity.clone().unwrap_or_default(),
            right,
            rule.clone().unwrap_or_default(),
        );
        self.engine
            .security
            .note_repeated(kind, Instant::now(), || SecurityEvent::Denied {
                client,
                right,
                object: clipped(object),
                rule,
            });
    }

    /// The client takes this session over from the connection that has it.
    #[inline(never)]
    pub(super) fn note_takeover(&self, key: &SessionKey, session: &Session) {
        if !self.engine.security.is_on() {
            return;
        }
        let client = event_client(&self.record);
        let kind = EventKind::TakenOver(client.identity.clone().unwrap_or_default(), self.block());
        self.engine
            .security
            .note_repeated(kind, Instant::now(), || {
                let from_connection = session.outbox().connection();
                let from = from_connection.and_then(|id| self.engine.clients.connection(id));
                SecurityEvent::SessionTakenOver {
                    client,
                    client_id: clipped(&key.client_id),
                    from_connection,
                    from_address: from.map(|from| address(&from.peer())),
                }
            });
    }

    /// What TLS says of the client, and what came of it.
    #[inline(never)]
    pub(super) fn note_certificate(&self, name: &str) {
        let identity = self.identity();
        match identity.kind {
            IdentityKind::Certificate => self.note_auth_ok(&identity),
            _ => self.note_certificate_refused(name),
        }
    }
}
