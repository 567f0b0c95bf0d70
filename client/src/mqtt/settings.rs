//! Settings of a session, fixed before it connects.

use std::time::Duration;

use mqtt_protocol_core::mqtt::packet;

use crate::credential::Secret;

/// A version of the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    #[default]
    V5,
}

/// The quality of service of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// QoS 0: sent once and never repeated.
    AtMostOnce,
    /// QoS 1: sent until it is acknowledged; may arrive more than once.
    #[default]
    AtLeastOnce,
    /// QoS 2: arrives exactly once.
    ExactlyOnce,
}

impl Qos {
    pub(super) fn to_packet(self) -> packet::Qos {
        match self {
            Self::AtMostOnce => packet::Qos::AtMostOnce,
            Self::AtLeastOnce => packet::Qos::AtLeastOnce,
            Self::ExactlyOnce => packet::Qos::ExactlyOnce,
        }
    }
}

/// The message that the broker publishes if the connection breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: Qos,
    /// Whether the broker retains it.
    pub retain: bool,
}

/// How to connect, and as which client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The version of MQTT.
    pub version: Version,
    /// The client id. If empty, the broker assigns one.
    pub id: String,
    /// The user name.
    pub user: Option<String>,
    /// The password, or a token.
    pub password: Option<Secret>,
    /// The keep alive: after this time without a packet the broker may close the connection.
    /// Rounded up to seconds.
    pub keep_alive: Duration,
    /// How long the broker keeps the session after the connection has ended. In MQTT 3.1.1 any time
    /// but zero means for ever.
    pub session_expiry: Duration,
    /// Start a new session even if the broker has one for this client id. Without a session expiry
    /// the session is always new.
    pub clean: bool,
    /// What the broker publishes if the connection breaks.
    pub will: Option<Will>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::default(),
            id: String::new(),
            user: None,
            password: None,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::ZERO,
            clean: false,
            will: None,
        }
    }
}

impl Settings {
    pub(super) fn keep_alive_seconds(&self) -> u16 {
        u16::try_from(whole_seconds(self.keep_alive)).unwrap_or(u16::MAX)
    }

    pub(super) fn session_expiry_seconds(&self) -> u32 {
        u32::try_from(whole_seconds(self.session_expiry)).unwrap_or(u32::MAX)
    }

    pub(super) fn starts_clean(&self) -> bool {
        self.clean || self.session_expiry.is_zero()
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_never_less_than_asked_for() {
        let settings = Settings {
            keep_alive: Duration::from_millis(1500),
            session_expiry: Duration::from_secs(1 << 40),
            ..Settings::default()
        };
        assert_eq!(settings.keep_alive_seconds(), 2);
        assert_eq!(settings.session_expiry_seconds(), u32::MAX);
    }

    #[test]
    fn a_session_that_is_not_kept_begins_anew() {
        let mut settings = Settings::default();
        assert!(settings.starts_clean());
        settings.session_expiry = Duration::from_secs(1);
        assert!(!settings.starts_clean());
        settings.clean = true;
        assert!(settings.starts_clean());
    }
}
