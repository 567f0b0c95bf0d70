//! The credential of a CONNECT: a user name and a password, or an authentication method.

use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::authentication::{Authentication, refusal_codes};
use super::fault::{Fault, Refusal, not_allowed};
use super::packet::Connect;
use crate::engine::client::Client;
use crate::wire::credential::{ShutOut, note_unchecked};

/// What the client shows by an authentication method.
pub(super) fn by_method(
    client: &Client<'_>,
    connect: &Connect,
) -> Result<Option<Authentication>, Refusal> {
    let refused = |why| (why, None);
    let shown = Authentication::of(&connect.properties).map_err(refused)?;
    if let Some(shown) = &shown {
        shown.check_method(client.takes_jwt()).map_err(refused)?;
        if connect.password.is_some() {
            let why = "a password and an authentication method are two credentials; show one";
            return Err((Fault::new(MqttError::BadUserNameOrPassword, why), None));
        }
    }
    Ok(shown)
}

/// Makes the client the user that it says [MQTT-3.1.4-2] of 5.0. In a broker without users it may say anything.
#[inline(never)]
pub(super) fn authenticate(
    client: &mut Client<'_>,
    connect: &Connect,
    shown: Option<&Authentication>,
) -> Result<(), Refusal> {
    let (user, password) = (connect.user_name.as_deref(), connect.password.as_ref());
    let secret = match shown {
        Some(shown) => shown.token.as_ref(),
        None => password.and_then(|password| password.as_ref().ok()),
    };
    if shown.is_some() || client.has_users() && (user.is_some() || password.is_some()) {
        let user = user.unwrap_or_default().as_bytes();
        let authenticated = client.authenticate(user, secret);
        authenticated.map_err(|why| {
            let (code, code_3) = refusal_codes(&why);
            (Fault::new(code, why.to_string()), Some(code_3))
        })?;
    } else if user.is_some() || password.is_some() {
        note_unchecked(client);
    }
    match ShutOut::of(client) {
        None => Ok(()),
        Some(ShutOut::NotShown) => Err(not_allowed(
            "this broker lets in only clients that say who they are; give a user name and a password",
        )),
        Some(ShutOut::NoRights(why)) => Err(not_allowed(why)),
    }
}
