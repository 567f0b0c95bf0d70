//! What belongs to the process and not to its broker: its log, and its service manager.

pub(crate) mod logging;
pub(crate) mod service;
