//! How long a session outlasts its connection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a session outlasts its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expiry {
    /// Not at all: it ends with its connection.
    #[default]
    AtOnce,
    After(Duration),
    Never,
}
