//! The line protocol or MQTT, behind one interface for the commands that speak both.

mod connection;
mod flags;
mod target;

pub(crate) use connection::{Sender, Wire};
pub(crate) use flags::{LoginArguments, MORE_HELP, VersionFlag, WireArguments};
pub(crate) use target::Target;
