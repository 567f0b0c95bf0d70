//! What belongs to the process and not to its broker: its log.

pub(crate) mod logging;
