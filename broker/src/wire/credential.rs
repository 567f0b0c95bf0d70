//! What all wires say of the credentials of clients.

use crate::engine::client::Client;

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
