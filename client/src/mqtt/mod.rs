//! A client for MQTT 3.1.1 and 5, for any MQTT broker.
//!
//! A [`Session`] is one connection, used by one thread: it publishes with a window of
//! unacknowledged messages and returns the messages it receives. Attributes map to properties of
//! MQTT 5: `reply` is the response topic, `id` the correlation data, `type` the content type, `ttl`
//! the message expiry in seconds, and all others are user properties. The broker of this project reads `ack`, and its
//! answer is in [`Receipt::reached`](crate::Receipt::reached). `mqtt-protocol-core` encodes
//! packets and keeps the state of the protocol without I/O; this module has the socket, the waits
//! and the error texts.
//!
//! ```no_run
//! use client::Options;
//! use client::mqtt::{Qos, Session, Settings};
//!
//! let mut session = Session::connect("localhost:1883", &Settings::default(), &Options::default())?;
//! session.publish("news", b"hello", &Default::default(), Qos::AtLeastOnce)?;
//! let receipt = session.finish()?;
//! assert_eq!(receipt.refused, 0);
//! # Ok::<(), client::Error>(())
//! ```

mod attributes;
mod failure;
mod packets;
mod pubrec;
mod reason;
mod session;
mod settings;
mod timers;

pub use attributes::check_attributes;
pub use session::{Delivery, Session};
pub use settings::{Qos, Settings, Version, Will};
