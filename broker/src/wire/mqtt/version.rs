//! The version of MQTT that a client speaks. Imports nothing from this folder, because every other file
//! needs it.

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1.
    V3,
    /// 5.0.
    V5,
}
