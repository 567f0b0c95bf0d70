//! Options of a connection.

use std::time::Duration;

use crate::credential::Credential;
use crate::interrupt::Interrupt;
use crate::tls::Tls;

/// Timeouts and other options of a connection.
///
/// ```
/// use std::time::Duration;
///
/// let patient = client::Options {
///     answer_timeout: Duration::from_secs(60),
///     ..client::Options::default()
/// };
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// How long connecting to one address, or to a path, may take.
    pub connect_timeout: Duration,
    /// How long to wait for an answer while no byte is sent and no other answer arrives.
    pub answer_timeout: Duration,
    /// After this time without a byte from the broker the client sends it a PING.
    pub silence: Duration,
    /// If set, the line protocol, or MQTT, runs inside a WebSocket at this path, such as `/ws`.
    pub websocket: Option<String>,
    /// If set, everything runs inside of TLS, but over a path.
    pub tls: Option<Tls>,
    /// If set, the client says who it is before anything else, each time it connects. This is for the
    /// line protocol; MQTT has [`Settings`](crate::mqtt::Settings).
    pub credential: Option<Credential>,
    /// Ends every wait of this client once another thread raises it.
    pub interrupt: Option<Interrupt>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            websocket: None,
            tls: None,
            credential: None,
            interrupt: None,
        }
    }
}
