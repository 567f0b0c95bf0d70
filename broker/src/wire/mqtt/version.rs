//! Which version of MQTT a client speaks. Below all other files of this folder, because each needs it.

/// Which MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1.
    V3,
    /// 5.0.
    V5,
}
