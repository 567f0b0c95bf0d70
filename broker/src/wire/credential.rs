//! What all wires say of the credentials of clients.

use crate::engine::client::Client;

/// Why a client may do nothing at all.
pub(crate) enum ShutOut {
    /// It has not said who it is.
    NotShown,
    /// No rule allows its identity something; with a text for it.
    NoRights(String),
}

impl ShutOut {
    pub(crate) fn of(client: &Client<'_>) -> Option<Self> {
        if !client.is_shut_out() {
            return None;
        }
        let identity = client.identity();
        Some(match identity.is_shown() {
            false => {
                client.note_not_shown();
                Self::NotShown
            }
            true => Self::NoRights(format!(
                "no rule of this broker allows {} anything; ask the operator",
                identity.name
            )),
        })
    }
}

/// Says once that a broker without users does not check what clients show.
pub(crate) fn note_unchecked(client: &Client<'_>) {
    if client.is_first_with_password() {
        log::warn!(
            "connection {} comes with a user name or a password, which this broker checks only if it knows \
             users: broker user add ann --users FILE, and start it with --users FILE",
            client.id()
        );
    }
}
