//! The line protocol or MQTT, behind the few things that the commands for both do with either.

mod connection;
mod flags;
mod target;

pub(crate) use connection::{Sender, Wire};
pub(crate) use flags::{LoginArguments, MORE_HELP, VersionFlag, WireArguments};
pub(crate) use target::Target;
