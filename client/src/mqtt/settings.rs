//! What a session can be told before it begins.

use std::time::Duration;

use mqtt_protocol_core::mqtt::packet;

/// A version of the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    #[default]
    V5,
}

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// Sent once, and never again.
    AtMostOnce,
    /// Sent until it is acknowledged.
    #[default]
    AtLeastOnce,
    /// The same, without doubles.
    ExactlyOnce,
}

impl Qos {
    pub(super) fn on_the_wire(self) -> packet::Qos {
        match self {
            Self::AtMostOnce => packet::Qos::AtMostOnce,
            Self::AtLeastOnce => packet::Qos::AtLeastOnce,
            Self::ExactlyOnce => packet::Qos::ExactlyOnce,
        }
    }
}

/// What the broker is to publish when this client is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// How surely.
    pub qos: Qos,
    /// Whether as the topic's last value.
    pub retain: bool,
}

/// Who connects, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which MQTT.
    pub version: Version,
    /// The client id; empty to be given one.
    pub id: String,
    /// Who it is.
    pub user: Option<String>,
    /// How it proves that.
    pub password: Option<String>,
    /// After how long without a packet the broker may take this client for gone; rounded up to
    /// seconds.
    pub keep_alive: Duration,
    /// How long the broker shall keep the session once the connection has ended. MQTT 3.1.1 knows
    /// only zero and for ever.
    pub session_expiry: Duration,
    /// Begin a new session, even if there is one to go on with. A session that is not kept is
    /// always new.
    pub clean: bool,
    /// What to publish when this client is cut off.
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

    pub(super) fn begins_anew(&self) -> bool {
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
        assert!(settings.begins_anew());
        settings.session_expiry = Duration::from_secs(1);
        assert!(!settings.begins_anew());
        settings.clean = true;
        assert!(settings.begins_anew());
    }
}
