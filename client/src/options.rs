//! What a connection can be told before it begins.

use std::time::Duration;

use crate::interrupt::Interrupt;

/// Times and limits of a connection.
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
    /// How long one address may take to accept the connection.
    pub connect_timeout: Duration,
    /// How long an answer may be outstanding while nothing moves: no byte leaves and no other
    /// answer comes.
    pub answer_timeout: Duration,
    /// After how long without a word from the broker it is asked for one.
    pub silence: Duration,
    /// If given, the line protocol, or MQTT, goes through a WebSocket at this path, such as `/ws`.
    pub websocket: Option<String>,
    /// Ends every wait of this client when another thread raises it.
    pub interrupt: Option<Interrupt>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            websocket: None,
            interrupt: None,
        }
    }
}
