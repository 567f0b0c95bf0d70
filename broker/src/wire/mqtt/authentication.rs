//! Enhanced authentication of MQTT 5 (§4.12): the one method is `JWT`, of which the client's first packet says all.

use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::{Properties, PropertyId};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, ConnectReturnCode, MqttError};

use super::fault::Fault;
use crate::auth::identity::{AuthRefusal, Secret};
use crate::engine::client::{Client, NotAuthenticated};

/// The name of the method.
pub(super) const METHOD: &str = "JWT";

/// The answer to a client that has renewed its token: AUTH with success and the method of its CONNECT
/// [MQTT-4.12.0-5], the only AUTH that this broker sends [MQTT-3.15.2-1].
pub(super) const RENEWED: [u8; 10] = [0xf0, 8, 0, 6, 0x15, 0, 3, b'J', b'W', b'T'];

/// What a packet says of authentication.
#[derive(Debug)]
pub(super) struct Authentication {
    method: String,
    /// The token; none if the data is no token.
    pub(super) token: Option<Secret>,
}

impl Authentication {
    /// What is in these properties; none if they name no method.
    pub(super) fn of(properties: &Properties) -> Result<Option<Self>, Fault> {
        let find = |id| properties.iter().find(|property| property.id() == id);
        let method = find(PropertyId::AuthenticationMethod).and_then(PropertyValueAccess::as_str);
        let data = find(PropertyId::AuthenticationData).and_then(PropertyValueAccess::as_bytes);
        match (method, data) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Fault::protocol(
                "authentication data needs an authentication method",
            )),
            (Some(method), data) => {
                let token = Secret::shown(data.unwrap_or_default().to_vec());
                Ok(Some(Self {
                    method: method.to_owned(),
                    token: token.ok().filter(Secret::is_jwt),
                }))
            }
        }
    }

    /// Checks the method of a CONNECT. One that the broker does not have is refused [MQTT-4.12.0-1].
    pub(super) fn check_method(&self, takes_jwt: bool) -> Result<(), Fault> {
        let why = match (takes_jwt, &*self.method) {
            (true, METHOD) => return Ok(()),
            (true, _) => "the authentication method of this broker is JWT; take that, or none",
            (false, _) => "this broker has no authentication methods; connect without one",
        };
        Err(Fault::new(MqttError::BadAuthenticationMethod, why))
    }
}

/// Renews the token of a client that named the method in its CONNECT. After a fault the connection is closed
/// [MQTT-4.12.1-2].
#[inline(never)]
pub(super) fn renew(
    client: &mut Client<'_>,
    reason: AuthReasonCode,
    shown: Option<&Authentication>,
) -> Result<(), Fault> {
    let shown = shown.filter(|it| reason == AuthReasonCode::ReAuthenticate && it.method == METHOD);
    let shown = shown.ok_or_else(|| {
        // The client sends no other [MQTT-4.12.1-1].
        Fault::protocol(
            "an AUTH of a client renews its token (0x19), with the method of its CONNECT",
        )
    })?;
    let renewed = client.authenticate(b"", shown.token.as_ref());
    let ended = renewed.map_err(|why| {
        let code = match refusal_codes(&why).0 {
            // DISCONNECT has no code for a wrong credential.
            MqttError::BadUserNameOrPassword => MqttError::NotAuthorized,
            code => code,
        };
        Fault::new(code, why.to_string())
    })?;
    // As after other rules: the client comes back and sees by its SUBACK what it may.
    ended.first().map_or(Ok(()), |(_, denied)| {
        Err(Fault::new(
            MqttError::AdministrativeAction,
            denied.to_string(),
        ))
    })
}

/// The codes of CONNACK, of 5.0 and of 3.1.1, for a credential that is refused.
pub(super) fn refusal_codes(why: &NotAuthenticated) -> (MqttError, ConnectReturnCode) {
    match why {
        NotAuthenticated::Refused(AuthRefusal::TooMany | AuthRefusal::Stopping) => {
            (MqttError::ServerBusy, ConnectReturnCode::ServerUnavailable)
        }
        NotAuthenticated::Refused(
            AuthRefusal::Wrong
            | AuthRefusal::WrongJwt(_)
            | AuthRefusal::Disabled
            | AuthRefusal::Expired,
        )
        | NotAuthenticated::NotChecked => (
            MqttError::BadUserNameOrPassword,
            ConnectReturnCode::BadUserNameOrPassword,
        ),
        NotAuthenticated::Other(_) => (MqttError::NotAuthorized, ConnectReturnCode::NotAuthorized),
        NotAuthenticated::OverLimit(_)
        | NotAuthenticated::Refused(AuthRefusal::TooManyAttempts) => (
            MqttError::QuotaExceeded,
            ConnectReturnCode::ServerUnavailable,
        ),
    }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::packet::{AuthenticationData, AuthenticationMethod, Property};

    use super::*;

    fn method(name: &str) -> Property {
        AuthenticationMethod::new(name).expect("a text").into()
    }

    fn data(bytes: &[u8]) -> Property {
        AuthenticationData::new(bytes.to_vec())
            .expect("it is short")
            .into()
    }

    #[test]
    fn the_data_of_the_method_is_a_token_and_nothing_else() {
        for (bytes, is_token) in [
            (&b"eyJhIjox.b.c"[..], true),
            (b"right", false),
            (b"dlt_k3f9_x", false),
            (b"", false),
        ] {
            let shown = Authentication::of(&vec![method("JWT"), data(bytes)]);
            let shown = shown.expect("it is valid").expect("it has a method");
            assert_eq!(shown.token.is_some(), is_token);
            assert_eq!(shown.check_method(true), Ok(()));
            let refused = shown.check_method(false).expect_err("no keys");
            assert_eq!(refused.byte(), 0x8c);
        }
        assert!(matches!(Authentication::of(&Vec::new()), Ok(None)));
        assert!(Authentication::of(&vec![data(b"x")]).is_err());
        for name in ["jwt", "SCRAM", ""] {
            let shown = Authentication::of(&vec![method(name)]).expect("it is valid");
            let refused = shown.expect("it has a method").check_method(true);
            assert_eq!(refused.expect_err("another method").byte(), 0x8c);
        }
    }
}
