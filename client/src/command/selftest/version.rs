//! The two versions of MQTT that are tested.

use std::fmt;

/// A version of the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MqttVersion {
    // Published in 2014.
    #[value(name = "3.1.1", alias = "3", alias = "4", alias = "311")]
    V3,
    // Published in 2019.
    #[value(name = "5", alias = "5.0")]
    V5,
}

impl MqttVersion {
    pub(crate) const ALL: [Self; 2] = [Self::V3, Self::V5];

    /// The protocol level in CONNECT.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::V3 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for MqttVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V3 => "3.1.1",
            Self::V5 => "5",
        })
    }
}
