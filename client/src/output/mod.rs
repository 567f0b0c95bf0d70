//! How messages are printed to standard output.

mod arrived;
mod format;
mod human;
mod printer;
mod style;

pub(crate) use arrived::Arrived;
pub(crate) use command_line::json;
pub(crate) use format::Format;
pub(crate) use printer::{Hiding, Printer, incomplete};
pub(crate) use style::Style;
