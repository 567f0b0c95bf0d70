//! The same over MQTT, 3.1.1 and 5, with any broker of it.
//!
//! A [`Session`] is one connection, used by one thread: it publishes with a window of messages that
//! are not acknowledged, and hands out what is delivered. Attributes are properties of MQTT 5:
//! `reply` is its response topic, `id` its correlation data, `type` its content type, `ttl` its
//! message expiry in seconds, and all others are user properties. Packets and what they do to a
//! conversation are the business of `mqtt-protocol-core`, which does no I/O; here are the socket,
//! the waiting, and the words.
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
mod packets;
mod reason;
mod session;
mod settings;
mod timers;

pub use attributes::check_attributes;
pub use session::{Delivery, Session};
pub use settings::{Qos, Settings, Version, Will};
