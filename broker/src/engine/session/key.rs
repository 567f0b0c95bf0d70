//! What a session is found by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::auth::identity::IdentityName;

/// The identity that a session belongs to from its beginning to its end, and the identifier with which a
/// client of that identity resumes it. Another identity with the same identifier has another session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionKey {
    pub(crate) owner: IdentityName,
    /// [MQTT-3.1.3-2]
    pub(crate) client_id: Box<str>,
}

impl SessionKey {
    /// Whether an operator means this session: by its client identifier, or by its owner, `/` and that.
    pub(crate) fn is_meant_by(&self, name: &str) -> bool {
        *name == *self.client_id || name == self.to_string()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.client_id)
    }
}
