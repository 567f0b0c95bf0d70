//! The identity of a client: a user, a program behind a Unix socket, a room, or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::jwt::{ClaimedRights, JwtGrant};
use super::name::IdentityName;
use super::token::TokenId;

/// Which identity a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Its name.
    pub name: IdentityName,
    /// Its groups, at the time when it was asked.
    pub groups: BTreeSet<IdentityName>,
    /// How the client showed it.
    pub kind: IdentityKind,
}

/// How a client showed its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// Not at all.
    Anonymous,
    /// By its Unix socket: the system says of which user its program is.
    Peer,
    /// By the port of a room for raw text.
    Room,
    /// By a certificate, of which a trusted authority has signed the name.
    Certificate,
    /// By a password.
    Password,
    /// By a token.
    Token {
        /// The public part of the token.
        id: TokenId,
        /// When it ends, if it does.
        expires: Option<Timestamp>,
    },
    /// By a token of an authorization server.
    Jwt(Arc<JwtGrant>),
}

impl ClientIdentity {
    /// That of a client that has shown none.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::given(IdentityName::anonymous(), IdentityKind::Anonymous)
    }

    /// That of a program of this user behind a Unix socket; the operator is in the group `admin`.
    #[must_use]
    pub fn of_unix_peer(user: &str, number: u32, is_operator: bool) -> Self {
        let mut identity =
            Self::given(IdentityName::of_unix_user(user, number), IdentityKind::Peer);
        if is_operator {
            identity.groups.insert(IdentityName::admin());
        }
        identity
    }

    /// Whether it is the operator, behind a Unix socket.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.kind == IdentityKind::Peer && self.groups.contains(&IdentityName::admin())
    }

    /// That of the holder of a certificate.
    #[must_use]
    pub fn of_certificate(name: IdentityName) -> Self {
        Self::given(name, IdentityKind::Certificate)
    }

    /// That of the members of the room on this port.
    #[must_use]
    pub fn of_room(port: u16) -> Self {
        Self::given(IdentityName::of_room(port), IdentityKind::Room)
    }

    /// That of an owner of which only the name was stored. The groups are those that its user has when they count.
    #[must_use]
    pub fn restored(name: IdentityName) -> Self {
        let kind = match name.as_str() {
            "anonymous" => IdentityKind::Anonymous,
            given if given.starts_with("unix:") => IdentityKind::Peer,
            given if given.starts_with("room:") => IdentityKind::Room,
            _ => IdentityKind::Password,
        };
        Self::given(name, kind)
    }

    fn given(name: IdentityName, kind: IdentityKind) -> Self {
        Self {
            name,
            groups: BTreeSet::new(),
            kind,
        }
    }

    /// Whether the client has shown a credential for it. An identity that only its socket or its port gives is
    /// replaced by the first that it shows.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        match self.kind {
            IdentityKind::Anonymous | IdentityKind::Peer | IdentityKind::Room => false,
            IdentityKind::Certificate
            | IdentityKind::Password
            | IdentityKind::Token { .. }
            | IdentityKind::Jwt(_) => true,
        }
    }

    /// What its token leaves of its rights, if that is not all.
    #[must_use]
    pub fn claimed_rights(&self) -> Option<&ClaimedRights> {
        match &self.kind {
            IdentityKind::Jwt(grant) => grant.rights(),
            IdentityKind::Anonymous
            | IdentityKind::Peer
            | IdentityKind::Room
            | IdentityKind::Certificate
            | IdentityKind::Password
            | IdentityKind::Token { .. } => None,
        }
    }

    /// Whether it may do by any rules what another one may.
    #[must_use]
    pub fn has_rights_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.groups == other.groups
            && self.claimed_rights() == other.claimed_rights()
    }

    /// When it ends, if it does.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match &self.kind {
            IdentityKind::Token { expires, .. } => *expires,
            IdentityKind::Jwt(grant) => Some(grant.expires()),
            IdentityKind::Anonymous
            | IdentityKind::Peer
            | IdentityKind::Room
            | IdentityKind::Certificate
            | IdentityKind::Password => None,
        }
    }

    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            IdentityKind::Anonymous => "none",
            IdentityKind::Peer => "peer",
            IdentityKind::Room => "room",
            IdentityKind::Certificate => "certificate",
            IdentityKind::Password => "password",
            IdentityKind::Token { .. } => "token",
            IdentityKind::Jwt(_) => "jwt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_socket_or_a_port_gives_is_an_identity_that_no_user_can_have() {
        let peer = |user| ClientIdentity::of_unix_peer(user, 1000, false);
        let too_long = "x".repeat(60);
        for (identity, name, kind) in [
            (ClientIdentity::anonymous(), "anonymous", "none"),
            (peer("ann"), "unix:ann", "peer"),
            // No name of an identity has these letters.
            (peer("DOMAIN\\ann"), "unix:1000", "peer"),
            (peer("a/#"), "unix:1000", "peer"),
            (peer(&too_long), "unix:1000", "peer"),
            (ClientIdentity::of_room(12345), "room:12345", "room"),
        ] {
            assert_eq!((identity.name.as_str(), identity.kind()), (name, kind));
            assert!(name.parse::<IdentityName>().is_err(), "{name}");
            assert!(identity.groups.is_empty() && !identity.is_shown());
        }
        for identity in [
            ClientIdentity::anonymous(),
            peer("ann"),
            ClientIdentity::of_room(1),
        ] {
            assert_eq!(ClientIdentity::restored(identity.name.clone()), identity);
        }
        let ann = "ann".parse().expect("a name");
        assert!(ClientIdentity::restored(ann).is_shown());
        let root = ClientIdentity::of_unix_peer("root", 0, true);
        assert_eq!(
            root.groups,
            BTreeSet::from(["admin".parse().expect("a name")])
        );
    }

    #[test]
    fn only_the_operator_behind_a_unix_socket_gives_orders_without_a_rule() {
        let admin = IdentityName::admin();
        let password = ClientIdentity {
            groups: BTreeSet::from([admin]),
            ..ClientIdentity::restored("ann".parse().expect("a name"))
        };
        for (identity, is_operator) in [
            (ClientIdentity::of_unix_peer("ann", 1, true), true),
            (ClientIdentity::of_unix_peer("ann", 1, false), false),
            (password, false),
        ] {
            assert_eq!(identity.is_operator(), is_operator, "{identity:?}");
        }
    }

    #[test]
    fn another_name_or_other_groups_are_other_rights_and_another_credential_is_not() {
        let name = |text: &str| text.parse::<IdentityName>().expect("a name");
        let ann = ClientIdentity::restored(name("ann"));
        let other = ClientIdentity::restored(name("bob"));
        let grouped = ClientIdentity {
            groups: BTreeSet::from([name("g")]),
            ..ann.clone()
        };
        assert!(ann.has_rights_of(&ClientIdentity::of_certificate(name("ann"))));
        assert!(!ann.has_rights_of(&other) && !ann.has_rights_of(&grouped));
    }
}
