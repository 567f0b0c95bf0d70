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

/// What a CONNECT of [`Version::V3`] says besides with its protocol name and level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// It is of 3.1, which has fewer codes.
    pub(crate) is_3_1: bool,
    /// The client is a bridge of another broker, which says so with the highest bit of the level: it
    /// gets no messages of its own, and all others with the retain flag as published.
    pub(crate) is_bridge: bool,
}
