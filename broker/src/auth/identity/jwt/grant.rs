//! What stays of a token that was right: when it ends, what it was checked by, and what it leaves of the rights.

use jiff::Timestamp;

use super::keys::KeyThumbprint;

/// What is known of the token by which a client has shown its identity. It counts as long as its key and what it
/// says of its issuer and its audience do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtGrant {
    pub(super) key: KeyThumbprint,
    pub(super) issuer: Option<Box<str>>,
    pub(super) audiences: Texts,
    pub(super) expires: Timestamp,
    pub(super) rights: Option<ClaimedRights>,
}

/// The claim `dallal`: filters by right. They narrow what rules allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRights(pub(super) Vec<(Box<str>, Texts)>);

/// A list of texts in a token.
pub(super) type Texts = Box<[Box<str>]>;

impl JwtGrant {
    /// When the token ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// What the token leaves of the rights of its client; none if it leaves all.
    #[must_use]
    pub fn rights(&self) -> Option<&ClaimedRights> {
        self.rights.as_ref()
    }
}

impl ClaimedRights {
    /// Each right with its filters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        let rights = self.0.iter();
        rights.map(|(right, filters)| (&**right, filters.iter().map(|it| &**it).collect()))
    }
}
